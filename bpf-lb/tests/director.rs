//! The XDP program on exact bytes: what is directed, what is delivered, what is left alone.

mod support;

use std::net::{IpAddr, SocketAddr};

use landfall_bpf_lb::desired::{
    Backend, BackendState, Desired, Endpoint, Frontend, Hop, Placement, Protocol, Vip,
};
use landfall_bpf_lb::{Director, Verdict};
use support::frames::{CLIENT_MAC, Flow, Shape, frame, see, shaped};
use support::run::{PASS, REDIRECT, TX, receive, send};
use support::{Node, OWN, skipped};

const HOP_MAC: [u8; 6] = [0x02, 0x4c, 0x46, 0, 0, 2];
const PROTOCOLS: [Protocol; 2] = [Protocol::Tcp, Protocol::Udp];

/// The addresses of one family.
#[derive(Clone, Copy)]
struct Family {
    client: SocketAddr,
    vip: SocketAddr,
    pod: SocketAddr,
    node: IpAddr,
}

fn families() -> [Family; 2] {
    let family = |client: &str, vip: &str, pod: &str, node: &str| Family {
        client: client.parse().unwrap(),
        vip: vip.parse().unwrap(),
        pod: pod.parse().unwrap(),
        node: node.parse().unwrap(),
    };
    [
        family(
            "198.51.100.7:40001",
            "192.0.2.10:80",
            "10.244.1.5:10080",
            "192.0.2.2",
        ),
        family(
            "[2001:db8:ffff::7]:40001",
            "[2001:db8::10]:80",
            "[fd00:10:244:1::5]:10080",
            "2001:db8::2",
        ),
    ]
}

impl Family {
    fn flow(&self, protocol: Protocol) -> Flow {
        Flow {
            client: self.client,
            to: self.vip,
            protocol,
        }
    }
}

fn desired(family: &Family, protocol: Protocol, placement: Placement, ifindex: u32) -> Desired {
    let mut desired = Desired::default();
    let backend = Backend {
        placement,
        weight: 1,
        state: BackendState::Active,
    };
    let endpoint = Endpoint {
        address: family.pod.ip(),
        port: family.pod.port(),
    };
    let frontend = Frontend {
        address: family.vip.ip(),
        port: family.vip.port(),
        protocol,
    };
    desired.frontends.insert(
        frontend,
        Vip {
            backends: [(endpoint, backend)].into(),
            client_ip_affinity: false,
        },
    );
    desired.hops.insert(
        family.node,
        Hop {
            mac: HOP_MAC,
            ifindex,
        },
    );
    desired
}

/// A director whose only backend is at `placement`, for every family and protocol in turn.
fn each(node: &Node, remote: bool, mut check: impl FnMut(&mut Director, Family, Protocol)) {
    let mut director = node.director();
    for family in families() {
        for protocol in PROTOCOLS {
            let placement = if remote {
                Placement::Remote(family.node)
            } else {
                Placement::Local
            };
            director
                .apply(&desired(&family, protocol, placement, node.ifindex))
                .unwrap();
            check(&mut director, family, protocol);
        }
    }
}

#[test]
fn a_remote_backends_packet_gets_new_ethernet_addresses_and_a_lower_hop_limit() {
    if skipped("a_remote_backends_packet_gets_new_ethernet_addresses_and_a_lower_hop_limit") {
        return;
    }
    let node = Node::new();
    each(&node, true, |director, family, protocol| {
        let sent = frame(family.flow(protocol));
        let ran = receive(director, node.ifindex, &sent);
        assert_eq!((ran.action, ran.verdict()), (TX, Verdict::Directed));
        let (before, after) = (see(&sent), see(&ran.frame));
        assert_eq!(after.destination_mac, HOP_MAC);
        assert_eq!(after.source_mac, OWN);
        assert_eq!(after.hop_limit, before.hop_limit - 1);
        assert_eq!((after.from, after.to), (before.from, before.to));
        assert_eq!(after.checksum, before.checksum);
        assert_eq!(after.payload, before.payload);
    });
}

#[test]
fn a_local_backends_packet_becomes_the_pods() {
    if skipped("a_local_backends_packet_becomes_the_pods") {
        return;
    }
    let node = Node::new();
    each(&node, false, |director, family, protocol| {
        let sent = frame(family.flow(protocol));
        let ran = receive(director, node.ifindex, &sent);
        assert_eq!((ran.action, ran.verdict()), (PASS, Verdict::Delivered));
        let (before, after) = (see(&sent), see(&ran.frame));
        assert_eq!((after.from, after.to), (family.client, family.pod));
        assert_eq!(after.hop_limit, before.hop_limit);
        assert_eq!(after.payload, before.payload);
        assert_eq!((after.source_mac, after.destination_mac), (CLIENT_MAC, OWN));

        let reply = Flow {
            client: family.pod,
            to: family.client,
            protocol,
        };
        let reply = shaped(
            reply,
            &Shape {
                syn: false,
                ..Shape::default()
            },
        );
        let ran = send(director, &reply);
        assert_eq!(ran.verdict(), Verdict::ReplyRewritten);
        let after = see(&ran.frame);
        assert_eq!((after.from, after.to), (family.vip, family.client));
    });
}

#[test]
fn a_hop_behind_another_interface_is_redirected_to() {
    if skipped("a_hop_behind_another_interface_is_redirected_to") {
        return;
    }
    let node = Node::new();
    let mut director = node.director();
    let [family, _] = families();
    let placement = Placement::Remote(family.node);
    director
        .apply(&desired(&family, Protocol::Tcp, placement, node.other))
        .unwrap();
    let ran = receive(
        &mut director,
        node.ifindex,
        &frame(family.flow(Protocol::Tcp)),
    );
    assert_eq!(
        (ran.action, ran.verdict()),
        (REDIRECT, Verdict::DirectedElsewhere)
    );
    assert_eq!(see(&ran.frame).destination_mac, HOP_MAC);
}
