//! A process that is killed as a crash would end it, without a word to it.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill as signal};
use nix::unistd::Pid;

/// Kills every process below `proc` that was started as this program; returns which.
///
/// # Errors
/// When there is none, or one may not be killed.
pub fn kill(proc: &Path, program: &str) -> anyhow::Result<Vec<i32>> {
    let found = processes(proc, program)?;
    if found.is_empty() {
        bail!("no process of this host is called {program}");
    }
    for pid in &found {
        signal(Pid::from_raw(*pid), Signal::SIGKILL)
            .with_context(|| format!("killing {program}, process {pid}"))?;
    }
    Ok(found)
}

/// By what they were started as: the kernel's own name of a process is cut after 15 letters.
fn processes(proc: &Path, program: &str) -> anyhow::Result<Vec<i32>> {
    let entries = fs::read_dir(proc).with_context(|| format!("reading {}", proc.display()))?;
    let pids = entries.flatten().filter_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        // One that has ended meanwhile has no command line.
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let first = line.split(|byte| *byte == 0).next()?;
        let name = Path::new(std::str::from_utf8(first).ok()?).file_name()?;
        (name == program).then_some(pid)
    });
    Ok(pids.collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
    use std::process::Command;

    use super::*;

    #[test]
    fn the_process_of_that_name_is_killed_and_no_other() {
        let start = |name: &str| {
            let mut command = Command::new("sleep");
            command.arg0(name).arg("600").spawn().unwrap()
        };
        let name = format!("landfall-victim-{}", std::process::id());
        let (mut victim, mut other) = (start(&format!("/bin/{name}")), start(&format!("{name}-2")));
        let killed = kill(Path::new("/proc"), &name);
        let lives = other.try_wait().unwrap().is_none();
        other.kill().unwrap();
        other.wait().unwrap();
        assert_eq!(killed.unwrap(), [i32::try_from(victim.id()).unwrap()]);
        assert_eq!(victim.wait().unwrap().signal(), Some(9));
        assert!(lives);
        assert!(
            kill(Path::new("/proc"), &name).is_err(),
            "there is none any more"
        );
    }
}
