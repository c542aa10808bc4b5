//! From the backends of one frontend to the slots of its table, with a memory of where
//! connections went before.
//!
//! Pure. The current part is the same on every node. The previous part is this node's help for
//! connections that began before the backends changed, and depends on what it had before: a backend
//! leaves it when it is gone, or when two later ones stand before it. It is nodes that are asked, not
//! backends: two of one node are not remembered as long as there is another node to remember. A slot that
//! has changed is unsettled until every node has had the time to tell.

use std::collections::{BTreeMap, HashMap};

use landfall_bpf_lb_common::records::Slot;

use crate::desired::{Backend, BackendState, Endpoint, Placement, Vip};
use crate::maglev;

/// The slots of a frontend: `ids` are its backends' ids, `old` what the frontend has now.
#[must_use]
pub(crate) fn slots(
    vip: &Vip,
    ids: &BTreeMap<Endpoint, u16>,
    old: Option<&[Slot]>,
    count: u32,
) -> Vec<Slot> {
    let of = |states: &[BackendState]| select(vip, ids, |one| states.contains(&one.state));
    let active = of(&[BackendState::Active]);
    // Nothing ready: what still serves is better than nothing, as kube-proxy sees it.
    let chosen = if active.is_empty() {
        of(&[BackendState::Draining])
    } else {
        active
    };
    let all = select(vip, ids, |_| true);
    let table = if all.is_empty() { 0 } else { count };
    let current = named(&chosen, ids, table);
    // Nobody has no connections: there is nobody to be asked for one.
    let somebody = |backend: &Backend| backend.placement != Placement::Nobody;
    let living: Living = vip
        .backends
        .iter()
        .filter(|(_, backend)| somebody(backend))
        .filter_map(|(endpoint, backend)| Some((*ids.get(endpoint)?, backend.placement)))
        .collect();
    match old.filter(|old| old.len() == current.len()) {
        Some(old) => current
            .into_iter()
            .zip(old)
            .map(|(current, old)| remember(current, old, &living))
            .collect(),
        // No memory: with what takes nothing new put back, the table is nearly that of before.
        None => current
            .into_iter()
            .zip(named(&all, ids, table))
            .map(|(current, before)| Slot {
                unsettled: 1,
                ..slot(current, [before], &living)
            })
            .collect(),
    }
}

/// The backends that there are, and their nodes.
type Living = HashMap<u16, Placement>;

/// A slot that was `old` and now is `current`'s.
fn remember(current: u16, old: &Slot, living: &Living) -> Slot {
    let [first, second] = old.previous;
    if old.current == current {
        let same = slot(current, [first, second], living);
        return Slot {
            unsettled: old.unsettled | same.unsettled,
            ..same
        };
    }
    // Whoever had it between the two may not yet have said which connections it has.
    Slot {
        unsettled: 1,
        ..slot(current, [old.current, first, second], living)
    }
}

/// A slot of `current` and two of `before` that live: the first of each other node, and then the others.
fn slot<const N: usize>(current: u16, before: [u16; N], living: &Living) -> Slot {
    let mut slot = Slot {
        current,
        ..Slot::default()
    };
    let mut length = 0;
    for must_be_elsewhere in [true, false] {
        for id in before {
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

fn named(backends: &[(Endpoint, u16)], ids: &BTreeMap<Endpoint, u16>, count: u32) -> Vec<u16> {
    if backends.is_empty() {
        return vec![0; count as usize];
    }
    let names: Vec<u16> = backends.iter().map(|(endpoint, _)| ids[endpoint]).collect();
    maglev::table(backends, count)
        .iter()
        .map(|index| names[usize::from(*index)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::{Placement, PodId};
    use std::net::Ipv4Addr;

    const COUNT: u32 = 1021;

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
        slots(&vip, &ids, Some(old), COUNT)
    }

    fn fresh(backends: &[(u8, BackendState)]) -> Vec<Slot> {
        let (vip, ids) = vip(backends);
        slots(&vip, &ids, None, COUNT)
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
            slots = Some(super::slots(&vip, &ids, slots.as_deref(), COUNT));
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
}
