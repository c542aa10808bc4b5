//! What the API server said of tokens, for a while. Pure.
//!
//! Who was let in and who was not are remembered apart, so that a flood of made-up tokens drives out
//! no true one.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// What is said to one who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Let in.
    Allowed,
    /// Nobody the API server knows.
    Unknown,
    /// Known, and not permitted.
    Forbidden,
}

/// How long one that was let in is let in again without asking. What is taken away takes effect after
/// this time.
const ALLOWED_FOR: Duration = Duration::from_secs(60);
/// How long one that was let in is let in while the API server cannot be asked: just then its metrics are wanted.
const GRACE: Duration = Duration::from_secs(3600);
/// How long one that was not stays out without asking.
const REFUSED_FOR: Duration = Duration::from_secs(10);
/// How many tokens that were let in are remembered.
const ALLOWED: usize = 64;
/// How many tokens that were not.
const REFUSED: usize = 256;

/// The tokens that were asked about.
#[derive(Debug, Default)]
pub(super) struct Cache {
    allowed: HashMap<String, (Instant, Decision)>,
    refused: HashMap<String, (Instant, Decision)>,
}

impl Cache {
    /// What was said of the token, while it is good.
    pub(super) fn get(&self, token: &str, now: Instant) -> Option<Decision> {
        let known = self.allowed.get(token).or_else(|| self.refused.get(token));
        known
            .filter(|(until, _)| now < *until)
            .map(|(_, decision)| *decision)
    }

    /// Whether the token was let in not long ago, and nothing else was said of it since.
    pub(super) fn was_allowed(&self, token: &str, now: Instant) -> bool {
        let known = self.allowed.get(token);
        known.is_some_and(|(until, _)| now < *until + GRACE)
    }

    /// Remembers what the API server says now.
    pub(super) fn put(&mut self, token: &str, decision: Decision, now: Instant) {
        self.allowed.remove(token);
        self.refused.remove(token);
        let (tokens, most, keep) = match decision {
            Decision::Allowed => (&mut self.allowed, ALLOWED, ALLOWED_FOR),
            Decision::Unknown | Decision::Forbidden => (&mut self.refused, REFUSED, REFUSED_FOR),
        };
        if tokens.len() >= most {
            tokens.retain(|_, (until, _)| now < *until);
        }
        if tokens.len() >= most
            && let Some(first) = tokens.iter().min_by_key(|(_, (until, _))| *until)
        {
            let first = first.0.clone();
            tokens.remove(&first);
        }
        tokens.insert(token.to_owned(), (now + keep, decision));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_forgotten_after_its_time() {
        let start = Instant::now();
        let mut cache = Cache::default();
        cache.put("good", Decision::Allowed, start);
        cache.put("bad", Decision::Unknown, start);
        let soon = start + REFUSED_FOR;
        assert_eq!(cache.get("good", soon), Some(Decision::Allowed));
        assert_eq!(cache.get("bad", soon), None);
        assert_eq!(cache.get("good", start + ALLOWED_FOR), None);
    }

    #[test]
    fn one_that_was_let_in_is_known_for_a_while_longer_unless_it_was_refused_since() {
        let start = Instant::now();
        let mut cache = Cache::default();
        cache.put("good", Decision::Allowed, start);
        assert!(cache.was_allowed("good", start + GRACE));
        assert!(!cache.was_allowed("good", start + ALLOWED_FOR + GRACE));
        assert!(!cache.was_allowed("other", start));
        cache.put("good", Decision::Forbidden, start);
        assert!(!cache.was_allowed("good", start));
    }

    #[test]
    fn the_last_word_counts() {
        let now = Instant::now();
        let mut cache = Cache::default();
        cache.put("token", Decision::Allowed, now);
        cache.put("token", Decision::Forbidden, now);
        assert_eq!(cache.get("token", now), Some(Decision::Forbidden));
    }

    #[test]
    fn a_flood_of_tokens_is_bounded_and_drives_out_none_that_was_let_in() {
        let start = Instant::now();
        let mut cache = Cache::default();
        cache.put("good", Decision::Allowed, start);
        for at in 0..10_000_u64 {
            let now = start + Duration::from_micros(at);
            cache.put(&format!("made up {at}"), Decision::Unknown, now);
        }
        assert_eq!(cache.refused.len(), REFUSED);
        assert_eq!(cache.get("good", start), Some(Decision::Allowed));
    }
}
