//! Refusing a new connection as a host does on whose port nobody listens: its SYN goes back as a reset.
//!
//! The frame keeps its length; what is left of the SYN behind the reset is padding. A reset is never longer than what asked
//! for it, and answers only what was sent to this node's own Ethernet address.

use landfall_bpf_lb_common::Verdict;
use landfall_bpf_lb_common::checksum::Change;
use landfall_bpf_lb_common::headers::{
    ACK, RST, TCP, TCP_ACKNOWLEDGEMENT, TCP_CHECKSUM, TCP_LENGTH, TCP_MINIMUM, TCP_SEQUENCE,
};

use crate::family::Family;
use crate::hook::Hook;
use crate::maps;
use crate::packet::{Outcome, Packet};
use crate::sender::FIRST_MARK;

/// Length of a TCP header without options, as the header has it.
const WORDS: u8 = (TCP_MINIMUM as u8 / 4) << 4;
/// The checksum of nothing.
const NOTHING: [u8; 2] = [0xff, 0xff];

/// Answers a SYN with a reset. Anything else is dropped: a datagram has no such answer, a segment may be of a connection that
/// somebody still has, and of what was sent on between nodes whose tables differ they will soon say the same. What a node or its
/// pods send of their own is answered.
#[inline(always)]
pub(crate) fn refuse<F: Family>(packet: &Packet<F>, hook: impl Hook) -> Result<Outcome, Verdict> {
    let frame = &packet.frame;
    let transport = &packet.transport;
    let [a, b, c, d, e, f, g, h, i, j, k, l] = *frame.bytes::<12>(0).ok_or(Verdict::Malformed)?;
    let (to, from) = ([a, b, c, d, e, f], [g, h, i, j, k, l]);
    maps::ours(frame.ifindex, to).ok_or(Verdict::NotOurMac)?;
    let is_plain = transport.offset == packet.network + F::HEADER;
    let is_sent_on = transport.hop_limit <= FIRST_MARK && maps::is_node(from);
    if !transport.opens() || !is_plain || is_sent_on {
        return Err(Verdict::DropRefused);
    }
    let cut = hook.cut(frame, transport.offset + TCP_MINIMUM, transport.offset)?;
    let frame = &cut.frame;
    let ethernet = frame.bytes::<12>(0).ok_or(Verdict::Malformed)?;
    let segment = F::answer(frame, packet.network, packet.client, packet.vip);
    let segment = segment.ok_or(Verdict::Malformed)?;
    let length = TCP_MINIMUM as u16;

    let s = &segment[TCP_SEQUENCE..TCP_SEQUENCE + 4];
    let sequence = u32::from_be_bytes([s[0], s[1], s[2], s[3]]);
    // The SYN is one octet of what is acknowledged.
    let acknowledged = sequence.wrapping_add(1).to_be_bytes();
    let source = transport.source.to_ne_bytes();
    let destination = transport.destination.to_ne_bytes();
    let flags = [WORDS, RST | ACK];
    let sum = F::replace(Change::none(), F::ZERO, packet.client);
    let sum = F::replace(sum, F::ZERO, packet.vip);
    let pseudo = sum
        .word([0; 2], [0, TCP])
        .word([0; 2], length.to_be_bytes());
    let whole = pseudo
        .word([0; 2], source)
        .word([0; 2], destination)
        .double([0; 4], acknowledged)
        .word([0; 2], flags)
        .apply(NOTHING);
    // A device adds the segment to the sum of the rest.
    let checksum = if cut.is_unfinished {
        pseudo.difference().to_ne_bytes()
    } else {
        whole
    };

    *segment = [0; TCP_MINIMUM];
    segment[..2].copy_from_slice(&destination);
    segment[2..4].copy_from_slice(&source);
    segment[TCP_ACKNOWLEDGEMENT..TCP_ACKNOWLEDGEMENT + 4].copy_from_slice(&acknowledged);
    segment[TCP_LENGTH..TCP_LENGTH + 2].copy_from_slice(&flags);
    segment[TCP_CHECKSUM..TCP_CHECKSUM + 2].copy_from_slice(&checksum);
    *ethernet = [g, h, i, j, k, l, a, b, c, d, e, f];
    Ok(Verdict::Refused.into())
}
