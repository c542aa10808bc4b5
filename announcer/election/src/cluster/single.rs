//! Single faults in calm weather, and what they must come to.

use std::time::Duration;

use super::storm::{cases, histories};
use super::world::{CALM, World};
use crate::owners;

pub(super) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A cluster at rest, everything owned.
pub(super) fn at_rest(seed: u64, nodes: usize, addresses: usize) -> World {
    let mut world = World::new(seed, nodes, addresses, CALM);
    world.settle();
    world.run(secs(8));
    world.assert_all_answered_once();
    world.check.forget();
    world
}

#[test]
fn an_address_nobody_owned_is_owned_once_it_was_probed() {
    for seed in 0..histories(200) {
        let mut world = World::new(seed, 5, 20, CALM);
        world.run(secs(20));
        world.assert_all_answered_once();
        let before = world.transitions();
        world.run(secs(30));
        assert_eq!(world.transitions(), before, "nothing moves by itself");
        assert_eq!(world.check.most_twice, Duration::ZERO);
    }
}

#[test]
fn at_rest_nothing_is_suspected_moved_or_answered_twice() {
    for (seed, nodes) in cases(200, &[2, 3, 12]) {
        let mut world = at_rest(seed, nodes, 60);
        let before = world.transitions();
        world.run(secs(20));
        assert_eq!(
            (world.transitions(), world.fences),
            (before, 0),
            "{nodes} nodes, seed {seed}"
        );
        assert_eq!(world.check.most_twice, Duration::ZERO);
        assert_eq!(world.check.most_dark, Duration::ZERO);
    }
}

#[test]
fn a_dead_owner_is_replaced_within_a_third_of_a_second() {
    for (seed, nodes) in cases(200, &[2, 3, 12]) {
        let mut world = at_rest(seed, nodes, 60);
        world.nodes[1].dead = true;
        world.run(millis(1500));
        assert!(
            world.check.most_dark <= millis(300),
            "{nodes} nodes, seed {seed}: {:?}",
            world.check.most_dark
        );
        assert_eq!(world.check.most_twice, Duration::ZERO);
        world.run(secs(5));
        world.assert_all_answered_once();
        let dead = world.nodes[1].name.clone();
        let left = world
            .server
            .records
            .values()
            .filter(|r| r.owner.as_ref().unwrap().node == dead)
            .count();
        assert_eq!(left, 0, "records follow");
    }
}

#[test]
fn a_leaving_node_hands_over_without_a_gap() {
    for seed in 0..histories(200) {
        let mut world = at_rest(seed, 3, 30);
        world.check.every = millis(1);
        world.tell(1, owners::Event::Leaving);
        world.run(secs(3));
        assert_eq!(world.check.most_dark, Duration::ZERO, "seed {seed}");
        assert!(
            world.check.most_twice <= millis(5),
            "seed {seed}: {:?}",
            world.check.most_twice
        );
        assert!(world.nodes[1].answering.is_empty());
        world.assert_all_answered_once();
    }
}

#[test]
fn a_stopped_process_answers_nothing_when_it_goes_on() {
    for (seed, time) in cases(200, &[millis(100), secs(2), secs(20)]) {
        let mut world = at_rest(seed, 3, 30);
        world.stop(1, time);
        world.run(time + secs(5));
        assert_eq!(
            world.check.most_twice,
            Duration::ZERO,
            "seed {seed}, stopped for {time:?}"
        );
        world.run(secs(3));
        world.assert_all_answered_once();
    }
}

#[test]
fn a_machine_whose_clock_stood_still_answers_for_a_window_at_most() {
    for (seed, time) in cases(200, &[secs(2), secs(20)]) {
        let mut world = at_rest(seed, 3, 30);
        world.freeze(1, time);
        world.run(time + secs(5));
        assert!(
            world.check.most_twice <= millis(180),
            "seed {seed}: {:?}",
            world.check.most_twice
        );
        world.run(secs(3));
        world.assert_all_answered_once();
    }
}
