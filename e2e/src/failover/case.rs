//! What befalls the owner, and how it is undone.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use landfall_testbed::process::run;
use nix::sys::signal::Signal;

use crate::lab::cluster::Lab;
use crate::lab::plan::Machine;
use crate::lab::power;

/// The announcer's program.
const ANNOUNCER: &str = "landfall-announcer";

/// A disturbance of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Case {
    /// kill -9 of the announcer
    Kill,
    /// The node's data link loses its carrier; management stays
    LinkDown,
    /// SIGSTOP of the announcer, and SIGCONT once another node has taken over
    Freeze,
    /// SIGTERM of the announcer
    Terminate,
    /// Everything on the node is killed and both its links are cut
    NodeDead,
}

impl Case {
    /// All, in an order in which the last one may leave the node behind.
    pub const ALL: [Self; 5] = [
        Self::Kill,
        Self::LinkDown,
        Self::Freeze,
        Self::Terminate,
        Self::NodeDead,
    ];

    /// Its name in figures.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::LinkDown => "link-down",
            Self::Freeze => "freeze",
            Self::Terminate => "terminate",
            Self::NodeDead => "node-dead",
        }
    }

    /// What is done, for the figures' method.
    pub(super) fn what(self) -> &'static str {
        match self {
            Self::Kill => "kill -9 of the owner's announcer",
            Self::LinkDown => "the owner's data link down",
            Self::Freeze => "SIGSTOP of the owner's announcer",
            Self::Terminate => "SIGTERM of the owner's announcer",
            Self::NodeDead => "everything on the owner killed, both links down",
        }
    }

    /// Does it to a node.
    pub(super) fn disturb(self, lab: &Lab, node: &Machine) -> Result<()> {
        match self {
            Self::Kill => signal(lab, node, Signal::SIGKILL),
            Self::LinkDown => power::link(lab.plan(), node, "eth0", false),
            Self::Freeze => signal(lab, node, Signal::SIGSTOP),
            Self::Terminate => signal(lab, node, Signal::SIGTERM),
            Self::NodeDead => power::cut(lab.plan(), node),
        }
    }

    /// What can be undone of it; the rest is up to the cluster.
    pub(super) fn undo(self, lab: &mut Lab, node: &Machine) -> Result<()> {
        match self {
            Self::Kill | Self::Terminate => Ok(()),
            Self::LinkDown => power::link(lab.plan(), node, "eth0", true),
            Self::Freeze => signal(lab, node, Signal::SIGCONT),
            Self::NodeDead => lab.revive_node(node),
        }
    }

    /// Whether its announcer has to be made anew, because its kubelet would wait longer and longer before starting it.
    pub(super) fn ends_the_process(self) -> bool {
        matches!(self, Self::Kill | Self::Terminate)
    }
}

fn signal(lab: &Lab, node: &Machine, signal: Signal) -> Result<()> {
    let victims = power::processes(lab.plan(), node, ANNOUNCER);
    ensure!(
        !victims.is_empty(),
        "no {ANNOUNCER} runs on {}; see `lab kubectl get pods -A`",
        node.name
    );
    victims.iter().for_each(|stamp| stamp.signal(signal));
    Ok(())
}

/// Runs kubectl as the administrator from the root of the source tree; this thread is in the hub.
pub(super) fn kubectl(lab: &Lab, tree: &Path, words: &str) -> Result<String> {
    let mut command = Command::new(lab.plan().assets.join("kubectl"));
    command
        .current_dir(tree)
        .arg("--kubeconfig")
        .arg(lab.kubeconfig("admin"))
        .args(words.split_whitespace());
    run(&mut command).with_context(|| format!("kubectl {words}"))
}
