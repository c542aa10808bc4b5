//! A node: containerd, the kubelet and kube-proxy, in namespaces of their own below one first process.
//!
//! ```text
//!   network namespace lf-ID-node-1       cgroup landfall-lab/ID/node-1
//!   unshare ── init ─┬─ containerd ┄ a shim for each Pod, containers below it
//!                    ├─ kubelet
//!                    └─ kube-proxy
//! ```
//!
//! What it is not: the cable and the power cut, which are [`super::power`]'s.
//!
//! Invariant: whatever runs on a node is below its init, in a process namespace that ends with it; so one signal ends a
//! node, and nothing of it is left: no process, and no mount, because the mounts are in a namespace of the same processes.

mod config;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use landfall_testbed::control_plane::POD_CIDRS;
use landfall_testbed::control_plane::assets::source_tree;
use landfall_testbed::process::{Process, Program, Stamp, below, run, tail};

use super::plan::{Machine, Plan, node_root};

/// How long an init may take to be there.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where Debian keeps the plugins of the CNI.
pub(super) const CNI_PLUGINS: &str = config::PLUGINS;

/// A container's log, as the kubelet keeps it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContainerLog {
    /// Namespace of the Pod.
    pub namespace: String,
    /// Its name.
    pub pod: String,
    /// The container.
    pub container: String,
    /// The file of one of its starts.
    pub file: PathBuf,
}

/// Fills a node's disk: the images, and what its programs are told.
pub(super) fn prepare(
    plan: &Plan,
    node: &Machine,
    images: &Path,
    authority: &Path,
    ranges: &[String],
) -> Result<()> {
    let root = node_root(plan, node);
    let cni = root.join("cni/net.d");
    fs::create_dir_all(&cni).with_context(|| format!("making {}", cni.display()))?;
    share(images, &root.join("containerd"))?;
    let write = |path: PathBuf, text: String| {
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    };
    write(root.join("containerd.toml"), config::containerd())?;
    write(
        root.join("kubelet.yaml"),
        format!("{:#}", config::kubelet(authority)),
    )?;
    write(
        cni.join("10-lab.conflist"),
        format!("{:#}", config::network(plan.network.cni, ranges)),
    )
}

/// Gives a node the images: links to files that nobody changes, and copies of the databases.
fn share(images: &Path, to: &Path) -> Result<()> {
    // Links do not reach from one file system to another; copies do.
    let mut linked = Command::new("cp");
    linked.arg("-al").arg(images).arg(to);
    if run(&mut linked).is_err() {
        let _ = fs::remove_dir_all(to);
        run(Command::new("cp").arg("-a").arg(images).arg(to))?;
        return Ok(());
    }
    for database in [
        "io.containerd.metadata.v1.bolt/meta.db",
        "io.containerd.snapshotter.v1.overlayfs/metadata.db",
    ] {
        let (ours, theirs) = (to.join(database), images.join(database));
        fs::remove_file(&ours)
            .and_then(|()| fs::copy(&theirs, &ours))
            .with_context(|| format!("copying {}", theirs.display()))?;
    }
    Ok(())
}

/// What starts a node.
pub(super) fn program(
    plan: &Plan,
    node: &Machine,
    kubeconfig: impl Fn(&str) -> PathBuf,
) -> Program {
    let root = node_root(plan, node);
    let env = [
        ("NODE", node.name.clone()),
        ("NODE_IPS", plan.network.node_address.of(node)),
        ("NODE_CGROUP", format!("{}/{}", plan.cgroup(), node.name)),
        ("NODE_DIR", root.display().to_string()),
        ("ASSETS", plan.assets.display().to_string()),
        (
            "KUBELET_CONFIG",
            kubeconfig(&node.name).display().to_string(),
        ),
        (
            "PROXY_CONFIG",
            kubeconfig("kube-proxy").display().to_string(),
        ),
        ("POD_CIDRS", POD_CIDRS.to_owned()),
        ("PROXY_MODE", plan.network.proxy.flag().to_owned()),
    ];
    Program {
        name: node.name.clone(),
        path: source_tree().join("e2e/node/start.sh"),
        args: Vec::new(),
        env: env.map(|(name, value)| (name.to_owned(), value)).into(),
        netns: Some(node.netns.clone()),
        log: plan.dir.join(format!("{}.log", node.name)),
    }
}

/// The first process of a node that was started.
pub(super) fn first(process: &mut Process) -> Result<Stamp> {
    let until = Instant::now() + PATIENCE;
    loop {
        process.check()?;
        if let Some(init) = init_below(process.stamp()) {
            return Ok(init);
        }
        ensure!(
            Instant::now() < until,
            "{} has no first process; its log ends:\n{}",
            process.name,
            tail(&process.log, 12)
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The child that is in another process namespace than its parent.
fn init_below(parent: Stamp) -> Option<Stamp> {
    let namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let outside = namespace(parent.pid)?;
    below(parent)
        .into_iter()
        .find(|child| namespace(child.pid).is_some_and(|inside| inside != outside))
}

/// The process that a node hangs on, and its init, as long as it has power.
fn powered(plan: &Plan, node: &Machine) -> Option<(Stamp, Stamp)> {
    if let Some(init) = node.init.and_then(Stamp::of) {
        return Some((init, init));
    }
    let (_, state) = landfall_testbed::state::list()
        .into_iter()
        .find(|(_, state)| state.id == plan.id)?;
    state
        .processes
        .iter()
        .filter(|record| record.name == node.name && record.stamp.is_alive())
        .find_map(|record| Some((record.stamp, init_below(record.stamp)?)))
}

/// Everything that runs on a node, in its containers or not.
pub(super) fn processes(plan: &Plan, node: &Machine) -> Vec<Stamp> {
    powered(plan, node).map_or_else(Vec::new, |(_, init)| below(init))
}

/// Takes a node's power away, and waits until the last of its processes is gone.
pub(super) fn power_off(plan: &Plan, node: &Machine) -> Result<()> {
    let Some((parent, init)) = powered(plan, node) else {
        return Ok(());
    };
    parent.signal(nix::sys::signal::Signal::SIGKILL);
    init.signal(nix::sys::signal::Signal::SIGKILL);
    let until = Instant::now() + PATIENCE;
    // The first process of a namespace is the last one that the kernel lets go.
    while init.is_alive() {
        ensure!(Instant::now() < until, "{} still runs", node.name);
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// A command that runs a program on a node as from a shell there: with its mounts and its processes in sight.
pub fn inside(plan: &Plan, node: &Machine, program: &Path, dir: &Path) -> Option<Command> {
    let (_, init) = powered(plan, node)?;
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--target={}", init.pid))
        .args(["--mount", "--net", "--pid", "--uts", "--ipc"])
        .arg(format!("--wd={}", dir.display()))
        .arg("--")
        .arg(program);
    Some(command)
}

/// The logs of a node's containers, of all their starts, the oldest first.
pub fn container_logs(plan: &Plan, node: &Machine) -> Vec<ContainerLog> {
    let entries = |dir: PathBuf| -> Vec<(String, PathBuf)> {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries
            .map(|entry| {
                (
                    entry.file_name().to_string_lossy().into_owned(),
                    entry.path(),
                )
            })
            .collect()
    };
    let mut logs = BTreeSet::new();
    for (name, pod) in entries(node_root(plan, node).join("log/pods")) {
        // NAMESPACE_POD_UID, none of which may hold an underscore.
        let [namespace, pod_name, _] = name.split('_').collect::<Vec<_>>()[..] else {
            continue;
        };
        for (container, dir) in entries(pod) {
            for (_, file) in entries(dir) {
                logs.insert(ContainerLog {
                    namespace: namespace.to_owned(),
                    pod: pod_name.to_owned(),
                    container: container.clone(),
                    file,
                });
            }
        }
    }
    logs.into_iter().collect()
}

/// A line as the container wrote it: without time, stream and tag, which the runtime puts before each.
#[must_use]
pub fn written(line: &str) -> &str {
    line.splitn(4, ' ').nth(3).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_log_is_what_the_container_wrote() {
        let line =
            "2026-11-26T07:00:00.123456789Z stdout F access client=192.0.2.101:4242 GET / 200";
        assert_eq!(written(line), "access client=192.0.2.101:4242 GET / 200");
        assert_eq!(written("2026-11-26T07:00:00Z stderr F "), "");
        assert_eq!(written(""), "");
    }

    #[test]
    fn logs_are_found_by_namespace_pod_and_container_the_oldest_start_first() {
        let dir = tempfile::tempdir().unwrap();
        let plan = Plan::new("beef", dir.path().to_owned(), "/assets".into(), 1, 0).unwrap();
        let node = plan.nodes[0].clone();
        let pods = node_root(&plan, &node).join("log/pods");
        for path in [
            "demo_web-1_0a/echo/1.log",
            "demo_web-1_0a/echo/0.log",
            "odd/x/0.log",
        ] {
            let file = pods.join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
        let found: Vec<(String, String, String)> = container_logs(&plan, &node)
            .into_iter()
            .map(|log| {
                let start = log.file.file_name().unwrap().to_string_lossy().into_owned();
                (log.pod, log.container, start)
            })
            .collect();
        let echo = |start: &str| ("web-1".into(), "echo".into(), start.into());
        assert_eq!(found, [echo("0.log"), echo("1.log")]);
    }

    #[test]
    fn nodes_share_the_files_of_images_and_not_the_databases() {
        use std::os::unix::fs::MetadataExt as _;
        let dir = tempfile::tempdir().unwrap();
        let (images, node) = (dir.path().join("images"), dir.path().join("node"));
        let files = [
            "io.containerd.metadata.v1.bolt/meta.db",
            "io.containerd.snapshotter.v1.overlayfs/metadata.db",
            "io.containerd.snapshotter.v1.overlayfs/snapshots/1/fs/bin/program",
        ];
        for file in files {
            let file = images.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "content").unwrap();
        }
        share(&images, &node).unwrap();
        let same = files.map(|file| {
            let inode = |root: &Path| root.join(file).metadata().unwrap().ino();
            inode(&images) == inode(&node)
        });
        assert_eq!(same, [false, false, true]);
    }
}
