//! Which addresses an ARP packet or a neighbour message is about.
//!
//! It is the socket filter's question, not the answer's: nothing is checked that the announcer checks again, and a
//! frame is only left out when it names no address of interest, or is something else.
//!
//! Invariant: whatever the announcer would answer or report is of concern here.

use crate::headers::{ETHERNET, IPV6, Window};

/// An address on an interface, as the filter looks it up. IPv4 addresses are mapped (`::ffff:a.b.c.d`).
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AddressKey {
    /// The address.
    pub address: [u8; 16],
    /// Index of the interface.
    pub ifindex: u32,
    /// Zero.
    pub zero: u32,
}

const _: () = assert!(size_of::<AddressKey>() == 24, "padding");

#[cfg(feature = "user")]
// SAFETY: `repr(C)`, made of plain integers, without padding as asserted above.
unsafe impl aya::Pod for AddressKey {}

/// Name of the map of [`AddressKey`]s.
pub const ADDRESSES: &str = "LF_ADDRESSES";
/// Name of the program.
pub const FILTER: &str = "landfall_filter";

const ETHERTYPE_ARP: [u8; 2] = [0x08, 0x06];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
const ICMPV6: u8 = 58;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// Extension headers followed, as many as the announcer follows.
const EXTENSIONS: usize = 8;

/// An IPv4 address in the form of [`AddressKey::address`].
#[inline(always)]
#[must_use]
pub const fn mapped([a, b, c, d]: [u8; 4]) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}

/// Whether an untagged Ethernet frame is an ARP packet or a neighbour message from or about an address that `known`
/// knows.
#[inline(always)]
pub fn concerns<W: Window + ?Sized>(frame: &W, known: impl Fn([u8; 16]) -> bool) -> bool {
    match frame.at(ETHERNET - 2) {
        Some(ETHERTYPE_ARP) => arp(frame, known),
        Some(ETHERTYPE_IPV6) => neighbour(frame, known),
        _ => false,
    }
}

#[inline(always)]
fn arp<W: Window + ?Sized>(frame: &W, known: impl Fn([u8; 16]) -> bool) -> bool {
    let Some(packet) = frame.at::<28>(ETHERNET) else {
        return false;
    };
    let sender = mapped([packet[14], packet[15], packet[16], packet[17]]);
    let target = mapped([packet[24], packet[25], packet[26], packet[27]]);
    known(target) || known(sender)
}

#[inline(always)]
fn neighbour<W: Window + ?Sized>(frame: &W, known: impl Fn([u8; 16]) -> bool) -> bool {
    let Some(mut next) = frame.at::<1>(ETHERNET + 6).map(|[next]| next) else {
        return false;
    };
    let mut offset = ETHERNET + IPV6;
    for _ in 0..=EXTENSIONS {
        match next {
            ICMPV6 => {
                let kind = frame.at::<1>(offset);
                if kind != Some([SOLICITATION]) && kind != Some([ADVERTISEMENT]) {
                    return false;
                }
                let target = frame.at::<16>(offset + 8);
                let source = frame.at::<16>(ETHERNET + 8);
                return target.is_some_and(&known) || source.is_some_and(&known);
            }
            // Hop-by-hop, routing, destination options.
            0 | 43 | 60 => {
                let Some([following, units]) = frame.at::<2>(offset) else {
                    return false;
                };
                next = following;
                offset += (units as usize + 1) * 8;
            }
            _ => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec;
    use std::vec::Vec;

    fn arp_frame(sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
        let mut frame = vec![0; 42];
        frame[12..14].copy_from_slice(&ETHERTYPE_ARP);
        frame[28..32].copy_from_slice(&sender);
        frame[38..42].copy_from_slice(&target);
        frame
    }

    fn neighbour_frame(kind: u8, source: [u8; 16], target: [u8; 16]) -> Vec<u8> {
        let mut frame = vec![0; 78];
        frame[12..14].copy_from_slice(&ETHERTYPE_IPV6);
        frame[20] = ICMPV6;
        frame[22..38].copy_from_slice(&source);
        frame[54] = kind;
        frame[62..78].copy_from_slice(&target);
        frame
    }

    const MINE: [u8; 4] = [192, 0, 2, 1];
    const OTHER: [u8; 4] = [192, 0, 2, 2];

    fn concerned(frame: &[u8]) -> bool {
        concerns(frame, |address| address == mapped(MINE))
    }

    #[test]
    fn an_arp_packet_concerns_its_sender_and_its_target_and_nobody_else() {
        for (sender, target, expected) in [
            (MINE, OTHER, true),
            (OTHER, MINE, true),
            (MINE, MINE, true),
            (OTHER, OTHER, false),
            ([0; 4], OTHER, false),
        ] {
            assert_eq!(concerned(&arp_frame(sender, target)), expected);
        }
    }

    #[test]
    fn a_neighbour_message_concerns_its_target_and_its_source() {
        let (mine, other) = (mapped(MINE), mapped(OTHER));
        for kind in [SOLICITATION, ADVERTISEMENT] {
            assert!(concerned(&neighbour_frame(kind, other, mine)));
            assert!(concerned(&neighbour_frame(kind, mine, other)));
            assert!(!concerned(&neighbour_frame(kind, other, other)));
        }
        assert!(!concerned(&neighbour_frame(134, mine, mine)), "a router's");
    }

    #[test]
    fn eight_extension_headers_are_walked_and_a_ninth_is_not() {
        let mut frame = neighbour_frame(SOLICITATION, [0; 16], mapped(MINE));
        for count in 1..=9 {
            frame.splice(54..54, [frame[20], 0, 0, 0, 0, 0, 0, 0]);
            frame[20] = 60;
            assert_eq!(concerned(&frame), count < 9, "{count}");
        }
    }

    #[test]
    fn a_frame_cut_anywhere_is_survived_and_concerns_nobody() {
        for frame in [
            arp_frame(OTHER, MINE),
            neighbour_frame(SOLICITATION, [0; 16], mapped(MINE)),
        ] {
            assert!(concerned(&frame));
            for length in 0..frame.len() {
                assert!(!concerned(&frame[..length]), "{length}");
            }
        }
    }
}
