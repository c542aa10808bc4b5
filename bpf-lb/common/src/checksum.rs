//! The Internet checksum, updated instead of recomputed (RFC 1624, equation 3).
//!
//! One's complement sums do not care for byte order as long as it is one order, so everything is
//! summed in the machine's own.

/// What replacing some bytes does to a checksum that covers them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change(u64);

impl Change {
    /// Nothing replaced yet.
    #[inline(always)]
    #[must_use]
    pub const fn none() -> Self {
        Self(0)
    }

    /// Also replaces the 16-bit word `old` by `new`.
    #[inline(always)]
    #[must_use]
    pub const fn word(self, old: [u8; 2], new: [u8; 2]) -> Self {
        let old = !u16::from_ne_bytes(old);
        Self(self.0 + old as u64 + u16::from_ne_bytes(new) as u64)
    }

    /// Also replaces the 32-bit word `old` by `new`.
    #[inline(always)]
    #[must_use]
    pub const fn double(self, old: [u8; 4], new: [u8; 4]) -> Self {
        let old = !u32::from_ne_bytes(old);
        Self(self.0 + old as u64 + u32::from_ne_bytes(new) as u64)
    }

    /// Also replaces an IPv6 address.
    #[inline(always)]
    #[must_use]
    pub const fn address6(self, old: [u8; 16], new: [u8; 16]) -> Self {
        let old = quarters(old);
        let new = quarters(new);
        self.double(old[0], new[0])
            .double(old[1], new[1])
            .double(old[2], new[2])
            .double(old[3], new[3])
    }

    /// What is added to a sum of the bytes.
    #[inline(always)]
    #[must_use]
    pub const fn difference(self) -> u16 {
        fold(self.0)
    }

    /// The checksum `checksum` after the change.
    #[inline(always)]
    #[must_use]
    pub const fn apply(self, checksum: [u8; 2]) -> [u8; 2] {
        let kept = !u16::from_ne_bytes(checksum);
        (!fold(self.0 + kept as u64)).to_ne_bytes()
    }

    /// A UDP checksum after the change: one of zero means "none" and stays (RFC 768), and one
    /// that comes out as zero is sent as its other representation.
    #[inline(always)]
    #[must_use]
    pub const fn apply_udp(self, checksum: [u8; 2]) -> [u8; 2] {
        if u16::from_ne_bytes(checksum) == 0 {
            return checksum;
        }
        self.apply_above_zero(checksum)
    }

    /// The checksum `checksum` after the change, by its other representation where it comes out as zero: that one is right
    /// also where nothing else is left of what it covers.
    #[inline(always)]
    #[must_use]
    pub const fn apply_above_zero(self, checksum: [u8; 2]) -> [u8; 2] {
        let updated = self.apply(checksum);
        if u16::from_ne_bytes(updated) == 0 {
            [0xff, 0xff]
        } else {
            updated
        }
    }
}

#[inline(always)]
const fn quarters(address: [u8; 16]) -> [[u8; 4]; 4] {
    let a = address;
    [
        [a[0], a[1], a[2], a[3]],
        [a[4], a[5], a[6], a[7]],
        [a[8], a[9], a[10], a[11]],
        [a[12], a[13], a[14], a[15]],
    ]
}

/// The 16-bit one's complement sum of a sum of less than 2^48.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "two foldings leave 17 bits, the third 16"
)]
const fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    /// Straight from RFC 1071, over big-endian words.
    fn recompute(bytes: &[u8]) -> [u8; 2] {
        let mut sum: u64 = 0;
        for pair in bytes.chunks(2) {
            sum += u64::from(u16::from_be_bytes([
                pair[0],
                pair.get(1).copied().unwrap_or(0),
            ]));
        }
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        #[expect(clippy::cast_possible_truncation, reason = "folded above")]
        let folded = sum as u16;
        (!folded).to_be_bytes()
    }

    #[test]
    fn the_example_of_rfc_1624_comes_out_as_written() {
        let change = Change::none().word([0x55, 0x55], [0x32, 0x85]);
        assert_eq!(change.apply([0xdd, 0x2f]), [0x00, 0x00]);
    }

    proptest! {
        #[test]
        fn an_update_equals_a_recomputation(
            mut bytes in proptest::collection::vec(any::<u8>(), 20..80),
            address in any::<[u8; 4]>(),
            port in any::<[u8; 2]>(),
        ) {
            // Not all zero: real packets are not, and there the two zeros differ.
            bytes[19] = 1;
            let before = recompute(&bytes);
            let old: [u8; 4] = bytes[..4].try_into().unwrap();
            let old_port: [u8; 2] = bytes[6..8].try_into().unwrap();
            let change = Change::none().double(old, address).word(old_port, port);
            bytes[..4].copy_from_slice(&address);
            bytes[6..8].copy_from_slice(&port);
            prop_assert_eq!(change.apply(before), recompute(&bytes));
        }

        #[test]
        fn an_ipv6_address_counts_like_its_words(
            old in any::<[u8; 16]>(), new in any::<[u8; 16]>(), rest in any::<[u8; 9]>()
        ) {
            let mut bytes: Vec<u8> = old.to_vec();
            bytes.extend(rest);
            bytes.push(1);
            let before = recompute(&bytes);
            bytes[..16].copy_from_slice(&new);
            prop_assert_eq!(Change::none().address6(old, new).apply(before), recompute(&bytes));
        }

        #[test]
        fn a_change_and_its_reverse_cancel(
            checksum in 0u16..0xffff, old in any::<[u8; 4]>(), new in any::<[u8; 4]>()
        ) {
            let there = Change::none().double(old, new).apply(checksum.to_be_bytes());
            let back = Change::none().double(new, old).apply(there);
            prop_assert_eq!(u16::from_be_bytes(back), checksum);
        }

        #[test]
        fn a_udp_checksum_is_zero_only_if_it_was(
            checksum in any::<u16>(), old in any::<[u8; 4]>(), new in any::<[u8; 4]>()
        ) {
            let after = Change::none().double(old, new).apply_udp(checksum.to_be_bytes());
            prop_assert_eq!(after == [0, 0], checksum == 0);
        }
    }
}
