//! Maglev consistent hashing: from a set of backends to a table of slots.
//!
//! Pure: the same backends with the same weights make the same table on every node and in every
//! order of insertion, because each backend's walk through the table depends on nothing but its
//! own endpoint, and the backends take turns in the order of their endpoints' digests. So whoever has one slot more than
//! others, as some must, has it still when a backend comes or goes.
//!
//! A table is as large as its backends need for shares within 1 %: a power of two. A flow's slot is the upper bits of
//! its hash, so that a table of twice the size has each slot of the smaller one in two halves: whatever is remembered
//! of a slot holds for both. And the larger table *is* the smaller one with its slots halved, but for the few that
//! must be given away to make the shares even again: a frontend that grows out of its table keeps nearly all its flows
//! where they are, and nodes that disagree for a moment on how many backends there are hardly disagree at all.
//!
//! Invariant: as long as there is a backend, every slot has one; adding or removing a backend
//! moves little more than that backend's share.

use crate::desired::Endpoint;
use std::net::IpAddr;

/// The smallest table, from which all others are made. From a smaller one, a backend that comes or goes would move more
/// flows that are not its own; a larger one costs memory for nothing where backends are few, as they mostly are.
pub const SMALLEST: u32 = 512;
/// The largest one. With more than 661 backends, not all shares are within 1 % any more.
pub const LARGEST: u32 = 65_536;
/// For the sake of a small weight a table grows no further.
const WEIGHTED_ENOUGH: u32 = 16_384;

/// How many slots a table for so many backends of equal weight has: a power of two.
#[must_use]
pub fn size_for(backends: usize) -> u32 {
    let mut slots = SMALLEST;
    for count in 1..=backends {
        while slots < LARGEST && !is_even(count, slots) {
            slots *= 2;
        }
        if slots == LARGEST {
            break;
        }
    }
    slots
}

/// The same for `backends` altogether, of which those that take new connections have these weights.
#[must_use]
pub fn size_for_weights(backends: usize, taking: &[u16]) -> u32 {
    let all: usize = taking.iter().map(|weight| usize::from(*weight)).sum();
    let least = taking.iter().copied().min().unwrap_or(1).max(1);
    let equals = (all / usize::from(least)).min(LARGEST as usize);
    size_for(backends).max(size_for(equals).min(WEIGHTED_ENOUGH))
}

/// Whether so many backends have shares within 1 % of each other's mean.
fn is_even(backends: usize, slots: u32) -> bool {
    let Ok(backends) = u32::try_from(backends) else {
        return false;
    };
    let left = slots % backends;
    let most = left.max(backends - left);
    left == 0 || most * 100 <= slots
}

/// One backend's walk through the table: every slot once, in an order of its own.
struct Walk {
    /// The backend's index.
    index: u16,
    digest: u64,
    /// How many steps it has gone.
    gone: u32,
    /// Turns it has saved up, in units of the greatest weight.
    credit: u32,
    weight: u32,
}

impl Walk {
    fn new(index: u16, endpoint: &Endpoint, weight: u16) -> Self {
        Self {
            index,
            digest: digest(endpoint),
            gone: 0,
            credit: 0,
            weight: u32::from(weight.max(1)),
        }
    }

    /// The next slot on the way. Steps of one length would do, but where two backends' are alike they follow each other
    /// through the whole table, and when one of them goes half of the other's flows move.
    fn step(&mut self, slots: u32) -> usize {
        let [a, b, c, d] = quarters(self.digest);
        let half = slots.trailing_zeros().div_ceil(2);
        // Each of these maps the numbers below a power of two onto themselves.
        let spread = |number: u32, factor: u32| {
            let number = number.wrapping_mul(factor | 1) % slots;
            number ^ (number >> half)
        };
        let number = spread(spread((self.gone ^ a) % slots, b), c);
        self.gone += 1;
        (number.wrapping_add(d) % slots) as usize
    }
}

fn quarters(value: u64) -> [u32; 4] {
    let [a, b, c, d, e, f, g, h] = value.to_be_bytes();
    [[a, b], [c, d], [e, f], [g, h]].map(|two| u32::from(u16::from_be_bytes(two)))
}

const FREE: u16 = u16::MAX;

/// The table of so many slots over `backends`, which are sorted by endpoint: each slot holds an index into them.
/// Empty if there are none. Backends beyond 65,535 are not placed.
#[must_use]
pub fn table(backends: &[(Endpoint, u16)], slots: u32) -> Vec<u16> {
    debug_assert!(backends.is_sorted_by_key(|(endpoint, _)| *endpoint));
    let mut table = in_turns(backends);
    while !table.is_empty() && table.len() < slots as usize {
        table = halved(&table, backends);
    }
    table
}

/// The smallest table: the backends take turns until no slot is left.
fn in_turns(backends: &[(Endpoint, u16)]) -> Vec<u16> {
    let slots = SMALLEST;
    let mut walks = walks(backends);
    let Some(greatest) = walks.iter().map(|walk| walk.weight).max() else {
        return Vec::new();
    };
    let mut table = vec![FREE; slots as usize];
    let mut left = table.len();
    loop {
        for walk in &mut walks {
            walk.credit += walk.weight;
            if walk.credit < greatest {
                continue;
            }
            walk.credit -= greatest;
            let slot = loop {
                let slot = walk.step(slots);
                if table[slot] == FREE {
                    break slot;
                }
            };
            table[slot] = walk.index;
            left -= 1;
            if left == 0 {
                return table;
            }
        }
    }
}

/// The table with every slot in two halves. Who has more than its share then gives to who has less, wherever that
/// one's walk finds it.
fn halved(table: &[u16], backends: &[(Endpoint, u16)]) -> Vec<u16> {
    let mut halves: Vec<u16> = table.iter().flat_map(|index| [*index; 2]).collect();
    let Ok(slots) = u32::try_from(halves.len()) else {
        return halves;
    };
    let walks = walks(backends);
    let mut spare = vec![0; backends.len()];
    for index in &halves {
        spare[usize::from(*index)] += 1;
    }
    for (walk, share) in walks.iter().zip(shares(&walks, slots)) {
        spare[usize::from(walk.index)] -= share;
    }
    for mut walk in walks {
        let taker = usize::from(walk.index);
        while spare[taker] < 0 {
            let slot = walk.step(slots);
            let giver = usize::from(halves[slot]);
            if spare[giver] > 0 {
                halves[slot] = walk.index;
                spare[giver] -= 1;
                spare[taker] += 1;
            }
        }
    }
    halves
}

/// The walks of all, in the order in which they take turns.
fn walks(backends: &[(Endpoint, u16)]) -> Vec<Walk> {
    let mut walks: Vec<Walk> = (0..FREE)
        .zip(backends)
        .map(|(index, (endpoint, weight))| Walk::new(index, endpoint, *weight))
        .collect();
    walks.sort_unstable_by_key(|walk| (walk.digest, walk.index));
    walks
}

/// How many slots each is to have, by weight; all together. What rounding leaves goes to the first of those it was taken from.
fn shares(walks: &[Walk], slots: u32) -> Vec<i64> {
    let all: u64 = walks.iter().map(|walk| u64::from(walk.weight)).sum();
    let exact = |walk: &Walk| u64::from(walk.weight) * u64::from(slots);
    let rounded: u64 = walks.iter().map(|walk| exact(walk) / all).sum();
    let mut left = u64::from(slots).saturating_sub(rounded);
    let mut share = |walk: &Walk| {
        let more = u64::from(left > 0 && !exact(walk).is_multiple_of(all));
        left -= more;
        i64::try_from(exact(walk) / all + more).unwrap_or_default()
    };
    walks.iter().map(&mut share).collect()
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
    use std::collections::{BTreeMap, BTreeSet};
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

    fn weights(backends: &[(Endpoint, u16)]) -> Vec<u16> {
        backends.iter().map(|(_, weight)| *weight).collect()
    }

    fn size(backends: &[(Endpoint, u16)]) -> u32 {
        size_for_weights(backends.len(), &weights(backends))
    }

    /// Who has each part of a table, in parts of the largest one.
    fn owners(backends: &[(Endpoint, u16)], slots: u32) -> Vec<Endpoint> {
        let parts = (LARGEST / slots) as usize;
        let table = table(backends, slots).into_iter();
        table
            .flat_map(|index| std::iter::repeat_n(backends[usize::from(index)].0, parts))
            .collect()
    }

    fn shares(backends: &[(Endpoint, u16)], slots: u32) -> BTreeMap<Endpoint, usize> {
        let mut shares = BTreeMap::new();
        for index in table(backends, slots) {
            *shares.entry(backends[usize::from(index)].0).or_default() += 1;
        }
        shares
    }

    /// What others than the one at `which` lose to one another when it goes, or comes: of a whole.
    fn disruption(before: &[(Endpoint, u16)], which: usize) -> f64 {
        let mut after = before.to_vec();
        let gone = after.remove(which).0;
        let old = owners(before, size(before));
        let new = owners(&after, size(&after));
        let moved = old
            .iter()
            .zip(&new)
            .filter(|(old, new)| **old != gone && old != new);
        moved.count() as f64 / old.len() as f64
    }

    /// What one of so many may move beside its own share.
    fn bound(backends: usize) -> f64 {
        (0.05 + 0.003 * backends as f64).min(0.17)
    }

    #[test]
    fn no_backends_make_no_table() {
        assert!(table(&[], size_for(0)).is_empty());
        assert!(table(&[], size_for(100)).is_empty());
    }

    #[test]
    fn a_single_backend_owns_every_slot() {
        let shares = shares(&even([7]), size_for(1));
        assert_eq!(
            shares.into_values().collect::<Vec<_>>(),
            [SMALLEST as usize]
        );
    }

    #[test]
    fn a_table_is_as_large_as_shares_within_one_percent_need() {
        let last = |slots| (1..1_000).rfind(|count| size_for(*count) <= slots).unwrap();
        let sizes: Vec<u32> = (9..16).map(|bits| 1 << bits).collect();
        let lasts: Vec<usize> = sizes.iter().map(|slots| last(*slots)).collect();
        assert_eq!(lasts, [6, 13, 22, 44, 88, 177, 330]);
        assert_eq!(size_for(100_000), LARGEST);
    }

    #[test]
    fn a_walk_meets_every_slot_once() {
        for bits in 9..=16 {
            let slots = 1 << bits;
            let mut walk = Walk::new(0, &endpoint(bits), 1);
            let met: BTreeSet<usize> = (0..slots).map(|_| walk.step(slots)).collect();
            assert_eq!(met.len(), slots as usize);
            assert!(met.into_iter().all(|slot| slot < slots as usize));
        }
    }

    #[test]
    fn the_tables_are_the_same_for_ever() {
        // Nodes of two versions serve one VIP during a roll-out.
        let sum = |count: u32| {
            let table = table(&even(0..count), size_for(count as usize));
            table.iter().fold(0u64, |sum, index| {
                sum.wrapping_mul(31).wrapping_add(u64::from(*index))
            })
        };
        assert_eq!(
            [3, 6, 10, 32].map(sum),
            [
                14350038079951460215,
                1295805222959199657,
                18238532498506661290,
                8259403143322402816
            ]
        );
    }

    #[test]
    fn a_weight_of_three_gets_three_times_the_slots() {
        let mut backends = even(0..8);
        backends[3].1 = 3;
        let slots = size(&backends);
        let shares = shares(&backends, slots);
        let one = f64::from(slots) / 10.0;
        for (endpoint, weight) in &backends {
            let share = shares[endpoint] as f64;
            assert!(
                (share / one - f64::from(*weight)).abs() < 0.05,
                "{endpoint:?} has {share}"
            );
        }
    }

    #[test]
    fn a_small_weight_has_a_table_in_which_it_counts() {
        let slots = |taking: &[u16]| size_for_weights(taking.len(), taking);
        assert_eq!(slots(&[]), SMALLEST);
        assert_eq!(slots(&[500, 500]), SMALLEST);
        assert_eq!(slots(&[99, 1]), 16_384);
        assert_eq!(slots(&[u16::MAX, 1]), WEIGHTED_ENOUGH);
        let mut backends = even(0..2);
        backends[0].1 = 99;
        let shares = shares(&backends, slots(&[99, 1]));
        let rare = shares[&backends[1].0] as f64 / 16_384.0;
        assert!((rare - 0.01).abs() < 0.000_1, "{rare}");
    }

    /// A rolling update adds one and takes one away, from any number of them.
    #[test]
    fn one_backend_more_or_less_moves_little_beside_its_own_share_whatever_their_number() {
        let numbers = (1..=40).chain([64, 88, 100, 150, 301, 400, 511, 512, 513, 700, 1_500]);
        for count in numbers {
            // Pods of three nodes, whose addresses follow one another.
            let backends = even((0..=count).map(|pod| pod % 3 * 256 + pod / 3));
            for which in [0, backends.len() / 2, backends.len() - 1] {
                let moved = disruption(&backends, which);
                let most = bound(backends.len());
                assert!(moved <= most, "{count} and one: {moved} of {most}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn equal_backends_get_equal_shares(numbers in proptest::collection::btree_set(0u32..60_000, 1..120)) {
            let backends = even(numbers);
            let shares = shares(&backends, size_for(backends.len()));
            prop_assert_eq!(shares.len(), backends.len());
            let least = *shares.values().min().unwrap();
            let most = *shares.values().max().unwrap();
            prop_assert!(most - least <= 1, "{} to {}", least, most);
            let mean = shares.values().sum::<usize>() as f64 / shares.len() as f64;
            for share in [least, most] {
                prop_assert!((share as f64 / mean - 1.0).abs() <= 0.01, "{} of {}", share, mean);
            }
        }

        #[test]
        fn one_of_any_backends_moves_little_beside_its_own_share(
            numbers in proptest::collection::btree_set(any::<u32>(), 2..60), which in any::<prop::sample::Index>()
        ) {
            let backends = even(numbers.into_iter().map(|number| number >> 8));
            let moved = disruption(&backends, which.index(backends.len()));
            prop_assert!(moved <= bound(backends.len()), "{} moved", moved);
        }

        #[test]
        fn one_of_any_weight_moves_little_beside_its_own_share(
            weights in proptest::collection::vec(1..=4u16, 2..60), which in any::<prop::sample::Index>()
        ) {
            let mut backends = even(0..u32::try_from(weights.len()).unwrap());
            for (backend, weight) in backends.iter_mut().zip(&weights) {
                backend.1 = *weight;
            }
            let moved = disruption(&backends, which.index(backends.len()));
            // As many as there were if each had but the smallest weight.
            let shares = weights.iter().map(|weight| usize::from(*weight)).sum();
            prop_assert!(moved <= bound(shares), "{} moved", moved);
        }

        #[test]
        fn a_larger_table_of_the_same_backends_has_nearly_every_flow_where_it_was(
            numbers in proptest::collection::btree_set(0u32..60_000, 1..120), larger in 1..4u32
        ) {
            let backends = even(numbers);
            let slots = size_for(backends.len());
            let before = owners(&backends, slots);
            let after = owners(&backends, slots << larger);
            let moved = before.iter().zip(&after).filter(|(a, b)| a != b).count();
            // Nobody gives more than one slot of each table on the way.
            let most = backends.len() * (LARGEST / slots) as usize;
            prop_assert!(moved <= most, "{} of at most {}", moved, most);
        }

        #[test]
        fn weights_of_any_size_fill_the_table(weights in proptest::collection::vec(any::<u16>(), 1..40)) {
            let mut backends = even(0..u32::try_from(weights.len()).unwrap());
            for (backend, weight) in backends.iter_mut().zip(&weights) {
                backend.1 = *weight;
            }
            let slots = size(&backends);
            let table = table(&backends, slots);
            prop_assert_eq!(table.len(), slots as usize);
            prop_assert!(table.iter().all(|index| usize::from(*index) < backends.len()));
        }
    }
}
