//! Datagrams on their way, and how long none was answered. Pure.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::report::Tally;

/// A datagram without an answer for so long is lost.
pub(crate) const LOST: Duration = Duration::from_secs(2);

/// Numbered questions by datagram.
#[derive(Debug)]
pub(crate) struct Questions {
    next: u64,
    open: BTreeMap<u64, Instant>,
    /// When the last one was sent that got an answer.
    heard: Instant,
    silence: Duration,
    tally: Tally,
}

impl Questions {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            next: 0,
            open: BTreeMap::new(),
            heard: now,
            silence: Duration::ZERO,
            tally: Tally::default(),
        }
    }

    /// The number of a question that is sent now.
    pub(crate) fn ask(&mut self, now: Instant) -> u64 {
        self.next += 1;
        self.open.insert(self.next, now);
        self.next
    }

    /// Whether this is the first answer to an open question.
    pub(crate) fn answered(&mut self, number: u64) -> bool {
        let Some(sent) = self.open.remove(&number) else {
            return false;
        };
        self.tally.answered += 1;
        self.silence = self.silence.max(sent.saturating_duration_since(self.heard));
        self.heard = self.heard.max(sent);
        true
    }

    /// What became of questions since this was last asked, and the longest silence, ended or not.
    pub(crate) fn window(&mut self, now: Instant) -> (Tally, Duration) {
        let before = self.open.len();
        self.open.retain(|_, sent| now.duration_since(*sent) < LOST);
        self.tally.lost += (before - self.open.len()) as u64;
        let silence = self.silence.max(now.duration_since(self.heard));
        self.silence = Duration::ZERO;
        (std::mem::take(&mut self.tally), silence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_lasts_from_the_last_question_with_an_answer_to_the_next_one_with_one() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut questions = Questions::new(start);
        let first = questions.ask(at(20));
        assert!(questions.answered(first) && !questions.answered(first));
        let lost = questions.ask(at(40));
        let last = questions.ask(at(300));
        assert!(questions.answered(last));
        let (tally, silence) = questions.window(at(310));
        assert_eq!((tally.answered, tally.lost), (2, 0));
        assert_eq!(silence, Duration::from_millis(280));
        // It was counted; and one that nobody answered is lost once.
        let (tally, silence) = questions.window(at(2_100));
        assert_eq!((tally.answered, tally.lost), (0, 1));
        assert_eq!(silence, Duration::from_millis(1_800), "it goes on");
        assert!(!questions.answered(lost), "too late");
    }
}
