//! Answering echo requests to an address that has a frontend: it is no host's, and the kernel would say that it is unreachable.
//!
//! An answer is its request turned round, and goes to the Ethernet address that this came from, by the same interface. Only
//! what was sent to this node's own Ethernet address is answered, and nothing that more than one host may have sent.

use landfall_bpf_lb_common::Verdict;
use landfall_bpf_lb_common::echo::HOP_LIMIT;

use crate::family::Family;
use crate::frame::Frame;
use crate::hook::Hook;
use crate::maps;
use crate::packet::Outcome;

/// In the first byte of an Ethernet address: a group's.
const GROUP: u8 = 1;

/// Answers `frame`, whose IP header is at `network`, if it is such a request.
#[inline(always)]
pub(crate) fn answer<F: Family>(
    frame: &Frame,
    hook: impl Hook,
    network: usize,
) -> Result<Outcome, Verdict> {
    let request = F::echo_request(frame, network).ok_or(Verdict::OtherProtocol)?;
    let (_, vip) = F::addresses(frame, network).ok_or(Verdict::Malformed)?;
    if !F::answers_echoes(vip) {
        return Err(Verdict::OtherProtocol);
    }
    let [limit] = *frame
        .bytes::<1>(network + F::HOP_LIMIT)
        .ok_or(Verdict::Malformed)?;
    let ethernet = frame.bytes::<12>(0).ok_or(Verdict::Malformed)?;
    let [a, b, c, d, e, f, g, h, i, j, k, l] = *ethernet;
    maps::ours(frame.ifindex, [a, b, c, d, e, f]).ok_or(Verdict::NotOurMac)?;
    if g & GROUP != 0 {
        return Err(Verdict::OtherProtocol);
    }
    F::answer_echo(request);
    hook.note_hop_limit::<F>(limit, HOP_LIMIT);
    *ethernet = [g, h, i, j, k, l, a, b, c, d, e, f];
    Ok(Verdict::Echoed.into())
}
