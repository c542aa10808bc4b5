//! A large upload by a director whose next node is behind another interface, over a path that merges segments.
//!
//! ```text
//!   client ──eth0── owner ──eth1── server, which has the VIP itself and answers by way of the owner
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

#[macro_use]
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use landfall_bpf_lb::desired::{
    Backend, BackendState, Desired, Endpoint, Frontend, Hop, Interface, Placement, PodId, Protocol,
    Vip,
};
use landfall_bpf_lb::{AttachMode, Director, Settings, Verdict, XdpPath};
use support::hosts::Host;
use support::index;

const VIPS: [&str; 2] = ["192.0.2.100", "2001:db8::100"];
const SERVER: [&str; 2] = ["198.51.100.2", "2001:db8:1::2"];
const UPLOAD: usize = 300_000;
/// MAC addresses of the owner's two interfaces and of the server.
const MACS: [[u8; 6]; 3] = [
    [0x02, 0x4c, 0x46, 0, 2, 1],
    [0x02, 0x4c, 0x46, 0, 2, 2],
    [0x02, 0x4c, 0x46, 0, 2, 3],
];

struct Path {
    client: Host,
    owner: Host,
    _server: Host,
}

impl Path {
    fn new() -> Self {
        let [client, owner, server] = [Host::new(), Host::new(), Host::new()];
        owner.cable("eth0", &client, "eth0");
        owner.cable("eth1", &server, "eth0");
        let [one, two, three] = MACS.map(|mac| mac.map(|byte| format!("{byte:02x}")).join(":"));
        owner.ip(&format!(
            "link set eth0 address {one}
             link set eth1 address {two}
             link set eth0 up
             link set eth1 up
             addr add 192.0.2.1/24 dev eth0
             addr add 198.51.100.1/24 dev eth1
             addr add 2001:db8::1/64 dev eth0 nodad
             addr add 2001:db8:1::1/64 dev eth1 nodad"
        ));
        owner.sysctl(&[("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")]);
        server.ip(&format!(
            "link set eth0 address {three}
             link set eth0 up
             addr add 198.51.100.2/24 dev eth0
             addr add 2001:db8:1::2/64 dev eth0 nodad
             addr add 192.0.2.100/32 dev lo
             addr add 2001:db8::100/128 dev lo nodad
             route add default via 198.51.100.1
             route add default via 2001:db8:1::1"
        ));
        client.ip(&format!(
            "link set eth0 up
             addr add 192.0.2.50/24 dev eth0
             addr add 2001:db8::50/64 dev eth0 nodad
             neigh replace 192.0.2.100 lladdr {one} dev eth0 nud permanent
             neigh replace 2001:db8::100 lladdr {one} dev eth0 nud permanent"
        ));
        server.run(|| {
            for vip in VIPS {
                let address = SocketAddr::new(vip.parse().unwrap(), 80);
                let listener = TcpListener::bind(address).unwrap();
                thread::spawn(move || {
                    for stream in listener.incoming().map_while(Result::ok) {
                        thread::spawn(move || take(stream));
                    }
                });
            }
        });
        Self {
            client,
            owner,
            _server: server,
        }
    }

    /// Segments that the client has sent again.
    fn retransmitted(&self) -> u64 {
        let table = self
            .client
            .run(|| fs::read_to_string("/proc/thread-self/net/snmp").unwrap());
        let mut lines = table.lines().filter_map(|line| line.strip_prefix("Tcp: "));
        let [names, values] = [lines.next().unwrap(), lines.next().unwrap()];
        let mut columns = names.split(' ').zip(values.split(' '));
        let (_, value) = columns.find(|(name, _)| *name == "RetransSegs").unwrap();
        value.parse().unwrap()
    }

    /// A client's upload, with the owner's programs attached so; whether all of it arrives in this time.
    fn upload(&self, family: usize, patience: Duration) -> bool {
        self.client.run(move || {
            let vip = SocketAddr::new(VIPS[family].parse().unwrap(), 80);
            let mut stream = TcpStream::connect_timeout(&vip, Duration::from_secs(20)).unwrap();
            stream.set_read_timeout(Some(patience)).unwrap();
            stream.set_write_timeout(Some(patience)).unwrap();
            let arrived = stream
                .write_all(&vec![0x5a; UPLOAD])
                .and_then(|()| stream.read_exact(&mut [0]));
            match arrived {
                Ok(()) => true,
                Err(error) if error.kind() == ErrorKind::WouldBlock => false,
                Err(error) => panic!("{error}"),
            }
        })
    }
}

/// Says so when everything has arrived.
fn take(mut stream: TcpStream) {
    if stream.read_exact(&mut vec![0; UPLOAD]).is_ok() {
        let _ = stream.write_all(&[1]);
    }
}

fn desired() -> Desired {
    let mut desired = Desired::default();
    for (name, mac) in [("eth0", MACS[0]), ("eth1", MACS[1])] {
        let interface = Interface {
            name: name.into(),
            mac,
            members: BTreeSet::new(),
            is_trunk: false,
        };
        desired.interfaces.insert(index(name), interface);
    }
    for (vip, server) in VIPS.iter().zip(SERVER) {
        let server: IpAddr = server.parse().unwrap();
        let frontend = Frontend {
            address: vip.parse().unwrap(),
            port: 80,
            protocol: Protocol::Tcp,
        };
        let endpoint = Endpoint {
            address: server,
            port: 80,
        };
        let backend = Backend {
            pod: PodId::default(),
            placement: Placement::Remote(server),
            weight: 1,
            state: BackendState::Active,
        };
        let vip = Vip {
            backends: [(endpoint, backend)].into(),
            ..Vip::default()
        };
        desired.frontends.insert(frontend, vip.into());
        let hop = Hop {
            mac: MACS[2],
            ifindex: index("eth1"),
        };
        desired.hops.insert(server, Some(hop));
    }
    desired
}

#[test]
fn an_upload_loses_merged_segments_before_the_network_stack_and_arrives_at_tc() {
    needs_root!("an_upload_loses_merged_segments_before_the_network_stack_and_arrives_at_tc");
    let path = Path::new();
    for (mode, on, patience) in [
        (AttachMode::Generic, XdpPath::Generic, 3),
        (AttachMode::Tc, XdpPath::Tc, 20),
    ] {
        let settings = Settings {
            attach: mode,
            ..path.owner.settings.clone()
        };
        let counters = || {
            let settings = settings.clone();
            path.owner.run(move || {
                let mut director = Director::load(&settings).unwrap();
                let applied = director.apply(&desired()).unwrap();
                assert!(applied.problems.is_empty(), "{:?}", applied.problems);
                assert_eq!(applied.interfaces[&index("eth0")].path, on);
                director.counters().unwrap()[Verdict::DirectedElsewhere as usize].1
            })
        };
        let mut before = counters();
        for family in 0..2 {
            let sent_again = path.retransmitted();
            let arrived = path.upload(family, Duration::from_secs(patience));
            let sent_again = path.retransmitted() - sent_again;
            // What is swallowed is sent again, in ever smaller pieces, until those pass one by one: some uploads end so.
            match mode {
                AttachMode::Tc => assert!(arrived, "{sent_again} sent again"),
                _ => assert_ne!(sent_again, 0, "{mode:?}: arrived: {arrived}"),
            }
            println!("{mode:?}: arrived: {arrived}, {sent_again} segments sent again");
            let after = counters();
            assert!(after > before, "it counts as directed in either case");
            before = after;
        }
        let removed = settings.clone();
        path.owner.run(move || Director::remove(&removed)).unwrap();
    }
}
