//! The index: events change the world, and mark who has to be looked at again.
//!
//! It is synchronous and holds no lock: the shell keeps it behind one, never across an await.
//! Planning commits to the book at once, so that two plans never meet at one address and a retry
//! finds the address it had chosen; there is no way back to roll.
//!
//! ```text
//! *_seen, *_gone ──► world ──► dirty ──► pop ──► plan ──► records, status ──► depart ──► records
//!                                ▲                             │ answers
//!                                └─────── record_seen ◄────────┘
//! ```
//!
//! Invariant: whoever could be affected by an event is in `dirty`, or in `waiting` and reached by
//! the next wake; nobody else is.

mod events;
mod impact;
mod leadership;
mod questions;
mod writes;

use std::collections::{BTreeMap, BTreeSet};

use crate::address::{Family, Point};
use crate::book::Entry;
use crate::book::record::pools_of;
use crate::plan::plan;
use crate::service::Service;
use crate::world::World;
use crate::{HolderKey, PoolName, QueueKey};

pub use writes::{Mark, Writes};

/// The world, and who has to be looked at again.
#[derive(Debug, Default)]
pub struct Index {
    world: World,
    dirty: BTreeSet<QueueKey>,
    waiting: BTreeSet<QueueKey>,
    gone: BTreeSet<HolderKey>,
    freed: BTreeSet<Point>,
    dirty_pools: BTreeSet<PoolName>,
    buried: BTreeMap<Point, String>,
    /// Whether this index decides. One that listens wants just what the records say.
    leads: bool,
}

impl Index {
    /// Gives what became free to those who wait, the oldest first.
    fn wake(&mut self) {
        let mut freed = std::mem::take(&mut self.freed);
        if freed.is_empty() || self.waiting.is_empty() {
            return;
        }
        let queue: Vec<QueueKey> = self.waiting.iter().cloned().collect();
        for queued in queue {
            if freed.is_empty() {
                break;
            }
            let Some(service) = self.world.services.get(&queued.key) else {
                continue;
            };
            let held = self.world.held(&queued.key);
            if !self.world.former(service, &held).is_empty()
                || !freed.iter().any(|at| could_use(&self.world, service, *at))
            {
                continue;
            }
            let plan = plan(&self.world, service, &held);
            if plan.take.is_empty() {
                // Even so its message may have changed: who holds what it asks for.
                self.dirty.insert(queued);
                continue;
            }
            let service = service.clone();
            for take in &plan.take {
                freed.remove(&Point::from(take.address));
            }
            self.commit(&service, &plan);
            self.dirty.insert(queued);
        }
    }

    /// The next Service to look at, the oldest first.
    pub fn pop(&mut self) -> Option<QueueKey> {
        self.wake();
        self.dirty.pop_first()
    }

    /// A Service that could not be finished comes again.
    pub fn again(&mut self, queued: QueueKey) {
        self.dirty.insert(queued);
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
    pub fn waiting(&self) -> &BTreeSet<QueueKey> {
        &self.waiting
    }

    /// The one way an entry changes: pools are told, and what is free or shared now is offered.
    fn change(&mut self, at: Point, edit: impl FnOnce(&mut Entry)) {
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
    fn pools_at(&mut self, at: Point) {
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

    fn touch(&mut self, keys: impl IntoIterator<Item = HolderKey>) {
        let services = keys
            .into_iter()
            .filter_map(|key| self.world.services.get(&key));
        self.dirty
            .extend(services.map(|service| service.queue_key()));
    }
}

/// Releases come before everything else.
fn release_key(key: &HolderKey) -> QueueKey {
    QueueKey {
        created: i64::MIN,
        key: key.clone(),
    }
}

/// Whether an address that became free could be of use to one who waits.
fn could_use(world: &World, service: &Service, at: Point) -> bool {
    let address = at.address();
    let Some(request) = service.readable() else {
        return false;
    };
    if !service.families.contains(&Family::of(address)) {
        return false;
    }
    request.addresses.contains(&address)
        || service.external.contains(&address)
        || service.status.contains(&address)
        || world.pools.covering(at).iter().any(|pool| {
            world
                .offers(pool, service, !request.pools.is_empty())
                .is_ok()
        })
}
