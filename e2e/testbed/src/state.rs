//! What exists because of us: one directory a lab (or a test's control plane), with a state file that lists its
//! processes and namespaces *before or as soon as* they are made, so that anybody can take it down later.
//!
//! Invariant: [`tear_down`] touches only what a state file names: processes by pid and start time, processes inside the
//! lab's own namespaces, namespaces by its own prefix, its own cgroup, mounts and files below its own directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use crate::cgroup;
use crate::netns;
use crate::process::Stamp;

/// The state file's name.
const FILE: &str = "state.json";

/// A process that was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessRecord {
    /// Its name.
    pub name: String,
    /// Its pid and start time.
    #[serde(flatten)]
    pub stamp: Stamp,
}

/// What there is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Four hexadecimal digits that all names of this lab carry.
    pub id: String,
    /// `lab` or `api`.
    pub kind: String,
    /// The boot in which it was made: after another one only files can be left.
    pub boot: String,
    /// Who takes it down: nobody but `lab down` once it is kept.
    pub owner: Option<Stamp>,
    /// Processes, in the order they were started.
    pub processes: Vec<ProcessRecord>,
    /// Names of network namespaces begin with this; empty: there are none.
    pub namespace_prefix: String,
    /// The cgroup that all of its nodes are in; empty: there is none.
    #[serde(default)]
    pub cgroup: String,
    /// What `lab exec` and `lab kubectl` need to know.
    pub plan: serde_json::Value,
}

impl State {
    /// Whether nobody will take it down any more.
    fn is_stale(&self, boot: &str) -> bool {
        self.boot != boot || self.owner.is_some_and(|owner| !owner.is_alive())
    }
}

/// The directory below which all labs of this machine live.
pub fn base() -> PathBuf {
    std::env::var_os("LANDFALL_LAB_DIR")
        .map_or_else(|| std::env::temp_dir().join("landfall-lab"), PathBuf::from)
}

/// A lab's directory with its state file. Dropping it takes everything down that the state names, unless kept.
#[derive(Debug)]
pub struct Scratch {
    dir: PathBuf,
    state: State,
}

impl Scratch {
    /// A new one with an identifier of its own; stale ones are collected first.
    pub fn create(kind: &str) -> Result<Self> {
        let base = base();
        fs::create_dir_all(&base).with_context(|| format!("making {}", base.display()))?;
        collect_stale(&base);
        let boot = boot_id();
        // Four digits are few: a taken one is met now and then, and another is thrown.
        for _ in 0..u16::MAX {
            let id = format!("{:04x}", fastrand::u16(..));
            let dir = base.join(&id);
            match fs::create_dir(&dir) {
                Ok(()) => {
                    let state = State {
                        id,
                        kind: kind.to_owned(),
                        boot,
                        owner: Some(Stamp::own()?),
                        processes: Vec::new(),
                        namespace_prefix: String::new(),
                        cgroup: String::new(),
                        plan: serde_json::Value::Null,
                    };
                    let this = Self { dir, state };
                    this.save()?;
                    return Ok(this);
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("making {}", dir.display()));
                }
            }
        }
        bail!("no free lab identifier below {}", base.display())
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its identifier.
    pub fn id(&self) -> &str {
        &self.state.id
    }

    /// Notes a process.
    pub fn record(&mut self, name: &str, stamp: Stamp) -> Result<()> {
        self.update(|state| {
            state.processes.push(ProcessRecord {
                name: name.to_owned(),
                stamp,
            })
        })
    }

    /// Changes the state and writes it.
    pub fn update(&mut self, change: impl FnOnce(&mut State)) -> Result<()> {
        change(&mut self.state);
        self.save()
    }

    /// Hands it over to `lab down`.
    pub fn keep(&mut self) {
        self.state.owner = None;
        if let Err(error) = self.save() {
            eprintln!("lab: {error:#}");
        }
    }

    fn save(&self) -> Result<()> {
        let (file, next) = (self.dir.join(FILE), self.dir.join("state.next"));
        fs::write(&next, serde_json::to_vec_pretty(&self.state)?)
            .and_then(|()| fs::rename(&next, &file))
            .with_context(|| format!("writing {}", file.display()))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.state.owner.is_some()
            && let Err(error) = tear_down(&self.dir, &self.state)
        {
            eprintln!("lab: taking down {}: {error:#}", self.state.id);
        }
    }
}

/// Every lab there is, with its directory.
pub fn list() -> Vec<(PathBuf, State)> {
    list_below(&base())
}

/// Every lab below a directory, with its own.
pub fn list_below(base: &Path) -> Vec<(PathBuf, State)> {
    let Ok(entries) = fs::read_dir(base) else {
        return Vec::new();
    };
    let mut all: Vec<(PathBuf, State)> = entries
        .flatten()
        .filter_map(|entry| {
            Some((
                entry.path(),
                serde_json::from_slice(&fs::read(entry.path().join(FILE)).ok()?).ok()?,
            ))
        })
        .collect();
    all.sort_by(|one, other| one.0.cmp(&other.0));
    all
}

/// Takes down the labs whose owner is gone.
pub fn collect_stale(base: &Path) {
    let boot = boot_id();
    for (dir, state) in list_below(base) {
        if state.is_stale(&boot) {
            eprintln!(
                "lab: taking down what was left of {} {} (its owner is gone)",
                state.kind, state.id
            );
            if let Err(error) = tear_down(&dir, &state) {
                eprintln!("lab: {error:#}");
            }
        }
    }
}

/// Ends and removes everything that a state names. Goes on after a failure and returns the first one.
pub fn tear_down(dir: &Path, state: &State) -> Result<()> {
    let same_boot = state.boot == boot_id();
    let mut first: Option<anyhow::Error> = None;
    if same_boot {
        // Those that start others first, so that nothing is started any more while the rest is ended.
        end_all(
            &state
                .processes
                .iter()
                .rev()
                .map(|record| record.stamp)
                .collect::<Vec<_>>(),
        );
        if !state.namespace_prefix.is_empty() {
            let names = netns::named(&state.namespace_prefix);
            end_all(&netns::inhabitants(&names));
            for name in names {
                if let Err(error) = netns::delete(&name) {
                    first.get_or_insert(error);
                }
            }
        }
        unmount_below(dir);
        if !state.cgroup.is_empty()
            && let Err(error) = cgroup::remove(&state.cgroup)
        {
            first.get_or_insert(error);
        }
    }
    let left = mounts_below(dir);
    if let Some(mount) = left.first() {
        // Never remove files through a mount that could show somebody else's.
        bail!(
            "{} is still mounted; nothing below {} was removed",
            mount.display(),
            dir.display()
        );
    }
    if let Err(error) = fs::remove_dir_all(dir) {
        first.get_or_insert(
            anyhow::Error::new(error).context(format!("removing {}", dir.display())),
        );
    }
    first.map_or(Ok(()), Err)
}

/// SIGKILL for all, then waits until the kernel has let go of them.
fn end_all(stamps: &[Stamp]) {
    for stamp in stamps {
        stamp.signal(Signal::SIGKILL);
    }
    let until = Instant::now() + Duration::from_secs(5);
    while stamps.iter().any(Stamp::is_alive) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn mounts_below(dir: &Path) -> Vec<PathBuf> {
    let Ok(table) = fs::read_to_string("/proc/self/mountinfo") else {
        return Vec::new();
    };
    mount_points(&table)
        .filter(|path| path.starts_with(dir))
        .collect()
}

/// The mount points of a mountinfo table; blanks in them are written as `\040`.
fn mount_points(table: &str) -> impl Iterator<Item = PathBuf> {
    table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|path| PathBuf::from(path.replace("\\040", " ")))
}

fn unmount_below(dir: &Path) {
    // Mounts over mounts: the table is in the order of mounting, the newest goes first.
    for path in mounts_below(dir).iter().rev() {
        if let Err(error) = umount2(path, MntFlags::MNT_DETACH) {
            eprintln!("lab: unmounting {}: {error}", path.display());
        }
    }
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn state(owner: Option<Stamp>, boot: &str) -> State {
        State {
            id: "beef".into(),
            kind: "lab".into(),
            boot: boot.into(),
            owner,
            processes: Vec::new(),
            namespace_prefix: String::new(),
            cgroup: String::new(),
            plan: serde_json::Value::Null,
        }
    }

    #[test]
    fn a_lab_is_stale_when_its_owner_is_gone_or_the_machine_was_rebooted() {
        let own = Stamp::own().unwrap();
        let gone = Stamp {
            start: own.start + 1,
            ..own
        };
        assert!(!state(Some(own), "now").is_stale("now"));
        assert!(
            !state(None, "now").is_stale("now"),
            "a kept lab has no owner and is not stale"
        );
        assert!(state(Some(gone), "now").is_stale("now"));
        assert!(state(Some(own), "before").is_stale("now"));
    }

    #[test]
    fn mount_points_are_the_fifth_field_with_blanks_unescaped() {
        let table = "36 35 98:0 /mnt1 /lab/a\\040b rw,noatime master:1 - ext3 /dev/root rw\n37 35 0:4 / /proc rw - proc proc rw\n";
        let points: Vec<PathBuf> = mount_points(table).collect();
        assert_eq!(points, [PathBuf::from("/lab/a b"), PathBuf::from("/proc")]);
    }

    #[test]
    fn taking_down_ends_the_recorded_processes_and_removes_the_directory() {
        let dir = tempfile::tempdir().unwrap().keep();
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let stamp = Stamp::of(i32::try_from(child.id()).unwrap()).unwrap();
        let mut state = state(None, &boot_id());
        state.processes.push(ProcessRecord {
            name: "sleep".into(),
            stamp,
        });
        tear_down(&dir, &state).unwrap();
        assert!(!stamp.is_alive() && !dir.exists());
        child.wait().unwrap();
    }
}
