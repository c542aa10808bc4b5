//! Datagrams on their way, and how long none was answered. Pure.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::report::Tally;

/// A datagram without an answer for so long is lost.
pub(crate) const LOST: Duration = Duration::from_secs(2);

/// Numbered questions by datagram.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    next: u64,
    open: BTreeMap<u64, Instant>,
    /// The last one that got an answer.
    heard: u64,
    /// When the first one after it was sent that is lost.
    silent_since: Option<Instant>,
    silence: Duration,
    tally: Tally,
}

impl Questions {
    /// The number of a question that is sent now.
    pub(crate) fn ask(&mut self, now: Instant) -> u64 {
        self.next += 1;
        self.open.insert(self.next, now);
        self.next
    }

    /// Whether this is the first answer to an open question. A silence that ends with it lasted from the first question
    /// without an answer on: while nothing was asked, nothing was silent.
    pub(crate) fn answered(&mut self, number: u64) -> bool {
        let Some(sent) = self.open.remove(&number) else {
            return false;
        };
        self.tally.answered += 1;
        if number > self.heard {
            let before = self.open.range(self.heard + 1..number).next();
            let since = self.silent_since.take().or(before.map(|(_, sent)| *sent));
            if let Some(since) = since {
                self.silence = self.silence.max(sent.saturating_duration_since(since));
            }
            self.heard = number;
        }
        true
    }

    /// What became of questions since this was last asked, and the longest silence, ended or not.
    pub(crate) fn window(&mut self, now: Instant) -> (Tally, Duration) {
        let waiting = self.open.range(self.heard + 1..).next();
        let since = self.silent_since.or(waiting.map(|(_, sent)| *sent));
        let silence = since.map_or(Duration::ZERO, |since| now.duration_since(since));
        let silence = silence.max(std::mem::take(&mut self.silence));
        let heard = self.heard;
        let is_lost = |sent: &Instant| now.duration_since(*sent) >= LOST;
        if self
            .open
            .iter()
            .any(|(number, sent)| *number > heard && is_lost(sent))
        {
            self.silent_since = since;
        }
        let before = self.open.len();
        self.open.retain(|_, sent| !is_lost(sent));
        self.tally.lost += (before - self.open.len()) as u64;
        (std::mem::take(&mut self.tally), silence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_lasts_from_the_first_question_without_an_answer_to_the_next_one_with_one() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut questions = Questions::default();
        let first = questions.ask(at(20));
        assert!(questions.answered(first) && !questions.answered(first));
        let lost = questions.ask(at(40));
        let last = questions.ask(at(300));
        assert!(questions.answered(last));
        let (tally, silence) = questions.window(at(310));
        assert_eq!((tally.answered, tally.lost), (2, 0));
        assert_eq!(silence, Duration::from_millis(260));
        // It was counted; and one that nobody answered is lost once.
        let (tally, silence) = questions.window(at(2_100));
        assert_eq!((tally.answered, tally.lost), (0, 1));
        assert_eq!(silence, Duration::ZERO, "nothing was asked meanwhile");
        assert!(!questions.answered(lost), "too late");
    }

    #[test]
    fn a_silence_that_goes_on_is_seen_in_every_window_also_when_its_questions_are_lost() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut questions = Questions::default();
        for ms in (0..6_000).step_by(20) {
            questions.ask(at(ms));
            if ms % 1_000 == 500 {
                let (_, silence) = questions.window(at(ms));
                assert_eq!(silence, Duration::from_millis(ms));
            }
        }
        let last = questions.ask(at(6_000));
        assert!(questions.answered(last));
        assert_eq!(questions.window(at(6_001)).1, Duration::from_secs(6));
        assert_eq!(questions.window(at(6_002)).1, Duration::ZERO);
    }

    #[test]
    fn who_asked_nothing_for_a_while_heard_no_silence() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut questions = Questions::default();
        for ms in [0, 20, 5_000] {
            let number = questions.ask(at(ms));
            assert!(questions.answered(number));
        }
        assert_eq!(questions.window(at(5_010)).1, Duration::ZERO);
    }
}
