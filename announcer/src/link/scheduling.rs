//! The scheduler's calls for the calling thread, which `nix` does not have.

use std::io;

/// Which of this process's real-time threads come first; every one of them comes before every ordinary thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// What decides and answers.
    Answers = 1,
    /// What says that this node lives.
    Beats = 2,
}

/// Makes the calling thread a real-time one.
///
/// # Errors
/// `EPERM` without `CAP_SYS_NICE`, and in a cgroup without a budget for real time (`CONFIG_RT_GROUP_SCHED`).
pub fn real_time(rank: Rank) -> io::Result<()> {
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
pub fn favour() -> io::Result<()> {
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
