//! The cable, what the switch does to it, and the power cut: the only things of a lab that are played.

use std::fs;
use std::path::Path;

use anyhow::Result;
use landfall_testbed::netns;
use landfall_testbed::process::Stamp;

use super::node;
use super::plan::{Machine, Plan};

/// The switch of the data segment, and the one that a part of it can be plugged into.
const DATA: &str = "data";
const OTHER: &str = "data-other";

/// Plugs or pulls a cable at the switch: the machine's own end loses its carrier.
pub fn link(plan: &Plan, machine: &Machine, interface: &str, plugged: bool) -> Result<()> {
    let state = if plugged { "up" } else { "down" };
    let port = machine.port(interface);
    netns::ip(&plan.hub, &format!("link set {port} {state}")).map(drop)
}

/// Which way a cable carries frames no more, though both ends have their carrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// To the machine.
    Received,
    /// From the machine.
    Sent,
    Both,
}

/// From now on frames are lost on a cable, without a word to either end.
pub fn lose(plan: &Plan, machine: &Machine, interface: &str, lost: Lost) -> Result<()> {
    netns::nft(&plan.hub, &losing(&machine.port(interface), lost))
}

fn losing(port: &str, lost: Lost) -> String {
    // The port's way out is the machine's way in.
    let ways: &[&str] = match lost {
        Lost::Received => &["egress"],
        Lost::Sent => &["ingress"],
        Lost::Both => &["egress", "ingress"],
    };
    let chains = ways.iter().map(|way| {
        format!("chain {way} {{ type filter hook {way} device {port} priority 0; policy drop; }}\n")
    });
    let chains: Vec<String> = chains.collect();
    format!("table netdev lost-{port} {{\n{}}}\n", chains.concat())
}

/// And no more.
pub fn lose_nothing(plan: &Plan, machine: &Machine, interface: &str) -> Result<()> {
    let port = machine.port(interface);
    netns::nft(&plan.hub, &format!("delete table netdev lost-{port}"))
}

/// Plugs the data cables of machines into a switch of their own: the segment falls into two, and no end sees it.
pub fn split(plan: &Plan, machines: &[Machine]) -> Result<()> {
    netns::ip(
        &plan.hub,
        &format!("link add {OTHER} type bridge forward_delay 0"),
    )?;
    netns::ip(&plan.hub, &format!("link set {OTHER} up"))?;
    machines.iter().try_for_each(|machine| {
        let port = machine.port("eth0");
        netns::ip(&plan.hub, &format!("link set {port} master {OTHER}")).map(drop)
    })
}

/// Plugs them back.
pub fn join(plan: &Plan, machines: &[Machine]) -> Result<()> {
    for machine in machines {
        let port = machine.port("eth0");
        netns::ip(&plan.hub, &format!("link set {port} master {DATA}"))?;
    }
    netns::ip(&plan.hub, &format!("link del {OTHER}")).map(drop)
}

/// The processes of a node, its own and those of its pods, that run a program of that name.
pub fn processes(plan: &Plan, node: &Machine, program: &str) -> Vec<Stamp> {
    node::processes(plan, node)
        .into_iter()
        .filter(|stamp| program_of(stamp.pid).is_some_and(|name| name == program))
        .collect()
}

/// The file name of the program a process runs.
fn program_of(pid: i32) -> Option<String> {
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let first = command.split(|byte| *byte == 0).next()?;
    let path = String::from_utf8_lossy(first).into_owned();
    let name = Path::new(&path).file_name()?;
    Some(name.to_string_lossy().into_owned())
}

/// Pulls a node's cables and ends everything on it, without a word to anybody.
pub fn cut(plan: &Plan, node: &Machine) -> Result<()> {
    // The cables first, and all at one moment: what is about to be killed would say on one that it lost the other, and
    // say goodbye, as no power cut lets it.
    let rules = node.interfaces().iter();
    let rules: String = rules
        .map(|interface| losing(&node.port(interface), Lost::Both))
        .collect();
    netns::nft(&plan.hub, &rules)?;
    for interface in node.interfaces() {
        link(plan, node, interface, false)?;
    }
    node::power_off(plan, node)?;
    node.interfaces()
        .iter()
        .try_for_each(|interface| lose_nothing(plan, node, interface))
}
