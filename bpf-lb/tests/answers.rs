//! Whether pods answer: what the tables say of connections that were opened and of which no reply was seen.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

#[macro_use]
mod support;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use landfall_bpf_lb::desired::{
    Backend, BackendState, Desired, Endpoint, Frontend, Interface, Placement, PodId, Protocol, Vip,
};
use landfall_bpf_lb::{AttachMode, Director, Settings, Verdict};
use support::frames::{SYN, SYN_ACK};
use support::hosts::Host;
use support::scene::families;
use support::talk::{answers, reached, says};
use support::{Node, index, maps};

const VIP: &str = "192.0.2.100:80";
const POD: &str = "10.244.1.5:8080";
const CLIENT: &str = "203.0.113.50";
const NODE: [u8; 6] = [0x02, 0x4c, 0x46, 0, 4, 2];

/// A node with two interfaces to the client, of which `eth0` has the programs, and a pod.
struct TwoWays {
    client: Host,
    node: Host,
    _pod: Host,
}

impl TwoWays {
    fn new() -> Self {
        let [client, node, pod] = [Host::new(), Host::new(), Host::new()];
        node.cable("eth0", &client, "eth0");
        node.cable("eth1", &client, "eth1");
        node.cable("pod", &pod, "eth0");
        let mac = NODE.map(|byte| format!("{byte:02x}")).join(":");
        client.ip(&format!(
            "link set eth0 up
             link set eth1 up
             addr add {CLIENT}/24 dev eth0
             route add 192.0.2.100/32 dev eth0
             route add 10.244.1.0/24 dev eth1
             neigh replace 192.0.2.100 lladdr {mac} dev eth0 nud permanent"
        ));
        node.ip(&format!(
            "link set eth0 address {mac}
             link set eth0 up
             link set eth1 up
             link set pod up
             addr add 192.0.2.2/24 dev eth0
             addr add 10.244.1.1/24 dev pod
             route add {CLIENT}/32 dev eth0"
        ));
        pod.ip("link set eth0 up
             addr add 10.244.1.5/24 dev eth0
             route add default via 10.244.1.1");
        node.sysctl(&[
            ("ipv4/ip_forward", "1"),
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/eth0/rp_filter", "0"),
        ]);
        client.sysctl(&[
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/eth1/rp_filter", "0"),
        ]);
        pod.run(|| {
            let listener = TcpListener::bind(POD).unwrap();
            // Nobody hangs up: what that says would be counted whenever it comes.
            thread::spawn(move || listener.incoming().collect::<Vec<_>>());
        });
        Self {
            client,
            node,
            _pod: pod,
        }
    }

    fn director(&self) -> Director {
        let settings = Settings {
            attach: AttachMode::Tc,
            ..self.node.settings.clone()
        };
        self.node.run(move || {
            let mut director = Director::load(&settings).unwrap();
            let applied = director.apply(&wanted()).unwrap();
            assert!(applied.problems.is_empty(), "{:?}", applied.problems);
            director
        })
    }

    /// A connection to the VIP, if it comes about in a time in which a client says three times that it wants one.
    fn connect(&self) -> Option<TcpStream> {
        let connect = || TcpStream::connect_timeout(&VIP.parse().unwrap(), Duration::from_secs(4));
        self.client.run(connect).ok()
    }
}

fn wanted() -> Desired {
    let mut wanted = Desired::default();
    let interface = Interface {
        name: "eth0".into(),
        mac: NODE,
        members: [].into(),
        is_trunk: false,
    };
    wanted.interfaces.insert(index("eth0"), interface);
    let [vip, pod] = [VIP, POD].map(|address| address.parse::<SocketAddr>().unwrap());
    let backend = Backend {
        pod: PodId::default(),
        placement: Placement::Local,
        weight: 1,
        state: BackendState::Active,
    };
    let endpoint = Endpoint {
        address: pod.ip(),
        port: pod.port(),
    };
    let frontend = Frontend {
        address: vip.ip(),
        port: vip.port(),
        protocol: Protocol::Tcp,
    };
    let vip = Vip {
        backends: [(endpoint, backend)].into(),
        ..Vip::default()
    };
    wanted.frontends.insert(frontend, vip.into());
    wanted
}

fn replies(director: &Director) -> u64 {
    director.counters().unwrap()[Verdict::ReplyRewritten as usize].1
}

#[test]
fn connections_whose_replies_leave_by_another_interface_are_unanswered_and_nothing_is_rewritten() {
    needs_root!(
        "connections_whose_replies_leave_by_another_interface_are_unanswered_and_nothing_is_rewritten"
    );
    let ways = TwoWays::new();
    let mut director = ways.director();
    let open = ways.connect();
    assert!(open.is_some());
    assert_eq!(director.sweep().unwrap().unanswered, 0);
    let before = replies(&director);
    assert!(before > 0);
    ways.node.ip(&format!("route replace {CLIENT}/32 dev eth1"));
    assert!(ways.connect().is_none());
    let swept = director.sweep().unwrap();
    assert_eq!((swept.unanswered, swept.unanswered_lately), (1, 1));
    assert_eq!(replies(&director), before);
}

#[test]
fn a_connection_is_unanswered_from_two_seconds_after_its_syn_until_its_pod_is_seen() {
    needs_root!("a_connection_is_unanswered_from_two_seconds_after_its_syn_until_its_pod_is_seen");
    let node = Node::new();
    let mut director = node.director();
    for family in families() {
        let here = [(0, None, BackendState::Active)];
        let wanted = family.desired(Protocol::Tcp, node.ifindex, &here);
        director.apply(&wanted).unwrap();
        let unanswered = |director: &mut Director| {
            let swept = director.sweep().unwrap();
            (swept.unanswered, swept.unanswered_lately)
        };
        let [first, second] = [1, 2].map(|port| family.from(Protocol::Tcp, 51_000 + port));
        reached(&says(&mut director, node.ifindex, first, SYN));
        let pod = reached(&says(&mut director, node.ifindex, second, SYN));
        assert_eq!(unanswered(&mut director), (0, 0));
        maps::age(&node.settings, 2);
        assert_eq!(unanswered(&mut director), (2, 2));
        answers(&mut director, second, pod, SYN_ACK);
        assert_eq!(unanswered(&mut director), (1, 1));
        maps::age(&node.settings, 20);
        assert_eq!(unanswered(&mut director), (1, 0));
        maps::age(&node.settings, 20);
        assert_eq!(unanswered(&mut director), (0, 0));
    }
}

#[test]
fn what_waits_for_no_answer_is_not_unanswered() {
    needs_root!("what_waits_for_no_answer_is_not_unanswered");
    let node = Node::new();
    let mut director = node.director();
    for family in families() {
        // Datagrams that a pod only takes in.
        let here = [(0, None, BackendState::Active)];
        let wanted = family.desired(Protocol::Udp, node.ifindex, &here);
        director.apply(&wanted).unwrap();
        let flow = family.flow(Protocol::Udp);
        reached(&says(&mut director, node.ifindex, flow, SYN));
        // And what begins on the kernel's path.
        director
            .apply(&family.desired(Protocol::Tcp, node.ifindex, &[]))
            .unwrap();
        says(&mut director, node.ifindex, family.flow(Protocol::Tcp), SYN);
        maps::age(&node.settings, 3);
        assert_eq!(director.sweep().unwrap().unanswered, 0);
    }
}
