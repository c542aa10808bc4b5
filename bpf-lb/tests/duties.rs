//! Connections whose slots went to another node: who owes an entry for them, and what it does there.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

#[macro_use]
mod support;

use std::sync::Arc;

use std::collections::BTreeMap;
use std::net::IpAddr;

use landfall_bpf_lb::desired::{Backend, BackendState, Endpoint, Placement, PodId, Protocol};
use landfall_bpf_lb::duties;
use landfall_bpf_lb::{Director, Verdict};
use support::Node;
use support::frames::{Flow, RST, SEGMENT, SYN, SYN_ACK, Shape, Tcp, see};
use support::run::TX;
use support::scene::{Family, HOPS, families};
use support::talk::{adopted, answers, close, establish, reached, says};

use BackendState::{Active, Draining};

const TCP: Protocol = Protocol::Tcp;

type Backends<'a> = &'a [(usize, Option<usize>, BackendState)];

fn every_family(mut check: impl FnMut(&Node, &mut Director, Family)) {
    for family in families() {
        let node = Node::new();
        let mut director = node.director();
        check(&node, &mut director, family);
    }
}

/// One pod here that takes everything, and one that takes nothing new on every other node: a node is
/// believed only where it has a pod.
fn only_here(node: &Node, director: &mut Director, family: Family) {
    apply(node, director, family, &[(0, None, Active)]);
    let elsewhere = [
        (0, None, Active),
        (1, Some(1), Draining),
        (2, Some(2), Draining),
    ];
    apply(node, director, family, &elsewhere);
}

fn apply(node: &Node, director: &mut Director, family: Family, backends: Backends<'_>) {
    director
        .apply(&family.desired(TCP, node.ifindex, backends))
        .unwrap();
}

/// As the duties name it.
fn named(flow: Flow) -> duties::Flow {
    duties::Flow {
        client: flow.client,
        frontend: landfall_bpf_lb::desired::Frontend {
            address: flow.to.ip(),
            port: flow.to.port(),
            protocol: flow.protocol,
        },
    }
}

/// As the first other node sends it on.
fn marked(hop_limit: u8, tcp: Tcp) -> Shape {
    Shape {
        source: HOPS[0],
        hop_limit,
        ..tcp.into()
    }
}

#[test]
fn a_living_connection_is_owed_to_whatever_node_has_its_slot_now() {
    needs_root!("a_living_connection_is_owed_to_whatever_node_has_its_slot_now");
    every_family(|node, director, family| {
        apply(node, director, family, &[(0, None, Active)]);
        let open = family.from(TCP, 51_000);
        establish(director, node.ifindex, open);
        let opening = family.from(TCP, 51_001);
        reached(&says(director, node.ifindex, opening, SYN));
        let closed = family.from(TCP, 51_002);
        let pod = establish(director, node.ifindex, closed);
        close(director, node.ifindex, closed, pod);
        // Its client's next one from the same port is most likely elsewhere: nobody is to be sent after this one.
        let reset = family.from(TCP, 51_003);
        establish(director, node.ifindex, reset);
        says(director, node.ifindex, reset, RST);
        assert_eq!(director.owed().unwrap(), BTreeMap::new());
        let changes: [(Backends<'_>, Option<usize>); 4] = [
            (&[(0, None, Draining), (1, Some(0), Active)], Some(0)),
            (&[(0, None, Draining), (2, Some(2), Active)], Some(2)),
            // Nothing takes new connections: the last to have taken some is asked.
            (
                &[(0, None, Draining), (1, Some(1), BackendState::Unready)],
                None,
            ),
            (&[(0, None, Active)], None),
        ];
        for (backends, gained) in changes {
            apply(node, director, family, backends);
            let expected: BTreeMap<duties::Flow, IpAddr> = gained
                .into_iter()
                .flat_map(|at| {
                    let node = family.nodes[at];
                    [open, opening].map(|flow| (named(flow), node))
                })
                .collect();
            assert_eq!(director.owed().unwrap(), expected, "{backends:?}");
        }
    });
}

#[test]
fn a_segment_of_a_kept_connection_goes_to_the_node_that_has_it() {
    needs_root!("a_segment_of_a_kept_connection_goes_to_the_node_that_has_it");
    every_family(|node, director, family| {
        only_here(node, director, family);
        let flow = family.flow(TCP);
        let kept = [(named(flow), family.nodes[1])].into();
        director.keep(&kept).unwrap();
        let ran = says(director, node.ifindex, flow, SEGMENT);
        assert_eq!((ran.action, ran.verdict()), (TX, Verdict::Moved));
        let seen = see(&ran.frame);
        assert_eq!((seen.destination_mac, seen.hop_limit), (HOPS[1], 6));
        // Asked for by a director that was told to try here, too.
        let ran = says(director, node.ifindex, flow, marked(6, SEGMENT));
        assert_eq!(see(&ran.frame).hop_limit, 5);
        // Another connection is nobody's.
        let other = family.from(TCP, 51_000);
        assert_eq!(adopted(node, director, other, SEGMENT), family.pods[0]);
        // No sweep takes it away, however long nothing is heard; its node's word does.
        support::maps::age(&node.settings, 25 * 3600);
        assert_eq!(director.sweep().unwrap().moved, 1);
        director.keep(&BTreeMap::new()).unwrap();
        assert_eq!(adopted(node, director, flow, SEGMENT), family.pods[0]);
    });
}

#[test]
fn a_client_that_opens_a_kept_connection_anew_has_the_new_one() {
    needs_root!("a_client_that_opens_a_kept_connection_anew_has_the_new_one");
    every_family(|node, director, family| {
        only_here(node, director, family);
        let flow = family.flow(TCP);
        let kept = [(named(flow), family.nodes[1])].into();
        director.keep(&kept).unwrap();
        // A forged SYN changes nothing.
        let pod = reached(&says(director, node.ifindex, flow, SYN));
        assert_eq!(pod, family.pods[0]);
        answers(director, flow, pod, SYN_ACK);
        let forged = Tcp {
            ack: Some(77),
            ..SEGMENT
        };
        let ran = says(director, node.ifindex, flow, forged);
        assert_eq!(ran.verdict(), Verdict::Moved);
        // Whoever has seen the answer has the new one, and a stale word does not take it away.
        assert_eq!(reached(&says(director, node.ifindex, flow, SEGMENT)), pod);
        director.keep(&BTreeMap::new()).unwrap();
        director.keep(&kept).unwrap();
        assert_eq!(reached(&says(director, node.ifindex, flow, SEGMENT)), pod);
        let reply = answers(director, flow, pod, SEGMENT);
        assert_eq!(reply.verdict(), Verdict::ReplyRewritten);
    });
}

#[test]
fn what_is_told_of_a_port_after_its_next_connection_has_begun_does_not_take_that_away() {
    needs_root!(
        "what_is_told_of_a_port_after_its_next_connection_has_begun_does_not_take_that_away"
    );
    every_family(|node, director, family| {
        only_here(node, director, family);
        let flow = family.flow(TCP);
        let pod = reached(&says(director, node.ifindex, flow, SYN));
        answers(director, flow, pod, SYN_ACK);
        // The node of the one before tells of it only now, and then another one does.
        for at in [2, 1] {
            let kept = [(named(flow), family.nodes[at])].into();
            director.keep(&kept).unwrap();
            let other = Tcp {
                ack: Some(77),
                ..SEGMENT
            };
            let ran = says(director, node.ifindex, flow, other);
            assert_eq!(ran.verdict(), Verdict::Moved);
        }
        assert_eq!(reached(&says(director, node.ifindex, flow, SEGMENT)), pod);
        let reply = answers(director, flow, pod, SEGMENT);
        assert_eq!(reply.verdict(), Verdict::ReplyRewritten);
    });
}

#[test]
fn a_client_port_used_again_is_not_sent_after_the_old_connection_of_another_node() {
    needs_root!("a_client_port_used_again_is_not_sent_after_the_old_connection_of_another_node");
    every_family(|node, director, family| {
        only_here(node, director, family);
        let flow = family.flow(TCP);
        let kept = [(named(flow), family.nodes[1])].into();
        director.keep(&kept).unwrap();
        let now = [
            (0, None, Draining),
            (1, Some(1), Draining),
            (2, Some(2), Active),
        ];
        apply(node, director, family, &now);
        // The next one begins at the node that has the slot now, and goes on there.
        for tcp in [SYN, SEGMENT] {
            let ran = says(director, node.ifindex, flow, tcp);
            assert_eq!(ran.verdict(), Verdict::Directed);
            assert_eq!(see(&ran.frame).destination_mac, HOPS[2]);
        }
        // If that was a forged SYN, the node sends back what it does not know, and the old one goes on.
        let back = Shape {
            source: HOPS[2],
            ..marked(6, SEGMENT)
        };
        let ran = says(director, node.ifindex, flow, back);
        assert_eq!(ran.verdict(), Verdict::Moved);
        assert_eq!(see(&ran.frame).destination_mac, HOPS[1]);
    });
}

#[test]
fn a_marked_segment_finds_a_connection_that_its_slot_remembers_no_more() {
    needs_root!("a_marked_segment_finds_a_connection_that_its_slot_remembers_no_more");
    every_family(|node, director, family| {
        apply(node, director, family, &[(0, None, Active)]);
        let flow = family.flow(TCP);
        let pod = establish(director, node.ifindex, flow);
        let backends = [(0, None, Draining), (1, Some(0), Active)];
        apply(node, director, family, &backends);
        apply(node, director, family, &backends[1..]);
        // From the client it takes the way of every director.
        let ran = says(director, node.ifindex, flow, SEGMENT);
        assert_eq!(ran.verdict(), Verdict::Directed);
        for mark in [6, 5, 4] {
            let ran = says(director, node.ifindex, flow, marked(mark, SEGMENT));
            assert_eq!(reached(&ran), pod);
        }
    });
}

#[test]
fn an_unsettled_slot_takes_in_nothing_that_nobody_knows() {
    needs_root!("an_unsettled_slot_takes_in_nothing_that_nobody_knows");
    every_family(|node, director, family| {
        // Its last three backends were on other nodes, and live.
        let there = Placement::Remote(family.nodes[0]);
        let mut desired = family.desired(TCP, node.ifindex, &[]);
        for (port, placement) in [(1, there), (2, there), (3, there), (4, Placement::Local)] {
            let vip = Arc::make_mut(desired.frontends.get_mut(&family.frontend(TCP)).unwrap());
            for before in vip.backends.values_mut() {
                before.state = Draining;
            }
            let endpoint = Endpoint {
                address: family.pods[0].ip(),
                port,
            };
            let backend = Backend {
                pod: PodId::default(),
                placement,
                weight: 1,
                state: Active,
            };
            vip.backends.insert(endpoint, backend);
            director.apply(&desired).unwrap();
        }
        let flow = family.flow(TCP);
        // Asked for at the nodes that the slot remembers, and come back.
        let ran = says(director, node.ifindex, flow, SEGMENT);
        assert_eq!(ran.verdict(), Verdict::SecondChance);
        let ran = says(director, node.ifindex, flow, marked(5, SEGMENT));
        assert_eq!(ran.verdict(), Verdict::DropUnsettled);
        // What begins here, begins.
        let begun = family.from(TCP, 51_000);
        establish(director, node.ifindex, begun);
        adopted(node, director, flow, marked(5, SEGMENT));
    });
}

#[test]
fn a_node_that_is_away_is_asked_for_what_nobody_knows_and_gets_nothing_new() {
    needs_root!("a_node_that_is_away_is_asked_for_what_nobody_knows_and_gets_nothing_new");
    every_family(|node, director, family| {
        let backends = [(0, None, Active), (1, Some(1), Active)];
        let mut desired = family.desired(TCP, node.ifindex, &backends);
        director.apply(&desired).unwrap();
        let ports = 51_000..51_020;
        let begins = |director: &mut Director, port: u16| {
            let ran = says(director, node.ifindex, family.from(TCP, port), SYN);
            ran.action != TX
        };
        assert!(!ports.clone().all(|port| begins(director, port)));
        // Their slot has always been of a pod of this node.
        let mut always_here = (53_000..54_000)
            .map(|port| family.from(TCP, port))
            .filter(|flow| {
                let ran = says(director, node.ifindex, *flow, SEGMENT);
                ran.action != TX
            });
        let flow = always_here.next().unwrap();
        desired.away.insert(family.nodes[1]);
        director.apply(&desired).unwrap();
        assert!(ports.clone().all(|port| begins(director, port + 100)));
        // However long the slots have been as they are.
        support::maps::settle(&node.settings);
        director.feed().unwrap();
        for (port, shape, mark) in [
            (52_000, SEGMENT.into(), 6),
            (52_001, marked(6, SEGMENT), 5),
            (52_002, marked(4, SEGMENT), 3),
        ] {
            let ran = says(director, node.ifindex, family.from(TCP, port), shape);
            assert_eq!((ran.action, ran.verdict()), (TX, Verdict::SecondChance));
            let seen = see(&ran.frame);
            assert_eq!((seen.destination_mac, seen.hop_limit), (HOPS[1], mark));
        }
        // There is no mark left, it comes from there, or this node's own tables may be old.
        let back = Shape {
            source: HOPS[1],
            ..marked(5, SEGMENT)
        };
        for shape in [marked(3, SEGMENT), back] {
            let ran = says(director, node.ifindex, flow, shape);
            assert_eq!(ran.verdict(), Verdict::DropUnsettled);
        }
        support::maps::change_state(&node.settings, |state| {
            state.fed = state.fed.wrapping_sub(10_000);
        });
        let ran = says(director, node.ifindex, flow, SEGMENT);
        assert_eq!(ran.verdict(), Verdict::DropUnsettled);
        // What is known is not asked for.
        let known = family.from(TCP, 51_100);
        director.feed().unwrap();
        answers(director, known, family.pods[0], SYN_ACK);
        let ran = says(director, node.ifindex, known, SEGMENT);
        assert_eq!(reached(&ran), family.pods[0]);
    });
}

#[test]
fn a_client_port_used_again_at_a_node_that_is_away_is_asked_for_there() {
    needs_root!("a_client_port_used_again_at_a_node_that_is_away_is_asked_for_there");
    // The old connection was torn down here. The next one began while the slot was the other node's, whose
    // announcer has gone before it could tell.
    every_family(|node, director, family| {
        only_here(node, director, family);
        let flow = family.from(TCP, 51_000);
        establish(director, node.ifindex, flow);
        says(director, node.ifindex, flow, RST);
        let elsewhere = [(0, None, Active), (1, Some(1), Draining)];
        let mut desired = family.desired(TCP, node.ifindex, &elsewhere);
        desired.away.insert(family.nodes[1]);
        director.apply(&desired).unwrap();
        support::maps::settle(&node.settings);
        director.feed().unwrap();
        for (shape, mark) in [(SEGMENT.into(), 6), (marked(4, SEGMENT), 3)] {
            let ran = says(director, node.ifindex, flow, shape);
            assert_eq!((ran.action, ran.verdict()), (TX, Verdict::SecondChance));
            let seen = see(&ran.frame);
            assert_eq!((seen.destination_mac, seen.hop_limit), (HOPS[1], mark));
        }
        // It has none: what came was of the old one.
        let back = Shape {
            source: HOPS[1],
            ..marked(5, SEGMENT)
        };
        for shape in [back, marked(3, SEGMENT)] {
            let ran = says(director, node.ifindex, flow, shape);
            assert_eq!(reached(&ran), family.pods[0]);
        }
    });
}

#[test]
fn a_restarted_director_knows_what_was_kept_before_it() {
    needs_root!("a_restarted_director_knows_what_was_kept_before_it");
    every_family(|node, director, family| {
        only_here(node, director, family);
        let flows = [51_000, 51_001].map(|port| family.from(TCP, port));
        let kept = flows.map(|flow| (named(flow), family.nodes[1])).into();
        director.keep(&kept).unwrap();
        let mut again = Director::load(&node.settings).unwrap();
        // Before it knows what is wanted, it takes nothing away.
        again.keep(&BTreeMap::new()).unwrap();
        let ran = says(&mut again, node.ifindex, flows[1], SEGMENT);
        assert_eq!(ran.verdict(), Verdict::Moved);
        only_here(node, &mut again, family);
        let still = [(named(flows[0]), family.nodes[2])].into();
        again.keep(&still).unwrap();
        let ran = says(&mut again, node.ifindex, flows[0], SEGMENT);
        assert_eq!(see(&ran.frame).destination_mac, HOPS[2]);
        let pod = adopted(node, &mut again, flows[1], SEGMENT);
        assert_eq!(pod, family.pods[0]);
    });
}

#[test]
fn a_forged_reset_does_not_end_a_connection_whose_slot_is_another_nodes() {
    needs_root!("a_forged_reset_does_not_end_a_connection_whose_slot_is_another_nodes");
    every_family(|node, director, family| {
        apply(node, director, family, &[(0, None, Active)]);
        let flow = family.flow(TCP);
        let pod = establish(director, node.ifindex, flow);
        let elsewhere = [
            (0, None, Draining),
            (1, Some(0), Active),
            (2, Some(1), BackendState::Unready),
        ];
        apply(node, director, family, &elsewhere);
        // Its pod says nothing to this, and the node that has the slot is told nothing of the connection any more.
        says(director, node.ifindex, flow, marked(6, RST));
        assert_eq!(director.owed().unwrap(), BTreeMap::new());
        // That node, which does not know it, asks here; but somebody may still say that it has the client's next one.
        let ran = says(director, node.ifindex, flow, marked(6, SEGMENT));
        assert_eq!((ran.action, ran.verdict()), (TX, Verdict::ExtraHop));
        support::maps::settle(&node.settings);
        director.feed().unwrap();
        for mark in [6, 5] {
            let ran = says(director, node.ifindex, flow, marked(mark, SEGMENT));
            assert_eq!(reached(&ran), pod);
        }
        // From its client, or by another director, it comes for the first time, and its slot's node is asked first.
        let ran = says(director, node.ifindex, flow, SEGMENT);
        assert_eq!((ran.action, ran.verdict()), (TX, Verdict::Directed));
        answers(director, flow, pod, SEGMENT);
        assert_eq!(director.owed().unwrap().len(), 1);
        says(director, node.ifindex, flow, marked(6, RST));
        // A node that is away cannot say that it has the next one.
        let mut desired = family.desired(TCP, node.ifindex, &elsewhere);
        desired.away.insert(family.nodes[1]);
        director.apply(&desired).unwrap();
        support::maps::settle(&node.settings);
        director.feed().unwrap();
        let ran = says(director, node.ifindex, flow, marked(6, SEGMENT));
        assert_eq!((ran.action, ran.verdict()), (TX, Verdict::ExtraHop));
    });
}
