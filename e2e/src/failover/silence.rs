//! The silence in a series of probes of one address. Pure.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Who answered: the last byte of a lab's hardware addresses tells its machines apart, so all of it is kept.
pub(crate) type Mac = [u8; 6];

/// Between two moves of an address there is at least so much time in which one machine alone answers.
const APART: Duration = Duration::from_secs(1);

/// A probe and its fate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) sent: Instant,
    pub(crate) answered: bool,
}

/// What a client met at one address after a disturbance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Silence {
    /// From the sending of the last probe answered before it to the sending of the first one after which all were
    /// answered again; nothing if none was lost.
    pub(super) lasted: Duration,
    /// Probes lost in between.
    pub(super) lost: usize,
}

/// The silence since `disturbed`, once every probe of the last `steady` was answered.
pub(super) fn silence(samples: &[Sample], disturbed: Instant, steady: Duration) -> Option<Silence> {
    let last = samples.last()?.sent;
    // Asked just before it, and lost because of it.
    let slack = Duration::from_millis(100);
    let lost: Vec<usize> = (0..samples.len())
        .filter(|at| !samples[*at].answered && samples[*at].sent + slack >= disturbed)
        .collect();
    let (Some(first), Some(end)) = (lost.first(), lost.last()) else {
        let none = Silence {
            lasted: Duration::ZERO,
            lost: 0,
        };
        return (last >= disturbed + steady).then_some(none);
    };
    let before = samples[..*first]
        .iter()
        .rev()
        .find(|sample| sample.answered)
        .map_or(samples[*first].sent, |sample| sample.sent);
    let again = samples.get(end + 1)?.sent;
    (last >= again + steady).then(|| Silence {
        lasted: again - before,
        lost: lost.len(),
    })
}

/// How long two machines answered for one address: from the first answer of a later one to the last of an earlier one. Of
/// several moves, one after the other as in a roll-out, the longest: an owner in between is not one of two.
pub(crate) fn both(answers: &[(Instant, Mac)], disturbed: Instant) -> Duration {
    let since: Vec<&(Instant, Mac)> = answers.iter().filter(|(at, _)| *at >= disturbed).collect();
    // Where another answers than just before: from when the one did, to when the other does.
    let switches = since.windows(2).filter(|pair| pair[0].1 != pair[1].1);
    let mut longest = Duration::ZERO;
    let mut under_way: Option<Move> = None;
    for pair in switches {
        let ((last, from), (other, to)) = (*pair[0], *pair[1]);
        let current = under_way
            .take()
            .filter(|current| other < current.switched + APART);
        under_way = Some(match current {
            Some(mut current) if current.earlier.contains(&from) => {
                longest = longest.max(last.saturating_duration_since(current.first));
                current.switched = other;
                current
            }
            Some(mut current) if current.earlier.contains(&to) => {
                current.switched = other;
                current
            }
            _ => Move {
                earlier: BTreeSet::from([from]),
                first: other,
                switched: other,
            },
        });
    }
    longest
}

/// A move of an address from one machine to another.
struct Move {
    /// Who answered before it.
    earlier: BTreeSet<Mac>,
    /// The first answer of the new owner.
    first: Instant,
    /// The last time that another answered than before.
    switched: Instant,
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEADY: Duration = Duration::from_millis(50);

    fn at(start: Instant, milliseconds: u64) -> Instant {
        start + Duration::from_millis(milliseconds)
    }

    /// One letter a probe, 10 ms apart: `.` answered, `x` lost.
    fn series(start: Instant, fates: &str) -> Vec<Sample> {
        let sent = (0..).map(|number| at(start, 10 * number));
        let fates = fates.bytes();
        sent.zip(fates)
            .map(|(sent, fate)| Sample {
                sent,
                answered: fate == b'.',
            })
            .collect()
    }

    #[test]
    fn a_silence_runs_from_one_served_moment_to_the_next_that_lasts() {
        let start = Instant::now();
        let found = silence(&series(start, "...xxx.x........"), at(start, 25), STEADY);
        let expected = Silence {
            lasted: Duration::from_millis(60),
            lost: 4,
        };
        assert_eq!(found, Some(expected));
    }

    #[test]
    fn nothing_is_said_before_answers_are_steady() {
        let start = Instant::now();
        for fates in ["", "...", "...xxx", "...xxx...."] {
            assert_eq!(
                silence(&series(start, fates), at(start, 25), STEADY),
                None,
                "{fates}"
            );
        }
    }

    #[test]
    fn what_was_lost_long_before_does_not_count() {
        let start = Instant::now();
        let fates = "x".to_owned() + &".".repeat(30);
        let found = silence(&series(start, &fates), at(start, 200), STEADY).unwrap();
        assert_eq!((found.lasted, found.lost), (Duration::ZERO, 0));
    }

    #[test]
    fn two_that_answer_are_seen_from_the_first_of_one_to_the_last_of_the_other() {
        let start = Instant::now();
        let (old, new) = ([2, 0, 0, 0, 16, 1], [2, 0, 0, 0, 16, 2]);
        let answers = [(10, old), (20, old), (30, new), (40, old), (50, new)];
        let answers = answers.map(|(milliseconds, mac)| (at(start, milliseconds), mac));
        assert_eq!(both(&answers, at(start, 15)), Duration::from_millis(10));
        assert_eq!(both(&answers[..3], at(start, 15)), Duration::ZERO);
        assert_eq!(both(&[], start), Duration::ZERO);
    }

    #[test]
    fn an_owner_between_two_others_is_not_one_of_two_that_answer() {
        let start = Instant::now();
        let [one, two, three] = [1, 2, 3].map(|last| [2, 0, 0, 0, 16, last]);
        let moved = [(0, one), (10, two), (400, two), (410, three), (420, three)];
        let late = [
            (0, one),
            (10, two),
            (400, two),
            (410, three),
            (415, two),
            (420, three),
        ];
        for (answers, expected) in [(moved.as_slice(), 0), (&late, 5)] {
            let answers = answers.iter();
            let answers: Vec<_> = answers
                .map(|(after, mac)| (at(start, *after), *mac))
                .collect();
            assert_eq!(both(&answers, start), Duration::from_millis(expected));
        }
    }

    #[test]
    fn an_address_that_comes_back_was_not_answered_by_two_all_the_while() {
        let start = Instant::now();
        let (one, two) = ([2, 0, 0, 0, 16, 1], [2, 0, 0, 0, 16, 2]);
        let answers = [
            (0, one),
            (10, two),
            (13, one),
            (20, two),
            (3_000, two),
            (3_010, one),
        ];
        let answers = answers.map(|(milliseconds, mac)| (at(start, milliseconds), mac));
        assert_eq!(both(&answers, start), Duration::from_millis(3));
    }
}
