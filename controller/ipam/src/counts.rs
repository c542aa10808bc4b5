//! How many addresses a pool has, and how many of them are in use.
//!
//! Invariant: `assigned + reserved + available == total`, for each family.

use std::collections::BTreeSet;

use super::address::{Family, Point};
use super::pool::Pool;
use super::world::World;

/// Counts of one family of one pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// What the pool covers, without excludes and node addresses.
    pub total: u128,
    /// What has a holder.
    pub assigned: u128,
    /// What is kept for a holder to come, is being released, or is in use without a record.
    pub reserved: u128,
    /// What a new Service could be given.
    pub available: u128,
}

impl World {
    /// Counts a pool's addresses of one family.
    #[must_use]
    pub fn counts(&self, pool: &Pool, family: Family) -> Counts {
        let mut counts = Counts {
            total: pool.total(family),
            ..Counts::default()
        };
        for span in pool.spans(family) {
            let occupied = self.book.occupied();
            counts.total -= occupied.nodes.within(span).count() as u128;
            let external = occupied.external.within(span).map(|(at, _)| at);
            let unreadable = occupied.unreadable.range(span.start..=span.end);
            let others: BTreeSet<Point> = external.chain(unreadable.map(|(at, _)| *at)).collect();
            let without = |at: &&Point| self.book.get(**at).is_none();
            let without = others.iter().filter(without);
            counts.reserved += without
                .filter(|at| self.book.node_at(**at).is_none())
                .count() as u128;
            for (at, entry) in self.book.within(span) {
                if self.book.node_at(at).is_some() {
                    continue;
                }
                if entry.holders().is_empty() {
                    counts.reserved += 1;
                } else {
                    counts.assigned += 1;
                }
            }
        }
        counts.available = counts
            .total
            .saturating_sub(counts.assigned + counts.reserved);
        counts
    }

    /// The node addresses that lie in a pool, and whose they are: they are never handed out.
    #[must_use]
    pub fn nodes_in(&self, pool: &Pool) -> Vec<(Point, Vec<String>)> {
        let spans = pool.usable.iter();
        let nodes = spans.flat_map(|span| self.book.occupied().nodes.within(span));
        nodes
            .map(|(at, nodes)| (at, nodes.iter().cloned().collect()))
            .collect()
    }
}
