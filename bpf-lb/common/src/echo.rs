//! Echo requests, and how they become answers in place: addresses and Ethernet addresses change sides, the type becomes
//! that of a reply, and the hop limit is a new one. What was sent comes back, and nothing beside it.
//!
//! Only what is plain is answered: nothing optional in the IP header, one host asking. So an answer is as long as its
//! question and goes to one host. Checksums are updated, never recomputed: what was wrong stays wrong.

use crate::checksum::Change;
use crate::layout::{
    IPV4, IPV4_CHECKSUM, IPV4_DESTINATION, IPV4_SOURCE, IPV4_TTL, IPV6, IPV6_DESTINATION,
    IPV6_HOP_LIMIT, IPV6_SOURCE,
};
use crate::quote::{ICMP, ICMP_CHECKSUM, ICMP_HEADER, ICMPV6, IPV4_PROTOCOL, IPV6_NEXT};

/// With this port and ICMP as its protocol an address stands among the frontends whose echo requests are answered.
pub const PORT: u16 = 0;
/// What an answer sets out with, as the kernel's own do.
pub const HOP_LIMIT: u8 = 64;

/// The headers of an IPv4 echo request.
pub type Request4 = [u8; IPV4 + ICMP_HEADER];
/// The headers of an IPv6 echo request.
pub type Request6 = [u8; IPV6 + ICMP_HEADER];

/// Type and code of a question.
pub const REQUEST4: [u8; 2] = [8, 0];
/// An answer's.
pub const REPLY4: [u8; 2] = [0, 0];
/// A question's by ICMPv6.
pub const REQUEST6: [u8; 2] = [128, 0];
/// An answer's by ICMPv6.
pub const REPLY6: [u8; 2] = [129, 0];

/// Whether these are the headers of a plain echo request from one host to another. That it is no fragment was found before.
#[inline(always)]
#[must_use]
pub fn is_request4(packet: &Request4) -> bool {
    let is_echo = packet[0] == 0x45
        && packet[IPV4_PROTOCOL] == ICMP
        && [packet[IPV4], packet[IPV4 + 1]] == REQUEST4;
    let (source, destination) = (IPV4_SOURCE, IPV4_DESTINATION);
    // This network, loopback, groups, reserved ones and the broadcast address ask nobody.
    let is_host = !matches!(packet[source], 0 | 127 | 224..);
    let is_another = (0..4).any(|at| packet[source + at] != packet[destination + at]);
    is_echo && is_host && is_another
}

/// The same of IPv6.
#[inline(always)]
#[must_use]
pub fn is_request6(packet: &Request6) -> bool {
    let is_echo = packet[0] >> 4 == 6
        && packet[IPV6_NEXT] == ICMPV6
        && [packet[IPV6], packet[IPV6 + 1]] == REQUEST6;
    let (source, destination) = (IPV6_SOURCE, IPV6_DESTINATION);
    // Groups, and what begins with zeros: none, loopback, what stands for an IPv4 address.
    let is_host = packet[source] != 0xff && (0..8).any(|at| packet[source + at] != 0);
    let is_another = (0..16).any(|at| packet[source + at] != packet[destination + at]);
    is_echo && is_host && is_another
}

/// Makes a request the answer to it.
#[inline(always)]
pub fn answer4(packet: &mut Request4) {
    let ttl = [packet[IPV4_TTL], packet[IPV4_PROTOCOL]];
    // The addresses change places, and their sum is the same.
    let change = Change::none().word(ttl, [HOP_LIMIT, ttl[1]]);
    let checksum = change.apply([packet[IPV4_CHECKSUM], packet[IPV4_CHECKSUM + 1]]);
    packet[IPV4_TTL] = HOP_LIMIT;
    packet[IPV4_CHECKSUM] = checksum[0];
    packet[IPV4_CHECKSUM + 1] = checksum[1];
    for at in 0..4 {
        packet.swap(IPV4_SOURCE + at, IPV4_DESTINATION + at);
    }
    reply(packet, IPV4, REQUEST4, REPLY4);
}

/// The same of IPv6.
#[inline(always)]
pub fn answer6(packet: &mut Request6) {
    packet[IPV6_HOP_LIMIT] = HOP_LIMIT;
    for at in 0..16 {
        packet.swap(IPV6_SOURCE + at, IPV6_DESTINATION + at);
    }
    reply(packet, IPV6, REQUEST6, REPLY6);
}

/// Type, code and checksum of the message behind `header` bytes.
#[inline(always)]
fn reply<const N: usize>(packet: &mut [u8; N], header: usize, before: [u8; 2], after: [u8; 2]) {
    let at = header + ICMP_CHECKSUM;
    // An IPv4 answer may be all zeros otherwise.
    let change = Change::none().word(before, after);
    let checksum = change.apply_above_zero([packet[at], packet[at + 1]]);
    packet[header] = after[0];
    packet[header + 1] = after[1];
    packet[at] = checksum[0];
    packet[at + 1] = checksum[1];
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use etherparse::{IcmpEchoHeader, Icmpv4Type, Icmpv6Type, PacketBuilder, SlicedPacket};
    use proptest::prelude::*;
    use std::vec::Vec;

    const CLIENT4: [u8; 4] = [198, 51, 100, 7];
    const VIP4: [u8; 4] = [192, 0, 2, 10];
    const CLIENT6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
    const VIP6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10];

    fn request4(from: [u8; 4], to: [u8; 4], ttl: u8, id: u16, seq: u16, data: &[u8]) -> Vec<u8> {
        let mut packet = Vec::new();
        PacketBuilder::ipv4(from, to, ttl)
            .icmpv4_echo_request(id, seq)
            .write(&mut packet, data)
            .unwrap();
        packet
    }

    fn request6(
        from: [u8; 16],
        to: [u8; 16],
        limit: u8,
        id: u16,
        seq: u16,
        data: &[u8],
    ) -> Vec<u8> {
        let mut packet = Vec::new();
        PacketBuilder::ipv6(from, to, limit)
            .icmpv6_echo_request(id, seq)
            .write(&mut packet, data)
            .unwrap();
        packet
    }

    /// Whether a receiver takes these bytes, with their checksum among them.
    fn sums_up(bytes: &[u8]) -> bool {
        let mut sum: u32 = 0;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        }
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum == 0xffff
    }

    /// What the checksum of an ICMPv6 packet covers.
    fn covered6(packet: &[u8]) -> Vec<u8> {
        let length = u32::try_from(packet.len() - IPV6).unwrap();
        let mut all = packet[IPV6_SOURCE..IPV6].to_vec();
        all.extend(length.to_be_bytes());
        all.extend([0, 0, 0, ICMPV6]);
        all.extend(&packet[IPV6..]);
        all
    }

    fn echo4(packet: &mut [u8]) -> bool {
        let Some(packet) = packet.first_chunk_mut() else {
            return false;
        };
        let is_request = is_request4(packet);
        if is_request {
            answer4(packet);
        }
        is_request
    }

    fn echo6(packet: &mut [u8]) -> bool {
        let Some(packet) = packet.first_chunk_mut() else {
            return false;
        };
        let is_request = is_request6(packet);
        if is_request {
            answer6(packet);
        }
        is_request
    }

    #[test]
    fn an_answer_of_nothing_but_zeros_has_a_checksum_that_is_right() {
        let mut packet = request4(CLIENT4, VIP4, 64, 0, 0, &[0; 8]);
        assert!(echo4(&mut packet));
        assert_eq!(packet[20..24], [0, 0, 0xff, 0xff]);
        assert!(sums_up(&packet[20..]));
    }

    #[test]
    fn what_no_single_host_asks_is_no_request() {
        for from in [
            [0, 0, 0, 0],
            [127, 0, 0, 1],
            [224, 0, 0, 1],
            [240, 0, 0, 1],
            [255; 4],
            VIP4,
        ] {
            assert!(
                !echo4(&mut request4(from, VIP4, 64, 1, 1, b"data")),
                "{from:?}"
            );
        }
        let mut mapped = [0; 16];
        mapped[10..].copy_from_slice(&[0xff, 0xff, 192, 0, 2, 1]);
        let mut loopback = [0; 16];
        loopback[15] = 1;
        let mut all_nodes = loopback;
        all_nodes[..2].copy_from_slice(&[0xff, 2]);
        for from in [[0; 16], loopback, all_nodes, mapped, VIP6] {
            assert!(
                !echo6(&mut request6(from, VIP6, 64, 1, 1, b"data")),
                "{from:?}"
            );
        }
    }

    #[test]
    fn only_a_plain_echo_request_is_one() {
        let plain = request4(CLIENT4, VIP4, 64, 1, 1, b"data");
        for (at, byte) in [
            (0, 0x46),
            (0, 0x65),
            (9, 6),
            (9, 58),
            (20, 0),
            (20, 3),
            (20, 13),
            (21, 1),
        ] {
            let mut other = plain.clone();
            other[at] = byte;
            assert!(!echo4(&mut other), "{at}: {byte}");
        }
        let plain = request6(CLIENT6, VIP6, 64, 1, 1, b"data");
        for (at, byte) in [
            (0, 0x45),
            (6, 0),
            (6, 1),
            (6, 60),
            (40, 129),
            (40, 8),
            (40, 135),
            (41, 1),
        ] {
            let mut other = plain.clone();
            other[at] = byte;
            assert!(!echo6(&mut other), "{at}: {byte}");
        }
    }

    proptest! {
        #[test]
        fn an_ipv4_request_becomes_its_answer(
            ttl in 1u8.., id in any::<u16>(), seq in any::<u16>(), data in proptest::collection::vec(any::<u8>(), 0..90)
        ) {
            let mut packet = request4(CLIENT4, VIP4, ttl, id, seq, &data);
            prop_assert!(echo4(&mut packet));
            prop_assert!(sums_up(&packet[..IPV4]) && sums_up(&packet[IPV4..]));
            let seen = SlicedPacket::from_ip(&packet).unwrap();
            let etherparse::NetSlice::Ipv4(ip) = seen.net.unwrap() else { unreachable!() };
            let header = ip.header();
            prop_assert_eq!((header.source(), header.destination(), header.ttl()), (VIP4, CLIENT4, HOP_LIMIT));
            let Some(etherparse::TransportSlice::Icmpv4(icmp)) = seen.transport else { unreachable!() };
            prop_assert_eq!(icmp.icmp_type(), Icmpv4Type::EchoReply(IcmpEchoHeader { id, seq }));
            prop_assert_eq!(icmp.payload(), &data[..]);
        }

        #[test]
        fn an_ipv6_request_becomes_its_answer(
            limit in 1u8.., id in any::<u16>(), seq in any::<u16>(), data in proptest::collection::vec(any::<u8>(), 0..90)
        ) {
            let mut packet = request6(CLIENT6, VIP6, limit, id, seq, &data);
            prop_assert!(echo6(&mut packet));
            prop_assert!(sums_up(&covered6(&packet)));
            let seen = SlicedPacket::from_ip(&packet).unwrap();
            let etherparse::NetSlice::Ipv6(ip) = seen.net.unwrap() else { unreachable!() };
            let header = ip.header();
            prop_assert_eq!((header.source(), header.destination(), header.hop_limit()), (VIP6, CLIENT6, HOP_LIMIT));
            let Some(etherparse::TransportSlice::Icmpv6(icmp)) = seen.transport else { unreachable!() };
            prop_assert_eq!(icmp.icmp_type(), Icmpv6Type::EchoReply(IcmpEchoHeader { id, seq }));
            prop_assert_eq!(icmp.payload(), &data[..]);
        }

        #[test]
        fn any_bytes_are_answered_to_whom_they_name_as_their_sender(bytes in any::<[u8; 48]>(), is_plain in any::<bool>()) {
            let mut four = bytes;
            let mut six = bytes;
            if is_plain {
                (four[0], four[9], four[20], four[21]) = (0x45, ICMP, 8, 0);
                (six[0], six[6], six[40], six[41]) = (0x60, ICMPV6, 128, 0);
            }
            let before = four;
            if echo4(&mut four) {
                prop_assert_eq!(&four[16..20], &before[12..16]);
                prop_assert_eq!(&four[24..], &before[24..]);
            } else {
                prop_assert_eq!(four, before);
            }
            let before = six;
            if echo6(&mut six) {
                prop_assert_eq!(&six[24..40], &before[8..24]);
                prop_assert_eq!(&six[44..], &before[44..]);
            } else {
                prop_assert_eq!(six, before);
            }
        }
    }
}
