//! ICMP errors about connections, on exact bytes: each must look as if its sender had seen the packet it quotes with the
//! addresses of whoever it is for.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

#[macro_use]
mod support;

use std::sync::Arc;

use std::net::IpAddr;

use landfall_bpf_lb::desired::{BackendState, Protocol};
use landfall_bpf_lb::{Director, Verdict, duties};
use support::frames::{CLIENT_MAC, Flow, SEGMENT, SYN, SYN_ACK, Shape, frame};
use support::icmp::{
    Said, about, does_not_fit, errors, message, quote, reverse, router, seen_by_router, too_big,
};
use support::run::{NEXT, PASS, TX, receive, send};
use support::scene::{HOPS, each, families};
use support::talk::{answers, close, establish, reached, says};
use support::{Node, OWN, maps};

/// How much of a packet an error may quote: what it must, with and without a checksum of TCP, and all.
const OCTETS: [usize; 6] = [8, 16, 18, 19, 20, 2000];

fn untouched(director: &mut Director, ifindex: u32, sent: &[u8], verdict: Verdict) {
    let ran = receive(director, ifindex, sent);
    assert_eq!((ran.action, ran.verdict()), (PASS, verdict));
    assert_eq!(ran.frame, sent);
}

fn shapes(ipv6: bool) -> Vec<Shape> {
    let mut shapes = vec![Shape::default()];
    shapes.extend([8, 255].map(|hop_limit| Shape {
        hop_limit,
        ..Shape::default()
    }));
    shapes.extend([vec![7], vec![7, 4095]].map(|tags| Shape {
        tags,
        ..Shape::default()
    }));
    if ipv6 {
        shapes.extend([vec![60], vec![0, 60, 43, 60]].map(|extensions| Shape {
            extensions,
            ..Shape::default()
        }));
    } else {
        shapes.extend([vec![1, 1, 1, 0], vec![1; 40]].map(|options| Shape {
            options,
            ..Shape::default()
        }));
    }
    shapes
}

#[test]
fn an_error_about_what_a_pod_sent_reaches_it_as_one_about_its_own_packet() {
    needs_root!("an_error_about_what_a_pod_sent_reaches_it_as_one_about_its_own_packet");
    let node = Node::new();
    each(&node, None, |director, family, protocol| {
        let flow = family.flow(protocol);
        let pod = establish(director, node.ifindex, flow);
        for said in errors(family.vip.is_ipv6()) {
            for octets in OCTETS {
                for shape in shapes(family.vip.is_ipv6()) {
                    let sent = about(family, flow, said, octets, &shape);
                    let ran = receive(director, node.ifindex, &sent);
                    assert_eq!(
                        (ran.action, ran.verdict()),
                        (PASS, Verdict::DeliveredError),
                        "{said:?} {octets} {shape:?}"
                    );
                    let expected = about(family, Flow { to: pod, ..flow }, said, octets, &shape);
                    assert_eq!(ran.frame, expected, "{said:?} {octets} {shape:?}");
                }
            }
        }
    });
}

#[test]
fn checksums_of_errors_stay_exact_over_many_client_ports() {
    needs_root!("checksums_of_errors_stay_exact_over_many_client_ports");
    let node = Node::new();
    each(&node, None, |director, family, protocol| {
        let said = too_big(family.vip.is_ipv6());
        for port in (1..=u16::MAX).step_by(257) {
            let flow = family.from(protocol, port);
            let pod = reached(&says(director, node.ifindex, flow, SYN));
            let sent = about(family, flow, said, 2000, &Shape::default());
            let ran = receive(director, node.ifindex, &sent);
            assert_eq!(ran.verdict(), Verdict::DeliveredError);
            let flow = Flow { to: pod, ..flow };
            let expected = about(family, flow, said, 2000, &Shape::default());
            assert_eq!(ran.frame, expected, "{port}");
        }
    });
}

#[test]
fn a_quoted_udp_checksum_of_zero_stays_zero_both_ways() {
    needs_root!("a_quoted_udp_checksum_of_zero_stays_zero_both_ways");
    let node = Node::new();
    let mut director = node.director();
    let [family, _] = families();
    let local = [(0, None, BackendState::Active)];
    let desired = family.desired(Protocol::Udp, node.ifindex, &local);
    director.apply(&desired).unwrap();
    let flow = family.flow(Protocol::Udp);
    let pod = establish(&mut director, node.ifindex, flow);
    let without = |flow: Flow, to: IpAddr| {
        let mut quoted = quote(&seen_by_router(flow, SEGMENT), 8);
        quoted[26..28].copy_from_slice(&[0, 0]);
        message(pod.ip(), to, too_big(false), &quoted, &Shape::default())
    };
    let translated = Flow { to: pod, ..flow };
    let sent = without(reverse(flow), flow.to.ip());
    let ran = receive(&mut director, node.ifindex, &sent);
    assert_eq!(ran.frame, without(reverse(translated), pod.ip()));
    let ran = send(&mut director, &without(translated, flow.client.ip()));
    assert_eq!(ran.verdict(), Verdict::ReplyError);
    let quoted = without(flow, flow.client.ip());
    assert_eq!(ran.frame[34..], quoted[34..]);
}

#[test]
fn an_error_about_a_pod_of_another_node_is_sent_there_as_it_is() {
    needs_root!("an_error_about_a_pod_of_another_node_is_sent_there_as_it_is");
    let node = Node::new();
    each(&node, Some(0), |director, family, protocol| {
        for said in errors(family.vip.is_ipv6()) {
            for shape in shapes(family.vip.is_ipv6()) {
                let sent = about(family, family.flow(protocol), said, 8, &shape);
                let ran = receive(director, node.ifindex, &sent);
                assert_eq!((ran.action, ran.verdict()), (TX, Verdict::Directed));
                let sent_on = Shape {
                    source: OWN,
                    destination: HOPS[0],
                    hop_limit: shape.hop_limit - 1,
                    ..shape
                };
                let expected = about(family, family.flow(protocol), said, 8, &sent_on);
                assert_eq!(ran.frame, expected);
            }
        }
    });
}

#[test]
fn an_error_goes_where_the_segments_of_its_connection_go() {
    needs_root!("an_error_goes_where_the_segments_of_its_connection_go");
    let node = Node::new();
    let mut director = node.director();
    for family in families() {
        let both = [
            (0, Some(0), BackendState::Active),
            (1, Some(1), BackendState::Active),
        ];
        let mut desired = family.desired(Protocol::Tcp, node.ifindex, &both);
        for affinity in [false, true] {
            for vip in desired.frontends.values_mut() {
                Arc::make_mut(vip).client_ip_affinity = affinity;
            }
            director.apply(&desired).unwrap();
            for port in 40_000..40_100 {
                let flow = family.from(Protocol::Tcp, port);
                let segment = says(&mut director, node.ifindex, flow, SEGMENT);
                let error = receive(&mut director, node.ifindex, &does_not_fit(family, flow));
                assert_eq!((error.action, error.verdict()), (TX, Verdict::Directed));
                assert_eq!(error.frame[..12], segment.frame[..12], "{port}");
            }
        }
    }
}

#[test]
fn an_error_finds_the_pod_that_its_slot_has_left() {
    needs_root!("an_error_finds_the_pod_that_its_slot_has_left");
    let node = Node::new();
    let mut director = node.director();
    for family in families() {
        let before = [(0, None, BackendState::Active)];
        let desired = family.desired(Protocol::Tcp, node.ifindex, &before);
        director.apply(&desired).unwrap();
        let flow = family.flow(Protocol::Tcp);
        let pod = establish(&mut director, node.ifindex, flow);
        let after = [
            (0, None, BackendState::Draining),
            (1, Some(1), BackendState::Active),
        ];
        let desired = family.desired(Protocol::Tcp, node.ifindex, &after);
        director.apply(&desired).unwrap();
        let ran = receive(&mut director, node.ifindex, &does_not_fit(family, flow));
        assert_eq!(ran.verdict(), Verdict::DeliveredError);
        let translated = Flow { to: pod, ..flow };
        assert_eq!(ran.frame, does_not_fit(family, translated));
    }
}

#[test]
fn an_error_about_what_is_not_known_here_is_sent_on_as_a_segment_is() {
    needs_root!("an_error_about_what_is_not_known_here_is_sent_on_as_a_segment_is");
    let node = Node::new();
    let mut director = node.director();
    for family in families() {
        let desired = |pods: &[_]| family.desired(Protocol::Tcp, node.ifindex, pods);
        // All slots come from the first node to this one.
        let before = [(0, Some(0), BackendState::Active)];
        director.apply(&desired(&before)).unwrap();
        let after = [
            (0, Some(0), BackendState::Draining),
            (1, None, BackendState::Active),
            (2, Some(2), BackendState::Draining),
        ];
        director.apply(&desired(&after)).unwrap();
        let flow = family.flow(Protocol::Tcp);
        let ran = receive(&mut director, node.ifindex, &does_not_fit(family, flow));
        assert_eq!((ran.action, ran.verdict()), (TX, Verdict::SecondChance));
        let marked = |source, destination, hop_limit| {
            let shape = Shape {
                source,
                destination,
                hop_limit,
                ..Shape::default()
            };
            let said = too_big(family.vip.is_ipv6());
            about(family, flow, said, 8, &shape)
        };
        assert_eq!(ran.frame, marked(OWN, HOPS[0], 6));
        // It comes back from there: nobody knows it, and it goes round no more.
        let back = marked(HOPS[0], OWN, 5);
        untouched(&mut director, node.ifindex, &back, Verdict::UnknownError);
        // Another node has said that it has the connection.
        let named = duties::Flow {
            client: flow.client,
            frontend: family.frontend(Protocol::Tcp),
        };
        director.keep(&[(named, family.nodes[2])].into()).unwrap();
        let ran = receive(&mut director, node.ifindex, &does_not_fit(family, flow));
        assert_eq!((ran.action, ran.verdict()), (TX, Verdict::Moved));
        assert_eq!(ran.frame, marked(OWN, HOPS[2], 6));
        director.keep(&[].into()).unwrap();
    }
}

#[test]
fn an_error_about_no_known_connection_passes_and_is_never_taken_in() {
    needs_root!("an_error_about_no_known_connection_passes_and_is_never_taken_in");
    let node = Node::new();
    each(&node, None, |director, family, protocol| {
        let flow = family.from(protocol, 50_001);
        let sent = does_not_fit(family, flow);
        maps::settle(&node.settings);
        for _ in 0..3 {
            director.feed().unwrap();
            untouched(director, node.ifindex, &sent, Verdict::UnknownError);
            assert_eq!(maps::connection(&node.settings, flow), None);
            maps::age(&node.settings, 2);
        }
        // Nor does the pod's answer make one of it.
        let reply = answers(director, flow, family.pods[0], SEGMENT);
        assert_eq!(reply.verdict(), Verdict::ReplyUntracked);
    });
}

#[test]
fn an_error_says_nothing_about_how_its_connection_stands() {
    needs_root!("an_error_says_nothing_about_how_its_connection_stands");
    let node = Node::new();
    each(&node, None, |director, family, protocol| {
        let flow = family.flow(protocol);
        let pod = establish(director, node.ifindex, flow);
        maps::age(&node.settings, 100);
        let before = maps::connection(&node.settings, flow).unwrap();
        for said in errors(family.vip.is_ipv6()) {
            let sent = about(family, flow, said, 2000, &Shape::default());
            let ran = receive(director, node.ifindex, &sent);
            assert_eq!(ran.verdict(), Verdict::DeliveredError);
            let quoted = quote(&seen_by_router(Flow { to: pod, ..flow }, SEGMENT), 2000);
            let sent = message(pod.ip(), flow.client.ip(), said, &quoted, &Shape::default());
            assert_eq!(send(director, &sent).verdict(), Verdict::ReplyError);
        }
        let after = maps::connection(&node.settings, flow);
        assert_eq!(after, Some(before));
    });
}

#[test]
fn an_error_about_a_connection_that_is_being_opened_does_not_open_it() {
    needs_root!("an_error_about_a_connection_that_is_being_opened_does_not_open_it");
    let node = Node::new();
    each(&node, None, |director, family, protocol| {
        if protocol == Protocol::Udp {
            return;
        }
        let flow = family.from(protocol, 50_002);
        let pod = reached(&says(director, node.ifindex, flow, SYN));
        answers(director, flow, pod, SYN_ACK);
        let ran = receive(director, node.ifindex, &does_not_fit(family, flow));
        assert_eq!(ran.verdict(), Verdict::DeliveredError);
        assert_eq!(maps::connection(&node.settings, flow), None);
        assert_eq!(reached(&says(director, node.ifindex, flow, SEGMENT)), pod);
    });
}

#[test]
fn an_error_about_a_connection_that_is_over_reaches_the_pod_that_had_it() {
    needs_root!("an_error_about_a_connection_that_is_over_reaches_the_pod_that_had_it");
    let node = Node::new();
    each(&node, None, |director, family, protocol| {
        if protocol == Protocol::Udp {
            return;
        }
        let flow = family.flow(protocol);
        let pod = establish(director, node.ifindex, flow);
        close(director, node.ifindex, flow, pod);
        maps::settle(&node.settings);
        director.feed().unwrap();
        let ran = receive(director, node.ifindex, &does_not_fit(family, flow));
        assert_eq!(ran.verdict(), Verdict::DeliveredError);
        assert_eq!(ran.frame, does_not_fit(family, Flow { to: pod, ..flow }));
    });
}

#[test]
fn an_error_about_a_connection_of_the_kernels_path_stays_there() {
    needs_root!("an_error_about_a_connection_of_the_kernels_path_stays_there");
    let node = Node::new();
    let mut director = node.director();
    for family in families() {
        let remote = [(0, Some(0), BackendState::Active)];
        let mut desired = family.desired(Protocol::Tcp, node.ifindex, &remote);
        let hops = std::mem::take(&mut desired.hops);
        director.apply(&desired).unwrap();
        let flow = family.flow(Protocol::Tcp);
        let ran = says(&mut director, node.ifindex, flow, SYN);
        assert_eq!(ran.verdict(), Verdict::NoHop);
        desired.hops = hops;
        director.apply(&desired).unwrap();
        let sent = does_not_fit(family, flow);
        untouched(&mut director, node.ifindex, &sent, Verdict::KernelPath);
        let other = does_not_fit(family, family.from(Protocol::Tcp, 50_003));
        let ran = receive(&mut director, node.ifindex, &other);
        assert_eq!(ran.verdict(), Verdict::Directed);
    }
}

#[test]
fn what_does_not_quote_a_plain_packet_of_a_frontend_is_left_alone() {
    needs_root!("what_does_not_quote_a_plain_packet_of_a_frontend_is_left_alone");
    let node = Node::new();
    each(&node, None, |director, family, protocol| {
        let flow = family.flow(protocol);
        establish(director, node.ifindex, flow);
        let ipv6 = family.vip.is_ipv6();
        let plain = quote(&seen_by_router(reverse(flow), SEGMENT), 2000);
        let said = too_big(ipv6);
        let shape = Shape::default();
        let (from, vip) = (router(family), flow.to.ip());
        let mut check = |said: Said, body: &[u8], verdict: Verdict| {
            let sent = message(from, vip, said, body, &shape);
            untouched(director, node.ifindex, &sent, verdict);
        };
        // The answer to an echo request, a redirect, a router's advertisement, what is not assigned.
        for kind in if ipv6 {
            [0, 127, 129, 134, 137]
        } else {
            [0, 4, 5, 7, 9]
        } {
            check(Said(kind, 0, [0; 4]), &plain, Verdict::OtherProtocol);
            check(Said(kind, 0, [0; 4]), &[], Verdict::OtherProtocol);
        }
        for short in 0..if ipv6 { 48 } else { 28 } {
            check(said, &plain[..short], Verdict::OtherProtocol);
        }
        // Of another version, with options, a later fragment, of another protocol.
        let changes: &[(usize, u8)] = if ipv6 {
            &[(0, 0x45), (6, 58), (6, 44), (6, 0)]
        } else {
            &[(0, 0x65), (0, 0x46), (0, 0x44), (6, 0x01), (7, 1), (9, 1)]
        };
        for (at, byte) in changes {
            let mut changed = plain.clone();
            changed[*at] = *byte;
            check(said, &changed, Verdict::OtherProtocol);
        }
        // Not sent by whom it is for.
        let mut changed = plain.clone();
        changed[if ipv6 { 23 } else { 15 }] ^= 1;
        check(said, &changed, Verdict::OtherProtocol);
        // From a port that is none of ours.
        let mut changed = plain;
        changed[if ipv6 { 41 } else { 21 }] ^= 1;
        check(said, &changed, Verdict::NotFrontend);
    });
}

#[test]
fn the_first_fragment_that_an_error_quotes_is_enough() {
    needs_root!("the_first_fragment_that_an_error_quotes_is_enough");
    let node = Node::new();
    let mut director = node.director();
    let [family, _] = families();
    let local = [(0, None, BackendState::Active)];
    let desired = family.desired(Protocol::Udp, node.ifindex, &local);
    director.apply(&desired).unwrap();
    let flow = family.flow(Protocol::Udp);
    establish(&mut director, node.ifindex, flow);
    let mut quoted = quote(&seen_by_router(reverse(flow), SEGMENT), 8);
    quoted[6] |= 0x20;
    let said = Said(11, 1, [0; 4]);
    let sent = message(
        router(family),
        flow.to.ip(),
        said,
        &quoted,
        &Shape::default(),
    );
    let ran = receive(&mut director, node.ifindex, &sent);
    assert_eq!(ran.verdict(), Verdict::DeliveredError);
}

#[test]
fn an_error_cut_at_any_length_passes_untouched() {
    needs_root!("an_error_cut_at_any_length_passes_untouched");
    let node = Node::new();
    for at in [None, Some(0)] {
        each(&node, at, |director, family, protocol| {
            let flow = family.flow(protocol);
            if at.is_none() {
                establish(director, node.ifindex, flow);
            }
            let said = too_big(family.vip.is_ipv6());
            let whole = about(family, flow, said, 20, &Shape::default());
            let least = if family.vip.is_ipv6() { 54 } else { 34 };
            for length in least..whole.len() {
                untouched(director, node.ifindex, &whole[..length], Verdict::Malformed);
            }
        });
    }
}

#[test]
fn an_error_to_another_mac_address_or_with_a_low_hop_limit_passes() {
    needs_root!("an_error_to_another_mac_address_or_with_a_low_hop_limit_passes");
    let node = Node::new();
    for at in [None, Some(0)] {
        each(&node, at, |director, family, protocol| {
            let flow = family.flow(protocol);
            let said = too_big(family.vip.is_ipv6());
            let shape = Shape {
                destination: [0x02, 9, 9, 9, 9, 9],
                ..Shape::default()
            };
            let sent = about(family, flow, said, 8, &shape);
            untouched(director, node.ifindex, &sent, Verdict::NotOurMac);
            let shape = Shape {
                hop_limit: 1,
                ..Shape::default()
            };
            let sent = about(family, flow, said, 8, &shape);
            untouched(director, node.ifindex, &sent, Verdict::HopLimit);
        });
    }
}

#[test]
fn an_error_about_what_a_client_sent_leaves_as_the_vips_about_the_vip() {
    needs_root!("an_error_about_what_a_client_sent_leaves_as_the_vips_about_the_vip");
    let node = Node::new();
    each(&node, None, |director, family, protocol| {
        let flow = family.flow(protocol);
        let pod = establish(director, node.ifindex, flow);
        // Of the pod itself, and of its node on the way to it.
        for from in [pod.ip(), family.nodes[0]] {
            for said in errors(family.vip.is_ipv6()) {
                for octets in OCTETS {
                    for shape in shapes(family.vip.is_ipv6()) {
                        let error = |from, to| {
                            let quoted = seen_by_router(Flow { to, ..flow }, SEGMENT);
                            let quoted = quote(&quoted, octets);
                            message(from, flow.client.ip(), said, &quoted, &shape)
                        };
                        let ran = send(director, &error(from, pod));
                        assert_eq!(
                            (ran.action, ran.verdict()),
                            (NEXT, Verdict::ReplyError),
                            "{said:?} {octets} {shape:?}"
                        );
                        let expected = error(flow.to.ip(), flow.to);
                        assert_eq!(ran.frame, expected, "{said:?} {octets} {shape:?}");
                    }
                }
            }
        }
    });
}

#[test]
fn a_datagram_that_nobody_listens_for_is_known_by_the_error_about_it() {
    needs_root!("a_datagram_that_nobody_listens_for_is_known_by_the_error_about_it");
    let node = Node::new();
    each(&node, None, |director, family, protocol| {
        // The pod never answers but by this; of TCP it may be the way to it that fails.
        let flow = family.from(protocol, 50_004);
        let pod = reached(&says(director, node.ifindex, flow, SYN));
        let said = errors(family.vip.is_ipv6())[1];
        let error = |from, to| {
            let quoted = quote(&frame(Flow { to, ..flow }), 2000);
            message(from, flow.client.ip(), said, &quoted, &Shape::default())
        };
        let ran = send(director, &error(pod.ip(), pod));
        assert_eq!(ran.verdict(), Verdict::ReplyError);
        assert_eq!(ran.frame, error(flow.to.ip(), flow.to));
        assert_eq!(maps::connection(&node.settings, flow), None);
    });
}

#[test]
fn a_leaving_error_about_no_tracked_connection_is_left_alone() {
    needs_root!("a_leaving_error_about_no_tracked_connection_is_left_alone");
    let node = Node::new();
    each(&node, None, |director, family, protocol| {
        let flow = family.flow(protocol);
        let pod = establish(director, node.ifindex, flow);
        let other = family.from(protocol, 50_005);
        let ipv6 = family.vip.is_ipv6();
        let (said, shape) = (too_big(ipv6), Shape::default());
        let mut untouched = |sent: &[u8]| {
            let ran = send(director, sent);
            assert_eq!((ran.action, ran.verdict()), (NEXT, Verdict::ReplyUntracked));
            assert_eq!(ran.frame, sent);
        };
        let quoted = |flow| quote(&frame(flow), 2000);
        let to = flow.client.ip();
        untouched(&message(
            pod.ip(),
            to,
            said,
            &quoted(Flow { to: pod, ..other }),
            &shape,
        ));
        // About a packet that somebody else sent than whom it is for.
        let ours = quoted(Flow { to: pod, ..flow });
        untouched(&message(pod.ip(), router(family), said, &ours, &shape));
        let echo = Said(if ipv6 { 129 } else { 0 }, 0, [0; 4]);
        untouched(&message(pod.ip(), to, echo, &ours, &shape));
        // Cut short.
        let whole = message(
            pod.ip(),
            to,
            said,
            &ours[..if ipv6 { 48 } else { 28 }],
            &shape,
        );
        for length in if ipv6 { 54 } else { 34 }..whole.len() {
            untouched(&whole[..length]);
        }
    });
}

#[test]
fn an_error_from_another_node_that_nobody_knows_goes_back_once_if_somebody_may_have_it() {
    needs_root!(
        "an_error_from_another_node_that_nobody_knows_goes_back_once_if_somebody_may_have_it"
    );
    let node = Node::new();
    each(&node, None, |director, family, protocol| {
        let flow = family.from(protocol, 50_006);
        let said = too_big(family.vip.is_ipv6());
        let shape = |source, destination, hop_limit| Shape {
            source,
            destination,
            hop_limit,
            ..Shape::default()
        };
        let error = |shape| about(family, flow, said, 8, &shape);
        let asked = error(shape(HOPS[0], OWN, 63));
        maps::settle(&node.settings);
        director.feed().unwrap();
        untouched(director, node.ifindex, &asked, Verdict::UnknownError);
        // The tables here may be old.
        maps::change_state(&node.settings, |state| {
            state.fed = state.fed.wrapping_sub(10_000)
        });
        let ran = receive(director, node.ifindex, &asked);
        assert_eq!((ran.action, ran.verdict()), (TX, Verdict::SecondChance));
        assert_eq!(ran.frame, error(shape(OWN, HOPS[0], 6)));
        let sent = error(shape(HOPS[0], OWN, 6));
        untouched(director, node.ifindex, &sent, Verdict::UnknownError);
        let sent = error(shape(CLIENT_MAC, OWN, 63));
        untouched(director, node.ifindex, &sent, Verdict::UnknownError);
    });
}
