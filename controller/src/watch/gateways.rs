//! How the kinds of the Gateway API change the cache.

use std::collections::BTreeSet;

use kube::Resource;
use kube::ResourceExt as _;
use kube::core::DeserializeGuard;
use landfall_crds::gateway_api::{
    Gateway, GatewayClass, ListenerSet, ReferenceGrant, RouteSpec, RouteStatus, TCPRoute, UDPRoute,
};
use landfall_gateway::{NamespacedName, Route, RouteKey, RouteKind};

use super::Follow;
use crate::cache::Cache;
use crate::gateway::{Lender, LiveRoute};
use crate::settings::Settings;

impl Follow<DeserializeGuard<GatewayClass>> for Cache {
    type Key = String;

    fn key(object: &DeserializeGuard<GatewayClass>) -> Option<String> {
        object.meta().name.clone()
    }

    fn seen(&mut self, object: DeserializeGuard<GatewayClass>, _: &Settings) {
        let Some(name) = Self::key(&object) else {
            return;
        };
        if let Some(class) = self.decoded(object) {
            self.gateway_api.class_seen(&name, class);
        }
    }

    fn gone(&mut self, name: &String, _: &Settings) {
        self.gateway_api.change(|world| {
            world.classes.remove(name);
        });
    }

    fn known(&self) -> BTreeSet<String> {
        self.gateway_api.world.classes.keys().cloned().collect()
    }
}

impl Follow<DeserializeGuard<Gateway>> for Cache {
    type Key = NamespacedName;

    fn key(object: &DeserializeGuard<Gateway>) -> Option<NamespacedName> {
        NamespacedName::of(object.meta())
    }

    fn seen(&mut self, object: DeserializeGuard<Gateway>, settings: &Settings) {
        let Some(key) = Self::key(&object) else {
            return;
        };
        if let Some(gateway) = self.decoded(object) {
            self.gateway_seen(&key, Some(Lender::from(&gateway)), settings);
            self.gateway_object_seen(&key, Some(gateway));
        }
    }

    fn gone(&mut self, key: &NamespacedName, settings: &Settings) {
        self.gateway_seen(key, None, settings);
        self.gateway_object_seen(key, None);
    }

    fn known(&self) -> BTreeSet<NamespacedName> {
        self.gateway_api.world.gateways.keys().cloned().collect()
    }
}

impl Follow<DeserializeGuard<ListenerSet>> for Cache {
    type Key = NamespacedName;

    fn key(object: &DeserializeGuard<ListenerSet>) -> Option<NamespacedName> {
        NamespacedName::of(object.meta())
    }

    fn seen(&mut self, object: DeserializeGuard<ListenerSet>, _: &Settings) {
        let Some(key) = Self::key(&object) else {
            return;
        };
        if let Some(set) = self.decoded(object) {
            self.gateway_api.listener_set_seen(&key, set);
        }
    }

    fn gone(&mut self, key: &NamespacedName, _: &Settings) {
        self.gateway_api.change(|world| {
            world.listener_sets.remove(key);
        });
    }

    fn known(&self) -> BTreeSet<NamespacedName> {
        self.gateway_api
            .world
            .listener_sets
            .keys()
            .cloned()
            .collect()
    }
}

fn route_key(object: &impl Resource, kind: RouteKind) -> Option<RouteKey> {
    let name = NamespacedName::of(object.meta())?;
    Some(RouteKey { kind, name })
}

/// A route as it is decided by, and as much of it as its status takes.
fn read<K>(
    object: &K,
    kind: RouteKind,
    spec: &RouteSpec,
    status: Option<&RouteStatus>,
) -> Option<(RouteKey, Route, LiveRoute)>
where
    K: Resource<DynamicType = ()>,
{
    let key = route_key(object, kind)?;
    let live = LiveRoute {
        uid: object.uid().unwrap_or_default(),
        version: object.resource_version().unwrap_or_default(),
        parents: status
            .map(|status| status.parents.clone())
            .unwrap_or_default(),
    };
    Some((key, Route::new(object.meta(), spec), live))
}

fn tcp(route: &TCPRoute) -> Option<(RouteKey, Route, LiveRoute)> {
    let status = route.status.as_ref();
    read(route, RouteKind::Tcp, &route.spec.route, status)
}

fn udp(route: &UDPRoute) -> Option<(RouteKey, Route, LiveRoute)> {
    let status = route.status.as_ref();
    read(route, RouteKind::Udp, &route.spec.route, status)
}

/// The status of a TCPRoute was written.
pub(crate) fn tcp_route_answered(cache: &mut Cache, route: &TCPRoute) {
    if let Some((key, route, live)) = tcp(route) {
        cache.gateway_api.route_answered(&key, route, live);
    }
}

/// The status of a UDPRoute was written.
pub(crate) fn udp_route_answered(cache: &mut Cache, route: &UDPRoute) {
    if let Some((key, route, live)) = udp(route) {
        cache.gateway_api.route_answered(&key, route, live);
    }
}

fn known_routes(cache: &Cache, kind: RouteKind) -> BTreeSet<RouteKey> {
    let routes = cache.gateway_api.world.routes.keys();
    routes.filter(|key| key.kind == kind).cloned().collect()
}

impl Follow<DeserializeGuard<TCPRoute>> for Cache {
    type Key = RouteKey;

    fn key(object: &DeserializeGuard<TCPRoute>) -> Option<RouteKey> {
        route_key(object, RouteKind::Tcp)
    }

    fn seen(&mut self, object: DeserializeGuard<TCPRoute>, _: &Settings) {
        let route = self.decoded(object);
        if let Some((key, route, live)) = route.as_ref().and_then(tcp) {
            self.gateway_api.route_seen(&key, Some((route, live)));
        }
    }

    fn gone(&mut self, key: &RouteKey, _: &Settings) {
        self.gateway_api.route_seen(key, None);
    }

    fn known(&self) -> BTreeSet<RouteKey> {
        known_routes(self, RouteKind::Tcp)
    }
}

impl Follow<DeserializeGuard<UDPRoute>> for Cache {
    type Key = RouteKey;

    fn key(object: &DeserializeGuard<UDPRoute>) -> Option<RouteKey> {
        route_key(object, RouteKind::Udp)
    }

    fn seen(&mut self, object: DeserializeGuard<UDPRoute>, _: &Settings) {
        let route = self.decoded(object);
        if let Some((key, route, live)) = route.as_ref().and_then(udp) {
            self.gateway_api.route_seen(&key, Some((route, live)));
        }
    }

    fn gone(&mut self, key: &RouteKey, _: &Settings) {
        self.gateway_api.route_seen(key, None);
    }

    fn known(&self) -> BTreeSet<RouteKey> {
        known_routes(self, RouteKind::Udp)
    }
}

impl Follow<DeserializeGuard<ReferenceGrant>> for Cache {
    type Key = NamespacedName;

    fn key(object: &DeserializeGuard<ReferenceGrant>) -> Option<NamespacedName> {
        NamespacedName::of(object.meta())
    }

    fn seen(&mut self, object: DeserializeGuard<ReferenceGrant>, _: &Settings) {
        let Some(key) = Self::key(&object) else {
            return;
        };
        if let Some(grant) = self.decoded(object) {
            self.gateway_api.change(|world| {
                world.grants.insert(key, grant.spec.into());
            });
        }
    }

    fn gone(&mut self, key: &NamespacedName, _: &Settings) {
        self.gateway_api.change(|world| {
            world.grants.remove(key);
        });
    }

    fn known(&self) -> BTreeSet<NamespacedName> {
        self.gateway_api.world.grants.keys().cloned().collect()
    }
}
