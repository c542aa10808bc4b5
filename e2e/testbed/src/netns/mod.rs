//! Network namespaces: made, cabled, bridged, entered, run in, dropped.
//!
//! - [`Net`]: hosts of a test, each a namespace with a name, that tools and child processes can be run in.
//! - [`Host`]: a thread with a namespace of its own and without a name, for what must run *in* the test's process.
//! - the functions here: the few calls both stand on, by the name (or the path) of a namespace.
//!
//! A network namespace is a thread's. Who enters one stays there: use a thread made for it, or [`inside`].
//!
//! Invariant: a namespace of a [`Net`] or a [`Host`] ends with its value and with its process, killed or not.

mod host;
mod net;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns, unshare};

pub use self::host::Host;
pub use self::net::Net;
use crate::process::{Stamp, in_netns, run};

/// Where the kernel's tools keep the names of namespaces.
const NAMES: &str = "/run/netns";

/// The file of a namespace: below `/run/netns`, or the path itself.
#[must_use]
pub fn path(netns: &str) -> PathBuf {
    // A path replaces what it is joined to.
    Path::new(NAMES).join(netns)
}

/// Makes a namespace with a name.
pub fn add(netns: &str) -> Result<()> {
    run(Command::new("ip").args(["netns", "add", netns])).map(drop)
}

/// Takes its name away; it ends with the last process in it.
pub fn delete(netns: &str) -> Result<()> {
    run(Command::new("ip").args(["netns", "delete", netns])).map(drop)
}

/// Moves this thread into a namespace, for good. Sockets and processes it makes afterwards are in there.
pub fn enter(netns: &str) -> Result<()> {
    let path = path(netns);
    let file = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
    setns(file, CloneFlags::CLONE_NEWNET).with_context(|| format!("entering {netns}"))
}

/// Moves this thread into a new namespace without a name, which ends with the thread.
pub fn isolate() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).context("making a network namespace")
}

/// Runs something on a thread of its own inside a namespace, and waits for what it returns.
pub fn inside<T: Send>(netns: &str, work: impl FnOnce() -> T + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| enter(netns).map(|()| work()));
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Runs `ip` with these words in a namespace.
pub fn ip(netns: &str, words: &str) -> Result<String> {
    run(in_netns(Some(netns), Path::new("ip")).args(words.split_whitespace()))
}

/// Has nftables in a namespace do this: commands as `nft` reads them from a file.
pub fn nft(netns: &str, commands: &str) -> Result<()> {
    run(in_netns(Some(netns), Path::new("nft")).arg(commands)).map(drop)
}

/// Sets a kernel parameter below `net` in a namespace: `ipv4/ip_forward`.
pub fn sysctl(netns: &str, name: &str, value: &str) -> Result<()> {
    inside(netns, || set(name, value))?.with_context(|| format!("in {netns}"))
}

/// Sets a kernel parameter below `net` in the namespace of this thread.
fn set(name: &str, value: &str) -> Result<()> {
    // A thread in a mount namespace of its own sees this path as everybody does; `/proc/sys` shows each its own network.
    let path = Path::new("/proc/sys/net").join(name);
    fs::write(&path, value).with_context(|| format!("writing {value} to {}", path.display()))
}

/// The names of namespaces that begin with a prefix.
#[must_use]
pub fn named(prefix: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(NAMES) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with(prefix))
        .collect();
    names.sort();
    names
}

/// The processes that live in namespaces with a name, without this one.
#[must_use]
pub fn inhabitants(names: &[String]) -> Vec<Stamp> {
    let inside: BTreeSet<(u64, u64)> = names
        .iter()
        .filter_map(|name| fs::metadata(path(name)).ok())
        .map(|meta| (meta.dev(), meta.ino()))
        .collect();
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid != std::process::id())
        .filter(|pid| {
            fs::metadata(format!("/proc/{pid}/ns/net"))
                .is_ok_and(|meta| inside.contains(&(meta.dev(), meta.ino())))
        })
        .filter_map(|pid| Stamp::of(i32::try_from(pid).ok()?))
        .collect()
}
