//! ICMP errors: each quotes the beginning of a packet that did not arrive, and is about that packet's flow.
//!
//! ```text
//!   IP: router → VIP │ ICMP: type, code, checksum, MTU │ IP: VIP → client │ ports, 4 octets, …
//!                    └ offset                          └ quoted: at least its IP header and 8 octets
//! ```
//! What an error says goes to whoever sent the quoted packet, so it takes the course of what comes to that one on the
//! same flow. Who is translated is so in the quotation, too, or the receiver would not know its own packet.
//!
//! Invariant: what quotes options, extension headers or any but the first fragment is not understood. Checksums are
//! updated, never recomputed, the quoted ones as well.

use crate::Verdict;
use crate::checksum::Change;
use crate::layout::{
    IPV4, IPV4_CHECKSUM, IPV4_DESTINATION, IPV4_SOURCE, IPV6, IPV6_DESTINATION, IPV6_SOURCE, TCP,
    TCP_CHECKSUM, TCP_MINIMUM, Transport, UDP, UDP_CHECKSUM, Window,
};

/// IANA number of ICMP.
pub const ICMP: u8 = 1;
/// IANA number of ICMP for IPv6.
pub const ICMPV6: u8 = 58;
/// Length of the header of an ICMP message; what an error quotes is behind it.
pub const ICMP_HEADER: usize = 8;
/// Offset of the checksum in it.
pub(crate) const ICMP_CHECKSUM: usize = 2;
/// So many octets of the quoted packet's transport header are always there (RFC 792).
const OCTETS: usize = 8;

/// What there is of every IPv4 error that is understood.
pub type Message4 = [u8; ICMP_HEADER + IPV4 + OCTETS];
/// What there is of every IPv6 error that is understood.
pub type Message6 = [u8; ICMP_HEADER + IPV6 + OCTETS];

/// Offset of the protocol in an IPv4 header.
pub const IPV4_PROTOCOL: usize = 9;
/// Offset of the next header's number in an IPv6 header.
pub const IPV6_NEXT: usize = 6;

/// The flow that the IPv4 error at `offset`, of `length` bytes, is about: the quoted one, the other way round.
///
/// # Errors
/// The verdict with which the packet passes.
#[inline(always)]
pub(crate) fn ipv4<W: Window + ?Sized>(
    frame: &W,
    offset: usize,
    length: usize,
    hop_limit: u8,
) -> Result<Transport, Verdict> {
    if length < size_of::<Message4>() {
        return Err(Verdict::OtherProtocol);
    }
    let message: Message4 = frame.at(offset).ok_or(Verdict::Malformed)?;
    // Unreachable (fragmentation needed is one of these), time exceeded, parameter problem.
    let is_error = matches!(message[0], 3 | 11 | 12);
    let is_plain = message[ICMP_HEADER] == 0x45;
    let is_first = (message[ICMP_HEADER + 6] & 0x1f) | message[ICMP_HEADER + 7] == 0;
    if !is_error || !is_plain || !is_first {
        return Err(Verdict::OtherProtocol);
    }
    let protocol = message[ICMP_HEADER + IPV4_PROTOCOL];
    reversed(&message, IPV4, protocol, offset, length, hop_limit)
}

/// The same of an IPv6 error.
#[inline(always)]
pub(crate) fn ipv6<W: Window + ?Sized>(
    frame: &W,
    offset: usize,
    length: usize,
    hop_limit: u8,
) -> Result<Transport, Verdict> {
    if length < size_of::<Message6>() {
        return Err(Verdict::OtherProtocol);
    }
    let message: Message6 = frame.at(offset).ok_or(Verdict::Malformed)?;
    // Unreachable, packet too big, time exceeded, parameter problem.
    let is_error = matches!(message[0], 1..=4);
    let is_plain = message[ICMP_HEADER] >> 4 == 6;
    if !is_error || !is_plain {
        return Err(Verdict::OtherProtocol);
    }
    let protocol = message[ICMP_HEADER + IPV6_NEXT];
    reversed(&message, IPV6, protocol, offset, length, hop_limit)
}

#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "no more than a TCP header's least"
)]
fn reversed<const N: usize>(
    message: &[u8; N],
    header: usize,
    protocol: u8,
    offset: usize,
    length: usize,
    hop_limit: u8,
) -> Result<Transport, Verdict> {
    if protocol != TCP && protocol != UDP {
        return Err(Verdict::OtherProtocol);
    }
    let ports = ICMP_HEADER + header;
    let octets = length - ports;
    Ok(Transport {
        offset,
        protocol,
        hop_limit,
        source: u16::from_ne_bytes([message[ports + 2], message[ports + 3]]),
        destination: u16::from_ne_bytes([message[ports], message[ports + 1]]),
        flags: 0,
        quoted: if octets < TCP_MINIMUM {
            octets as u8
        } else {
            TCP_MINIMUM as u8
        },
    })
}

impl Transport {
    /// Whether the packet is no part of the flow, but an ICMP error about one that was.
    #[inline(always)]
    #[must_use]
    pub const fn is_error(&self) -> bool {
        self.quoted != 0
    }

    /// Where the TCP checksum is that an error quotes, behind the IP header of `header` bytes that it quotes; it need
    /// not have come that far.
    #[inline(always)]
    #[must_use]
    pub const fn quoted_checksum(&self, header: usize) -> Option<usize> {
        if self.protocol == TCP && self.quoted as usize >= TCP_CHECKSUM + 2 {
            Some(self.offset + ICMP_HEADER + header + TCP_CHECKSUM)
        } else {
            None
        }
    }
}

/// An end of the flow that is quoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Whoever the quoted packet came from: an error that comes in is for that one.
    Source,
    /// Whoever it was sent to: an error that leaves is about that one.
    Destination,
}

/// Replaces an end of the flow that the IPv4 error `message` quotes. `checksum` is the TCP one, if it is quoted.
#[inline(always)]
pub fn translate4(
    message: &mut Message4,
    end: End,
    old: [u8; 4],
    new: [u8; 4],
    port: [u8; 2],
    checksum: Option<&mut [u8; 2]>,
) {
    const SUM: usize = ICMP_HEADER + IPV4_CHECKSUM;
    let address = Change::none().double(old, new);
    let before = [message[SUM], message[SUM + 1]];
    let after = address.apply(before);
    message[SUM..SUM + 2].copy_from_slice(&after);
    let at = ICMP_HEADER
        + match end {
            End::Source => IPV4_SOURCE,
            End::Destination => IPV4_DESTINATION,
        };
    message[at..at + 4].copy_from_slice(&new);
    let is_tcp = message[ICMP_HEADER + IPV4_PROTOCOL] == TCP;
    let covered = address.word(before, after);
    finish(message, IPV4, is_tcp, end, port, checksum, address, covered);
}

/// The same of an IPv6 error, on the outside of which the address `outer.0` becomes `outer.1`: its checksum covers these, too.
#[inline(always)]
pub fn translate6(
    message: &mut Message6,
    end: End,
    old: [u8; 16],
    new: [u8; 16],
    port: [u8; 2],
    checksum: Option<&mut [u8; 2]>,
    outer: ([u8; 16], [u8; 16]),
) {
    let address = Change::none().address6(old, new);
    let at = ICMP_HEADER
        + match end {
            End::Source => IPV6_SOURCE,
            End::Destination => IPV6_DESTINATION,
        };
    message[at..at + 16].copy_from_slice(&new);
    let is_tcp = message[ICMP_HEADER + IPV6_NEXT] == TCP;
    let covered = address.address6(outer.0, outer.1);
    finish(message, IPV6, is_tcp, end, port, checksum, address, covered);
}

/// Port and checksum behind the quoted IP header, and then the message's own. `address` is what changes for a pseudo-header,
/// `covered` what has changed of the message so far.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "one half of two functions")]
fn finish<const N: usize>(
    message: &mut [u8; N],
    header: usize,
    is_tcp: bool,
    end: End,
    port: [u8; 2],
    checksum: Option<&mut [u8; 2]>,
    address: Change,
    covered: Change,
) {
    let octets = ICMP_HEADER + header;
    let at = match end {
        End::Source => octets,
        End::Destination => octets + 2,
    };
    let old = [message[at], message[at + 1]];
    message[at..at + 2].copy_from_slice(&port);
    let quoted = address.word(old, port);
    let mut covered = covered.word(old, port);
    if is_tcp {
        if let Some(checksum) = checksum {
            let before = *checksum;
            *checksum = quoted.apply(before);
            covered = covered.word(before, *checksum);
        }
    } else {
        let at = octets + UDP_CHECKSUM;
        let before = [message[at], message[at + 1]];
        let after = quoted.apply_udp(before);
        message[at..at + 2].copy_from_slice(&after);
        covered = covered.word(before, after);
    }
    let own = covered.apply([message[ICMP_CHECKSUM], message[ICMP_CHECKSUM + 1]]);
    message[ICMP_CHECKSUM..ICMP_CHECKSUM + 2].copy_from_slice(&own);
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::headers::{Lengths, Network, network};
    use etherparse::PacketBuilder;
    use proptest::prelude::*;
    use std::vec::Vec;

    const ROUTER4: [u8; 4] = [203, 0, 113, 1];
    const VIP4: [u8; 4] = [192, 0, 2, 10];
    const CLIENT4: [u8; 4] = [198, 51, 100, 7];
    const ROUTER6: [u8; 16] = [0x2a; 16];
    const VIP6: [u8; 16] = [0x2b; 16];
    const CLIENT6: [u8; 16] = [0x2c; 16];

    fn quoted4(protocol: u8, source: [u8; 4], port: u16, payload: &[u8]) -> Vec<u8> {
        let ip = PacketBuilder::ipv4(source, CLIENT4, 9);
        let mut packet = Vec::new();
        if protocol == TCP {
            let tcp = ip.tcp(port, 40_001, 1, 2);
            tcp.write(&mut packet, payload).unwrap();
        } else {
            ip.udp(port, 40_001).write(&mut packet, payload).unwrap();
        }
        packet
    }

    fn quoted6(protocol: u8, source: [u8; 16], port: u16, payload: &[u8]) -> Vec<u8> {
        let ip = PacketBuilder::ipv6(source, CLIENT6, 9);
        let mut packet = Vec::new();
        if protocol == TCP {
            let tcp = ip.tcp(port, 40_001, 1, 2);
            tcp.write(&mut packet, payload).unwrap();
        } else {
            ip.udp(port, 40_001).write(&mut packet, payload).unwrap();
        }
        packet
    }

    fn error4(to: [u8; 4], kind: u8, quoted: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4(ROUTER4, to, 64)
            .icmpv4_raw(kind, 4, [0, 0, 5, 0x14])
            .write(&mut frame, quoted)
            .unwrap();
        frame
    }

    fn error6(to: [u8; 16], kind: u8, quoted: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv6(ROUTER6, to, 64)
            .icmpv6_raw(kind, 0, [0, 0, 5, 0x14])
            .write(&mut frame, quoted)
            .unwrap();
        frame
    }

    fn transport_of(frame: &[u8]) -> Result<Transport, Verdict> {
        match network(frame)? {
            Network::V4(offset) => crate::headers::ipv4(frame, offset, Lengths::Checked),
            Network::V6(offset) => crate::headers::ipv6(frame, offset, Lengths::Checked),
        }
    }

    #[test]
    fn an_error_is_of_the_flow_that_would_answer_what_it_quotes() {
        for protocol in [TCP, UDP] {
            let frames = [
                (error4(VIP4, 3, &quoted4(protocol, VIP4, 80, b"")), 34),
                (error6(VIP6, 2, &quoted6(protocol, VIP6, 80, b"")), 54),
            ];
            for (frame, offset) in frames {
                let found = transport_of(&frame).unwrap();
                assert_eq!((found.offset, found.protocol), (offset, protocol));
                assert_eq!(found.source.to_ne_bytes(), 40_001u16.to_be_bytes());
                assert_eq!(found.destination.to_ne_bytes(), 80u16.to_be_bytes());
                assert!(found.is_error() && !found.opens());
                assert_eq!(found.quoted, if protocol == TCP { 20 } else { 8 });
            }
        }
    }

    #[test]
    fn a_checksum_counts_as_quoted_where_both_its_bytes_are() {
        let whole = quoted4(TCP, VIP4, 80, b"");
        for octets in 8..=20 {
            let found = transport_of(&error4(VIP4, 3, &whole[..IPV4 + octets])).unwrap();
            let expected = (octets >= 18).then_some(34 + 8 + 20 + 16);
            assert_eq!(found.quoted_checksum(IPV4), expected);
        }
        let datagram = quoted4(UDP, VIP4, 80, b"as long as a TCP header");
        let found = transport_of(&error4(VIP4, 3, &datagram)).unwrap();
        assert_eq!(found.quoted_checksum(IPV4), None);
    }

    #[test]
    fn padding_behind_an_error_is_not_quoted() {
        let mut frame = error4(VIP4, 3, &quoted4(TCP, VIP4, 80, b"")[..IPV4 + 8]);
        frame.resize(frame.len() + 20, 0);
        assert_eq!(transport_of(&frame).unwrap().quoted, 8);
    }

    #[test]
    fn other_messages_are_no_errors() {
        for kind in 0..=255 {
            let four = error4(VIP4, kind, &quoted4(TCP, VIP4, 80, b""));
            assert_eq!(transport_of(&four).is_ok(), [3, 11, 12].contains(&kind));
            let six = error6(VIP6, kind, &quoted6(TCP, VIP6, 80, b""));
            assert_eq!(transport_of(&six).is_ok(), (1..=4).contains(&kind));
        }
    }

    #[test]
    fn an_icmp_message_of_the_other_family_is_none() {
        let mut frame = error4(VIP4, 3, &quoted4(TCP, VIP4, 80, b""));
        frame[23] = ICMPV6;
        assert_eq!(transport_of(&frame), Err(Verdict::OtherProtocol));
        let mut frame = error6(VIP6, 2, &quoted6(TCP, VIP6, 80, b""));
        frame[20] = ICMP;
        assert_eq!(transport_of(&frame), Err(Verdict::OtherProtocol));
    }

    proptest! {
        #[test]
        fn a_translated_error_is_as_if_the_other_address_had_sent_what_it_quotes(
            is_tcp in any::<bool>(), new in any::<[u8; 16]>(), port in 1u16.., payload in proptest::collection::vec(any::<u8>(), 0..30)
        ) {
            let protocol = if is_tcp { TCP } else { UDP };
            let new4: [u8; 4] = new[..4].try_into().unwrap();
            let mut frame = error4(VIP4, 3, &quoted4(protocol, VIP4, 80, &payload));
            let expected = error4(VIP4, 3, &quoted4(protocol, new4, port, &payload));
            let (message, rest) = frame[34..].split_first_chunk_mut().unwrap();
            let checksum = is_tcp.then(|| rest[8..].first_chunk_mut().unwrap());
            translate4(message, End::Source, VIP4, new4, port.to_be_bytes(), checksum);
            prop_assert_eq!(frame, expected);

            // On the outside, too, its address becomes the new one.
            let mut frame = error6(VIP6, 2, &quoted6(protocol, VIP6, 80, &payload));
            let expected = error6(new, 2, &quoted6(protocol, new, port, &payload));
            frame[38..54].copy_from_slice(&new);
            let (message, rest) = frame[54..].split_first_chunk_mut().unwrap();
            let checksum = is_tcp.then(|| rest[8..].first_chunk_mut().unwrap());
            translate6(message, End::Source, VIP6, new, port.to_be_bytes(), checksum, (VIP6, new));
            prop_assert_eq!(frame, expected);
        }

        #[test]
        fn any_message_is_survived(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            for mut frame in [error4(VIP4, 3, &bytes), error6(VIP6, 2, &bytes)] {
                if let Ok(found) = transport_of(&frame) {
                    let header = if frame[12] == 8 { IPV4 } else { IPV6 };
                    let last = found.quoted_checksum(header).map_or(found.offset + 8, |at| at + 2);
                    prop_assert!(last <= frame.len());
                }
                frame.truncate(bytes.len());
                let _ = transport_of(&frame);
            }
        }
    }
}
