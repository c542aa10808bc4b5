//! What beats cost, in frames sent and heard.

use super::single::secs;
use super::world::{CALM, World};

#[test]
fn no_node_sends_or_hears_more_than_two_hundred_frames_a_second() {
    for (nodes, time) in [(2, 20), (10, 20), (11, 20)] {
        let mut world = World::new(1, nodes, 0, CALM);
        world.run(secs(10));
        for node in &mut world.nodes {
            (node.sent, node.heard) = (0, 0);
        }
        world.run(secs(time));
        let most = |of: fn(&super::node::Node) -> u64| {
            world.nodes.iter().map(of).max().unwrap_or(0) / time
        };
        let (sent, heard) = (most(|node| node.sent), most(|node| node.heard));
        println!("{nodes} nodes: {sent} frames sent and {heard} heard a second by the busiest");
        assert!(
            sent <= 200 && heard <= 200,
            "{nodes} nodes: {sent} sent, {heard} heard"
        );
        assert_eq!(world.fences, 0);
    }
}
