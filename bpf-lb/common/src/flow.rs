//! From a packet's client and frontend to its slot. Every node of a cluster computes the same,
//! whatever its byte order.
//!
//! Two frontends over the same pods have different slots for one client port, or a client that
//! uses it for both would meet the same pod twice. The seed keeps strangers from choosing ports
//! and addresses that all fall on one pod: the words are multiplied in pairs after a secret was
//! added to each (NH, of UMAC, RFC 4418), all pairs side by side, and the sum is stirred once.

const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
const STIR: u64 = 0xd6e8_feb8_6659_fd93;

#[inline(always)]
pub(crate) const fn stir(value: u64) -> u64 {
    let value = (value ^ (value >> 32)).wrapping_mul(SPREAD);
    let value = (value ^ (value >> 32)).wrapping_mul(STIR);
    value ^ (value >> 32)
}

#[inline(always)]
const fn upper(value: u64) -> u32 {
    (value >> 32) as u32
}

/// Words of the secret: as many as an IPv6 flow has.
pub const SEED_WORDS: usize = 10;

/// The cluster's secret, as the programs use it.
pub type Seed = [u32; SEED_WORDS];

/// Spreads a secret of 64 bits over the words.
#[must_use]
pub const fn seed(secret: u64) -> Seed {
    let mut words = [0; SEED_WORDS];
    let mut index = 0;
    while index < SEED_WORDS {
        words[index] = upper(stir(
            secret.wrapping_add(SPREAD.wrapping_mul(index as u64 + 1)),
        ));
        index += 1;
    }
    words
}

/// One pair of words with its pair of secrets.
#[inline(always)]
const fn pair(seed: &Seed, at: usize, first: u32, second: u32) -> u64 {
    let first = first.wrapping_add(seed[at]) as u64;
    let second = second.wrapping_add(seed[at + 1]) as u64;
    first.wrapping_mul(second)
}

/// Ports and protocol as two words.
#[inline(always)]
const fn ports(seed: &Seed, at: usize, client: [u8; 2], frontend: [u8; 2], protocol: u8) -> u64 {
    let client = u16::from_be_bytes(client) as u32;
    let frontend = u16::from_be_bytes(frontend) as u32;
    pair(seed, at, client, (frontend << 8) | protocol as u32)
}

/// The hash of an IPv4 flow: addresses and ports of client and frontend, and the protocol. The
/// client's port is zero where only its address counts.
#[inline(always)]
#[must_use]
pub const fn hash4(
    seed: &Seed,
    client: [u8; 4],
    client_port: [u8; 2],
    vip: [u8; 4],
    port: [u8; 2],
    protocol: u8,
) -> u32 {
    let addresses = pair(seed, 0, u32::from_be_bytes(client), u32::from_be_bytes(vip));
    upper(stir(addresses.wrapping_add(ports(
        seed,
        2,
        client_port,
        port,
        protocol,
    ))))
}

/// The hash of an IPv6 flow, of the same parts.
#[inline(always)]
#[must_use]
pub const fn hash6(
    seed: &Seed,
    client: [u8; 16],
    client_port: [u8; 2],
    vip: [u8; 16],
    port: [u8; 2],
    protocol: u8,
) -> u32 {
    let client = words(client);
    let vip = words(vip);
    let sum = pair(seed, 0, client[0], client[1])
        .wrapping_add(pair(seed, 2, client[2], client[3]))
        .wrapping_add(pair(seed, 4, vip[0], vip[1]))
        .wrapping_add(pair(seed, 6, vip[2], vip[3]))
        .wrapping_add(ports(seed, 8, client_port, port, protocol));
    upper(stir(sum))
}

#[inline(always)]
const fn words(address: [u8; 16]) -> [u32; 4] {
    let a = address;
    [
        u32::from_be_bytes([a[0], a[1], a[2], a[3]]),
        u32::from_be_bytes([a[4], a[5], a[6], a[7]]),
        u32::from_be_bytes([a[8], a[9], a[10], a[11]]),
        u32::from_be_bytes([a[12], a[13], a[14], a[15]]),
    ]
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

    const VIP4: [u8; 4] = [192, 0, 2, 100];
    const VIP6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];

    fn hash_four(client: [u8; 4], port: [u8; 2]) -> u32 {
        hash4(&seed(7), client, port, VIP4, [0, 80], 6)
    }

    fn hash_six(client: [u8; 16], port: [u8; 2]) -> u32 {
        hash6(&seed(7), client, port, VIP6, [0, 80], 6)
    }

    #[test]
    fn two_frontends_of_one_client_port_have_slots_of_their_own() {
        let slots = |vip: [u8; 4], port: [u8; 2]| -> vec::Vec<u32> {
            (1..=1_000u16)
                .map(|client| {
                    let hash = hash4(&seed(7), [192, 0, 2, 7], client.to_be_bytes(), vip, port, 6);
                    slot(hash, 251)
                })
                .collect()
        };
        let first = slots(VIP4, [0, 80]);
        for other in [slots([192, 0, 2, 101], [0, 80]), slots(VIP4, [0, 81])] {
            let same = first.iter().zip(&other).filter(|(a, b)| a == b).count();
            assert!(same < 20, "{same} of 1000");
        }
    }

    #[test]
    fn another_secret_makes_other_slots() {
        let client = [192, 0, 2, 7];
        let same = (1..=1_000u16)
            .filter(|port| {
                let hash =
                    |secret| hash4(&seed(secret), client, port.to_be_bytes(), VIP4, [0, 80], 6);
                slot(hash(1), 251) == slot(hash(2), 251)
            })
            .count();
        assert!(same < 20, "{same} of 1000");
    }

    #[test]
    fn the_ports_of_one_ipv4_client_spread_evenly() {
        let mut counts = vec![0; 251];
        for port in 0..=u16::MAX {
            counts[slot(hash_four([192, 0, 2, 7], port.to_be_bytes()), 251) as usize] += 1;
        }
        assert!(unevenness(&counts) < 1.5, "{}", unevenness(&counts));
    }

    #[test]
    fn the_ports_of_one_ipv6_client_spread_evenly() {
        let client = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
        let mut counts = vec![0; 251];
        for port in 0..=u16::MAX {
            counts[slot(hash_six(client, port.to_be_bytes()), 251) as usize] += 1;
        }
        assert!(unevenness(&counts) < 1.5, "{}", unevenness(&counts));
    }

    #[test]
    fn neighbouring_clients_spread_evenly_without_their_ports() {
        let mut four = vec![0; 251];
        let mut six = vec![0; 251];
        for client in 0..=u16::MAX {
            let [high, low] = client.to_be_bytes();
            four[slot(hash_four([10, 1, high, low], [0, 0]), 251) as usize] += 1;
            let client = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, high, low];
            six[slot(hash_six(client, [0, 0]), 251) as usize] += 1;
        }
        assert!(unevenness(&four) < 1.5, "{}", unevenness(&four));
        assert!(unevenness(&six) < 1.5, "{}", unevenness(&six));
    }

    #[test]
    fn the_hash_is_the_same_for_ever() {
        // Nodes of two versions serve one VIP during a roll-out: these numbers never change.
        assert_eq!(hash_four([192, 0, 2, 1], [0x9c, 0x40]), 1_957_070_394);
        let client = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        assert_eq!(hash_six(client, [0x9c, 0x40]), 2_525_261_310);
    }

    proptest! {
        #[test]
        fn a_slot_is_always_inside_its_table(hash in any::<u32>(), slots in 1u32..=65537) {
            prop_assert!(slot(hash, slots) < slots);
        }
    }
}
