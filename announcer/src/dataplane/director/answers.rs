//! Whether replies of this node's pods leave by the interfaces with the programs. Pure.
//!
//! Where they go another way, they carry the pod's address, and no client knows them: nothing else on the node says so.
//! What is certain is only that connections are opened at pods and not one reply is seen. So it is said when that has gone
//! on for a while and more than one client's port has met it; an idle node, datagrams that nobody answers, and one silent
//! pod beside others that answer say nothing.

use std::time::{Duration, Instant};

/// For so long connections must have been opened, and nothing have been seen of their pods.
const LONG: Duration = Duration::from_secs(20);
/// So many of them at once.
const SEVERAL: usize = 3;
/// After so long without another one it is over.
const PAUSE: Duration = Duration::from_secs(60);

/// What is said of it.
const PROBLEM: &str = "connections are opened at pods of this node, and no reply of any pod is seen to leave by the interfaces \
     that the director is on: where replies leave by another one (a route, a policy route, a network of the pods' own), \
     they carry the pod's address and no client knows them; have the policy select the interface that leads to the \
     clients. If no reply leaves at all, the pods are silent, or a network policy drops what reaches them";

/// What one look at the tables finds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// Connections that were opened at pods of this node and not answered in time.
    pub(super) unanswered: usize,
    /// Those of them that were opened within the last fifteen seconds.
    pub(super) lately: usize,
    /// Replies of pods that were seen, since ever.
    pub(super) replies: u64,
}

/// What the looks have found so far.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// Replies at the last look.
    replies: Option<u64>,
    /// The first look that found a connection without an answer, none having been seen since, and the last.
    silent: Option<(Instant, Instant)>,
    is_said: bool,
}

impl Answers {
    /// What is to be said after this look.
    pub(super) fn look(&mut self, look: Look, now: Instant) -> Option<&'static str> {
        let has_answered = self.replies.replace(look.replies) != Some(look.replies);
        let is_past = |(_, last): (_, Instant)| now.saturating_duration_since(last) > PAUSE;
        if has_answered || self.silent.is_some_and(is_past) {
            self.silent = None;
            self.is_said = false;
        }
        if !has_answered && look.lately > 0 {
            let first = self.silent.map_or(now, |(first, _)| first);
            self.silent = Some((first, now));
            let long = now.saturating_duration_since(first) >= LONG;
            self.is_said |= long && look.unanswered >= SEVERAL;
        }
        self.is_said.then_some(PROBLEM)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks, ten seconds apart, each with the connections not answered, those of them lately, and replies since ever;
    /// whether it is said after each.
    fn said(looks: &[(usize, usize, u64)]) -> Vec<bool> {
        let (start, mut answers) = (Instant::now(), Answers::default());
        let looks = looks.iter().zip(0..);
        looks
            .map(|((unanswered, lately, replies), number)| {
                let look = Look {
                    unanswered: *unanswered,
                    lately: *lately,
                    replies: *replies,
                };
                let now = start + Duration::from_secs(10) * number;
                answers.look(look, now).is_some()
            })
            .collect()
    }

    #[test]
    fn connections_that_are_opened_for_long_without_any_reply_are_a_problem() {
        let looks = [(0, 0, 7), (4, 4, 7), (8, 4, 7), (9, 3, 7), (9, 3, 7)];
        assert_eq!(said(&looks), [false, false, false, true, true]);
    }

    #[test]
    fn a_reply_ends_it_and_it_begins_anew() {
        let looks = [
            (3, 3, 7),
            (3, 3, 7),
            (3, 3, 7),
            (3, 3, 7),
            (3, 3, 8),
            (3, 3, 8),
            (3, 3, 8),
        ];
        assert_eq!(
            said(&looks),
            [false, false, false, true, false, false, false]
        );
    }

    #[test]
    fn a_silent_pod_beside_one_that_answers_is_none() {
        let looks = [0, 1, 2, 3, 4, 5].map(|number| (50, 20, number));
        assert!(!said(&looks).contains(&true));
    }

    #[test]
    fn an_idle_node_and_datagrams_that_nobody_answers_are_none() {
        assert!(!said(&[(0, 0, 7); 10]).contains(&true));
    }

    #[test]
    fn a_few_connections_or_a_short_burst_are_none() {
        assert!(!said(&[(2, 1, 7); 10]).contains(&true));
        let burst = [(0, 0, 7), (90, 90, 7), (90, 0, 7), (90, 0, 7), (0, 0, 7)];
        assert!(!said(&burst).contains(&true));
    }

    #[test]
    fn it_is_over_when_nobody_asks_any_more() {
        let mut looks = vec![(3, 3, 7); 4];
        looks.extend([(0, 0, 7); 7]);
        let said = said(&looks);
        assert!(said[3..10].iter().all(|said| *said), "{said:?}");
        assert!(!said[10]);
    }

    #[test]
    fn the_first_look_knows_nothing_of_what_was_before() {
        assert_eq!(said(&[(9, 9, 0)]), [false]);
    }
}
