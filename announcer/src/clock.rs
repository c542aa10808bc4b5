//! This node's monotonic time: since its boot, suspended time included (CLOCK_BOOTTIME), so that a machine that slept
//! knows that it did. A virtual machine whose host stood still may not: its peers tell it.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

use crate::election::Now;

/// The time now.
///
/// Every Linux that this runs on has the clock. Should one not, it is the end of time: nothing is allowed any more.
#[must_use]
pub fn now() -> Now {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::MAX, Duration::from)
}

/// The same in nanoseconds, as it is kept in one word.
#[must_use]
pub fn nanos(time: Now) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// When a timer must ring that is to ring at `at`; at once if that has passed.
#[must_use]
pub fn timer(at: Now) -> Instant {
    Instant::now() + at.saturating_sub(now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_and_a_timer_rings_after_it() {
        let before = now();
        assert!(before > Duration::ZERO && before < Duration::MAX);
        assert!(timer(before) <= Instant::now());
        let later = timer(now() + Duration::from_secs(60));
        assert!(later > Instant::now() + Duration::from_secs(59));
    }
}
