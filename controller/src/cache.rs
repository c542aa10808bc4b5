//! What the shell shares: the index and, beside it, what the API server last showed of the objects
//! whose status is written here.
//!
//! Invariant: the lock is held for one synchronous look or change, never across an await; what is
//! taken out of a queue is in [`Cache::open`] from that very look on, so that at any time either
//! the cache is [at rest](Cache::at_rest) or a write may still come.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use k8s_openapi::api::core::v1::{LoadBalancerIngress, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;
use landfall_crds::LoadBalancerIPPool;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use crate::gateway::{GatewayKey, Lender};
use crate::undecodable::Undecodables;
use landfall_ipam::older;
use landfall_ipam::{Index, PoolName, ServiceKey};

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
pub struct Cache {
    /// Who has what, and who has to be looked at.
    pub index: Index,
    /// The Services the index knows.
    pub services: HashMap<ServiceKey, LiveService>,
    /// What Gateways have to lend.
    pub gateways: BTreeMap<GatewayKey, Lender>,
    /// The Services that say they were made for a Gateway, as last seen.
    pub made_for: BTreeMap<ServiceKey, (GatewayKey, Service)>,
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

impl Cache {
    /// This replica leads from now on: what is there is taken in, and nobody has waited for it
    /// before. Returns how many addresses were adopted.
    pub fn take_over(&mut self, now: Instant) -> usize {
        self.open.leads = true;
        self.since.values_mut().for_each(|since| *since = now);
        self.index.adopt()
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

impl Cache {
    /// The watch shows a Service.
    pub fn service_shown(&mut self, key: &ServiceKey, live: LiveService) {
        let known = self.services.get(key);
        if known.is_none_or(|known| known.uid != live.uid || !older(&live.version, &known.version))
        {
            self.services.insert(key.clone(), live);
        }
    }

    /// The API server answers a write of a Service: kept, unless the watch knows better by now.
    pub fn service_answered(&mut self, key: &ServiceKey, live: LiveService) {
        if let Some(known) = self.services.get_mut(key)
            && known.uid == live.uid
            && !older(&live.version, &known.version)
        {
            *known = live;
        }
    }

    /// The watch shows a pool.
    pub fn pool_shown(&mut self, name: &PoolName, pool: LoadBalancerIPPool) {
        let known = self.pools.get(name);
        if known.is_none_or(|known| known.uid() != pool.uid() || !outdated(&pool, known)) {
            self.pools.insert(name.clone(), pool);
        }
    }

    /// The API server answers a write of a pool: kept, unless the watch knows better by now.
    pub fn pool_answered(&mut self, name: &PoolName, pool: LoadBalancerIPPool) {
        if let Some(known) = self.pools.get_mut(name)
            && known.uid() == pool.uid()
            && !outdated(&pool, known)
        {
            *known = pool;
        }
    }
}

fn outdated(pool: &LoadBalancerIPPool, known: &LoadBalancerIPPool) -> bool {
    let version = |pool: &LoadBalancerIPPool| pool.resource_version().unwrap_or_default();
    older(&version(pool), &version(known))
}

/// The shared state.
#[derive(Debug, Default)]
pub struct State {
    cache: Mutex<Cache>,
    /// Rings when there is something to look at.
    pub services_changed: Notify,
    /// Rings when a pool's status may be stale.
    pub pools_changed: Notify,
    /// Rings when there is an object that cannot be decoded.
    pub undecodable_seen: Notify,
}

impl State {
    /// The cache, locked.
    pub fn lock(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock()
    }

    /// Changes the cache and rings.
    pub fn change<T>(&self, change: impl FnOnce(&mut Cache) -> T) -> T {
        let (result, news) = {
            let mut cache = self.cache.lock();
            (change(&mut cache), cache.undecodable.news())
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
        let mut cache = Cache::default();
        cache.since.insert(key.clone(), start);
        assert_eq!(cache.take_over(later), 0);
        assert_eq!(cache.since[&key], later);
        assert!(cache.at_rest());
    }

    fn live(uid: &str, version: &str) -> LiveService {
        LiveService {
            uid: uid.to_owned(),
            version: version.to_owned(),
            ..LiveService::default()
        }
    }

    fn pool(uid: &str, version: &str) -> LoadBalancerIPPool {
        let mut pool =
            LoadBalancerIPPool::new("p", landfall_crds::LoadBalancerIPPoolSpec::of(vec![]));
        pool.metadata.uid = Some(uid.to_owned());
        pool.metadata.resource_version = Some(version.to_owned());
        pool
    }

    #[test]
    fn an_answer_never_replaces_a_service_the_watch_knows_better() {
        let key = ServiceKey::new("n", "s");
        let mut cache = Cache::default();
        cache.service_answered(&key, live("u", "9"));
        assert!(cache.services.is_empty(), "it is gone by now");
        cache.service_shown(&key, live("u", "11"));
        cache.service_answered(&key, live("u", "9"));
        assert_eq!(cache.services[&key], live("u", "11"));
        cache.service_answered(&key, live("u", "12"));
        cache.service_shown(&key, live("u", "11"));
        assert_eq!(cache.services[&key], live("u", "12"));
        cache.service_shown(&key, live("v", "20"));
        cache.service_answered(&key, live("u", "21"));
        assert_eq!(cache.services[&key], live("v", "20"));
    }

    #[test]
    fn an_answer_never_replaces_a_pool_the_watch_knows_better() {
        let name = PoolName::from("p");
        let mut cache = Cache::default();
        cache.pool_answered(&name, pool("u", "9"));
        assert!(cache.pools.is_empty(), "it is gone by now");
        cache.pool_shown(&name, pool("u", "11"));
        cache.pool_answered(&name, pool("u", "9"));
        assert_eq!(cache.pools[&name], pool("u", "11"));
        cache.pool_answered(&name, pool("u", "12"));
        cache.pool_shown(&name, pool("u", "11"));
        assert_eq!(cache.pools[&name], pool("u", "12"));
        cache.pool_shown(&name, pool("v", "20"));
        cache.pool_answered(&name, pool("u", "21"));
        assert_eq!(cache.pools[&name], pool("v", "20"));
    }
}
