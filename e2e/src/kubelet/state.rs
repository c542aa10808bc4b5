//! What the agent knows of a Pod: its sandbox and its containers. Values only.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use k8s_openapi::jiff::Timestamp;

/// Restarts wait 1 s, doubling to 30 s: shorter than a real kubelet's 10 s to 5 min, because a lab is.
const BACKOFF_START: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// A container that ran this long starts over with the shortest wait.
const BACKOFF_RESET: Duration = Duration::from_secs(60);

/// A wait that doubles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(BACKOFF_START)
    }
}

impl Backoff {
    /// The wait to serve now; the next one is twice as long.
    pub(crate) fn next(&mut self) -> Duration {
        let now = self.0;
        self.0 = (now * 2).min(BACKOFF_MAX);
        now
    }

    /// The wait after something that lived for `ran`.
    pub(crate) fn after(&mut self, ran: Duration) -> Duration {
        if ran >= BACKOFF_RESET {
            *self = Self::default();
        }
        self.next()
    }
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exit {
    pub(crate) code: i32,
    pub(crate) reason: String,
    pub(crate) message: Option<String>,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) finished_at: Timestamp,
}

/// A stop that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stopping {
    /// SIGKILL at this moment.
    pub(crate) kill_at: Instant,
    /// SIGKILL was sent.
    pub(crate) killed: bool,
}

/// Where a container is in its life.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Life {
    /// Never tried.
    #[default]
    Created,
    /// Could not be made; to be tried again.
    Held {
        reason: &'static str,
        message: String,
        retry_at: Instant,
    },
    /// Its process runs.
    Running {
        since: Timestamp,
        started: bool,
        ready: bool,
        stopping: Option<Stopping>,
    },
    /// Its process ended; `restart_at` matters where the policy restarts.
    Exited { exit: Exit, restart_at: Instant },
}

/// One container.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Container {
    pub(crate) life: Life,
    /// Number of the present attempt: the restart count.
    pub(crate) attempt: u32,
    /// Some attempt was begun, in this process or before it.
    pub(crate) tried: bool,
    /// How the attempt before this one ended.
    pub(crate) last: Option<Exit>,
    pub(crate) backoff: Backoff,
}

impl Container {
    pub(crate) fn running(&self) -> bool {
        matches!(self.life, Life::Running { .. })
    }
}

/// The Pod's network namespace, address and volumes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Sandbox {
    #[default]
    Absent,
    /// Could not be made; to be tried again.
    Held {
        reason: &'static str,
        message: String,
        retry_at: Instant,
    },
    Ready,
    /// Taken down again: the Pod is over.
    Gone,
}

/// A Pod as the agent sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct PodState {
    pub(crate) sandbox: Sandbox,
    pub(crate) containers: BTreeMap<String, Container>,
}

impl PodState {
    /// The named container, as never tried when nothing is known of it.
    pub(crate) fn container(&self, name: &str) -> Container {
        self.containers.get(name).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_to_its_limit_and_starts_over_after_a_good_run() {
        let mut backoff = Backoff::default();
        let waits: Vec<u64> = (0..7)
            .map(|_| backoff.after(Duration::ZERO).as_secs())
            .collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(backoff.after(Duration::from_secs(61)).as_secs(), 1);
    }
}
