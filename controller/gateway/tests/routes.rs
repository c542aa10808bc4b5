//! Every reason that is given of a route, what leads to it, and what is served then.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "the shared support has more than is used here")]

mod support;

use landfall_gateway::{RouteKind, decide};
use serde_json::{Value, json};
use support::*;

#[test]
fn a_route_attaches_by_name_section_and_port_and_is_refused_where_nothing_matches() {
    let of = |parent: Value| {
        let mut world = world();
        gateway(
            &mut world,
            "blue/edge",
            json!({"listeners": [tcp("one", 80), tcp("two", 81)]}),
        );
        let spec = json!({"parentRefs": [parent], "rules": []});
        route(&mut world, RouteKind::Tcp, "blue/web", 1, spec);
        let decisions = decide(&world);
        let accepted = parent_of(&decisions);
        let attached: Vec<usize> = decisions.gateways[&name("blue/edge")]
            .listeners
            .iter()
            .map(|listener| listener.attached)
            .collect();
        (accepted, attached)
    };
    fn parent_of(
        decisions: &landfall_gateway::Decisions,
    ) -> landfall_crds::conditions::NewCondition {
        parent(decisions, "blue/web", "Accepted")
    }
    for (parent, attached) in [
        (json!({"name": "edge"}), [1, 1]),
        (json!({"name": "edge", "sectionName": "two"}), [0, 1]),
        (json!({"name": "edge", "port": 80}), [1, 0]),
        (
            json!({"name": "edge", "port": 81, "sectionName": "two"}),
            [0, 1],
        ),
    ] {
        let (accepted, found) = of(parent);
        says(&accepted, true, "Accepted", "attached to");
        assert_eq!(found, attached);
    }
    for (parent, part) in [
        (
            json!({"name": "edge", "sectionName": "three"}),
            "named \"three\"",
        ),
        (json!({"name": "edge", "port": 82}), "on port 82"),
        (
            json!({"name": "edge", "port": 80, "sectionName": "two"}),
            "named \"two\" on port 80",
        ),
    ] {
        let (accepted, found) = of(parent);
        says(&accepted, false, "NoMatchingParent", part);
        assert_eq!(found, [0, 0]);
    }
}

#[test]
fn a_listener_takes_its_own_kind_from_the_namespaces_it_says() {
    let of = |kind: RouteKind, from: &str, allowed: Value| {
        let mut world = world();
        let mut listener = tcp("one", 80);
        listener["allowedRoutes"] = allowed;
        gateway(&mut world, "blue/edge", json!({"listeners": [listener]}));
        let spec = json!({"parentRefs": [{"name": "edge", "namespace": "blue"}], "rules": []});
        let at = format!("{from}/web");
        route(&mut world, kind, &at, 1, spec);
        let parents = &decide(&world).routes[&key(kind, &at)];
        find(&parents[0].conditions, "Accepted")
    };
    let selector =
        json!({"namespaces": {"from": "Selector", "selector": {"matchLabels": {"team": "green"}}}});
    says(
        &of(RouteKind::Tcp, "blue", Value::Null),
        true,
        "Accepted",
        "",
    );
    says(
        &of(
            RouteKind::Tcp,
            "green",
            json!({"namespaces": {"from": "All"}}),
        ),
        true,
        "Accepted",
        "",
    );
    says(
        &of(RouteKind::Tcp, "green", selector.clone()),
        true,
        "Accepted",
        "",
    );
    for (kind, from, allowed, part) in [
        (RouteKind::Udp, "blue", Value::Null, "takes a UDPRoute"),
        (
            RouteKind::Tcp,
            "blue",
            json!({"kinds": [{"kind": "TLSRoute"}]}),
            "takes a TCPRoute",
        ),
        (RouteKind::Tcp, "green", Value::Null, "namespace green"),
        (
            RouteKind::Tcp,
            "green",
            json!({"namespaces": {"from": "Same"}}),
            "namespace green",
        ),
        (RouteKind::Tcp, "blue", selector, "namespace blue"),
    ] {
        says(
            &of(kind, from, allowed),
            false,
            "NotAllowedByListeners",
            part,
        );
    }
}

#[test]
fn a_backend_that_cannot_be_had_says_why_and_keeps_its_share() {
    let of = |backend: Value| {
        let mut world = world();
        gateway(&mut world, "blue/edge", json!({}));
        service(&mut world, "blue/web", &[(80, "TCP"), (53, "UDP")]);
        service(&mut world, "green/far", &[(80, "TCP")]);
        service(&mut world, "blue/name", &[(80, "TCP")]);
        world
            .services
            .get_mut(&name("blue/name"))
            .unwrap()
            .external_name = true;
        to(
            &mut world,
            "blue/web",
            json!([backend, {"name": "web", "port": 80, "weight": 3}]),
        );
        let resolved = parent(&decide(&world), "blue/web", "ResolvedRefs");
        (resolved, edge(&world).frontends.remove(0).backends)
    };
    for (backend, reason, part) in [
        (
            json!({"kind": "Bucket", "group": "example.org", "name": "web"}),
            "InvalidKind",
            "\"Bucket\"",
        ),
        (
            json!({"name": "far", "namespace": "green", "port": 80}),
            "RefNotPermitted",
            "ReferenceGrant",
        ),
        (
            json!({"name": "none", "namespace": "green", "port": 80}),
            "RefNotPermitted",
            "ReferenceGrant",
        ),
        (
            json!({"name": "none", "port": 80}),
            "BackendNotFound",
            "does not exist",
        ),
        (
            json!({"name": "web", "port": 81}),
            "BackendNotFound",
            "no port 81",
        ),
        (json!({"name": "web"}), "BackendNotFound", "names no port"),
        (
            json!({"name": "name", "port": 80}),
            "BackendNotFound",
            "ExternalName",
        ),
        (
            json!({"name": "web", "port": 53}),
            "UnsupportedProtocol",
            "not of protocol TCP",
        ),
    ] {
        let (resolved, backends) = of(backend);
        says(&resolved, false, reason, part);
        let shares: Vec<_> = backends
            .iter()
            .map(|one| (one.weight, one.refused))
            .collect();
        assert_eq!(shares, [(1, true), (3, false)]);
    }
    let (resolved, backends) = of(json!({"name": "web", "port": 80, "weight": 0}));
    says(&resolved, true, "ResolvedRefs", "");
    let shares: Vec<_> = backends
        .iter()
        .map(|one| (one.weight, one.refused))
        .collect();
    assert_eq!(shares, [(3, false)]);
}

#[test]
fn a_grant_lets_in_who_it_names_to_what_it_names_and_nobody_else() {
    let of = |grant_at: &str, from: Value, to_what: Value| {
        let mut world = world();
        gateway(&mut world, "blue/edge", json!({}));
        service(&mut world, "green/far", &[(80, "TCP")]);
        to(
            &mut world,
            "blue/web",
            json!([{"name": "far", "namespace": "green", "port": 80}]),
        );
        grant(
            &mut world,
            grant_at,
            json!({"from": [from], "to": [to_what]}),
        );
        parent(&decide(&world), "blue/web", "ResolvedRefs").reason
    };
    let group = "gateway.networking.k8s.io";
    let from = json!({"group": group, "kind": "TCPRoute", "namespace": "blue"});
    let any = json!({"group": "", "kind": "Service"});
    assert_eq!(of("green/g", from.clone(), any.clone()), "ResolvedRefs");
    let named = |name: &str| json!({"group": "", "kind": "Service", "name": name});
    assert_eq!(of("green/g", from.clone(), named("far")), "ResolvedRefs");
    let udp = json!({"group": group, "kind": "UDPRoute", "namespace": "blue"});
    let elsewhere = json!({"group": group, "kind": "TCPRoute", "namespace": "red"});
    let secret = json!({"group": "", "kind": "Secret"});
    for (grant_at, from, to_what) in [
        ("blue/g", from.clone(), any.clone()),
        ("green/g", udp, any.clone()),
        ("green/g", elsewhere, any.clone()),
        ("green/g", from.clone(), named("other")),
        ("green/g", from.clone(), secret),
    ] {
        assert_eq!(of(grant_at, from, to_what), "RefNotPermitted");
    }
}

#[test]
fn of_several_routes_the_oldest_serves_then_the_first_by_name_and_all_are_counted() {
    let mut world = world();
    let mut listener = tcp("tcp", 80);
    listener["allowedRoutes"] = json!({"namespaces": {"from": "All"}});
    gateway(&mut world, "blue/edge", json!({"listeners": [listener]}));
    let add = |world: &mut landfall_gateway::World, at: &str, created: i64| {
        let (namespace, short) = at.split_once('/').unwrap();
        service(world, at, &[(80, "TCP")]);
        let spec = json!({
            "parentRefs": [{"name": "edge", "namespace": "blue"}],
            "rules": [{"backendRefs": [{"name": short, "namespace": namespace, "port": 80}]}],
        });
        route(world, RouteKind::Tcp, at, created, spec);
    };
    let serves = |world: &landfall_gateway::World| {
        let decision = edge(world);
        (
            decision.frontends[0].backends[0].name.clone(),
            decision.listeners[0].attached,
        )
    };
    add(&mut world, "green/b", 7);
    assert_eq!(serves(&world), ("b".to_owned(), 1));
    add(&mut world, "green/a", 7);
    assert_eq!(serves(&world), ("a".to_owned(), 2));
    add(&mut world, "blue/z", 7);
    assert_eq!(serves(&world), ("z".to_owned(), 3));
    add(&mut world, "green/old", 6);
    assert_eq!(serves(&world), ("old".to_owned(), 4));
    for at in ["green/b", "green/a", "blue/z", "green/old"] {
        says(
            &parent(&decide(&world), at, "Accepted"),
            true,
            "Accepted",
            "\"tcp\"",
        );
    }
    let said = |at: &str| parent(&decide(&world), at, "Accepted").message;
    assert_eq!(said("green/old"), "attached to \"tcp\"");
    assert_eq!(
        said("green/a"),
        "attached to \"tcp\" (served by the older TCPRoute green/old)"
    );
    world.routes.remove(&key(RouteKind::Tcp, "green/old"));
    let said = parent(&decide(&world), "green/a", "Accepted").message;
    assert_eq!(said, "attached to \"tcp\" (served by the TCPRoute blue/z)");
}

#[test]
fn a_route_that_names_one_listener_by_several_parents_is_attached_to_it_once() {
    let mut world = world();
    for at in ["blue/edge", "blue/other"] {
        gateway(&mut world, at, json!({}));
    }
    let parents = json!([
        {"name": "edge"}, {"name": "other"}, {"name": "edge", "sectionName": "tcp"}, {"name": "edge", "port": 80},
    ]);
    for at in ["blue/a", "blue/b"] {
        let spec = json!({"parentRefs": parents, "rules": []});
        route(&mut world, RouteKind::Tcp, at, 1, spec);
    }
    for decision in decide(&world).gateways.values() {
        assert_eq!(decision.listeners[0].attached, 2);
    }
}

#[test]
fn a_listener_without_a_route_is_served_and_refuses_everything() {
    let mut world = world();
    gateway(&mut world, "blue/edge", json!({}));
    let frontends = edge(&world).frontends;
    assert_eq!((frontends.len(), frontends[0].backends.len()), (1, 0));
}

#[test]
fn one_backend_named_twice_is_one_with_both_shares() {
    let mut world = world();
    gateway(&mut world, "blue/edge", json!({}));
    service(&mut world, "blue/web", &[(80, "TCP")]);
    to(
        &mut world,
        "blue/web",
        json!([{"name": "web", "port": 80, "weight": 2}, {"name": "web", "port": 80, "weight": 5}]),
    );
    let backends = edge(&world).frontends.remove(0).backends;
    assert_eq!(
        backends.iter().map(|one| one.weight).collect::<Vec<_>>(),
        [7]
    );
}
