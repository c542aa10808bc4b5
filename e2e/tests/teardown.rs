//! A lab leaves nothing behind, however the program that made it ends.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use landfall_e2e::lab::preflight;
use landfall_testbed::control_plane::assets;
use landfall_testbed::state;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a step may take on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(90);

/// A scenario that is still at it whenever it is interrupted.
const WAITING: &str = "
name: waiting
about: a command that does not end by itself
lab: {nodes: 1, clients: 1}
steps:
  - title: Wait
    exec: {on: client-1, run: sleep 600}
";

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A lab of this test's own at work, ended by a signal; whatever it had when that came.
fn ended_by(signal: Signal, dir: &Path) -> (state::State, ExitStatus) {
    let (scenario, transcript) = (dir.join("waiting.yaml"), dir.join("transcript"));
    fs::write(&scenario, WAITING).unwrap();
    let mut lab = Ended(
        Command::new(env!("CARGO_BIN_EXE_lab"))
            .arg("run")
            .arg(&scenario)
            .env("LANDFALL_LAB_DIR", dir.join("labs"))
            .env_remove("KEEP")
            .stdout(File::create(&transcript).unwrap())
            .spawn()
            .unwrap(),
    );
    until("the scenario to be at its step", || {
        assert_eq!(lab.0.try_wait().unwrap(), None, "the lab did not come up");
        let told = fs::read_to_string(&transcript).unwrap();
        told.contains("sleep 600").then_some(())
    });
    let [(_, had)] = state::list_below(&dir.join("labs")).try_into().unwrap();
    assert!(!namespaces(&had.namespace_prefix).is_empty());
    assert!(had.processes.iter().all(|process| process.stamp.is_alive()));
    assert!(!cgroups(&had.cgroup).is_empty());
    kill(Pid::from_raw(lab.0.id().cast_signed()), signal).unwrap();
    let status = until("the lab to end", || lab.0.try_wait().unwrap());
    (had, status)
}

/// Ends with the value, so that a failed test leaves no lab at work.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            let _ = kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGTERM);
            let _ = self.0.wait();
        }
    }
}

fn namespaces(prefix: &str) -> Vec<String> {
    let entries = fs::read_dir("/run/netns").unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(prefix)).collect()
}

/// Where the kernel still has a cgroup.
fn cgroups(name: &str) -> Vec<PathBuf> {
    let mount = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(mount).unwrap();
    let hierarchies = hierarchies.map(|entry| entry.unwrap().path());
    std::iter::once(mount.to_owned())
        .chain(hierarchies)
        .map(|hierarchy| hierarchy.join(name))
        .filter(|dir| dir.exists())
        .collect()
}

fn nothing_is_left(had: &state::State, dir: &Path) {
    assert_eq!(namespaces(&had.namespace_prefix), Vec::<String>::new());
    for process in &had.processes {
        assert!(!process.stamp.is_alive(), "{} still runs", process.name);
    }
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(dir.to_str().unwrap()), "{mounts}");
    assert!(state::list_below(&dir.join("labs")).is_empty());
    assert_eq!(cgroups(&had.cgroup), Vec::<PathBuf>::new());
}

#[test]
fn an_interrupted_lab_takes_itself_down_and_a_killed_one_is_taken_down_by_the_next() {
    let lack = preflight::lacks().into_iter().next();
    if lack.is_some() || assets::find(assets::ALL).is_none() {
        let why = lack.map_or("hack/control-plane.sh".to_owned(), |lack| lack.what);
        landfall_testbed::skipped("taking a lab down", &why);
        return;
    }
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let dir = tempfile::tempdir().unwrap();
        let (had, status) = ended_by(signal, dir.path());
        assert!(!status.success());
        nothing_is_left(&had, dir.path());
    }
    let dir = tempfile::tempdir().unwrap();
    let (had, _) = ended_by(Signal::SIGKILL, dir.path());
    assert!(!namespaces(&had.namespace_prefix).is_empty());
    state::collect_stale(&dir.path().join("labs"));
    nothing_is_left(&had, dir.path());
}
