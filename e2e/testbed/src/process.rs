//! Child processes of the lab: started in a namespace, named by pid *and* start time, ended by that name only.
//!
//! What it is not: a supervisor. A process that dies stays dead and says so when asked.
//!
//! Invariant: a signal goes only to a process whose pid and start time are both those that were recorded, so that a
//! pid the kernel gave to somebody else is never hit.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// A process as the kernel can tell it from every other: its pid and when it started (clock ticks since boot).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Process id.
    pub pid: i32,
    /// Field 22 of `/proc/PID/stat`.
    pub start: u64,
}

impl Stamp {
    /// The stamp of a running process.
    pub fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (state, start) = state_and_start(&stat)?;
        (state != 'Z').then_some(Self { pid, start })
    }

    /// The stamp of this process.
    pub fn own() -> Result<Self> {
        let pid = Pid::this().as_raw();
        Self::of(pid).context("reading /proc/self/stat")
    }

    /// Whether that very process still runs.
    pub fn is_alive(&self) -> bool {
        Self::of(self.pid) == Some(*self)
    }

    /// Sends a signal, if that very process still runs.
    pub fn signal(&self, signal: Signal) {
        if self.is_alive() {
            // A process that ended in between is as good as signalled.
            let _ = kill(Pid::from_raw(self.pid), signal);
        }
    }
}

/// Every process below another one: its children, theirs, and so on.
pub fn below(top: Stamp) -> Vec<Stamp> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let family: Vec<(i32, i32)> = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, parent_of(pid)?)))
        .collect();
    let mut found = vec![top.pid];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        let children = family.iter().filter(|(_, of)| *of == parent);
        found.extend(children.map(|(pid, _)| *pid));
        next += 1;
    }
    found.into_iter().skip(1).filter_map(Stamp::of).collect()
}

fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

/// State letter and start time out of `/proc/PID/stat`, whose second field may itself hold blanks and brackets.
fn state_and_start(stat: &str) -> Option<(char, u64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let start = fields.nth(18)?.parse().ok()?;
    Some((state, start))
}

/// What to start.
#[derive(Clone, Debug)]
pub struct Program {
    /// What it is called in messages, in the state file and in its log's name.
    pub name: String,
    /// The executable.
    pub path: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Variables added to its environment.
    pub env: Vec<(String, String)>,
    /// The network namespace it runs in, by name or path; none: the caller's.
    pub netns: Option<String>,
    /// Where standard output and error are appended.
    pub log: PathBuf,
}

impl Program {
    /// Starts it, in a process group of its own, so that Ctrl-C at the terminal reaches only the lab, which then ends
    /// its children in order.
    pub fn start(self) -> Result<Process> {
        use std::os::unix::process::CommandExt;
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("opening {}", self.log.display()))?;
        let mut command = in_netns(self.netns.as_deref(), &self.path);
        command.args(&self.args).envs(self.env).stdin(Stdio::null());
        command
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0);
        let child = command
            .spawn()
            .with_context(|| format!("starting {} ({})", self.name, self.path.display()))?;
        let pid = i32::try_from(child.id()).context("a pid that does not fit")?;
        let stamp = Stamp::of(pid).with_context(|| {
            format!(
                "{} ended at once; its log: {}",
                self.name,
                self.log.display()
            )
        })?;
        Ok(Process {
            name: self.name,
            log: self.log,
            stamp,
            child,
            kept: false,
        })
    }
}

/// A command that runs `program` in a network namespace, given by name or by path. `nsenter` and not `ip netns exec`: the latter also makes
/// a mount namespace, in which nothing that the program mounts would be seen by the others.
pub fn in_netns(netns: Option<&str>, program: &Path) -> Command {
    match netns {
        None => Command::new(program),
        Some(name) => {
            let mut command = Command::new("nsenter");
            // A path replaces what it is joined to.
            let path = Path::new("/run/netns").join(name);
            command
                .arg(format!("--net={}", path.display()))
                .arg("--")
                .arg(program);
            command
        }
    }
}

/// A started program. Dropping it ends it, unless it was told to be kept.
#[derive(Debug)]
pub struct Process {
    /// What it is called.
    pub name: String,
    /// Its log file.
    pub log: PathBuf,
    stamp: Stamp,
    child: Child,
    kept: bool,
}

impl Process {
    /// Its stamp, for a state file.
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// Leaves it running when this value is dropped.
    pub fn keep(&mut self) {
        self.kept = true;
    }

    /// An error that shows the end of its log, if it has ended.
    pub fn check(&mut self) -> Result<()> {
        match self
            .child
            .try_wait()
            .with_context(|| format!("asking for {}", self.name))?
        {
            None => Ok(()),
            Some(status) => {
                anyhow::bail!(
                    "{} ended ({status}); the end of {}:\n{}",
                    self.name,
                    self.log.display(),
                    tail(&self.log, 12)
                )
            }
        }
    }

    /// Ends it with a signal, and with SIGKILL when that has not helped within `patience`.
    pub fn end(&mut self, signal: Signal, patience: Duration) {
        let until = Instant::now() + patience;
        self.stamp.signal(signal);
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() >= until {
                self.stamp.signal(Signal::SIGKILL);
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.kept {
            self.end(Signal::SIGKILL, Duration::from_secs(2));
        }
    }
}

/// The last lines of a file, for messages.
pub fn tail(path: &Path, lines: usize) -> String {
    const MOST: u64 = 16 * 1024;
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(MOST)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_else(|error| format!("({}: {error})", path.display()));
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Runs a command to its end; an error holds what it printed.
pub fn run(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting {command:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let error = String::from_utf8_lossy(&output.stderr);
    anyhow::bail!(
        "{command:?} failed ({}): {}{}",
        output.status,
        error.trim(),
        text.trim()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_behind_the_last_bracket_of_the_name() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 1 0 98765 1000 10 18446744073709551615";
        assert_eq!(state_and_start(stat), Some(('S', 98765)));
    }

    #[test]
    fn a_stamp_with_another_start_time_is_not_alive() {
        let own = Stamp::own().unwrap();
        assert!(own.is_alive());
        assert!(
            !Stamp {
                start: own.start + 1,
                ..own
            }
            .is_alive()
        );
    }

    #[test]
    fn what_is_below_a_process_are_its_children_and_theirs() {
        let mut child = Command::new("sh")
            .args(["-c", "sh -c 'sleep 600; true'; true"])
            .spawn()
            .unwrap();
        let own = Stamp::own().unwrap();
        let until = Instant::now() + Duration::from_secs(10);
        let shell = Stamp::of(i32::try_from(child.id()).unwrap()).unwrap();
        while below(shell).len() < 2 {
            assert!(Instant::now() < until, "{:?}", below(shell));
            std::thread::yield_now();
        }
        let all = below(own);
        assert!(all.contains(&shell) && !all.contains(&own));
        assert!(below(shell).iter().all(|stamp| all.contains(stamp)));
        for stamp in below(shell) {
            stamp.signal(Signal::SIGKILL);
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_dropped_process_is_gone_and_a_failed_one_shows_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let program = |name: &str, script: &str| Program {
            name: name.to_owned(),
            path: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            env: Vec::new(),
            netns: None,
            log: dir.path().join(name),
        };
        let sleeper = program("sleeper", "exec sleep 600").start().unwrap();
        let stamp = sleeper.stamp();
        assert!(stamp.is_alive());
        drop(sleeper);
        assert!(!stamp.is_alive());

        let mut failing = program("failing", "echo no such luck; sleep 0.05; exit 3")
            .start()
            .unwrap();
        let _ = failing.child.wait();
        let error = failing.check().unwrap_err().to_string();
        assert!(
            error.contains("no such luck") && error.contains("exit status: 3"),
            "{error}"
        );
    }
}
