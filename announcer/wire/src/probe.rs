//! Asking, before the first claim of an address, whether anybody has it (RFC 5227 §2.1, RFC 4862 §5.4).
//!
//! A pure timetable: so many questions, an interval apart, then a wait for the last answer. The RFCs' own times (up to
//! seven seconds) are meant for hosts that join a network; [`Timing::default`] is as patient as a wired segment needs.

use std::time::{Duration, Instant};

/// How patiently to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Questions.
    pub questions: u32,
    /// Time between two of them.
    pub interval: Duration,
    /// Time after the last.
    pub wait: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            questions: 3,
            interval: Duration::from_millis(150),
            wait: Duration::from_millis(300),
        }
    }
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask, then look again.
    Ask,
    /// Nothing before this time.
    Wait(Instant),
    /// Nobody has answered.
    Clear,
}

/// One probing under way.
#[derive(Clone, Debug)]
pub struct Probe {
    timing: Timing,
    asked: u32,
    next: Instant,
}

impl Probe {
    /// Begins at `now`.
    #[must_use]
    pub fn new(timing: Timing, now: Instant) -> Self {
        Self {
            timing,
            asked: 0,
            next: now,
        }
    }

    /// What to do at `now`.
    pub fn step(&mut self, now: Instant) -> Step {
        if now < self.next {
            return Step::Wait(self.next);
        }
        if self.asked >= self.timing.questions {
            return Step::Clear;
        }
        self.asked += 1;
        self.next = now
            + if self.asked == self.timing.questions {
                self.timing.wait
            } else {
                self.timing.interval
            };
        Step::Ask
    }
}
