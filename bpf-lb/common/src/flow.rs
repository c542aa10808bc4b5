//! From a packet's client to its slot. Every node computes the same, whatever its byte order.

const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
const STIR: u64 = 0xd6e8_feb8_6659_fd93;

#[inline(always)]
const fn stir(value: u64) -> u64 {
    let value = value.wrapping_mul(SPREAD);
    let value = (value ^ (value >> 32)).wrapping_mul(STIR);
    value ^ (value >> 32)
}

#[inline(always)]
const fn upper(value: u64) -> u32 {
    (value >> 32) as u32
}

/// The hash of an IPv4 client's flow; `port` is zero where only the client's address counts.
#[inline(always)]
#[must_use]
pub const fn hash4(client: [u8; 4], port: [u8; 2]) -> u32 {
    let client = u32::from_be_bytes(client) as u64;
    let port = u16::from_be_bytes(port) as u64;
    upper(stir((client << 16) | port))
}

/// The hash of an IPv6 client's flow; `port` is zero where only the client's address counts.
#[inline(always)]
#[must_use]
pub const fn hash6(client: [u8; 16], port: [u8; 2]) -> u32 {
    let client = u128::from_be_bytes(client);
    #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
    let (high, low) = ((client >> 64) as u64, client as u64);
    let port = u16::from_be_bytes(port) as u64;
    upper(stir(stir(stir(high) ^ low) ^ port))
}

/// The slot of a hash in a table of `slots`: multiply and shift, no division.
#[inline(always)]
#[must_use]
pub const fn slot(hash: u32, slots: u32) -> u32 {
    upper(hash as u64 * slots as u64)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;
    use std::vec;

    /// Chi-square of `counts` against evenness, per degree of freedom: near 1 for a random hash.
    fn unevenness(counts: &[u32]) -> f64 {
        let total: u32 = counts.iter().sum();
        let expected = f64::from(total) / counts.len() as f64;
        let square: f64 = counts
            .iter()
            .map(|count| (f64::from(*count) - expected).powi(2) / expected)
            .sum();
        square / (counts.len() - 1) as f64
    }

    #[test]
    fn the_ports_of_one_ipv4_client_spread_evenly() {
        let mut counts = vec![0; 251];
        for port in 0..=u16::MAX {
            counts[slot(hash4([192, 0, 2, 7], port.to_be_bytes()), 251) as usize] += 1;
        }
        assert!(unevenness(&counts) < 1.5, "{}", unevenness(&counts));
    }

    #[test]
    fn the_ports_of_one_ipv6_client_spread_evenly() {
        let client = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
        let mut counts = vec![0; 251];
        for port in 0..=u16::MAX {
            counts[slot(hash6(client, port.to_be_bytes()), 251) as usize] += 1;
        }
        assert!(unevenness(&counts) < 1.5, "{}", unevenness(&counts));
    }

    #[test]
    fn neighbouring_clients_spread_evenly_without_their_ports() {
        let mut four = vec![0; 251];
        let mut six = vec![0; 251];
        for client in 0..=u16::MAX {
            let [high, low] = client.to_be_bytes();
            four[slot(hash4([10, 1, high, low], [0, 0]), 251) as usize] += 1;
            let client = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, high, low];
            six[slot(hash6(client, [0, 0]), 251) as usize] += 1;
        }
        assert!(unevenness(&four) < 1.5, "{}", unevenness(&four));
        assert!(unevenness(&six) < 1.5, "{}", unevenness(&six));
    }

    #[test]
    fn the_hash_is_the_same_for_ever() {
        // Nodes of two versions serve one VIP during a roll-out: these numbers never change.
        assert_eq!(hash4([192, 0, 2, 1], [0x9c, 0x40]), 2_099_876_756);
        assert_eq!(
            hash6(
                [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
                [0x9c, 0x40]
            ),
            3_857_624_621
        );
    }

    proptest! {
        #[test]
        fn a_slot_is_always_inside_its_table(hash in any::<u32>(), slots in 1u32..=65537) {
            prop_assert!(slot(hash, slots) < slots);
        }
    }
}
