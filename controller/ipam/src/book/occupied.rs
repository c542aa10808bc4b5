//! Addresses that are in use without a record of ours.
//!
//! Nodes have addresses, Services of any kind have cluster IPs and name external ones, and a record
//! that cannot be read stands for the address it is named after. None of them is handed out.
//!
//! Invariant: both directions of [`Owners`] say the same; only [`Owners::set`] changes them.

use std::collections::{BTreeMap, BTreeSet};

use crate::HolderKey;
use crate::address::Point;
use crate::spans::Span;

/// Who has which addresses; several may have the same one.
#[derive(Clone, Debug)]
pub struct Owners<K> {
    at: BTreeMap<Point, BTreeSet<K>>,
    of: BTreeMap<K, BTreeSet<Point>>,
}

impl<K> Default for Owners<K> {
    fn default() -> Self {
        Self {
            at: BTreeMap::new(),
            of: BTreeMap::new(),
        }
    }
}

impl<K: Ord + Clone> Owners<K> {
    /// Those who have this address.
    pub fn at(&self, at: Point) -> impl Iterator<Item = &K> {
        self.at.get(&at).into_iter().flatten()
    }

    /// Those who have addresses.
    pub fn all(&self) -> impl Iterator<Item = &K> {
        self.of.keys()
    }

    /// The addresses within a span and who has them, ascending.
    pub fn within(&self, span: Span) -> impl Iterator<Item = (Point, &BTreeSet<K>)> {
        let within = self.at.range(span.start..=span.end);
        within.map(|(at, owners)| (*at, owners))
    }

    /// Replaces the addresses of one owner; returns those that changed.
    pub fn set(&mut self, owner: &K, points: &BTreeSet<Point>) -> BTreeSet<Point> {
        let before = self.of.remove(owner).unwrap_or_default();
        if !points.is_empty() {
            self.of.insert(owner.clone(), points.clone());
        }
        let changed: BTreeSet<Point> = before.symmetric_difference(points).copied().collect();
        for at in &changed {
            let owners = self.at.entry(*at).or_default();
            if points.contains(at) {
                owners.insert(owner.clone());
            } else {
                owners.remove(owner);
            }
            if owners.is_empty() {
                self.at.remove(at);
            }
        }
        changed
    }
}

/// All addresses in use without a record of ours.
#[derive(Clone, Debug, Default)]
pub struct Occupied {
    /// Nodes, by name.
    pub nodes: Owners<String>,
    /// Services that have cluster IPs: every one but the headless.
    pub cluster: Owners<HolderKey>,
    /// Services that name external addresses, whatever their type and class.
    pub external: Owners<HolderKey>,
    /// Records that cannot be read, with their uids, by the address they are named after.
    pub unreadable: BTreeMap<Point, String>,
}

impl Occupied {
    /// Whether somebody has this address.
    pub fn contains(&self, at: Point) -> bool {
        self.nodes.at(at).next().is_some()
            || self.cluster.at(at).next().is_some()
            || self.external.at(at).next().is_some()
            || self.unreadable.contains_key(&at)
    }
}
