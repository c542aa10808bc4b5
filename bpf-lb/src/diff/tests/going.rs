//! What a plan leaves to a frontend that is going.

use super::*;

#[test]
fn a_frontend_whose_backends_go_before_it_does_keeps_what_it_has() {
    let served = go(&empty(), &wanted(&[(1, &[(1, 0), (2, 1)])])).next;
    let of = |state: &State| {
        let table = state.programmed.frontends[&frontend(1)].table();
        table.map(|table| state.contents[&table].clone())
    };
    let before = of(&served).unwrap();
    let going = BTreeSet::from([frontend(1)]);
    let without = plan(&served, &wanted(&[(1, &[])]), &going).next;
    assert_eq!(of(&without), Some(before.clone()));
    assert!(without.programmed.frontends[&frontend(1)].is_draining());
    let removed = plan(&without, &wanted(&[]), &going).next;
    assert_eq!(of(&removed), Some(before));
    // One comes back: who was there before is remembered.
    let again = go(&without, &wanted(&[(1, &[(1, 0), (2, 1)])])).next;
    assert!(!again.programmed.frontends[&frontend(1)].is_draining());
    assert_eq!(again.programmed.backends.len(), 2);
    // Its connections have ended.
    let ended = go(&without, &wanted(&[(1, &[])])).next;
    assert_eq!(of(&ended), None);
    assert!(ended.programmed.backends.is_empty());
    assert!(!ended.programmed.frontends[&frontend(1)].is_draining());
}

#[test]
fn no_more_frontends_are_written_than_the_map_holds_with_those_that_are_going() {
    let of = |numbers: std::ops::RangeInclusive<u8>| {
        let frontends: Vec<(u8, &[(u8, u8)])> =
            numbers.map(|number| (number, &[(1, 0)][..])).collect();
        wanted(&frontends)
    };
    let going = |numbers: std::ops::RangeInclusive<u8>| numbers.map(frontend).collect();
    let first = go(&empty(), &of(1..=4)).next;
    let full = plan(&first, &of(5..=8), &going(1..=4));
    assert_eq!(full.next.frontends.len(), 8);
    let more = plan(&full.next, &of(9..=9), &going(1..=8));
    assert_eq!(more.refused[&frontend(9)], Refusal::Frontends);
    assert_eq!(more.next.frontends.len(), 8);
}

#[test]
fn a_frontend_that_goes_for_want_of_endpoints_keeps_its_place() {
    let one: &[(u8, u8)] = &[(1, 0)];
    let served = go(&empty(), &wanted(&[(1, one), (2, one), (3, one), (4, one)])).next;
    let more = wanted(&[(1, &[]), (2, one), (3, one), (4, one), (5, one)]);
    let going = BTreeSet::from([frontend(1)]);
    let plan = plan(&served, &more, &going);
    let refused: Vec<_> = plan.refused.keys().copied().collect();
    assert_eq!(refused, [frontend(5)]);
}

#[test]
fn endpoints_that_come_to_a_frontend_without_a_table_are_learned_of() {
    let one: &[(u8, u8)] = &[(1, 0)];
    let flags = |state: &State| state.programmed.frontends[&frontend(1)].entry.flags;
    let learned = |state: State| {
        let mut state = state;
        let installed = state.programmed.frontends.get_mut(&frontend(1)).unwrap();
        installed.entry.flags &= !FrontendEntry::LEARNING;
        state
    };
    let served = learned(go(&empty(), &wanted(&[(1, one)])).next);
    let without = learned(go(&served, &wanted(&[(1, &[])])).next);
    let again = go(&without, &wanted(&[(1, one)])).next;
    assert_eq!(
        flags(&again) & FrontendEntry::LEARNING,
        FrontendEntry::LEARNING
    );
    // Others that join it change nothing about what the kernel had.
    let two = go(&learned(again), &wanted(&[(1, &[(1, 0), (2, 1)])])).next;
    assert_eq!(flags(&two) & FrontendEntry::LEARNING, 0);
}
