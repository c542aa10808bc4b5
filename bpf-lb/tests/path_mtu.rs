//! The path MTU of both directions, found by the kernels of a client and of a pod through a VIP.
//!
//! ```text
//!                                  ┌── owner, which directs
//!   client ──── router ──── switch ┤
//!          1300                    └── node, which delivers ──── pod
//!                                                            1300
//! ```
//! All interfaces carry 1500 bytes; only the way to the client and the way to the pod are said to be narrower.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

#[macro_use]
mod support;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use landfall_bpf_lb::desired::{
    Backend, BackendState, Desired, Endpoint, Frontend, Hop, Interface, Placement, PodId, Protocol,
    Vip,
};
use landfall_bpf_lb::{AttachMode, Director, Settings, Verdict};
use support::hosts::Host;
use support::{index, run_command};

const CLIENTS: [&str; 2] = ["203.0.113.50", "2001:db8:c::50"];
const VIPS: [&str; 2] = ["192.0.2.100", "2001:db8::100"];
const NODES: [&str; 2] = ["192.0.2.2", "2001:db8::2"];
const PODS: [&str; 2] = ["10.244.1.5", "fd00:10:244:1::5"];
const PORT: u16 = 80;
const TARGET: u16 = 8080;
const OWNER: [u8; 6] = [0x02, 0x4c, 0x46, 0, 3, 1];
const NODE: [u8; 6] = [0x02, 0x4c, 0x46, 0, 3, 2];
const RESPONSE: usize = 300_000;
const PATIENCE: Duration = Duration::from_secs(20);

struct Path {
    client: Host,
    pod: Host,
    owner: Host,
    node: Host,
    _others: [Host; 2],
}

impl Path {
    fn new() -> Self {
        let [client, router, switch] = [Host::new(), Host::new(), Host::new()];
        let [owner, node, pod] = [Host::new(), Host::new(), Host::new()];
        let text = |mac: [u8; 6]| mac.map(|byte| format!("{byte:02x}")).join(":");
        client.cable("eth0", &router, "eth0");
        for (port, host, name) in [
            ("one", &router, "eth1"),
            ("two", &owner, "eth0"),
            ("three", &node, "eth0"),
        ] {
            switch.cable(port, host, name);
        }
        node.cable("pod", &pod, "eth0");
        switch.ip("link add segment type bridge
             link set segment up");
        for port in ["one", "two", "three"] {
            switch.ip(&format!(
                "link set {port} master segment
                 link set {port} up"
            ));
        }
        client.ip("link set eth0 up
             addr add 203.0.113.50/24 dev eth0
             addr add 2001:db8:c::50/64 dev eth0 nodad
             route add default via 203.0.113.1
             route add default via 2001:db8:c::1");
        router.ip(&format!(
            "link set eth0 up
             link set eth1 up
             addr add 203.0.113.1/24 dev eth0
             addr add 2001:db8:c::1/64 dev eth0 nodad
             addr add 192.0.2.254/24 dev eth1
             addr add 2001:db8::fe/64 dev eth1 nodad
             route add 203.0.113.50/32 dev eth0 mtu lock 1300
             route add 2001:db8:c::50/128 dev eth0 mtu lock 1300
             neigh replace 192.0.2.100 lladdr {0} dev eth1 nud permanent
             neigh replace 2001:db8::100 lladdr {0} dev eth1 nud permanent",
            text(OWNER)
        ));
        owner.ip(&format!(
            "link set eth0 address {}
             link set eth0 up
             addr add 192.0.2.1/24 dev eth0
             addr add 2001:db8::1/64 dev eth0 nodad",
            text(OWNER)
        ));
        node.ip(&format!(
            "link set eth0 address {}
             link set eth0 up
             link set pod up
             addr add 192.0.2.2/24 dev eth0
             addr add 2001:db8::2/64 dev eth0 nodad
             addr add 10.244.1.1/24 dev pod
             addr add fd00:10:244:1::1/64 dev pod nodad
             route add 10.244.1.5/32 dev pod mtu lock 1300
             route add fd00:10:244:1::5/128 dev pod mtu lock 1300
             route add default via 192.0.2.254
             route add default via 2001:db8::fe",
            text(NODE)
        ));
        pod.ip("link set eth0 up
             addr add 10.244.1.5/24 dev eth0
             addr add fd00:10:244:1::5/64 dev eth0 nodad
             route add default via 10.244.1.1
             route add default via fd00:10:244:1::1");
        for host in [&router, &node] {
            host.sysctl(&[("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")]);
        }
        pod.run(|| {
            for address in PODS {
                let address = SocketAddr::new(address.parse().unwrap(), TARGET);
                let listener = TcpListener::bind(address).unwrap();
                thread::spawn(move || {
                    for mut stream in listener.incoming().map_while(Result::ok) {
                        let _ = stream.write_all(&vec![0x5a; RESPONSE]);
                    }
                });
                let socket = UdpSocket::bind(address).unwrap();
                thread::spawn(move || {
                    while let Ok((_, from)) = socket.recv_from(&mut [0; 2000]) {
                        let _ = socket.send_to(b"heard", from);
                    }
                });
            }
        });
        Self {
            client,
            pod,
            owner,
            node,
            _others: [router, switch],
        }
    }

    /// Takes the VIPs to the pod, and returns how often each thing happened so far on this host.
    fn program(host: &Host, is_node: bool) -> Vec<(Verdict, u64)> {
        let settings = Settings {
            attach: AttachMode::Tc,
            ..host.settings.clone()
        };
        host.run(move || {
            let mut director = Director::load(&settings).unwrap();
            let applied = director.apply(&desired(is_node)).unwrap();
            assert!(applied.problems.is_empty(), "{:?}", applied.problems);
            director.counters().unwrap()
        })
    }
}

fn desired(is_node: bool) -> Desired {
    let mut desired = Desired::default();
    let interface = Interface {
        name: "eth0".into(),
        mac: if is_node { NODE } else { OWNER },
        members: BTreeSet::new(),
        is_trunk: false,
    };
    let ifindex = index("eth0");
    desired.interfaces.insert(ifindex, interface);
    for ((vip, node), pod) in VIPS.iter().zip(NODES).zip(PODS) {
        let node: IpAddr = node.parse().unwrap();
        let backend = Backend {
            pod: PodId::default(),
            placement: if is_node {
                Placement::Local
            } else {
                Placement::Remote(node)
            },
            weight: 1,
            state: BackendState::Active,
        };
        let endpoint = Endpoint {
            address: pod.parse().unwrap(),
            port: TARGET,
        };
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let frontend = Frontend {
                address: vip.parse().unwrap(),
                port: PORT,
                protocol,
            };
            let vip = Vip {
                backends: [(endpoint, backend)].into(),
                ..Vip::default()
            };
            desired.frontends.insert(frontend, vip.into());
        }
        if !is_node {
            desired.hops.insert(node, Some(Hop { mac: NODE, ifindex }));
        }
    }
    desired
}

/// The MTU that this host's kernel has found for the way to `address`.
fn found(host: &Host, address: &'static str) -> Option<u32> {
    let route = host.run(move || run_command("ip", &["-o", "route", "get", address]));
    let mut words = route.split_whitespace().skip_while(|word| *word != "mtu");
    words.nth(1)?.parse().ok()
}

fn count(counters: &[(Verdict, u64)], verdict: Verdict) -> u64 {
    counters[verdict as usize].1
}

#[test]
fn a_large_response_finds_the_narrow_way_to_its_client() {
    needs_root!("a_large_response_finds_the_narrow_way_to_its_client");
    let path = Path::new();
    Path::program(&path.node, true);
    Path::program(&path.owner, false);
    for (vip, client) in VIPS.into_iter().zip(CLIENTS) {
        assert_eq!(found(&path.pod, client), None);
        let received = path.client.run(move || {
            let vip = SocketAddr::new(vip.parse().unwrap(), PORT);
            let mut stream = TcpStream::connect_timeout(&vip, PATIENCE).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut response = Vec::new();
            stream.read_to_end(&mut response).map(|_| response.len())
        });
        assert_eq!(received.unwrap(), RESPONSE);
        assert_eq!(found(&path.pod, client), Some(1300));
    }
    let (owner, node) = (
        Path::program(&path.owner, false),
        Path::program(&path.node, true),
    );
    // One of each family, at least, came to the owner of the VIP.
    assert!(count(&node, Verdict::DeliveredError) >= 2, "{node:?}");
    assert_eq!(count(&owner, Verdict::UnknownError), 0);
}

#[test]
fn a_large_datagram_finds_the_narrow_way_to_its_pod() {
    needs_root!("a_large_datagram_finds_the_narrow_way_to_its_pod");
    let path = Path::new();
    Path::program(&path.node, true);
    Path::program(&path.owner, false);
    for (vip, client) in VIPS.into_iter().zip(CLIENTS) {
        assert_eq!(found(&path.client, vip), None);
        path.client.run(move || {
            let from: IpAddr = client.parse().unwrap();
            let socket = UdpSocket::bind(SocketAddr::new(from, 0)).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket
                .connect(SocketAddr::new(vip.parse().unwrap(), PORT))
                .unwrap();
            // It may not be cut on its way, and its sender is told that it does not fit.
            socket.send(&[0x5a; 1400]).unwrap();
            let error = socket.recv(&mut [0; 100]).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE), "{error}");
            socket.send(b"short").unwrap();
            let mut answer = [0; 100];
            let length = socket.recv(&mut answer).unwrap();
            assert_eq!(&answer[..length], b"heard");
        });
        assert_eq!(found(&path.client, vip), Some(1300));
    }
    let node = Path::program(&path.node, true);
    assert!(count(&node, Verdict::ReplyError) >= 2, "{node:?}");
}
