//! What is not ours, or not understood, reaches the kernel byte for byte.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

#[macro_use]
mod support;

use std::sync::Arc;

use landfall_bpf_lb::desired::{BackendState, Placement, Protocol};
use landfall_bpf_lb::{Director, Verdict};
use support::frames::{FIN, SEGMENT, SYN, SYN_ACK, Shape, frame, see, shaped};
use support::run::{DROP, PASS, TX, receive, send};
use support::scene::{HOPS, each, families};
use support::talk::says;
use support::{Node, OWN, at_tc, on};

fn untouched(director: &mut Director, ifindex: u32, sent: &[u8], verdict: Verdict) {
    let ran = receive(director, ifindex, sent);
    assert_eq!((ran.action, ran.verdict()), (PASS, verdict));
    assert_eq!(ran.frame, sent);
}

#[test]
fn other_addresses_ports_and_protocols_are_not_ours() {
    needs_root!("other_addresses_ports_and_protocols_are_not_ours");
    let node = Node::new();
    for at in [None, Some(0)] {
        each(&node, at, |director, family, protocol| {
            let mut flow = family.flow(protocol);
            flow.to.set_port(81);
            untouched(director, node.ifindex, &frame(flow), Verdict::NotFrontend);
            let mut flow = family.flow(protocol);
            flow.to.set_ip(family.nodes[0]);
            untouched(director, node.ifindex, &frame(flow), Verdict::NotFrontend);
        });
    }
    for (ours, other) in [
        (Protocol::Tcp, Protocol::Udp),
        (Protocol::Udp, Protocol::Tcp),
    ] {
        let node = Node::new();
        let mut director = node.director();
        for family in families() {
            let backends = [(0, None, BackendState::Active)];
            let desired = family.desired(ours, node.ifindex, &backends);
            director.apply(&desired).unwrap();
            let sent = frame(family.flow(other));
            untouched(&mut director, node.ifindex, &sent, Verdict::NotFrontend);
        }
    }
}

#[test]
fn a_frame_cut_at_any_length_passes() {
    needs_root!("a_frame_cut_at_any_length_passes");
    let node = Node::new();
    for at in [None, Some(0)] {
        each(&node, at, |director, family, protocol| {
            for tags in [vec![], vec![5, 6]] {
                let is_tagged = !tags.is_empty();
                let whole = shaped(
                    family.flow(protocol),
                    &Shape {
                        tags,
                        ..Shape::default()
                    },
                );
                // The kernel runs nothing on less than an Ethernet header, and at TC on less than the IP header behind it.
                let least = match (at_tc(), is_tagged, family.vip.is_ipv4()) {
                    (false, ..) => 14,
                    (true, true, _) => 15,
                    (true, false, true) => 14 + 20,
                    (true, false, false) => 14 + 40,
                };
                for length in least..whole.len() {
                    untouched(director, node.ifindex, &whole[..length], Verdict::Malformed);
                }
            }
        });
    }
}

#[test]
fn a_reply_cut_at_any_length_passes_unless_its_headers_are_whole() {
    needs_root!("a_reply_cut_at_any_length_passes_unless_its_headers_are_whole");
    let node = Node::new();
    each(&node, None, |director, family, protocol| {
        receive(director, node.ifindex, &frame(family.flow(protocol)));
        let whole = shaped(
            family.reply(protocol),
            &Shape {
                payload: vec![],
                ..SYN_ACK.into()
            },
        );
        // The kernel lets no less than an IP header leave.
        let least = if family.vip.is_ipv4() { 34 } else { 54 };
        // Ports and, for TCP, flags tell the connection; then the checksum must be there to be updated.
        let (told, summed) = match protocol {
            Protocol::Tcp => (least + 14, least + 18),
            Protocol::Udp => (least + 4, least + 8),
        };
        for length in least..=whole.len() {
            let ran = send(director, &whole[..length]);
            let expected = match length {
                short if short < told => Verdict::ReplyUntracked,
                short if short < summed => Verdict::ReplyBroken,
                _ => Verdict::ReplyRewritten,
            };
            assert_eq!(ran.verdict(), expected, "{length}");
            if expected == Verdict::ReplyUntracked {
                assert_eq!(ran.frame, whole[..length]);
            }
        }
    });
}

#[test]
fn fragments_pass() {
    needs_root!("fragments_pass");
    let node = Node::new();
    each(&node, None, |director, family, protocol| {
        let mut sent = frame(family.flow(protocol));
        if family.vip.is_ipv4() {
            sent[20] = 0x20;
        } else {
            sent.splice(54..54, [sent[20], 0, 0, 1, 0, 0, 0, 9]);
            sent[20] = 44;
            sent[19] += 8;
        }
        untouched(director, node.ifindex, &sent, Verdict::Fragment);
        receive(director, node.ifindex, &frame(family.flow(protocol)));
        let mut reply = frame(family.reply(protocol));
        if family.vip.is_ipv4() {
            reply[20] = 0x20;
        } else {
            reply.splice(54..54, [reply[20], 0, 0, 1, 0, 0, 0, 9]);
            reply[20] = 44;
            reply[19] += 8;
        }
        let ran = send(director, &reply);
        assert_eq!(ran.verdict(), Verdict::ReplyFragment);
        assert_eq!(ran.frame, reply);
    });
}

#[test]
fn arp_and_icmp_pass() {
    needs_root!("arp_and_icmp_pass");
    let node = Node::new();
    each(&node, None, |director, family, protocol| {
        let mut arp = vec![0xff; 6];
        arp.extend([2, 0, 0, 0, 0, 1, 0x08, 0x06]);
        arp.resize(60, 0);
        untouched(director, node.ifindex, &arp, Verdict::NotIp);
        let mut icmp = frame(family.flow(protocol));
        let (field, number) = if family.vip.is_ipv4() {
            (23, 1)
        } else {
            (20, 58)
        };
        icmp[field] = number;
        untouched(director, node.ifindex, &icmp, Verdict::OtherProtocol);
    });
}

#[test]
fn a_hop_limit_that_would_look_like_a_mark_is_not_sent_on() {
    needs_root!("a_hop_limit_that_would_look_like_a_mark_is_not_sent_on");
    let node = Node::new();
    each(&node, Some(0), |director, family, protocol| {
        for hop_limit in 0..=7 {
            let sent = shaped(
                family.flow(protocol),
                &Shape {
                    hop_limit,
                    ..Shape::default()
                },
            );
            untouched(director, node.ifindex, &sent, Verdict::HopLimit);
        }
    });
}

#[test]
fn a_hop_limit_of_one_does_not_reach_the_pods_network() {
    needs_root!("a_hop_limit_of_one_does_not_reach_the_pods_network");
    let node = Node::new();
    each(&node, None, |director, family, protocol| {
        for tcp in [SYN, SEGMENT] {
            let shape = Shape {
                hop_limit: 1,
                ..tcp.into()
            };
            let sent = shaped(family.flow(protocol), &shape);
            untouched(director, node.ifindex, &sent, Verdict::HopLimit);
        }
    });
}

#[test]
fn a_frame_for_another_mac_address_passes() {
    needs_root!("a_frame_for_another_mac_address_passes");
    let node = Node::new();
    for at in [None, Some(0)] {
        each(&node, at, |director, family, protocol| {
            for destination in [[0x02, 9, 9, 9, 9, 9], [0xff; 6], [0x33, 0x33, 0, 0, 0, 1]] {
                let shape = Shape {
                    destination,
                    ..Shape::default()
                };
                untouched(
                    director,
                    node.ifindex,
                    &shaped(family.flow(protocol), &shape),
                    Verdict::NotOurMac,
                );
            }
            // Right again, at the end: it was the address.
            let shape = Shape {
                destination: OWN,
                ..Shape::default()
            };
            assert_ne!(
                receive(
                    director,
                    node.ifindex,
                    &shaped(family.flow(protocol), &shape)
                )
                .verdict(),
                Verdict::NotOurMac
            );
        });
    }
}

#[test]
fn a_frontend_without_backends_passes() {
    needs_root!("a_frontend_without_backends_passes");
    let node = Node::new();
    let mut director = node.director();
    for family in families() {
        let mut desired = on(&[node.ifindex]);
        desired
            .frontends
            .insert(family.frontend(Protocol::Tcp), Arc::default());
        director.apply(&desired).unwrap();
        let sent = frame(family.flow(Protocol::Tcp));
        untouched(&mut director, node.ifindex, &sent, Verdict::NoBackend);
    }
}

#[test]
fn a_node_whose_mac_address_is_unknown_is_not_directed_to() {
    needs_root!("a_node_whose_mac_address_is_unknown_is_not_directed_to");
    let node = Node::new();
    let mut director = node.director();
    for family in families() {
        let remote = [(0, Some(0), BackendState::Active)];
        let mut desired = family.desired(Protocol::Tcp, node.ifindex, &remote);
        let hops = std::mem::take(&mut desired.hops);
        director.apply(&desired).unwrap();
        let flow = family.flow(Protocol::Tcp);
        untouched(&mut director, node.ifindex, &frame(flow), Verdict::NoHop);
        desired.hops = hops;
        director.apply(&desired).unwrap();
        // What began on the kernel's path stays there.
        for tcp in [SYN, SEGMENT, FIN, SEGMENT] {
            let sent = shaped(flow, &tcp.into());
            untouched(&mut director, node.ifindex, &sent, Verdict::KernelPath);
        }
        let other = family.from(Protocol::Tcp, 40_002);
        let ran = receive(&mut director, node.ifindex, &frame(other));
        assert_eq!(ran.verdict(), Verdict::Directed);
    }
}

#[test]
fn in_mid_connection_an_unknown_mac_address_means_a_delay_and_no_reset() {
    needs_root!("in_mid_connection_an_unknown_mac_address_means_a_delay_and_no_reset");
    let node = Node::new();
    let mut director = node.director();
    for family in families() {
        let remote = [(0, Some(0), BackendState::Active)];
        let mut desired = family.desired(Protocol::Tcp, node.ifindex, &remote);
        let hops = std::mem::take(&mut desired.hops);
        director.apply(&desired).unwrap();
        let sent = shaped(family.flow(Protocol::Tcp), &SEGMENT.into());
        let ran = receive(&mut director, node.ifindex, &sent);
        assert_eq!((ran.action, ran.verdict()), (DROP, Verdict::DropNoHop));
        desired.hops = hops;
        director.apply(&desired).unwrap();
        let ran = receive(&mut director, node.ifindex, &sent);
        assert_eq!(ran.verdict(), Verdict::Directed);
        // Not known yet, after a restart say: what was known goes on.
        desired.hops.values_mut().for_each(|hop| *hop = None);
        director.apply(&desired).unwrap();
        let ran = receive(&mut director, node.ifindex, &sent);
        assert_eq!(ran.verdict(), Verdict::Directed);
    }
}

#[test]
fn what_nothing_places_is_the_kernels() {
    needs_root!("what_nothing_places_is_the_kernels");
    let node = Node::new();
    each(&node, Some(0), |director, family, protocol| {
        let mut desired =
            family.desired(protocol, node.ifindex, &[(0, None, BackendState::Active)]);
        let vip = Arc::make_mut(
            desired
                .frontends
                .get_mut(&family.frontend(protocol))
                .unwrap(),
        );
        for backend in vip.backends.values_mut() {
            backend.placement = Placement::Unknown;
        }
        director.apply(&desired).unwrap();
        untouched(
            director,
            node.ifindex,
            &frame(family.flow(protocol)),
            Verdict::Unplaced,
        );
    });
}

#[test]
fn a_node_whose_director_is_going_is_sent_what_it_has_and_nothing_new() {
    needs_root!("a_node_whose_director_is_going_is_sent_what_it_has_and_nothing_new");
    let node = Node::new();
    let mut director = node.director();
    for family in families() {
        let mut desired = family.desired(
            Protocol::Tcp,
            node.ifindex,
            &[(0, Some(1), BackendState::Active)],
        );
        director.apply(&desired).unwrap();
        let vip = Arc::make_mut(
            desired
                .frontends
                .get_mut(&family.frontend(Protocol::Tcp))
                .unwrap(),
        );
        for backend in vip.backends.values_mut() {
            backend.placement = Placement::Leaving(family.nodes[1]);
        }
        director.apply(&desired).unwrap();
        let flow = family.from(Protocol::Tcp, 51_000);
        let ran = says(&mut director, node.ifindex, flow, SEGMENT);
        assert_eq!((ran.action, ran.verdict()), (TX, Verdict::Directed));
        assert_eq!(see(&ran.frame).destination_mac, HOPS[1]);
        let new = family.from(Protocol::Tcp, 51_001);
        let ran = says(&mut director, node.ifindex, new, SYN);
        assert_eq!((ran.action, ran.verdict()), (PASS, Verdict::Unplaced));
        // It has begun on the kernel's path, and stays there.
        let ran = says(&mut director, node.ifindex, new, SEGMENT);
        assert_eq!((ran.action, ran.verdict()), (PASS, Verdict::KernelPath));
    }
}

#[test]
fn a_client_port_that_already_reaches_the_pod_by_another_frontend_passes() {
    needs_root!("a_client_port_that_already_reaches_the_pod_by_another_frontend_passes");
    let node = Node::new();
    each(&node, None, |director, family, protocol| {
        let mut desired =
            family.desired(protocol, node.ifindex, &[(0, None, BackendState::Active)]);
        let mut second = family.frontend(protocol);
        second.port = 8081;
        let vip = desired.frontends[&family.frontend(protocol)].clone();
        desired.frontends.insert(second, vip);
        director.apply(&desired).unwrap();
        let first = receive(director, node.ifindex, &frame(family.flow(protocol)));
        assert_eq!(first.verdict(), Verdict::Delivered);
        let mut flow = family.flow(protocol);
        flow.to.set_port(8081);
        untouched(director, node.ifindex, &frame(flow), Verdict::Collision);
    });
}
