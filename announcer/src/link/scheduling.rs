//! The scheduler's calls for the calling thread, which `nix` does not have.

use std::fmt;
use std::io;

/// Which of this process's real-time threads come first; every one of them comes before every ordinary thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// What decides and answers.
    Answers = 1,
    /// What says that this node lives.
    Beats = 2,
}

/// How urgently the kernel runs a thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Priority {
    /// Before every ordinary thread (`SCHED_FIFO`).
    RealTime,
    /// Like no other ordinary one (nice −20).
    Favoured,
    /// Like any other.
    #[default]
    Ordinary,
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RealTime => "real time",
            Self::Favoured => "nice -20: real time was refused; it takes CAP_SYS_NICE and a kernel without CONFIG_RT_GROUP_SCHED",
            Self::Ordinary => "ordinary: real time was refused; it takes CAP_SYS_NICE and a kernel without CONFIG_RT_GROUP_SCHED",
        })
    }
}

/// Takes the most urgent the kernel permits for the calling thread.
pub fn raise(rank: Rank) -> Priority {
    if real_time(rank).is_ok() {
        Priority::RealTime
    } else if favour().is_ok() {
        Priority::Favoured
    } else {
        Priority::Ordinary
    }
}

/// Makes the calling thread a real-time one.
///
/// # Errors
/// `EPERM` without `CAP_SYS_NICE`, and in a cgroup without a budget for real time (`CONFIG_RT_GROUP_SCHED`).
fn real_time(rank: Rank) -> io::Result<()> {
    let parameters = libc::sched_param {
        sched_priority: rank as libc::c_int,
    };
    // Threads and processes it starts are ordinary ones again.
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: the pointer describes `parameters`, which outlives the call; the kernel only reads it.
    let result = unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) };
    outcome(result)
}

/// Gives the calling thread the largest share an ordinary one can have.
///
/// # Errors
/// `EACCES` without `CAP_SYS_NICE`.
fn favour() -> io::Result<()> {
    // SAFETY: plain integers; on Linux 0 is the calling thread.
    outcome(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -20) })
}

fn outcome(result: libc::c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
