//! A segment to test on: a switch, a node and hosts, each a network namespace of its own, removed at the end.

#![allow(dead_code, reason = "each test binary uses the part it needs")]

mod capture;
mod cpu;
mod node;
mod xdp;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::process::Output;
use std::time::{Duration, Instant};

use landfall_announcer::link::{self, IfIndex};
use landfall_announcer::responder::{Rate, Settings};
use landfall_testbed::netns::{self, Net};
use landfall_testbed::{missing, skipped};
use landfall_wire::Mac;
use landfall_wire::schedule::Pace;

#[allow(unused_imports, reason = "each test binary uses the part it needs")]
pub(crate) use self::{
    capture::{Capture, clock},
    cpu::{Cpu, thread_names},
    node::Node,
    xdp::{Attached, Xdp, beside, beside_xdp},
};

/// How long a test waits for what it expects.
const PATIENCE: Duration = Duration::from_secs(60);

/// Namespaces joined by a bridge. The node has 192.0.2.11 and 2001:db8::11, the client .200 and ::200.
pub(crate) struct Segment {
    net: Net,
}

impl Segment {
    fn new() -> Self {
        let segment = Self {
            net: Net::new("wire").unwrap(),
        };
        segment.net.host("switch").unwrap();
        segment.net.bridge("switch", "br0").unwrap();
        segment.host("node", 11);
        segment.host("client", 200);
        segment
    }

    /// Adds a host with `eth0` on the bridge and the last part of its addresses.
    pub(crate) fn host(&self, name: &str, last: u8) {
        self.net.host(name).unwrap();
        self.plug(name, "eth0", &format!("p-{name}"), last);
        self.ip(name, &format!("address add 192.0.2.{last}/24 dev eth0"));
        self.ip(
            name,
            &format!("address add 2001:db8::{last}/64 dev eth0 nodad"),
        );
    }

    /// Connects a new interface of a host to the bridge.
    pub(crate) fn plug(&self, name: &str, interface: &str, port: &str, last: u8) {
        let mac = mac(last).to_string();
        self.net
            .plug((name, interface, &mac), ("switch", "br0", port))
            .unwrap();
    }

    /// The namespace of a host.
    pub(crate) fn name(&self, name: &str) -> String {
        self.net.name(name)
    }

    /// Runs `ip` in the namespace of a host; it must succeed.
    pub(crate) fn ip(&self, name: &str, arguments: &str) -> String {
        self.net.ip(name, arguments).unwrap()
    }

    /// Runs a command in the namespace of a host, without blocking the runtime, and returns what came of it.
    pub(crate) async fn exec(&self, name: &str, command: &str) -> Output {
        let mut words = command.split_whitespace();
        let program = words.next().unwrap();
        tokio::process::Command::from(self.net.command(name, program))
            .args(words)
            .kill_on_drop(true)
            .output()
            .await
            .unwrap()
    }

    /// Asks with a tool until the answer comes; what the tool said of it.
    pub(crate) async fn answered(&self, name: &str, command: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let output = self.exec(name, command).await;
            if output.status.success() {
                return text(&output).to_lowercase();
            }
            assert!(Instant::now() < deadline, "{command}: {}", text(&output));
        }
    }

    /// Sends frames as they are from the `eth0` of a host, on a thread of its own.
    pub(crate) async fn inject(&self, name: &str, frames: Vec<Vec<u8>>) {
        let (namespace, (done, finished)) = (self.name(name), tokio::sync::oneshot::channel());
        std::thread::spawn(move || {
            enter(&namespace);
            send_all(&frames);
            done.send(()).unwrap();
        });
        finished.await.unwrap();
    }

    /// Runs `bridge` in the namespace of a host; it must succeed.
    pub(crate) fn bridge(&self, name: &str, arguments: &str) -> String {
        let mut command = self.net.command(name, "bridge");
        let output = command.args(arguments.split_whitespace()).output().unwrap();
        assert!(
            output.status.success(),
            "bridge {arguments}: {}",
            text(&output)
        );
        text(&output)
    }

    /// What the neighbour table of a host says about an address.
    pub(crate) fn neighbour(&self, name: &str, address: &str) -> String {
        self.ip(name, &format!("neighbour show {address} dev eth0"))
    }
}

pub(crate) fn send_all(frames: &[Vec<u8>]) {
    let index = nix::net::if_::if_nametoindex("eth0").unwrap();
    let socket = link::PacketSocket::open(index, link::Protocol::Arp).unwrap();
    for frame in frames {
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = socket.send(frame) {
            assert!(Instant::now() < deadline, "{error}");
            std::thread::yield_now();
        }
    }
}

/// Nothing is held back.
pub(crate) fn unlimited(settings: Settings) -> Settings {
    let rate = Rate {
        per_second: 10_000_000,
        burst: 1_000_000,
    };
    Settings {
        answers: rate,
        frames: rate,
        ..settings
    }
}

/// Nothing is said again.
pub(crate) fn said_once() -> Pace {
    Pace {
        repeats: 0,
        ..Pace::default()
    }
}

pub(crate) fn owned(ifindex: IfIndex, addresses: &[&str]) -> BTreeMap<IpAddr, BTreeSet<IfIndex>> {
    addresses
        .iter()
        .map(|address| (address.parse().unwrap(), BTreeSet::from([ifindex])))
        .collect()
}

/// The Ethernet address of the host whose addresses end in `last`.
pub(crate) fn mac(last: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, last])
}

/// Runs a test in the node's namespace of a new segment, on a thread and a runtime of its own.
pub(crate) fn on_a_segment<F>(test: &str, body: impl FnOnce(Segment) -> F + Send)
where
    F: Future<Output = ()>,
{
    let missing = missing(&["ip", "bridge", "nsenter", "arping", "ndisc6", "ping"]);
    if !nix::unistd::geteuid().is_root() || missing.is_some() {
        skipped(test, "root, iproute2, nsenter, arping, ndisc6, ping");
        return;
    }
    let segment = Segment::new();
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            enter(&segment.name("node"));
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(body(segment));
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Waits until something holds.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "still not so: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits for what will come, but not for ever.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap()
}

/// Waits until something has held for so long.
pub(crate) async fn settled(what: &str, long: Duration, mut holds: impl FnMut() -> bool) {
    let mut since = Instant::now();
    eventually(what, || {
        if !holds() {
            since = Instant::now();
        }
        since.elapsed() > long
    })
    .await;
}

pub(crate) fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Moves this thread into the namespace of a host.
pub(crate) fn enter(namespace: &str) {
    netns::enter(namespace).unwrap();
}
