//! The scheduler's calls for the calling thread, which `nix` does not have.

use std::fmt;
use std::io;
use std::time::Duration;

/// The shortest slice there is: who asks for little at a time has the nearest deadline (EEVDF, Linux 6.12, up the cgroups
/// too; older kernels ignore it). In a cgroup with a fiftieth of the weight of one that keeps both processors busy, which no
/// nice value helps, a thread that sleeps for 50 ms was woken 9 to 12 ms late with it, and 22 to 38 without (p99 of 190 sleeps,
/// twice each; six threads without an end, `cpu.shares` 20 beside 1,024, Linux 6.18).
const SLICE: Duration = Duration::from_micros(100);

/// `SCHED_ATTR_SIZE_VER0` of Linux 3.14: what `libc` declares.
const ATTRIBUTES: u32 = 48;

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
    /// Before ordinary ones, as far as one of them can be (nice −20; what answers, −10; in short slices).
    Favoured,
    /// Like any other, in short slices.
    #[default]
    Ordinary,
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RealTime => "real time",
            Self::Favoured => "favoured: real time was refused; it takes CAP_SYS_NICE and a kernel without CONFIG_RT_GROUP_SCHED",
            Self::Ordinary => "ordinary: real time was refused; it takes CAP_SYS_NICE and a kernel without CONFIG_RT_GROUP_SCHED",
        })
    }
}

/// Takes the most urgent the kernel permits for the calling thread.
pub fn raise(rank: Rank) -> Priority {
    if real_time(rank).is_ok() {
        Priority::RealTime
    } else if fair(rank.nice(), SLICE).is_ok() {
        Priority::Favoured
    } else {
        // Anybody may ask for a slice.
        let _ = fair(0, SLICE);
        Priority::Ordinary
    }
}

impl Rank {
    /// Larger shares than ordinary threads have.
    const fn nice(self) -> i32 {
        match self {
            Self::Beats => -20,
            Self::Answers => -10,
        }
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

/// Makes the calling thread an ordinary one, whoever started it.
pub fn ordinary() {
    // It can only lose by it, so it is permitted.
    let _ = fair(0, Duration::ZERO);
}

/// Makes the calling thread, and those that it starts, ordinary ones of this nice value, with slices of this length, the
/// kernel's own for zero.
///
/// # Errors
/// `EPERM` for a lower nice value than before without `CAP_SYS_NICE`.
fn fair(nice: i32, slice: Duration) -> io::Result<()> {
    let attributes = libc::sched_attr {
        size: ATTRIBUTES,
        sched_policy: libc::SCHED_OTHER as u32,
        sched_flags: 0,
        sched_nice: nice,
        sched_priority: 0,
        sched_runtime: u64::try_from(slice.as_nanos()).unwrap_or(u64::MAX),
        sched_deadline: 0,
        sched_period: 0,
    };
    let attributes = &raw const attributes;
    // SAFETY: 0 is the calling thread; the pointer describes `attributes`, which outlives the call; the kernel only reads it.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, attributes, 0) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn outcome(result: libc::c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nice value and slice of the calling thread.
    fn own() -> (i32, u64) {
        // SAFETY: plain integers, for which zeros are values.
        let mut read: libc::sched_attr = unsafe { std::mem::zeroed() };
        assert_eq!(size_of_val(&read), ATTRIBUTES as usize);
        // SAFETY: 0 is the calling thread; the kernel writes [`ATTRIBUTES`] bytes at the most, and `read` has as many.
        let result =
            unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut read, ATTRIBUTES, 0) };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
        (read.sched_nice, read.sched_runtime)
    }

    #[test]
    fn whoever_gets_no_real_time_runs_in_short_slices_and_what_it_starts_for_others_does_not() {
        let of_its_own = || {
            let (_, usual) = own();
            fair(0, SLICE).unwrap();
            let started = std::thread::spawn(|| {
                ordinary();
                own()
            });
            (usual, own(), started.join().unwrap())
        };
        let (usual, short, started) = std::thread::spawn(of_its_own).join().unwrap();
        // A kernel that knows no slices says none.
        let wanted = if usual == 0 { 0 } else { 100_000 };
        assert_eq!(short, (0, wanted));
        assert_eq!(started, (0, usual));
    }
}
