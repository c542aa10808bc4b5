//! Addresses that are in use without a record of ours.
//!
//! Nodes have addresses, Services of any kind name external ones, and a record that cannot be read
//! stands for the address it is named after. None of them is handed out.
//!
//! Invariant: both directions of [`Owners`] say the same; only [`Owners::set`] changes them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::ServiceKey;
use super::address::Point;
use super::book::Entry;
use super::index::Index;
use super::service::Service;
use super::spans::Span;

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
    /// Services that name external addresses, whatever their type and class.
    pub external: Owners<ServiceKey>,
    /// Records that cannot be read, with their uids, by the address they are named after.
    pub unreadable: BTreeMap<Point, String>,
}

impl Occupied {
    /// Whether somebody has this address.
    pub fn contains(&self, at: Point) -> bool {
        self.nodes.at(at).next().is_some()
            || self.external.at(at).next().is_some()
            || self.unreadable.contains_key(&at)
    }
}

impl Index {
    /// A node's addresses were seen; none when it is gone.
    pub fn node_seen(&mut self, node: &str, addresses: &BTreeSet<Point>) {
        for at in self.world.book.set_node(node, addresses) {
            self.occupation_changed(at);
        }
    }

    /// Who holds the address is told whose it is too; who waits may have it when it is free.
    fn occupation_changed(&mut self, at: Point) {
        self.pools_at(at);
        let entry = self.world.book.get(at);
        let holders: Vec<ServiceKey> = entry.into_iter().flat_map(Entry::services).collect();
        if holders.is_empty() {
            self.freed.insert(at);
        }
        self.touch(holders);
    }

    /// Whatever its type and class, the external addresses a Service names are in use.
    pub(super) fn external_seen(&mut self, key: &ServiceKey, addresses: &[IpAddr]) {
        let points = addresses.iter().map(|address| Point::from(*address));
        let points: BTreeSet<Point> = points.collect();
        for at in self.world.book.set_external(key, &points) {
            self.occupation_changed(at);
        }
    }

    /// A record was seen that cannot be read, or does not say what its name says: all that is known
    /// is that its address is in use. What was known of it before stays.
    pub fn record_unreadable(&mut self, at: Point, uid: &str) {
        self.unreadable_changed(at, Some(uid.to_owned()));
    }

    pub(super) fn unreadable_changed(&mut self, at: Point, uid: Option<String>) {
        self.world.book.set_unreadable(at, uid);
        self.occupation_changed(at);
        let shown = |service: &&Arc<Service>| service.status.contains(&at.address());
        let shown = self.world.services.values().filter(shown);
        self.dirty.extend(shown.map(|service| service.turn()));
    }
}
