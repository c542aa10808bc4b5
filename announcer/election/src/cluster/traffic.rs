//! What it costs that nodes watch each other: frames on the segment, writes and watch events at the API server.
//!
//! `make bench-traffic` writes the figures down; the ordinary test holds the bounds.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use super::single::{millis, secs};
use super::storm::nightly;
use super::world::{CALM, SEGMENT, Weather, World};
use crate::peers::{self, Peers};

/// No node sends or hears more frames a second, all interfaces together; counted over seconds, whatever its clock says.
const BOUND: f64 = 200.0;

/// A cluster at rest, by the second.
struct Traffic {
    /// The busiest node.
    sent: f64,
    heard: f64,
    /// A node, on average.
    sent_by_each: f64,
    heard_by_each: f64,
    writes: f64,
    watched: f64,
    fences: u64,
}

/// So many nodes that beat so often, for so long, after they have found each other.
fn measure(nodes: usize, interval: Duration, time: u64) -> Traffic {
    // A thousand watches are told of changes together, or nobody would live to see the end: how many they are is the same.
    let watch_delay = if nodes > 300 {
        millis(1_000)
    } else {
        CALM.watch_delay
    };
    let weather = Weather {
        watch_delay,
        ..CALM
    };
    let mut world = World::new(1, nodes, 0, weather);
    world.check.every = secs(1);
    for node in &mut world.nodes {
        let settings = peers::Settings {
            interval,
            ..peers::Settings::default()
        };
        node.peers = Peers::new(node.name.clone(), settings);
        let segments = peers::Event::Segments(vec![SEGMENT]);
        node.peers
            .observe(segments, Duration::ZERO, &mut Vec::new());
    }
    // Discovery of so many takes a fiftieth of a second for each.
    let found = nodes.div_ceil(50).max(8) + 5;
    world.run(secs(u64::try_from(found).unwrap()));
    for node in &mut world.nodes {
        (node.sent, node.heard) = (0, 0);
    }
    let before = world.server.log.len();
    world.watched = 0;
    world.run(secs(time));
    let writes = world.server.log.len() - before;
    let a_second = |count: u64| count as f64 / time as f64;
    let most =
        |of: fn(&super::node::Node) -> u64| a_second(world.nodes.iter().map(of).max().unwrap_or(0));
    let each = |of: fn(&super::node::Node) -> u64| {
        a_second(world.nodes.iter().map(of).sum()) / nodes as f64
    };
    Traffic {
        sent: most(|node| node.sent),
        heard: most(|node| node.heard),
        sent_by_each: each(|node| node.sent),
        heard_by_each: each(|node| node.heard),
        writes: a_second(u64::try_from(writes).unwrap()),
        watched: a_second(world.watched),
        fences: world.fences,
    }
}

#[test]
fn no_node_sends_or_hears_more_than_two_hundred_frames_a_second() {
    let crowds = [
        (2, 20, 20),
        (10, 20, 20),
        (11, 20, 20),
        (30, 20, 20),
        (2, 50, 20),
        (10, 50, 20),
        (11, 50, 20),
        (100, 50, 20),
        (100, 20, 10),
        (1000, 50, 5),
        (1000, 20, 5),
    ];
    let affordable = if nightly().is_some() { 1000 } else { 100 };
    for (nodes, interval, time) in crowds.into_iter().filter(|crowd| crowd.0 <= affordable) {
        let traffic = measure(nodes, millis(interval), time);
        // A renewal every five seconds, by clocks that differ by a tenth.
        let most = nodes as f64 / 5.0 * 1.12 + 1.0;
        assert!(traffic.writes <= most, "{} writes", traffic.writes);
        assert!(
            traffic.sent <= BOUND && traffic.heard <= BOUND,
            "{nodes} nodes every {interval} ms: {} sent, {} heard",
            traffic.sent,
            traffic.heard
        );
        // Of few everybody is told of each renewal of the others, of many four are.
        let told = if nodes <= 10 { nodes - 1 } else { 4 };
        assert!(
            traffic.watched <= most * told as f64,
            "{nodes} nodes: {} watch events",
            traffic.watched
        );
        assert_eq!(traffic.fences, 0);
    }
}

#[test]
fn what_a_cluster_at_rest_says_is_written_down() {
    let Some(file) = std::env::var_os("LANDFALL_FIGURES").map(PathBuf::from) else {
        println!("traffic: written down by make bench-traffic");
        return;
    };
    let mut figures = Vec::new();
    for (interval, nodes, time) in [
        (20, 3, 20),
        (20, 30, 20),
        (20, 300, 10),
        (50, 3, 20),
        (50, 10, 20),
        (50, 30, 20),
        (50, 100, 20),
        (50, 300, 10),
        (200, 3, 20),
        (200, 30, 20),
        (200, 300, 10),
    ] {
        let traffic = measure(nodes, millis(interval), time);
        assert_eq!(traffic.fences, 0);
        let mut add = |what: &str, of: &str, value: f64| {
            println!("{nodes} nodes, {interval} ms: {what} {value:.1} a second");
            let mut line = String::new();
            write!(
                line,
                "{{\"name\": \"{what}, {nodes} nodes, a beat every {interval} ms\", \"unit\": \"a second\", \"value\": {value:.3}, \
                 \"n\": 1, \"method\": \"simulation of {nodes} nodes at rest on one segment for {time} s, clocks ±10 %, renewals every 5 s; {of}\"}}"
            )
            .unwrap();
            figures.push(line);
        };
        add("frames sent", "the busiest node", traffic.sent);
        add("frames heard", "the busiest node", traffic.heard);
        add("frames sent on average", "all nodes", traffic.sent_by_each);
        add(
            "frames heard on average",
            "all nodes",
            traffic.heard_by_each,
        );
        add(
            "writes at the API server",
            "renewals; nothing else is written",
            traffic.writes,
        );
        add(
            "watch events at the API server",
            "each renewal to those who watch that session",
            traffic.watched,
        );
    }
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, format!("[\n{}\n]\n", figures.join(",\n"))).unwrap();
}
