//! A segment to test on: a switch, a node and hosts, each a network namespace of its own, removed at the end.

#![allow(dead_code, reason = "each test binary uses the part it needs")]

mod capture;
mod cpu;
mod node;
mod xdp;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::net::IpAddr;
use std::process::Output;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use landfall_announcer::link::{self, IfIndex};
use landfall_announcer::responder::{Rate, Settings};
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
const PATIENCE: Duration = Duration::from_secs(20);

static SEGMENTS: AtomicU32 = AtomicU32::new(0);

/// Namespaces joined by a bridge. The node has 192.0.2.11 and 2001:db8::11, the client .200 and ::200.
pub(crate) struct Segment {
    prefix: String,
    namespaces: Vec<String>,
    hosts: BTreeSet<String>,
}

impl Segment {
    fn new() -> Self {
        let number = SEGMENTS.fetch_add(1, Ordering::Relaxed);
        let mut segment = Self {
            prefix: format!("lf-wire-{}-{number}", std::process::id()),
            namespaces: Vec::new(),
            hosts: BTreeSet::new(),
        };
        segment.namespace("switch");
        segment.ip("switch", "link add br0 type bridge mcast_snooping 0");
        segment.ip("switch", "link set br0 up");
        segment.host("node", 11);
        segment.host("client", 200);
        segment
    }

    fn namespace(&mut self, name: &str) {
        let full = self.name(name);
        run(&format!("ip netns add {full}"));
        self.namespaces.push(full);
        self.ip(name, "link set lo up");
    }

    /// Adds a host with `eth0` on the bridge and the last part of its addresses.
    pub(crate) fn host(&mut self, name: &str, last: u8) {
        self.namespace(name);
        run(&format!(
            "ip netns exec {} sysctl -qw net.ipv6.conf.default.accept_dad=0",
            self.name(name)
        ));
        self.plug(name, "eth0", &format!("p-{name}"), last);
        self.ip(name, &format!("address add 192.0.2.{last}/24 dev eth0"));
        self.ip(
            name,
            &format!("address add 2001:db8::{last}/64 dev eth0 nodad"),
        );
        self.hosts.insert(name.to_owned());
    }

    /// Connects a new interface of a host to the bridge.
    pub(crate) fn plug(&self, name: &str, interface: &str, port: &str, last: u8) {
        let (host, switch) = (self.name(name), self.name("switch"));
        let mac = mac(last);
        run(&format!(
            "ip link add {interface} netns {host} address {mac} type veth peer name {port} netns {switch}"
        ));
        self.ip("switch", &format!("link set {port} master br0 up"));
        self.ip(name, &format!("link set {interface} up"));
        // The bridge learns of the carrier a moment later, and drops what comes before.
        let deadline = Instant::now() + PATIENCE;
        while !self
            .bridge("switch", &format!("link show dev {port}"))
            .contains("state forwarding")
        {
            assert!(Instant::now() < deadline, "{port} does not forward");
            std::thread::yield_now();
        }
    }

    /// The namespace of a host.
    pub(crate) fn name(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    /// Runs `ip` in the namespace of a host; it must succeed.
    pub(crate) fn ip(&self, name: &str, arguments: &str) -> String {
        run(&format!("ip -n {} {arguments}", self.name(name)))
    }

    /// Runs `bridge` in the namespace of a host; it must succeed.
    pub(crate) fn bridge(&self, name: &str, arguments: &str) -> String {
        run(&format!("bridge -n {} {arguments}", self.name(name)))
    }

    /// Runs a command in the namespace of a host, without blocking the runtime, and returns what came of it.
    pub(crate) async fn exec(&self, name: &str, command: &str) -> Output {
        let mut words = command.split_whitespace();
        tokio::process::Command::new("ip")
            .args(["netns", "exec", &self.name(name)])
            .args(&mut words)
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

    /// What the neighbour table of a host says about an address.
    pub(crate) fn neighbour(&self, name: &str, address: &str) -> String {
        self.ip(name, &format!("neighbour show {address} dev eth0"))
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        for namespace in &self.namespaces {
            let _ = std::process::Command::new("ip")
                .args(["netns", "delete", namespace])
                .status();
        }
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
    let missing = ["ip", "arping", "ndisc6", "ping"]
        .into_iter()
        .find(|tool| !has(tool));
    if !nix::unistd::geteuid().is_root() || missing.is_some() {
        landfall_e2e::skipped(test, "root, ip, arping, ndisc6, ping");
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

fn has(tool: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(tool).exists()))
}

pub(crate) fn enter(namespace: &str) {
    let file = File::open(format!("/run/netns/{namespace}")).unwrap();
    nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
}

fn run(command: &str) -> String {
    let words: Vec<_> = command.split_whitespace().collect();
    let output = std::process::Command::new(words[0])
        .args(&words[1..])
        .output()
        .unwrap();
    assert!(output.status.success(), "{command}: {}", text(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
