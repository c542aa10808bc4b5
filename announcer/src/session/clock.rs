//! This process's monotonic time: durations since its start.

use std::time::{Duration, Instant};

use crate::election::Now;

/// Counts from its making.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// Starts at zero.
    #[must_use]
    pub fn start() -> Self {
        Self {
            origin: Instant::now(),
        }
    }

    /// The time since then.
    #[must_use]
    pub fn now(self) -> Now {
        self.origin.elapsed()
    }

    /// The moment at which [`Clock::now`] will be, or was, `at`.
    #[must_use]
    pub fn instant(self, at: Duration) -> Instant {
        self.origin + at
    }
}
