//! What is broken on purpose: processes and nodes. (A cable is a command line like any other.)

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::Runner;
use crate::scenario::spec::Kill;
use landfall_testbed::netns;
use landfall_testbed::process::Stamp;

impl Runner<'_> {
    /// Kills the processes of a node that run a program of that name: its own and those of its pods.
    pub(super) fn kill(&mut self, kill: &Kill) -> Result<String> {
        let node = self.vars.expand(&kill.on)?;
        let name = self.vars.expand(&kill.process)?;
        let signal: Signal = format!("SIG{}", kill.signal)
            .parse()
            .with_context(|| format!("signal {:?}", kill.signal))?;
        let machine = self
            .lab
            .plan()
            .machine(&node)
            .with_context(|| format!("the lab has no {node}"))?;
        let mut namespaces = netns::named(&self.lab.plan().pod_prefix(machine));
        namespaces.push(machine.netns.clone());
        let victims: Vec<Stamp> = netns::inhabitants(&namespaces)
            .into_iter()
            .filter(|stamp| program_of(stamp.pid).is_some_and(|program| program == name))
            .collect();
        anyhow::ensure!(!victims.is_empty(), "no process of {node} is called {name}");
        let pids: Vec<String> = victims.iter().map(|stamp| stamp.pid.to_string()).collect();
        self.transcript.command(
            &format!("{node}#"),
            &format!("kill -{} {}    # {name}", kill.signal, pids.join(" ")),
        );
        victims.iter().for_each(|stamp| stamp.signal(signal));
        Ok(String::new())
    }

    pub(super) fn fail_node(&mut self, name: &str) -> Result<String> {
        let name = self.vars.expand(name)?;
        let machine = self
            .lab
            .plan()
            .machine(&name)
            .with_context(|| format!("the lab has no {name}"))?;
        self.transcript.command("…", &format!("{name} loses power"));
        self.lab.fail_node(machine)?;
        Ok(String::new())
    }
}

/// The file name of the program a process runs.
fn program_of(pid: i32) -> Option<String> {
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let first = command.split(|byte| *byte == 0).next()?;
    Some(
        Path::new(&*String::from_utf8_lossy(first))
            .file_name()?
            .to_string_lossy()
            .into_owned(),
    )
}
