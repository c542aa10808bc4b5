//! Watches: every event of the API server becomes one synchronous change of the cache.
//!
//! A watch that starts anew lists everything: what is missing from the list is gone. An object
//! that cannot be decoded is told of and stops nothing.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Instant;

use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::{Namespace, Node, ObjectReference, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Resource, ResourceExt as _};
use landfall_crds::{LoadBalancerIP, LoadBalancerIPPool, ip_name, parse_ip_name};
use landfall_runtime::readiness::Readiness;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::gateway::{self, Gateway, GatewayKey, Lender};
use crate::service::validate;
use crate::settings::Settings;
use crate::state::{Cache, State};
use landfall_ipam::address::Point;
use landfall_ipam::pools::Pool;
use landfall_ipam::{PoolName, ServiceKey};

/// The kinds that are watched; each is a check of `/readyz`.
pub(crate) const KINDS: [&str; 6] = [
    "watch services",
    "watch loadbalancerippools",
    "watch loadbalancerips",
    "watch namespaces",
    "watch nodes",
    GATEWAYS,
];

/// The one kind that a cluster may do without.
const GATEWAYS: &str = "watch gateways";

/// How one kind of object changes the cache.
trait Follow<K> {
    /// What tells one object of the kind from another.
    type Key: Ord;
    fn key(object: &K) -> Option<Self::Key>;
    fn seen(&mut self, object: K, settings: &Settings);
    fn gone(&mut self, key: &Self::Key, settings: &Settings);
    fn known(&self) -> BTreeSet<Self::Key>;
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

impl Cache {
    /// The object, or a note that it cannot be decoded.
    fn decoded<K>(&mut self, object: DeserializeGuard<K>) -> Option<K>
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

    /// Takes a Service in, with what its Gateway lends it now.
    pub(crate) fn service_seen(&mut self, object: Service, settings: &Settings) {
        let gateway = gateway::owning(&object.metadata);
        let lender = gateway.as_ref().and_then(|key| self.gateways.get(key));
        let Some(service) = validate::service(&object, settings.default_class, lender) else {
            return;
        };
        let key = service.key.clone();
        self.index.service_seen(service);
        self.made_for.remove(&key);
        if self.index.service(&key).is_none() {
            self.services.remove(&key);
            return;
        }
        let live = validate::live(&object);
        self.service_shown(&key, live);
        if let Some(gateway) = gateway {
            self.made_for.insert(key.clone(), (gateway, object));
        }
        self.since.entry(key).or_insert_with(Instant::now);
    }

    /// What a Gateway lends has changed, or is gone with it: only the Services made for it are read again.
    fn gateway_seen(&mut self, key: &GatewayKey, lender: Option<Lender>, settings: &Settings) {
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

impl Follow<DeserializeGuard<Gateway>> for Cache {
    type Key = GatewayKey;

    fn key(object: &DeserializeGuard<Gateway>) -> Option<GatewayKey> {
        Some(GatewayKey {
            namespace: object.meta().namespace.clone()?,
            name: object.meta().name.clone()?,
        })
    }

    fn seen(&mut self, object: DeserializeGuard<Gateway>, settings: &Settings) {
        let Some(key) = Self::key(&object) else {
            return;
        };
        if let Some(gateway) = self.decoded(object) {
            self.gateway_seen(&key, Some(gateway.into()), settings);
        }
    }

    fn gone(&mut self, key: &GatewayKey, settings: &Settings) {
        self.gateway_seen(key, None, settings);
    }

    fn known(&self) -> BTreeSet<GatewayKey> {
        self.gateways.keys().cloned().collect()
    }
}

impl Follow<DeserializeGuard<Service>> for Cache {
    type Key = ServiceKey;

    fn key(object: &DeserializeGuard<Service>) -> Option<ServiceKey> {
        validate::key(object.meta())
    }

    fn seen(&mut self, object: DeserializeGuard<Service>, settings: &Settings) {
        if let Some(object) = self.decoded(object) {
            self.service_seen(object, settings);
        }
    }

    fn gone(&mut self, key: &ServiceKey, _: &Settings) {
        self.index.service_gone(key);
        self.services.remove(key);
        self.made_for.remove(key);
        self.since.remove(key);
    }

    fn known(&self) -> BTreeSet<ServiceKey> {
        self.index.known_services()
    }
}

impl Follow<DeserializeGuard<LoadBalancerIPPool>> for Cache {
    type Key = PoolName;

    fn key(object: &DeserializeGuard<LoadBalancerIPPool>) -> Option<PoolName> {
        object.meta().name.as_deref().map(PoolName::from)
    }

    fn seen(&mut self, object: DeserializeGuard<LoadBalancerIPPool>, _: &Settings) {
        let Some(name) = Self::key(&object) else {
            return;
        };
        if let Some(pool) = self.decoded(object) {
            let draining = pool.metadata.deletion_timestamp.is_some();
            let compiled = Pool::compile(&name.0, &pool.spec, draining);
            self.pool_shown(&name, pool);
            self.index.pool_seen(&name, Some(compiled));
        }
    }

    fn gone(&mut self, name: &PoolName, _: &Settings) {
        self.pools.remove(name);
        self.index.pool_seen(name, None);
    }

    fn known(&self) -> BTreeSet<PoolName> {
        self.pools.keys().cloned().collect()
    }
}

impl Follow<DeserializeGuard<LoadBalancerIP>> for Cache {
    type Key = (String, String);

    fn key(object: &DeserializeGuard<LoadBalancerIP>) -> Option<(String, String)> {
        let metadata = object.meta();
        Some((metadata.name.clone()?, metadata.uid.clone()?))
    }

    fn seen(&mut self, object: DeserializeGuard<LoadBalancerIP>, _: &Settings) {
        let name = object.name_any();
        let uid = object.uid().unwrap_or_default();
        let record = self.decoded(object);
        if let Some((at, stored)) = record.as_ref().and_then(validate::stored) {
            self.index.record_seen(at, stored);
            return;
        }
        if record.is_some() {
            tracing::warn!(%name, "a LoadBalancerIP whose name is not its address is ignored");
        }
        // The name alone says which address is in use: no other record of that name can be made.
        if let Ok(address) = parse_ip_name(&name) {
            self.index.record_unreadable(Point::from(address), &uid);
        }
    }

    fn gone(&mut self, (name, uid): &(String, String), _: &Settings) {
        if let Ok(address) = parse_ip_name(name) {
            self.index.record_gone(Point::from(address), uid, false);
        }
    }

    fn known(&self) -> BTreeSet<(String, String)> {
        let records = self.index.known_records().into_iter();
        records
            .map(|(at, uid)| (ip_name(at.address()), uid))
            .collect()
    }
}

impl Follow<PartialObjectMeta<Namespace>> for Cache {
    type Key = String;

    fn key(object: &PartialObjectMeta<Namespace>) -> Option<String> {
        object.metadata.name.clone()
    }

    fn seen(&mut self, object: PartialObjectMeta<Namespace>, _: &Settings) {
        let labels = object.metadata.labels.unwrap_or_default();
        if let Some(name) = object.metadata.name {
            self.index.namespace_seen(&name, Some(labels));
        }
    }

    fn gone(&mut self, name: &String, _: &Settings) {
        self.index.namespace_seen(name, None);
    }

    fn known(&self) -> BTreeSet<String> {
        self.index.namespaces().keys().cloned().collect()
    }
}

impl Follow<DeserializeGuard<Node>> for Cache {
    type Key = String;

    fn key(object: &DeserializeGuard<Node>) -> Option<String> {
        object.meta().name.clone()
    }

    fn seen(&mut self, object: DeserializeGuard<Node>, _: &Settings) {
        let Some(object) = self.decoded(object) else {
            return;
        };
        let addresses = object
            .status
            .and_then(|status| status.addresses)
            .unwrap_or_default();
        let points = addresses
            .iter()
            .filter_map(|address| address.address.parse().ok());
        let points: BTreeSet<Point> = points
            .map(|address: std::net::IpAddr| address.into())
            .collect();
        if let Some(name) = object.metadata.name {
            self.index.node_seen(&name, &points);
        }
    }

    fn gone(&mut self, name: &String, _: &Settings) {
        self.index.node_seen(name, &BTreeSet::new());
    }

    fn known(&self) -> BTreeSet<String> {
        self.index.known_nodes()
    }
}

/// One watch, and whether its first list is complete.
struct Watch {
    kind: &'static str,
    state: Arc<State>,
    settings: Arc<Settings>,
    readiness: Readiness,
    synced: watch::Sender<usize>,
}

impl Watch {
    async fn run<K>(
        self,
        events: impl futures::Stream<Item = Result<Event<K>, watcher::Error>> + Send,
    ) where
        K: Debug,
        Cache: Follow<K>,
    {
        let mut listed: BTreeSet<<Cache as Follow<K>>::Key> = BTreeSet::new();
        let mut events = Box::pin(events.default_backoff());
        let mut first = true;
        loop {
            match events.try_next().await {
                Ok(Some(event)) => {
                    self.event(event, &mut listed, &mut first);
                }
                Ok(None) => return,
                Err(error) if self.kind == GATEWAYS && is_absent(&error) => {
                    if std::mem::take(&mut first) {
                        tracing::info!(
                            "this cluster has no Gateways; they are looked for again and again"
                        );
                        self.readiness
                            .ready_without(self.kind, "the Gateway API is not installed");
                        self.synced.send_modify(|count| *count += 1);
                    }
                }
                Err(error) => {
                    tracing::warn!(kind = self.kind, %error, "the watch is tried again");
                    // A cache once complete stays usable; it is made whole when the watch is back.
                    if first {
                        self.readiness.not_ready(self.kind, error.to_string());
                    }
                }
            }
        }
    }

    fn event<K>(
        &self,
        event: Event<K>,
        listed: &mut BTreeSet<<Cache as Follow<K>>::Key>,
        first: &mut bool,
    ) where
        Cache: Follow<K>,
    {
        match event {
            Event::Init => listed.clear(),
            Event::InitApply(object) => {
                listed.extend(Cache::key(&object));
                self.state
                    .change(|cache| cache.seen(object, &self.settings));
            }
            Event::Apply(object) => {
                self.state
                    .change(|cache| cache.seen(object, &self.settings));
            }
            Event::Delete(object) => {
                if let Some(key) = Cache::key(&object) {
                    self.state.change(|cache| cache.gone(&key, &self.settings));
                }
            }
            Event::InitDone => {
                self.state.change(|cache| {
                    for key in Follow::<K>::known(cache).difference(listed) {
                        Follow::<K>::gone(cache, key, &self.settings);
                    }
                });
                listed.clear();
                self.readiness.ready(self.kind);
                if std::mem::take(first) {
                    self.synced.send_modify(|count| *count += 1);
                }
            }
        }
    }
}

/// Whether the kind is not served at all.
fn is_absent(error: &watcher::Error) -> bool {
    let (watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error)) =
        error
    else {
        return false;
    };
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// Starts all watches; the receiver counts those whose first list is complete.
pub(crate) fn start(
    client: &Client,
    state: &Arc<State>,
    settings: &Arc<Settings>,
    readiness: &Readiness,
    token: &CancellationToken,
) -> watch::Receiver<usize> {
    let (synced, receiver) = watch::channel(0);
    let watch = |at: usize| Watch {
        kind: KINDS[at],
        state: Arc::clone(state),
        settings: Arc::clone(settings),
        readiness: readiness.clone(),
        synced: synced.clone(),
    };
    // A connection that died silently is noticed after this long.
    let config = || watcher::Config::default().timeout(120);
    let spawn = |task: futures::future::BoxFuture<'static, ()>| {
        let token = token.clone();
        tokio::spawn(async move { token.run_until_cancelled(task).await });
    };
    fn all<K>(client: &Client) -> Api<K>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        Api::all(client.clone())
    }
    let services = watcher::watcher(all::<DeserializeGuard<Service>>(client), config());
    spawn(Box::pin(watch(0).run(services)));
    let pools = watcher::watcher(
        all::<DeserializeGuard<LoadBalancerIPPool>>(client),
        config(),
    );
    spawn(Box::pin(watch(1).run(pools)));
    let records = watcher::watcher(all::<DeserializeGuard<LoadBalancerIP>>(client), config());
    spawn(Box::pin(watch(2).run(records)));
    let namespaces = watcher::watcher(all::<PartialObjectMeta<Namespace>>(client), config());
    spawn(Box::pin(watch(3).run(namespaces)));
    let nodes = watcher::watcher(all::<DeserializeGuard<Node>>(client), config());
    spawn(Box::pin(watch(4).run(nodes)));
    let gateways = watcher::watcher(all::<DeserializeGuard<Gateway>>(client), config());
    spawn(Box::pin(watch(5).run(gateways)));
    receiver
}

#[cfg(test)]
mod tests;
