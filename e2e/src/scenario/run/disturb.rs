//! What is broken on purpose: processes and nodes. (A cable is a command line like any other.)

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::Runner;
use crate::lab::power;
use crate::scenario::spec::Kill;

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
        let victims = power::processes(self.lab.plan(), machine, &name);
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
        power::cut(self.lab.plan(), machine)?;
        Ok(String::new())
    }
}
