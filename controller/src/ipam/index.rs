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

use landfall_crds::{Holder, LoadBalancerIPSpec, ObjectRef, PoolRef, ReclaimPolicy};

use super::address::{Family, Point};
use super::book::{Entry, SERVICE, Stored, service_key};
use super::plan::{How, Kept, Plan, Take};
use super::pool::{Pool, PoolError};
use super::service::{Labels, Service};
use super::world::World;
use super::{PoolName, ServiceKey, Turn};

/// A write of one record.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Create it: this is the allocation.
    Create(Point, LoadBalancerIPSpec),
    /// Replace the spec of this very version.
    Replace(Point, LoadBalancerIPSpec, Stored),
    /// Delete this very version.
    Delete(Point, Stored),
}

impl Write {
    /// The address it is about.
    #[must_use]
    pub fn at(&self) -> Point {
        match self {
            Self::Create(at, _) | Self::Replace(at, ..) | Self::Delete(at, _) => *at,
        }
    }
}

/// An `OutOfPool` condition to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The record.
    pub at: Point,
    /// Why; `None`: it is in its pool again.
    pub out_of_pool: Option<String>,
}

/// What has to be done for one Service, in this order: writes, status, marks, departures.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The Service as planned for; `None` when it is gone.
    pub service: Option<Service>,
    /// The plan, already committed.
    pub plan: Plan,
    /// Records to write before the status.
    pub writes: Vec<Write>,
    /// Records to mark.
    pub marks: Vec<Mark>,
}

/// The world, and who has to be looked at again.
#[derive(Debug, Default)]
pub struct Index {
    /// The picture plans are made from.
    pub world: World,
    dirty: BTreeSet<Turn>,
    waiting: BTreeSet<Turn>,
    gone: BTreeSet<ServiceKey>,
    freed: BTreeSet<Point>,
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
        self.world.services.insert(key, service);
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

    /// Takes in every address a status names and no record has: before anything is allocated.
    /// Returns how many.
    pub fn adopt(&mut self) -> usize {
        let mut turns: Vec<Turn> = self.world.services.values().map(Service::turn).collect();
        turns.sort();
        let mut adopted = 0;
        for turn in turns {
            let Some(service) = self
                .world
                .services
                .get(&turn.key)
                .filter(|s| s.wanted)
                .cloned()
            else {
                continue;
            };
            let held: BTreeSet<Family> = self
                .world
                .book
                .held_by(&turn.key)
                .map(|at| Family::of(at.address()))
                .collect();
            let new = service
                .status
                .iter()
                .filter(|address| !held.contains(&Family::of(**address)));
            for address in new {
                if let Some(take) = self.world.adoption(&service, *address) {
                    self.take(&service, &take);
                    adopted += 1;
                }
            }
        }
        adopted
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
            .extend(self.world.services.values().map(Service::turn));
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

    /// Those who wait for something.
    #[must_use]
    pub fn waiting(&self) -> &BTreeSet<Turn> {
        &self.waiting
    }

    /// Gives what became free to those who wait, the oldest first.
    fn wake(&mut self) {
        let mut freed = std::mem::take(&mut self.freed);
        if freed.is_empty() || self.waiting.is_empty() {
            return;
        }
        let turns: Vec<Turn> = self.waiting.iter().cloned().collect();
        for turn in turns {
            if freed.is_empty() {
                break;
            }
            let Some(service) = self.world.services.get(&turn.key) else {
                continue;
            };
            if !freed.iter().any(|at| self.world.could_use(service, *at)) {
                continue;
            }
            let plan = self.world.plan(service);
            if plan.take.is_empty() {
                // Even so its message may have changed: who holds what it asks for.
                self.dirty.insert(turn);
                continue;
            }
            let service = service.clone();
            for take in &plan.take {
                freed.remove(&Point::from(take.address));
            }
            self.commit(&service, &plan);
            self.dirty.insert(turn);
        }
    }

    /// Plans for a Service and commits the plan to the book.
    pub fn step(&mut self, key: &ServiceKey) -> Option<Step> {
        let Some(service) = self.world.services.get(key).cloned() else {
            if !self.gone.contains(key) {
                return None;
            }
            let leave = self.world.book.held_by(key).map(Point::address).collect();
            let plan = Plan {
                keep: vec![],
                take: vec![],
                leave,
                outcome: None,
                waits: false,
            };
            return Some(Step {
                service: None,
                plan,
                writes: vec![],
                marks: vec![],
            });
        };
        let plan = self.world.plan(&service);
        self.commit(&service, &plan);
        if plan.waits {
            self.waiting.insert(service.turn());
        } else {
            self.waiting.remove(&service.turn());
        }
        let leaves = |at: &Point| plan.leave.contains(&at.address());
        let held = self.world.book.held_by(key).filter(|at| !leaves(at));
        let writes = held
            .filter_map(|at| diff(at, self.world.book.get(at)?))
            .collect();
        let marks = plan
            .keep
            .iter()
            .filter_map(|kept| self.mark(key, kept))
            .collect();
        Some(Step {
            service: Some(service),
            plan,
            writes,
            marks,
        })
    }

    fn mark(&self, key: &ServiceKey, kept: &Kept) -> Option<Mark> {
        let at = Point::from(kept.address);
        let entry = self.world.book.get(at)?;
        let marked = &entry.stored.as_ref()?.out_of_pool;
        if !first(entry.want.as_ref()?, key) {
            return None;
        }
        let same = match (marked, &kept.out_of_pool) {
            (None | Some((false, _)), None) => true,
            (Some((true, before)), Some(now)) => before == now,
            _ => false,
        };
        (!same).then(|| Mark {
            at,
            out_of_pool: kept.out_of_pool.clone(),
        })
    }

    /// The Service lets go of addresses that its status no longer names.
    pub fn depart(&mut self, key: &ServiceKey, leave: &[IpAddr]) -> Vec<Write> {
        let mut writes = Vec::new();
        for at in leave.iter().map(|address| Point::from(*address)) {
            self.change(at, |entry| {
                entry.want = entry.want.take().and_then(|want| without(want, key));
            });
            self.freed.insert(at);
            writes.extend(self.world.book.get(at).and_then(|entry| diff(at, entry)));
            let rest: Vec<ServiceKey> = self
                .world
                .book
                .get(at)
                .into_iter()
                .flat_map(Entry::services)
                .collect();
            self.touch(rest);
        }
        if self.world.book.held_by(key).next().is_none() {
            self.gone.remove(key);
        }
        writes
    }

    /// The write an address still needs.
    #[must_use]
    pub fn open(&self, at: Point) -> Option<Write> {
        diff(at, self.world.book.get(at)?)
    }

    /// Departures that could not be written: the Service holds these until it leaves again.
    pub fn undepart(&mut self, key: &ServiceKey, open: &[Point]) {
        for at in open {
            self.change(*at, |entry| {
                let held = |stored: &&Stored| {
                    let mut holders = stored.spec.holders.iter();
                    holders.any(|holder| service_key(holder).as_ref() == Some(key))
                };
                if let Some(stored) = entry.stored.as_ref().filter(held) {
                    entry.want = Some(stored.spec.clone());
                }
            });
        }
        if self.world.services.contains_key(key) {
            self.touch([key.clone()]);
        } else {
            self.release(key);
        }
    }

    /// A Service that wants nothing and holds nothing needs not be known.
    pub fn forget(&mut self, key: &ServiceKey) {
        let idle = self
            .world
            .services
            .get(key)
            .is_some_and(|service| !service.wanted)
            && self.world.book.held_by(key).next().is_none();
        if idle {
            self.world.services.remove(key);
        }
    }

    fn commit(&mut self, service: &Service, plan: &Plan) {
        for take in &plan.take {
            self.take(service, take);
        }
        for kept in &plan.keep {
            let at = Point::from(kept.address);
            let Some(want) = self
                .world
                .book
                .get(at)
                .and_then(|entry| entry.want.as_ref())
            else {
                continue;
            };
            let settled = settled(want.clone(), service, kept.pool.as_ref());
            if settled != *want {
                self.change(at, |entry| entry.want = Some(settled));
            }
        }
    }

    fn take(&mut self, service: &Service, take: &Take) {
        let at = Point::from(take.address);
        let key = sharing_key(service);
        let pool = take.pool.as_ref().map(|pool| PoolRef {
            name: pool.to_string(),
        });
        self.change(at, |entry| match (take.how, &mut entry.want) {
            (How::Join | How::Claim, Some(want)) => {
                want.holders.push(holder(service));
                want.sharing_key = key;
            }
            _ => {
                entry.want = Some(LoadBalancerIPSpec {
                    address: take.address.to_string(),
                    pool_ref: pool,
                    holders: vec![holder(service)],
                    sharing_key: key,
                    reserved_for: None,
                    reclaim_policy: ReclaimPolicy::Delete,
                });
            }
        });
    }

    /// The one way an entry changes: pools are told, and what is free or shared now is offered.
    fn change(&mut self, at: Point, edit: impl FnOnce(&mut Entry)) {
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

    fn pools_at(&mut self, at: Point) {
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
        self.dirty_pools
            .extend(from.map(|pool| PoolName::from(pool.name.as_str())));
    }

    fn touch(&mut self, keys: impl IntoIterator<Item = ServiceKey>) {
        let services = keys
            .into_iter()
            .filter_map(|key| self.world.services.get(&key));
        self.dirty.extend(services.map(Service::turn));
    }
}

impl World {
    /// Whether an address that became free could be of use to one who waits.
    fn could_use(&self, service: &Service, at: Point) -> bool {
        let address = at.address();
        let Some(request) = service.readable() else {
            return false;
        };
        if !service.families.contains(&Family::of(address)) {
            return false;
        }
        request.addresses.contains(&address)
            || service.status.contains(&address)
            || self
                .pools
                .covering(at)
                .iter()
                .any(|pool| self.offers(pool, service, request.pool.is_some()).is_ok())
    }
}

/// Releases come before everything else.
fn gone_turn(key: &ServiceKey) -> Turn {
    Turn {
        created: i64::MIN,
        key: key.clone(),
    }
}

fn from_pool(entry: &Entry, name: &PoolName) -> bool {
    let wanted = entry.want.as_ref().and_then(|want| want.pool_ref.as_ref());
    let stored = entry
        .stored
        .as_ref()
        .and_then(|stored| stored.spec.pool_ref.as_ref());
    wanted
        .into_iter()
        .chain(stored)
        .any(|pool| *pool.name == *name.0)
}

/// What is left to write of an entry.
fn diff(at: Point, entry: &Entry) -> Option<Write> {
    match (&entry.want, &entry.stored) {
        (Some(want), None) => Some(Write::Create(at, want.clone())),
        (Some(want), Some(stored)) if *want != stored.spec => {
            Some(Write::Replace(at, want.clone(), stored.clone()))
        }
        (None, Some(stored)) => Some(Write::Delete(at, stored.clone())),
        _ => None,
    }
}

/// A record without one holder; `None` when nobody and nothing keeps it.
fn without(mut spec: LoadBalancerIPSpec, key: &ServiceKey) -> Option<LoadBalancerIPSpec> {
    spec.holders
        .retain(|holder| service_key(holder).as_ref() != Some(key));
    if !spec.holders.is_empty() {
        return Some(spec);
    }
    spec.sharing_key = None;
    if spec.reclaim_policy == ReclaimPolicy::Retain && spec.reserved_for.is_none() {
        spec.reserved_for = Some(ObjectRef {
            kind: SERVICE.to_owned(),
            namespace: key.namespace.clone(),
            name: key.name.clone(),
        });
    }
    spec.reserved_for.is_some().then_some(spec)
}

/// A record as it shall be for one that stays: this Service's uid, pool and sharing key.
fn settled(
    mut spec: LoadBalancerIPSpec,
    service: &Service,
    pool: Option<&PoolName>,
) -> LoadBalancerIPSpec {
    for held in &mut spec.holders {
        if service_key(held).as_ref() == Some(&service.key) {
            held.uid.clone_from(&service.uid);
        }
    }
    if let Some(pool) = pool.filter(|_| first(&spec, &service.key)) {
        spec.pool_ref = Some(PoolRef {
            name: pool.to_string(),
        });
    }
    if spec.holders.len() == 1 && service.request.is_ok() {
        spec.sharing_key = sharing_key(service);
    }
    spec
}

/// Whether the Service is the first of the holders: it speaks for all of them.
fn first(spec: &LoadBalancerIPSpec, key: &ServiceKey) -> bool {
    spec.holders.first().and_then(service_key).as_ref() == Some(key)
}

fn holder(service: &Service) -> Holder {
    Holder {
        kind: SERVICE.to_owned(),
        namespace: service.key.namespace.clone(),
        name: service.key.name.clone(),
        uid: service.uid.clone(),
    }
}

fn sharing_key(service: &Service) -> Option<String> {
    Some(service.readable()?.sharing.as_ref()?.key.clone())
}

/// Whether one version is older than another. They are numbers, and anything else is newer.
fn older(one: &str, two: &str) -> bool {
    match (one.parse::<u64>(), two.parse::<u64>()) {
        (Ok(one), Ok(two)) => one < two,
        _ => false,
    }
}
