//! Single faults in calm weather, and what they must come to.

use std::time::Duration;

use super::storm::{cases, histories};
use super::world::{CALM, STORM, World};
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
fn what_a_node_that_leaves_could_not_hand_over_before_its_end_is_taken_over_as_from_a_dead_one() {
    for (seed, (nodes, after)) in cases(200, &[(2, 1), (3, 5), (3, 20), (12, 60)]) {
        let mut world = at_rest(seed, nodes, 60);
        // Nothing is written so soon: its addresses are still its own when it is killed.
        world.weather.request_delay = secs(2);
        world.tell(1, owners::Event::Leaving);
        world.run(millis(after));
        world.nodes[1].dead = true;
        world.run(secs(1));
        assert!(
            world.check.most_dark <= millis(300),
            "{nodes} nodes, killed after {after} ms, seed {seed}: {:?}",
            world.check.most_dark
        );
        world.weather.request_delay = CALM.request_delay;
        world.run(secs(8));
        world.assert_all_answered_once();
    }
}

/// A node hands over all, gives its session up and ends, on a machine that runs on.
fn leave(world: &mut World, n: usize) {
    world.tell(n, owners::Event::Leaving);
    world.run(secs(3));
    let name = world.nodes[n].name.clone();
    world.server.put_lease(&name, None, None);
    world.nodes[n].dead = true;
    world.nodes[n].gone = true;
}

#[test]
fn who_has_left_is_no_silent_member_for_the_others() {
    for (seed, (nodes, after, server_down)) in cases(
        200,
        &[
            (2, 1, true),
            (2, 500, true),
            (3, 500, false),
            (4, 500, false),
        ],
    ) {
        let mut world = at_rest(seed, nodes, 40);
        leave(&mut world, 0);
        world.run(millis(after));
        let case = format!("{nodes} nodes, seed {seed}, the next {after} ms later");
        world.check.forget();
        if server_down {
            // Nobody is there to yield to.
            world.server_down = true;
            world.run(secs(8));
            assert_eq!(world.check.most_dark, Duration::ZERO, "{case}");
        } else {
            world.nodes[1].dead = true;
            world.run(secs(2));
            // Half of those that are left: the router is asked, and the half without the first name waits for its turn.
            let dark = world.check.most_dark;
            assert!(dark <= millis(450), "{case}: {dark:?}");
        }
    }
}

#[test]
fn what_a_node_without_an_interface_owned_is_answered_for_at_once() {
    for (seed, (nodes, server_down)) in
        cases(200, &[(2, false), (3, false), (3, true), (12, false)])
    {
        let mut world = at_rest(seed, nodes, 60);
        world.check.every = millis(1);
        world.server_down = server_down;
        world.plug(1, false);
        world.run(millis(50));
        world.read_of_interface(1, false);
        world.run(secs(3));
        let case = format!("{nodes} nodes, server down {server_down}, seed {seed}");
        assert!(
            world.check.most_dark <= millis(10),
            "{case}: {:?}",
            world.check.most_dark
        );
        assert_eq!(world.check.most_twice, Duration::ZERO, "{case}");
        world.server_down = false;
        world.plug(1, true);
        world.read_of_interface(1, true);
        world.run(secs(20));
        world.assert_all_answered_once();
        assert!(
            world.nodes[1].answering.is_empty(),
            "{case}: nothing comes back unasked"
        );
    }
}

#[test]
fn a_node_that_loses_its_interface_and_then_dies_is_replaced_within_a_third_of_a_second() {
    for (seed, pause) in cases(200, &[1, 3, 10, 30, 100, 200]) {
        let mut world = at_rest(seed, 3, 60);
        world.plug(1, false);
        world.run(millis(pause));
        world.nodes[1].dead = true;
        world.run(secs(2));
        assert!(
            world.check.most_dark <= millis(300),
            "dead after {pause} ms, seed {seed}: {:?}",
            world.check.most_dark
        );
        world.run(secs(5));
        world.assert_all_answered_once();
    }
}

#[test]
fn an_address_goes_to_and_fro_between_two_nodes_whose_interfaces_fail_in_turn() {
    for (seed, (nodes, addresses, slow)) in cases(
        24,
        &[
            (2, 600, 8),
            (3, 600, 8),
            (3, 20, 8),
            (2, 20, 2_500),
            (3, 20, 2_500),
        ],
    ) {
        let mut world = at_rest(seed, nodes, addresses);
        // Slower than the interfaces fail: who answers is not on record yet.
        world.weather.request_delay = millis(slow);
        for round in 0..6 {
            let n = round % 2;
            world.check.forget();
            world.plug(n, false);
            world.run(millis(70));
            world.read_of_interface(n, false);
            world.run(millis(1500));
            let case = format!(
                "{nodes} nodes, {addresses} addresses, a write {slow} ms, seed {seed}, round {round}"
            );
            assert!(
                world.check.most_dark <= millis(if slow > 8 { 600 } else { 50 }),
                "{case}: {:?}",
                world.check.most_dark
            );
            world.assert_all_answered_once();
            world.plug(n, true);
            world.run(millis(70));
            world.read_of_interface(n, true);
            world.run(secs(3));
        }
    }
}

#[test]
fn an_interface_that_comes_back_while_its_addresses_are_still_being_written_darkens_none() {
    for (seed, (nodes, addresses, back)) in cases(
        24,
        &[
            (2, 200, 1_300),
            (2, 200, 60),
            (3, 300, 1_300),
            (2, 400, 3_000),
        ],
    ) {
        let mut world = at_rest(seed, nodes, addresses);
        world.pace = millis(30);
        for round in 0..4 {
            let n = round % 2;
            world.check.forget();
            world.plug(n, false);
            world.run(millis(40));
            world.read_of_interface(n, false);
            world.run(millis(back));
            world.plug(n, true);
            world.run(millis(40));
            world.read_of_interface(n, true);
            world.run(secs(20));
            assert!(
                world.check.most_dark <= millis(100),
                "{nodes} nodes, {addresses} addresses, back after {back} ms, seed {seed}, round {round}: {:?}",
                world.check.most_dark
            );
            world.assert_all_answered_once();
        }
    }
}

#[test]
fn an_heir_that_loses_its_session_is_told_again_once_it_has_another() {
    for seed in 0..histories(24) {
        let mut world = at_rest(seed, 2, 300);
        // Every write of all of them would take 9 s.
        world.pace = millis(60);
        world.plug(0, false);
        world.run(millis(40));
        world.read_of_interface(0, false);
        world.run(millis(400));
        world.stop(1, millis(500));
        world.run(millis(2500));
        let name = world.nodes[0].name.clone();
        let ceded = |record: &owners::Record| {
            let owner = record.owner.as_ref().expect("no address is left to nobody");
            owner.node == name
        };
        let records = world.server.records.values().enumerate();
        let open: Vec<usize> = records
            .filter(|(_, record)| ceded(record))
            .map(|(n, _)| n)
            .collect();
        assert!(open.len() > 50, "nearly nothing is written yet: {open:?}");
        for n in open {
            assert_eq!(world.answerers(n).len(), 1, "seed {seed}, address {n}");
        }
        world.run(secs(60));
        world.assert_all_answered_once();
    }
}

#[test]
fn an_interface_that_comes_and_goes_leaves_every_address_answered_once() {
    for seed in 0..histories(200) {
        let mut world = World::new(seed, 4, 12, STORM);
        world.settle();
        world.run(secs(6));
        for _ in 0..12 {
            let n = usize::try_from(world.dice.roll(4)).unwrap();
            let is_up = world.nodes[n].without_interface.is_empty();
            world.plug(n, !is_up);
            let time = world.dice.between(millis(1), millis(700));
            world.run(time);
        }
        world.calm_down();
        world.run(secs(30));
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
