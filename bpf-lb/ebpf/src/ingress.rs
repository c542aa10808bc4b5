//! From a received frame to direct, deliver or pass.
//!
//! A packet leaves for another node at most twice: once by the director, and once more when the
//! node it reached has reason to think that it belongs elsewhere. The second time it carries a
//! hop limit of [`LAST_HOP_LIMIT`], and nothing with so low a limit is ever sent on again. So two
//! nodes whose tables differ for a moment cannot play ping-pong, and no header is needed to say so.

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX};
use aya_ebpf::helpers::bpf_redirect;
use aya_ebpf::programs::XdpContext;
use landfall_bpf_lb_common::headers::{self, Lengths, Network, Transport};
use landfall_bpf_lb_common::records::{BackendEntry, FrontendEntry};
use landfall_bpf_lb_common::{Action, Verdict};

use crate::connections::{self, Known};
use crate::deliver::deliver;
use crate::direct::direct;
use crate::family::{Family, V4, V6};
use crate::frame::Frame;
use crate::maps;
use crate::packet::{Outcome, Packet};

/// The hop limit of a packet that is sent on a second time: enough for the node's own forwarding
/// to the pod, and the mark that it must not travel further.
pub(crate) const LAST_HOP_LIMIT: u8 = 4;

/// The whole of the XDP program.
#[inline(always)]
#[must_use]
pub fn receive_xdp(ctx: &XdpContext) -> u32 {
    receive(&Frame::of_xdp(ctx))
}

/// Directs, delivers or passes `frame`; returns the XDP action.
#[inline(always)]
#[must_use]
pub fn receive(frame: &Frame) -> u32 {
    let outcome = match decide(frame) {
        Ok(outcome) => outcome,
        Err(verdict) => verdict.into(),
    };
    maps::count(outcome.verdict);
    match outcome.verdict.action() {
        Action::Pass => XDP_PASS,
        Action::Transmit => XDP_TX,
        // SAFETY: a plain helper call.
        Action::Redirect => unsafe { bpf_redirect(outcome.ifindex, 0) as u32 },
        Action::Drop => XDP_DROP,
    }
}

#[inline(always)]
fn decide(frame: &Frame) -> Result<Outcome, Verdict> {
    match headers::network(frame)? {
        Network::V4(network) => {
            let transport = headers::ipv4(frame, network, Lengths::Checked)?;
            balance::<V4>(frame, network, transport)
        }
        Network::V6(network) => {
            let transport = headers::ipv6(frame, network, Lengths::Checked)?;
            balance::<V6>(frame, network, transport)
        }
    }
}

#[inline(always)]
fn balance<F: Family>(
    frame: &Frame,
    network: usize,
    transport: Transport,
) -> Result<Outcome, Verdict> {
    let (client, vip) = F::addresses(frame, network).ok_or(Verdict::Malformed)?;
    let frontend = F::frontend(vip, &transport).ok_or(Verdict::NotFrontend)?;
    if frontend.table == FrontendEntry::NO_TABLE {
        return Err(Verdict::NoBackend);
    }
    let port = if frontend.flags & FrontendEntry::CLIENT_IP == 0 {
        transport.source
    } else {
        0
    };
    let slot = maps::slot(frontend.table, F::hash(client, port)).ok_or(Verdict::NoBackend)?;
    let current = maps::backend(slot.current).ok_or(Verdict::NoBackend)?;
    let packet = Packet::<F> {
        frame: *frame,
        network,
        transport,
        client,
        vip,
    };
    let previous = if slot.previous != slot.current && transport.established {
        maps::backend(slot.previous)
    } else {
        None
    };
    let course = if current.hop == 0 {
        here(&packet, current, previous)
    } else {
        elsewhere(&packet, current, previous)?
    };
    match course {
        Course::Deliver(backend, verdict) => {
            ours(&packet)?;
            deliver(&packet, backend)?;
            Ok(verdict.into())
        }
        Course::Direct(backend, limit, verdict) => direct(&packet, backend, limit, verdict),
    }
}

/// Where a packet goes, and how its doing so is counted.
enum Course<'a> {
    Deliver(&'a BackendEntry, Verdict),
    /// With this hop limit.
    Direct(&'a BackendEntry, u8, Verdict),
}

/// The current backend is on this node.
#[inline(always)]
fn here<'a, F: Family>(
    packet: &Packet<F>,
    current: &'a BackendEntry,
    previous: Option<&'a BackendEntry>,
) -> Course<'a> {
    if let Some(previous) = previous
        && connections::look_up(packet, current) == Known::No
    {
        if previous.hop != 0 {
            if packet.transport.hop_limit > LAST_HOP_LIMIT {
                return Course::Direct(previous, LAST_HOP_LIMIT, Verdict::SecondChance);
            }
        } else if connections::look_up(packet, previous) == Known::Yes {
            return Course::Deliver(previous, Verdict::DeliveredPrevious);
        }
    }
    Course::Deliver(current, Verdict::Delivered)
}

/// The current backend is on another node.
#[inline(always)]
fn elsewhere<'a, F: Family>(
    packet: &Packet<F>,
    current: &'a BackendEntry,
    previous: Option<&'a BackendEntry>,
) -> Result<Course<'a>, Verdict> {
    let limit = packet.transport.hop_limit;
    let source = packet.frame.bytes::<6>(6).ok_or(Verdict::Malformed)?;
    let from_node = maps::is_node(*source);
    if let Some(previous) = previous
        && previous.hop == 0
        && (from_node || connections::look_up(packet, previous) == Known::Yes)
    {
        return Ok(Course::Deliver(previous, Verdict::DeliveredPrevious));
    }
    if from_node {
        if limit <= LAST_HOP_LIMIT {
            return Err(Verdict::LoopGuard);
        }
        return Ok(Course::Direct(current, LAST_HOP_LIMIT, Verdict::ExtraHop));
    }
    if limit <= 1 {
        return Err(Verdict::HopLimit);
    }
    Ok(Course::Direct(current, limit - 1, Verdict::Directed))
}

/// Refuses frames that were not sent to this node: a port of a bridge or a promiscuous interface
/// sees those too.
#[inline(always)]
fn ours<F: Family>(packet: &Packet<F>) -> Result<(), Verdict> {
    let destination = packet.frame.bytes::<6>(0).ok_or(Verdict::Malformed)?;
    if maps::is_ours(packet.frame.ifindex, *destination) {
        Ok(())
    } else {
        Err(Verdict::NotOurMac)
    }
}
