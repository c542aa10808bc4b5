//! Where a frontend is looked for first: at one of two places of an array, by its address, port and protocol, without a
//! call into the kernel's hash.
//!
//! Bytes are taken in the order of the wire: addresses and ports that follow each other differ at the end, and only what
//! is low in a word reaches all of a product's bits.

/// As many places has each family.
pub const PLACES: u32 = 1 << 16;

/// Odd, without a pattern (the golden ratio's bits, and the two of MurmurHash3).
const FACTORS: [u64; 3] = [
    0x9e37_79b9_7f4a_7c15,
    0xff51_afd7_ed55_8ccd,
    0xc4ce_b9fe_1a85_ec53,
];

/// The places of an IPv4 frontend; its key as one word, in the order of memory.
#[inline(always)]
#[must_use]
pub const fn places4(key: u64) -> [u32; 2] {
    both(u64::from_be(key).wrapping_mul(FACTORS[0]))
}

/// The places of an IPv6 frontend; its key in words, in the order of memory.
#[inline(always)]
#[must_use]
pub const fn places6(address: [u64; 2], service: u32) -> [u32; 2] {
    let [high, low] = [u64::from_be(address[0]), u64::from_be(address[1])];
    let service = u32::from_be(service) as u64;
    // Side by side: none of them waits for another one.
    both(
        high.wrapping_mul(FACTORS[1])
            ^ low.wrapping_mul(FACTORS[0])
            ^ service.wrapping_mul(FACTORS[2]),
    )
}

/// Two places of a hash whose upper bits are the better ones.
#[inline(always)]
const fn both(hash: u64) -> [u32; 2] {
    let other = ((hash >> 32) ^ (hash >> 24)) << (u64::BITS - 16);
    [place(hash), place(other)]
}

/// The upper bits.
#[inline(always)]
const fn place(hash: u64) -> u32 {
    (hash >> (u64::BITS - 16)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    extern crate std;
    use std::collections::BTreeSet;
    use std::vec::Vec;

    fn key4(address: u32, port: u16, protocol: u8) -> u64 {
        let [a, b, c, d] = address.to_be_bytes();
        let [e, f] = port.to_be_bytes();
        u64::from_ne_bytes([a, b, c, d, e, f, protocol, 0])
    }

    fn at6(address: u128, port: u16, protocol: u8) -> [u32; 2] {
        let [e, f] = port.to_be_bytes();
        let bytes = address.to_be_bytes();
        let (high, low) = bytes.split_at(8);
        places6(
            [high, low].map(|half| u64::from_ne_bytes(half.try_into().unwrap())),
            u32::from_ne_bytes([e, f, protocol, 0]),
        )
    }

    /// How many of a hundred find both their places taken.
    fn beside(all: impl Iterator<Item = [u32; 2]>) -> f64 {
        let (mut taken, mut count, mut beside) = (BTreeSet::new(), 0, 0);
        for places in all {
            count += 1;
            if !places.into_iter().any(|place| taken.insert(place)) {
                beside += 1;
            }
        }
        f64::from(beside) * 100.0 / f64::from(count)
    }

    #[test]
    fn of_ten_thousand_frontends_hardly_any_finds_both_its_places_taken() {
        // Services of a pool, of a few addresses with many ports, of two protocols, of many subnets.
        let pool = |n: u32| (0xc000_0200 + n, 80, 6);
        let ports = |n: u32| (0xc000_0200 + n % 4, 1024 + u16::try_from(n / 4).unwrap(), 6);
        let pairs = |n: u32| {
            (
                0xc000_0200 + n / 2,
                53,
                if n.is_multiple_of(2) { 6 } else { 17 },
            )
        };
        let subnets = |n: u32| (0x0a00_0001 + (n << 8), 443, 6);
        for many in [pool, ports, pairs, subnets] as [fn(u32) -> (u32, u16, u8); 4] {
            let four = (0..10_000).map(|n| {
                let (address, port, protocol) = many(n);
                places4(key4(address, port, protocol))
            });
            let four = beside(four.collect::<Vec<_>>().into_iter());
            assert!(four < 4.0, "{four} %");
            for shift in [0, 16, 64] {
                let six = (0..10_000).map(|n| {
                    let (address, port, protocol) = many(n);
                    let address = (0x2001_0db8_u128 << 96) | (u128::from(address) << shift);
                    at6(address, port, protocol)
                });
                let six = beside(six);
                assert!(six < 4.0, "{six} %, shifted by {shift}");
            }
        }
    }

    #[test]
    fn every_place_is_one_of_the_array() {
        for word in [0, 1, u64::MAX, 0x8000_0000_0000_0000] {
            assert!(places4(word).iter().all(|place| *place < PLACES));
            assert!(
                places6([word, !word], 7)
                    .iter()
                    .all(|place| *place < PLACES)
            );
        }
    }
}
