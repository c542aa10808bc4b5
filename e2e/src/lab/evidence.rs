//! What is worth keeping of a lab in which something did not hold: logs, and each node's network, below `target/lab/`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::node::container_logs;
use super::plan::{Machine, Plan, node_root};
use landfall_testbed::control_plane::assets::source_tree;
use landfall_testbed::process::{in_netns, run};

/// What is asked of every machine.
const NETWORK: &str = "ip address; ip route; ip -6 route; ip neigh; nft list ruleset";

/// Copies everything to a directory that outlives the lab, and says which.
pub fn keep(plan: &Plan, occasion: &str) -> Result<PathBuf> {
    let dir = source_tree()
        .join("target/lab")
        .join(format!("{occasion}-{}", plan.id));
    fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    copy_logs(&plan.dir, &dir)?;
    copy_logs(&plan.dir.join("control-plane"), &dir)?;
    for machine in plan.machines() {
        keep_machine(plan, machine, &dir.join(&machine.name))?;
    }
    dir.canonicalize()
        .with_context(|| format!("finding {}", dir.display()))
}

fn keep_machine(plan: &Plan, machine: &Machine, into: &Path) -> Result<()> {
    fs::create_dir_all(into).with_context(|| format!("making {}", into.display()))?;
    copy_logs(&node_root(plan, machine), into)?;
    for log in container_logs(plan, machine) {
        let start = log.file.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("{}_{}_{}_{start}", log.namespace, log.pod, log.container);
        // One that was rotated away meanwhile is no evidence.
        let _ = fs::copy(&log.file, into.join(name));
    }
    let network = run(in_netns(Some(&machine.netns), Path::new("sh")).args(["-c", NETWORK]));
    fs::write(into.join("network.txt"), said(network))?;
    Ok(())
}

/// Evidence that cannot be had is itself some.
fn said(result: Result<String>) -> String {
    result.unwrap_or_else(|error| format!("{error:#}"))
}

fn copy_logs(from: &Path, to: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(from) else {
        return Ok(());
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.extension().is_some_and(|extension| extension == "log")
            && let Some(name) = path.file_name()
        {
            fs::copy(&path, to.join(name))
                .with_context(|| format!("copying {}", path.display()))?;
        }
    }
    Ok(())
}
