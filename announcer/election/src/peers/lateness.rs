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
    /// A turn was taken; how long after the one before. A gap that no window covers, such as that of a process that was
    /// stopped, is not remembered: it cost the session already, and a longer window would not have saved it.
    pub(super) fn turn(&mut self, now: Now, longest: Duration) -> Duration {
        let gap = self
            .last_turn
            .map_or(Duration::ZERO, |last| now.saturating_sub(last));
        self.last_turn = Some(now);
        if now >= self.half_began + HALF {
            self.half_began = now;
            self.largest = [Duration::ZERO, self.largest[0]];
        }
        if gap <= longest {
            self.largest[0] = self.largest[0].max(gap);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(1);
    const INTERVAL: Duration = Duration::from_millis(50);

    fn window_after(gaps: &[u64]) -> Duration {
        let (mut lateness, mut now) = (Lateness::default(), Duration::from_secs(100));
        lateness.turn(now, LONGEST);
        for gap in gaps {
            now += Duration::from_millis(*gap);
            lateness.turn(now, LONGEST);
        }
        lateness.window(INTERVAL, LONGEST)
    }

    #[test]
    fn a_process_that_was_stopped_is_no_slower_for_it() {
        assert_eq!(window_after(&[50, 5_000, 50]), INTERVAL * 3);
    }
}
