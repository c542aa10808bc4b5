//! Which addresses an ARP packet or a neighbour message is about.
//!
//! It is the socket filter's question, not the answer's: nothing is checked that the announcer checks again, and a
//! frame is only left out when it names no address of interest, or is something else.
//!
//! Invariant: whatever the announcer would answer or report is of concern here.

use crate::headers::{ETHERNET, IPV6, Window};

/// An address in words, as it lies in a packet: the verifier wants whole words on the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// 4 or 6.
    pub family: u32,
    /// An IPv4 address in the first word.
    pub words: [u64; 2],
}

impl Address {
    /// An IPv4 address.
    #[inline(always)]
    #[must_use]
    pub const fn v4(octets: [u8; 4]) -> Self {
        Self::of_word(u32::from_ne_bytes(octets))
    }

    #[inline(always)]
    const fn of_word(word: u32) -> Self {
        Self {
            family: 4,
            words: [word as u64, 0],
        }
    }

    /// An IPv6 address.
    #[inline(always)]
    #[must_use]
    pub const fn v6(octets: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = octets;
        Self::of_words([
            u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
            u64::from_ne_bytes([i, j, k, l, m, n, o, p]),
        ])
    }

    #[inline(always)]
    const fn of_words(words: [u64; 2]) -> Self {
        Self { family: 6, words }
    }
}

/// An address on an interface, as the filter looks it up.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AddressKey {
    /// [`Address::words`].
    pub words: [u64; 2],
    /// [`Address::family`].
    pub family: u32,
    /// Index of the interface.
    pub ifindex: u32,
}

const _: () = assert!(size_of::<AddressKey>() == 24, "padding");

#[cfg(feature = "user")]
// SAFETY: `repr(C)`, made of plain integers, without padding as asserted above.
unsafe impl aya::Pod for AddressKey {}

impl AddressKey {
    /// `address` on the interface `ifindex`.
    #[inline(always)]
    #[must_use]
    pub const fn new(address: Address, ifindex: u32) -> Self {
        Self {
            words: address.words,
            family: address.family,
            ifindex,
        }
    }
}

/// Name of the map of [`AddressKey`]s.
pub const ADDRESSES: &str = "LF_ADDRESSES";
/// Name of the program.
pub const FILTER: &str = "landfall_filter";

/// Name of the map that counts the frames left out, by [`LeftOut`].
pub const LEFT_OUT: &str = "LF_LEFT_OUT";

/// Why a frame was left out.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftOut {
    /// It had a VLAN tag.
    Tagged,
    /// Unicast to another Ethernet address.
    ToOthers,
    /// Sent by this host.
    Outgoing,
    /// Neither an ARP packet nor a neighbour message.
    NotNeighbour,
    /// About addresses that are not in the map.
    NotKnown,
    /// More came than there is room for, and others came first: [`crate::fairness`].
    Crowded,
}

impl LeftOut {
    /// Every reason, each at the position of its number.
    pub const ALL: [Self; 6] = [
        Self::Tagged,
        Self::ToOthers,
        Self::Outgoing,
        Self::NotNeighbour,
        Self::NotKnown,
        Self::Crowded,
    ];
}

/// A frame that is read a word at a time; each as it lies there.
pub trait Words {
    /// One byte.
    fn byte(&self, offset: usize) -> Option<u8>;
    /// Two bytes.
    fn half(&self, offset: usize) -> Option<u16>;
    /// Four bytes.
    fn word(&self, offset: usize) -> Option<u32>;
    /// Sixteen bytes.
    fn pair(&self, offset: usize) -> Option<[u64; 2]>;
}

impl Words for [u8] {
    fn byte(&self, offset: usize) -> Option<u8> {
        self.get(offset).copied()
    }

    fn half(&self, offset: usize) -> Option<u16> {
        self.at(offset).map(u16::from_ne_bytes)
    }

    fn word(&self, offset: usize) -> Option<u32> {
        self.at(offset).map(u32::from_ne_bytes)
    }

    fn pair(&self, offset: usize) -> Option<[u64; 2]> {
        self.at(offset).map(|octets| Address::v6(octets).words)
    }
}

const ETHERTYPE_ARP: u16 = 0x0806_u16.to_be();
const ETHERTYPE_IPV6: u16 = 0x86dd_u16.to_be();
const ICMPV6: u8 = 58;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// Extension headers followed, as many as the announcer follows.
const EXTENSIONS: usize = 8;

/// What a frame has to do with an address of interest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concern {
    /// The address.
    pub address: Address,
    /// Whether somebody says to have it; otherwise somebody asks for it.
    pub claim: bool,
}

/// What an untagged Ethernet frame, if it is an ARP packet or a neighbour message, has to do with an address that
/// `known` knows.
#[inline(always)]
pub fn concern<W: Words + ?Sized>(frame: &W, known: impl Fn(Address) -> bool) -> Option<Concern> {
    let (speaker, target, says) = match frame.half(ETHERNET - 2) {
        Some(ETHERTYPE_ARP) => {
            // The target comes last: with it the packet is all there.
            let target = Address::of_word(frame.word(ETHERNET + 24)?);
            (Address::of_word(frame.word(ETHERNET + 14)?), target, false)
        }
        Some(ETHERTYPE_IPV6) => {
            let (offset, says) = message(frame)?;
            let target = Address::of_words(frame.pair(offset + 8)?);
            (Address::of_words(frame.pair(ETHERNET + 8)?), target, says)
        }
        _ => return None,
    };
    if known(target) {
        let claim = says || speaker == target || known(speaker);
        let address = target;
        return Some(Concern { address, claim });
    }
    known(speaker).then_some(Concern {
        address: speaker,
        claim: true,
    })
}

/// Where the neighbour message of an IPv6 packet begins, if it is one, and whether it is an advertisement.
#[inline(always)]
fn message<W: Words + ?Sized>(frame: &W) -> Option<(usize, bool)> {
    let mut next = frame.byte(ETHERNET + 6)?;
    let mut offset = ETHERNET + IPV6;
    for _ in 0..=EXTENSIONS {
        match next {
            ICMPV6 => {
                return match frame.byte(offset)? {
                    SOLICITATION => Some((offset, false)),
                    ADVERTISEMENT => Some((offset, true)),
                    _ => None,
                };
            }
            // Hop-by-hop, routing, destination options.
            0 | 43 | 60 => {
                next = frame.byte(offset)?;
                offset += (frame.byte(offset + 1)? as usize + 1) * 8;
            }
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec;
    use std::vec::Vec;

    fn arp_frame(sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
        let mut frame = vec![0; 42];
        frame[12..14].copy_from_slice(&ETHERTYPE_ARP.to_ne_bytes());
        frame[28..32].copy_from_slice(&sender);
        frame[38..42].copy_from_slice(&target);
        frame
    }

    fn neighbour_frame(kind: u8, source: [u8; 16], target: [u8; 16]) -> Vec<u8> {
        let mut frame = vec![0; 78];
        frame[12..14].copy_from_slice(&ETHERTYPE_IPV6.to_ne_bytes());
        frame[20] = ICMPV6;
        frame[22..38].copy_from_slice(&source);
        frame[54] = kind;
        frame[62..78].copy_from_slice(&target);
        frame
    }

    const MINE: [u8; 4] = [192, 0, 2, 1];
    const OTHER: [u8; 4] = [192, 0, 2, 2];
    const MINE6: [u8; 16] = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    const OTHER6: [u8; 16] = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];

    fn concern_of(frame: &[u8]) -> Option<Concern> {
        concern(frame, |address| {
            [Address::v4(MINE), Address::v6(MINE6)].contains(&address)
        })
    }

    fn concerned(frame: &[u8]) -> bool {
        concern_of(frame).is_some()
    }

    fn claim(address: Address) -> Option<Concern> {
        let claim = true;
        Some(Concern { address, claim })
    }

    fn question(address: Address) -> Option<Concern> {
        let claim = false;
        Some(Concern { address, claim })
    }

    #[test]
    fn who_speaks_for_an_address_claims_it_and_who_asks_for_it_does_not() {
        let (mine, mine6) = (Address::v4(MINE), Address::v6(MINE6));
        assert_eq!(concern_of(&arp_frame(OTHER, MINE)), question(mine));
        assert_eq!(concern_of(&arp_frame([0; 4], MINE)), question(mine));
        assert_eq!(concern_of(&arp_frame(MINE, OTHER)), claim(mine));
        assert_eq!(concern_of(&arp_frame(MINE, MINE)), claim(mine));
        let solicits = |source, target| concern_of(&neighbour_frame(SOLICITATION, source, target));
        assert_eq!(solicits(OTHER6, MINE6), question(mine6));
        assert_eq!(solicits(MINE6, OTHER6), claim(mine6));
        let advertises = |source| concern_of(&neighbour_frame(ADVERTISEMENT, source, MINE6));
        assert_eq!(advertises(OTHER6), claim(mine6));
    }

    #[test]
    fn every_reason_is_at_the_position_of_its_number() {
        for (position, reason) in LeftOut::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, position);
        }
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
        let (mine, other) = (MINE6, OTHER6);
        for kind in [SOLICITATION, ADVERTISEMENT] {
            assert!(concerned(&neighbour_frame(kind, other, mine)));
            assert!(concerned(&neighbour_frame(kind, mine, other)));
            assert!(!concerned(&neighbour_frame(kind, other, other)));
        }
        assert!(!concerned(&neighbour_frame(134, mine, mine)), "a router's");
    }

    #[test]
    fn eight_extension_headers_are_walked_and_a_ninth_is_not() {
        let mut frame = neighbour_frame(SOLICITATION, [0; 16], MINE6);
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
            neighbour_frame(SOLICITATION, [0; 16], MINE6),
        ] {
            assert!(concerned(&frame));
            for length in 0..frame.len() {
                assert!(!concerned(&frame[..length]), "{length}");
            }
        }
    }
}
