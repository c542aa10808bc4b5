//! The book of records: one entry for every address that somebody holds or keeps.
//!
//! An entry has two sides: what the API server last said of the record (`stored`), and what it
//! shall say (`want`). Where they differ there is something to write. An address is free when it
//! has no entry: neither wanted nor stored.
//!
//! Invariant: `taken`, `by_holder` and `by_key` always follow from the entries (and, for `taken`,
//! what is occupied otherwise); only [`Book::set`] changes an entry.

mod occupied;
pub(crate) mod record;
mod taken;

use std::collections::{BTreeMap, BTreeSet};

use landfall_crds::version::Stamped;
use landfall_crds::{Holder, HolderKind, LoadBalancerIPSpec, ReclaimPolicy};

use crate::HolderKey;
use crate::address::Point;
use crate::spans::{Span, Spans};

pub use occupied::{Occupied, Owners};
pub use record::Write;
pub(crate) use taken::Taken;

/// A record as the API server last showed it.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Its spec.
    pub spec: LoadBalancerIPSpec,
    /// Its uid.
    pub uid: String,
    /// Its `resourceVersion`.
    pub version: String,
    /// What its `OutOfPool` condition says, if it has one.
    pub out_of_pool: Option<OutOfPool>,
    /// We wrote its `reservedFor`, and no person: it ends when `Retain` does.
    pub reserved_by_us: bool,
    /// The uids of the holders whose status has named the address, where that must outlast memory.
    pub shown_to: BTreeSet<String>,
}

impl Stamped for Stored {
    fn uid(&self) -> &str {
        &self.uid
    }

    fn version(&self) -> &str {
        &self.version
    }
}

/// An `OutOfPool` condition as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutOfPool {
    /// Whether it is true.
    pub is: bool,
    /// Why.
    pub why: String,
    /// Since when, in seconds since the epoch: kept while it stays as true as it is.
    pub since: i64,
}

/// Both sides of one address.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry {
    /// What the record shall say; `None`: it shall go.
    pub want: Option<LoadBalancerIPSpec>,
    /// What the API server has.
    pub stored: Option<Stored>,
}

impl Entry {
    /// Those who hold it, by what is wanted.
    pub fn holders(&self) -> &[Holder] {
        self.want.as_ref().map_or(&[], |want| &want.holders)
    }

    /// For whom it is still kept although nobody asks for that any more: the reservation is ours,
    /// and the record is to be deleted with its holders again.
    pub fn ended_for(&self) -> Option<HolderKey> {
        let by_us = self
            .stored
            .as_ref()
            .is_some_and(|stored| stored.reserved_by_us);
        let want = self.want.as_ref()?;
        let ended = by_us && want.reclaim_policy == ReclaimPolicy::Delete;
        ended.then(|| reservation(want)).flatten()
    }

    /// The holders by their keys, as far as they are of a kind that holds addresses here.
    pub fn holder_keys(&self) -> impl Iterator<Item = HolderKey> + '_ {
        self.holders().iter().filter_map(holder_key)
    }
}

/// The key of a holder of a kind that holds addresses here.
pub fn holder_key(holder: &Holder) -> Option<HolderKey> {
    let kind = HolderKind::parse(&holder.kind)?;
    Some(HolderKey::new(kind, &holder.namespace, &holder.name))
}

/// All entries, and what follows from them.
#[derive(Clone, Debug, Default)]
pub struct Book {
    entries: BTreeMap<Point, Entry>,
    occupied: Occupied,
    taken: Taken,
    by_holder: BTreeMap<HolderKey, BTreeSet<Point>>,
    by_key: BTreeMap<String, BTreeSet<Point>>,
    reserved: BTreeMap<HolderKey, BTreeSet<Point>>,
}

impl Book {
    /// The entry of an address.
    pub fn get(&self, at: Point) -> Option<&Entry> {
        self.entries.get(&at)
    }

    /// Every entry, ascending.
    pub fn entries(&self) -> impl Iterator<Item = (Point, &Entry)> {
        self.entries.iter().map(|(at, entry)| (*at, entry))
    }

    /// The entries within a span, ascending.
    pub fn within(&self, span: Span) -> impl Iterator<Item = (Point, &Entry)> {
        self.entries
            .range(span.start..=span.end)
            .map(|(at, entry)| (*at, entry))
    }

    /// Everything that cannot be handed out.
    pub fn taken(&self) -> &Spans {
        &self.taken
    }

    /// The same with what was last freed.
    pub(crate) fn all_taken(&self) -> &Taken {
        &self.taken
    }

    /// The addresses a Service holds.
    pub fn held_by(&self, service: &HolderKey) -> impl Iterator<Item = Point> + '_ {
        self.by_holder.get(service).into_iter().flatten().copied()
    }

    /// The addresses that Services of a namespace hold; shared ones come several times.
    pub fn held_in(&self, namespace: &str) -> impl Iterator<Item = Point> {
        let first = HolderKey::service(namespace, "");
        let inside = self.by_holder.range(first..);
        let inside = inside.take_while(move |(key, _)| key.namespace == namespace);
        inside.flat_map(|(_, points)| points.iter().copied())
    }

    /// The addresses shared by a key.
    pub fn shared_by(&self, key: &str) -> impl Iterator<Item = Point> + '_ {
        self.by_key.get(key).into_iter().flatten().copied()
    }

    /// The addresses without holders that are kept for a Service.
    pub fn reserved_for(&self, service: &HolderKey) -> impl Iterator<Item = Point> + '_ {
        self.reserved.get(service).into_iter().flatten().copied()
    }

    /// What is in use without a record.
    pub fn occupied(&self) -> &Occupied {
        &self.occupied
    }

    /// The addresses of nodes among these, and whose they are: they are never handed out.
    pub fn nodes_in(&self, spans: &Spans) -> Vec<(Point, Vec<String>)> {
        let nodes = spans.iter();
        let nodes = nodes.flat_map(|span| self.occupied.nodes.within(span));
        nodes
            .map(|(at, nodes)| (at, nodes.iter().cloned().collect()))
            .collect()
    }

    /// The first of the nodes that have this address.
    pub fn node_at(&self, at: Point) -> Option<&str> {
        self.occupied.nodes.at(at).next().map(String::as_str)
    }

    /// Whether the record of this address cannot be read.
    pub fn unreadable(&self, at: Point) -> bool {
        self.occupied.unreadable.contains_key(&at)
    }

    /// Replaces an entry by what `edit` makes of it; one with neither side is gone.
    pub fn set(&mut self, at: Point, edit: impl FnOnce(&mut Entry)) {
        let mut entry = self.entries.remove(&at).unwrap_or_default();
        self.unlink(at, &entry);
        edit(&mut entry);
        if entry == Entry::default() {
            if !self.occupied.contains(at) {
                self.taken.remove(Span::point(at));
            }
            return;
        }
        for service in entry.holder_keys() {
            self.by_holder.entry(service).or_default().insert(at);
        }
        if let Some(want) = &entry.want {
            if let Some(key) = want.sharing_key.as_deref().filter(|key| !key.is_empty()) {
                self.by_key.entry(key.to_owned()).or_default().insert(at);
            }
            if let Some(service) = reservation(want) {
                self.reserved.entry(service).or_default().insert(at);
            }
        }
        self.taken.insert(Span::point(at));
        self.entries.insert(at, entry);
    }

    fn unlink(&mut self, at: Point, entry: &Entry) {
        for service in entry.holder_keys() {
            forget(&mut self.by_holder, &service, at);
        }
        if let Some(want) = &entry.want {
            if let Some(key) = &want.sharing_key {
                forget(&mut self.by_key, key, at);
            }
            if let Some(service) = reservation(want) {
                forget(&mut self.reserved, &service, at);
            }
        }
    }

    /// Replaces the addresses of one node; returns the points that changed.
    pub fn set_node(&mut self, node: &str, addresses: &BTreeSet<Point>) -> BTreeSet<Point> {
        let changed = self.occupied.nodes.set(&node.to_owned(), addresses);
        self.settle(&changed);
        changed
    }

    /// The Service whose cluster IP this is.
    pub fn cluster_at(&self, at: Point) -> Option<&HolderKey> {
        self.occupied.cluster.at(at).next()
    }

    /// Replaces the cluster IPs of one Service; returns the points that changed.
    pub fn set_cluster(&mut self, key: &HolderKey, addresses: &BTreeSet<Point>) -> BTreeSet<Point> {
        let changed = self.occupied.cluster.set(key, addresses);
        self.settle(&changed);
        changed
    }

    /// Replaces the external addresses of one Service; returns the points that changed.
    pub fn set_external(
        &mut self,
        key: &HolderKey,
        addresses: &BTreeSet<Point>,
    ) -> BTreeSet<Point> {
        let changed = self.occupied.external.set(key, addresses);
        self.settle(&changed);
        changed
    }

    /// The record of this address cannot be read, or (`None`) can, or is gone.
    pub fn set_unreadable(&mut self, at: Point, uid: Option<String>) {
        match uid {
            Some(uid) => self.occupied.unreadable.insert(at, uid),
            None => self.occupied.unreadable.remove(&at),
        };
        self.settle(&BTreeSet::from([at]));
    }

    fn settle(&mut self, changed: &BTreeSet<Point>) {
        for at in changed {
            if self.occupied.contains(*at) || self.entries.contains_key(at) {
                self.taken.insert(Span::point(*at));
            } else {
                self.taken.remove(Span::point(*at));
            }
        }
    }
}

/// For whom a record without holders keeps its address.
fn reservation(spec: &LoadBalancerIPSpec) -> Option<HolderKey> {
    let kept = spec.reserved_for.as_ref()?;
    let kind = HolderKind::parse(&kept.kind)?;
    spec.holders
        .is_empty()
        .then(|| HolderKey::new(kind, &kept.namespace, &kept.name))
}

fn forget<K: Ord>(map: &mut BTreeMap<K, BTreeSet<Point>>, key: &K, at: Point) {
    if let Some(points) = map.get_mut(key) {
        points.remove(&at);
        if points.is_empty() {
            map.remove(key);
        }
    }
}
