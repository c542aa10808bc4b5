//! Interfaces that cannot be listened on: of no use for a while, and for longer each time it happens again.
//!
//! What the kernel refuses once, for want of memory or because the interface was just going, it allows a moment later.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::election::Now;
use crate::link::{IfIndex, LinkTable};

/// The first pause, doubled each time up to the longest.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);
/// One that has been well for so long after a pause begins anew.
const WELL: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug)]
struct Pause {
    until: Now,
    lasts: Duration,
    is_over: bool,
}

#[derive(Debug, Default)]
pub(super) struct Unavailable(BTreeMap<IfIndex, Pause>);

impl Unavailable {
    /// It could not be listened on. What is said again before anybody could heed it is the same refusal.
    pub(super) fn failed(&mut self, index: IfIndex, now: Now) {
        if self.contains(index) {
            return;
        }
        let before = self.0.get(&index);
        let lasts = before.map_or(SHORTEST, |pause| (pause.lasts * 2).min(LONGEST));
        let pause = Pause {
            until: now + lasts,
            lasts,
            is_over: false,
        };
        self.0.insert(index, pause);
    }

    pub(super) fn contains(&self, index: IfIndex) -> bool {
        self.0.get(&index).is_some_and(|pause| !pause.is_over)
    }

    /// Whether any is of use again.
    pub(super) fn expire(&mut self, now: Now) -> bool {
        let mut ended = false;
        self.0.retain(|_, pause| {
            ended |= !pause.is_over && now >= pause.until;
            pause.is_over |= now >= pause.until;
            now < pause.until + WELL
        });
        ended
    }

    /// One that changed is tried at once; one that is gone leaves nothing to whatever gets its index.
    pub(super) fn changed(&mut self, before: &LinkTable, after: &LinkTable) {
        self.0.retain(|index, pause| {
            let link = after.links.get(index);
            pause.is_over |= before.links.get(index) != link;
            link.is_some()
        });
    }

    /// When the next is of use again.
    pub(super) fn until(&self) -> Option<Now> {
        let pauses = self.0.values().filter(|pause| !pause.is_over);
        pauses.map(|pause| pause.until).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::links;

    fn secs(seconds: u64) -> Now {
        Now::default() + Duration::from_secs(seconds)
    }

    #[test]
    fn one_failure_costs_a_second_and_many_in_a_row_half_a_minute() {
        let mut unavailable = Unavailable::default();
        let mut now = secs(100);
        for lasts in [1, 2, 4, 8, 16, 30, 30] {
            unavailable.failed(7, now);
            let until = now + Duration::from_secs(lasts);
            assert_eq!(unavailable.until(), Some(until));
            assert!(!unavailable.expire(now) && unavailable.contains(7));
            unavailable.failed(7, now);
            assert_eq!(unavailable.until(), Some(until), "said twice");
            assert!(unavailable.expire(until) && !unavailable.contains(7));
            assert_eq!(unavailable.until(), None);
            now = until;
        }
        unavailable.expire(now + WELL);
        unavailable.failed(7, now + WELL);
        assert_eq!(unavailable.until(), Some(now + WELL + SHORTEST));
    }

    #[test]
    fn an_interface_that_changed_is_tried_at_once_and_one_that_went_is_forgotten() {
        let mut unavailable = Unavailable::default();
        unavailable.failed(2, secs(100));
        unavailable.changed(&links(true), &links(true));
        assert!(unavailable.contains(2));
        unavailable.changed(&links(true), &links(false));
        assert!(!unavailable.contains(2));
        unavailable.failed(2, secs(100));
        assert_eq!(unavailable.until(), Some(secs(102)));
        unavailable.changed(&links(true), &LinkTable::default());
        unavailable.failed(2, secs(100));
        assert_eq!(unavailable.until(), Some(secs(101)));
    }
}
