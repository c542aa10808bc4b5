//! The XDP program on exact bytes: what is directed, what is delivered, what its replies become.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

#[macro_use]
mod support;

use std::sync::Arc;

use landfall_bpf_lb::Verdict;
use landfall_bpf_lb::desired::{BackendState, Protocol};
use support::Node;
use support::frames::{CLIENT_MAC, Flow, SEGMENT, SYN_ACK, Shape, frame, see, shaped};
use support::run::{NEXT, PASS, REDIRECT, TX, receive, send};
use support::scene::{HOPS, each, families};
use support::talk::establish;

/// Shapes in which every packet must be understood.
fn shapes(ipv6: bool, protocol: Protocol) -> Vec<Shape> {
    let mut shapes = vec![Shape::default(), SEGMENT.into()];
    shapes.extend((0..=17).map(|length| Shape {
        payload: vec![0xa5; length],
        ..Shape::default()
    }));
    shapes.push(Shape {
        payload: (0..=250).cycle().take(1400).collect(),
        ..Shape::default()
    });
    shapes.push(Shape {
        hop_limit: 8,
        ..Shape::default()
    });
    shapes.push(Shape {
        hop_limit: 255,
        ..Shape::default()
    });
    shapes.extend([vec![7], vec![7, 4095]].map(|tags| Shape {
        tags,
        ..Shape::default()
    }));
    if ipv6 {
        let chains = [
            vec![0],
            vec![60],
            vec![43],
            vec![0, 60],
            vec![0, 60, 43, 60],
        ];
        shapes.extend(chains.map(|extensions| Shape {
            extensions,
            ..Shape::default()
        }));
    } else {
        let options = [vec![1, 1, 1, 0], vec![1; 40]];
        shapes.extend(options.map(|options| Shape {
            options,
            ..Shape::default()
        }));
    }
    if protocol == Protocol::Udp {
        shapes.push(Shape {
            tags: vec![7],
            payload: vec![1],
            ..Shape::default()
        });
    }
    shapes
}

#[test]
fn a_remote_backends_packet_gets_new_ethernet_addresses_and_a_lower_hop_limit() {
    needs_root!("a_remote_backends_packet_gets_new_ethernet_addresses_and_a_lower_hop_limit");
    let node = Node::new();
    each(&node, Some(0), |director, family, protocol| {
        for shape in shapes(family.vip.is_ipv6(), protocol) {
            let sent = shaped(family.flow(protocol), &shape);
            let ran = receive(director, node.ifindex, &sent);
            assert_eq!(
                (ran.action, ran.verdict()),
                (TX, Verdict::Directed),
                "{shape:?}"
            );
            let (before, after) = (see(&sent), see(&ran.frame));
            assert_eq!(after.destination_mac, HOPS[0]);
            assert_eq!(after.source_mac, support::OWN);
            assert_eq!(after.hop_limit, before.hop_limit - 1);
            assert_eq!((after.from, after.to), (before.from, before.to));
            assert_eq!(after.checksum, before.checksum);
            assert_eq!((after.payload, after.tags), (before.payload, before.tags));
        }
    });
}

#[test]
fn a_local_backends_packet_becomes_the_pods_and_its_replies_the_vips() {
    needs_root!("a_local_backends_packet_becomes_the_pods_and_its_replies_the_vips");
    let node = Node::new();
    let mut port = 41_000;
    each(&node, None, |director, family, protocol| {
        for shape in shapes(family.vip.is_ipv6(), protocol) {
            // A connection of its own, opened or under way.
            port += 1;
            let flow = family.from(protocol, port);
            if !shape.tcp.syn {
                assert_eq!(establish(director, node.ifindex, flow), family.pods[0]);
            }
            let sent = shaped(flow, &shape);
            let ran = receive(director, node.ifindex, &sent);
            assert_eq!(
                (ran.action, ran.verdict()),
                (PASS, Verdict::Delivered),
                "{shape:?}"
            );
            let (before, after) = (see(&sent), see(&ran.frame));
            assert_eq!((after.from, after.to), (flow.client, family.pods[0]));
            assert_eq!(after.hop_limit, before.hop_limit);
            assert_eq!((after.payload, after.tags), (before.payload, before.tags));
            assert_eq!(
                (after.source_mac, after.destination_mac),
                (CLIENT_MAC, support::OWN)
            );

            let tcp = if shape.tcp.syn { SYN_ACK } else { SEGMENT };
            let reply = Flow {
                client: family.pods[0],
                to: flow.client,
                protocol,
            };
            let reply = shaped(reply, &Shape { tcp, ..shape });
            let ran = send(director, &reply);
            assert_eq!((ran.action, ran.verdict()), (NEXT, Verdict::ReplyRewritten));
            let (before, after) = (see(&reply), see(&ran.frame));
            assert_eq!((after.from, after.to), (family.vip, flow.client));
            assert_eq!(
                (after.payload, after.hop_limit),
                (before.payload, before.hop_limit)
            );
        }
    });
}

#[test]
fn a_udp_checksum_of_zero_stays_zero_both_ways() {
    needs_root!("a_udp_checksum_of_zero_stays_zero_both_ways");
    let node = Node::new();
    let [family, _] = families();
    let mut director = node.director();
    let local = [(0, None, BackendState::Active)];
    director
        .apply(&family.desired(Protocol::Udp, node.ifindex, &local))
        .unwrap();
    let without = |flow| {
        let mut frame = frame(flow);
        frame[40..42].copy_from_slice(&[0, 0]);
        frame
    };
    let ran = receive(
        &mut director,
        node.ifindex,
        &without(family.flow(Protocol::Udp)),
    );
    assert_eq!(ran.verdict(), Verdict::Delivered);
    assert_eq!(see(&ran.frame).checksum, 0);
    assert_eq!(see(&ran.frame).to, family.pods[0]);
    let ran = send(&mut director, &without(family.reply(Protocol::Udp)));
    assert_eq!(ran.verdict(), Verdict::ReplyRewritten);
    assert_eq!(see(&ran.frame).checksum, 0);
    assert_eq!(see(&ran.frame).from, family.vip);
}

#[test]
fn checksums_stay_exact_over_every_client_port() {
    needs_root!("checksums_stay_exact_over_every_client_port");
    let node = Node::new();
    let mut director = node.director();
    for family in families() {
        let local = [(0, None, BackendState::Active)];
        director
            .apply(&family.desired(Protocol::Udp, node.ifindex, &local))
            .unwrap();
        let at = |flow: Flow, port| {
            let mut flow = flow;
            flow.client.set_port(port);
            flow
        };
        let sum = |flow| see(&frame(flow)).checksum;
        let pod = |flow| Flow {
            to: family.pods[0],
            ..flow
        };
        // A sum of zero is written as all ones. Every port at which that happens, before or behind the
        // translation, and every seventeenth of the others.
        let flow = family.flow(Protocol::Udp);
        let ones = |port: &u16| {
            [at(flow, *port), pod(at(flow, *port))]
                .map(sum)
                .contains(&0xffff)
        };
        let special: Vec<u16> = (1..=u16::MAX).filter(ones).collect();
        assert!(special.iter().any(|port| sum(at(flow, *port)) == 0xffff));
        assert!(
            special
                .iter()
                .any(|port| sum(pod(at(flow, *port))) == 0xffff)
        );
        for port in (1..=u16::MAX).step_by(17).chain(special) {
            let ran = receive(&mut director, node.ifindex, &frame(at(flow, port)));
            assert_eq!(ran.verdict(), Verdict::Delivered);
            assert_eq!(see(&ran.frame).checksum, sum(pod(at(flow, port))), "{port}");
            let mut reply = family.reply(Protocol::Udp);
            reply.to.set_port(port);
            let ran = send(&mut director, &frame(reply));
            assert_eq!(ran.verdict(), Verdict::ReplyRewritten);
            let whole = Flow {
                client: family.vip,
                ..reply
            };
            assert_eq!(see(&ran.frame).checksum, sum(whole), "reply to {port}");
        }
    }
}

#[test]
fn a_hop_behind_another_interface_is_redirected_to() {
    needs_root!("a_hop_behind_another_interface_is_redirected_to");
    let node = Node::new();
    let mut director = node.director();
    for family in families() {
        let remote = [(0, Some(0), BackendState::Active)];
        let mut desired = family.desired(Protocol::Tcp, node.other, &remote);
        desired.interfaces = support::on(&[node.ifindex, node.other]).interfaces;
        director.apply(&desired).unwrap();
        let ran = receive(
            &mut director,
            node.ifindex,
            &frame(family.flow(Protocol::Tcp)),
        );
        assert_eq!(
            (ran.action, ran.verdict()),
            (REDIRECT, Verdict::DirectedElsewhere)
        );
        assert_eq!(see(&ran.frame).destination_mac, HOPS[0]);
        let tags = vec![7];
        let tagged = shaped(
            family.flow(Protocol::Tcp),
            &Shape {
                tags,
                ..Shape::default()
            },
        );
        let ran = receive(&mut director, node.ifindex, &tagged);
        assert_eq!((ran.action, ran.verdict()), (PASS, Verdict::Tagged));
        assert_eq!(ran.frame, tagged);
    }
}

#[test]
fn a_frame_that_comes_in_by_a_member_of_a_bond_is_the_bonds() {
    needs_root!("a_frame_that_comes_in_by_a_member_of_a_bond_is_the_bonds");
    let node = Node::new();
    let mut director = node.director();
    for family in families() {
        for (at, action, verdict) in [
            (Some(0), TX, Verdict::Directed),
            (None, PASS, Verdict::Delivered),
        ] {
            let backends = [(0, at, BackendState::Active)];
            let mut desired = family.desired(Protocol::Udp, node.ifindex, &backends);
            let bond = desired.interfaces.get_mut(&node.ifindex).unwrap();
            bond.members = [node.other].into();
            director.apply(&desired).unwrap();
            let sent = frame(family.flow(Protocol::Udp));
            let ran = receive(&mut director, node.other, &sent);
            assert_eq!((ran.action, ran.verdict()), (action, verdict));
        }
        // A member that has left is no part of it any more.
        let remote = [(0, Some(0), BackendState::Active)];
        let desired = family.desired(Protocol::Udp, node.ifindex, &remote);
        director.apply(&desired).unwrap();
        let ran = receive(
            &mut director,
            node.other,
            &frame(family.flow(Protocol::Udp)),
        );
        assert_eq!(ran.verdict(), Verdict::NotOurMac);
    }
}

#[test]
fn a_node_whose_own_mac_address_changes_directs_with_the_new_one() {
    needs_root!("a_node_whose_own_mac_address_changes_directs_with_the_new_one");
    let node = Node::new();
    let mut director = node.director();
    let [family, _] = families();
    let remote = [(0, Some(0), BackendState::Active)];
    let mut desired = family.desired(Protocol::Tcp, node.ifindex, &remote);
    director.apply(&desired).unwrap();
    let destination = [0x02, 0x4c, 0x46, 0, 0, 0x99];
    desired.interfaces.get_mut(&node.ifindex).unwrap().mac = destination;
    director.apply(&desired).unwrap();
    let sent = shaped(
        family.flow(Protocol::Tcp),
        &Shape {
            destination,
            ..Shape::default()
        },
    );
    let ran = receive(&mut director, node.ifindex, &sent);
    assert_eq!(ran.verdict(), Verdict::Directed);
    assert_eq!(see(&ran.frame).source_mac, destination);
}

#[test]
fn a_reply_of_no_tracked_connection_is_left_alone() {
    needs_root!("a_reply_of_no_tracked_connection_is_left_alone");
    let node = Node::new();
    each(&node, None, |director, family, protocol| {
        receive(director, node.ifindex, &frame(family.flow(protocol)));
        let elsewhere = "198.51.100.8:40001".parse().unwrap();
        let elsewhere6 = "[2001:db8:ffff::8]:40001".parse().unwrap();
        let to = if family.vip.is_ipv6() {
            elsewhere6
        } else {
            elsewhere
        };
        let sent = frame(Flow {
            client: family.pods[0],
            to,
            protocol,
        });
        let ran = send(director, &sent);
        assert_eq!((ran.action, ran.verdict()), (NEXT, Verdict::ReplyUntracked));
        assert_eq!(ran.frame, sent);
    });
}

#[test]
fn affinity_sends_all_ports_of_a_client_to_one_backend() {
    needs_root!("affinity_sends_all_ports_of_a_client_to_one_backend");
    let node = Node::new();
    let mut director = node.director();
    for family in families() {
        let remote = [
            (0, Some(0), BackendState::Active),
            (1, Some(1), BackendState::Active),
        ];
        let mut desired = family.desired(Protocol::Tcp, node.ifindex, &remote);
        for affinity in [false, true] {
            for vip in desired.frontends.values_mut() {
                Arc::make_mut(vip).client_ip_affinity = affinity;
            }
            director.apply(&desired).unwrap();
            let mut reached = std::collections::BTreeSet::new();
            for port in 40_000..40_100 {
                let mut flow = family.flow(Protocol::Tcp);
                flow.client.set_port(port);
                reached.insert(
                    see(&receive(&mut director, node.ifindex, &frame(flow)).frame).destination_mac,
                );
            }
            assert_eq!(reached.len(), if affinity { 1 } else { 2 });
        }
    }
}

#[test]
fn ports_that_all_meet_one_pod_spread_in_a_cluster_with_another_seed() {
    needs_root!("ports_that_all_meet_one_pod_spread_in_a_cluster_with_another_seed");
    for family in families() {
        // Those that meet the first of two pods, of the ports to be tried.
        let choices = move |seed: u64, ports: Vec<u16>| {
            let chosen = move || -> Vec<u16> {
                let mut node = Node::new();
                node.settings.seed = seed;
                let mut director = node.director();
                let backends = [
                    (0, None, BackendState::Active),
                    (1, Some(1), BackendState::Active),
                ];
                director
                    .apply(&family.desired(Protocol::Tcp, node.ifindex, &backends))
                    .unwrap();
                let is_first = |port: &u16| {
                    let mut flow = family.flow(Protocol::Tcp);
                    flow.client.set_port(*port);
                    let ran = receive(&mut director, node.ifindex, &frame(flow));
                    ran.verdict() == Verdict::Delivered
                };
                ports.into_iter().filter(is_first).collect()
            };
            // In namespaces of its own.
            std::thread::spawn(chosen).join().unwrap()
        };
        let aimed = choices(0, (1..1_000).collect());
        assert!((400..600).contains(&aimed.len()), "{}", aimed.len());
        let met = choices(0x5eed, aimed.clone()).len();
        assert!(
            (aimed.len() / 3..aimed.len() * 2 / 3).contains(&met),
            "{met}"
        );
        assert_eq!(choices(0, aimed.clone()), aimed);
    }
}

#[test]
fn two_nodes_choose_the_same_backend_for_every_flow() {
    needs_root!("two_nodes_choose_the_same_backend_for_every_flow");
    // The second backend's node sees it as its own, and must deliver just what the first sends it.
    let [family, _] = families();
    let choices = |at: [Option<usize>; 2]| {
        std::thread::spawn(move || {
            let node = Node::new();
            let mut director = node.director();
            let backends = [
                (0, at[0], BackendState::Active),
                (1, at[1], BackendState::Active),
            ];
            director
                .apply(&family.desired(Protocol::Tcp, node.ifindex, &backends))
                .unwrap();
            let choose = |port| {
                let mut flow = family.flow(Protocol::Tcp);
                flow.client.set_port(port);
                receive(&mut director, node.ifindex, &frame(flow)).verdict() == Verdict::Delivered
            };
            (1..2_000).map(choose).collect::<Vec<bool>>()
        })
        .join()
        .unwrap()
    };
    let first: Vec<bool> = choices([None, Some(1)]);
    let second: Vec<bool> = choices([Some(0), None]);
    assert!(
        first
            .iter()
            .zip(&second)
            .all(|(first, second)| first != second)
    );
    assert!(first.contains(&true) && second.contains(&true));
}
