//! Tables grow and shrink, and run out, under open connections.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

#[macro_use]
mod support;

use std::sync::Arc;

use landfall_bpf_lb::desired::{
    Backend, BackendState, Desired, Endpoint, Frontend, Placement, PodId, Protocol, Vip,
};
use landfall_bpf_lb::diff::Refusal;
use landfall_bpf_lb::maglev::size_for;
use landfall_bpf_lb::{Director, Verdict};
use support::frames::{SEGMENT, SYN};
use support::run::PASS;
use support::scene::{Family, families};
use support::talk::{establish, reached, says};
use support::{Node, maps};

use BackendState::{Active, Unready};

const TCP: Protocol = Protocol::Tcp;
const PORTS: std::ops::Range<u16> = 51_000..51_040;
const HERE: (usize, Option<usize>, BackendState) = (0, None, Active);
const THERE: (usize, Option<usize>, BackendState) = (1, Some(0), Active);

/// The frontend over these pods, and so many that are not ready.
fn desired(
    node: &Node,
    family: Family,
    backends: &[(usize, Option<usize>, BackendState)],
    others: u16,
) -> Desired {
    let mut desired = family.desired(TCP, node.ifindex, backends);
    let vip = Arc::make_mut(desired.frontends.get_mut(&family.frontend(TCP)).unwrap());
    for port in 20_000..20_000 + others {
        let endpoint = Endpoint {
            address: family.pods[2].ip(),
            port,
        };
        let backend = Backend {
            pod: PodId::default(),
            placement: Placement::Remote(family.nodes[2]),
            weight: 1,
            state: Unready,
        };
        vip.backends.insert(endpoint, backend);
    }
    desired
}

/// Whether the director takes a new connection.
fn is_served(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Directed | Verdict::Delivered)
}

fn apply(director: &mut Director, desired: &Desired) -> Vec<(Frontend, Refusal)> {
    director.apply(desired).unwrap().refused
}

#[test]
fn a_connection_stays_with_its_pod_while_the_table_grows_and_shrinks() {
    needs_root!("a_connection_stays_with_its_pod_while_the_table_grows_and_shrinks");
    for family in families() {
        let node = Node::new();
        let mut director = node.director();
        apply(&mut director, &desired(&node, family, &[HERE], 0));
        for port in PORTS {
            establish(&mut director, node.ifindex, family.from(TCP, port));
        }
        let mut sizes = Vec::new();
        for others in [0, 3, 5, 60, 90, 12, 4, 0] {
            sizes.push(size_for(usize::from(others) + 2));
            let now = desired(&node, family, &[HERE, THERE], others);
            assert_eq!(apply(&mut director, &now), []);
            let mut directed = 0;
            for port in PORTS {
                let flow = family.from(TCP, port);
                let ran = says(&mut director, node.ifindex, flow, SEGMENT);
                assert_eq!(reached(&ran), family.pods[0], "{others} others");
                // What is new is spread over both pods, in a table of any size.
                let new = family.from(TCP, port + 1_000 + others * 50);
                let ran = says(&mut director, node.ifindex, new, SYN);
                directed += usize::from(ran.verdict() == Verdict::Directed);
            }
            assert!(
                (8..32).contains(&directed),
                "{directed} with {others} others"
            );
        }
        assert_eq!(sizes, [512, 512, 1024, 8192, 16_384, 2048, 512, 512]);
    }
}

#[test]
fn whoever_is_served_stays_served_when_others_come_that_there_is_no_room_for() {
    needs_root!("whoever_is_served_stays_served_when_others_come_that_there_is_no_room_for");
    for family in families() {
        let node = Node::new();
        let mut director = node.director();
        let mut now = desired(&node, family, &[HERE, THERE], 0);
        apply(&mut director, &now);
        for port in PORTS {
            let first = says(&mut director, node.ifindex, family.from(TCP, port), SYN);
            assert!(is_served(first.verdict()));
        }
        let served = family.frontend(TCP);
        let vip = Vip::clone(&now.frontends[&served]);
        // Lower ports come first among those that are new.
        for port in 1..=node.settings.frontends {
            let port = u16::try_from(port).unwrap();
            let mut vip = vip.clone();
            vip.client_ip_affinity = port % 2 == 0;
            now.frontends
                .insert(Frontend { port, ..served }, vip.into());
        }
        let refused = apply(&mut director, &now);
        let last = u16::try_from(node.settings.frontends).unwrap();
        let last = Frontend {
            port: last,
            ..served
        };
        assert_eq!(refused, [(last, Refusal::Frontends)]);
        assert_eq!(apply(&mut director, &now), refused);
        for port in PORTS {
            let again = says(&mut director, node.ifindex, family.from(TCP, port), SYN);
            assert!(is_served(again.verdict()));
        }
        assert_eq!(director.apply(&now).unwrap().operations, 0, "it is at rest");
    }
}

#[test]
fn a_frontend_that_outgrows_the_room_keeps_its_connections_and_takes_new_ones_again_once_there_is_room()
 {
    needs_root!(
        "a_frontend_that_outgrows_the_room_keeps_its_connections_and_takes_new_ones_again_once_there_is_room"
    );
    for family in families() {
        let node = Node::new();
        let mut director = node.director();
        let small = desired(&node, family, &[HERE], 0);
        apply(&mut director, &small);
        let flow = family.from(TCP, 51_000);
        let pod = establish(&mut director, node.ifindex, flow);
        // All of the room, and the table that it has takes some.
        let large = desired(&node, family, &[HERE], 400);
        assert_eq!(size_for(401), node.settings.slots);
        let refused = [(family.frontend(TCP), Refusal::Tables)];
        assert_eq!(apply(&mut director, &large), refused);
        let new = says(&mut director, node.ifindex, family.from(TCP, 51_001), SYN);
        assert_eq!((new.action, new.verdict()), (PASS, Verdict::Closed));
        let known = says(&mut director, node.ifindex, flow, SEGMENT);
        assert_eq!(reached(&known), pod);
        assert_eq!(apply(&mut director, &small), []);
        maps::settle(&node.settings);
        let new = says(&mut director, node.ifindex, family.from(TCP, 51_002), SYN);
        assert_eq!(reached(&new), pod);
        let known = says(&mut director, node.ifindex, flow, SEGMENT);
        assert_eq!(reached(&known), pod);
    }
}
