//! How urgently the kernel runs this thread.

use std::fmt;

use crate::link::scheduling;

/// What could be had.
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
pub(super) fn raise() -> Priority {
    if scheduling::real_time(scheduling::Rank::Beats).is_ok() {
        Priority::RealTime
    } else if scheduling::favour().is_ok() {
        Priority::Favoured
    } else {
        Priority::Ordinary
    }
}
