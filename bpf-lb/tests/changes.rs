//! Connections through changes of the backends: who keeps what, who is asked, and the end of every
//! loop.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

#[macro_use]
mod support;

use landfall_bpf_lb::desired::{BackendState, Protocol};
use landfall_bpf_lb::{Director, Verdict};
use support::frames::{FIN, LAST, RST, SEGMENT, SYN, SYN_ACK, Shape, see, shaped};
use support::run::{DROP, PASS, TX, receive};
use support::scene::{Family, HOPS, families, from_node};
use support::talk::{adopted, answers, close, establish, reached, says};
use support::{Node, OWN};

use BackendState::{Active, Draining, Unready};

const TCP: Protocol = Protocol::Tcp;
/// Enough client ports for some of them to fall into every kind of slot.
const PORTS: std::ops::Range<u16> = 51_000..51_040;

/// Every family; they share no map but those of backends and nodes.
fn every_family(mut check: impl FnMut(&Node, &mut Director, Family)) {
    let node = Node::new();
    let mut director = node.director();
    for family in families() {
        check(&node, &mut director, family);
    }
}

type Backends<'a> = &'a [(usize, Option<usize>, BackendState)];

fn apply(node: &Node, director: &mut Director, family: Family, backends: Backends<'_>) {
    let applied = director
        .apply(&family.desired(TCP, node.ifindex, backends))
        .unwrap();
    assert!(applied.refused.is_empty());
}

#[test]
fn a_connection_stays_with_its_pod_over_any_number_of_changes() {
    needs_root!("a_connection_stays_with_its_pod_over_any_number_of_changes");
    every_family(|node, director, family| {
        apply(node, director, family, &[(0, None, Active)]);
        for port in PORTS {
            establish(director, node.ifindex, family.from(TCP, port));
        }
        let changes: [Backends<'_>; 6] = [
            &[(0, None, Active), (1, Some(0), Active)],
            &[(0, None, Draining), (1, Some(0), Active), (2, None, Active)],
            &[(0, None, Draining), (2, None, Active)],
            &[(0, None, Unready), (1, Some(1), Active)],
            &[(0, None, Unready), (2, Some(2), Unready)],
            &[(0, None, Active)],
        ];
        for backends in changes {
            apply(node, director, family, backends);
            for port in PORTS {
                let ran = says(director, node.ifindex, family.from(TCP, port), SEGMENT);
                assert_eq!(reached(&ran), family.pods[0], "{backends:?}");
            }
        }
    });
}

#[test]
fn a_client_port_used_before_a_change_opens_at_the_pod_of_now() {
    needs_root!("a_client_port_used_before_a_change_opens_at_the_pod_of_now");
    for closed in [true, false] {
        every_family(|node, director, family| {
            apply(node, director, family, &[(0, None, Active)]);
            for port in PORTS {
                let flow = family.from(TCP, port);
                let pod = establish(director, node.ifindex, flow);
                if closed {
                    close(director, node.ifindex, flow, pod);
                }
            }
            let both = [(0, None, Active), (1, None, Active)];
            apply(node, director, family, &both);
            let mut moved = 0;
            for port in PORTS {
                let flow = family.from(TCP, port);
                let pod = establish(director, node.ifindex, flow);
                moved += usize::from(pod == family.pods[1]);
                let again = says(director, node.ifindex, flow, SEGMENT);
                assert_eq!(reached(&again), pod, "what follows the SYN follows it");
                let reply = answers(director, flow, pod, SEGMENT);
                assert_eq!(see(&reply.frame).from, family.vip);
            }
            assert!(
                (8..32).contains(&moved),
                "about half of the slots moved: {moved}"
            );
        });
    }
}

#[test]
fn a_new_connection_from_a_used_port_is_not_held_back_by_the_node_that_had_the_old_one() {
    needs_root!(
        "a_new_connection_from_a_used_port_is_not_held_back_by_the_node_that_had_the_old_one"
    );
    // The owner has the old pod; the new one is elsewhere. SYN and ACK must both go there.
    every_family(|node, director, family| {
        apply(node, director, family, &[(0, None, Active)]);
        for port in PORTS {
            let flow = family.from(TCP, port);
            let pod = establish(director, node.ifindex, flow);
            close(director, node.ifindex, flow, pod);
        }
        let both = [(0, None, Active), (1, Some(1), Active)];
        apply(node, director, family, &both);
        let mut moved = 0;
        for port in PORTS {
            let flow = family.from(TCP, port);
            let syn = says(director, node.ifindex, flow, SYN);
            if syn.action == TX {
                moved += 1;
                let ack = says(director, node.ifindex, flow, SEGMENT);
                assert_eq!((ack.action, see(&ack.frame).destination_mac), (TX, HOPS[1]));
            }
        }
        assert!((8..32).contains(&moved), "{moved}");
    });
}

#[test]
fn a_syn_that_goes_elsewhere_is_asked_for_there_and_costs_a_living_connection_nothing() {
    needs_root!(
        "a_syn_that_goes_elsewhere_is_asked_for_there_and_costs_a_living_connection_nothing"
    );
    every_family(|node, director, family| {
        apply(node, director, family, &[(0, None, Active)]);
        let flow = family.flow(TCP);
        let pod = establish(director, node.ifindex, flow);
        apply(
            node,
            director,
            family,
            &[(0, None, Draining), (1, Some(1), Active)],
        );
        let syn = says(director, node.ifindex, flow, SYN);
        assert_eq!(syn.verdict(), Verdict::Directed);
        // Whoever sent it: what follows is asked for where the SYN went.
        let ran = says(director, node.ifindex, flow, SEGMENT);
        assert_eq!((ran.action, ran.verdict()), (TX, Verdict::ExtraHop));
        let seen = see(&ran.frame);
        assert_eq!((seen.destination_mac, seen.hop_limit), (HOPS[1], 6));
        // That node knows nothing of it and sends it back: the connection goes on.
        let ran = says(director, node.ifindex, flow, from_node(1, 5, SEGMENT));
        assert_eq!(reached(&ran), pod);
        assert_eq!(reached(&says(director, node.ifindex, flow, SEGMENT)), pod);
    });
}

#[test]
fn while_tables_differ_a_new_connections_segments_follow_its_syn() {
    needs_root!("while_tables_differ_a_new_connections_segments_follow_its_syn");
    // The sender does not know the new pod yet and takes this node, which had the slot before.
    every_family(|node, director, family| {
        apply(node, director, family, &[(0, None, Active)]);
        apply(
            node,
            director,
            family,
            &[(0, None, Draining), (1, Some(1), Active)],
        );
        for tcp in [SYN, SEGMENT] {
            let shape = from_node(0, 63, tcp);
            let ran = says(director, node.ifindex, family.flow(TCP), shape);
            assert_eq!((ran.action, ran.verdict()), (TX, Verdict::ExtraHop));
            let seen = see(&ran.frame);
            assert_eq!((seen.destination_mac, seen.hop_limit), (HOPS[1], 6));
        }
    });
}

#[test]
fn an_unknown_segment_is_asked_for_at_the_nodes_of_both_previous_backends_in_turn() {
    needs_root!("an_unknown_segment_is_asked_for_at_the_nodes_of_both_previous_backends_in_turn");
    let asked = |ran: &support::run::Ran, hop: usize, mark: u8| {
        assert_eq!(ran.action, TX, "{:?}", ran.counted);
        let seen = see(&ran.frame);
        assert_eq!(
            (seen.destination_mac, seen.source_mac, seen.hop_limit),
            (HOPS[hop], OWN, mark)
        );
    };
    // Here is the current backend's node.
    every_family(|node, director, family| {
        apply(node, director, family, &[(0, Some(0), Active)]);
        apply(
            node,
            director,
            family,
            &[(0, Some(0), Draining), (1, Some(1), Active)],
        );
        let now = [
            (0, Some(0), Draining),
            (1, Some(1), Draining),
            (2, None, Active),
        ];
        apply(node, director, family, &now);
        let flow = family.flow(TCP);
        let ran = says(director, node.ifindex, flow, SEGMENT);
        assert_eq!(ran.verdict(), Verdict::SecondChance);
        asked(&ran, 1, 6);
        // Sent on by a node that had thought to have it: there is one chance less.
        let ran = says(director, node.ifindex, flow, from_node(2, 6, SEGMENT));
        asked(&ran, 1, 5);
        // Back from the last who could have had it, it is taken in.
        let pod = adopted(node, director, flow, from_node(0, 4, SEGMENT));
        assert_eq!(pod, family.pods[2]);
        // A new connection has no past.
        let new = family.from(TCP, 40_002);
        let ran = says(director, node.ifindex, new, SYN);
        assert_eq!(reached(&ran), family.pods[2]);
    });
    // Here is the previous one's.
    every_family(|node, director, family| {
        apply(node, director, family, &[(0, Some(0), Active)]);
        apply(
            node,
            director,
            family,
            &[(0, Some(0), Draining), (1, None, Active)],
        );
        let known = family.from(TCP, 40_002);
        let pod = establish(director, node.ifindex, known);
        let now = [
            (0, Some(0), Draining),
            (1, None, Draining),
            (2, Some(2), Active),
        ];
        apply(node, director, family, &now);
        let ran = says(director, node.ifindex, known, from_node(2, 6, SEGMENT));
        assert_eq!(ran.verdict(), Verdict::DeliveredPrevious);
        assert_eq!(reached(&ran), pod);
        let flow = family.flow(TCP);
        asked(
            &says(director, node.ifindex, flow, from_node(2, 6, SEGMENT)),
            0,
            5,
        );
        // The last mark is for the way back.
        asked(
            &says(director, node.ifindex, flow, from_node(2, 5, SEGMENT)),
            2,
            4,
        );
        // From a client it goes to the present pod's node first.
        let ran = says(director, node.ifindex, flow, SEGMENT);
        assert_eq!(ran.verdict(), Verdict::Directed);
    });
    // Here is the one's before.
    every_family(|node, director, family| {
        apply(node, director, family, &[(0, None, Active)]);
        apply(
            node,
            director,
            family,
            &[(0, None, Draining), (1, Some(1), Active)],
        );
        let now = [
            (0, None, Draining),
            (1, Some(1), Draining),
            (2, Some(2), Active),
        ];
        apply(node, director, family, &now);
        let flow = family.flow(TCP);
        asked(
            &says(director, node.ifindex, flow, from_node(1, 5, SEGMENT)),
            2,
            4,
        );
    });
}

#[test]
fn a_node_that_cannot_be_reached_is_not_asked() {
    needs_root!("a_node_that_cannot_be_reached_is_not_asked");
    every_family(|node, director, family| {
        apply(node, director, family, &[(0, Some(0), Active)]);
        let now = [(0, Some(0), Draining), (1, None, Active)];
        let mut desired = family.desired(TCP, node.ifindex, &now);
        desired.hops.clear();
        director.apply(&desired).unwrap();
        let pod = adopted(node, director, family.flow(TCP), SEGMENT);
        assert_eq!(pod, family.pods[1]);
    });
}

#[test]
fn what_nobody_knows_is_not_taken_in_while_tables_may_be_old_or_have_just_changed() {
    needs_root!("what_nobody_knows_is_not_taken_in_while_tables_may_be_old_or_have_just_changed");
    every_family(|node, director, family| {
        apply(node, director, family, &[(0, None, Active)]);
        let (flow, ifindex) = (family.flow(TCP), node.ifindex);
        let tried = |director: &mut Director| {
            says(director, ifindex, flow, SEGMENT);
            support::maps::age(&node.settings, 2);
            says(director, ifindex, flow, SEGMENT).verdict()
        };
        assert_eq!(tried(director), Verdict::DropUnsettled, "it has just come");
        support::maps::settle(&node.settings);
        support::maps::change_state(&node.settings, |state| {
            state.fed = state.fed.wrapping_sub(10_000);
        });
        assert_eq!(tried(director), Verdict::DropUnsettled, "nobody keeps it");
        director.feed().unwrap();
        assert_eq!(tried(director), Verdict::Adopted);
    });
}

#[test]
fn a_node_with_older_tables_sends_back_what_it_does_not_know() {
    needs_root!("a_node_with_older_tables_sends_back_what_it_does_not_know");
    // Here is the node with the older ones: its slots have one pod only.
    every_family(|node, director, family| {
        apply(node, director, family, &[(0, None, Active)]);
        let flow = family.flow(TCP);
        let ran = says(director, node.ifindex, flow, from_node(1, 60, SEGMENT));
        assert_eq!((ran.action, ran.verdict()), (TX, Verdict::SecondChance));
        let seen = see(&ran.frame);
        assert_eq!(
            (seen.destination_mac, seen.source_mac, seen.hop_limit),
            (HOPS[1], OWN, 6)
        );
        // Only to a node, and only once.
        for shape in [from_node(1, 6, SEGMENT), SEGMENT.into()] {
            let ran = says(director, node.ifindex, flow, shape);
            assert_eq!(ran.verdict(), Verdict::DropUnsettled);
        }
    });
    // Here is the director: it asks the previous backend that it knows of.
    every_family(|node, director, family| {
        apply(node, director, family, &[(0, Some(0), Active)]);
        let now = [(0, Some(0), Draining), (1, Some(1), Active)];
        apply(node, director, family, &now);
        let flow = family.flow(TCP);
        let ran = says(director, node.ifindex, flow, from_node(1, 6, SEGMENT));
        assert_eq!((ran.action, ran.verdict()), (TX, Verdict::SecondChance));
        let seen = see(&ran.frame);
        assert_eq!((seen.destination_mac, seen.hop_limit), (HOPS[0], 5));
    });
}

#[test]
fn a_segment_that_nobody_knows_heals_where_its_slot_is_settled() {
    needs_root!("a_segment_that_nobody_knows_heals_where_its_slot_is_settled");
    every_family(|node, director, family| {
        let now = [(0, None, Active), (1, None, Active)];
        apply(node, director, family, &now);
        for port in PORTS.take(3) {
            let flow = family.from(TCP, port);
            let pod = adopted(node, director, flow, SEGMENT);
            let reply = answers(director, flow, pod, SEGMENT);
            assert_eq!(reply.verdict(), Verdict::ReplyRewritten);
            let ran = says(director, node.ifindex, flow, SEGMENT);
            assert_eq!(ran.verdict(), Verdict::Delivered);
        }
    });
}

#[test]
fn what_nodes_disagree_about_is_dropped_in_mid_connection_and_opened_here_if_it_is_new() {
    needs_root!(
        "what_nodes_disagree_about_is_dropped_in_mid_connection_and_opened_here_if_it_is_new"
    );
    every_family(|node, director, family| {
        let now = [(0, None, Active), (1, Some(1), Active)];
        apply(node, director, family, &now);
        let elsewhere: Vec<u16> = PORTS
            .filter(|port| {
                let flow = family.from(TCP, *port);
                says(director, node.ifindex, flow, SYN).action == TX
            })
            .collect();
        assert!(elsewhere.len() > 8);
        for port in elsewhere {
            let flow = family.from(TCP, port);
            let last = |tcp| from_node(0, 4, tcp);
            let ran = says(director, node.ifindex, flow, last(SEGMENT));
            assert_eq!((ran.action, ran.verdict()), (DROP, Verdict::DropLoopGuard));
            let ran = says(director, node.ifindex, flow, last(SYN));
            assert_eq!(reached(&ran), family.pods[0]);
            answers(director, flow, family.pods[0], SYN_ACK);
            // Its next segment comes by the same way.
            let ran = says(director, node.ifindex, flow, last(SEGMENT));
            assert_eq!(reached(&ran), family.pods[0]);
        }
    });
}

#[test]
fn a_new_connection_that_nodes_disagree_about_and_no_pod_here_is_the_kernels() {
    needs_root!("a_new_connection_that_nodes_disagree_about_and_no_pod_here_is_the_kernels");
    every_family(|node, director, family| {
        apply(node, director, family, &[(0, Some(1), Active)]);
        for hop_limit in 1..=4 {
            let sent = shaped(family.flow(TCP), &from_node(0, hop_limit, SYN));
            let ran = receive(director, node.ifindex, &sent);
            let expected = if hop_limit == 1 {
                Verdict::LoopGuard
            } else {
                Verdict::KernelPath
            };
            assert_eq!((ran.action, ran.frame == sent), (PASS, true));
            assert!(
                [expected, Verdict::HopLimit, Verdict::LoopGuard].contains(&ran.verdict()),
                "{:?}",
                ran.counted
            );
        }
    });
}

#[test]
fn a_low_hop_limit_is_a_mark_only_on_a_frame_from_a_node() {
    needs_root!("a_low_hop_limit_is_a_mark_only_on_a_frame_from_a_node");
    every_family(|node, director, family| {
        apply(node, director, family, &[(0, Some(1), Active)]);
        for (shape, verdict) in [
            (from_node(0, 6, SEGMENT), Verdict::ExtraHop),
            (
                Shape {
                    hop_limit: 6,
                    ..SEGMENT.into()
                },
                Verdict::HopLimit,
            ),
        ] {
            let ran = says(director, node.ifindex, family.flow(TCP), shape);
            assert_eq!(ran.verdict(), verdict);
        }
    });
}

#[test]
fn no_two_nodes_can_keep_a_packet_between_them() {
    needs_root!("no_two_nodes_can_keep_a_packet_between_them");
    // Both think that the other has the pod: the worst that tables can disagree.
    let node = Node::new();
    for family in families() {
        let mut director = node.director();
        director
            .apply(&family.desired(TCP, node.ifindex, &[(0, Some(0), Active)]))
            .unwrap();
        let shape = Shape {
            hop_limit: 255,
            ..SEGMENT.into()
        };
        let mut frame = shaped(family.flow(TCP), &shape);
        let mut hops = 0;
        while receive(&mut director, node.ifindex, &frame).action == TX {
            frame = receive(&mut director, node.ifindex, &frame).frame;
            // What the other node, of the same mind, would receive.
            frame[..6].copy_from_slice(&OWN);
            frame[6..12].copy_from_slice(&HOPS[0]);
            hops += 1;
            assert!(hops < 10);
        }
        assert_eq!(hops, 4);
        Director::remove(&node.settings).unwrap();
    }
}

#[test]
fn readiness_decides_over_new_connections_alone() {
    needs_root!("readiness_decides_over_new_connections_alone");
    every_family(|node, director, family| {
        let both = [(0, None, Active), (1, None, Active)];
        apply(node, director, family, &both);
        let pods: Vec<_> = PORTS
            .map(|port| establish(director, node.ifindex, family.from(TCP, port)))
            .collect();
        assert!(pods.contains(&family.pods[0]) && pods.contains(&family.pods[1]));
        for backends in [
            [(0, None, Active), (1, None, Unready)],
            [(0, None, Unready), (1, None, Unready)],
            both,
        ] {
            apply(node, director, family, &backends);
            for (port, pod) in PORTS.zip(&pods) {
                let ran = says(director, node.ifindex, family.from(TCP, port), SEGMENT);
                assert_eq!(reached(&ran), *pod);
            }
            let new = says(director, node.ifindex, family.from(TCP, 60_000), SYN);
            match backends {
                [(_, _, Active), (_, _, Unready)] => assert_eq!(reached(&new), family.pods[0]),
                [(_, _, Unready), (_, _, Unready)] => {
                    assert_eq!((new.action, new.verdict()), (PASS, Verdict::NoBackend));
                }
                _ => {}
            }
        }
    });
}

#[test]
fn a_client_port_used_again_elsewhere_is_not_taken_by_the_connection_that_is_over_here() {
    needs_root!(
        "a_client_port_used_again_elsewhere_is_not_taken_by_the_connection_that_is_over_here"
    );
    // The old one ended here; the next one began while the slot was another node's, by another director.
    every_family(|node, director, family| {
        apply(node, director, family, &[(0, None, Active)]);
        let (torn, finished) = (family.from(TCP, 51_000), family.from(TCP, 51_001));
        for (flow, last) in [(torn, RST), (finished, FIN)] {
            let pod = establish(director, node.ifindex, flow);
            says(director, node.ifindex, flow, last);
            if last.fin {
                answers(director, flow, pod, FIN);
            }
        }
        let elsewhere = [(0, None, Draining), (1, Some(1), Active)];
        apply(node, director, family, &elsewhere);
        for flow in [torn, finished] {
            let ran = says(director, node.ifindex, flow, SEGMENT);
            assert_eq!((ran.action, ran.verdict()), (TX, Verdict::Directed));
            // Asked for by that node, it is looked for at the others first.
            let ran = says(director, node.ifindex, flow, from_node(1, 6, SEGMENT));
            assert_eq!((ran.action, ran.verdict()), (TX, Verdict::ExtraHop));
            assert_eq!(see(&ran.frame).hop_limit, 5);
        }
        // The last word of the one that was finished in order is told from the next one's.
        let ran = says(director, node.ifindex, finished, LAST);
        assert_eq!(reached(&ran), family.pods[0]);
        // The slot comes back.
        let back = [(0, None, Active), (1, Some(1), Draining)];
        apply(node, director, family, &back);
        for flow in [torn, finished] {
            let ran = says(director, node.ifindex, flow, SEGMENT);
            assert_eq!((ran.action, ran.verdict()), (TX, Verdict::SecondChance));
            assert_eq!(see(&ran.frame).destination_mac, HOPS[1]);
            // Nobody there has a next one, and nobody will say so any more.
            let ran = says(director, node.ifindex, flow, from_node(1, 5, SEGMENT));
            assert_eq!(ran.verdict(), Verdict::DropUnsettled);
        }
        support::maps::settle(&node.settings);
        director.feed().unwrap();
        for flow in [torn, finished] {
            let ran = says(director, node.ifindex, flow, from_node(1, 5, SEGMENT));
            assert_eq!(reached(&ran), family.pods[0]);
        }
    });
}
