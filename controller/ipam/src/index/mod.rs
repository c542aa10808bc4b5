//! The index: events change the world, and mark who has to be looked at again.
//!
//! It is synchronous and holds no lock: the shell keeps it behind one, never across an await.
//! Planning commits to the book at once, so that two plans never meet at one address and a retry
//! finds the address it had chosen; there is no way back to roll.
//!
//! ```text
//! *_seen, *_gone ──► world ──► dirty ──► pop ──► step ──► writes, status ──► depart ──► writes
//!                                ▲                             │ answers
//!                                └─────── record_seen ◄────────┘
//! ```
//!
//! Invariant: whoever could be affected by an event is in `dirty`, or in `waiting` and reached by
//! the next wake; nobody else is.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::address::Point;
use super::book::{Entry, Stored, service_key};
use super::record::{from_pool, pools_of};
use super::service::{FamilyPolicy, Labels, Service};
use super::world::World;
use super::{PoolName, ServiceKey, Turn};

/// The world, and who has to be looked at again.
#[derive(Debug, Default)]
pub struct Index {
    /// The picture plans are made from.
    pub world: World,
    pub(super) dirty: BTreeSet<Turn>,
    pub(super) waiting: BTreeSet<Turn>,
    pub(super) gone: BTreeSet<ServiceKey>,
    pub(super) freed: BTreeSet<Point>,
    pub(super) dirty_pools: BTreeSet<PoolName>,
    buried: BTreeMap<Point, String>,
    /// Whether this index decides. One that listens wants just what the records say.
    pub(super) leads: bool,
}

impl Index {
    /// A Service was added or changed.
    pub fn service_seen(&mut self, service: Service) {
        let key = service.key.clone();
        self.external_seen(&key, &service.external);
        self.status_seen(&service);
        let holds = self.world.book.held_by(&key).next().is_some();
        let before = self.world.services.get(&key);
        if let Some(before) = before.filter(|before| before.created != service.created) {
            let turn = before.turn();
            self.waiting.remove(&turn);
            self.dirty.remove(&turn);
        }
        if before.is_none_or(|before| !before.shares_as(&service)) {
            self.terms_changed(&service);
        }
        self.gone.remove(&key);
        if !service.wanted {
            self.waiting.remove(&service.turn());
            if !holds && !service.touched {
                self.world.services.remove(&key);
                return;
            }
        }
        self.dirty.insert(service.turn());
        self.world.services.insert(key, Arc::new(service));
    }

    fn status_seen(&mut self, service: &Service) {
        let shown = &mut self.world.shown;
        if service.policy != FamilyPolicy::RequireDualStack {
            shown.remove(&service.key);
            return;
        }
        let before = self.world.services.get(&service.key);
        let before = before.filter(|before| before.uid == service.uid);
        if before.is_none() {
            shown.remove(&service.key);
        }
        let before = before.into_iter().flat_map(|before| &before.status);
        let now: BTreeSet<IpAddr> = before.chain(&service.status).copied().collect();
        if !now.is_empty() {
            shown.entry(service.key.clone()).or_default().extend(now);
        }
    }

    /// Those who share, or would share, with this Service are looked at again.
    fn terms_changed(&mut self, service: &Service) {
        let held: Vec<Point> = self.world.book.held_by(&service.key).collect();
        let sharers: Vec<ServiceKey> = held
            .iter()
            .filter_map(|at| self.world.book.get(*at))
            .flat_map(Entry::services)
            .filter(|key| *key != service.key)
            .collect();
        self.touch(sharers);
        self.freed.extend(held);
    }

    /// A Service was deleted.
    pub fn service_gone(&mut self, key: &ServiceKey) {
        self.external_seen(key, &[]);
        self.world.shown.remove(key);
        let Some(service) = self.world.services.remove(key) else {
            return;
        };
        self.waiting.remove(&service.turn());
        self.dirty.remove(&service.turn());
        self.release(key);
    }

    /// Nobody of this name exists any more: what it holds is released.
    pub fn release(&mut self, key: &ServiceKey) {
        if self.world.book.held_by(key).next().is_some() {
            self.gone.insert(key.clone());
            self.dirty.insert(gone_turn(key));
        }
    }

    /// Holders in records that no known Service stands for, with their uids.
    #[must_use]
    pub fn orphans(&self) -> BTreeSet<(ServiceKey, String)> {
        let holders = self
            .world
            .book
            .entries()
            .flat_map(|(_, entry)| entry.holders());
        holders
            .filter_map(|holder| Some((service_key(holder)?, holder.uid.clone())))
            .filter(|(key, _)| !self.world.services.contains_key(key) && !self.gone.contains(key))
            .collect()
    }

    /// How many records name this pool.
    #[must_use]
    pub fn records_of(&self, name: &PoolName) -> usize {
        self.world
            .book
            .entries()
            .filter(|(_, entry)| from_pool(entry, name))
            .count()
    }

    /// A record was added or changed, or our own write of it was answered.
    pub fn record_seen(&mut self, at: Point, stored: Stored) {
        if self.buried.get(&at).is_some_and(|uid| *uid == stored.uid) {
            return;
        }
        if self.world.book.unreadable(at) {
            self.unreadable_changed(at, None);
        }
        let entry = self.world.book.get(at);
        let before = entry.and_then(|entry| entry.stored.as_ref());
        if before.is_some_and(|before| {
            before.uid == stored.uid && older(&stored.version, &before.version)
        }) {
            return;
        }
        let same = before.is_some_and(|before| before.spec == stored.spec)
            || entry.and_then(|entry| entry.want.as_ref()) == Some(&stored.spec);
        let mut affected: BTreeSet<ServiceKey> =
            entry.into_iter().flat_map(Entry::services).collect();
        self.change(at, |entry| {
            if !same {
                entry.want = Some(stored.spec.clone());
            }
            entry.stored = Some(stored);
        });
        if !same && let Some(entry) = self.world.book.get(at) {
            affected.extend(entry.services());
            let kept = entry
                .want
                .as_ref()
                .and_then(|want| want.reserved_for.as_ref());
            affected.extend(kept.map(|kept| ServiceKey::new(&kept.namespace, &kept.name)));
            self.touch(affected);
        }
    }

    /// A record was deleted, by us (`ours`) or as the watch says.
    pub fn record_gone(&mut self, at: Point, uid: &str, ours: bool) {
        if ours {
            self.buried.insert(at, uid.to_owned());
        } else if self.buried.get(&at).is_some_and(|buried| buried == uid) {
            self.buried.remove(&at);
        }
        let unreadable = self.world.book.occupied().unreadable.get(&at);
        if unreadable.is_some_and(|unreadable| unreadable == uid) {
            self.unreadable_changed(at, None);
        }
        let Some(entry) = self.world.book.get(at) else {
            return;
        };
        if entry.stored.as_ref().is_none_or(|stored| stored.uid != uid) {
            return;
        }
        let holders: Vec<ServiceKey> = entry
            .services()
            .filter(|key| self.world.services.contains_key(key))
            .collect();
        // A holder's record that somebody deletes comes back; one that the leader deleted does not.
        let wanted = self.leads && !holders.is_empty();
        self.change(at, |entry| {
            entry.stored = None;
            if !wanted {
                entry.want = None;
            }
        });
        self.touch(holders);
    }

    /// A namespace's labels were seen; `None` when it is gone.
    pub fn namespace_seen(&mut self, name: &str, labels: Option<Labels>) {
        let namespaces = &mut self.world.namespaces;
        let same = namespaces.get(name) == labels.as_ref();
        match labels {
            Some(labels) => namespaces.insert(name.to_owned(), labels),
            None => namespaces.remove(name),
        };
        if !same {
            let first = ServiceKey::new(name, "");
            let inside = self.world.services.range(first..);
            let inside = inside.take_while(|(key, _)| key.namespace == name);
            self.dirty.extend(inside.map(|(_, service)| service.turn()));
        }
    }

    /// The next Service to look at, the oldest first.
    pub fn pop(&mut self) -> Option<Turn> {
        self.wake();
        self.dirty.pop_first()
    }

    /// A Service that could not be finished comes again.
    pub fn again(&mut self, turn: Turn) {
        self.dirty.insert(turn);
    }

    /// The pools whose status may have changed.
    pub fn pop_pools(&mut self) -> BTreeSet<PoolName> {
        std::mem::take(&mut self.dirty_pools)
    }

    /// A pool's status is looked at again.
    pub fn pool_again(&mut self, name: PoolName) {
        self.dirty_pools.insert(name);
    }

    /// Whether there is anybody to look at, a Service or a pool.
    #[must_use]
    pub fn has_work(&self) -> bool {
        let offered = !self.freed.is_empty() && !self.waiting.is_empty();
        offered || !self.dirty.is_empty() || !self.dirty_pools.is_empty()
    }

    /// Those who wait for something.
    #[must_use]
    pub fn waiting(&self) -> &BTreeSet<Turn> {
        &self.waiting
    }

    /// The one way an entry changes: pools are told, and what is free or shared now is offered.
    pub(super) fn change(&mut self, at: Point, edit: impl FnOnce(&mut Entry)) {
        self.pools_at(at);
        self.world.book.set(at, edit);
        let want = self
            .world
            .book
            .get(at)
            .and_then(|entry| entry.want.as_ref());
        let shared = want.is_some_and(|want| want.sharing_key.is_some());
        if shared || self.world.book.get(at).is_none() {
            self.freed.insert(at);
        }
        self.pools_at(at);
    }

    /// The pools whose status may change with this address: those that cover it, and those its
    /// record names or shall name. A pool may cover it no longer and still wait for it to drain.
    pub(super) fn pools_at(&mut self, at: Point) {
        for pool in self.world.pools.covering(at) {
            if !self.dirty_pools.contains(&pool.name) {
                self.dirty_pools.insert(pool.name.clone());
            }
        }
        let entry = self.world.book.get(at);
        for pool in entry.into_iter().flat_map(pools_of) {
            if !self.dirty_pools.contains(pool) {
                self.dirty_pools.insert(PoolName::from(pool));
            }
        }
    }

    pub(super) fn touch(&mut self, keys: impl IntoIterator<Item = ServiceKey>) {
        let services = keys
            .into_iter()
            .filter_map(|key| self.world.services.get(&key));
        self.dirty.extend(services.map(|service| service.turn()));
    }
}

/// Releases come before everything else.
fn gone_turn(key: &ServiceKey) -> Turn {
    Turn {
        created: i64::MIN,
        key: key.clone(),
    }
}

/// Whether one version is older than another. They are numbers, and anything else is newer.
pub(crate) fn older(one: &str, two: &str) -> bool {
    match (one.parse::<u64>(), two.parse::<u64>()) {
        (Ok(one), Ok(two)) => one < two,
        _ => false,
    }
}
