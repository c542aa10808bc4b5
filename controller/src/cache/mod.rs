//! What is known of the cluster: the index and, beside it, what the API server last showed of the
//! objects whose status is written here.
//!
//! Invariant: what is taken out of a queue is in [`Cache::open`] from that very look on, so that at
//! any time either the cache is [at rest](Cache::at_rest) or a write may still come.

mod gateways;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use k8s_openapi::api::core::v1::{ObjectReference, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::DeserializeGuard;
use landfall_crds::LoadBalancerIPPool;
use landfall_crds::version::Known;
use landfall_gateway::NamespacedName;
use landfall_ipam::pools::Pool;
use landfall_ipam::{HolderKey, Index, PoolName};

use crate::contest::Said;
use crate::gateway::{self, Lender};
use crate::settings::Settings;
use crate::undecodable::Undecodables;
use crate::validate::{self, LiveService};

/// Everything behind the lock.
#[derive(Debug, Default)]
pub struct Cache {
    /// Who has what, and who has to be looked at.
    pub index: Index,
    /// The Services the index knows.
    pub services: Known<HolderKey, LiveService>,
    /// What Gateways have to lend.
    pub gateways: BTreeMap<NamespacedName, Lender>,
    /// The Services that say they were made for a Gateway, as last seen.
    pub made_for: BTreeMap<HolderKey, (NamespacedName, Service)>,
    /// The Gateway API: Gateways of our classes, and the routes that are served for them.
    pub gateway_api: gateway::Known,
    /// What the status of each Service said when it was last written.
    pub said: HashMap<HolderKey, Said>,
    /// The pools as last seen.
    pub pools: Known<PoolName, LoadBalancerIPPool>,
    /// Since when a Service waits to be worked on: the first event since it was last finished.
    pub since: HashMap<HolderKey, Instant>,
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
    pub services: BTreeSet<HolderKey>,
    pub pools: BTreeSet<PoolName>,
    /// Services that could not be written several times in a row.
    pub failing: BTreeSet<HolderKey>,
    /// Pools that records under way come to name, and how many.
    pub naming: BTreeMap<PoolName, usize>,
}

impl Cache {
    /// This replica leads from now on: what is there is taken in, and nobody has waited for it
    /// before. Returns how many addresses were adopted.
    pub fn take_over(&mut self, now: Instant) -> usize {
        self.open.leads = true;
        self.decide_gateways();
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
            && self.gateway_api.at_rest()
            && !self.index.has_work()
            && self.index.orphans().is_empty()
    }

    /// The object, or a note that it cannot be decoded.
    pub(crate) fn decoded<K>(&mut self, object: DeserializeGuard<K>) -> Option<K>
    where
        K: Resource<DynamicType = ()>,
    {
        let regarding = reference::<K>(object.meta());
        match object.0 {
            Ok(object) => {
                self.undecodable.settled(&regarding);
                Some(object)
            }
            Err(error) => {
                self.undecodable.seen(regarding, error.to_string());
                None
            }
        }
    }

    /// The API server answers a write to a pool. What is in it besides may be newer than the watch: its users' last change.
    pub(crate) fn pool_answered(&mut self, name: &PoolName, pool: LoadBalancerIPPool) {
        if self.pools.answered(name, pool) {
            self.compile_pool(name);
        }
    }

    /// Decides by the pool as it is known now.
    pub(crate) fn compile_pool(&mut self, name: &PoolName) {
        if let Some(pool) = self.pools.get(name) {
            let draining = pool.metadata.deletion_timestamp.is_some();
            let compiled = Pool::compile(name.as_str(), &pool.spec, draining);
            self.index.pool_seen(name, Some(compiled));
        }
    }

    /// Takes a Service in, with what its Gateway lends it now.
    pub(crate) fn service_seen(&mut self, object: Service, settings: &Settings) {
        let gateway = gateway::owning(&object.metadata);
        let trusted = &settings.gateway_namespaces;
        let believed = |key: &&NamespacedName| gateway::believed(&object.metadata, key, trusted);
        let believed = gateway.as_ref().filter(believed);
        let lender = believed.and_then(|key| self.gateways.get(key));
        let Some(mut service) = validate::service(&object, settings.default_class, lender) else {
            return;
        };
        service.notes.extend(match (&gateway, believed, lender) {
            (Some(key), None, _) if self.gateways.contains_key(key) => Some(format!(
                "is not believed to be made for Gateway {key}: only Services of its own namespace \
                 and of those in --gateway-namespaces are"
            )),
            (Some(key), _, Some(_)) => Some(format!("in the name of Gateway {key}")),
            _ => None,
        });
        let key = service.key.clone();
        self.index.service_seen(service);
        self.made_for.remove(&key);
        if self.index.service(&key).is_none() {
            self.services.gone(&key);
            return;
        }
        let live = validate::live(&object);
        self.services.shown(key.clone(), live);
        if let Some(gateway) = gateway {
            self.made_for.insert(key.clone(), (gateway, object));
        }
        self.since.entry(key).or_insert_with(Instant::now);
    }

    /// The Gateway, of whichever controller, that a Service was made for as far as that is believed, with its uid.
    pub(crate) fn gateway_behind(
        &self,
        service: &HolderKey,
        settings: &Settings,
    ) -> Option<(HolderKey, String)> {
        let (gateway, object) = self.made_for.get(service)?;
        let trusted = &settings.gateway_namespaces;
        let found = self.gateway_api.world.gateways.get(gateway)?;
        let key = HolderKey::gateway(&*gateway.namespace, &*gateway.name);
        gateway::believed(&object.metadata, gateway, trusted)
            .then(|| (key, found.metadata.uid.clone().unwrap_or_default()))
    }

    /// What a Gateway lends has changed, or is gone with it: only the Services made for it are read again.
    pub(crate) fn gateway_seen(
        &mut self,
        key: &NamespacedName,
        lender: Option<Lender>,
        settings: &Settings,
    ) {
        if self.gateways.get(key) == lender.as_ref() {
            return;
        }
        match lender {
            Some(lender) => self.gateways.insert(key.clone(), lender),
            None => self.gateways.remove(key),
        };
        let made_for = self.made_for.values();
        let services: Vec<Service> = made_for
            .filter(|(gateway, _)| gateway == key)
            .map(|(_, service)| service.clone())
            .collect();
        for service in services {
            self.service_seen(service, settings);
        }
    }
}

/// Names an object for an Event on it.
fn reference<K: Resource<DynamicType = ()>>(metadata: &ObjectMeta) -> ObjectReference {
    ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::kind(&()).into_owned()),
        namespace: metadata.namespace.clone(),
        name: metadata.name.clone(),
        uid: metadata.uid.clone(),
        resource_version: metadata.resource_version.clone(),
        ..ObjectReference::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_follower_waited_does_not_count_when_it_takes_over() {
        let key = HolderKey::service("blue", "web");
        let start = Instant::now();
        let later = start + std::time::Duration::from_secs(3_600);
        let mut cache = Cache::default();
        cache.since.insert(key.clone(), start);
        assert_eq!(cache.take_over(later), 0);
        assert_eq!(cache.since[&key], later);
        assert!(cache.at_rest());
    }
}
