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
use std::sync::Arc;

use super::address::Point;
use super::book::{Entry, Stored, service_key};
use super::pool::{Pool, PoolError};
use super::record::{diff, from_pool};
use super::service::{Labels, Service};
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
    dirty_pools: BTreeSet<PoolName>,
    buried: BTreeMap<Point, String>,
}

impl Index {
    /// A Service was added or changed.
    pub fn service_seen(&mut self, service: Service) {
        let key = service.key.clone();
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

    /// A pool was added, changed or (with `None`) deleted.
    pub fn pool_seen(&mut self, name: &PoolName, pool: Option<Result<Pool, PoolError>>) {
        let known = self.world.pools.get(name);
        let same = match (known, &pool) {
            (Some(Ok(before)), Some(Ok(after))) => **before == *after,
            (Some(Err(before)), Some(Err(after))) => before == after,
            (None, None) => true,
            _ => false,
        };
        self.dirty_pools.insert(name.clone());
        if same {
            return;
        }
        let mut versions = Vec::new();
        if let Some(Ok(after)) = &pool {
            versions.push(after.clone());
        }
        if let Some(Ok(before)) = self.world.pools.set(name, pool) {
            versions.push((*before).clone());
        }
        let mut affected: BTreeSet<ServiceKey> = BTreeSet::new();
        for version in &versions {
            self.dirty_pools
                .extend(self.world.pools.overlapping(version));
            let claims = |service: &&Arc<Service>| {
                let mut external = service.external.iter();
                external.any(|address| version.usable.contains(Point::from(*address)))
            };
            let claimants = self.world.services.values().filter(claims);
            affected.extend(claimants.map(|service| service.key.clone()));
            for span in version.usable.iter() {
                affected.extend(
                    self.world
                        .book
                        .within(span)
                        .flat_map(|(_, entry)| entry.services()),
                );
            }
        }
        for (_, entry) in self.world.book.entries() {
            if from_pool(entry, name) {
                affected.extend(entry.services());
            }
        }
        self.touch(affected);
        self.dirty.extend(self.waiting.iter().cloned());
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
        let wanted = !holders.is_empty();
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

    /// A node's addresses were seen; none when it is gone.
    pub fn node_seen(&mut self, node: &str, addresses: &BTreeSet<Point>) {
        for at in self.world.book.set_node(node, addresses) {
            self.pools_at(at);
            if !self.world.book.taken().contains(at) {
                self.freed.insert(at);
            }
        }
    }

    /// Forgets what was wanted and not written: somebody else decides now.
    pub fn stand_down(&mut self) {
        let open: Vec<Point> = self
            .world
            .book
            .entries()
            .filter(|(at, entry)| diff(*at, entry).is_some())
            .map(|(at, _)| at)
            .collect();
        for at in open {
            self.change(at, |entry| {
                entry.want = entry.stored.as_ref().map(|stored| stored.spec.clone());
            });
        }
        self.dirty
            .extend(self.world.services.values().map(|service| service.turn()));
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
        self.world.book.set(at, edit);
        let want = self
            .world
            .book
            .get(at)
            .and_then(|entry| entry.want.as_ref());
        let shared = want.is_some_and(|want| want.sharing_key.is_some());
        if shared || !self.world.book.taken().contains(at) {
            self.freed.insert(at);
        }
        self.pools_at(at);
    }

    pub(super) fn pools_at(&mut self, at: Point) {
        for pool in self.world.pools.covering(at) {
            if !self.dirty_pools.contains(&pool.name) {
                self.dirty_pools.insert(pool.name.clone());
            }
        }
        let from = self
            .world
            .book
            .get(at)
            .and_then(|entry| entry.want.as_ref()?.pool_ref.as_ref());
        if let Some(pool) = from.filter(|pool| !self.dirty_pools.contains(pool.name.as_str())) {
            self.dirty_pools.insert(PoolName::from(pool.name.as_str()));
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
