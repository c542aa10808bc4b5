//! How often peers have ended this node's session for its silence. A node that comes and goes is asked after all others for a
//! while; it says so itself, so that all see it alike. A process goes on counting where the one before it on the same machine
//! ended: both go by the machine's clock.

use std::time::Duration;

use crate::election::Now;

/// What is longer ago counts no more.
const LATELY: Duration = Duration::from_secs(600);
/// So many are too many.
const MANY: usize = 3;

#[derive(Debug, Default)]
pub(super) struct Fences {
    at: Vec<Now>,
    inherited: bool,
    /// The end of this session was judged already: words of it come by several ways.
    judged: bool,
}

impl Fences {
    /// The session was ended.
    pub(super) fn note(&mut self, now: Now) {
        if !std::mem::replace(&mut self.judged, true) {
            self.add(now);
        }
    }

    /// It was ended by one who had no right to: that says nothing of this node.
    pub(super) fn forgive(&mut self) {
        self.judged = true;
    }

    /// The next one has begun.
    pub(super) fn begin(&mut self) {
        self.judged = false;
    }

    fn add(&mut self, at: Now) {
        self.at.push(at);
        // More say nothing more.
        let excess = self.at.len().saturating_sub(MANY);
        self.at.drain(..excess);
    }

    /// What the process before has said, once. Of a clock that has begun anew since it says nothing.
    pub(super) fn inherit(&mut self, seconds: &[u64], now: Now) {
        if std::mem::replace(&mut self.inherited, true) {
            return;
        }
        let before = seconds.iter().map(|at| Duration::from_secs(*at));
        let own = std::mem::take(&mut self.at);
        for at in before.filter(|at| *at <= now).chain(own) {
            self.add(at);
        }
    }

    /// Those that count, in whole seconds.
    pub(super) fn seconds(&self, now: Now) -> Vec<u64> {
        self.lately(now).map(|at| at.as_secs()).collect()
    }

    /// Whether others are to be asked first.
    pub(super) fn are_many(&self, now: Now) -> bool {
        self.lately(now).count() >= MANY
    }

    fn lately(&self, now: Now) -> impl Iterator<Item = &Now> {
        self.at.iter().filter(move |at| now < **at + LATELY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::secs;

    #[test]
    fn three_ends_in_ten_minutes_are_many_until_the_first_of_them_is_past() {
        let mut fences = Fences::default();
        let again = |fences: &mut Fences, at| {
            fences.begin();
            fences.note(secs(at));
        };
        fences.note(secs(1_000));
        fences.note(secs(1_010));
        again(&mut fences, 1_200);
        assert!(!fences.are_many(secs(1_200)), "one of them was told twice");
        again(&mut fences, 1_300);
        assert!(fences.are_many(secs(1_300)) && fences.are_many(secs(1_599)));
        assert!(!fences.are_many(secs(1_600)));
        again(&mut fences, 1_700);
        assert!(fences.are_many(secs(1_700)), "the next one soon after");
    }

    #[test]
    fn an_end_that_was_wrong_does_not_count_however_it_is_told() {
        let mut fences = Fences::default();
        for at in [1_000, 1_100, 1_200] {
            fences.forgive();
            fences.note(secs(at));
            fences.begin();
        }
        assert!(!fences.are_many(secs(1_200)));
    }

    #[test]
    fn a_process_counts_on_where_the_one_before_it_ended() {
        let mut fences = Fences::default();
        fences.note(secs(1_300));
        fences.inherit(&[1_000, 1_200], secs(1_301));
        assert_eq!(fences.seconds(secs(1_301)), [1_000, 1_200, 1_300]);
        fences.inherit(&[1_100], secs(1_302));
        assert!(
            fences.are_many(secs(1_302)),
            "once, or it would inherit from itself"
        );
        let mut after_a_boot = Fences::default();
        after_a_boot.inherit(&[1_000, 1_200, 1_300], secs(40));
        assert!(!after_a_boot.are_many(secs(41)));
    }
}
