//! What 10,000 Services by XDP cost a node: memory of the kernel and of the process, and the time from an EndpointSlice
//! to the maps. Prints a table and writes `target/figures/bench-capacity.json`. Needs root.
//!
//! The world is the announcer's own, from objects as its watches read them; the maps are the real ones, in a bpffs of this
//! process. What is not in it: reading the objects' JSON, heartbeats, writing to the API server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_precision_loss,
    reason = "a bench may end here, and its figures are small"
)]

#[path = "../wire/figures.rs"]
mod figures;
mod world;

use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use aya::maps::MapData;
use landfall_announcer::brain::{Brain, Input};
use landfall_announcer::dataplane::DataPath;
use landfall_bpf_lb::{Director, Settings};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use figures::Figures;
use world::{SECOND, SERVICES, brain, slice, wall};

const SCENE: &str = "10,000 Services of one port under an XDP policy, 1,000 of them with 32 endpoints and the others with \
                     3, no pod behind two, IPv4, 3 nodes, default sizes";
const MEBIBYTE: f64 = 1024.0 * 1024.0;
/// Maps whose size is that of the connections.
const OF_CONNECTIONS: [&str; 2] = ["LF_CONNECT", "LF_HALFOPEN"];
const ROUNDS: u32 = 50;

fn main() {
    // `cargo test --benches` and `cargo bench -- --list` want nothing measured.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED (needs root): bench capacity");
        return;
    }
    let ifindex = namespaces();
    let mut figures = Figures::default();
    let before = anonymous();
    let mut brain = brain((ifindex, "seg0"));
    let settings = Settings::new("/sys/fs/landfall");
    let mut second = 100;
    let path = assembled(&mut brain, &mut second).expect("there is something to serve");
    let thinking = anonymous() - before;
    let began = Instant::now();
    let mut director = Director::load(&settings).unwrap();
    let loading = milliseconds(began);
    let began = Instant::now();
    let applied = director.apply(&path.desired).unwrap();
    let first = milliseconds(began);
    assert_eq!(applied.frontends, SERVICES as usize);
    assert!(
        applied.refused.is_empty() && applied.problems.is_empty(),
        "{applied:?}"
    );
    let backends = applied.backends;
    drop(path);
    let process = anonymous() - before;
    let (mut tables, mut connections) = (0.0, 0.0);
    for (name, bytes) in maps(&settings.pin_dir.join("maps")) {
        if OF_CONNECTIONS.iter().any(|of| name.starts_with(of)) {
            connections += bytes;
        } else {
            tables += bytes;
        }
    }
    let method = format!(
        "{SCENE}; {backends} backends; memlock of the pinned maps, as the kernel counts it"
    );
    figures.one(
        "kernel, all but connections",
        "MiB",
        &method,
        tables / MEBIBYTE,
    );
    figures.one(
        "kernel, tables of connections",
        "MiB",
        &method,
        connections / MEBIBYTE,
    );
    let method =
        format!("{SCENE}; RssAnon: what the world, the brain and the director have come to");
    figures.one("process", "MiB", &method, process / MEBIBYTE);
    let method = format!("{SCENE}; before the director is loaded");
    figures.one(
        "process, of that the brain",
        "MiB",
        &method,
        thinking / MEBIBYTE,
    );
    let method = format!("{SCENE}; the two above but the tables of connections");
    figures.one(
        "kernel and process",
        "MiB",
        &method,
        (tables + process) / MEBIBYTE,
    );
    let method = format!("{SCENE}; the kernel verifies the programs");
    figures.one("load", "ms", &method, loading);
    let method = format!("{SCENE}; into empty maps");
    figures.one("first apply", "ms", &method, first);
    let (mut thinking, mut applying, mut both) = (Vec::new(), Vec::new(), Vec::new());
    let mut computing = Vec::new();
    for round in 0..ROUNDS {
        let number = 1 + round * (SERVICES / ROUNDS);
        let (began, used) = (Instant::now(), cpu());
        brain.take(Input::Applied(slice(number, false)), SECOND * second);
        let path = assembled(&mut brain, &mut second).expect("an endpoint is not ready");
        let thought = milliseconds(began);
        let applied = director.apply(&path.desired).unwrap();
        let all = milliseconds(began);
        computing.push(cpu() - used);
        assert!(applied.operations > 0);
        thinking.push(thought);
        applying.push(all - thought);
        both.push(all);
    }
    let method = format!(
        "{SCENE}; one endpoint of a Service is not ready any more, another Service each round"
    );
    figures.add("slice to maps", "ms", &method, both);
    figures.add("slice to maps, CPU time", "ms", &method, computing);
    figures.add("slice to maps, deciding", "ms", &method, thinking);
    figures.add("slice to maps, applying", "ms", &method, applying);
    let path = assembled_anew(&mut brain, &mut second);
    director.apply(&path.desired).unwrap();
    let rest = (0..10).map(|_| {
        let began = cpu();
        let applied = director.apply(&path.desired).unwrap();
        director.sweep().unwrap();
        director.owed().unwrap();
        assert_eq!(applied.operations, 0);
        // Ten seconds later it looks again.
        (cpu() - began) / 10_000.0 * 100.0
    });
    let rest = rest.collect();
    let method = format!("{SCENE}; the director's look at what is, every 10 s, in CPU time");
    figures.add("at rest", "% of a CPU", &method, rest);
    figures.write("capacity");
}

/// What is to be programmed, once the brain has come to it.
fn assembled(brain: &mut Brain, second: &mut u32) -> Option<Arc<DataPath>> {
    for _ in 0..3 {
        let effects = brain.step(SECOND * *second, &wall());
        if effects.data_path.is_some() {
            return effects.data_path;
        }
    }
    None
}

/// The same after one more change.
fn assembled_anew(brain: &mut Brain, second: &mut u32) -> Arc<DataPath> {
    brain.take(Input::Applied(slice(SERVICES, false)), SECOND * *second);
    assembled(brain, second).expect("an endpoint is not ready")
}

fn milliseconds(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1e3
}

/// Milliseconds of CPU that this process has used.
fn cpu() -> f64 {
    let used = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).unwrap();
    let times = [used.user_time(), used.system_time()];
    times
        .iter()
        .map(|time| time.tv_sec() as f64 * 1e3 + time.tv_usec() as f64 / 1e3)
        .sum()
}

/// Bytes of this process that are no file's and no map's.
fn anonymous() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kibibytes = line.unwrap().trim().trim_end_matches(" kB");
    kibibytes.parse::<f64>().unwrap() * 1024.0
}

/// The pinned maps, and the bytes of kernel memory that each is charged.
fn maps(directory: &Path) -> Vec<(String, f64)> {
    let entries = std::fs::read_dir(directory).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            let map = MapData::from_pin(entry.path()).unwrap();
            let number = map.fd().as_fd().as_raw_fd();
            let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap();
            let charged = info.lines().find_map(|line| line.strip_prefix("memlock:"));
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, charged.unwrap().trim().parse().unwrap())
        })
        .collect()
}

/// A network namespace with an interface, and a bpffs of our own; they end with this process.
fn namespaces() -> u32 {
    landfall_testbed::netns::isolate().unwrap();
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    mount(Some("bpf"), "/sys/fs", Some("bpf"), MsFlags::empty(), none).unwrap();
    let made = Command::new("ip")
        .args([
            "link",
            "add",
            "seg0",
            "address",
            "02:00:00:00:00:00",
            "type",
            "veth",
        ])
        .args(["peer", "name", "seg0p"])
        .status()
        .unwrap();
    assert!(made.success(), "ip link add failed");
    nix::net::if_::if_nametoindex("seg0").unwrap()
}
