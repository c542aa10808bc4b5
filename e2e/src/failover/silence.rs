//! The silence in a series of probes of one address. Pure.

use std::time::{Duration, Instant};

/// Who answered: the last byte of a lab's hardware addresses tells its machines apart, so all of it is kept.
pub(crate) type Mac = [u8; 6];

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

/// A machine that has not answered for so long, while it was asked all the time, does not answer any more: what it
/// answers later is another turn of its.
const TURN: Duration = Duration::from_millis(500);

/// How long two machines answered for one address: in the turn of both. One that comes back later is not counted for
/// the time in between.
pub(crate) fn both(answers: &[(Instant, Mac)], disturbed: Instant) -> Duration {
    let mut turns: Vec<(Mac, Instant, Instant)> = Vec::new();
    for &(at, mac) in answers.iter().filter(|(at, _)| *at >= disturbed) {
        let own = turns.iter_mut().rev().find(|(of, ..)| *of == mac);
        match own.filter(|(.., end)| at.saturating_duration_since(*end) <= TURN) {
            Some((.., end)) => *end = at.max(*end),
            None => turns.push((mac, at, at)),
        }
    }
    let mut total = Duration::ZERO;
    // Up to where an earlier turn lasts, and up to where two were counted.
    let (mut reach, mut counted) = (disturbed, disturbed);
    for (_, begin, end) in turns {
        let (from, until) = (begin.max(counted), end.min(reach));
        if until > from {
            total += until - from;
            counted = until;
        }
        reach = reach.max(end);
    }
    total
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
    fn who_comes_back_after_another_had_its_turn_did_not_answer_beside_it() {
        let start = Instant::now();
        let (old, new) = ([2, 0, 0, 0, 16, 1], [2, 0, 0, 0, 16, 2]);
        let turn = |mac, from: u64, to: u64| {
            (from..=to)
                .step_by(10)
                .map(move |milliseconds| (at(start, milliseconds), mac))
        };
        let mut answers: Vec<_> = turn(old, 0, 1000)
            .chain(turn(new, 980, 3000))
            .chain(turn(old, 2970, 4000))
            .collect();
        answers.sort_unstable_by_key(|(at, _)| *at);
        assert_eq!(both(&answers, start), Duration::from_millis(20 + 30));
    }
}
