//! Going back in time: a copy of etcd's data, and putting it back under a control plane that goes on.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::ControlPlane;
use crate::process::run;

/// A copy of everything etcd had at one moment.
#[derive(Debug)]
pub struct EtcdCopy {
    dir: PathBuf,
}

impl ControlPlane {
    /// Copies etcd's data. The API server is away for the moment: what is copied is at rest.
    ///
    /// # Errors
    /// When a process does not start again, or the data cannot be copied.
    pub async fn copy(&mut self) -> Result<EtcdCopy> {
        let dir = self.dir().join("etcd-copy");
        self.stop_api();
        copy_dir(&self.data(), &dir)?;
        self.launch_api().await?;
        Ok(EtcdCopy { dir })
    }

    /// Puts a copy back in the place of what there is, without telling anybody: on the same ports, with
    /// revisions that were given to other things meanwhile.
    ///
    /// # Errors
    /// When a process does not start again, or the data cannot be copied.
    pub async fn restore(&mut self, copy: &EtcdCopy) -> Result<()> {
        self.stop_api();
        copy_dir(&copy.dir, &self.data())?;
        self.launch_api().await
    }

    fn data(&self) -> PathBuf {
        self.dir().join("etcd")
    }

    /// The API server first, so that it has nobody to complain about.
    fn stop_api(&mut self) {
        // It would wait for its watches to end, and has nothing to lose; etcd is to close its files.
        for (name, signal) in [
            ("kube-apiserver", Signal::SIGKILL),
            ("etcd", Signal::SIGTERM),
        ] {
            let all = std::mem::take(&mut self.processes);
            let (ends, rest): (Vec<_>, Vec<_>) =
                all.into_iter().partition(|process| process.name == name);
            self.processes = rest;
            for mut process in ends {
                process.end(signal, Duration::from_secs(10));
            }
        }
    }
}

fn copy_dir(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        std::fs::remove_dir_all(to).with_context(|| format!("removing {}", to.display()))?;
    }
    run(Command::new("cp").arg("-r").arg(from).arg(to)).map(drop)
}
