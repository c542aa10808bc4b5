//! Worlds out of JSON, as people write it.

use std::sync::Arc;

use landfall_crds::conditions::NewCondition;
use landfall_crds::gateway_api::{
    Gateway, GatewayClass, ListenerSet, ReferenceGrant, TCPRoute, UDPRoute,
};
use landfall_gateway::world::Backing;
use landfall_gateway::{
    Decisions, GatewayDecision, ListenerSetDecision, NamespacedName, Route, RouteKey, RouteKind,
    World, decide,
};
use serde_json::{Value, json};

pub(crate) fn name(text: &str) -> NamespacedName {
    let (namespace, name) = text.split_once('/').unwrap();
    NamespacedName::new(namespace, name)
}

fn metadata(text: &str) -> Value {
    let name = name(text);
    json!({"namespace": name.namespace, "name": name.name})
}

/// A world that has the class `internet`, which is ours, and the namespaces `blue` and `green`.
pub(crate) fn world() -> World {
    let mut world = World {
        bundle: Some("v1.6.3".to_owned()),
        ..World::default()
    };
    class(
        &mut world,
        "internet",
        json!({"controllerName": "landfall.dev/gateway-controller"}),
    );
    for namespace in ["blue", "green"] {
        let labels = [("team".to_owned(), namespace.to_owned())];
        world.namespaces.insert(namespace.to_owned(), labels.into());
    }
    world
}

pub(crate) fn class(world: &mut World, name: &str, spec: Value) {
    let class: GatewayClass =
        serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap();
    world.classes.insert(name.to_owned(), Arc::new(class));
}

/// A Gateway of the class `internet`, with what else its spec says.
pub(crate) fn gateway(world: &mut World, at: &str, mut spec: Value) {
    let fields = spec.as_object_mut().unwrap();
    fields
        .entry("gatewayClassName")
        .or_insert_with(|| json!("internet"));
    fields
        .entry("listeners")
        .or_insert_with(|| json!([tcp("tcp", 80)]));
    let gateway: Gateway =
        serde_json::from_value(json!({"metadata": metadata(at), "spec": spec})).unwrap();
    world.gateways.insert(name(at), Arc::new(gateway));
}

/// A ListenerSet of `blue/edge` made at that second, with these listeners.
pub(crate) fn listener_set(world: &mut World, at: &str, created: u8, listeners: Value) {
    let mut metadata = metadata(at);
    metadata["creationTimestamp"] = json!(format!("2026-01-01T00:00:{created:02}Z"));
    let parent = json!({"name": "edge", "namespace": "blue"});
    let spec = json!({"parentRef": parent, "listeners": listeners});
    let set: ListenerSet =
        serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap();
    world.listener_sets.insert(name(at), Arc::new(set));
}

/// The decision about a ListenerSet.
pub(crate) fn set(world: &World, at: &str) -> ListenerSetDecision {
    decide(world).listener_sets.remove(&name(at)).unwrap()
}

pub(crate) fn tcp(name: &str, port: u16) -> Value {
    json!({"name": name, "port": port, "protocol": "TCP"})
}

pub(crate) fn key(kind: RouteKind, at: &str) -> RouteKey {
    RouteKey {
        kind,
        name: name(at),
    }
}

/// A route made at that second.
pub(crate) fn route(world: &mut World, kind: RouteKind, at: &str, created: i64, spec: Value) {
    let object = json!({"metadata": metadata(at), "spec": spec});
    let mut route = match kind {
        RouteKind::Tcp => Route::from(&serde_json::from_value::<TCPRoute>(object).unwrap()),
        RouteKind::Udp => Route::from(&serde_json::from_value::<UDPRoute>(object).unwrap()),
    };
    route.created = created;
    world.routes.insert(key(kind, at), Arc::new(route));
}

/// A TCPRoute to these backends, attached to `blue/edge`.
pub(crate) fn to(world: &mut World, at: &str, backends: Value) {
    let spec = json!({
        "parentRefs": [{"name": "edge", "namespace": "blue"}],
        "rules": [{"backendRefs": backends}],
    });
    route(world, RouteKind::Tcp, at, 1, spec);
}

pub(crate) fn service(world: &mut World, at: &str, ports: &[(u16, &str)]) {
    let ports = ports.iter().map(|(port, of)| (*port, (*of).to_owned()));
    let backing = Backing {
        ports: ports.collect(),
        external_name: false,
    };
    world.services.insert(name(at), backing);
}

pub(crate) fn grant(world: &mut World, at: &str, spec: Value) {
    let grant: ReferenceGrant =
        serde_json::from_value(json!({"metadata": metadata(at), "spec": spec})).unwrap();
    world.grants.insert(name(at), Arc::new(grant.spec));
}

/// The decision about `blue/edge`.
pub(crate) fn edge(world: &World) -> GatewayDecision {
    decide(world).gateways.remove(&name("blue/edge")).unwrap()
}

/// The condition of that type of a TCPRoute's only parent.
pub(crate) fn parent(decisions: &Decisions, at: &str, type_: &str) -> NewCondition {
    let parents = &decisions.routes[&key(RouteKind::Tcp, at)];
    assert_eq!(parents.len(), 1);
    find(&parents[0].conditions, type_)
}

pub(crate) fn find(conditions: &[NewCondition], type_: &str) -> NewCondition {
    let found = conditions.iter().find(|one| one.type_ == type_);
    found.unwrap().clone()
}

#[track_caller]
pub(crate) fn says(condition: &NewCondition, status: bool, reason: &str, part: &str) {
    let found = (condition.status, condition.reason.as_str());
    assert_eq!(found, (Some(status), reason), "{}", condition.message);
    assert!(condition.message.contains(part), "{}", condition.message);
}
