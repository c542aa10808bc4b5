//! The cache as a controller has it that sees these objects, without a watch: for who asks what it would do.
//!
//! Pure. Objects go through the very code that a watch feeds, so that an explanation never tells of another reading of
//! them than the controller's own.

use k8s_openapi::api::core::v1::{Namespace, Node, Service};
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use landfall_crds::gateway_api::{GatewayClass, ListenerSet, ReferenceGrant, TCPRoute, UDPRoute};
use landfall_crds::{LoadBalancerIP, LoadBalancerIPPool};

use crate::cache::Cache;
use crate::gateway::Gateway;
use crate::settings::Settings;
use crate::watch::Follow;

/// Everything the controller looks at, at one moment. What nobody could read is left empty.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    pub pools: Vec<LoadBalancerIPPool>,
    pub records: Vec<LoadBalancerIP>,
    pub services: Vec<Service>,
    pub namespaces: Vec<PartialObjectMeta<Namespace>>,
    pub nodes: Vec<Node>,
    pub service_cidrs: Vec<ServiceCIDR>,
    pub gateways: Vec<Gateway>,
    pub classes: Vec<GatewayClass>,
    pub listener_sets: Vec<ListenerSet>,
    pub tcp_routes: Vec<TCPRoute>,
    pub udp_routes: Vec<UDPRoute>,
    pub grants: Vec<ReferenceGrant>,
}

/// What a controller with these settings knows once it has seen all of it. It does not lead, and plans nothing by
/// itself.
#[must_use]
pub fn cache(objects: Objects, settings: &Settings) -> Cache {
    let Objects {
        pools,
        records,
        services,
        namespaces,
        nodes,
        service_cidrs,
        gateways,
        classes,
        listener_sets,
        tcp_routes,
        udp_routes,
        grants,
    } = objects;
    let mut cache = Cache::default();
    // Gateways before the Services that ask in their name, pools before who may have their addresses.
    all(&mut cache, classes.into_iter().map(guarded), settings);
    all(&mut cache, listener_sets.into_iter().map(guarded), settings);
    all(&mut cache, tcp_routes.into_iter().map(guarded), settings);
    all(&mut cache, udp_routes.into_iter().map(guarded), settings);
    all(&mut cache, grants.into_iter().map(guarded), settings);
    all(&mut cache, gateways.into_iter().map(guarded), settings);
    all(&mut cache, namespaces, settings);
    all(&mut cache, nodes.into_iter().map(guarded), settings);
    all(&mut cache, service_cidrs.into_iter().map(guarded), settings);
    all(&mut cache, pools.into_iter().map(guarded), settings);
    all(&mut cache, records.into_iter().map(guarded), settings);
    all(&mut cache, services.into_iter().map(guarded), settings);
    cache.decide_gateways();
    cache
}

fn guarded<K>(object: K) -> DeserializeGuard<K> {
    DeserializeGuard(Ok(object))
}

fn all<K>(cache: &mut Cache, objects: impl IntoIterator<Item = K>, settings: &Settings)
where
    Cache: Follow<K>,
{
    for object in objects {
        Follow::<K>::seen(cache, object, settings);
    }
}
