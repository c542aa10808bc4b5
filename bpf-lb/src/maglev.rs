//! Maglev consistent hashing: from a set of backends to a table of slots.
//!
//! Pure: the same backends with the same weights make the same table on every node and in every
//! order of insertion, because each backend's walk through the table depends on nothing but its
//! own endpoint, and the backends take turns in the order of their endpoints.
//!
//! Invariant: as long as there is a backend, every slot has one; adding or removing a backend
//! moves little more than that backend's share.

use crate::desired::Endpoint;
use std::net::IpAddr;

/// The default number of slots; a prime, as the walk needs it.
pub const SLOTS: u32 = 16_381;
/// The larger number of slots, for frontends with thousands of backends.
pub const SLOTS_LARGE: u32 = 65_537;

/// One backend's walk through the table: every slot once, in an order of its own.
struct Walk {
    next: u32,
    step: u32,
    /// Turns it has saved up, in units of the greatest weight.
    credit: u32,
    weight: u32,
}

impl Walk {
    fn new(endpoint: &Endpoint, weight: u16, slots: u32) -> Self {
        let hash = digest(endpoint);
        let within = |value: u64, modulus: u32| {
            u32::try_from(value % u64::from(modulus)).unwrap_or_default()
        };
        Self {
            next: within(hash, slots),
            step: within(stir(hash), slots - 1) + 1,
            credit: 0,
            weight: u32::from(weight.max(1)),
        }
    }

    /// The next slot on the way that nobody has yet.
    fn claim(&mut self, table: &[u16], slots: u32) -> usize {
        loop {
            let slot = self.next as usize;
            self.next = (self.next + self.step) % slots;
            if table[slot] == FREE {
                return slot;
            }
        }
    }
}

const FREE: u16 = u16::MAX;

/// The table over `backends`, which are sorted by endpoint: each slot holds an index into them.
/// Empty if there are none. `slots` must be a prime; backends beyond 65,535 are not placed.
#[must_use]
pub fn table(backends: &[(Endpoint, u16)], slots: u32) -> Vec<u16> {
    debug_assert!(backends.is_sorted_by_key(|(endpoint, _)| *endpoint));
    let mut walks: Vec<(u16, Walk)> = (0..FREE)
        .zip(backends)
        .map(|(index, (endpoint, weight))| (index, Walk::new(endpoint, *weight, slots)))
        .collect();
    let Some(greatest) = walks.iter().map(|(_, walk)| walk.weight).max() else {
        return Vec::new();
    };
    let mut table = vec![FREE; slots as usize];
    let mut left = table.len();
    loop {
        for (index, walk) in &mut walks {
            walk.credit += walk.weight;
            if walk.credit < greatest {
                continue;
            }
            walk.credit -= greatest;
            let slot = walk.claim(&table, slots);
            table[slot] = *index;
            left -= 1;
            if left == 0 {
                return table;
            }
        }
    }
}

/// A 64-bit digest of an endpoint, the same for ever on every machine.
fn digest(endpoint: &Endpoint) -> u64 {
    let address = match endpoint.address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    let (high, low) = halves(u128::from(address));
    stir(stir(stir(high) ^ low) ^ u64::from(endpoint.port))
}

fn halves(value: u128) -> (u64, u64) {
    let bytes = value.to_be_bytes();
    let mut high = [0; 8];
    let mut low = [0; 8];
    high.copy_from_slice(&bytes[..8]);
    low.copy_from_slice(&bytes[8..]);
    (u64::from_be_bytes(high), u64::from_be_bytes(low))
}

/// The finalizer of SplitMix64.
fn stir(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::net::Ipv4Addr;

    fn endpoint(number: u32) -> Endpoint {
        Endpoint {
            address: Ipv4Addr::from(0x0af4_0000 + number).into(),
            port: 8080,
        }
    }

    fn even(numbers: impl IntoIterator<Item = u32>) -> Vec<(Endpoint, u16)> {
        let mut backends: Vec<_> = numbers
            .into_iter()
            .map(|number| (endpoint(number), 1))
            .collect();
        backends.sort_unstable();
        backends.dedup();
        backends
    }

    fn owners(backends: &[(Endpoint, u16)]) -> Vec<Endpoint> {
        table(backends, SLOTS)
            .iter()
            .map(|index| backends[usize::from(*index)].0)
            .collect()
    }

    fn shares(backends: &[(Endpoint, u16)]) -> BTreeMap<Endpoint, usize> {
        let mut shares = BTreeMap::new();
        for owner in owners(backends) {
            *shares.entry(owner).or_default() += 1;
        }
        shares
    }

    #[test]
    fn no_backends_make_no_table() {
        assert!(table(&[], SLOTS).is_empty());
    }

    #[test]
    fn a_single_backend_owns_every_slot() {
        assert_eq!(
            shares(&even([7])).values().copied().collect::<Vec<_>>(),
            [SLOTS as usize]
        );
    }

    #[test]
    fn the_larger_table_is_filled_too() {
        let backends = even(0..100);
        let table = table(&backends, SLOTS_LARGE);
        assert_eq!(table.len(), SLOTS_LARGE as usize);
        assert!(
            table
                .iter()
                .all(|index| usize::from(*index) < backends.len())
        );
    }

    #[test]
    fn the_table_is_the_same_for_ever() {
        // Nodes of two versions serve one VIP during a roll-out.
        let sum = table(&even(0..10), SLOTS).iter().fold(0u64, |sum, index| {
            sum.wrapping_mul(31).wrapping_add(u64::from(*index))
        });
        assert_eq!(sum, 2_072_577_911_663_594_910);
    }

    #[test]
    fn a_weight_of_three_gets_three_times_the_slots() {
        let mut backends = even(0..8);
        backends[3].1 = 3;
        let shares = shares(&backends);
        let one = SLOTS as f64 / 10.0;
        for (endpoint, weight) in &backends {
            let share = shares[endpoint] as f64;
            assert!(
                (share / one - f64::from(*weight)).abs() < 0.05,
                "{endpoint:?} has {share}"
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn equal_backends_get_equal_shares(numbers in proptest::collection::btree_set(0u32..60_000, 1..120)) {
            let backends = even(numbers);
            let shares = shares(&backends);
            prop_assert_eq!(shares.len(), backends.len());
            let least = shares.values().min().unwrap();
            let most = shares.values().max().unwrap();
            // Equal turns: they differ by the last, unfinished round.
            prop_assert!(most - least <= 1, "{} to {}", least, most);
        }

        #[test]
        fn a_removed_backend_takes_little_with_it(
            numbers in proptest::collection::btree_set(0u32..60_000, 3..60), which in any::<prop::sample::Index>()
        ) {
            let before = even(numbers);
            let mut after = before.clone();
            let gone = after.remove(which.index(before.len())).0;
            let moved = owners(&before)
                .iter()
                .zip(owners(&after))
                .filter(|(old, new)| **old != gone && **old != *new)
                .count();
            // Maglev's promise is "almost minimal": a few percent move without need.
            prop_assert!(moved < SLOTS as usize / 8, "{} of {} moved", moved, SLOTS);
        }

        #[test]
        fn weights_of_any_size_fill_the_table(weights in proptest::collection::vec(any::<u16>(), 1..40)) {
            let mut backends = even(0..u32::try_from(weights.len()).unwrap());
            for (backend, weight) in backends.iter_mut().zip(&weights) {
                backend.1 = *weight;
            }
            let table = table(&backends, 1021);
            prop_assert!(table.iter().all(|index| usize::from(*index) < backends.len()));
        }
    }
}
