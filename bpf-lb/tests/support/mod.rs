//! A node of the test's own: a network namespace with two Ethernet interfaces and a private bpffs,
//! which vanish with the thread that made them, however the test ends.
#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod cluster;
pub(crate) mod frames;
pub(crate) mod hosts;
pub(crate) mod icmp;
pub(crate) mod maps;
pub(crate) mod run;
pub(crate) mod scene;
pub(crate) mod talk;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use landfall_bpf_lb::desired::{Desired, Interface};
use landfall_bpf_lb::{Applied, AttachError, AttachMode, Director, Settings};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// MAC address of the node under test, on both interfaces.
pub(crate) const OWN: [u8; 6] = [0x02, 0x4c, 0x46, 0, 0, 1];

/// Whether these tests are those of `tc.rs`, where received packets meet the program at TC.
#[must_use]
pub(crate) fn at_tc() -> bool {
    env!("CARGO_CRATE_NAME") == "tc"
}

/// Says loudly that a test did not run; `true` if it must not.
#[must_use]
pub(crate) fn skipped(test: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        landfall_testbed::skipped(test, "root");
    }
    !root
}

/// The namespaces of one test thread.
pub(crate) struct Node {
    pub(crate) settings: Settings,
    /// Index of the interface towards the segment.
    pub(crate) ifindex: u32,
    /// Index of another interface.
    pub(crate) other: u32,
}

impl Node {
    /// Leaves the host's namespaces for new ones, made ready for a director.
    #[must_use]
    pub(crate) fn new() -> Self {
        let settings = private_settings();
        landfall_testbed::netns::isolate().expect("a network namespace");
        for (name, peer) in [("seg0", "seg0p"), ("seg1", "seg1p")] {
            let mac = OWN.map(|byte| format!("{byte:02x}")).join(":");
            ip(&[
                "link", "add", name, "address", &mac, "type", "veth", "peer", "name", peer,
            ]);
            for end in [name, peer] {
                // Without an address of its own the kernel has nothing to say on its own.
                ip(&["link", "set", end, "addrgenmode", "none"]);
                ip(&["link", "set", end, "up"]);
            }
        }
        Self {
            settings,
            ifindex: index("seg0"),
            other: index("seg1"),
        }
    }

    /// A director attached to the segment.
    #[must_use]
    pub(crate) fn director(&self) -> Director {
        let mut director = Director::load(&self.settings).expect("the director loads");
        let applied = director
            .apply(&on(&[self.ifindex]))
            .expect("the maps are written");
        assert!(applied.problems.is_empty(), "{:?}", applied.problems);
        director
    }
}

/// A wanted state of these interfaces, all with our MAC address, and nothing else.
#[must_use]
pub(crate) fn on(interfaces: &[u32]) -> Desired {
    let interface = |ifindex: &u32| {
        let name = nix::net::if_::if_indextoname(*ifindex).expect("the interface exists");
        let name = name.into_string().expect("a plain name");
        let interface = Interface {
            name,
            mac: OWN,
            members: BTreeSet::new(),
            is_trunk: false,
        };
        (*ifindex, interface)
    };
    Desired {
        interfaces: interfaces.iter().map(interface).collect(),
        ..Desired::default()
    }
}

/// The one error of an [`Applied`].
pub(crate) fn problem(applied: Applied) -> AttachError {
    let [error] = <[AttachError; 1]>::try_from(applied.problems).expect("one problem");
    error
}

/// Small maps below a bpffs that only this thread sees.
#[must_use]
pub(crate) fn private_settings() -> Settings {
    unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace");
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("private mounts");
    mount(Some("bpf"), "/sys/fs", Some("bpf"), MsFlags::empty(), none).expect("a bpffs");
    Settings {
        frontends: 16,
        slots: 65_536,
        backends: 1024,
        hops: 64,
        connections4: 1024,
        connections6: 1024,
        half_open4: 1024,
        half_open6: 1024,
        attach: if at_tc() {
            AttachMode::Tc
        } else {
            AttachMode::Generic
        },
        ..Settings::new(PathBuf::from("/sys/fs/landfall"))
    }
}

/// Runs `ip` in this thread's network namespace.
pub(crate) fn ip(arguments: &[&str]) {
    run_command("ip", arguments);
}

/// Runs a command that must succeed; returns what it printed.
pub(crate) fn run_command(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).arguments(arguments);
    String::from_utf8_lossy(&output).into_owned()
}

trait Arguments {
    fn arguments(&mut self, arguments: &[&str]) -> Vec<u8>;
}

impl Arguments for Command {
    fn arguments(&mut self, arguments: &[&str]) -> Vec<u8> {
        let output = self.args(arguments).output().expect("the command runs");
        assert!(
            output.status.success(),
            "{self:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    }
}

/// The index of an interface of this thread's network namespace.
#[must_use]
pub(crate) fn index(name: &str) -> u32 {
    nix::net::if_::if_nametoindex(name).expect("the interface exists")
}

/// Leaves a test that needs root with a loud word, where there is none.
macro_rules! needs_root {
    ($test:literal) => {
        if support::skipped($test) {
            return;
        }
    };
}

/// Awaits what comes soon, on whatever machine.
pub(crate) fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < until, "waited in vain: {what}");
        std::thread::yield_now();
    }
}
