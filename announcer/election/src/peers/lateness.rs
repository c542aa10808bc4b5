//! How late this process is woken, and so how long a silence it must ask its watchers to forgive.

use std::collections::VecDeque;
use std::time::Duration;

use crate::Now;

/// The largest gap of so long is one.
const SLOT: Duration = Duration::from_secs(10);
/// And so many are remembered: ten minutes.
const SLOTS: usize = 60;

/// The largest gap of each slot in which there was a large one.
///
/// The second largest of them counts: what happened once, such as the start of a process on a busy node, is no habit, and
/// a longer window would delay every failover of the next ten minutes. A suspicion for its sake is asked about before
/// anything is taken.
#[derive(Clone, Debug, Default)]
pub(super) struct Lateness {
    last_turn: Option<Now>,
    /// By when the slot began.
    largest: VecDeque<(Now, Duration)>,
}

impl Lateness {
    /// A turn was taken; how long after the one before. A gap of up to one and a half intervals is none. One that no
    /// window covers, such as that of a process that was stopped, is not remembered: it cost the session already, and a
    /// longer window would not have saved it.
    pub(super) fn turn(&mut self, now: Now, interval: Duration, longest: Duration) -> Duration {
        let gap = self
            .last_turn
            .map_or(Duration::ZERO, |last| now.saturating_sub(last));
        self.last_turn = Some(now);
        let old = SLOT * u32::try_from(SLOTS).unwrap_or(u32::MAX);
        self.largest.retain(|(began, _)| now < *began + old);
        if gap <= interval * 3 / 2 || gap > longest {
            return gap;
        }
        match self.largest.back_mut() {
            Some((began, largest)) if now < *began + SLOT => *largest = gap.max(*largest),
            _ => self.largest.push_back((now, gap)),
        }
        gap
    }

    /// The window to ask for: three intervals, or twice the second largest gap, `longest` at most.
    pub(super) fn window(&self, interval: Duration, longest: Duration) -> Duration {
        let mut gaps: Vec<Duration> = self.largest.iter().map(|(_, gap)| *gap).collect();
        gaps.sort_unstable();
        let habit = gaps.iter().rev().nth(1).copied().unwrap_or_default();
        (interval * 3).max((habit * 2).min(longest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(1);
    const INTERVAL: Duration = Duration::from_millis(50);

    /// After gaps of so many milliseconds, each so many seconds after the one before.
    fn window_after(gaps: &[(u64, u64)]) -> Duration {
        let (mut lateness, mut now) = (Lateness::default(), Duration::from_secs(100));
        lateness.turn(now, INTERVAL, LONGEST);
        for (seconds, gap) in gaps {
            for _ in 0..seconds * 20 {
                now += INTERVAL;
                lateness.turn(now, INTERVAL, LONGEST);
            }
            now += Duration::from_millis(*gap);
            lateness.turn(now, INTERVAL, LONGEST);
        }
        lateness.window(INTERVAL, LONGEST)
    }

    #[test]
    fn a_process_that_was_stopped_is_no_slower_for_it() {
        assert_eq!(window_after(&[(1, 5_000), (30, 5_000)]), INTERVAL * 3);
    }

    #[test]
    fn what_happened_once_is_no_habit_and_what_happens_again_is_asked_to_be_forgiven() {
        let millis = Duration::from_millis;
        let start = [(0, 300), (0, 150), (1, 200)];
        assert_eq!(window_after(&start), millis(150));
        assert_eq!(
            window_after(&[&start[..], &[(20, 120)]].concat()),
            millis(240)
        );
        assert_eq!(window_after(&[(0, 800), (20, 700)]), LONGEST);
        assert_eq!(window_after(&[(0, 80), (20, 70)]), millis(150), "covered");
    }

    #[test]
    fn a_habit_is_forgotten_after_ten_minutes() {
        assert_eq!(
            window_after(&[(0, 200), (20, 200), (601, 50)]),
            INTERVAL * 3
        );
    }
}
