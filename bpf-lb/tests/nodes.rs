//! By which MAC addresses a node knows frames that another one has sent.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

#[macro_use]
mod support;

use landfall_bpf_lb::desired::{BackendState, Hop, Protocol};
use landfall_bpf_lb::{Director, Verdict};
use landfall_bpf_lb_common::names;
use landfall_bpf_lb_common::records::node_bit;
use support::frames::{SYN, Shape};
use support::scene::{Family, families};
use support::talk::says;
use support::{Node, maps};

/// Two addresses that have one bit.
const ALIKE: [[u8; 6]; 2] = [
    [0x02, 0x4c, 0x46, 0, 0x10, 7],
    [0x02, 0x4c, 0x46, 0, 0x20, 7],
];

/// What becomes of a new connection that this address sends.
fn from(director: &mut Director, node: &Node, family: Family, source: [u8; 6]) -> Verdict {
    let shape = Shape {
        source,
        ..SYN.into()
    };
    says(director, node.ifindex, family.flow(Protocol::Tcp), shape).verdict()
}

#[test]
fn a_node_is_known_until_it_goes_whoever_has_the_same_bit() {
    needs_root!("a_node_is_known_until_it_goes_whoever_has_the_same_bit");
    assert_eq!(node_bit(ALIKE[0]), node_bit(ALIKE[1]));
    let node = Node::new();
    let mut director = node.director();
    let [family, _] = families();
    let remote = [(0, Some(0), BackendState::Active)];
    let mut desired = family.desired(Protocol::Tcp, node.ifindex, &remote);
    let hop = |mac| {
        let ifindex = node.ifindex;
        Some(Hop { mac, ifindex })
    };
    desired.hops.insert(family.nodes[1], hop(ALIKE[0]));
    director.apply(&desired).unwrap();
    let known = from(&mut director, &node, family, ALIKE[0]);
    assert_eq!(known, Verdict::ExtraHop);
    // Its bit is not enough.
    let stranger = from(&mut director, &node, family, ALIKE[1]);
    assert_eq!(stranger, Verdict::Directed);
    desired.hops.insert(family.nodes[2], hop(ALIKE[1]));
    director.apply(&desired).unwrap();
    for mac in ALIKE {
        let known = from(&mut director, &node, family, mac);
        assert_eq!(known, Verdict::ExtraHop);
    }
    desired.hops.remove(&family.nodes[2]);
    director.apply(&desired).unwrap();
    let left = from(&mut director, &node, family, ALIKE[0]);
    assert_eq!(left, Verdict::ExtraHop);
    let gone = from(&mut director, &node, family, ALIKE[1]);
    assert_eq!(gone, Verdict::Directed);
}

#[test]
fn nodes_that_were_written_without_bits_are_known_after_a_restart() {
    needs_root!("nodes_that_were_written_without_bits_are_known_after_a_restart");
    let node = Node::new();
    let [family, _] = families();
    let remote = [(0, Some(0), BackendState::Active)];
    let desired = family.desired(Protocol::Tcp, node.ifindex, &remote);
    let mac = support::scene::HOPS[1];
    let mut director = node.director();
    director.apply(&desired).unwrap();
    drop(director);
    let pin = node.settings.pin_dir.join("maps").join(names::NODE_BITS);
    drop(maps::open(&node.settings, names::NODE_BITS));
    std::fs::remove_file(pin).unwrap();
    let mut director = Director::load(&node.settings).unwrap();
    let known = from(&mut director, &node, family, mac);
    assert_eq!(known, Verdict::ExtraHop);
}
