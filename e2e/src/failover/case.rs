//! What befalls a node, and how it is undone.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use landfall_testbed::process::run;
use nix::sys::signal::Signal;

use super::bed::SERVING;
use crate::lab::cluster::Lab;
use crate::lab::plan::Machine;
use crate::lab::power::{self, Lost};

/// The announcer's program.
const ANNOUNCER: &str = "landfall-announcer";
/// How long the API server is away.
const AWAY: Duration = Duration::from_secs(60);
/// How long it has been away when the owner dies: every Lease is too old by then.
const AWAY_BEFORE: Duration = Duration::from_secs(20);
/// What its return could move has moved by then.
const BACK: Duration = Duration::from_secs(15);
/// How long it stands still while a node dies.
const SLOW: Duration = Duration::from_secs(1);

/// A disturbance of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Case {
    /// kill -9 of the announcer
    Kill,
    /// The node's data link loses its carrier, and has it again; management stays
    LinkDown,
    /// The node's data link keeps its carrier and carries nothing to the node any more; management stays
    Deaf,
    /// The same, and nothing from the node
    Mute,
    /// The same, and nothing either way
    LinkDead,
    /// The node and another one that announces are cut off from the segment of the others, and joined to it again
    Partition,
    /// SIGSTOP of the announcer, and SIGCONT once another node has taken over
    Freeze,
    /// SIGTERM of the announcer
    Terminate,
    /// Cordon and drain
    Drain,
    /// Restart of the `DaemonSet`, node after node
    Rollout,
    /// The API server stands still for a minute
    ApiAway,
    /// The API server stands still, and 20 s later everything on the node is killed and both its links are cut
    ApiAwayNodeDead,
    /// Everything on the node is killed and both its links are cut
    NodeDead,
    /// The same, and at that moment the API server stands still for a second
    ApiSlowNodeDead,
    /// The same of a node that has half of the backends and owns nothing
    BackendDead,
    /// Nothing, for as long as --quiet says; once
    Rest,
    /// Nothing but that every processor of the machine is kept busy, for as long; once
    Busy,
}

/// Whom it befalls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Victim {
    /// The node that owns most addresses.
    Owner,
    /// A node that serves.
    Backend,
}

impl Case {
    /// All, in an order in which the last ones may leave nodes behind.
    pub const ALL: [Self; 17] = [
        Self::Rest,
        Self::Busy,
        Self::Kill,
        Self::LinkDown,
        Self::Deaf,
        Self::Mute,
        Self::LinkDead,
        Self::Partition,
        Self::Freeze,
        Self::Terminate,
        Self::Drain,
        Self::Rollout,
        Self::ApiAway,
        Self::ApiAwayNodeDead,
        Self::NodeDead,
        Self::ApiSlowNodeDead,
        Self::BackendDead,
    ];

    /// Its name in figures.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::LinkDown => "link-down",
            Self::Deaf => "deaf",
            Self::Mute => "mute",
            Self::LinkDead => "link-dead",
            Self::Partition => "partition",
            Self::Freeze => "freeze",
            Self::Terminate => "terminate",
            Self::Drain => "drain",
            Self::Rollout => "rollout",
            Self::ApiAway => "api-away",
            Self::ApiAwayNodeDead => "api-away-node-dead",
            Self::NodeDead => "node-dead",
            Self::ApiSlowNodeDead => "api-slow-node-dead",
            Self::BackendDead => "backend-dead",
            Self::Rest => "rest",
            Self::Busy => "busy",
        }
    }

    /// The name of its undoing, where that is looked at as well.
    pub(super) fn undoing(self) -> Option<&'static str> {
        match self {
            Self::LinkDown => Some("link-up"),
            Self::Deaf => Some("hearing"),
            Self::Mute => Some("speaking"),
            Self::LinkDead => Some("link-alive"),
            Self::Partition => Some("joined"),
            Self::Freeze => Some("thaw"),
            _ => None,
        }
    }

    /// What is done, for the figures' method.
    pub(super) fn what(self) -> &'static str {
        match self {
            Self::Kill => "kill -9 of the owner's announcer",
            Self::LinkDown => "the owner's data link down",
            Self::Deaf => "the owner's data link carries nothing to it, with its carrier",
            Self::Mute => "the owner's data link carries nothing from it, with its carrier",
            Self::LinkDead => "the owner's data link carries nothing, with its carrier",
            Self::Partition => {
                "the owner and another node on a segment of their own, with the API server"
            }
            Self::Freeze => "SIGSTOP of the owner's announcer",
            Self::Terminate => "SIGTERM of the owner's announcer",
            Self::Drain => "cordon and drain of the owner",
            Self::Rollout => "restart of the DaemonSet, until all of it is new",
            Self::ApiAway => "API server stopped for 60 s, and 15 s after that",
            Self::ApiAwayNodeDead => {
                "API server stopped; 20 s later everything on the owner killed, both links down"
            }
            Self::NodeDead => "everything on the owner killed, both links down",
            Self::ApiSlowNodeDead => {
                "everything on the owner killed, both links down, and the API server stopped for a second meanwhile"
            }
            Self::BackendDead => {
                "everything on one of two nodes with backends killed, both links down"
            }
            Self::Rest => "nothing",
            Self::Busy => "every processor of the machine kept busy",
        }
    }

    pub(super) fn victim(self) -> Victim {
        match self {
            Self::BackendDead => Victim::Backend,
            _ => Victim::Owner,
        }
    }

    /// How often, where others are done `repeat` times: of what takes long once is enough.
    pub(super) const fn times(self, repeat: usize) -> usize {
        if self.is_quiet() { 1 } else { repeat }
    }

    /// Whether nothing befalls anybody.
    pub(super) const fn is_quiet(self) -> bool {
        matches!(self, Self::Rest | Self::Busy)
    }

    /// Who is on the smaller side of a split: the owner and the last other one that announces, which where two own all
    /// is none of them. Those that serve stay with the client.
    fn side(lab: &Lab, node: &Machine) -> Vec<Machine> {
        let nodes = &lab.plan().nodes;
        let announce = &nodes[..nodes.len().saturating_sub(usize::from(SERVING))];
        let others = announce.iter().rev();
        let other = others.filter(|other| other.name != node.name).take(1);
        std::iter::once(node).chain(other).cloned().collect()
    }

    /// What has to be so before.
    pub(super) async fn prepare(self, lab: &Lab) -> Result<()> {
        if self == Self::ApiAwayNodeDead {
            lab.api_server()?.signal(Signal::SIGSTOP);
            tokio::time::sleep(AWAY_BEFORE).await;
        }
        Ok(())
    }

    /// Does it to a node, and waits until all of it is done.
    pub(super) async fn disturb(
        self,
        lab: &Lab,
        tree: &Path,
        node: &Machine,
        quiet: Duration,
    ) -> Result<()> {
        let lose = |lost| power::lose(lab.plan(), node, "eth0", lost);
        match self {
            Self::Rest => {
                tokio::time::sleep(quiet).await;
                Ok(())
            }
            Self::Busy => {
                let _busy = Busy::start();
                tokio::time::sleep(quiet).await;
                Ok(())
            }
            Self::Deaf => lose(Lost::Received),
            Self::Mute => lose(Lost::Sent),
            Self::LinkDead => lose(Lost::Both),
            Self::Partition => power::split(lab.plan(), &Self::side(lab, node)),
            Self::ApiSlowNodeDead => {
                let server = lab.api_server()?;
                server.signal(Signal::SIGSTOP);
                let cut = power::cut(lab.plan(), node);
                tokio::time::sleep(SLOW).await;
                server.signal(Signal::SIGCONT);
                cut
            }
            Self::Kill => signal(lab, node, Signal::SIGKILL),
            Self::LinkDown => power::link(lab.plan(), node, "eth0", false),
            Self::Freeze => signal(lab, node, Signal::SIGSTOP),
            Self::Terminate => signal(lab, node, Signal::SIGTERM),
            Self::Drain => {
                let drain = format!(
                    "drain {} --ignore-daemonsets --delete-emptydir-data --force --timeout=60s",
                    node.name
                );
                kubectl(lab, tree, &drain).map(drop)
            }
            Self::Rollout => {
                let announcers = "-n landfall-system daemonset/landfall-announcer";
                kubectl(lab, tree, &format!("rollout restart {announcers}"))?;
                let status = format!("rollout status {announcers} --timeout=180s");
                kubectl(lab, tree, &status).map(drop)
            }
            Self::ApiAway => {
                let server = lab.api_server()?;
                server.signal(Signal::SIGSTOP);
                tokio::time::sleep(AWAY).await;
                server.signal(Signal::SIGCONT);
                tokio::time::sleep(BACK).await;
                Ok(())
            }
            Self::ApiAwayNodeDead | Self::NodeDead | Self::BackendDead => {
                power::cut(lab.plan(), node)
            }
        }
    }

    /// What can be undone of it; the rest is up to the cluster.
    pub(super) fn undo(self, lab: &mut Lab, tree: &Path, node: &Machine) -> Result<()> {
        match self {
            Self::Kill
            | Self::Terminate
            | Self::Rollout
            | Self::ApiAway
            | Self::Rest
            | Self::Busy => Ok(()),
            Self::Deaf | Self::Mute | Self::LinkDead => {
                power::lose_nothing(lab.plan(), node, "eth0")
            }
            Self::Partition => power::join(lab.plan(), &Self::side(lab, node)),
            Self::LinkDown => power::link(lab.plan(), node, "eth0", true),
            Self::Freeze => signal(lab, node, Signal::SIGCONT),
            Self::Drain => kubectl(lab, tree, &format!("uncordon {}", node.name)).map(drop),
            Self::ApiAwayNodeDead => {
                lab.api_server()?.signal(Signal::SIGCONT);
                lab.revive_node(node)
            }
            Self::NodeDead | Self::ApiSlowNodeDead | Self::BackendDead => lab.revive_node(node),
        }
    }

    /// Whether its announcer has to be made anew, because its kubelet would wait longer and longer before starting it.
    pub(super) fn ends_the_process(self) -> bool {
        matches!(self, Self::Kill | Self::Terminate)
    }
}

/// Keeps every processor busy until it is dropped, as urgently as ordinary threads are.
struct Busy(Arc<AtomicBool>);

impl Busy {
    fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        for _ in 0..processors {
            let stop = Arc::clone(&stop);
            // It ends with the flag, and nobody waits for it.
            drop(std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            }));
        }
        Self(stop)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
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
