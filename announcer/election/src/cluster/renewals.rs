//! Where nobody is heard: those who watch a session's renewals end it when they stop, and all others go by that.

use std::time::Duration;

use super::single::{millis, secs};
use super::storm::cases;
use super::world::{CALM, World};
use crate::NodeName;

/// A cluster at rest whose frames reach nobody.
fn unheard(seed: u64, nodes: usize, addresses: usize) -> World {
    let mut world = World::new(seed, nodes, addresses, CALM);
    world.mute = (0..nodes).collect();
    world.check.every = millis(20);
    world.settle();
    world.run(secs(8));
    world.assert_all_answered_once();
    world.check.forget();
    world
}

/// Who watches the renewals of a node.
fn watchers(world: &World, node: &NodeName) -> Vec<usize> {
    let watches = |n: &usize| world.nodes[*n].owners.watched().contains(node);
    (0..world.nodes.len()).filter(watches).collect()
}

#[test]
fn a_dead_owner_is_replaced_after_its_session_however_few_watched_it() {
    for (seed, nodes) in cases(6, &[3, 12, 30]) {
        let mut world = unheard(seed, nodes, 60);
        let dead = world.nodes[1].name.clone();
        let few = watchers(&world, &dead).len();
        assert!(
            few == 4 || few + 1 == nodes && nodes <= 10,
            "{few} of {nodes}"
        );
        world.nodes[1].dead = true;
        world.run(secs(25));
        assert_eq!(
            world.check.most_twice,
            Duration::ZERO,
            "{nodes} nodes, seed {seed}"
        );
        world.assert_all_answered_once();
    }
}

#[test]
fn a_node_is_missed_that_died_with_all_who_watched_it() {
    for seed in 0..3 {
        let mut world = unheard(seed, 20, 60);
        let dead = world.nodes[1].name.clone();
        let with_it = watchers(&world, &dead);
        for n in with_it.into_iter().chain([1]) {
            world.nodes[n].dead = true;
        }
        world.run(secs(60));
        assert_eq!(world.check.most_twice, Duration::ZERO, "seed {seed}");
        world.assert_all_answered_once();
    }
}

#[test]
fn a_node_that_owned_nothing_is_no_candidate_for_long_when_it_is_dead() {
    let mut world = unheard(1, 20, 2);
    let owns = |world: &World, n: usize| !world.nodes[n].answering.is_empty();
    let idle = (0..20).find(|n| !owns(&world, *n)).unwrap();
    world.nodes[idle].dead = true;
    world.run(secs(20));
    let dead = world.nodes[idle].name.clone();
    for node in world.nodes.iter().filter(|node| !node.dead) {
        let live = node.owners.live_nodes(node.local(world.now));
        assert!(!live.contains(&dead) && live.len() == 19, "{}", node.name);
    }
}
