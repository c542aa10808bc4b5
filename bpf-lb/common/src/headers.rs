//! Finding the transport header of a frame.
//!
//! Not a packet library: it reads what the director needs and refuses the rest with the verdict
//! to count. The programs and the host tests run this same code over a [`Window`].
//!
//! Invariant: no offset is used before the window has said that it holds the bytes, and every
//! offset is bounded by constants, as the verifier wants it.

use crate::Verdict;
use crate::layout::TCP_FLAGS;
pub use crate::layout::*;
use crate::quote::{self, ICMP, ICMP_HEADER, ICMPV6};

const VLAN: [u8; 2] = [0x81, 0x00];
const VLAN_SERVICE: [u8; 2] = [0x88, 0xa8];
const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
const TAGS: usize = 2;
const TAG: usize = 4;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;
const EXTENSIONS: usize = 4;
/// No real packet carries more; a bound keeps the offsets inside what the verifier tracks.
const EXTENSIONS_LENGTH: usize = 512;

/// The IP version of a frame and where its header begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// IPv4 at this offset.
    V4(usize),
    /// IPv6 at this offset.
    V6(usize),
}

/// How far the lengths in the headers are trusted to match the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lengths {
    /// Received frames: what the header promises must be there.
    Checked,
    /// Received frames that the kernel may have merged into one: a length of zero is that of the frame, where the field
    /// cannot hold it.
    Merged,
    /// Frames our own kernel sends: the length may be left to the device (large sends).
    Trusted,
}

impl Lengths {
    /// Whether the field's `length` says that the frame's own is to be taken.
    #[inline(always)]
    fn leave_it_to<W: Window + ?Sized>(self, frame: &W, length: usize) -> bool {
        self == Self::Merged && length == 0 && frame.length() > usize::from(u16::MAX)
    }
}

/// Finds the IP header of an Ethernet frame behind at most two VLAN tags.
///
/// # Errors
/// [`Verdict::Malformed`] for a frame that ends too early, [`Verdict::NotIp`] for anything else.
#[inline(always)]
pub fn network<W: Window + ?Sized>(frame: &W) -> Result<Network, Verdict> {
    let mut offset = ETHERNET;
    let mut ethertype: [u8; 2] = frame.at(ETHERNET - 2).ok_or(Verdict::Malformed)?;
    for _ in 0..TAGS {
        if ethertype != VLAN && ethertype != VLAN_SERVICE {
            break;
        }
        let tag: [u8; TAG] = frame.at(offset).ok_or(Verdict::Malformed)?;
        ethertype = [tag[2], tag[3]];
        offset += TAG;
    }
    match ethertype {
        ETHERTYPE_IPV4 => Ok(Network::V4(offset)),
        ETHERTYPE_IPV6 => Ok(Network::V6(offset)),
        _ => Err(Verdict::NotIp),
    }
}

/// Finds the transport header of the IPv4 packet at `offset`.
///
/// # Errors
/// The verdict with which the packet passes.
#[inline(always)]
pub fn ipv4<W: Window + ?Sized>(
    frame: &W,
    offset: usize,
    lengths: Lengths,
) -> Result<Transport, Verdict> {
    // The whole of it, although only half is looked at: the check holds for the addresses too, and
    // the verifier would not see that a later one implies it.
    let header: [u8; IPV4] = frame.at(offset).ok_or(Verdict::Malformed)?;
    let header_length = usize::from(header[0] & 0x0f) * 4;
    if header[0] >> 4 != 4 || header_length < IPV4 {
        return Err(Verdict::Malformed);
    }
    // More-fragments flag or an offset.
    if (header[6] & 0x3f) | header[7] != 0 {
        return Err(Verdict::Fragment);
    }
    let minimum = minimum(header[9], ICMP)?;
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if lengths != Lengths::Trusted {
        let is_wrong = total < header_length + minimum || offset + total > frame.length();
        if is_wrong && !lengths.leave_it_to(frame, total) {
            return Err(Verdict::Malformed);
        }
    }
    let hop_limit = header[IPV4_TTL];
    if header[9] == ICMP {
        let length = total.saturating_sub(header_length);
        return quote::ipv4(frame, offset + header_length, length, hop_limit);
    }
    transport(frame, offset + header_length, header[9], hop_limit)
}

/// Finds the transport header of the IPv6 packet at `offset`, behind at most four extension
/// headers.
///
/// # Errors
/// The verdict with which the packet passes.
#[inline(always)]
pub fn ipv6<W: Window + ?Sized>(
    frame: &W,
    offset: usize,
    lengths: Lengths,
) -> Result<Transport, Verdict> {
    let header: [u8; IPV6] = frame.at(offset).ok_or(Verdict::Malformed)?;
    if header[0] >> 4 != 6 {
        return Err(Verdict::Malformed);
    }
    let (protocol, extensions) = extensions(frame, offset + IPV6, header[6])?;
    let minimum = minimum(protocol, ICMPV6)?;
    let payload = usize::from(u16::from_be_bytes([header[4], header[5]]));
    if lengths != Lengths::Trusted {
        let is_wrong = payload < extensions + minimum || offset + IPV6 + payload > frame.length();
        if is_wrong && !lengths.leave_it_to(frame, payload) {
            return Err(Verdict::Malformed);
        }
    }
    let hop_limit = header[IPV6_HOP_LIMIT];
    let offset = offset + IPV6 + extensions;
    if protocol == ICMPV6 {
        let length = payload.saturating_sub(extensions);
        return quote::ipv6(frame, offset, length, hop_limit);
    }
    transport(frame, offset, protocol, hop_limit)
}

/// The upper-layer protocol and the length of the extension headers before it.
#[inline(always)]
fn extensions<W: Window + ?Sized>(
    frame: &W,
    start: usize,
    first: u8,
) -> Result<(u8, usize), Verdict> {
    let mut next = first;
    let mut length = 0;
    for _ in 0..EXTENSIONS {
        match next {
            HOP_BY_HOP | DESTINATION_OPTIONS | ROUTING => {
                let header: [u8; 4] = frame.at(start + length).ok_or(Verdict::Malformed)?;
                // Segments left: the destination is not the last one.
                if next == ROUTING && header[3] != 0 {
                    return Err(Verdict::OtherProtocol);
                }
                next = header[0];
                length += (usize::from(header[1]) + 1) * 8;
                if length > EXTENSIONS_LENGTH {
                    return Err(Verdict::OtherProtocol);
                }
            }
            FRAGMENT => return Err(Verdict::Fragment),
            _ => return Ok((next, length)),
        }
    }
    Ok((next, length))
}

/// The least that a packet of this protocol has behind its IP header, where ICMP has the number `icmp`.
#[inline(always)]
fn minimum(protocol: u8, icmp: u8) -> Result<usize, Verdict> {
    match protocol {
        TCP => Ok(TCP_MINIMUM),
        UDP => Ok(UDP_LENGTH),
        _ if protocol == icmp => Ok(ICMP_HEADER),
        FRAGMENT => Err(Verdict::Fragment),
        _ => Err(Verdict::OtherProtocol),
    }
}

#[inline(always)]
fn transport<W: Window + ?Sized>(
    frame: &W,
    offset: usize,
    protocol: u8,
    hop_limit: u8,
) -> Result<Transport, Verdict> {
    let ports: [u8; 4] = frame.at(offset).ok_or(Verdict::Malformed)?;
    let flags = if protocol == TCP {
        let [flags]: [u8; 1] = frame.at(offset + TCP_FLAGS).ok_or(Verdict::Malformed)?;
        flags
    } else {
        0
    };
    Ok(Transport {
        offset,
        protocol,
        hop_limit,
        source: u16::from_ne_bytes([ports[0], ports[1]]),
        destination: u16::from_ne_bytes([ports[2], ports[3]]),
        flags,
        quoted: 0,
    })
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use etherparse::PacketBuilder;
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    fn udp4(payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
            .ipv4([192, 0, 2, 1], [192, 0, 2, 2], 9)
            .udp(4000, 53)
            .write(&mut frame, payload)
            .unwrap();
        frame
    }

    fn tcp6(
        flags: impl Fn(
            etherparse::PacketBuilderStep<etherparse::TcpHeader>,
        ) -> etherparse::PacketBuilderStep<etherparse::TcpHeader>,
    ) -> Vec<u8> {
        let mut frame = Vec::new();
        let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
            .ipv6([1; 16], [2; 16], 9)
            .tcp(4000, 80, 1, 2);
        flags(builder).write(&mut frame, &[]).unwrap();
        frame
    }

    fn transport_of(frame: &[u8]) -> Result<Transport, Verdict> {
        match network(frame)? {
            Network::V4(offset) => ipv4(frame, offset, Lengths::Checked),
            Network::V6(offset) => ipv6(frame, offset, Lengths::Checked),
        }
    }

    #[test]
    fn a_plain_datagram_is_found() {
        let found = transport_of(&udp4(b"hello")).unwrap();
        assert_eq!(
            (found.offset, found.protocol, found.hop_limit),
            (34, UDP, 9)
        );
        assert_eq!(found.source.to_ne_bytes(), 4000u16.to_be_bytes());
        assert_eq!(found.destination.to_ne_bytes(), 53u16.to_be_bytes());
        assert!(!found.opens() && !found.is_mid_stream());
    }

    #[test]
    fn only_a_lone_syn_opens_a_connection() {
        let found = |frame: Vec<u8>| transport_of(&frame).unwrap().is_mid_stream();
        assert!(!found(tcp6(|tcp| tcp.syn())));
        assert!(found(tcp6(|tcp| tcp.syn().ack(1))));
        assert!(found(tcp6(|tcp| tcp.ack(1))));
        assert!(found(tcp6(|tcp| tcp.rst())));
        assert!(found(tcp6(|tcp| tcp.fin().ack(1))));
    }

    #[test]
    fn two_tags_are_looked_through_and_three_are_not() {
        let mut frame = udp4(b"");
        for tags in 1..=3 {
            frame.splice(12..12, [0x81, 0x00, 0x00, tags]);
            let found = transport_of(&frame).map(|found| found.offset);
            let expected = if tags < 3 {
                Ok(34 + 4 * usize::from(tags))
            } else {
                Err(Verdict::NotIp)
            };
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn any_sign_of_a_fragment_is_one() {
        for bytes in [[0x20, 0], [0, 1], [0x1f, 0xff], [0x20, 1]] {
            let mut frame = udp4(b"");
            frame[20..22].copy_from_slice(&bytes);
            assert_eq!(transport_of(&frame), Err(Verdict::Fragment));
        }
        let mut frame = udp4(b"");
        frame[20] = 0x40;
        assert!(
            transport_of(&frame).is_ok(),
            "don't fragment is no fragment"
        );
    }

    #[test]
    fn a_header_shorter_than_twenty_bytes_is_malformed() {
        let mut frame = udp4(b"");
        frame[14] = 0x44;
        assert_eq!(transport_of(&frame), Err(Verdict::Malformed));
    }

    #[test]
    fn padding_behind_the_packet_is_no_contradiction() {
        let mut frame = udp4(b"");
        frame.resize(60, 0);
        assert!(transport_of(&frame).is_ok());
    }

    #[test]
    fn a_routing_header_with_segments_left_is_not_for_us_to_follow() {
        let mut frame = tcp6(|tcp| tcp.syn());
        frame.splice(54..54, [TCP, 0, 0, 1, 0, 0, 0, 0]);
        frame[20] = ROUTING;
        frame[19] += 8;
        assert_eq!(transport_of(&frame), Err(Verdict::OtherProtocol));
        frame[57] = 0;
        assert_eq!(transport_of(&frame).map(|found| found.offset), Ok(62));
    }

    #[test]
    fn a_large_send_of_our_own_need_not_say_its_length() {
        let mut frame = udp4(b"");
        frame[16..18].copy_from_slice(&[0, 0]);
        assert_eq!(transport_of(&frame), Err(Verdict::Malformed));
        assert!(ipv4(&*frame, 14, Lengths::Trusted).is_ok());
    }

    #[test]
    fn a_length_of_zero_is_the_frames_where_the_field_cannot_hold_it() {
        for (payload, is_taken) in [(0, false), (70_000, true)] {
            let mut frame = udp4(b"");
            frame.resize(frame.len() + payload, 0);
            frame[16..18].copy_from_slice(&[0, 0]);
            assert_eq!(ipv4(&*frame, 14, Lengths::Merged).is_ok(), is_taken);
            assert!(ipv4(&*frame, 14, Lengths::Checked).is_err());
        }
    }

    proptest! {
        #[test]
        fn a_frame_cut_anywhere_is_malformed(payload in proptest::collection::vec(any::<u8>(), 0..64), cut in any::<prop::sample::Index>()) {
            let frame = udp4(&payload);
            let cut = cut.index(frame.len());
            prop_assert_eq!(transport_of(&frame[..cut]), Err(Verdict::Malformed));
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200), family in 0..3u8) {
            let mut frame = vec![0; 12];
            frame.extend(match family { 0 => ETHERTYPE_IPV4, 1 => ETHERTYPE_IPV6, _ => VLAN });
            frame.extend(&bytes);
            if let Ok(found) = transport_of(&frame) {
                prop_assert!(found.offset + UDP_LENGTH <= frame.len());
            }
        }

        #[test]
        fn extension_headers_are_walked_as_etherparse_walks_them(
            lengths in proptest::collection::vec(0u8..4, 0..4), kinds in proptest::collection::vec(0usize..2, 4)
        ) {
            let mut frame = tcp6(|tcp| tcp.syn());
            let mut at = 54;
            let mut field = 20;
            for (length, kind) in lengths.iter().zip(&kinds) {
                // Hop-by-hop may stand first only.
                let kind = if at == 54 && *kind == 0 { HOP_BY_HOP } else { DESTINATION_OPTIONS };
                let size = (usize::from(*length) + 1) * 8;
                let mut header = vec![0; size];
                header[0] = frame[field];
                header[1] = *length;
                frame.splice(at..at, header);
                frame[field] = kind;
                field = at;
                at += size;
            }
            let payload = u16::try_from(frame.len() - 54).unwrap();
            frame[18..20].copy_from_slice(&payload.to_be_bytes());
            let sliced = etherparse::SlicedPacket::from_ethernet(&frame).unwrap();
            prop_assert!(matches!(sliced.transport, Some(etherparse::TransportSlice::Tcp(_))));
            prop_assert_eq!(transport_of(&frame).map(|found| found.offset), Ok(at));
        }
    }
}
