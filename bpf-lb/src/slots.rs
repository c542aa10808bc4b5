//! From the backends of one frontend to the slots of its table, with a memory of where
//! connections went before.
//!
//! Pure. The current part, and how many slots there are, is the same on every node. The previous part is this node's help
//! for connections that began before the backends changed, and depends on what it had before: a backend
//! leaves it when it is gone, or when two later ones stand before it. It is nodes that are asked, not
//! backends: two of one node are not remembered as long as there is another node to remember. A slot that
//! has changed is unsettled until every node has had the time to tell.
//!
//! In a larger table both halves of a slot remember what it remembered. In a smaller one a slot remembers what its
//! halves did, as far as there is room.

use std::collections::{BTreeMap, HashMap};

use landfall_bpf_lb_common::records::Slot;

use crate::desired::{Backend, BackendState, Endpoint, Placement, Vip};
use crate::maglev;

/// The slots of a frontend: `ids` are its backends' ids, `old` what the frontend has now.
#[must_use]
pub(crate) fn slots(vip: &Vip, ids: &BTreeMap<Endpoint, u16>, old: Option<&[Slot]>) -> Vec<Slot> {
    let of = |states: &[BackendState]| select(vip, ids, |one| states.contains(&one.state));
    let active = of(&[BackendState::Active]);
    // Nothing ready: what still serves is better than nothing, as kube-proxy sees it.
    let chosen = if active.is_empty() {
        of(&[BackendState::Draining])
    } else {
        active
    };
    // Nobody has no connections: there is nobody to be asked for one.
    let somebody = |backend: &Backend| backend.placement != Placement::Nobody;
    let past = select(vip, ids, somebody);
    if chosen.is_empty() && past.is_empty() {
        return Vec::new();
    }
    let size = size(vip);
    let current = named(&chosen, ids, size);
    let living: Living = vip
        .backends
        .iter()
        .filter(|(_, backend)| somebody(backend))
        .filter_map(|(endpoint, backend)| Some((*ids.get(endpoint)?, backend.placement)))
        .collect();
    match old.filter(|old| !old.is_empty()) {
        Some(old) => {
            let numbered = current.iter().enumerate();
            let was = |number| &old[counterparts(number, current.len(), old.len())];
            numbered
                .map(|(number, current)| remember(*current, was(number), &living))
                .collect()
        }
        // No memory: with what takes nothing new put back, the table is nearly that of before.
        None => current
            .into_iter()
            .zip(named(&past, ids, size))
            .map(|(current, before)| Slot {
                unsettled: 1,
                ..slot(current, [before].into_iter(), &living)
            })
            .collect(),
    }
}

/// How many slots a frontend's table has; none, if it has no backend. Not who takes new connections just now decides that,
/// where all have the same weight: it changes often, and is not quite the same on all nodes.
#[must_use]
pub(crate) fn size(vip: &Vip) -> u32 {
    let backends = vip.backends.values();
    if backends.len() == 0 {
        return 0;
    }
    if backends.clone().all(|backend| backend.weight <= 1) {
        return maglev::size_for(backends.len());
    }
    let active = backends
        .clone()
        .filter(|one| one.state == BackendState::Active);
    let weights: Vec<u16> = active.map(|backend| backend.weight).collect();
    maglev::size_for_weights(backends.len(), &weights)
}

/// The slots of a table of size `before` that have flows of the slot `number` of a table of size `now`, both of them powers
/// of two: a flow's slot is the upper bits of its hash.
fn counterparts(number: usize, now: usize, before: usize) -> std::ops::Range<usize> {
    let first = number * before / now;
    let count = (before / now).max(1);
    first..first + count
}

/// The backends that there are, and their nodes.
type Living = HashMap<u16, Placement>;

/// A slot of flows that were in these slots of `old`, and now are `current`'s.
fn remember(current: u16, old: &[Slot], living: &Living) -> Slot {
    let newest = old.iter().map(|old| old.current);
    let earlier = [0, 1]
        .into_iter()
        .flat_map(|age| old.iter().map(move |old| old.previous[age]));
    let slot = slot(current, newest.chain(earlier), living);
    // Whoever had it between the two may not yet have said which connections it has.
    let is_settled = |old: &Slot| old.current == current && old.unsettled == 0;
    Slot {
        unsettled: u16::from(!old.iter().all(is_settled)),
        ..slot
    }
}

/// A slot of `current` and two of `before` that live: the first of each other node, and then the others.
fn slot(current: u16, before: impl Iterator<Item = u16> + Clone, living: &Living) -> Slot {
    let mut slot = Slot {
        current,
        ..Slot::default()
    };
    let mut length = 0;
    for must_be_elsewhere in [true, false] {
        for id in before.clone() {
            let Some(node) = living.get(&id).filter(|_| id != current) else {
                continue;
            };
            let chosen = &slot.previous[..length];
            let is_known = |other: &u16| living.get(other) == Some(node);
            let is_elsewhere = !is_known(&current) && !chosen.iter().any(is_known);
            if length < slot.previous.len()
                && !chosen.contains(&id)
                && is_elsewhere == must_be_elsewhere
            {
                slot.previous[length] = id;
                length += 1;
            }
        }
    }
    slot
}

fn select(
    vip: &Vip,
    ids: &BTreeMap<Endpoint, u16>,
    choose: impl Fn(&Backend) -> bool,
) -> Vec<(Endpoint, u16)> {
    vip.backends
        .iter()
        .filter(|(endpoint, backend)| ids.contains_key(endpoint) && choose(backend))
        .map(|(endpoint, backend)| (*endpoint, backend.weight))
        .collect()
}

fn named(backends: &[(Endpoint, u16)], ids: &BTreeMap<Endpoint, u16>, size: u32) -> Vec<u16> {
    if backends.is_empty() {
        return vec![0; size as usize];
    }
    let names: Vec<u16> = backends.iter().map(|(endpoint, _)| ids[endpoint]).collect();
    maglev::table(backends, size)
        .iter()
        .map(|index| names[usize::from(*index)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::{Placement, PodId};
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    const COUNT: u32 = maglev::SMALLEST;

    fn endpoint(number: u8) -> Endpoint {
        Endpoint {
            address: Ipv4Addr::new(10, 244, 0, number).into(),
            port: 80,
        }
    }

    fn vip(backends: &[(u8, BackendState)]) -> (Vip, BTreeMap<Endpoint, u16>) {
        let backend = |state| Backend {
            pod: PodId::default(),
            placement: Placement::Local,
            weight: 1,
            state,
        };
        let vip = Vip {
            backends: backends
                .iter()
                .map(|(number, state)| (endpoint(*number), backend(*state)))
                .collect(),
            ..Vip::default()
        };
        let ids = backends
            .iter()
            .map(|(number, _)| (endpoint(*number), u16::from(*number)))
            .collect();
        (vip, ids)
    }

    use BackendState::{Active, Draining, Unready};

    fn after(old: &[Slot], backends: &[(u8, BackendState)]) -> Vec<Slot> {
        let (vip, ids) = vip(backends);
        slots(&vip, &ids, Some(old))
    }

    fn fresh(backends: &[(u8, BackendState)]) -> Vec<Slot> {
        let (vip, ids) = vip(backends);
        slots(&vip, &ids, None)
    }

    #[test]
    fn a_new_frontend_has_no_past() {
        let slots = fresh(&[(1, Active), (2, Active)]);
        assert_eq!(slots.len(), COUNT as usize);
        assert!(
            slots
                .iter()
                .all(|slot| slot.previous == [0, 0] && slot.current != 0)
        );
    }

    #[test]
    fn a_backend_that_takes_nothing_new_lives_on_as_a_previous_one() {
        for state in [Draining, Unready] {
            let old = fresh(&[(1, Active), (2, Active)]);
            let new = after(&old, &[(1, Active), (2, state)]);
            for (old, new) in old.iter().zip(&new) {
                assert_eq!(new.current, 1);
                let moved = old.current == 2;
                assert_eq!(new.previous, if moved { [2, 0] } else { [0, 0] });
            }
            // Ready again, it has its slots, and there is nobody else to ask but for a while.
            let again = after(&new, &[(1, Active), (2, Active)]);
            for (old, again) in old.iter().zip(&again) {
                assert_eq!(again.current, old.current);
            }
        }
    }

    #[test]
    fn a_node_without_memory_guesses_the_same_past_from_what_takes_nothing_new() {
        let old = fresh(&[(1, Active), (2, Active), (3, Active)]);
        let backends = [(1, Active), (2, Draining), (3, Active)];
        assert_eq!(after(&old, &backends), fresh(&backends));
    }

    #[test]
    fn a_node_without_memory_asks_those_who_serve_on_where_nobody_takes_anything_new() {
        let (mut vip, mut ids) = vip(&[(1, BackendState::Unready), (9, BackendState::Active)]);
        let nobody = vip.backends.get_mut(&endpoint(9)).unwrap();
        (nobody.placement, nobody.weight) = (Placement::Nobody, u16::MAX);
        let pod = ids[&endpoint(1)];
        let all = slots(&vip, &ids, None);
        assert!(all.iter().all(|slot| slot.current == ids[&endpoint(9)]));
        assert!(all.iter().all(|slot| slot.previous == [pod, 0]));
        vip.backends.remove(&endpoint(1));
        ids.remove(&endpoint(1));
        let alone = slots(&vip, &ids, None);
        assert!(alone.iter().all(|slot| slot.previous == [0, 0]));
        assert_eq!(alone.len(), maglev::SMALLEST as usize);
    }

    #[test]
    fn a_backend_that_is_gone_is_forgotten() {
        let old = fresh(&[(1, Active), (2, Active)]);
        let new = after(&old, &[(1, Active)]);
        assert!(
            new.iter()
                .all(|slot| (slot.current, slot.previous) == (1, [0, 0]))
        );
    }

    #[test]
    fn an_added_backend_remembers_from_whom_it_took_its_slots() {
        let old = fresh(&[(1, Active), (2, Active)]);
        let new = after(&old, &[(1, Active), (2, Active), (3, Active)]);
        for (old, new) in old.iter().zip(&new) {
            let moved = old.current != new.current;
            assert_eq!(new.previous[0], if moved { old.current } else { 0 });
        }
        assert!(new.iter().any(|slot| slot.current == 3));
    }

    #[test]
    fn a_second_change_keeps_the_pod_of_before_the_first_as_long_as_it_lives() {
        let first = fresh(&[(1, Active)]);
        let second = after(&first, &[(1, Draining), (2, Active)]);
        let third = after(&second, &[(1, Draining), (2, Draining), (3, Active)]);
        assert!(
            third
                .iter()
                .all(|slot| (slot.current, slot.previous) == (3, [2, 1]))
        );
        let fourth = after(&third, &[(2, Draining), (3, Active)]);
        assert!(fourth.iter().all(|slot| slot.previous == [2, 0]));
    }

    #[test]
    fn it_is_nodes_that_are_remembered_and_not_two_backends_of_one() {
        // Tens are nodes.
        let mut slots: Option<Vec<Slot>> = None;
        let mut backends = Vec::new();
        for next in [11, 21, 22, 31] {
            for (_, state) in &mut backends {
                *state = Draining;
            }
            backends.push((next, Active));
            let (mut vip, ids) = vip(&backends);
            for (endpoint, backend) in &mut vip.backends {
                let node = ids[endpoint] / 10;
                let address = [192, 0, 2, u8::try_from(node).unwrap()];
                backend.placement = Placement::Remote(address.into());
            }
            slots = Some(super::slots(&vip, &ids, slots.as_deref()));
        }
        let slots = slots.unwrap();
        assert!(
            slots
                .iter()
                .all(|slot| (slot.current, slot.previous) == (31, [22, 11]))
        );
    }

    #[test]
    fn a_slot_that_has_changed_is_unsettled_until_somebody_says_otherwise() {
        let (mut slots, mut backends) = (fresh(&[(1, Active)]), Vec::new());
        for next in 2..=4 {
            backends = (1..next).map(|number| (number, Draining)).collect();
            backends.push((next, Active));
            slots = after(&slots, &backends);
        }
        let unsettled = |slots: &[Slot]| slots.iter().all(|slot| slot.unsettled != 0);
        assert!(slots.iter().all(|slot| slot.previous == [3, 2]) && unsettled(&slots));
        assert!(unsettled(&after(&slots, &backends)));
        // Back at one that it remembers, it does not know what it forgot.
        let back = after(
            &slots,
            &[(1, Draining), (2, Draining), (3, Active), (4, Draining)],
        );
        assert!(unsettled(&back));
        for slot in &mut slots {
            slot.unsettled = 0;
        }
        assert!(!unsettled(&after(&slots, &backends)));
    }

    #[test]
    fn with_nothing_ready_what_drains_still_serves_and_what_is_unready_does_not() {
        let slots = fresh(&[(1, Draining), (2, Unready)]);
        assert!(slots.iter().all(|slot| slot.current == 1));
        let slots = fresh(&[(2, Unready)]);
        assert!(
            slots
                .iter()
                .all(|slot| (slot.current, slot.previous) == (0, [2, 0]))
        );
    }

    #[test]
    fn the_same_backends_again_change_nothing() {
        let old = fresh(&[(1, Active), (2, Active)]);
        let backends = [(1, Active), (2, Active), (3, Active)];
        let grown = after(&old, &backends);
        assert_eq!(after(&grown, &backends), grown);
    }

    #[test]
    fn a_readiness_that_changes_leaves_the_table_as_large_as_it_is() {
        let backends =
            |state| (1..=7).map(move |number| (number, if number < 6 { state } else { Active }));
        let all: Vec<_> = backends(Active).collect();
        let few: Vec<_> = backends(Unready).collect();
        assert_eq!(fresh(&all).len(), fresh(&few).len());
    }

    /// Flows, by the upper bits of their hash.
    fn of_flow(slots: &[Slot], hash: u32) -> Slot {
        let count = u32::try_from(slots.len()).unwrap();
        slots[landfall_bpf_lb_common::flow::slot(hash, count) as usize]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Any number of living backends to any other: what a flow's slot was, it remembers, or it has lost it to two
        /// others that are newer; and where it is not what it was, it says so.
        #[test]
        fn a_flow_finds_its_backend_in_a_table_of_any_other_size(
            counts in proptest::collection::vec(1..20u8, 2..5),
            hashes in proptest::collection::vec(any::<u32>(), 40),
        ) {
            let pods = |count: u8, living: u8| -> Vec<(u8, BackendState)> {
                (1..=living).map(|pod| (pod, if pod <= count { Active } else { Draining })).collect()
            };
            let living = *counts.iter().max().unwrap();
            let mut old = fresh(&pods(counts[0], living));
            for slot in &mut old {
                *slot = Slot { current: slot.current, ..Slot::default() };
            }
            // The number of living ones decides the size: it grows, and shrinks, as others come and go that are unready.
            for (others, count) in counts[1..].iter().enumerate() {
                let mut backends = pods(*count, living);
                let extra = u8::try_from(others * 40 % 120).unwrap();
                backends.extend((0..extra).map(|pod| (100 + pod, Unready)));
                let new = after(&old, &backends);
                for hash in &hashes {
                    let (was, is) = (of_flow(&old, *hash), of_flow(&new, *hash));
                    if is.current != was.current {
                        prop_assert!(is.unsettled != 0);
                        let is_grown = new.len() >= old.len();
                        let is_full = is.previous[1] != 0;
                        prop_assert!(is.previous.contains(&was.current) || (is_full && !is_grown));
                    }
                    if is.unsettled == 0 {
                        prop_assert_eq!(is.current, was.current);
                        prop_assert_eq!(was.unsettled, 0);
                    }
                }
                old = new;
            }
        }
    }
}
