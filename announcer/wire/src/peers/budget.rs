//! How many frames have their code checked: what keeps a flood of forged ones from costing more than a share of a core.
//!
//! Whoever once sent an authentic frame has an allowance of its own by its Ethernet address; all others share one. So a
//! flood from elsewhere does not push a peer's beats out. One that borrows a peer's address does push that peer's out:
//! whoever can do that on a segment takes its frames at the switch anyway.
//!
//! Invariant: over any time t no more than `(peers + 1) × (BURST + t × RATE)` frames are let through.

use std::collections::HashMap;
use std::time::Duration;

use crate::Mac;

/// Frames a second for one sender; no announcer hears more than 200 of all its peers together at rest.
pub(super) const RATE: u32 = 200;
/// Frames at once: the claims to 10,000 addresses, and some.
pub(super) const BURST: u32 = 512;
/// Senders with an allowance of their own.
pub(super) const MOST_SENDERS: usize = 1_024;

const EACH: Duration = Duration::from_millis(1_000 / RATE as u64);
const AHEAD: Duration = Duration::from_millis((1_000 / RATE * (BURST - 1)) as u64);

/// When the allowance would be untouched again: a token bucket in one number.
#[derive(Clone, Copy, Debug, Default)]
struct Allowance(Duration);

impl Allowance {
    fn take(&mut self, now: Duration) -> bool {
        let full_at = self.0.max(now);
        let is_left = full_at <= now + AHEAD;
        if is_left {
            self.0 = full_at + EACH;
        }
        is_left
    }
}

#[derive(Debug, Default)]
pub(super) struct Budget {
    peers: HashMap<Mac, Allowance>,
    strangers: Allowance,
}

impl Budget {
    /// Whether a frame from there may have its code checked now.
    pub(super) fn admits(&mut self, source: Mac, now: Duration) -> bool {
        self.peers
            .get_mut(&source)
            .unwrap_or(&mut self.strangers)
            .take(now)
    }

    /// A frame from there was authentic.
    pub(super) fn welcome(&mut self, source: Mac) {
        if self.peers.contains_key(&source) {
            return;
        }
        if self.peers.len() >= MOST_SENDERS {
            let quietest = self.peers.iter().min_by_key(|(_, allowance)| allowance.0);
            if let Some(mac) = quietest.map(|(mac, _)| *mac) {
                self.peers.remove(&mac);
            }
        }
        self.peers.insert(source, Allowance::default());
    }
}
