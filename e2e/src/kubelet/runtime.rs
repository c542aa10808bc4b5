//! Containers through `runc`, each below a shim of its own. Thin: spawn, signal, exec, wait.

use std::{
    fs, io,
    os::fd::{FromRawFd as _, OwnedFd},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, unix::AsyncFd},
    process::Command,
    time::timeout,
};

use super::{
    records::{BundleDir, Root},
    rootfs,
};
use landfall_testbed::process::Stamp;

/// A container that has not begun by then never will.
const START_LIMIT: Duration = Duration::from_secs(30);

/// The name runc and cgroups know a container by.
pub(crate) fn id(uid: &str, container: &str, attempt: u32) -> String {
    format!("{uid}-{container}-{attempt}")
}

/// `runc`, with its state below a node's root.
#[derive(Debug, Clone)]
pub(crate) struct Runtime {
    state: PathBuf,
    program: PathBuf,
}

impl Runtime {
    /// Of that node; this very program is the shim.
    pub(crate) fn of(root: &Root) -> Result<Self> {
        let state = root.runc();
        fs::create_dir_all(&state)?;
        Ok(Self {
            state,
            program: std::env::current_exe().context("find this program")?,
        })
    }

    fn runc(&self) -> Command {
        let mut command = Command::new("runc");
        command.arg("--root").arg(&self.state).stdin(Stdio::null());
        command
    }

    /// Writes the bundle.
    pub(crate) fn prepare(bundle: &BundleDir, config: &Value) -> io::Result<()> {
        if bundle.path().exists() {
            fs::remove_dir_all(bundle.path())?;
        }
        fs::create_dir_all(bundle.path())?;
        rootfs::skeleton(&bundle.rootfs())?;
        fs::write(bundle.termination_log(), "")?;
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        fs::set_permissions(bundle.termination_log(), open)?;
        fs::write(bundle.config(), serde_json::to_vec_pretty(config)?)
    }

    /// Starts a prepared container; the error is the runtime's own message.
    pub(crate) async fn launch(&self, bundle: &BundleDir, id: &str, log: &Path) -> Result<i32> {
        let mut child = Command::new(&self.program)
            .args(["shim", "--id", id, "--runc-root"])
            .arg(&self.state)
            .arg("--bundle")
            .arg(bundle.path())
            .arg("--log")
            .arg(log)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("start a shim")?;
        let out = child.stdout.take().context("the shim has no stdout")?;
        // Reaps the shim whenever it ends; its records say the rest.
        tokio::spawn(async move { child.wait().await });
        let mut lines = BufReader::new(out).lines();
        let line = timeout(START_LIMIT, lines.next_line())
            .await
            .context("the start hangs")??;
        let line = line.unwrap_or_default();
        match line.split_once(' ') {
            Some(("started", pid)) => pid.parse().context("the shim's answer"),
            Some(("failed", message)) => bail!("{message}"),
            _ => bail!("the shim ended before the container began"),
        }
    }

    /// Sends a signal to the container's first process; a container that is gone already is no error.
    pub(crate) async fn signal(&self, id: &str, signal: &str) -> Result<()> {
        let output = self.runc().args(["kill", id, signal]).output().await?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let gone = text.contains("does not exist") || text.contains("not running");
        if !output.status.success() && !gone {
            bail!("runc kill: {}", text.trim());
        }
        Ok(())
    }

    /// Runs a command inside; its success and what it said.
    pub(crate) async fn exec(&self, id: &str, command: &[String]) -> Result<(bool, String)> {
        let mut runc = self.runc();
        runc.args(["exec", id]).args(command).kill_on_drop(true);
        let output = runc.output().await?;
        let said = [output.stdout, output.stderr].concat();
        Ok((
            output.status.success(),
            String::from_utf8_lossy(&said).trim().to_owned(),
        ))
    }

    /// Removes whatever is left of a container.
    pub(crate) async fn delete(&self, id: &str) {
        let _ = self.runc().args(["delete", "--force", id]).output().await;
    }
}

/// Waits until a process has ended, whoever its parent is.
pub(crate) async fn ended(process: Stamp) -> Result<()> {
    let Some(fd) = pidfd(process.pid)? else {
        return Ok(());
    };
    // Looked at after opening: from here on the id cannot pass to another process unnoticed.
    if !process.is_alive() {
        return Ok(());
    }
    // SAFETY: `fd` is an open descriptor that the AsyncFd now owns; nobody else closes or replaces it.
    let fd = unsafe { AsyncFd::register_with_interest(fd, tokio::io::Interest::READABLE) }
        .map_err(io::Error::from)?;
    fd.readable().await?.retain_ready();
    Ok(())
}

fn pidfd(pid: i32) -> io::Result<Option<OwnedFd>> {
    // SAFETY: pidfd_open takes two integers and touches no memory of ours.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, libc::PIDFD_NONBLOCK) };
    match i32::try_from(fd) {
        // SAFETY: the system call just returned this descriptor, and nothing else knows it.
        Ok(fd) if fd >= 0 => Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) })),
        _ => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ESRCH) => Ok(None),
            error => Err(error),
        },
    }
}
