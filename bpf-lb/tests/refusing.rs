//! What falls to nobody is refused: a new connection by a reset, anything else by silence.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

#[macro_use]
mod support;

use std::sync::Arc;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{SlicedPacket, TransportSlice};
use landfall_bpf_lb::desired::{
    Backend, BackendState, Desired, Endpoint, Placement, PodId, Protocol,
};
use landfall_bpf_lb::{Director, Verdict};
use support::frames::{CLIENT_MAC, SEGMENT, SYN, SYN_ACK, Shape, frame, see, shaped};
use support::run::{DROP, PASS, TX, receive, send};
use support::scene::{Family, HOPS, PROTOCOLS, families};
use support::{Node, OWN, at_tc, on};

/// What is nobody's, besides these pods.
fn nobodys(
    family: Family,
    protocol: Protocol,
    ifindex: u32,
    pods: &[(usize, Option<usize>, BackendState)],
) -> Desired {
    let mut desired = family.desired(protocol, ifindex, pods);
    let address: IpAddr = if family.vip.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let nobody = Backend {
        pod: PodId::default(),
        placement: Placement::Nobody,
        weight: 1,
        state: BackendState::Active,
    };
    let vip = Arc::make_mut(
        desired
            .frontends
            .get_mut(&family.frontend(protocol))
            .unwrap(),
    );
    vip.backends.insert(Endpoint { address, port: 0 }, nobody);
    desired
}

fn each(mut check: impl FnMut(&mut Director, u32, Family, Protocol)) {
    let node = Node::new();
    let mut director = node.director();
    for family in families() {
        for protocol in PROTOCOLS {
            let desired = nobodys(family, protocol, node.ifindex, &[]);
            let applied = director.apply(&desired).unwrap();
            assert!(applied.refused.is_empty(), "{:?}", applied.refused);
            check(&mut director, node.ifindex, family, protocol);
        }
    }
}

fn dropped(director: &mut Director, ifindex: u32, sent: &[u8]) {
    let ran = receive(director, ifindex, sent);
    assert_eq!((ran.action, ran.verdict()), (DROP, Verdict::DropRefused));
}

#[test]
fn a_new_connection_to_nobody_is_reset_as_a_host_does() {
    needs_root!("a_new_connection_to_nobody_is_reset_as_a_host_does");
    each(|director, ifindex, family, protocol| {
        for (sequence, tags) in [(1_u32, vec![]), (u32::MAX, vec![7])] {
            let mut tcp = SYN;
            tcp.sequence = sequence;
            let shape = Shape {
                tags: tags.clone(),
                ..tcp.into()
            };
            let sent = shaped(family.flow(protocol), &shape);
            if protocol == Protocol::Udp {
                dropped(director, ifindex, &sent);
                continue;
            }
            let ran = receive(director, ifindex, &sent);
            assert_eq!((ran.action, ran.verdict()), (TX, Verdict::Refused));
            if at_tc() {
                assert!(ran.frame.len() < sent.len(), "cut behind the reset");
            } else {
                assert_eq!(ran.frame.len(), sent.len());
            }
            // All checksums are compared with recomputed ones.
            let seen = see(&ran.frame);
            assert_eq!((seen.source_mac, seen.destination_mac), (OWN, CLIENT_MAC));
            assert_eq!((seen.from, seen.to), (family.vip, family.client));
            assert_eq!((seen.hop_limit, seen.tags), (64, tags.len()));
            assert!(seen.payload.is_empty(), "what is left over is padding");
            let packet = SlicedPacket::from_ethernet(&ran.frame).unwrap();
            let Some(TransportSlice::Tcp(reset)) = packet.transport else {
                panic!("no TCP segment");
            };
            assert!(reset.rst() && reset.ack() && !reset.syn() && !reset.fin());
            assert_eq!(reset.sequence_number(), 0);
            assert_eq!(reset.acknowledgment_number(), sequence.wrapping_add(1));
            assert_eq!((reset.window_size(), reset.data_offset()), (0, 5));
        }
    });
}

#[test]
fn nothing_else_is_answered() {
    needs_root!("nothing_else_is_answered");
    each(|director, ifindex, family, protocol| {
        let flow = family.flow(protocol);
        let odd = if family.vip.is_ipv4() {
            Shape {
                options: vec![1; 4],
                ..Shape::default()
            }
        } else {
            Shape {
                extensions: vec![60],
                ..Shape::default()
            }
        };
        let sent_on = Shape {
            source: HOPS[0],
            hop_limit: 6,
            ..Shape::default()
        };
        for shape in [odd, sent_on, SEGMENT.into(), SYN_ACK.into()] {
            dropped(director, ifindex, &shaped(flow, &shape));
        }
        let elsewhere = Shape {
            destination: HOPS[1],
            ..Shape::default()
        };
        let sent = shaped(flow, &elsewhere);
        let ran = receive(director, ifindex, &sent);
        assert_eq!((ran.action, ran.verdict()), (PASS, Verdict::NotOurMac));
        assert_eq!(ran.frame, sent);
    });
}

#[test]
fn what_a_node_or_its_pods_send_of_their_own_is_answered() {
    needs_root!("what_a_node_or_its_pods_send_of_their_own_is_answered");
    each(|director, ifindex, family, protocol| {
        let shape = Shape {
            source: HOPS[0],
            ..Shape::default()
        };
        if protocol == Protocol::Tcp {
            let ran = receive(director, ifindex, &shaped(family.flow(protocol), &shape));
            assert_eq!((ran.action, ran.verdict()), (TX, Verdict::Refused));
            assert_eq!(see(&ran.frame).destination_mac, HOPS[0]);
        }
    });
}

#[test]
fn nobody_has_its_share_and_no_more() {
    needs_root!("nobody_has_its_share_and_no_more");
    let node = Node::new();
    let mut director = node.director();
    for family in families() {
        let pods = [(0, None, BackendState::Active)];
        let desired = nobodys(family, Protocol::Tcp, node.ifindex, &pods);
        director.apply(&desired).unwrap();
        let mut counted = [0, 0];
        for port in 20_000..20_400 {
            let sent = frame(family.from(Protocol::Tcp, port));
            match receive(&mut director, node.ifindex, &sent).verdict() {
                Verdict::Delivered => counted[0] += 1,
                Verdict::Refused => counted[1] += 1,
                other => panic!("{other:?}"),
            }
        }
        assert!(counted.iter().all(|one| *one > 120), "{counted:?}");
    }
}

#[test]
fn a_connection_goes_on_where_its_slot_has_become_nobodys() {
    needs_root!("a_connection_goes_on_where_its_slot_has_become_nobodys");
    let node = Node::new();
    let mut director = node.director();
    for family in families() {
        let protocol = Protocol::Tcp;
        let flow = family.flow(protocol);
        let active = family.desired(protocol, node.ifindex, &[(0, None, BackendState::Active)]);
        director.apply(&active).unwrap();
        let opened = receive(&mut director, node.ifindex, &frame(flow));
        assert_eq!(opened.verdict(), Verdict::Delivered);
        send(
            &mut director,
            &shaped(family.reply(protocol), &SYN_ACK.into()),
        );
        let unready = [(0, None, BackendState::Unready)];
        let desired = nobodys(family, protocol, node.ifindex, &unready);
        director.apply(&desired).unwrap();
        let segment = shaped(flow, &SEGMENT.into());
        let ran = receive(&mut director, node.ifindex, &segment);
        assert_eq!(ran.action, PASS);
        assert_eq!(see(&ran.frame).to, family.pods[0]);
        let another = frame(family.from(protocol, 40_002));
        let ran = receive(&mut director, node.ifindex, &another);
        assert_eq!(ran.verdict(), Verdict::Refused);
    }
    director.apply(&on(&[node.ifindex])).unwrap();
}
