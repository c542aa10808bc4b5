//! Beats by this node's own name that this process does not say now.
//!
//! One alone proves nobody's life: a bridge sends back what this node said, and whoever recorded what the process before
//! it said can say it again. A session in which another beat follows, with a later sequence, is another machine's.

use std::collections::VecDeque;

use crate::names::SessionId;

/// Sessions remembered, own and others': two that take each other's Lease begin sessions without end.
const FEW: usize = 8;

/// Beats heard by this node's own name, by what they say of another machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnName {
    /// It lives: they follow others of a session that never was this process's.
    pub heard: u64,
    /// Nothing: they are of one of this process's sessions, or follow no earlier one of theirs.
    pub copied: u64,
}

/// What a beat is the first to show of a session that is not this process's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// It was said once.
    Said,
    /// It is another machine's, which lives.
    Lives,
}

#[derive(Clone, Debug)]
struct Stranger {
    session: SessionId,
    /// The highest that was heard.
    sequence: u64,
    lives: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Strangers {
    /// This process's sessions, the last one last.
    own: VecDeque<SessionId>,
    /// Others', whom was heard last of last.
    others: VecDeque<Stranger>,
    pub(super) counts: OwnName,
}

impl Strangers {
    /// This process speaks for that session from now on.
    pub(super) fn begin(&mut self, session: SessionId) {
        if self.own.len() >= FEW {
            self.own.pop_front();
        }
        self.own.push_back(session);
    }

    /// Takes a beat in.
    pub(super) fn hear(&mut self, session: &SessionId, sequence: u64) -> Option<Sign> {
        let (lives, sign) = self.weigh(session, sequence);
        let counter = match lives {
            true => &mut self.counts.heard,
            false => &mut self.counts.copied,
        };
        *counter += 1;
        sign
    }

    fn weigh(&mut self, session: &SessionId, sequence: u64) -> (bool, Option<Sign>) {
        if self.own.contains(session) {
            return (false, None);
        }
        let known = self
            .others
            .iter()
            .position(|other| other.session == *session)
            .and_then(|at| self.others.remove(at));
        let Some(mut other) = known else {
            self.make_room();
            self.others.push_back(Stranger {
                session: session.clone(),
                sequence,
                lives: false,
            });
            return (false, Some(Sign::Said));
        };
        let rises = sequence > other.sequence;
        let is_news = rises && !other.lives;
        other.lives |= rises;
        other.sequence = other.sequence.max(sequence);
        self.others.push_back(other);
        (rises, is_news.then_some(Sign::Lives))
    }

    /// What may be a copy goes first.
    fn make_room(&mut self) {
        if self.others.len() >= FEW {
            let copy = self.others.iter().position(|other| !other.lives);
            self.others.remove(copy.unwrap_or(0));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn name(number: u8) -> SessionId {
        SessionId::new(format!("a{number}"))
    }

    proptest! {
        #[test]
        fn a_session_lives_of_which_a_later_beat_follows_an_earlier_one_and_no_own_one_does(
            beats in prop::collection::vec((0_u8..6, 0_u64..9), 0..60),
        ) {
            let mut strangers = Strangers::default();
            (0..2).for_each(|own| strangers.begin(name(own)));
            let mut heard: BTreeMap<u8, Vec<u64>> = BTreeMap::new();
            let mut said = Vec::new();
            for (number, sequence) in &beats {
                let before = heard.entry(*number).or_default();
                let rises = *number >= 2 && before.iter().max().is_some_and(|max| sequence > max);
                before.push(*sequence);
                let counted = strangers.counts.heard;
                let sign = strangers.hear(&name(*number), *sequence);
                let is_first = *number >= 2 && before.len() == 1;
                prop_assert_eq!(sign == Some(Sign::Said), is_first);
                if sign == Some(Sign::Lives) {
                    prop_assert!(rises && !said.contains(number));
                    said.push(*number);
                }
                prop_assert_eq!(strangers.counts.heard - counted, u64::from(rises));
                prop_assert!(!rises || said.contains(number));
            }
            let OwnName { heard, copied } = strangers.counts;
            prop_assert_eq!(heard + copied, beats.len() as u64);
        }

        #[test]
        fn no_more_is_remembered_than_a_few_and_what_lives_is_not_displaced_by_copies(
            copies in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut strangers = Strangers::default();
            let other = SessionId::new("another");
            strangers.hear(&other, 1);
            prop_assert_eq!(strangers.hear(&other, 2), Some(Sign::Lives));
            for copy in copies {
                strangers.hear(&name(copy), 7);
                strangers.begin(name(copy));
            }
            prop_assert!(strangers.others.len() <= FEW && strangers.own.len() <= FEW);
            prop_assert_eq!(strangers.hear(&other, 3), None, "it was said already");
            prop_assert!(strangers.counts.heard >= 2);
        }
    }
}
