//! What is said of the addresses that pods here have connections of. Pure.
//!
//! Every announcer watches what this one says of itself, and connections come and go: what was said a moment ago is said
//! for a while more, so that addresses with short connections are not told again and again. Who is going waits for it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How long an address is said after the last look that found a connection of it: three looks.
const LINGERS: Duration = Duration::from_secs(30);

/// Addresses by when a connection of each was found last.
#[derive(Debug, Default)]
pub(super) struct Lingering(BTreeMap<IpAddr, Instant>);

impl Lingering {
    /// What is to be said where these are found.
    pub(super) fn say(&mut self, found: BTreeSet<IpAddr>, now: Instant) -> BTreeSet<IpAddr> {
        self.0
            .retain(|_, seen| now.saturating_duration_since(*seen) < LINGERS);
        self.0
            .extend(found.into_iter().map(|address| (address, now)));
        self.0.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Looks, each some seconds after the one before, and which of four addresses it finds.
        #[test]
        fn what_is_found_is_said_and_what_is_taken_back_was_not_found_for_half_a_minute(
            looks in proptest::collection::vec((1..20u64, 0..16u8), 1..60),
        ) {
            let addresses: Vec<IpAddr> = (0..4u8).map(|last| [192, 0, 2, last].into()).collect();
            let (start, mut second) = (Instant::now(), 0);
            let mut lingering = Lingering::default();
            let mut seen: BTreeMap<IpAddr, u64> = BTreeMap::new();
            for (pause, which) in looks {
                second += pause;
                let found: BTreeSet<IpAddr> = (0..4)
                    .filter(|bit| which & (1 << bit) != 0)
                    .map(|bit| addresses[bit])
                    .collect();
                seen.extend(found.iter().map(|address| (*address, second)));
                let said = lingering.say(found, start + Duration::from_secs(second));
                let expected = seen.iter().filter(|(_, at)| second - **at < LINGERS.as_secs());
                prop_assert_eq!(said, expected.map(|(address, _)| *address).collect());
            }
        }
    }
}
