//! The cable and the power cut: the only two things of a lab that are played.

use std::fs;
use std::path::Path;

use anyhow::Result;
use landfall_testbed::netns;
use landfall_testbed::process::Stamp;

use super::node;
use super::plan::{Machine, Plan};

/// Plugs or pulls a cable at the switch: the machine's own end loses its carrier.
pub fn link(plan: &Plan, machine: &Machine, interface: &str, plugged: bool) -> Result<()> {
    let state = if plugged { "up" } else { "down" };
    let port = machine.port(interface);
    netns::ip(&plan.hub, &format!("link set {port} {state}")).map(drop)
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
    // The cables first: what is about to be killed would say goodbye on them, as no power cut lets it.
    for interface in node.interfaces() {
        link(plan, node, interface, false)?;
    }
    node::power_off(plan, node)
}
