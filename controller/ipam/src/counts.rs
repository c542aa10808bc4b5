//! How many addresses a pool has, and how many of them are in use.
//!
//! Invariant: `assigned + reserved + available == total`, for each family.

use std::collections::BTreeSet;

use crate::address::{Family, Point};
use crate::book::Book;
use crate::pools::Pool;

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

impl Counts {
    /// Counts a pool's addresses of one family.
    #[must_use]
    pub fn of(book: &Book, pool: &Pool, family: Family) -> Self {
        let mut counts = Self {
            total: pool.total(family),
            ..Self::default()
        };
        for span in pool.spans(family) {
            let occupied = book.occupied();
            counts.total -= occupied.nodes.within(span).count() as u128;
            let external = occupied.external.within(span).map(|(at, _)| at);
            let cluster = occupied.cluster.within(span).map(|(at, _)| at);
            let unreadable = occupied.unreadable.range(span.start..=span.end);
            let others = external.chain(cluster);
            let others: BTreeSet<Point> = others.chain(unreadable.map(|(at, _)| *at)).collect();
            let without = others.iter().filter(|at| book.get(**at).is_none());
            counts.reserved += without.filter(|at| book.node_at(**at).is_none()).count() as u128;
            for (at, entry) in book.within(span) {
                if book.node_at(at).is_some() {
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
}
