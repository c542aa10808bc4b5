//! Real sockets over a real segment: client, two nodes with a pod each, and a bridge between them.
//!
//! ```text
//!   client ──┐            ┌── node A ── pod A
//!            ├── bridge ──┤
//!            ┘            └── node B ── pod B
//! ```
//! The client's neighbour entry for the VIP plays the announcement: it names the owner.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

#[macro_use]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use landfall_bpf_lb::desired::{
    Backend, BackendState, Desired, Endpoint, Frontend, Hop, Interface, Placement, PodId, Protocol,
    Vip,
};
use landfall_bpf_lb::{Director, Verdict, XdpPath};
use support::hosts::Host;
use support::{index, run_command};

const VIPS: [&str; 2] = ["192.0.2.100", "2001:db8::100"];
const CLIENT: [&str; 2] = ["192.0.2.50", "2001:db8::50"];
const PORT: u16 = 80;
const TARGET: u16 = 10_080;
const PATIENCE: Duration = Duration::from_secs(20);

struct Node {
    host: Host,
    pod: Host,
    director: Arc<Mutex<Option<Director>>>,
    number: u8,
}

fn mac(number: u8) -> String {
    format!("02:4c:46:00:01:{number:02x}")
}

fn node_addresses(number: u8) -> [IpAddr; 2] {
    [format!("192.0.2.{number}"), format!("2001:db8::{number}")]
        .map(|address| address.parse().unwrap())
}

fn pod_addresses(number: u8) -> [IpAddr; 2] {
    [
        format!("10.244.{number}.2"),
        format!("fd00:10:244:{number}::2"),
    ]
    .map(|address| address.parse().unwrap())
}

impl Node {
    fn new(number: u8, lan: &Host) -> Self {
        let host = Host::new();
        let pod = Host::new();
        plug(lan, &format!("node{number}"), &host);
        host.cable("pod0", &pod, "eth0");
        host.ip(&format!(
            "link set eth0 address {}
             addr add 192.0.2.{number}/24 dev eth0
             addr add 2001:db8::{number}/64 dev eth0 nodad
             link set pod0 up
             addr add 10.244.{number}.1/24 dev pod0
             addr add fd00:10:244:{number}::1/64 dev pod0 nodad",
            mac(number)
        ));
        host.sysctl(&[("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")]);
        pod.ip(&format!(
            "link set eth0 up
             addr add 10.244.{number}.2/24 dev eth0
             addr add fd00:10:244:{number}::2/64 dev eth0 nodad
             route add default via 10.244.{number}.1
             route add default via fd00:10:244:{number}::1"
        ));
        let node = Self {
            host,
            pod,
            director: Arc::default(),
            number,
        };
        node.serve();
        node
    }

    /// The pod's servers: TCP and UDP, both families, each telling who asked and who answers.
    fn serve(&self) {
        let name = self.number;
        self.pod.run(move || {
            for address in pod_addresses(name) {
                let listener = TcpListener::bind(SocketAddr::new(address, TARGET)).unwrap();
                thread::spawn(move || {
                    for stream in listener.incoming().map_while(Result::ok) {
                        thread::spawn(move || answer(stream, name));
                    }
                });
                let socket = UdpSocket::bind(SocketAddr::new(address, TARGET)).unwrap();
                thread::spawn(move || {
                    let mut buffer = [0; 2048];
                    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                        let text = format!("{name} {} {length}", from.ip());
                        if socket.send_to(text.as_bytes(), from).is_err() {
                            break;
                        }
                    }
                });
            }
        });
    }

    /// Loads a director, attaches it to the segment, and programs every frontend.
    fn direct(&self, pods: &[u8]) {
        let pods = pods.to_vec();
        let settings = self.host.settings.clone();
        let (slot, own) = (Arc::clone(&self.director), self.number);
        self.host.run(move || {
            let mut slot = slot.lock().unwrap();
            if slot.is_none() {
                *slot = Some(Director::load(&settings).unwrap());
            }
            let director = slot.as_mut().unwrap();
            let applied = director.apply(&desired(own, &pods)).unwrap();
            assert!(applied.refused.is_empty());
            assert_eq!(
                applied.interfaces[&index("eth0")].path,
                if support::at_tc() {
                    XdpPath::Tc
                } else {
                    XdpPath::Generic
                },
                "{:?}",
                applied.problems
            );
        });
    }

    fn counters(&self) -> BTreeMap<Verdict, u64> {
        let slot = Arc::clone(&self.director);
        self.host.run(move || {
            slot.lock()
                .unwrap()
                .as_ref()
                .unwrap()
                .counters()
                .unwrap()
                .into_iter()
                .collect()
        })
    }
}

/// A host's `eth0` on the bridge.
fn plug(lan: &Host, port: &str, host: &Host) {
    lan.cable(port, host, "eth0");
    lan.ip(&format!("link set {port} master br0\nlink set {port} up"));
    host.ip("link set eth0 up");
}

/// What node `own` shall do so that every VIP is spread over the pods of these nodes.
fn desired(own: u8, pods: &[u8]) -> Desired {
    let eth0 = Interface {
        name: "eth0".into(),
        mac: [0x02, 0x4c, 0x46, 0, 1, own],
        members: BTreeSet::new(),
        is_trunk: false,
    };
    let mut desired = Desired {
        interfaces: [(index("eth0"), eth0)].into(),
        ..Desired::default()
    };
    for (family, vip) in VIPS.iter().enumerate() {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let address = vip.parse().unwrap();
            let backends = pods.iter().map(|number| {
                let endpoint = Endpoint {
                    address: pod_addresses(*number)[family],
                    port: TARGET,
                };
                let node = Placement::Remote(node_addresses(*number)[family]);
                let placement = if *number == own {
                    Placement::Local
                } else {
                    node
                };
                (
                    endpoint,
                    Backend {
                        pod: PodId::default(),
                        placement,
                        weight: 1,
                        state: BackendState::Active,
                    },
                )
            });
            let vip = Vip {
                backends: backends.collect(),
                ..Vip::default()
            };
            desired.frontends.insert(
                Frontend {
                    address,
                    port: PORT,
                    protocol,
                },
                vip.into(),
            );
        }
        for number in [1, 2] {
            let hop = Hop {
                mac: [0x02, 0x4c, 0x46, 0, 1, number],
                ifindex: index("eth0"),
            };
            desired
                .hops
                .insert(node_addresses(number)[family], Some(hop));
        }
    }
    desired
}

/// Reads lines, answers each with who asked, who answers, and a good deal of bytes.
fn answer(mut stream: TcpStream, name: u8) {
    let from = stream.peer_addr().unwrap().ip();
    let mut request = [0; 4];
    while stream.read_exact(&mut request).is_ok() {
        let length = u32::from_be_bytes(request) as usize;
        let mut body = vec![0; length];
        if stream.read_exact(&mut body).is_err() {
            return;
        }
        let text = format!("{name} {from} {}", checksum(&body));
        let mut reply = u32::try_from(text.len() + length)
            .unwrap()
            .to_be_bytes()
            .to_vec();
        reply.extend(text.as_bytes());
        reply.extend(&body);
        if stream.write_all(&reply).is_err() {
            return;
        }
    }
    let _ = stream.shutdown(Shutdown::Both);
}

fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(u32::from(*byte))
    })
}

struct Segment {
    client: Host,
    nodes: [Node; 2],
    _lan: Host,
}

impl Segment {
    fn new() -> Self {
        let lan = Host::new();
        lan.ip("link add br0 type bridge\nlink set br0 up");
        let client = Host::new();
        plug(&lan, "client", &client);
        client.ip("addr add 192.0.2.50/24 dev eth0\naddr add 2001:db8::50/64 dev eth0 nodad");
        let nodes = [1, 2].map(|number| Node::new(number, &lan));
        let segment = Self {
            client,
            nodes,
            _lan: lan,
        };
        segment.announce(1);
        segment
    }

    /// The client learns that this node owns the VIPs.
    fn announce(&self, owner: u8) {
        let mac = mac(owner);
        for vip in VIPS {
            self.client.ip(&format!(
                "neigh replace {vip} lladdr {mac} dev eth0 nud permanent"
            ));
        }
    }

    fn direct(&self, pods: &[u8]) {
        for node in &self.nodes {
            node.direct(pods);
        }
    }

    fn connect(&self, family: usize) -> Connection {
        self.client.run(move || {
            let vip = SocketAddr::new(VIPS[family].parse().unwrap(), PORT);
            let stream = TcpStream::connect_timeout(&vip, PATIENCE).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.set_write_timeout(Some(PATIENCE)).unwrap();
            Connection { stream, family }
        })
    }

    /// One datagram there and one back; returns which node's pod answered.
    fn datagram(&self, family: usize, length: usize) -> u8 {
        self.client.run(move || {
            let socket =
                UdpSocket::bind(SocketAddr::new(CLIENT[family].parse().unwrap(), 0)).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket
                .connect(SocketAddr::new(VIPS[family].parse().unwrap(), PORT))
                .unwrap();
            socket.send(&vec![0xa5; length]).unwrap();
            let mut buffer = [0; 2048];
            let received = socket.recv(&mut buffer).unwrap();
            let text = String::from_utf8_lossy(&buffer[..received]).into_owned();
            judge(&text, family, u32::try_from(length).unwrap())
        })
    }

    fn offload(&self, on: bool) {
        self.client.run(move || {
            let state = if on { "on" } else { "off" };
            run_command("ethtool", &["-K", "eth0", "tx", state]);
        });
    }
}

/// The answering pod's number, if the rest is as it must be.
fn judge(text: &str, family: usize, figure: u32) -> u8 {
    let (name, rest) = text.split_once(' ').unwrap();
    assert_eq!(
        rest,
        format!("{} {figure}", CLIENT[family]),
        "the pod sees the client's own address"
    );
    name.parse().unwrap()
}

struct Connection {
    stream: TcpStream,
    family: usize,
}

impl Connection {
    /// Sends so many bytes and reads them back; returns which node's pod answered.
    fn exchange(&mut self, length: usize) -> u8 {
        let body: Vec<u8> = (0..length)
            .map(|n| u8::try_from(n % 251).unwrap())
            .collect();
        let mut writer = self.stream.try_clone().unwrap();
        let sent = body.clone();
        // Both directions at once, or large bodies would block each other.
        let sender = thread::spawn(move || {
            writer
                .write_all(&u32::try_from(sent.len()).unwrap().to_be_bytes())
                .unwrap();
            writer.write_all(&sent).unwrap();
        });
        let mut header = [0; 4];
        self.stream.read_exact(&mut header).unwrap();
        let mut reply = vec![0; u32::from_be_bytes(header) as usize];
        self.stream.read_exact(&mut reply).unwrap();
        sender.join().unwrap();
        let (text, echoed) = reply.split_at(reply.len() - length);
        assert!(echoed == body, "the bytes came back changed");
        judge(
            std::str::from_utf8(text).unwrap(),
            self.family,
            checksum(&body),
        )
    }
}

#[test]
fn clients_reach_pods_on_both_nodes_with_checksums_offloaded_or_not() {
    needs_root!("clients_reach_pods_on_both_nodes_with_checksums_offloaded_or_not");
    let segment = Segment::new();
    for offload in [true, false] {
        segment.offload(offload);
        for pod in [1, 2] {
            segment.direct(&[pod]);
            for family in 0..2 {
                for length in [0, 1, 1_000, 300_001] {
                    assert_eq!(segment.connect(family).exchange(length), pod);
                }
                for length in [1, 2, 1_399] {
                    assert_eq!(segment.datagram(family, length), pod);
                }
            }
        }
    }
    let owner = segment.nodes[0].counters();
    assert!(owner[&Verdict::Directed] > 0 && owner[&Verdict::Delivered] > 0);
    assert!(segment.nodes[1].counters()[&Verdict::ReplyRewritten] > 0);
}

#[test]
fn a_connection_survives_the_loss_of_its_owner() {
    needs_root!("a_connection_survives_the_loss_of_its_owner");
    let segment = Segment::new();
    segment.direct(&[1, 2]);
    for family in 0..2 {
        segment.announce(1);
        let mut connections: Vec<Connection> = (0..16).map(|_| segment.connect(family)).collect();
        let pods: Vec<u8> = connections
            .iter_mut()
            .map(|connection| connection.exchange(100))
            .collect();
        assert!(
            pods.contains(&1) && pods.contains(&2),
            "both pods take part: {pods:?}"
        );
        segment.announce(2);
        let after: Vec<u8> = connections
            .iter_mut()
            .map(|connection| connection.exchange(100))
            .collect();
        assert_eq!(after, pods);
    }
    assert!(segment.nodes[1].counters()[&Verdict::Directed] > 0);
}

#[test]
fn connections_live_on_while_backends_come_and_go() {
    needs_root!("connections_live_on_while_backends_come_and_go");
    let segment = Segment::new();
    for family in 0..2 {
        segment.direct(&[1]);
        let mut connections: Vec<Connection> = (0..16).map(|_| segment.connect(family)).collect();
        for pods in [&[1u8, 2][..], &[1], &[1, 2]] {
            segment.direct(pods);
            for connection in &mut connections {
                assert_eq!(connection.exchange(1_000), 1);
            }
        }
        let mut fresh: Vec<Connection> = (0..16).map(|_| segment.connect(family)).collect();
        assert!(
            fresh
                .iter_mut()
                .any(|connection| connection.exchange(10) == 2)
        );
    }
}

#[test]
fn connections_live_on_through_a_restart_of_the_directors() {
    needs_root!("connections_live_on_through_a_restart_of_the_directors");
    let segment = Segment::new();
    segment.direct(&[1, 2]);
    for family in 0..2 {
        let mut connections: Vec<Connection> = (0..8).map(|_| segment.connect(family)).collect();
        let pods: Vec<u8> = connections
            .iter_mut()
            .map(|connection| connection.exchange(100))
            .collect();
        for node in &segment.nodes {
            let slot = Arc::clone(&node.director);
            node.host.run(move || *slot.lock().unwrap() = None);
        }
        // Nothing runs, and all is served.
        let meanwhile: Vec<u8> = connections
            .iter_mut()
            .map(|connection| connection.exchange(100))
            .collect();
        assert_eq!(meanwhile, pods);
        segment.direct(&[1, 2]);
        let after: Vec<u8> = connections
            .iter_mut()
            .map(|connection| connection.exchange(100))
            .collect();
        assert_eq!(after, pods);
    }
}
