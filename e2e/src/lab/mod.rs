//! The machine room: a cluster whose nodes, pods and clients are network namespaces of this machine.
//!
//! - [`plan`]: names, addresses, scripts (pure).
//! - [`preflight`]: what a machine must have.
//! - [`state`]: what exists, and taking it down.
//! - [`cluster`]: building it: links, control plane, nodes.
//! - [`evidence`]: logs and state that outlive a lab in which something did not hold.
//! - [`forward`]: the host's way to the API server of a lab that stays.
//!
//! Invariant: what is made is in the state file first, so that success, failure, panic, a signal and even `kill -9`
//! (then: the next start) end in the same clean machine.

pub mod cluster;
pub mod evidence;
pub mod forward;
pub mod plan;
pub mod preflight;
pub mod state;

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};

/// Moves this thread into a named network namespace, for good. Sockets and processes it makes afterwards are in there.
pub fn enter(netns: &str) -> Result<()> {
    let path = Path::new("/run/netns").join(netns);
    let file = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
    setns(file, CloneFlags::CLONE_NEWNET).with_context(|| format!("entering {netns}"))
}

/// A program of this workspace, beside the one that runs: in whatever profile the lab was built.
pub fn sibling(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("finding out where this program is")?;
    own.ancestors()
        .skip(1)
        .take(2)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
        .with_context(|| {
            format!(
                "{name} is not built beside {}: cargo build --workspace",
                own.display()
            )
        })
}
