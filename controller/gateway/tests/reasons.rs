//! Every reason that is given of a class, a Gateway or a listener, and what leads to it.

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
    find(&decide(&world).classes["internet"].conditions, type_)
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
fn a_class_says_which_kinds_may_not_be_read_and_claims_nothing_of_them() {
    let mut world = world();
    world.hidden = ["listenersets", "udproutes"].into();
    let class = &decide(&world).classes["internet"];
    says(
        &find(&class.conditions, "Accepted"),
        true,
        "Accepted",
        "may not read listenersets, udproutes, and takes none to be there: kubectl apply -k config/gateway-api",
    );
    let claimed = class.features.join(" ");
    assert_eq!(
        claimed,
        "Gateway GatewayAddressEmpty GatewayStaticAddresses ReferenceGrant TCPRoute"
    );
}

#[test]
fn a_class_is_in_use_while_a_gateway_is_of_it() {
    let mut world = world();
    assert!(!decide(&world).classes["internet"].in_use);
    gateway(
        &mut world,
        "blue/edge",
        json!({"gatewayClassName": "other"}),
    );
    assert!(!decide(&world).classes["internet"].in_use);
    gateway(&mut world, "blue/gate", json!({}));
    assert!(decide(&world).classes["internet"].in_use);
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
fn a_gateway_that_has_addresses_is_ours_until_its_class_is_anothers_and_no_other_is() {
    let mut world = world();
    gateway(&mut world, "blue/edge", json!({}));
    gateway(&mut world, "blue/other", json!({}));
    let before = edge(&world);
    world.held.insert(name("blue/edge"));
    world.classes.clear();
    let decisions = decide(&world);
    let kept = &decisions.gateways[&name("blue/edge")];
    assert_eq!(kept.frontends, before.frontends);
    assert!(!kept.is_accepted(), "it takes nothing new");
    assert_eq!(decisions.gateways.len(), 1);
    class(
        &mut world,
        "internet",
        json!({"controllerName": "example.org/other"}),
    );
    assert!(decide(&world).gateways.is_empty());
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
