//! A process that is killed as a crash would end it, without a word to it.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill as signal};
use nix::unistd::Pid;

/// Kills every process below `proc` that was started as this program and belongs to the Pod with this uid; returns which. One
/// that has ended meanwhile is none of them.
///
/// # Errors
/// When there is none, or one may not be killed.
pub fn kill(proc: &Path, program: &str, pod: &str) -> anyhow::Result<Vec<i32>> {
    let found = processes(proc, program, pod)?;
    if found.is_empty() {
        bail!("no process of Pod {pod} on this host is called {program}");
    }
    let mut killed = Vec::new();
    for pid in found {
        match signal(Pid::from_raw(pid), Signal::SIGKILL) {
            Ok(()) => killed.push(pid),
            Err(Errno::ESRCH) => {}
            Err(error) => {
                return Err(error).with_context(|| format!("killing {program}, process {pid}"));
            }
        }
    }
    Ok(killed)
}

/// By what they were started as: the kernel's own name of a process is cut after 15 letters.
fn processes(proc: &Path, program: &str, pod: &str) -> anyhow::Result<Vec<i32>> {
    let entries = fs::read_dir(proc).with_context(|| format!("reading {}", proc.display()))?;
    let pids = entries.flatten().filter_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        // One that has ended meanwhile has neither.
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let cgroups = fs::read_to_string(entry.path().join("cgroup")).ok()?;
        let first = line.split(|byte| *byte == 0).next()?;
        let name = Path::new(std::str::from_utf8(first).ok()?).file_name()?;
        (name == program && is_of(&cgroups, pod)).then_some(pid)
    });
    Ok(pids.collect())
}

/// Whether a process with these cgroups (`/proc/PID/cgroup`) belongs to the Pod with this uid. The kubelet calls the Pod's
/// cgroup `podUID`, and where systemd keeps it `kubepods-CLASS-podUID.slice` with `_` for `-`.
fn is_of(cgroups: &str, pod: &str) -> bool {
    let paths = cgroups
        .lines()
        .filter_map(|line| line.splitn(3, ':').nth(2));
    let mut names = paths.flat_map(|path| path.split('/'));
    names.any(|name| {
        let slice = name.strip_suffix(".slice");
        let slice = slice.and_then(|name| name.rsplit('-').next());
        let name = slice.map_or_else(|| name.to_owned(), |name| name.replace('_', "-"));
        name.strip_prefix("pod") == Some(pod)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Child, Command};

    use tempfile::TempDir;

    use super::*;

    const NAME: &str = "landfall-announcer";
    const POD: &str = "0b1c2d3e-0000-4000-8000-000000000001";
    const OTHER: &str = "0b1c2d3e-0000-4000-8000-000000000002";

    fn start() -> Child {
        let mut command = Command::new("sleep");
        command.arg("600").spawn().unwrap()
    }

    /// As /proc has a process.
    fn list(proc: &TempDir, pid: u32, program: &str, cgroups: &str) {
        let folder = proc.path().join(pid.to_string());
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("cmdline"), format!("{program}\0--flag\0")).unwrap();
        fs::write(folder.join("cgroup"), cgroups).unwrap();
    }

    #[test]
    fn of_processes_of_one_name_that_of_the_pod_is_killed_and_no_other() {
        let proc = TempDir::new().unwrap();
        let [mut victim, mut anothers, mut sandbox] = [start(), start(), start()];
        let path = format!("/usr/local/bin/{NAME}");
        let of = |pod: &str| format!("0::/../../pod{pod}/4711\n");
        list(&proc, victim.id(), &path, &of(POD));
        list(&proc, anothers.id(), &path, &of(OTHER));
        list(&proc, sandbox.id(), "/pause", &of(POD));
        let killed = kill(proc.path(), NAME, POD);
        let live = [&mut anothers, &mut sandbox].map(|child| {
            let lives = child.try_wait().unwrap().is_none();
            child.kill().unwrap();
            child.wait().unwrap();
            lives
        });
        // Where the wrong one was killed, the right one must not stay.
        let _ = victim.kill();
        let ended = victim.wait().unwrap();
        assert_eq!(killed.unwrap(), [i32::try_from(victim.id()).unwrap()]);
        assert_eq!(ended.signal(), Some(9));
        assert_eq!(live, [true, true]);
    }

    #[test]
    fn one_that_has_ended_meanwhile_is_no_error_and_where_there_was_none_that_is_said() {
        let proc = TempDir::new().unwrap();
        let none = kill(proc.path(), NAME, POD).unwrap_err().to_string();
        assert!(none.contains(POD) && none.contains(NAME), "{none}");
        // More than any process has for a number.
        list(
            &proc,
            1 << 22 | 1,
            NAME,
            &format!("0::/kubepods/pod{POD}/1\n"),
        );
        assert_eq!(kill(proc.path(), NAME, POD).unwrap(), [0; 0]);
    }

    #[test]
    fn whose_a_process_is_its_cgroup_says_however_the_kubelet_writes_it() {
        let flat = POD.replace('-', "_");
        for written in [
            format!("0::/kubepods/burstable/pod{POD}/4711"),
            format!(
                "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{flat}.slice/cri-4711.scope"
            ),
            format!("0::/../../kubelet-kubepods-pod{flat}.slice/cri-containerd-4711.scope"),
            format!("9:name=systemd:/\n4:memory:/kubepods/pod{POD}/4711"),
        ] {
            assert!(is_of(&written, POD), "{written}");
            assert!(!is_of(&written, OTHER), "{written}");
            assert!(!is_of(&written, &POD[..35]), "part of it: {written}");
        }
        assert!(!is_of("0::/user.slice/user-0.slice/session-1.scope", POD));
    }
}
