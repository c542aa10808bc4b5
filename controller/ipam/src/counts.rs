//! How many addresses a pool has, and how many of them are in use.
//!
//! Invariant: `assigned + reserved + available == total`, for each family.

use std::collections::{BTreeMap, BTreeSet};

use crate::HolderKey;
use crate::address::{Family, Point};
use crate::book::Book;
use crate::pools::Pool;

/// How many are named of each kind.
const NAMED: usize = 2;

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

/// What stands in a pool's addresses beside its holders, in words: nodes, cluster IPs, external ones.
#[must_use]
pub fn standing(book: &Book, pool: &Pool, family: Family) -> Option<String> {
    let occupied = book.occupied();
    let mut nodes: BTreeMap<&str, usize> = BTreeMap::new();
    let mut cluster: BTreeMap<&HolderKey, usize> = BTreeMap::new();
    let mut external: BTreeMap<&HolderKey, usize> = BTreeMap::new();
    for span in pool.spans(family) {
        for (_, names) in occupied.nodes.within(span) {
            *nodes
                .entry(names.first().map_or("", String::as_str))
                .or_default() += 1;
        }
        for (_, keys) in occupied.cluster.within(span) {
            keys.iter()
                .for_each(|key| *cluster.entry(key).or_default() += 1);
        }
        for (at, keys) in occupied.external.within(span) {
            // Where it holds the address itself it is a holder like any other.
            let entry = book.get(at);
            let holds =
                |key: &&HolderKey| entry.is_some_and(|e| e.holder_keys().any(|s| s == **key));
            let others = keys.iter().filter(|key| !holds(key));
            others.for_each(|key| *external.entry(key).or_default() += 1);
        }
    }
    let mut words: Vec<String> = Vec::new();
    words.extend(most(&nodes, |node| format!("addresses of node {node}")));
    words.extend(most(&cluster, |key| {
        format!("cluster IPs of Service {key}")
    }));
    words.extend(most(&external, |key| {
        format!("in spec.externalIPs of Service {key}")
    }));
    (!words.is_empty()).then(|| words.join(", "))
}

/// Those who have most, in words.
fn most<K: Ord>(who: &BTreeMap<K, usize>, say: impl Fn(&K) -> String) -> Vec<String> {
    let mut all: Vec<_> = who.iter().collect();
    all.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let more = all.len().saturating_sub(NAMED);
    let rest: usize = all.iter().skip(NAMED).map(|(_, count)| **count).sum();
    let shown = all.iter().take(NAMED);
    let mut words: Vec<String> = shown
        .map(|(key, count)| format!("{count} {}", say(key)))
        .collect();
    if more > 0 {
        words.push(format!("{rest} of {more} more"));
    }
    words
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
