//! Watches: every event of the API server becomes one synchronous change of the cache.
//!
//! A watch that starts anew lists everything: what is missing from the list is gone. An object
//! that cannot be decoded is told of and stops nothing.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Namespace, Node, Service};
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Resource, ResourceExt as _};
use landfall_crds::gateway_api::{
    Gateway, GatewayClass, ListenerSet, ReferenceGrant, TCPRoute, UDPRoute, earlier,
};
use landfall_crds::{LoadBalancerIP, LoadBalancerIPPool, ip_name, parse_ip_name};
use landfall_gateway::NamespacedName;
use landfall_ipam::address::Point;
use landfall_ipam::{HolderKey, HolderKind, Network, PoolName};
use landfall_runtime::backoff::Growing;
use landfall_runtime::readiness::Readiness;
use landfall_runtime::watch::{News, follow};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::cache::Cache;
use crate::settings::Settings;
use crate::state::State;
use crate::validate;

/// The kinds that are watched; each is a check of `/readyz`.
pub(crate) const KINDS: [&str; 12] = [
    "watch services",
    "watch loadbalancerippools",
    "watch loadbalancerips",
    "watch namespaces",
    "watch nodes",
    GATEWAYS,
    SERVICE_CIDRS,
    CLASSES,
    TCP_ROUTES,
    UDP_ROUTES,
    GRANTS,
    LISTENER_SETS,
];

const CLASSES: &str = "watch gatewayclasses";
const TCP_ROUTES: &str = "watch tcproutes";
const UDP_ROUTES: &str = "watch udproutes";
const GRANTS: &str = "watch referencegrants";
const LISTENER_SETS: &str = "watch listenersets";
const GATEWAYS: &str = "watch gateways";
const SERVICE_CIDRS: &str = "watch servicecidrs";

const NO_GATEWAY_API: &str = "the Gateway API is not installed";

/// The kinds that nobody need let us read: the rights to them are granted apart from all others.
const BY_LEAVE: [&str; 5] = [CLASSES, TCP_ROUTES, UDP_ROUTES, GRANTS, LISTENER_SETS];
const NO_LEAVE: &str =
    "not permitted; config/gateway-api grants it, for who wants Gateways of a class of Landfall";

/// The kinds that a cluster may do without, and why.
const OPTIONAL: [(&str, &str); 7] = [
    (GATEWAYS, NO_GATEWAY_API),
    (CLASSES, NO_GATEWAY_API),
    (TCP_ROUTES, NO_GATEWAY_API),
    (UDP_ROUTES, NO_GATEWAY_API),
    (GRANTS, NO_GATEWAY_API),
    (LISTENER_SETS, "this Gateway API has no ListenerSets"),
    (SERVICE_CIDRS, "this Kubernetes has no ServiceCIDRs"),
];

/// How one kind of object changes the cache.
pub(crate) trait Follow<K> {
    /// What tells one object of the kind from another.
    type Key: Ord;
    fn key(object: &K) -> Option<Self::Key>;
    fn seen(&mut self, object: K, settings: &Settings);
    fn gone(&mut self, key: &Self::Key, settings: &Settings);
    fn known(&self) -> BTreeSet<Self::Key>;
}

impl Follow<DeserializeGuard<Service>> for Cache {
    type Key = HolderKey;

    fn key(object: &DeserializeGuard<Service>) -> Option<HolderKey> {
        validate::key(object.meta())
    }

    fn seen(&mut self, object: DeserializeGuard<Service>, settings: &Settings) {
        let name = NamespacedName::of(object.meta());
        if let Some(object) = self.decoded(object) {
            if let Some(name) = name {
                self.gateway_api.service_seen(&name, Some(&object));
            }
            self.service_seen(object, settings);
        }
    }

    fn gone(&mut self, key: &HolderKey, _: &Settings) {
        let name = NamespacedName::new(&key.namespace, &key.name);
        self.gateway_api.service_seen(&name, None);
        self.index.service_gone(key);
        self.services.gone(key);
        self.made_for.remove(key);
        self.said.remove(key);
        self.since.remove(key);
    }

    fn known(&self) -> BTreeSet<HolderKey> {
        let backings = self.gateway_api.world.services.keys();
        let backings = backings.map(|name| HolderKey::service(&name.namespace, &name.name));
        let mut known = self.index.known_services();
        known.retain(|key| key.kind == HolderKind::Service);
        known.extend(backings);
        known
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
            self.gateway_api.pool_seen(name.as_str(), true);
            if self.pools.shown(name.clone(), pool) {
                self.compile_pool(&name);
            }
        }
    }

    fn gone(&mut self, name: &PoolName, _: &Settings) {
        self.pools.gone(name);
        self.gateway_api.pool_seen(name.as_str(), false);
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
        if let Ok(address) = parse_ip_name(&name) {
            self.marks_seen(Point::from(address), Some(object.meta()));
        }
        let record = self.decoded(object);
        if let Some((at, stored)) = record.as_ref().and_then(validate::stored) {
            let frontends = stored.spec.frontends.clone();
            self.index.record_seen(at, stored);
            self.served_seen(at, &frontends);
            let status = record.and_then(|record| record.status).unwrap_or_default();
            self.announcement_seen(at, &status.conditions);
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
            self.announcement_seen(Point::from(address), &[]);
            self.served_seen(Point::from(address), &[]);
            self.marks_seen(Point::from(address), None);
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
            self.gateway_api.namespace_seen(&name, Some(&labels));
            self.index.namespace_seen(&name, Some(labels));
        }
    }

    fn gone(&mut self, name: &String, _: &Settings) {
        self.gateway_api.namespace_seen(name, None);
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
        let spec = object.spec.unwrap_or_default();
        // The list has the single one too, where there is a list.
        let ranges = spec.pod_cidrs.or(spec.pod_cidr.map(|range| vec![range]));
        if let Some(name) = object.metadata.name {
            self.index.node_seen(&name, &points);
            let ranges = ranges.unwrap_or_default();
            self.index.network_seen(Network::Pods(name), &ranges);
        }
    }

    fn gone(&mut self, name: &String, _: &Settings) {
        self.index.node_seen(name, &BTreeSet::new());
        self.index.network_seen(Network::Pods(name.clone()), &[]);
    }

    fn known(&self) -> BTreeSet<String> {
        let pods = self.index.known_networks().into_iter();
        let pods = pods.filter_map(|network| match network {
            Network::Pods(node) => Some(node),
            Network::Services(_) => None,
        });
        self.index.known_nodes().into_iter().chain(pods).collect()
    }
}

impl Follow<DeserializeGuard<ServiceCIDR>> for Cache {
    type Key = String;

    fn key(object: &DeserializeGuard<ServiceCIDR>) -> Option<String> {
        object.meta().name.clone()
    }

    fn seen(&mut self, object: DeserializeGuard<ServiceCIDR>, _: &Settings) {
        let Some(name) = Self::key(&object) else {
            return;
        };
        if let Some(object) = self.decoded(object) {
            let ranges = object.spec.and_then(|spec| spec.cidrs).unwrap_or_default();
            let network = Network::Services(name);
            self.index.network_seen(network, &ranges);
        }
    }

    fn gone(&mut self, name: &String, _: &Settings) {
        let network = Network::Services(name.clone());
        self.index.network_seen(network, &[]);
    }

    fn known(&self) -> BTreeSet<String> {
        let networks = self.index.known_networks().into_iter();
        let names = networks.filter_map(|network| match network {
            Network::Services(name) => Some(name),
            Network::Pods(_) => None,
        });
        names.collect()
    }
}

mod gateways;
mod versions;

pub(crate) use gateways::{tcp_route_answered, udp_route_answered};

/// Between two attempts of a watch.
const PAUSES: Growing = Growing::between(Duration::from_millis(800), Duration::from_secs(10));

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
        let mut news = std::pin::pin!(follow(events.backoff(PAUSES), Cache::key));
        let mut first = true;
        while let Some(news) = news.next().await {
            match news {
                News::Seen(object) => {
                    self.state
                        .change(|cache| cache.seen(object, &self.settings));
                }
                News::Gone(key) => self.state.change(|cache| self.gone::<K>(cache, &key)),
                News::Listed(listed) => {
                    self.state.change(|cache| {
                        for key in Follow::<K>::known(cache).difference(&listed) {
                            self.gone::<K>(cache, key);
                        }
                    });
                    self.may_read(true);
                    self.readiness.ready(self.kind);
                    self.complete(&mut first);
                }
                News::Broken(error) if self.absent(&error).is_some() => {
                    let taken = says(&error, 403) && self.may_read(false);
                    if (first || taken)
                        && let Some(why) = self.absent(&error)
                    {
                        tracing::info!(kind = self.kind, why, "looked for again and again");
                        self.readiness.ready_without(self.kind, why);
                    }
                    self.complete(&mut first);
                }
                News::Broken(error) => {
                    tracing::warn!(kind = self.kind, %error, "the watch is tried again");
                    // A cache once complete stays usable; it is made whole when the watch is back.
                    if first {
                        self.readiness.not_ready(self.kind, error.to_string());
                    }
                }
            }
        }
    }

    /// Why there is nothing to watch, if the cluster does without the kind.
    fn absent(&self, error: &watcher::Error) -> Option<&'static str> {
        let kind = OPTIONAL.iter().find(|(kind, _)| *kind == self.kind);
        let absent = kind.filter(|_| says(error, 404)).map(|(_, why)| *why);
        let by_leave = BY_LEAVE.contains(&self.kind) && says(error, 403);
        absent.or(by_leave.then_some(NO_LEAVE))
    }

    /// Whether a kind that nobody need let us read may be read; whether that is news. What may not be read is not known to be
    /// absent, and those whom it concerns are told.
    fn may_read(&self, may: bool) -> bool {
        let plural = self.kind.strip_prefix("watch ");
        let plural = plural.filter(|_| BY_LEAVE.contains(&self.kind));
        plural.is_some_and(|plural| {
            let seen = |cache: &mut Cache| cache.gateway_api.kind_seen(plural, may);
            self.state.change(seen)
        })
    }

    fn gone<K>(&self, cache: &mut Cache, key: &<Cache as Follow<K>>::Key)
    where
        Cache: Follow<K>,
    {
        Follow::<K>::gone(cache, key, &self.settings);
    }

    /// The first list is complete, or there is none to be had.
    fn complete(&self, first: &mut bool) {
        if std::mem::take(first) {
            self.synced.send_modify(|count| *count += 1);
        }
    }
}

/// Whether the API server refused a watch with this code.
fn says(error: &watcher::Error, code: u16) -> bool {
    let (watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error)) =
        error
    else {
        return false;
    };
    matches!(error, kube::Error::Api(status) if status.code == code)
}

fn config() -> watcher::Config {
    // A connection that died silently is noticed after this long.
    watcher::Config::default().timeout(120)
}

fn all<K>(client: &Client) -> Api<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    Api::all(client.clone())
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
    let spawn = |task: futures::future::BoxFuture<'static, ()>| {
        let token = token.clone();
        tokio::spawn(async move { token.run_until_cancelled(task).await });
    };
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
    let networks = watcher::watcher(all::<DeserializeGuard<ServiceCIDR>>(client), config());
    spawn(Box::pin(watch(6).run(networks)));
    let classes = watcher::watcher(all::<DeserializeGuard<GatewayClass>>(client), config());
    spawn(Box::pin(watch(7).run(classes)));
    let routes = versions::watched::<TCPRoute, earlier::TCPRoute>(client);
    spawn(Box::pin(watch(8).run(routes)));
    let routes = versions::watched::<UDPRoute, earlier::UDPRoute>(client);
    spawn(Box::pin(watch(9).run(routes)));
    let grants = versions::watched::<ReferenceGrant, earlier::ReferenceGrant>(client);
    spawn(Box::pin(watch(10).run(grants)));
    let sets = watcher::watcher(all::<DeserializeGuard<ListenerSet>>(client), config());
    spawn(Box::pin(watch(11).run(sets)));
    receiver
}

#[cfg(test)]
mod tests;
