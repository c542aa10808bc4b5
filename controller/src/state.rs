//! What the shell shares: the index and, beside it, what the API server last showed of the objects
//! whose status is written here.
//!
//! Invariant: the lock is held for one synchronous look or change, never across an await; what is
//! taken out of a queue is in [`Picture::open`] from that very look on, so that at any time either
//! the picture is [at rest](Picture::at_rest) or a write may still come.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use k8s_openapi::api::core::v1::LoadBalancerIngress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use landfall_crds::LoadBalancerIPPool;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use crate::ipam::index::older;
use crate::ipam::{Index, PoolName, ServiceKey};
use crate::undecodable::Undecodables;

/// A Service as far as its status is concerned.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LiveService {
    /// Its uid.
    pub uid: String,
    /// Its `resourceVersion`.
    pub version: String,
    /// Its generation, where Services have one.
    pub generation: Option<i64>,
    /// `status.loadBalancer.ingress`.
    pub ingress: Vec<LoadBalancerIngress>,
    /// `status.conditions`.
    pub conditions: Vec<Condition>,
}

/// Everything behind the lock.
#[derive(Debug, Default)]
pub struct Picture {
    /// Who has what, and who has to be looked at.
    pub index: Index,
    /// The Services the index knows.
    pub services: HashMap<ServiceKey, LiveService>,
    /// The pools as last seen.
    pub pools: BTreeMap<PoolName, LoadBalancerIPPool>,
    /// Since when a Service waits to be worked on: the first event since it was last finished.
    pub since: HashMap<ServiceKey, Instant>,
    /// Objects that cannot be decoded.
    pub undecodable: Undecodables,
    /// What is begun and not ended.
    pub open: Open,
}

/// What is begun and not ended: being written, or to be tried again.
#[derive(Debug, Default)]
pub struct Open {
    /// This replica leads, and has taken in what there was.
    pub leads: bool,
    /// Services.
    pub services: BTreeSet<ServiceKey>,
    /// Pools.
    pub pools: BTreeSet<PoolName>,
}

impl Picture {
    /// This replica leads from now on: what is there is taken in, and nobody has waited for it
    /// before. Returns how many addresses were adopted.
    pub fn take_over(&mut self, now: Instant) -> usize {
        self.open.leads = true;
        self.since.values_mut().for_each(|since| *since = now);
        self.index.adopt()
    }

    /// The answer to a status we wrote. Where the watch was quicker to show what somebody else
    /// wrote after us, that stays.
    pub fn status_written(&mut self, key: &ServiceKey, answer: LiveService) {
        if let Some(live) = self.services.get_mut(key)
            && !older(&answer.version, &live.version)
        {
            *live = answer;
        }
    }

    /// The answer to a pool we wrote; the same holds.
    pub fn pool_written(&mut self, name: &PoolName, answer: LoadBalancerIPPool) {
        let version = |pool: &LoadBalancerIPPool| {
            let version = pool.metadata.resource_version.clone();
            version.unwrap_or_default()
        };
        if let Some(pool) = self.pools.get_mut(name)
            && !older(&version(&answer), &version(pool))
        {
            *pool = answer;
        }
    }

    /// Whether a leader has nothing to do and nothing under way. Services that wait for an address
    /// do not count: they are looked at when something changes.
    #[must_use]
    pub fn at_rest(&self) -> bool {
        self.open.leads
            && self.open.services.is_empty()
            && self.open.pools.is_empty()
            && !self.index.has_work()
            && self.index.orphans().is_empty()
    }
}

/// The shared state.
#[derive(Debug, Default)]
pub struct State {
    picture: Mutex<Picture>,
    /// Rings when there is something to look at.
    pub services_changed: Notify,
    /// Rings when a pool's status may be stale.
    pub pools_changed: Notify,
    /// Rings when there is an object that cannot be decoded.
    pub undecodable_seen: Notify,
}

impl State {
    /// The picture, locked.
    pub fn lock(&self) -> MutexGuard<'_, Picture> {
        self.picture.lock()
    }

    /// Changes the picture and rings.
    pub fn change<T>(&self, change: impl FnOnce(&mut Picture) -> T) -> T {
        let (result, news) = {
            let mut picture = self.picture.lock();
            (change(&mut picture), picture.undecodable.news())
        };
        if news {
            self.undecodable_seen.notify_one();
        }
        self.services_changed.notify_one();
        self.pools_changed.notify_one();
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_follower_waited_does_not_count_when_it_takes_over() {
        let key = ServiceKey::new("blue", "web");
        let start = Instant::now();
        let later = start + std::time::Duration::from_secs(3_600);
        let mut picture = Picture::default();
        picture.since.insert(key.clone(), start);
        assert_eq!(picture.take_over(later), 0);
        assert_eq!(picture.since[&key], later);
        assert!(picture.at_rest());
    }

    #[test]
    fn a_late_answer_does_not_hide_what_somebody_else_wrote_since() {
        let key = ServiceKey::new("blue", "web");
        let live = |version: &str| LiveService {
            version: version.to_owned(),
            ..LiveService::default()
        };
        let mut picture = Picture::default();
        picture.services.insert(key.clone(), live("9"));
        picture.status_written(&key, live("8"));
        assert_eq!(picture.services[&key].version, "9");
        picture.status_written(&key, live("10"));
        assert_eq!(picture.services[&key].version, "10");
    }
}
