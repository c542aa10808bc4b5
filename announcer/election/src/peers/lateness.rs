//! How late this process is woken, and so how long a silence it must ask its watchers to forgive.

use std::time::Duration;

use crate::Now;

/// A gap is remembered for ten minutes, in two halves.
const HALF: Duration = Duration::from_secs(300);

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lateness {
    last_turn: Option<Now>,
    half_began: Now,
    largest: [Duration; 2],
}

impl Lateness {
    /// A turn was taken; how long after the one before.
    pub(super) fn turn(&mut self, now: Now) -> Duration {
        let gap = self
            .last_turn
            .map_or(Duration::ZERO, |last| now.saturating_sub(last));
        self.last_turn = Some(now);
        if now >= self.half_began + HALF {
            self.half_began = now;
            self.largest = [Duration::ZERO, self.largest[0]];
        }
        self.largest[0] = self.largest[0].max(gap);
        gap
    }

    /// The window to ask for: three intervals, or twice the largest gap, a second at most.
    pub(super) fn window(&self, interval: Duration, longest: Duration) -> Duration {
        let gap = self.largest[0].max(self.largest[1]);
        let late = if gap > interval * 3 / 2 {
            gap * 2
        } else {
            Duration::ZERO
        };
        (interval * 3).max(late.min(longest))
    }
}
