//! The addresses the tests play with, and wanted states made of them.

use std::net::{IpAddr, SocketAddr};

use landfall_bpf_lb::Director;
use landfall_bpf_lb::desired::{
    Backend, BackendState, Desired, Endpoint, Frontend, Hop, Placement, PodId, Protocol, Vip,
};

use super::frames::{Flow, Shape, Tcp};
use super::{Node, on};

/// MAC addresses of three other nodes.
pub(crate) const HOPS: [[u8; 6]; 3] = [
    [0x02, 0x4c, 0x46, 0, 0, 2],
    [0x02, 0x4c, 0x46, 0, 0, 3],
    [0x02, 0x4c, 0x46, 0, 0, 4],
];

/// What this other node sends.
pub(crate) fn from_node(node: usize, hop_limit: u8, tcp: Tcp) -> Shape {
    Shape {
        source: HOPS[node],
        hop_limit,
        ..tcp.into()
    }
}

pub(crate) const PROTOCOLS: [Protocol; 2] = [Protocol::Tcp, Protocol::Udp];

/// The addresses of one family.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Family {
    pub(crate) client: SocketAddr,
    pub(crate) vip: SocketAddr,
    pub(crate) pods: [SocketAddr; 3],
    pub(crate) nodes: [IpAddr; 3],
}

pub(crate) fn families() -> [Family; 2] {
    let family = |client: &str, vip: &str, pods: [&str; 3], nodes: [&str; 3]| Family {
        client: client.parse().unwrap(),
        vip: vip.parse().unwrap(),
        pods: pods.map(|pod| pod.parse().unwrap()),
        nodes: nodes.map(|node| node.parse().unwrap()),
    };
    [
        family(
            "198.51.100.7:40001",
            "192.0.2.10:80",
            ["10.244.1.5:10080", "10.244.2.6:10080", "10.244.3.7:10080"],
            ["192.0.2.2", "192.0.2.3", "192.0.2.4"],
        ),
        family(
            "[2001:db8:ffff::7]:40001",
            "[2001:db8::10]:80",
            [
                "[fd00:10:244:1::5]:10080",
                "[fd00:10:244:2::6]:10080",
                "[fd00:10:244:3::7]:10080",
            ],
            ["2001:db8::2", "2001:db8::3", "2001:db8::4"],
        ),
    ]
}

impl Family {
    /// The client's packets to the VIP.
    pub(crate) fn flow(&self, protocol: Protocol) -> Flow {
        Flow {
            client: self.client,
            to: self.vip,
            protocol,
        }
    }

    /// The client's packets from this port.
    pub(crate) fn from(&self, protocol: Protocol, port: u16) -> Flow {
        let mut flow = self.flow(protocol);
        flow.client.set_port(port);
        flow
    }

    /// The first pod's packets to the client.
    pub(crate) fn reply(&self, protocol: Protocol) -> Flow {
        Flow {
            client: self.pods[0],
            to: self.client,
            protocol,
        }
    }

    pub(crate) fn frontend(&self, protocol: Protocol) -> Frontend {
        Frontend {
            address: self.vip.ip(),
            port: self.vip.port(),
            protocol,
        }
    }

    /// On this interface, a frontend over these pods: index of the pod, index of its node or none for here, state.
    pub(crate) fn desired(
        &self,
        protocol: Protocol,
        ifindex: u32,
        backends: &[(usize, Option<usize>, BackendState)],
    ) -> Desired {
        let mut desired = on(&[ifindex]);
        let backends = backends.iter().map(|(pod, node, state)| {
            let pod = self.pods[*pod];
            let placement =
                node.map_or(Placement::Local, |node| Placement::Remote(self.nodes[node]));
            (
                Endpoint {
                    address: pod.ip(),
                    port: pod.port(),
                },
                Backend {
                    pod: PodId::default(),
                    placement,
                    weight: 1,
                    state: *state,
                },
            )
        });
        let vip = Vip {
            backends: backends.collect(),
            ..Vip::default()
        };
        desired
            .frontends
            .insert(self.frontend(protocol), vip.into());
        for (node, mac) in self.nodes.iter().zip(HOPS) {
            desired.hops.insert(*node, Some(Hop { mac, ifindex }));
        }
        desired
    }
}

/// Runs `check` for every family and protocol, with one backend, here or on the first other node.
pub(crate) fn each(
    node: &Node,
    at: Option<usize>,
    mut check: impl FnMut(&mut Director, Family, Protocol),
) {
    let mut director = node.director();
    for family in families() {
        for protocol in PROTOCOLS {
            let desired = family.desired(protocol, node.ifindex, &[(0, at, BackendState::Active)]);
            let applied = director.apply(&desired).unwrap();
            assert!(applied.refused.is_empty(), "{:?}", applied.refused);
            check(&mut director, family, protocol);
        }
    }
}
