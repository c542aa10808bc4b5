//! What failed and comes back: each key alone, later and later, by the class of its error.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::time::Duration;

use futures::StreamExt as _;
use tokio_util::time::{DelayQueue, delay_queue};

use crate::class::Class;
use crate::random::spread;

/// Keys that wait for another attempt, each with what is needed for it.
///
/// The invariant: a key waits at most once; it is counted until it [succeeds](Later::succeeded).
pub struct Later<K, V = ()> {
    queue: DelayQueue<(K, V)>,
    waiting: HashMap<K, delay_queue::Key>,
    attempts: HashMap<K, u32>,
}

/// When a key comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How often it has failed in a row.
    pub attempt: u32,
    /// How long from now.
    pub after: Duration,
}

impl<K, V> Default for Later<K, V> {
    fn default() -> Self {
        Self {
            queue: DelayQueue::new(),
            waiting: HashMap::new(),
            attempts: HashMap::new(),
        }
    }
}

impl<K: fmt::Debug, V> fmt::Debug for Later<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Later").field(&self.attempts).finish()
    }
}

impl<K: Clone + Eq + Hash, V> Later<K, V> {
    /// An attempt has failed with an error of this class: the key comes back when its class says.
    pub fn failed(&mut self, key: K, value: V, class: Class) -> Retry {
        let attempt = self.attempts.entry(key.clone()).or_insert(0);
        *attempt = attempt.saturating_add(1);
        let attempt = *attempt;
        let after = class.retry_after(attempt, spread());
        self.put(key, value, after);
        Retry { attempt, after }
    }

    /// The key comes back after this time, whatever was said of it before. Counts no attempt.
    pub fn put(&mut self, key: K, value: V, after: Duration) {
        self.withdraw(&key);
        let place = self.queue.insert((key.clone(), value), after);
        self.waiting.insert(key, place);
    }

    /// The key has what it wanted: its failures are forgotten. One that waits goes on waiting.
    pub fn succeeded(&mut self, key: &K) {
        self.attempts.remove(key);
    }

    /// The key does not come back. Its failures are still counted.
    pub fn withdraw(&mut self, key: &K) -> Option<V> {
        let place = self.waiting.remove(key)?;
        let (_, value) = self.queue.remove(&place).into_inner();
        Some(value)
    }

    /// Whether the key waits.
    #[must_use]
    pub fn waits(&self, key: &K) -> bool {
        self.waiting.contains_key(key)
    }

    /// The keys that wait, in no order.
    pub fn waiting(&self) -> impl Iterator<Item = &K> {
        self.waiting.keys()
    }

    /// How often the key has failed in a row.
    #[must_use]
    pub fn attempts(&self, key: &K) -> u32 {
        self.attempts.get(key).copied().unwrap_or(0)
    }

    /// The next key whose time has come; while none waits, this waits too. Cancelling loses nothing.
    pub async fn next(&mut self) -> (K, V) {
        match self.queue.next().await {
            Some(expired) => {
                let (key, value) = expired.into_inner();
                self.waiting.remove(&key);
                (key, value)
            }
            None => std::future::pending().await,
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.queue.clear();
        self.waiting.clear();
        self.attempts.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn a_key_that_fails_again_waits_longer_and_begins_anew_after_a_success() {
        let mut later = Later::default();
        let attempts: Vec<u32> = (0..3)
            .map(|_| later.failed("s", (), Class::Transient).attempt)
            .collect();
        assert_eq!(attempts, [1, 2, 3]);
        assert_eq!(later.waiting().count(), 1);
        let began = Instant::now();
        assert_eq!(later.next().await, ("s", ()));
        assert!(began.elapsed() >= Duration::from_secs(4).mul_f64(0.8));
        later.succeeded(&"s");
        assert_eq!(later.failed("s", (), Class::Transient).attempt, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn keys_come_back_in_the_order_of_their_times_with_what_they_need() {
        let mut later = Later::default();
        later.put("slow", 1, Duration::from_secs(9));
        later.put("quick", 2, Duration::from_secs(1));
        later.put("slow", 3, Duration::from_secs(5));
        assert_eq!(later.next().await, ("quick", 2));
        assert_eq!(later.next().await, ("slow", 3));
        assert!(!later.waits(&"slow"));
        let more = tokio::time::timeout(Duration::from_secs(60), later.next()).await;
        assert!(more.is_err(), "nobody waits any more");
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_is_withdrawn_does_not_come_back() {
        let mut later = Later::default();
        later.failed("s", 7, Class::Conflict);
        assert_eq!(later.withdraw(&"s"), Some(7));
        assert_eq!(later.attempts(&"s"), 1);
        let back = tokio::time::timeout(Duration::from_secs(60), later.next()).await;
        assert!(back.is_err());
    }
}
