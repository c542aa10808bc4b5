//! The tables of connections: what opens, confirms, closes, and takes over.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

#[macro_use]
mod support;

use landfall_bpf_lb::desired::{BackendState, Frontend, Protocol};
use landfall_bpf_lb::{Director, Verdict};
use support::Node;
use support::frames::{FIN, Flow, RST, SEGMENT, SYN, SYN_ACK, Tcp, see};
use support::run::{PASS, TX};
use support::scene::{Family, families, from_node};
use support::talk::{answers, close, establish, reached, says};

use BackendState::{Active, Draining};

const TCP: Protocol = Protocol::Tcp;
const PORTS: std::ops::Range<u16> = 51_000..51_040;
const BOTH: [(usize, Option<usize>, BackendState); 2] = [(0, None, Active), (1, None, Active)];

/// Every family, with two pods here; they share no table of connections.
fn with_two_pods(mut check: impl FnMut(&Node, &mut Director, Family)) {
    let node = Node::new();
    let mut director = node.director();
    for family in families() {
        director
            .apply(&family.desired(TCP, node.ifindex, &BOTH))
            .unwrap();
        check(&node, &mut director, family);
    }
}

/// Over both pods, this frontend as well.
fn also(node: &Node, director: &mut Director, family: Family, port: u16) -> Frontend {
    let mut desired = family.desired(TCP, node.ifindex, &BOTH);
    let first = family.frontend(TCP);
    let second = Frontend { port, ..first };
    let vip = desired.frontends[&first].clone();
    desired.frontends.insert(second, vip);
    director.apply(&desired).unwrap();
    second
}

#[test]
fn only_the_acknowledgement_of_the_pods_own_answer_confirms_a_connection() {
    needs_root!("only_the_acknowledgement_of_the_pods_own_answer_confirms_a_connection");
    with_two_pods(|node, director, family| {
        let flow = family.flow(TCP);
        let pod = reached(&says(director, node.ifindex, flow, SYN));
        answers(director, flow, pod, SYN_ACK);
        // The wrong one does not: its reply is not one of a tracked connection.
        let wrong = Tcp {
            ack: Some(77),
            ..SEGMENT
        };
        reached(&says(director, node.ifindex, flow, wrong));
        let reply = answers(director, flow, pod, SEGMENT);
        assert_eq!(reply.verdict(), Verdict::ReplyUntracked);
        reached(&says(director, node.ifindex, flow, SEGMENT));
        let reply = answers(director, flow, pod, SEGMENT);
        assert_eq!(see(&reply.frame).from, family.vip);
    });
}

#[test]
fn a_forged_syn_does_nothing_to_a_living_connection() {
    needs_root!("a_forged_syn_does_nothing_to_a_living_connection");
    with_two_pods(|node, director, family| {
        let only_second = [(0, None, BackendState::Draining), (1, None, Active)];
        director
            .apply(&family.desired(TCP, node.ifindex, &[(0, None, Active)]))
            .unwrap();
        let flow = family.flow(TCP);
        let pod = establish(director, node.ifindex, flow);
        // Its slot's pod is another one now: the SYN reaches that, and has its answer.
        director
            .apply(&family.desired(TCP, node.ifindex, &only_second))
            .unwrap();
        let other = reached(&says(director, node.ifindex, flow, SYN));
        assert_eq!(other, family.pods[1]);
        let answer = Tcp {
            sequence: 5_000,
            ..SYN_ACK
        };
        answers(director, flow, other, answer);
        for tcp in [SEGMENT, SEGMENT] {
            let ran = says(director, node.ifindex, flow, tcp);
            assert_eq!(reached(&ran), pod);
            let reply = answers(director, flow, pod, SEGMENT);
            assert_eq!(reply.verdict(), Verdict::ReplyRewritten);
        }
        // The client that did send it knows the number, and has the new connection.
        let known = Tcp {
            ack: Some(5_001),
            ..SEGMENT
        };
        assert_eq!(reached(&says(director, node.ifindex, flow, known)), other);
        let ran = says(director, node.ifindex, flow, SEGMENT);
        assert_eq!(reached(&ran), other);
    });
}

#[test]
fn a_forged_reset_does_nothing_to_a_living_connection() {
    needs_root!("a_forged_reset_does_nothing_to_a_living_connection");
    with_two_pods(|node, director, family| {
        let flow = family.flow(TCP);
        let pod = establish(director, node.ifindex, flow);
        assert_eq!(reached(&says(director, node.ifindex, flow, RST)), pod);
        // The pod does not care, and says so; the connection is as it was.
        answers(director, flow, pod, SEGMENT);
        assert_eq!(state(director, node, flow), [0, 0, 0]);
        assert_eq!(reached(&says(director, node.ifindex, flow, SEGMENT)), pod);
    });
}

#[test]
fn a_forged_reset_does_not_end_a_connection_that_is_idle() {
    needs_root!("a_forged_reset_does_not_end_a_connection_that_is_idle");
    with_two_pods(|node, director, family| {
        let flow = family.flow(TCP);
        let pod = establish(director, node.ifindex, flow);
        says(director, node.ifindex, flow, RST);
        support::maps::age(&node.settings, 3000);
        director.sweep().unwrap();
        assert_eq!(state(director, node, flow), [0, 0, 1]);
        // Nor does a forged SYN after it, when the slot is another node's.
        let elsewhere = [(0, None, Draining), (1, Some(0), Active)];
        let desired = family.desired(TCP, node.ifindex, &elsewhere);
        director.apply(&desired).unwrap();
        assert_eq!(says(director, node.ifindex, flow, SYN).action, TX);
        let reply = answers(director, flow, pod, SEGMENT);
        assert_eq!(see(&reply.frame).from, family.vip);
        assert_eq!(state(director, node, flow), [0, 0, 0]);
    });
}

/// Of the client's entry: its end, the pod's end, torn down.
fn state(director: &mut Director, node: &Node, flow: Flow) -> [u8; 3] {
    let found = support::maps::connection(&node.settings, flow);
    let _ = director;
    found
        .map(|state| [state.client_fin, state.pod_fin, state.reset])
        .expect("a connection")
}

#[test]
fn both_ends_must_finish_before_a_connection_is_over() {
    needs_root!("both_ends_must_finish_before_a_connection_is_over");
    with_two_pods(|node, director, family| {
        let flow = family.flow(TCP);
        let pod = establish(director, node.ifindex, flow);
        assert_eq!(reached(&says(director, node.ifindex, flow, FIN)), pod);
        assert_eq!(state(director, node, flow), [1, 0, 0]);
        // Minutes of answer.
        support::maps::age(&node.settings, 180);
        director.sweep().unwrap();
        let reply = answers(director, flow, pod, SEGMENT);
        assert_eq!(see(&reply.frame).from, family.vip);
        assert_eq!(reached(&says(director, node.ifindex, flow, SEGMENT)), pod);
        answers(director, flow, pod, FIN);
        assert_eq!(state(director, node, flow), [1, 1, 0]);
    });
}

#[test]
fn a_direct_connection_from_a_port_that_once_used_the_vip_is_left_alone() {
    needs_root!("a_direct_connection_from_a_port_that_once_used_the_vip_is_left_alone");
    with_two_pods(|node, director, family| {
        let flow = family.flow(TCP);
        let pod = establish(director, node.ifindex, flow);
        close(director, node.ifindex, flow, pod);
        // The client's SYN to the pod itself is no frontend's; the pod's answer is seen.
        for tcp in [SYN_ACK, SEGMENT, FIN] {
            let reply = answers(director, flow, pod, tcp);
            assert_eq!(reply.verdict(), Verdict::ReplyUntracked);
            assert_eq!(see(&reply.frame).from, pod);
        }
    });
}

/// A pod whose queue is full drops the acknowledgement that was seen here, and answers the SYN once more.
#[test]
fn a_pod_that_says_its_syn_ack_again_keeps_the_connection() {
    needs_root!("a_pod_that_says_its_syn_ack_again_keeps_the_connection");
    with_two_pods(|node, director, family| {
        let flow = family.flow(TCP);
        let pod = establish(director, node.ifindex, flow);
        let reply = answers(director, flow, pod, SYN_ACK);
        assert_eq!(reply.verdict(), Verdict::ReplyRewritten);
        assert_eq!(see(&reply.frame).from, flow.to);
        assert_eq!(reached(&says(director, node.ifindex, flow, SEGMENT)), pod);
        // Of another connection, which the client has with the pod itself, it is another one.
        let other = Tcp {
            sequence: 77_000,
            ..SYN_ACK
        };
        let reply = answers(director, flow, pod, other);
        assert_eq!(reply.verdict(), Verdict::ReplyUntracked);
    });
}

#[test]
fn two_frontends_over_the_same_pods_serve_one_client_port() {
    needs_root!("two_frontends_over_the_same_pods_serve_one_client_port");
    with_two_pods(|node, director, family| {
        let second = also(node, director, family, 8_081);
        for port in PORTS {
            let first = family.from(TCP, port);
            let mut other = first;
            other.to.set_port(second.port);
            let pods = [first, other].map(|flow| establish(director, node.ifindex, flow));
            assert_ne!(pods[0], pods[1], "each has a pod of its own for this port");
            for (flow, pod) in [first, other].into_iter().zip(pods) {
                let ran = says(director, node.ifindex, flow, SEGMENT);
                assert_eq!(reached(&ran), pod);
                let reply = answers(director, flow, pod, SEGMENT);
                assert_eq!(see(&reply.frame).from, flow.to);
            }
        }
    });
}

#[test]
fn a_third_frontend_of_one_client_port_stays_on_the_kernels_path_it_began_on() {
    needs_root!("a_third_frontend_of_one_client_port_stays_on_the_kernels_path_it_began_on");
    with_two_pods(|node, director, family| {
        let mut desired = family.desired(TCP, node.ifindex, &BOTH);
        let vip = desired.frontends[&family.frontend(TCP)].clone();
        for port in [81, 82] {
            let frontend = Frontend {
                port,
                ..family.frontend(TCP)
            };
            desired.frontends.insert(frontend, vip.clone());
        }
        director.apply(&desired).unwrap();
        let flows = [80, 81, 82].map(|port| {
            let mut flow = family.flow(TCP);
            flow.to.set_port(port);
            flow
        });
        let pods = [flows[0], flows[1]].map(|flow| establish(director, node.ifindex, flow));
        let ran = says(director, node.ifindex, flows[2], SYN);
        assert_eq!((ran.action, ran.verdict()), (PASS, Verdict::Collision));
        // The others end; this one is the kernel's all the same.
        for (flow, pod) in flows.into_iter().zip(pods) {
            close(director, node.ifindex, flow, pod);
        }
        for tcp in [SEGMENT, SEGMENT, FIN] {
            let ran = says(director, node.ifindex, flows[2], tcp);
            assert_eq!((ran.action, ran.verdict()), (PASS, Verdict::KernelPath));
        }
    });
}

/// The kernel answers a SYN for its pod, with the VIP as the source; what acknowledges that.
fn kernel_answers(director: &mut Director, flow: Flow) -> Option<u32> {
    let answer = Tcp {
        sequence: SYN_ACK.sequence.wrapping_add(9_000),
        ..SYN_ACK
    };
    let ran = answers(director, flow, flow.to, answer);
    assert_eq!(ran.verdict(), Verdict::ReplyUntracked);
    Some(answer.sequence.wrapping_add(1))
}

#[test]
fn a_used_port_whose_next_connection_is_the_kernels_goes_on_there() {
    needs_root!("a_used_port_whose_next_connection_is_the_kernels_goes_on_there");
    with_two_pods(|node, director, family| {
        for (port, end) in PORTS.zip([None, Some(RST), Some(FIN)].into_iter().cycle()) {
            let flow = family.from(TCP, port);
            director
                .apply(&family.desired(TCP, node.ifindex, &BOTH))
                .unwrap();
            let pod = establish(director, node.ifindex, flow);
            if end.is_some_and(|end| end.fin) {
                close(director, node.ifindex, flow, pod);
            } else if let Some(end) = end {
                assert_eq!(reached(&says(director, node.ifindex, flow, end)), pod);
            }
            // Its slot goes to another node, and the nodes do not agree to which.
            let elsewhere = [(0, Some(1), Active)];
            director
                .apply(&family.desired(TCP, node.ifindex, &elsewhere))
                .unwrap();
            let ran = says(director, node.ifindex, flow, from_node(0, 4, SYN));
            assert_eq!((ran.action, ran.verdict()), (PASS, Verdict::LoopGuard));
            let ack = kernel_answers(director, flow);
            if end.is_none() {
                // The SYN was forged, for all that is known.
                let ran = says(director, node.ifindex, flow, from_node(0, 6, SEGMENT));
                assert_eq!(reached(&ran), pod);
            }
            for (limit, tcp) in [(6, SEGMENT), (63, SEGMENT), (6, FIN)] {
                let said = from_node(0, limit, Tcp { ack, ..tcp });
                let ran = says(director, node.ifindex, flow, said);
                assert_eq!((ran.action, ran.verdict()), (PASS, Verdict::KernelPath));
            }
        }
    });
}

#[test]
fn a_forged_syn_that_the_kernel_gets_takes_no_connection_of_another_node_away() {
    needs_root!("a_forged_syn_that_the_kernel_gets_takes_no_connection_of_another_node_away");
    with_two_pods(|node, director, family| {
        let flow = family.flow(TCP);
        let elsewhere = [(0, Some(1), Active)];
        director
            .apply(&family.desired(TCP, node.ifindex, &elsewhere))
            .unwrap();
        let ran = says(director, node.ifindex, flow, from_node(0, 4, SYN));
        assert_eq!((ran.action, ran.verdict()), (PASS, Verdict::LoopGuard));
        let ack = kernel_answers(director, flow);
        // The client never asked for it, and says so to whoever it is connected with.
        for tcp in [SEGMENT, FIN] {
            let ran = says(director, node.ifindex, flow, tcp);
            assert_eq!((ran.action, ran.verdict()), (TX, Verdict::Directed));
        }
        let ran = says(director, node.ifindex, flow, Tcp { ack, ..SEGMENT });
        assert_eq!((ran.action, ran.verdict()), (PASS, Verdict::KernelPath));
    });
}

#[test]
fn only_a_syn_takes_over_a_client_port() {
    needs_root!("only_a_syn_takes_over_a_client_port");
    let node = Node::new();
    for family in families() {
        let mut director = node.director();
        let mut desired = family.desired(TCP, node.ifindex, &[(0, None, Active)]);
        let vip = desired.frontends[&family.frontend(TCP)].clone();
        let second = Frontend {
            port: 81,
            ..family.frontend(TCP)
        };
        desired.frontends.insert(second, vip);
        director.apply(&desired).unwrap();
        let flow = family.flow(TCP);
        let pod = establish(&mut director, node.ifindex, flow);
        let mut other = flow;
        other.to.set_port(81);
        support::maps::settle(&node.settings);
        for verdict in [Verdict::DropUnsettled, Verdict::DropCollision] {
            director.feed().unwrap();
            let ran = says(&mut director, node.ifindex, other, SEGMENT);
            assert_eq!(ran.verdict(), verdict);
            support::maps::age(&node.settings, 2);
        }
        let reply = answers(&mut director, flow, pod, SEGMENT);
        assert_eq!(see(&reply.frame).from, flow.to);
        // Once the first is over, a SYN may.
        close(&mut director, node.ifindex, flow, pod);
        assert_eq!(establish(&mut director, node.ifindex, other), pod);
        let reply = answers(&mut director, other, pod, SEGMENT);
        assert_eq!(see(&reply.frame).from, other.to);
        Director::remove(&node.settings).unwrap();
    }
}

#[test]
fn a_flood_of_syns_evicts_no_connection() {
    needs_root!("a_flood_of_syns_evicts_no_connection");
    with_two_pods(|node, director, family| {
        let idle = family.from(TCP, 60_001);
        let pod = establish(director, node.ifindex, idle);
        // Many times what the table of half-open connections holds.
        for port in 1..=12_000 {
            says(director, node.ifindex, family.from(TCP, port), SYN);
        }
        let reply = answers(director, idle, pod, SEGMENT);
        assert_eq!(see(&reply.frame).from, family.vip);
        assert_eq!(reached(&says(director, node.ifindex, idle, SEGMENT)), pod);
        // And an honest client still gets in.
        establish(director, node.ifindex, family.from(TCP, 60_002));
    });
}

#[test]
fn without_room_new_connections_are_the_kernels_and_old_ones_live() {
    needs_root!("without_room_new_connections_are_the_kernels_and_old_ones_live");
    let mut node = Node::new();
    node.settings.connections4 = 8;
    node.settings.connections6 = 8;
    for family in families() {
        let mut director = node.director();
        director
            .apply(&family.desired(TCP, node.ifindex, &BOTH))
            .unwrap();
        let mut living = Vec::new();
        let mut refused = None;
        for port in PORTS {
            let flow = family.from(TCP, port);
            let ran = says(&mut director, node.ifindex, flow, SYN);
            if ran.verdict() == Verdict::TableFull {
                refused = Some(flow);
                break;
            }
            let pod = reached(&ran);
            answers(&mut director, flow, pod, SYN_ACK);
            says(&mut director, node.ifindex, flow, SEGMENT);
            living.push((flow, pod));
        }
        let refused = refused.expect("one finds no room");
        assert!(living.len() >= 8, "{}", living.len());
        for (flow, pod) in living {
            assert_eq!(
                reached(&says(&mut director, node.ifindex, flow, SEGMENT)),
                pod
            );
            let reply = answers(&mut director, flow, pod, SEGMENT);
            assert_eq!(see(&reply.frame).from, family.vip);
        }
        let ran = says(&mut director, node.ifindex, refused, SEGMENT);
        assert_eq!(ran.verdict(), Verdict::KernelPath);
        Director::remove(&node.settings).unwrap();
    }
}

#[test]
fn what_is_over_is_taken_out_and_what_is_idle_is_not() {
    needs_root!("what_is_over_is_taken_out_and_what_is_idle_is_not");
    with_two_pods(|node, director, family| {
        // Nothing of the other family is left.
        let flows = [1, 2, 3].map(|port| family.from(TCP, 50_000 + port));
        let pods = flows.map(|flow| establish(director, node.ifindex, flow));
        close(director, node.ifindex, flows[0], pods[0]);
        answers(director, flows[1], pods[1], RST);
        says(director, node.ifindex, family.from(TCP, 50_009), SYN);
        let swept = director.sweep().unwrap();
        assert_eq!(
            (swept.connections, swept.half_open, swept.removed),
            (3, 1, 0)
        );
        support::maps::age(&node.settings, 11);
        assert_eq!(director.sweep().unwrap().removed, 1);
        support::maps::age(&node.settings, 50);
        let swept = director.sweep().unwrap();
        assert_eq!(
            (swept.connections, swept.half_open, swept.removed),
            (1, 0, 1)
        );
        support::maps::age(&node.settings, 23 * 3600);
        assert_eq!(director.sweep().unwrap().connections, 1);
        let reply = answers(director, flows[2], pods[2], SEGMENT);
        assert_eq!(see(&reply.frame).from, family.vip);
        // Its pod has no frontend any more.
        director
            .apply(&family.desired(TCP, node.ifindex, &[]))
            .unwrap();
        support::maps::age(&node.settings, 61);
        let swept = director.sweep().unwrap();
        assert_eq!((swept.connections, swept.removed), (0, 1));
    });
}

#[test]
fn once_nothing_of_the_kernels_path_is_left_directors_need_not_look() {
    needs_root!("once_nothing_of_the_kernels_path_is_left_directors_need_not_look");
    let node = Node::new();
    let [family, _] = families();
    let mut director = node.director();
    let mut desired = family.desired(TCP, node.ifindex, &[(0, Some(0), Active)]);
    desired.hops.clear();
    director.apply(&desired).unwrap();
    let flow = family.flow(TCP);
    let ran = says(&mut director, node.ifindex, flow, SYN);
    assert_eq!(ran.verdict(), Verdict::NoHop);
    let mut noted = 0;
    support::maps::change_state(&node.settings, |state| noted = state.kernels);
    assert_ne!(noted, 0);
    assert_eq!(director.sweep().unwrap().kernels, 1);
    says(&mut director, node.ifindex, flow, SEGMENT);
    support::maps::age(&node.settings, 24 * 3600 + 1);
    director.sweep().unwrap();
    support::maps::change_state(&node.settings, |state| noted = state.kernels);
    assert_eq!(noted, 0);
}

#[test]
fn tables_that_nobody_keeps_open_nothing_new_and_serve_what_is_open() {
    needs_root!("tables_that_nobody_keeps_open_nothing_new_and_serve_what_is_open");
    with_two_pods(|node, director, family| {
        let flow = family.flow(TCP);
        let pod = establish(director, node.ifindex, flow);
        support::maps::change_state(&node.settings, |state| state.fed = 1);
        let new = family.from(TCP, 40_002);
        let ran = says(director, node.ifindex, new, SYN);
        assert_eq!((ran.action, ran.verdict()), (PASS, Verdict::Overdue));
        let ran = says(director, node.ifindex, new, SEGMENT);
        assert_eq!(ran.verdict(), Verdict::KernelPath);
        assert_eq!(reached(&says(director, node.ifindex, flow, SEGMENT)), pod);
        director.feed().unwrap();
        establish(director, node.ifindex, family.from(TCP, 40_003));
    });
}

#[test]
fn tables_that_nobody_keeps_send_nothing_new_to_other_nodes_and_no_datagram_anywhere() {
    needs_root!(
        "tables_that_nobody_keeps_send_nothing_new_to_other_nodes_and_no_datagram_anywhere"
    );
    for family in families() {
        let node = Node::new();
        let mut director = node.director();
        let abandon =
            |node: &Node| support::maps::change_state(&node.settings, |state| state.fed = 1);
        let elsewhere = [(0, Some(0), Active)];
        director
            .apply(&family.desired(TCP, node.ifindex, &elsewhere))
            .unwrap();
        let flow = family.flow(TCP);
        assert_eq!(says(&mut director, node.ifindex, flow, SYN).action, TX);
        abandon(&node);
        let new = family.from(TCP, 40_002);
        let ran = says(&mut director, node.ifindex, new, SYN);
        assert_eq!((ran.action, ran.verdict()), (PASS, Verdict::Overdue));
        let ran = says(&mut director, node.ifindex, new, SEGMENT);
        assert_eq!(ran.verdict(), Verdict::KernelPath);
        // What is open goes on.
        let ran = says(&mut director, node.ifindex, flow, SEGMENT);
        assert_eq!((ran.action, ran.verdict()), (TX, Verdict::Directed));
        for backends in [&elsewhere, &[(0, None, Active)]] {
            director.feed().unwrap();
            director
                .apply(&family.desired(Protocol::Udp, node.ifindex, backends))
                .unwrap();
            abandon(&node);
            let ran = says(
                &mut director,
                node.ifindex,
                family.flow(Protocol::Udp),
                SEGMENT,
            );
            assert_eq!((ran.action, ran.verdict()), (PASS, Verdict::Overdue));
        }
    }
}

#[test]
fn a_repeated_syn_follows_the_first_over_a_change() {
    needs_root!("a_repeated_syn_follows_the_first_over_a_change");
    with_two_pods(|node, director, family| {
        director
            .apply(&family.desired(TCP, node.ifindex, &[(0, None, Active)]))
            .unwrap();
        let flow = family.flow(TCP);
        let first = reached(&says(director, node.ifindex, flow, SYN));
        let after = [(0, None, BackendState::Draining), (1, None, Active)];
        director
            .apply(&family.desired(TCP, node.ifindex, &after))
            .unwrap();
        let again = reached(&says(director, node.ifindex, flow, SYN));
        assert_eq!(again, first);
        let third = says(director, node.ifindex, family.from(TCP, 40_002), SYN);
        assert_eq!(reached(&third), family.pods[1]);
    });
}

#[test]
fn datagrams_from_one_port_reach_another_pod_soon_after_theirs_is_gone() {
    needs_root!("datagrams_from_one_port_reach_another_pod_soon_after_theirs_is_gone");
    const UDP: Protocol = Protocol::Udp;
    for family in families() {
        let node = Node::new();
        let mut director = node.director();
        director
            .apply(&family.desired(UDP, node.ifindex, &BOTH))
            .unwrap();
        let flow = family.flow(UDP);
        let asks = |director: &mut Director| says(director, node.ifindex, flow, SEGMENT);
        let pod = reached(&asks(&mut director));
        answers(&mut director, flow, pod, SEGMENT);
        assert_eq!(reached(&asks(&mut director)), pod);
        director.sweep().unwrap();
        let other = family.pods[..2].iter().position(|one| *one != pod).unwrap();
        director
            .apply(&family.desired(UDP, node.ifindex, &[(other, None, Active)]))
            .unwrap();
        // It may answer yet; that it is asked is no sign of life.
        support::maps::age(&node.settings, 9);
        assert_eq!(reached(&asks(&mut director)), pod);
        assert_eq!(director.sweep().unwrap().removed, 0);
        support::maps::age(&node.settings, 2);
        assert_eq!(reached(&asks(&mut director)), pod);
        assert_eq!(director.sweep().unwrap().removed, 1);
        assert_eq!(reached(&asks(&mut director)), family.pods[other]);
        answers(&mut director, flow, family.pods[other], SEGMENT);
        assert_eq!(reached(&asks(&mut director)), family.pods[other]);
        Director::remove(&node.settings).unwrap();
    }
}
