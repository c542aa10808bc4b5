//! What cuts nodes off from each other, or from the API server, without ending them.

use std::time::Duration;

use super::single::{at_rest, millis, secs};
use super::storm::{cases, histories};
use super::world::World;
use crate::peers::Report;

/// Splits the segment: the first so many nodes are with the router.
fn split(world: &mut World, with_router: usize) {
    world.side = (0..world.nodes.len())
        .map(|n| u8::from(n >= with_router))
        .collect();
}

#[test]
fn a_split_moves_an_address_at_most_once_and_heals_within_a_tenth_of_a_second() {
    let splits = [(2, 1), (3, 2), (4, 2), (5, 3), (5, 2)];
    for (seed, (nodes, with_router)) in cases(200, &splits) {
        let mut world = at_rest(seed, nodes, 20);
        split(&mut world, with_router);
        world.run(secs(40));
        for (address, record) in &world.server.records {
            let moves = record.owner.as_ref().unwrap().transitions - 1;
            assert!(
                moves <= 1,
                "{nodes} nodes, {with_router} with the router: {:?}",
                world.server.history(*address)
            );
        }
        world.run(secs(20));
        world.check.forget();
        world.heal();
        world.run(secs(10));
        let case = format!("{nodes} nodes, {with_router} with the router, seed {seed}");
        assert!(
            world.check.most_twice <= millis(100),
            "{case}: {:?}",
            world.check.most_twice
        );
        world.assert_all_answered_once();
    }
}

#[test]
fn of_two_halves_that_both_reach_a_router_however_slow_one_alone_ends_the_other() {
    // The nodes of one half; how long a router may take.
    let halves: [(usize, &[usize]); 5] = [
        (2, &[0]),
        (2, &[1]),
        (4, &[0, 1]),
        (4, &[0, 2]),
        (4, &[1, 2]),
    ];
    let routers = [40, 180, 400, 900].map(millis);
    let all: Vec<_> = routers
        .iter()
        .flat_map(|late| halves.iter().map(move |half| (*half, *late)))
        .collect();
    for (seed, ((nodes, half), late)) in cases(400, &all) {
        let mut world = at_rest(seed, nodes, 20);
        world.router = (vec![0, 1], late);
        world.side = (0..nodes).map(|n| u8::from(half.contains(&n))).collect();
        world.run(secs(40));
        let case = format!("{half:?} of {nodes}, a router {late:?} late, seed {seed}");
        let kept = |side: u8| {
            let of_it = world.nodes.iter().zip(&world.side);
            of_it
                .clone()
                .filter(|(_, on)| **on == side)
                .all(|(node, _)| node.lives == 1)
        };
        assert!(kept(0) != kept(1), "{case}: one half keeps its sessions");
        for (address, record) in &world.server.records {
            let moves = record.owner.as_ref().unwrap().transitions - 1;
            // After a second all know that few hear them, and some hand over as planned.
            let planned = u64::from(late > millis(400));
            assert!(
                moves <= 1 + planned,
                "{case}: {:?}",
                world.server.history(*address)
            );
        }
        world.heal();
        world.run(secs(10));
        world.assert_all_answered_once();
    }
}

#[test]
fn a_deaf_owner_is_replaced() {
    for seed in 0..histories(200) {
        let mut world = at_rest(seed, 3, 30);
        world.deaf.insert(1);
        world.run(secs(2));
        assert!(world.nodes[1].answering.is_empty(), "seed {seed}");
        // It answered nobody; that it held on for so long is what two answering is here.
        assert!(
            world.check.most_twice <= secs(1),
            "{:?}",
            world.check.most_twice
        );
        // It may read of its fence a little before the standby hears of it.
        assert!(
            world.check.most_dark <= millis(25),
            "{:?}",
            world.check.most_dark
        );
        world.assert_all_answered_once();
    }
}

#[test]
fn an_owner_whose_link_is_dead_is_replaced_as_soon_as_a_dead_one_and_a_deaf_one_a_little_later() {
    // Who is deaf says that it lives; that it acknowledges nobody is seen after three windows.
    let dead = [(false, true, 300), (true, true, 300), (true, false, 650)];
    for (seed, (deaf, mute, most)) in cases(60, &dead) {
        let mut world = at_rest(seed, 5, 30);
        if deaf {
            world.deaf.insert(1);
        }
        if mute {
            world.mute.insert(1);
        }
        world.run(millis(most));
        let others = world.nodes.iter().enumerate().filter(|(n, _)| *n != 1);
        let answered: usize = others.map(|(_, node)| node.answering.len()).sum();
        assert_eq!(answered, 30, "deaf {deaf}, mute {mute}, seed {seed}");
        world.run(secs(40));
        assert!(world.nodes[1].answering.is_empty(), "it takes nothing");
        world.heal();
        world.run(secs(20));
        world.assert_all_answered_once();
    }
}

#[test]
fn a_mute_owner_is_replaced_and_takes_nothing() {
    for seed in 0..histories(200) {
        let mut world = at_rest(seed, 3, 30);
        world.mute.insert(1);
        world.run(secs(2));
        assert!(world.nodes[1].answering.is_empty(), "seed {seed}");
        world.assert_all_answered_once();
        world.run(secs(40));
        assert!(
            world.nodes[1].answering.is_empty(),
            "it must not come back by the slow lane"
        );
    }
}

#[test]
fn a_node_with_a_wrong_key_takes_nothing_and_keeps_what_it_has() {
    for (seed, nodes) in cases(200, &[2, 3, 5]) {
        let mut world = at_rest(seed, nodes, 30);
        let before = world.transitions();
        world.wrong_key.insert(1);
        world.run(secs(60));
        assert_eq!(
            (world.transitions(), world.fences),
            (before, 0),
            "{nodes} nodes, seed {seed}"
        );
        assert_eq!(world.check.most_dark, Duration::ZERO);
        let vetoed = |(_, report): &(Duration, Report)| matches!(report, Report::Vetoed { .. });
        assert!(world.nodes[0].reports.iter().any(vetoed), "it is said");
    }
}

#[test]
fn an_owner_heard_by_one_of_ten_hands_over_as_planned() {
    for seed in 0..histories(200) {
        let mut world = at_rest(seed, 10, 40);
        for n in 2..10 {
            world.cut.insert((0, n));
        }
        world.run(secs(8));
        assert!(
            world.nodes[0].answering.is_empty(),
            "seed {seed}: {:?}",
            world.nodes[0].answering
        );
        assert_eq!(world.check.most_dark, Duration::ZERO);
        world.assert_all_answered_once();
    }
}

#[test]
fn a_fence_that_is_never_answered_does_not_hold_the_standbys() {
    for seed in 0..histories(200) {
        let mut world = at_rest(seed, 3, 30);
        world.nodes[1].dead = true;
        world.server_down = true;
        world.run(secs(1));
        world.server_down = false;
        world.run(secs(5));
        assert!(
            world.check.most_dark <= millis(300),
            "seed {seed}: {:?}",
            world.check.most_dark
        );
        world.assert_all_answered_once();
    }
}

#[test]
fn a_node_that_alone_lost_the_api_server_gives_everything_away_in_time() {
    for seed in 0..histories(200) {
        let mut world = at_rest(seed, 3, 30);
        world.no_api.insert(1);
        world.run(secs(40));
        assert!(world.nodes[1].answering.is_empty(), "seed {seed}");
        assert_eq!(world.check.most_dark, Duration::ZERO, "seed {seed}");
        assert!(
            world.check.most_twice <= millis(20),
            "seed {seed}: {:?}",
            world.check.most_twice
        );
        world.assert_all_answered_once();
    }
}

#[test]
fn an_outage_of_the_api_server_and_its_end_move_nothing() {
    for (seed, nodes) in cases(200, &[1, 2, 3, 12]) {
        let mut world = at_rest(seed, nodes, 24);
        let before = world.transitions();
        // Shorter than a session, about as long as one, and so long that every Lease is too old at its end.
        let outage = secs([60, 4, 11, 23, 31][usize::try_from(seed % 5).unwrap()]);
        world.server_down = true;
        world.run(outage);
        world.server_down = false;
        world.run(secs(40));
        assert_eq!(
            (world.transitions(), world.fences),
            (before, 0),
            "{nodes} nodes, seed {seed}, {outage:?}"
        );
        assert_eq!(
            world.check.most_dark,
            Duration::ZERO,
            "{nodes} nodes, seed {seed}, {outage:?}"
        );
        assert_eq!(world.check.most_twice, Duration::ZERO);
    }
}

#[test]
fn an_outage_that_ends_for_one_node_after_another_moves_nothing() {
    for (seed, nodes) in cases(200, &[2, 3, 5, 12]) {
        let mut world = at_rest(seed, nodes, 24);
        let before = world.transitions();
        world.no_api = (0..nodes).collect();
        let outage = secs([12, 17, 23, 31, 60][usize::try_from(seed % 5).unwrap()]);
        world.run(outage);
        let mut returns: Vec<(Duration, usize)> = (0..nodes)
            .map(|n| (world.dice.between(Duration::ZERO, secs(15)), n))
            .collect();
        returns.sort();
        let mut waited = Duration::ZERO;
        for (at, n) in returns {
            world.run(at - waited);
            waited = at;
            world.no_api.remove(&n);
        }
        world.run(secs(60));
        let case = format!("{nodes} nodes, seed {seed}, {outage:?}");
        assert_eq!((world.transitions(), world.fences), (before, 0), "{case}");
        assert_eq!(world.check.most_dark, Duration::ZERO, "{case}");
        assert_eq!(world.check.most_twice, Duration::ZERO, "{case}");
    }
}

#[test]
fn an_owner_that_dies_in_an_outage_is_replaced_and_the_records_follow() {
    for (seed, nodes) in cases(200, &[2, 3, 5]) {
        let mut world = at_rest(seed, nodes, 30);
        world.server_down = true;
        world.run(secs(20));
        world.nodes[1].dead = true;
        world.run(secs(30));
        assert!(
            world.check.most_dark <= millis(400),
            "{nodes} nodes, seed {seed}: {:?}",
            world.check.most_dark
        );
        world.server_down = false;
        world.run(secs(30));
        world.assert_all_answered_once();
        let dead = world.nodes[1].name.clone();
        let left = world
            .server
            .records
            .values()
            .filter(|r| r.owner.as_ref().unwrap().node == dead)
            .count();
        assert_eq!(left, 0);
        assert_eq!(
            world.check.most_twice,
            Duration::ZERO,
            "{nodes} nodes, seed {seed}"
        );
    }
}

#[test]
fn an_heir_that_dies_in_an_outage_before_it_could_write_is_replaced_by_one_node_alone() {
    for (seed, nodes) in cases(60, &[4, 5, 6]) {
        let mut world = at_rest(seed, nodes, 60);
        world.server_down = true;
        // Long enough for everybody to know.
        world.run(secs(12));
        world.nodes[0].dead = true;
        world.run(secs(2));
        world.check.forget();
        // By its name it comes before all that are left.
        world.nodes[nodes - 1].dead = true;
        world.run(secs(30));
        let case = format!("{nodes} nodes, seed {seed}");
        assert_eq!(world.check.most_twice, Duration::ZERO, "{case}");
        assert!(
            world.check.most_dark <= millis(400),
            "{case}: {:?}",
            world.check.most_dark
        );
        world.assert_all_answered_once();
        world.server_down = false;
        world.run(secs(60));
        world.assert_all_answered_once();
    }
}
