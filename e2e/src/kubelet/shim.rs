//! The parent of one container: a small process that outlives the agent, starts the container through `runc`, waits
//! for it and writes down how it ended.
//!
//! It is a session and a subreaper of its own, so that neither a Ctrl-C nor the agent's death reaches the container.
//! It exits only after its container is gone and `runc` has forgotten it.

use std::{
    fs::{self, OpenOptions},
    io::{Write as _, stdout},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use nix::{
    sys::{
        prctl,
        wait::{WaitStatus, waitpid},
    },
    unistd::{self, Pid},
};

use super::{
    args::ShimArgs,
    records::{BundleDir, ExitRecord, ShimRecord},
};
use landfall_testbed::process::Stamp;

/// Runs one container to its end. The one line on stdout, `started PID` or `failed MESSAGE`, is for the agent.
pub(crate) fn run(args: &ShimArgs) -> Result<()> {
    let bundle = BundleDir::at(&args.bundle);
    // Fails only for a process-group leader, which then has no terminal to lose either.
    let _ = unistd::setsid();
    prctl::set_child_subreaper(true)?;
    let process = Stamp::own()?;
    let started_at = Time(Timestamp::now());
    bundle.write_shim(&ShimRecord {
        id: args.id.clone(),
        process,
        started_at,
    })?;
    let exit = match start(args, &bundle) {
        Ok(pid) => {
            tell(&format!("started {pid}"));
            let code = wait(Pid::from_raw(pid))?;
            ExitRecord {
                code,
                oom: out_of_memory(&bundle),
                start_error: None,
                finished_at: now(),
            }
        }
        Err(error) => {
            let message = format!("{error:#}").replace('\n', " ");
            tell(&format!("failed {message}"));
            ExitRecord {
                code: 128,
                oom: false,
                start_error: Some(message),
                finished_at: now(),
            }
        }
    };
    bundle.write_exit(&exit)?;
    let _ = runc(args, &bundle)
        .args(["delete", "--force", &args.id])
        .output();
    Ok(())
}

fn now() -> Time {
    Time(Timestamp::now())
}

/// The agent may be gone by now: then nobody listens, and that is no error.
fn tell(line: &str) {
    let mut out = stdout();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn runc(args: &ShimArgs, bundle: &BundleDir) -> Command {
    let mut command = Command::new("runc");
    command
        .arg("--root")
        .arg(&args.runc_root)
        .arg("--log")
        .arg(bundle.runc_log());
    command.args(["--log-format", "json"]);
    command
}

fn start(args: &ShimArgs, bundle: &BundleDir) -> Result<i32> {
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&args.log)
        .with_context(|| format!("open {}", args.log.display()))?;
    let status = runc(args, bundle)
        .args(["run", "--detach", "--pid-file"])
        .arg(bundle.pid_file())
        .arg("--bundle")
        .arg(bundle.path())
        .arg(&args.id)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .status()
        .context("run runc")?;
    if !status.success() {
        bail!(
            "runc: {}",
            last_error(&bundle.runc_log()).unwrap_or_else(|| status.to_string())
        );
    }
    bundle.pid().context("runc wrote no pid")
}

/// The message of the last line of runc's log.
fn last_error(log: &Path) -> Option<String> {
    let text = fs::read_to_string(log).ok()?;
    let lines = text.lines().rev();
    let mut messages = lines.filter_map(|line| {
        let entry: serde_json::Value = serde_json::from_str(line).ok()?;
        (entry["level"] == "error").then(|| entry["msg"].as_str().map(str::to_owned))?
    });
    messages.next()
}

/// Waits for the container's first process, reaping whatever else ends up here.
fn wait(container: Pid) -> Result<i32> {
    loop {
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, code)) if pid == container => return Ok(code),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == container => {
                return Ok(128 + signal as i32);
            }
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error).context("wait for the container"),
        }
    }
}

/// Whether the memory limit killed it.
fn out_of_memory(bundle: &BundleDir) -> bool {
    let read = || -> Option<bool> {
        let config: serde_json::Value =
            serde_json::from_slice(&fs::read(bundle.config()).ok()?).ok()?;
        let cgroup = config["linux"]["cgroupsPath"]
            .as_str()?
            .trim_start_matches('/')
            .to_owned();
        let base = Path::new("/sys/fs/cgroup");
        let v1 = base.join("memory").join(&cgroup).join("memory.oom_control");
        let v2 = base.join(&cgroup).join("memory.events");
        let text = fs::read_to_string(v1)
            .or_else(|_| fs::read_to_string(v2))
            .ok()?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("oom_kill "))?;
        Some(line.trim() != "0")
    };
    read().unwrap_or(false)
}
