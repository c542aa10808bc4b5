//! Steps: what has to be written for one Service, planned and committed in one go.
//!
//! A step is writes of records, then the status, then departures: [`Index::step`] commits what is
//! taken, [`Index::depart`] what is left once the status no longer names it.

use std::net::IpAddr;
use std::sync::Arc;

use landfall_crds::{LoadBalancerIPSpec, PoolRef, ReclaimPolicy};

use crate::address::{Family, Point};
use crate::book::{Entry, OutOfPool, Stored, service_key};
use crate::index::Index;
use crate::plan::{How, Kept, Plan, Take};
use crate::book::record::{diff, first, holder, settled, sharing_key, without};
use crate::service::Service;
use crate::world::World;
use crate::{ServiceKey, QueueKey};

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
    /// What the condition says now.
    pub before: Option<OutOfPool>,
}

/// What has to be done for one Service, in this order: writes, status, marks, departures.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The Service as planned for; `None` when it is gone.
    pub service: Option<Arc<Service>>,
    /// The plan, already committed.
    pub plan: Plan,
    /// Records to write before the status.
    pub writes: Vec<Write>,
    /// Records to mark.
    pub marks: Vec<Mark>,
}

impl Index {
    /// Gives what became free to those who wait, the oldest first.
    pub(crate) fn wake(&mut self) {
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
            if !freed.iter().any(|at| self.world.could_use(service, *at)) {
                continue;
            }
            let plan = self.world.plan(service);
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
            self.waiting.insert(service.queue_key());
        } else {
            self.waiting.remove(&service.queue_key());
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
        let stands = marked.as_ref().filter(|marked| marked.is);
        (stands.map(|marked| &marked.why) != kept.out_of_pool.as_ref()).then(|| Mark {
            at,
            out_of_pool: kept.out_of_pool.clone(),
            before: marked.clone(),
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

    pub(crate) fn take(&mut self, service: &Service, take: &Take) {
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
            || service.external.contains(&address)
            || service.status.contains(&address)
            || self
                .pools
                .covering(at)
                .iter()
                .any(|pool| self.offers(pool, service, request.pool.is_some()).is_ok())
    }
}
