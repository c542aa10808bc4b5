//! A frontend comes while the kernel carries its connections, and goes while the programs do.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

#[macro_use]
mod support;

use landfall_bpf_lb::desired::{BackendState, Desired, Protocol};
use landfall_bpf_lb::{Director, Verdict};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_netfilter::conntrack::{
    ConntrackAttribute, ConntrackMessage, IPTuple, ProtoInfo, ProtoInfoTCP, ProtoTuple, Tuple,
};
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterProtoFamily};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr as Kernel};
use std::collections::BTreeSet;
use support::frames::{FIN, Flow, SEGMENT, SYN, see};
use support::run::PASS;
use support::scene::{Family, PROTOCOLS, families};
use support::talk::{answers, establish, reached, says};
use support::{Node, on};

use BackendState::Active;

const HERE: [(usize, Option<usize>, BackendState); 1] = [(0, None, Active)];
const THERE: [(usize, Option<usize>, BackendState); 1] = [(0, Some(0), Active)];

/// The kernel of this network namespace carries the client's packets on `flow`, to `pod`.
fn kernel_carries(flow: Flow, pod: std::net::SocketAddr) {
    let tuple = |from: std::net::SocketAddr, to: std::net::SocketAddr| {
        vec![
            Tuple::Ip(vec![
                IPTuple::SourceAddress(from.ip()),
                IPTuple::DestinationAddress(to.ip()),
            ]),
            Tuple::Proto(vec![
                ProtoTuple::Protocol((flow.protocol as u8).into()),
                ProtoTuple::SourcePort(from.port()),
                ProtoTuple::DestinationPort(to.port()),
            ]),
        ]
    };
    let mut attributes = vec![
        ConntrackAttribute::CtaTupleOrig(tuple(flow.client, flow.to)),
        ConntrackAttribute::CtaTupleReply(tuple(pod, flow.client)),
        ConntrackAttribute::CtaTimeout(600),
    ];
    if flow.protocol == Protocol::Tcp {
        let established = ProtoInfo::TCP(vec![ProtoInfoTCP::State(3)]);
        attributes.push(ConntrackAttribute::CtaProtoInfo(vec![established]));
    }
    let family = if flow.to.is_ipv4() {
        NetfilterProtoFamily::IPv4
    } else {
        NetfilterProtoFamily::IPv6
    };
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK;
    let message = NetfilterMessage::new(
        NetfilterHeader::new(family, 0, 0),
        ConntrackMessage::New(attributes),
    );
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    let mut socket = Socket::new(NETLINK_NETFILTER).unwrap();
    socket.bind_auto().unwrap();
    socket.connect(&Kernel::new(0, 0)).unwrap();
    socket.send(&bytes, 0).unwrap();
    let mut answer = vec![0; 4096];
    let length = socket.recv(&mut &mut answer[..], 0).unwrap();
    let answer = NetlinkMessage::<NetfilterMessage>::deserialize(&answer[..length]).unwrap();
    match answer.payload {
        NetlinkPayload::Error(error) => assert_eq!(error.raw_code(), 0, "{error}"),
        other => panic!("{other:?}"),
    }
}

/// Every family and protocol; they share nothing but the node.
fn every_kind(mut check: impl FnMut(&Node, &mut Director, Family, Protocol)) {
    let node = Node::new();
    let mut director = node.director();
    for family in families() {
        for protocol in PROTOCOLS {
            check(&node, &mut director, family, protocol);
        }
    }
}

#[test]
fn what_the_kernel_carries_stays_its_own_when_a_frontend_comes() {
    needs_root!("what_the_kernel_carries_stays_its_own_when_a_frontend_comes");
    for (backends, port) in [(HERE, 41_000), (THERE, 42_000)] {
        every_kind(|node, director, family, protocol| {
            let flow = family.from(protocol, port);
            kernel_carries(flow, family.pods[1]);
            kernel_carries(family.from(protocol, port + 1), family.pods[1]);
            let desired = family.desired(protocol, node.ifindex, &backends);
            let applied = director.apply(&desired).unwrap();
            assert!(applied.unlearned.is_none(), "{:?}", applied.unlearned);
            for _ in 0..2 {
                let ran = says(director, node.ifindex, flow, SEGMENT);
                assert_eq!((ran.action, ran.verdict()), (PASS, Verdict::KernelPath));
                assert_eq!(see(&ran.frame).to, family.vip, "untouched");
            }
            // The kernel knows whether a SYN begins another one.
            if protocol == Protocol::Tcp {
                let ran = says(director, node.ifindex, flow, SYN);
                assert_eq!(ran.verdict(), Verdict::KernelPath);
            }
            // What it does not carry is not its own.
            let ran = says(
                director,
                node.ifindex,
                family.from(protocol, port + 2),
                SEGMENT,
            );
            assert_ne!(ran.verdict(), Verdict::KernelPath);
        });
    }
}

#[test]
fn what_the_kernel_carries_on_an_interface_stays_its_own_when_that_is_attached_to() {
    needs_root!("what_the_kernel_carries_on_an_interface_stays_its_own_when_that_is_attached_to");
    let node = Node::new();
    let mut director = node.director();
    let [family, _] = families();
    let desired = family.desired(Protocol::Tcp, node.ifindex, &HERE);
    director.apply(&desired).unwrap();
    let flow = family.from(Protocol::Tcp, 41_000);
    kernel_carries(flow, family.pods[1]);
    let both = Desired {
        interfaces: on(&[node.ifindex, node.other]).interfaces,
        ..desired
    };
    director.apply(&both).unwrap();
    let ran = says(&mut director, node.other, flow, SEGMENT);
    assert_eq!(ran.verdict(), Verdict::KernelPath);
}

#[test]
fn a_frontend_that_goes_keeps_its_connections_and_leaves_new_ones_to_the_kernel() {
    needs_root!("a_frontend_that_goes_keeps_its_connections_and_leaves_new_ones_to_the_kernel");
    every_kind(|node, director, family, protocol| {
        director
            .apply(&family.desired(protocol, node.ifindex, &HERE))
            .unwrap();
        let flow = family.flow(protocol);
        let pod = establish(director, node.ifindex, flow);
        let nothing = Desired {
            pods: [pod.ip()].into(),
            ..Desired::default()
        };
        let applied = director.apply(&nothing).unwrap();
        assert_eq!(applied.draining[&family.frontend(protocol)].here, 1);
        for _ in 0..2 {
            assert_eq!(reached(&says(director, node.ifindex, flow, SEGMENT)), pod);
            let reply = answers(director, flow, pod, SEGMENT);
            assert_eq!(see(&reply.frame).from, family.vip);
            if protocol == Protocol::Udp {
                break;
            }
            // Also after the process that knew it.
            *director = Director::load(&node.settings).unwrap();
            director.apply(&nothing).unwrap();
            director.sweep().unwrap();
        }
        let new = family.from(protocol, 41_000);
        let first = says(director, node.ifindex, new, SYN);
        assert_eq!(first.verdict(), Verdict::Closed);
        let next = says(director, node.ifindex, new, SEGMENT).verdict();
        let expected = match protocol {
            Protocol::Tcp => Verdict::KernelPath,
            Protocol::Udp => Verdict::Closed,
        };
        assert_eq!(next, expected);
        assert!(director.interfaces().unwrap().contains(&node.ifindex));
    });
}

#[test]
fn a_frontend_whose_backends_go_before_it_does_keeps_its_connections() {
    needs_root!("a_frontend_whose_backends_go_before_it_does_keeps_its_connections");
    every_kind(|node, director, family, protocol| {
        let served = family.desired(protocol, node.ifindex, &HERE);
        director.apply(&served).unwrap();
        let flow = family.flow(protocol);
        let pod = establish(director, node.ifindex, flow);
        let pods: BTreeSet<_> = [pod.ip()].into();
        let emptied = Desired {
            pods: pods.clone(),
            ..family.desired(protocol, node.ifindex, &[])
        };
        let removed = Desired {
            pods,
            ..Desired::default()
        };
        for going in [&emptied, &removed, &emptied, &served] {
            director.apply(going).unwrap();
            assert_eq!(reached(&says(director, node.ifindex, flow, SEGMENT)), pod);
            let reply = answers(director, flow, pod, SEGMENT);
            assert_eq!(see(&reply.frame).from, family.vip);
        }
        establish(director, node.ifindex, family.from(protocol, 41_000));
    });
}

#[test]
fn whoever_asks_is_told_which_addresses_there_are_connections_of() {
    needs_root!("whoever_asks_is_told_which_addresses_there_are_connections_of");
    every_kind(|node, director, family, protocol| {
        // The other protocol's connection would be to the same address.
        if protocol == Protocol::Udp {
            return;
        }
        let mut desired = family.desired(protocol, node.ifindex, &HERE);
        director.apply(&desired).unwrap();
        let carried = |director: &mut Director, desired: &Desired| {
            let carried = director.apply(desired).unwrap().carried;
            carried.contains(&family.vip.ip())
        };
        desired.is_asked = true;
        assert!(!carried(director, &desired));
        let flow = family.flow(protocol);
        establish(director, node.ifindex, flow);
        assert!(carried(director, &desired));
        desired.is_asked = false;
        assert!(!carried(director, &desired), "nobody has asked");
    });
}

#[test]
fn a_frontend_that_goes_is_still_directed_to_where_its_connections_are() {
    needs_root!("a_frontend_that_goes_is_still_directed_to_where_its_connections_are");
    every_kind(|node, director, family, protocol| {
        director
            .apply(&family.desired(protocol, node.ifindex, &THERE))
            .unwrap();
        let flow = family.flow(protocol);
        let before = says(director, node.ifindex, flow, SEGMENT);
        assert_eq!(before.verdict(), Verdict::Directed);
        let applied = director.apply(&Desired::default()).unwrap();
        let leaving = &applied.draining[&family.frontend(protocol)];
        assert_eq!(
            (leaving.here, &leaving.nodes),
            (0, &[family.nodes[0]].into())
        );
        let after = says(director, node.ifindex, flow, SEGMENT);
        assert_eq!(after, before);
    });
}

#[test]
fn one_that_is_wanted_again_takes_new_connections_and_keeps_those_of_the_kernel() {
    needs_root!("one_that_is_wanted_again_takes_new_connections_and_keeps_those_of_the_kernel");
    every_kind(|node, director, family, protocol| {
        if protocol == Protocol::Udp {
            return;
        }
        let desired = family.desired(protocol, node.ifindex, &HERE);
        director.apply(&desired).unwrap();
        let flow = family.flow(protocol);
        let pod = establish(director, node.ifindex, flow);
        director.apply(&Desired::default()).unwrap();
        let kernels = family.from(protocol, 41_000);
        says(director, node.ifindex, kernels, SYN);
        says(director, node.ifindex, kernels, SEGMENT);
        director.apply(&desired).unwrap();
        assert_eq!(reached(&says(director, node.ifindex, flow, FIN)), pod);
        let ran = says(director, node.ifindex, kernels, SEGMENT);
        assert_eq!(ran.verdict(), Verdict::KernelPath);
        establish(director, node.ifindex, family.from(protocol, 41_002));
    });
}
