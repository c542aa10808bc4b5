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
