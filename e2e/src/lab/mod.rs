//! The machine room: a cluster whose nodes, pods and clients are network namespaces of this machine.
//!
//! - [`plan`]: names, addresses, scripts (pure).
//! - [`preflight`]: what a machine must have.
//! - [`cluster`]: building it: links, control plane, nodes.
//! - [`node`]: containerd, kubelet and kube-proxy of a node, in namespaces of their own.
//! - [`power`]: cables and power cuts.
//! - [`evidence`]: logs and state that outlive a lab in which something did not hold.
//! - [`forward`]: the host's way to the API server of a lab that stays.
//!
//! Invariant: what is made is in the state file first, so that success, failure, panic, a signal and even `kill -9`
//! (then: the next start) end in the same clean machine.

pub mod cluster;
pub mod evidence;
pub mod forward;
pub mod node;
pub mod plan;
pub mod power;
pub mod preflight;

use std::path::PathBuf;

use anyhow::{Context, Result};

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
