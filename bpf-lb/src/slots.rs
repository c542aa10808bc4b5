//! From the backends of one frontend to the slots of its table, with a memory of where
//! connections went before.
//!
//! Pure. The current half is the same on every node. The previous half is this node's help for
//! connections that began before the backends changed, and depends on what it had before.

use std::collections::{BTreeMap, HashSet};

use landfall_bpf_lb_common::records::Slot;

use crate::desired::{Backend, BackendState, Endpoint, Vip};
use crate::maglev;

/// The slots of a frontend: `ids` are its backends' ids, `old` what the frontend has now.
#[must_use]
pub(crate) fn slots(
    vip: &Vip,
    ids: &BTreeMap<Endpoint, u16>,
    old: Option<&[Slot]>,
    count: u32,
) -> Vec<Slot> {
    let active: Vec<_> = select(vip, ids, |backend| backend.state == BackendState::Active);
    let all: Vec<_> = select(vip, ids, |_| true);
    // Nothing ready: what still serves is better than nothing, as kube-proxy sees it.
    let chosen = if active.is_empty() { &all } else { &active };
    let current = named(chosen, ids, count);
    let living: HashSet<u16> = ids.values().copied().collect();
    match old.filter(|old| old.len() == current.len()) {
        Some(old) => {
            let remembered = |(current, old): (u16, &Slot)| {
                let before = if old.current == current {
                    old.previous
                } else {
                    old.current
                };
                Slot {
                    current,
                    previous: if living.contains(&before) {
                        before
                    } else {
                        current
                    },
                }
            };
            current.into_iter().zip(old).map(remembered).collect()
        }
        // No memory: with what is draining put back, the table is nearly that of before.
        None => {
            let before = if all.len() == chosen.len() {
                current.clone()
            } else {
                named(&all, ids, count)
            };
            current
                .into_iter()
                .zip(before)
                .map(|(current, previous)| Slot { current, previous })
                .collect()
        }
    }
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
    let names: Vec<u16> = backends.iter().map(|(endpoint, _)| ids[endpoint]).collect();
    maglev::table(backends, count)
        .iter()
        .map(|index| names[usize::from(*index)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::Placement;
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
            placement: Placement::Local,
            weight: 1,
            state,
        };
        let vip = Vip {
            backends: backends
                .iter()
                .map(|(number, state)| (endpoint(*number), backend(*state)))
                .collect(),
            client_ip_affinity: false,
        };
        let ids = backends
            .iter()
            .map(|(number, _)| (endpoint(*number), u16::from(*number)))
            .collect();
        (vip, ids)
    }

    use BackendState::{Active, Draining};

    #[test]
    fn a_new_frontend_has_no_other_past_than_its_present() {
        let (vip, ids) = vip(&[(1, Active), (2, Active)]);
        let slots = slots(&vip, &ids, None, COUNT);
        assert_eq!(slots.len(), COUNT as usize);
        assert!(
            slots
                .iter()
                .all(|slot| slot.current == slot.previous && slot.current != 0)
        );
    }

    #[test]
    fn a_draining_backend_lives_on_as_previous_alone() {
        let (before, ids) = vip(&[(1, Active), (2, Active)]);
        let old = slots(&before, &ids, None, COUNT);
        let (after, ids) = vip(&[(1, Active), (2, Draining)]);
        let new = slots(&after, &ids, Some(&old), COUNT);
        for (old, new) in old.iter().zip(&new) {
            assert_eq!(new.current, 1);
            assert_eq!(new.previous, old.current);
        }
    }

    #[test]
    fn a_node_without_memory_guesses_the_same_past_from_what_drains() {
        let (before, ids) = vip(&[(1, Active), (2, Active), (3, Active)]);
        let old = slots(&before, &ids, None, COUNT);
        let (after, ids) = vip(&[(1, Active), (2, Draining), (3, Active)]);
        assert_eq!(
            slots(&after, &ids, Some(&old), COUNT),
            slots(&after, &ids, None, COUNT)
        );
    }

    #[test]
    fn a_backend_that_is_gone_is_forgotten() {
        let (before, ids) = vip(&[(1, Active), (2, Active)]);
        let old = slots(&before, &ids, None, COUNT);
        let (after, ids) = vip(&[(1, Active)]);
        let new = slots(&after, &ids, Some(&old), COUNT);
        assert!(new.iter().all(|slot| *slot
            == Slot {
                current: 1,
                previous: 1
            }));
    }

    #[test]
    fn an_added_backend_remembers_from_whom_it_took_its_slots() {
        let (before, ids) = vip(&[(1, Active), (2, Active)]);
        let old = slots(&before, &ids, None, COUNT);
        let (after, ids) = vip(&[(1, Active), (2, Active), (3, Active)]);
        let new = slots(&after, &ids, Some(&old), COUNT);
        for (old, new) in old.iter().zip(&new) {
            assert_eq!(new.previous, old.current);
        }
        assert!(new.iter().any(|slot| slot.current == 3));
    }

    #[test]
    fn with_nothing_ready_what_drains_still_serves() {
        let (vip, ids) = vip(&[(1, Draining), (2, Draining)]);
        assert!(
            slots(&vip, &ids, None, COUNT)
                .iter()
                .all(|slot| slot.current != 0)
        );
    }

    #[test]
    fn the_same_backends_again_change_nothing() {
        let (before, ids) = vip(&[(1, Active), (2, Active)]);
        let old = slots(&before, &ids, None, COUNT);
        let (grown, more) = vip(&[(1, Active), (2, Active), (3, Active)]);
        let grown_slots = slots(&grown, &more, Some(&old), COUNT);
        assert_eq!(slots(&grown, &more, Some(&grown_slots), COUNT), grown_slots);
    }
}
