//! What the thread does, for those who look from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use landfall_election::{NodeName, Now, SessionId};
use landfall_wire::peers::Refusal;
use parking_lot::Mutex;

use crate::link::scheduling::Priority;

/// Counters and state; clones share them. Counting waits for nobody.
#[derive(Clone, Debug, Default)]
pub struct View(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    sent: AtomicU64,
    unsent: AtomicU64,
    heard: AtomicU64,
    refused: [AtomicU64; Refusal::ALL.len()],
    status: Mutex<PeersStatus>,
    keys: Mutex<Option<String>>,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            sent: AtomicU64::new(0),
            unsent: AtomicU64::new(0),
            heard: AtomicU64::new(0),
            refused: std::array::from_fn(|_| AtomicU64::new(0)),
            status: Mutex::default(),
            keys: Mutex::new(Some("the keys were not read yet".to_owned())),
        }
    }
}

/// How it does.
#[derive(Clone, Debug, Default, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PeersStatus {
    /// Whether it has keys, and so speaks and listens.
    pub speaks: bool,
    /// Brain or responder make no progress: no beat is sent.
    pub stuck: bool,
    /// How urgently the kernel runs the thread.
    pub priority: Priority,
    /// How late its timer was at most in the last half second or so.
    pub late: Duration,
    /// Between two beats: as asked for, and as it is.
    pub asked_interval: Duration,
    pub interval: Duration,
    /// Sessions heard both ways, by interface.
    pub heard: BTreeMap<String, BTreeMap<NodeName, SessionId>>,
    /// Beats heard by this node's own name: of another machine that lives, and what may be copies.
    pub namesake_beats: u64,
    pub copied_beats: u64,
    /// What does not work, in words.
    pub problems: Vec<String>,
}

impl PeersStatus {
    /// Sessions heard both ways, each once.
    #[must_use]
    pub fn sessions(&self) -> usize {
        let sessions: BTreeSet<&SessionId> =
            self.heard.values().flat_map(BTreeMap::values).collect();
        sessions.len()
    }
}

impl View {
    pub(super) fn sent(&self) {
        self.0.sent.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn unsent(&self) {
        self.0.unsent.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn heard(&self) {
        self.0.heard.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refused(&self, reason: Refusal) {
        self.0.refused[reason.index()].fetch_add(1, Ordering::Relaxed);
    }

    /// Where somebody is just looking, the next time does.
    pub(super) fn show(&self, status: PeersStatus) {
        if let Some(mut shown) = self.0.status.try_lock() {
            *shown = status;
        }
    }

    /// What is wrong with the keys, if anything.
    pub(super) fn show_keys(&self, problem: Option<String>) {
        *self.0.keys.lock() = problem;
    }

    /// How it does.
    #[must_use]
    pub fn status(&self) -> PeersStatus {
        let mut status = self.0.status.lock().clone();
        let keys = self.0.keys.lock().clone();
        status.problems.splice(0..0, keys);
        status
    }

    /// Frames sent, not taken by the kernel, and heard.
    #[must_use]
    pub fn frames(&self) -> [u64; 3] {
        [&self.0.sent, &self.0.unsent, &self.0.heard].map(|counter| counter.load(Ordering::Relaxed))
    }

    /// Frames refused, by reason.
    pub fn refusals(&self) -> impl Iterator<Item = (Refusal, u64)> {
        let counters = &self.0.refused;
        Refusal::ALL
            .iter()
            .map(|reason| (*reason, counters[reason.index()].load(Ordering::Relaxed)))
    }
}

/// How late a turn is that was due at `due`. What is due since ever, as all is at first, is due since the thread began.
pub(super) fn lateness(due: Now, begun: Now, now: Now) -> Duration {
    now.saturating_sub(due.max(begun))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_turn_of_a_machine_that_is_long_up_is_not_late() {
        let at = Duration::from_millis;
        assert_eq!(lateness(Now::ZERO, at(9000), at(9001)), at(1));
        assert_eq!(lateness(at(9100), at(9000), at(9103)), at(3));
        assert_eq!(lateness(at(9200), at(9000), at(9103)), Duration::ZERO);
    }
}
