//! Cgroups that a test or a lab made, and removing them.
//!
//! Invariant: a cgroup is removed, never a process in it: one that is still in use stays and is reported.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Where the kernel shows them: the second version itself, the first with one hierarchy a directory.
const MOUNT: &str = "/sys/fs/cgroup";

/// How long the kernel may take to forget the processes that were in it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Removes a cgroup and all below it, in every hierarchy; what is not there is not missed.
pub fn remove(name: &str) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    for dir in everywhere(Path::new(MOUNT), name) {
        loop {
            match remove_tree(&dir) {
                Ok(()) => {
                    // What others have cgroups in is not empty, and stays.
                    if name.contains('/')
                        && let Some(above) = dir.parent()
                    {
                        let _ = fs::remove_dir(above);
                    }
                    break;
                }
                Err(error) if Instant::now() >= until => {
                    return Err(error).with_context(|| {
                        format!(
                            "removing the cgroup {}; `cat` its cgroup.procs to see who is in it",
                            dir.display()
                        )
                    });
                }
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }
    Ok(())
}

/// Where a cgroup of this name exists.
fn everywhere(mount: &Path, name: &str) -> Vec<PathBuf> {
    let hierarchies = fs::read_dir(mount)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    std::iter::once(mount.to_owned())
        .chain(hierarchies)
        .map(|hierarchy| hierarchy.join(name))
        .filter(|dir| dir.is_dir())
        .collect()
}

/// Removes directories, the deepest first. The files in a cgroup are the kernel's and go with it.
fn remove_tree(dir: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_looked_for_in_every_hierarchy_and_in_the_mount_itself() {
        let mount = tempfile::tempdir().unwrap();
        for dir in ["cpu/lab/1/node", "memory/lab/1", "pids/other", "lab/1"] {
            fs::create_dir_all(mount.path().join(dir)).unwrap();
        }
        let mut found = everywhere(mount.path(), "lab/1");
        found.sort();
        let wanted = ["cpu/lab/1", "lab/1", "memory/lab/1"].map(|dir| mount.path().join(dir));
        assert_eq!(found, wanted);
    }

    #[test]
    fn what_lies_below_goes_first_and_what_is_gone_is_not_missed() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("lab");
        fs::create_dir_all(top.join("node/kubepods/burstable")).unwrap();
        remove_tree(&top).unwrap();
        assert!(!top.exists());
        remove_tree(&top).unwrap();
    }
}
