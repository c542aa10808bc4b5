//! What must hold at every moment, and what is counted.

use std::time::Duration;

use super::world::World;
use crate::Now;

/// Looks at who answers for what.
pub(super) struct Check {
    pub(super) every: Duration,
    /// The longest that two may answer for an address at a stretch.
    pub(super) longest: Duration,
    /// Since when two answer, by address.
    twice: Vec<Option<Now>>,
    /// Since when nobody does.
    dark: Vec<Option<Now>>,
    /// The longest stretches seen since they were last forgotten.
    pub(super) most_twice: Duration,
    pub(super) most_dark: Duration,
}

impl Default for Check {
    fn default() -> Self {
        Self::new(0)
    }
}

impl Check {
    pub(super) fn new(addresses: usize) -> Self {
        Self {
            every: Duration::from_millis(5),
            longest: Duration::from_millis(3500),
            twice: vec![None; addresses],
            dark: vec![None; addresses],
            most_twice: Duration::ZERO,
            most_dark: Duration::ZERO,
        }
    }

    pub(super) fn forget(&mut self) {
        self.most_twice = Duration::ZERO;
        self.most_dark = Duration::ZERO;
        self.dark.fill(None);
        self.twice.fill(None);
    }

    pub(super) fn look(&mut self, world: &World) {
        let now = world.now;
        let mut answering = vec![0_u32; world.addresses.len()];
        for node in &world.nodes {
            if !node.runs() || node.local(now) >= node.peers.permit() {
                continue;
            }
            for address in &node.answering {
                answering[World::place(address)] += 1;
            }
        }
        for (n, count) in answering.into_iter().enumerate() {
            self.most_twice = self
                .most_twice
                .max(stretch(&mut self.twice[n], count > 1, now));
            self.most_dark = self
                .most_dark
                .max(stretch(&mut self.dark[n], count == 0, now));
            let twice = self.twice[n].map_or(Duration::ZERO, |since| now - since);
            assert!(
                twice <= self.longest,
                "{} is answered by {:?} for {twice:?} at {now:?}; record {:?}",
                world.addresses[n],
                world.answerers(n),
                world.server.records[&world.addresses[n]],
            );
        }
    }
}

fn stretch(since: &mut Option<Now>, holds: bool, now: Now) -> Duration {
    if !holds {
        *since = None;
        return Duration::ZERO;
    }
    now - *since.get_or_insert(now)
}

impl World {
    pub(super) fn answerers(&self, n: usize) -> Vec<&crate::NodeName> {
        let address = &self.addresses[n];
        self.nodes
            .iter()
            .filter(|node| node.answers(address, self.now))
            .map(|node| &node.name)
            .collect()
    }

    pub(super) fn assert_all_answered_once(&self) {
        for n in 0..self.addresses.len() {
            assert_eq!(
                self.answerers(n).len(),
                1,
                "{} by {:?} at {:?}; record {:?}",
                self.addresses[n],
                self.answerers(n),
                self.now,
                self.server.records[&self.addresses[n]]
            );
        }
    }

    /// Changes of owner written so far.
    pub(super) fn transitions(&self) -> u64 {
        let of = |record: &crate::owners::Record| {
            record.owner.as_ref().map_or(0, |owner| owner.transitions)
        };
        self.server.records.values().map(of).sum()
    }
}
