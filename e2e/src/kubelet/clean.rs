//! Removes what records name: processes, namespaces, mounts. Works on a live node, after a crash, and twice.
//!
//! Invariant: only containers that a record below the root names are killed, and a directory is removed only when no
//! mount is left below it.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::{
    mount::{MntFlags, umount2},
    sys::signal::Signal,
};
use tokio::time::timeout;

use super::{
    network,
    records::{BundleDir, PodDir, PodRecord, Root, ShimRecord},
    runtime::{Runtime, ended},
};

const PATIENCE: Duration = Duration::from_secs(5);

/// Everything below a node's root.
pub(crate) async fn all(path: &Path) -> Result<()> {
    let path = path
        .canonicalize()
        .with_context(|| format!("--root {}", path.display()))?;
    let root = Root::at(&path);
    let runtime = Runtime::of(&root)?;
    let recorded = root.recorded();
    // All signals first, so that the waits overlap.
    for (dir, _) in &recorded {
        for (_, bundle) in bundles(dir) {
            strike(&runtime, &bundle).await;
        }
    }
    for (dir, record) in &recorded {
        pod(&runtime, dir, record).await?;
    }
    unmount_below(&path)?;
    remove_dir(&root.pods())?;
    remove_dir(&root.runc())
}

/// One Pod: containers, network, mounts, directory.
pub(crate) async fn pod(runtime: &Runtime, dir: &PodDir, record: &PodRecord) -> Result<()> {
    for (_, bundle) in bundles(dir) {
        strike(runtime, &bundle).await;
        bury(runtime, &bundle).await;
    }
    if let Some(network) = &record.network {
        network::remove(network).await;
    }
    unmount_below(dir.path())?;
    remove_dir(dir.path())
}

/// All attempts of all containers.
fn bundles(dir: &PodDir) -> Vec<(String, BundleDir)> {
    let containers = dir.containers();
    let attempts = containers.iter().flat_map(|name| {
        let attempts = dir.attempts(name);
        attempts
            .into_iter()
            .map(move |attempt| (name.clone(), dir.bundle(name, attempt)))
    });
    attempts.collect()
}

/// Kills a container, if it may be running.
async fn strike(runtime: &Runtime, bundle: &BundleDir) {
    if let Some(ShimRecord { id, .. }) = bundle.shim()
        && bundle.exit().is_none()
    {
        let _ = runtime.signal(&id, "KILL").await;
    }
}

/// Waits for its shim to have cleaned up; does it in the shim's place where there is none.
pub(crate) async fn bury(runtime: &Runtime, bundle: &BundleDir) {
    let Some(ShimRecord { id, process, .. }) = bundle.shim() else {
        return;
    };
    if process.is_alive() {
        let waited = timeout(PATIENCE, ended(process)).await;
        if !matches!(waited, Ok(Ok(()))) {
            process.signal(Signal::SIGKILL);
        }
    }
    if bundle.exit().is_none() {
        runtime.delete(&id).await;
    }
}

/// Unmounts everything below a path, deepest first.
pub(crate) fn unmount_below(path: &Path) -> Result<()> {
    for mount in mounts_below(path)?.into_iter().rev() {
        umount2(&mount, MntFlags::MNT_DETACH)
            .with_context(|| format!("unmount {}", mount.display()))?;
    }
    Ok(())
}

fn mounts_below(path: &Path) -> Result<Vec<PathBuf>> {
    let text = fs::read_to_string("/proc/self/mountinfo")?;
    let points = text
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(unescape);
    Ok(points.filter(|point| point.starts_with(path)).collect())
}

/// The kernel writes blanks and backslashes as octal.
fn unescape(text: &str) -> PathBuf {
    let codes = [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ];
    let plain = codes.iter().fold(text.to_owned(), |text, (code, plain)| {
        text.replace(code, plain)
    });
    PathBuf::from(plain)
}

fn remove_dir(dir: &Path) -> Result<()> {
    let left = mounts_below(dir)?;
    if !left.is_empty() {
        bail!(
            "{} is not removed: {left:?} are still mounted",
            dir.display()
        );
    }
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}

/// Prints the running containers, one JSON object a line.
pub(crate) fn list(path: &Path) -> Vec<serde_json::Value> {
    let root = Root::at(path);
    let mut lines = Vec::new();
    for (dir, record) in root.recorded() {
        for (name, bundle) in bundles(&dir) {
            let Some(shim) = bundle.shim().filter(|shim| shim.process.is_alive()) else {
                continue;
            };
            let Some(pid) = bundle.pid() else { continue };
            lines.push(serde_json::json!({
                "namespace": record.namespace,
                "pod": record.name,
                "uid": record.uid,
                "container": name,
                "id": shim.id,
                "pid": pid,
                "addresses": record.addresses,
                "netns": record.network.as_ref().map(|network| network.netns.clone()),
            }));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn cleaning_an_empty_root_is_no_error_and_may_be_repeated() {
        let temp = tempfile::tempdir().unwrap();
        all(temp.path()).await.unwrap();
        all(temp.path()).await.unwrap();
    }

    #[test]
    fn mount_points_are_read_as_they_are_meant() {
        assert_eq!(unescape("/a\\040b"), PathBuf::from("/a b"));
        assert!(
            mounts_below(Path::new("/proc"))
                .unwrap()
                .contains(&PathBuf::from("/proc"))
        );
    }
}
