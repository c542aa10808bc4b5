//! Sending a packet to another node: new Ethernet addresses, a lower hop limit, and nothing else.
//! The receiver's checksum and the client's address stay as they were.

use landfall_bpf_lb_common::Verdict;
use landfall_bpf_lb_common::headers::ETHERNET;

use crate::family::Family;
use crate::hook::Hook;
use crate::maps;
use crate::packet::{Outcome, Packet};

/// Sends `packet` to the node of the hop `id` with hop limit `limit`.
#[inline(always)]
pub(crate) fn direct<F: Family>(
    packet: &Packet<F>,
    hook: impl Hook,
    id: u16,
    limit: u8,
    verdict: Verdict,
) -> Result<Outcome, Verdict> {
    let frame = &packet.frame;
    let hop = maps::hop(id).ok_or(Verdict::NoHop)?;
    let ethernet = frame.bytes::<12>(0).ok_or(Verdict::Malformed)?;
    let destination = [
        ethernet[0],
        ethernet[1],
        ethernet[2],
        ethernet[3],
        ethernet[4],
        ethernet[5],
    ];
    // On the hop's own interface its record holds our address; elsewhere it must be looked up, and
    // the frame may have come in by a member of it.
    let same = if hop.ifindex == frame.ifindex {
        if destination != hop.source {
            return Err(Verdict::NotOurMac);
        }
        true
    } else {
        let interface = maps::ours(frame.ifindex, destination).ok_or(Verdict::NotOurMac)?;
        interface.device == hop.ifindex
    };
    // The tag names a segment of this interface; a VLAN device would add its own before it.
    if !same && (packet.network != ETHERNET || hook.has_tag_aside()) {
        return Err(Verdict::Tagged);
    }
    hook.set_hop_limit(packet, limit)
        .ok_or(Verdict::Malformed)?;
    ethernet[..6].copy_from_slice(&hop.mac);
    ethernet[6..].copy_from_slice(&hop.source);
    let verdict = if same {
        verdict
    } else {
        Verdict::DirectedElsewhere
    };
    Ok(Outcome {
        verdict,
        ifindex: hop.ifindex,
    })
}

/// Sends `packet` back to the node it came from.
#[inline(always)]
pub(crate) fn send_back<F: Family>(
    packet: &Packet<F>,
    hook: impl Hook,
    limit: u8,
    verdict: Verdict,
) -> Result<Outcome, Verdict> {
    let frame = &packet.frame;
    let ethernet = frame.bytes::<12>(0).ok_or(Verdict::Malformed)?;
    let [a, b, c, d, e, f, g, h, i, j, k, l] = *ethernet;
    hook.set_hop_limit(packet, limit)
        .ok_or(Verdict::Malformed)?;
    *ethernet = [g, h, i, j, k, l, a, b, c, d, e, f];
    Ok(verdict.into())
}
