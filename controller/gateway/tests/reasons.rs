//! Every reason of the Gateway API that is given, and what leads to it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "the shared support has more than is used here")]

mod support;

use landfall_crds::FrontendProtocol;
use landfall_crds::conditions::AssignedReason;
use landfall_gateway::{RouteKind, Standing, decide, programmed};
use serde_json::{Value, json};
use support::*;

fn of_class(
    spec: Value,
    bundle: Option<&str>,
    type_: &str,
) -> landfall_crds::conditions::NewCondition {
    let mut world = world();
    world.pools.insert("public".to_owned());
    world.bundle = bundle.map(str::to_owned);
    class(&mut world, "internet", spec);
    find(&decide(&world).classes["internet"], type_)
}

#[test]
fn a_class_is_accepted_with_a_pool_or_none_and_refused_with_anything_else() {
    let with = |parameters: Value| {
        let spec = json!({"controllerName": "landfall.dev/gateway-controller", "parametersRef": parameters});
        of_class(spec, Some("v1.6.3"), "Accepted")
    };
    says(
        &with(Value::Null),
        true,
        "Accepted",
        "pools that admit them",
    );
    let pool =
        |name: &str| json!({"group": "landfall.dev", "kind": "LoadBalancerIPPool", "name": name});
    says(&with(pool("public")), true, "Accepted", "pool public");
    says(
        &with(pool("gone")),
        false,
        "InvalidParameters",
        "\"gone\", which does not exist",
    );
    let map = json!({"group": "", "kind": "ConfigMap", "name": "public"});
    says(&with(map), false, "InvalidParameters", "\"ConfigMap\"");
    let mut placed = pool("public");
    placed["namespace"] = json!("blue");
    says(
        &with(placed),
        false,
        "InvalidParameters",
        "remove spec.parametersRef.namespace",
    );
}

#[test]
fn a_release_that_is_not_known_is_told_of_and_its_class_is_served() {
    let spec = || json!({"controllerName": "landfall.dev/gateway-controller"});
    for (bundle, known) in [
        (Some("v1.6.3"), true),
        (Some("v1.7.0-rc.1"), true),
        (Some("v1.12.0"), true),
        (Some("v1.5.1"), false),
        (Some("v2.0.0"), false),
        (Some("main"), false),
        (None, false),
    ] {
        let reason = if known {
            "SupportedVersion"
        } else {
            "UnsupportedVersion"
        };
        says(
            &of_class(spec(), bundle, "SupportedVersion"),
            known,
            reason,
            "",
        );
        says(&of_class(spec(), bundle, "Accepted"), true, "Accepted", "");
    }
}

#[test]
fn nothing_is_said_of_what_belongs_to_another_controller() {
    let mut world = world();
    class(
        &mut world,
        "internet",
        json!({"controllerName": "example.org/other"}),
    );
    gateway(&mut world, "blue/edge", json!({}));
    to(&mut world, "blue/web", json!([{"name": "web", "port": 80}]));
    assert_eq!(decide(&world), landfall_gateway::Decisions::default());
}

#[test]
fn a_gateway_is_refused_for_its_parameters_its_addresses_or_all_its_listeners() {
    let of = |spec: Value| {
        let mut world = world();
        gateway(&mut world, "blue/edge", spec);
        edge(&world).accepted
    };
    says(&of(json!({})), true, "Accepted", "");
    let parameters = json!({"parametersRef": {"group": "", "kind": "ConfigMap", "name": "x"}});
    says(
        &of(json!({"infrastructure": parameters})),
        false,
        "InvalidParameters",
        "landfall.dev/pool",
    );
    says(
        &of(json!({"infrastructure": {"labels": {"a": "b"}}})),
        true,
        "Accepted",
        "",
    );
    let host = json!([{"type": "Hostname", "value": "example.org"}]);
    says(
        &of(json!({"addresses": host})),
        false,
        "UnsupportedAddress",
        "spec.addresses[0] \"example.org\"",
    );
    let odd = json!([{"value": "192.0.2.1"}, {"type": "IPAddress", "value": "192.0.2.300"}]);
    says(
        &of(json!({"addresses": odd})),
        false,
        "UnsupportedAddress",
        "spec.addresses[1]",
    );
    let http = json!({"name": "web", "port": 80, "protocol": "HTTP"});
    says(
        &of(json!({"listeners": [http]})),
        false,
        "ListenersNotValid",
        "Envoy Gateway",
    );
    says(
        &of(json!({"listeners": [http, tcp("tcp", 80)]})),
        true,
        "ListenersNotValid",
        "only \"tcp\"",
    );
}

#[test]
fn a_gateway_whose_class_has_lost_its_pool_is_refused_and_served_on() {
    let mut world = world();
    let parameters = json!({"group": "landfall.dev", "kind": "LoadBalancerIPPool", "name": "gone"});
    let spec =
        json!({"controllerName": "landfall.dev/gateway-controller", "parametersRef": parameters});
    class(&mut world, "internet", spec);
    gateway(&mut world, "blue/edge", json!({}));
    says(
        &edge(&world).accepted,
        false,
        "InvalidParameters",
        "GatewayClass internet",
    );
    assert_eq!(edge(&world).frontends.len(), 1);
}

#[test]
fn an_address_without_a_value_asks_for_any() {
    let mut world = world();
    let addresses = json!([{"type": "IPAddress"}, {"value": "192.0.2.7"}, {"type": "IPAddress", "value": "192.0.2.7"}]);
    gateway(&mut world, "blue/edge", json!({"addresses": addresses}));
    let asked = edge(&world).asked.unwrap();
    assert_eq!((asked.any, asked.addresses.len()), (1, 1));
}

#[test]
fn a_listener_of_another_protocol_is_refused_with_what_to_use() {
    for (protocol, remedy) in [
        ("HTTP", "a GatewayClass of Envoy Gateway"),
        ("HTTPS", "a GatewayClass of Envoy Gateway"),
        ("TLS", "protocol TCP with a TCPRoute"),
        ("SCTP", "use TCP or UDP"),
    ] {
        let mut world = world();
        let listener = json!({"name": "one", "port": 80, "protocol": protocol});
        gateway(&mut world, "blue/edge", json!({"listeners": [listener]}));
        let decision = edge(&world);
        says(
            &decision.listeners[0].accepted,
            false,
            "UnsupportedProtocol",
            remedy,
        );
        assert!(decision.listeners[0].supported_kinds.is_empty());
        assert!(decision.frontends.is_empty());
    }
}

#[test]
fn listeners_of_one_port_and_protocol_are_all_refused_and_those_of_two_protocols_are_not() {
    let mut world = world();
    let udp = json!({"name": "udp", "port": 53, "protocol": "UDP"});
    let listeners = json!([tcp("one", 53), tcp("two", 53), udp, tcp("alone", 80)]);
    gateway(&mut world, "blue/edge", json!({"listeners": listeners}));
    let decision = edge(&world);
    for (at, rival) in [(0, "\"two\""), (1, "\"one\"")] {
        let listener = &decision.listeners[at];
        says(&listener.conflicted, true, "ProtocolConflict", rival);
        says(&listener.accepted, false, "PortUnavailable", rival);
    }
    for listener in &decision.listeners[2..] {
        says(&listener.conflicted, false, "NoConflicts", "");
        says(&listener.accepted, true, "Accepted", "");
    }
    let served: Vec<_> = decision
        .frontends
        .iter()
        .map(|one| (one.port, one.protocol))
        .collect();
    assert_eq!(
        served,
        [(53, FrontendProtocol::Udp), (80, FrontendProtocol::Tcp)]
    );
}

#[test]
fn kinds_that_a_listener_cannot_take_are_named_and_the_others_are_taken() {
    let of = |kinds: Value| {
        let mut world = world();
        let mut listener = tcp("one", 80);
        listener["allowedRoutes"] = json!({"kinds": kinds});
        gateway(&mut world, "blue/edge", json!({"listeners": [listener]}));
        edge(&world).listeners.remove(0)
    };
    let none = of(json!([{"kind": "HTTPRoute"}]));
    says(
        &none.resolved_refs,
        false,
        "InvalidRouteKinds",
        "\"HTTPRoute\"",
    );
    assert!(none.supported_kinds.is_empty());
    let gateway = landfall_crds::conditions::NewCondition {
        type_: "Programmed",
        status: Some(true),
        reason: "Programmed".to_owned(),
        message: String::new(),
    };
    says(
        &find(&none.conditions(&gateway), "Programmed"),
        false,
        "Invalid",
        "HTTPRoute",
    );
    let some = of(
        json!([{"kind": "HTTPRoute"}, {"group": "gateway.networking.k8s.io", "kind": "TCPRoute"}]),
    );
    says(
        &some.resolved_refs,
        false,
        "InvalidRouteKinds",
        "only TCPRoute is taken",
    );
    assert_eq!(some.supported_kinds, [RouteKind::Tcp]);
    let foreign = of(json!([{"group": "example.org", "kind": "TCPRoute"}]));
    says(
        &foreign.resolved_refs,
        false,
        "InvalidRouteKinds",
        "example.org",
    );
    says(&of(json!([])).resolved_refs, true, "ResolvedRefs", "");
}

#[test]
fn a_namespace_selector_that_cannot_be_read_refuses_the_listener() {
    let of = |namespaces: Value| {
        let mut world = world();
        let mut listener = tcp("one", 80);
        listener["allowedRoutes"] = json!({"namespaces": namespaces});
        gateway(&mut world, "blue/edge", json!({"listeners": [listener]}));
        edge(&world).listeners.remove(0).accepted
    };
    says(
        &of(json!({"from": "Selector"})),
        false,
        "UnsupportedValue",
        "selector is missing",
    );
    let odd = json!({"matchExpressions": [{"key": "a", "operator": "Like", "values": ["b"]}]});
    says(
        &of(json!({"from": "Selector", "selector": odd})),
        false,
        "UnsupportedValue",
        "cannot be read",
    );
    says(
        &of(json!({"from": "Nowhere"})),
        false,
        "UnsupportedValue",
        "\"Nowhere\"",
    );
    says(&of(json!({"from": "All"})), true, "Accepted", "");
}

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

#[test]
fn programmed_follows_acceptance_addresses_and_announcement() {
    let mut world = world();
    gateway(&mut world, "blue/edge", json!({}));
    let decision = edge(&world);
    let pending = programmed(&decision, &Standing::Pending);
    assert_eq!((pending.status, pending.reason.as_str()), (None, "Pending"));
    for (reason, of_api) in [
        (AssignedReason::NoMatchingPool, "AddressNotAssigned"),
        (AssignedReason::PoolExhausted, "AddressNotAssigned"),
        (AssignedReason::FamilyUnavailable, "AddressNotAssigned"),
        (AssignedReason::AddressInUse, "AddressNotUsable"),
        (AssignedReason::NotInAnyPool, "AddressNotUsable"),
        (AssignedReason::SharingRefused, "AddressNotUsable"),
        (AssignedReason::InvalidRequest, "AddressNotUsable"),
    ] {
        let refused = Standing::Refused(reason, "192.0.2.1: a hint".to_owned());
        says(&programmed(&decision, &refused), false, of_api, "a hint");
    }
    let address = "192.0.2.1".parse().unwrap();
    let silent = Standing::Assigned(vec![(address, Err("no policy announces it".to_owned()))]);
    says(
        &programmed(&decision, &silent),
        false,
        "Pending",
        "192.0.2.1: no policy",
    );
    let served = Standing::Assigned(vec![(address, Ok(()))]);
    says(
        &programmed(&decision, &served),
        true,
        "Programmed",
        "192.0.2.1",
    );
    let host = json!([{"type": "Hostname", "value": "example.org"}]);
    gateway(&mut world, "blue/edge", json!({"addresses": host}));
    says(
        &programmed(&edge(&world), &served),
        false,
        "Invalid",
        "example.org",
    );
}
