//! What a plan does where there is room for a table, and where there is none.

use super::*;
use crate::maglev::SMALLEST;

#[test]
fn frontends_that_make_room_for_others_do_so_in_the_second_plan() {
    let pods: Vec<(u8, u8)> = (0..=8).map(|number| (number, 0)).collect();
    // Each has a pod of its own.
    let each = |numbers: std::ops::RangeInclusive<u8>| -> Vec<(u8, &[(u8, u8)])> {
        let pod = |number: u8| std::slice::from_ref(&pods[usize::from(number)]);
        numbers.map(|number| (number, pod(number))).collect()
    };
    let mut now = go(&empty(), &wanted(&each(1..=4))).next;
    // But for what is left to those that are served.
    while now.tables.room().left() > settings().slots / 16 + SMALLEST {
        let filler = vec![
            Slot {
                current: u16::MAX,
                ..Slot::default()
            };
            SMALLEST as usize
        ];
        now.tables.take(&filler, true).unwrap();
    }
    let others = wanted(&each(5..=8));
    let first = go(&now, &others);
    assert_eq!(
        first.refused.values().collect::<Vec<_>>(),
        [&Refusal::Tables; 3]
    );
    assert!(go(&first.next, &others).refused.is_empty());
}

#[test]
fn frontends_with_the_same_backends_share_a_table_as_long_as_it_says_the_same() {
    let two: &[(u8, u8)] = &[(1, 0), (2, 7)];
    let three: &[(u8, u8)] = &[(1, 0), (2, 7), (3, 8)];
    let first = go(&empty(), &wanted(&[(10, two), (11, two), (12, three)]));
    let both = &first.next;
    assert_eq!(both.table(10), both.table(11));
    let is_write = |operation: &&Operation| matches!(operation, Operation::WriteTable(..));
    assert_eq!(first.operations.iter().filter(is_write).count(), 2);
    let apart = go(both, &wanted(&[(10, two), (11, three), (12, three)])).next;
    assert_eq!(
        apart.table(10),
        both.table(10),
        "it does not move because another one does"
    );
    // The one has a past that the other does not have.
    assert_ne!(apart.table(11), apart.table(12));
    assert_ne!(apart.slots(11), apart.slots(12));
    // The last one takes its table with it.
    let left = go(&apart, &wanted(&[(12, three)])).next;
    assert_eq!(left.tables.count(), 1);
    assert_eq!(
        left.tables.room().left(),
        settings().slots - left.table(12).slots
    );
}

#[test]
fn a_frontend_that_comes_takes_nothing_from_those_that_are_served() {
    let small = Settings {
        frontends: 2,
        backends: 4,
        ..settings()
    };
    let none = BTreeSet::new();
    let go = |now: &State, desired: &Desired| plan_of(now, desired, &none, &small);
    let eleven: &[(u8, u8)] = &[(1, 0)];
    let twelve: &[(u8, u8)] = &[(2, 0), (3, 7)];
    let served = learned(go(&empty(), &wanted(&[(11, eleven), (12, twelve)])).next);
    // One with a lower address comes, and there is no room: neither for it, nor for its backends.
    let more = wanted(&[(10, &[(4, 0), (5, 0)]), (11, eleven), (12, twelve)]);
    let full = go(&served, &more);
    assert_eq!(full.refused, [(frontend(10), Refusal::Frontends)].into());
    assert_eq!((full.operations, full.next), (Vec::new(), served.clone()));
    // One of those that are served grows out of what there is: it keeps what it has, until there is room.
    let grown: &[(u8, u8)] = &[(2, 0), (3, 7), (4, 0)];
    let out = go(&served, &wanted(&[(11, eleven), (12, grown)]));
    assert_eq!(out.refused, [(frontend(12), Refusal::Backends)].into());
    let kept = entry_of(Some(served.table(12)), FrontendEntry::DRAINING);
    assert_eq!(out.operations, [Operation::SetFrontend(frontend(12), kept)]);
    assert_eq!(out.next.slots(12), served.slots(12));
    assert_eq!(out.next.backends, served.backends);
    assert_eq!(
        go(&out.next, &wanted(&[(11, eleven), (12, grown)])).operations,
        []
    );
    let room = go(&out.next, &wanted(&[(12, grown)]));
    let again = go(&room.next, &wanted(&[(12, grown)]));
    assert_eq!(again.refused, BTreeMap::new());
    let flags = again.next.frontends[&frontend(12)].entry.flags;
    assert_eq!(flags & FrontendEntry::CLOSED, 0);
}

#[test]
fn a_frontend_that_finds_no_room_for_a_larger_table_keeps_the_one_it_has() {
    let few: &[(u8, u8)] = &[(1, 0), (2, 7)];
    let mut now = learned(go(&empty(), &wanted(&[(10, few)])).next);
    let mut fillers = Vec::new();
    while now.tables.room().left() > 0 {
        let filler = vec![
            Slot {
                current: u16::MAX,
                ..Slot::default()
            };
            SMALLEST as usize
        ];
        fillers.push(now.tables.take(&filler, true).unwrap());
    }
    let many: Vec<(u8, u8)> = (1..=8).map(|pod| (pod, 0)).collect();
    let full = go(&now, &wanted(&[(10, &many)]));
    assert_eq!(full.refused, [(frontend(10), Refusal::Tables)].into());
    assert_eq!(full.next.slots(10), now.slots(10));
    let ids: BTreeSet<u16> = ids_of(now.slots(10));
    assert!(
        ids.iter()
            .all(|id| full.next.backends[id] == now.backends[id])
    );
    assert!(
        now.hops
            .iter()
            .all(|(id, hop)| full.next.hops.get(id) == Some(hop))
    );
    // It is known to have found none: that is not tried again before there is some.
    let known = go(&full.next, &wanted(&[(10, &many)]));
    let mut again = go(&known.next, &wanted(&[(10, &many)]));
    assert_eq!(again.refused, full.refused);
    assert_eq!((again.operations, &again.next), (Vec::new(), &known.next));
    for filler in &fillers[1..3] {
        let (Taken::AtOnce(table) | Taken::AfterRest(table)) = *filler;
        again.next.tables.release(table);
    }
    let room = go(&again.next, &wanted(&[(10, &many)]));
    assert_eq!(room.refused, BTreeMap::new());
    assert_eq!(room.next.table(10).slots, 1_024);
}

#[test]
fn a_table_grows_and_shrinks_with_its_backends_and_forgets_nobody_who_lives() {
    let pods = |count: u8| -> Vec<(u8, u8)> { (1..=count).map(|pod| (pod, pod % 3)).collect() };
    let (few, many) = (pods(3), pods(14));
    let first = go(&empty(), &wanted(&[(10, &few)])).next;
    let grown = go(&first, &wanted(&[(10, &many)])).next;
    let sizes = [&first, &grown].map(|state| state.table(10).slots);
    assert_eq!(sizes, [512, 2048]);
    for (number, slot) in grown.slots(10).iter().enumerate() {
        let before = first.slots(10)[number / 4].current;
        assert!(slot.current == before || slot.previous[0] == before);
    }
    let again = go(&grown, &wanted(&[(10, &few)])).next;
    assert_eq!(again.table(10).slots, 512);
    // The table is what it was; of the pods that there were in between, none lives.
    for (slot, before) in again.slots(10).iter().zip(first.slots(10)) {
        assert_eq!(slot.current, before.current);
    }
}

#[test]
fn too_many_backends_are_refused() {
    let backends: Vec<(u8, u8)> = (1..=16).map(|number| (number, 0)).collect();
    let plan = go(&empty(), &wanted(&[(10, &backends), (11, &[(1, 0)])]));
    assert_eq!(
        plan.refused.into_iter().collect::<Vec<_>>(),
        [(frontend(10), Refusal::Backends)]
    );
    assert!(plan.next.frontends.contains_key(&frontend(11)));
}
