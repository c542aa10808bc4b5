//! Connections through changes of the backends: the second chance, and the end of every loop.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod support;

use landfall_bpf_lb::desired::{BackendState, Protocol};
use landfall_bpf_lb::{Director, Verdict};
use support::frames::{Flow, Shape, see, shaped};
use support::run::{PASS, TX, receive};
use support::scene::{HOPS, families};
use support::{Node, OWN};

use BackendState::{Active, Draining};

const TCP: Protocol = Protocol::Tcp;

fn established() -> Shape {
    Shape {
        syn: false,
        ..Shape::default()
    }
}

/// As the first other node sends it.
fn forwarded(hop_limit: u8) -> Shape {
    Shape {
        syn: false,
        source: HOPS[0],
        hop_limit,
        ..Shape::default()
    }
}

fn run(director: &mut Director, node: &Node, flow: Flow, shape: &Shape) -> support::run::Ran {
    receive(director, node.ifindex, &shaped(flow, shape))
}

#[test]
fn a_known_connection_stays_with_its_local_pod_when_its_slot_moves() {
    needs_root!("a_known_connection_stays_with_its_local_pod_when_its_slot_moves");
    let node = Node::new();
    for second in [None, Some(1)] {
        for family in families() {
            let mut director = node.director();
            let one = [(0, None, Active)];
            let both = [(0, None, Active), (1, second, Active)];
            let flows = (51_000..51_100).map(|port| {
                let mut flow = family.flow(TCP);
                flow.client.set_port(port);
                flow
            });
            director
                .apply(&family.desired(TCP, node.ifindex, &one))
                .unwrap();
            for flow in flows.clone() {
                run(&mut director, &node, flow, &Shape::default());
            }
            director
                .apply(&family.desired(TCP, node.ifindex, &both))
                .unwrap();
            let mut moved = 0;
            for flow in flows {
                let ran = run(&mut director, &node, flow, &established());
                assert_eq!((ran.action, see(&ran.frame).to), (PASS, family.pods[0]));
                moved += usize::from(ran.verdict() == Verdict::DeliveredPrevious);
            }
            assert!(
                (25..75).contains(&moved),
                "about half of the slots moved: {moved}"
            );
            Director::remove(&node.settings).unwrap();
        }
    }
}

#[test]
fn an_unknown_segment_gets_one_chance_at_the_previous_node() {
    needs_root!("an_unknown_segment_gets_one_chance_at_the_previous_node");
    let node = Node::new();
    for family in families() {
        let mut director = node.director();
        let one = family.desired(TCP, node.ifindex, &[(0, Some(0), Active)]);
        let after = family.desired(
            TCP,
            node.ifindex,
            &[(0, Some(0), Draining), (1, None, Active)],
        );
        director.apply(&one).unwrap();
        director.apply(&after).unwrap();
        let ran = run(&mut director, &node, family.flow(TCP), &established());
        assert_eq!((ran.action, ran.verdict()), (TX, Verdict::SecondChance));
        let seen = see(&ran.frame);
        assert_eq!(
            (seen.destination_mac, seen.source_mac, seen.hop_limit),
            (HOPS[0], OWN, 4)
        );
        // One that has been sent on already is delivered where it is.
        let late = Shape {
            hop_limit: 4,
            ..established()
        };
        assert_eq!(
            run(&mut director, &node, family.flow(TCP), &late).verdict(),
            Verdict::Delivered
        );
        // And a new connection has no past.
        let mut new = family.flow(TCP);
        new.client.set_port(40_002);
        assert_eq!(
            run(&mut director, &node, new, &Shape::default()).verdict(),
            Verdict::Delivered
        );
        Director::remove(&node.settings).unwrap();
    }
}

#[test]
fn a_segment_sent_back_to_its_previous_node_is_delivered_there() {
    needs_root!("a_segment_sent_back_to_its_previous_node_is_delivered_there");
    let node = Node::new();
    for family in families() {
        let mut director = node.director();
        let after = family.desired(
            TCP,
            node.ifindex,
            &[(0, None, Draining), (1, Some(0), Active)],
        );
        director
            .apply(&family.desired(TCP, node.ifindex, &[(0, None, Active)]))
            .unwrap();
        director.apply(&after).unwrap();
        let ran = run(&mut director, &node, family.flow(TCP), &forwarded(4));
        assert_eq!(
            (ran.action, ran.verdict()),
            (PASS, Verdict::DeliveredPrevious)
        );
        assert_eq!(see(&ran.frame).to, family.pods[0]);
        // From a client it goes to the present pod's node first.
        let mut other = family.flow(TCP);
        other.client.set_port(40_002);
        let ran = run(&mut director, &node, other, &established());
        assert_eq!(ran.verdict(), Verdict::Directed);
        Director::remove(&node.settings).unwrap();
    }
}

#[test]
fn a_packet_from_another_director_is_sent_on_once_and_never_again() {
    needs_root!("a_packet_from_another_director_is_sent_on_once_and_never_again");
    let node = Node::new();
    for family in families() {
        let mut director = node.director();
        director
            .apply(&family.desired(TCP, node.ifindex, &[(0, Some(1), Active)]))
            .unwrap();
        let ran = run(&mut director, &node, family.flow(TCP), &forwarded(63));
        assert_eq!((ran.action, ran.verdict()), (TX, Verdict::ExtraHop));
        let seen = see(&ran.frame);
        assert_eq!((seen.destination_mac, seen.hop_limit), (HOPS[1], 4));
        for hop_limit in 1..=4 {
            let sent = shaped(family.flow(TCP), &forwarded(hop_limit));
            let ran = receive(&mut director, node.ifindex, &sent);
            assert_eq!((ran.action, ran.verdict()), (PASS, Verdict::LoopGuard));
            assert_eq!(ran.frame, sent);
        }
        Director::remove(&node.settings).unwrap();
    }
}

#[test]
fn no_two_nodes_can_keep_a_packet_between_them() {
    needs_root!("no_two_nodes_can_keep_a_packet_between_them");
    // Both think that the other has the pod: the worst that tables can disagree.
    let node = Node::new();
    let [family, _] = families();
    let mut director = node.director();
    director
        .apply(&family.desired(TCP, node.ifindex, &[(0, Some(0), Active)]))
        .unwrap();
    let mut frame = shaped(
        family.flow(TCP),
        &Shape {
            hop_limit: 255,
            ..established()
        },
    );
    let mut hops = 0;
    while receive(&mut director, node.ifindex, &frame).action == TX {
        frame = receive(&mut director, node.ifindex, &frame).frame;
        // What the other node, of the same mind, would receive.
        frame[..6].copy_from_slice(&OWN);
        frame[6..12].copy_from_slice(&HOPS[0]);
        hops += 1;
        assert!(hops < 10);
    }
    assert_eq!(hops, 2);
}
