//! What becomes of ListenerSets: who may add, in which order, and which routes attach to what is added.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "the shared support has more than is used here")]

mod support;

use landfall_crds::conditions::NewCondition;
use landfall_crds::{FrontendProtocol, MAX_FRONTENDS};
use landfall_gateway::{RouteKind, World, decide};
use serde_json::{Value, json};
use support::*;

/// A world whose Gateway `blue/edge` has a TCP listener on port 80 and takes ListenerSets from there.
fn open_to(from: Value) -> World {
    let mut world = world();
    let allowed = json!({"namespaces": from});
    gateway(
        &mut world,
        "blue/edge",
        json!({"allowedListeners": allowed}),
    );
    world
}

fn open() -> World {
    open_to(json!({"from": "All"}))
}

/// The ports that are served for `blue/edge`.
fn ports(world: &World) -> Vec<u16> {
    edge(world).frontends.iter().map(|one| one.port).collect()
}

#[test]
fn a_gateway_takes_listener_sets_from_where_it_says_and_none_where_it_says_nothing() {
    let of = |from: Value, at: &str| {
        let mut world = open_to(from);
        listener_set(&mut world, at, 1, json!([tcp("more", 81)]));
        let attached = edge(&world).attached_sets;
        (set(&world, at).accepted, attached, ports(&world))
    };
    let green = json!({"from": "Selector", "selector": {"matchLabels": {"team": "green"}}});
    for (from, at) in [
        (json!({"from": "Same"}), "blue/more"),
        (json!({"from": "All"}), "green/more"),
        (green.clone(), "green/more"),
    ] {
        let (accepted, attached, ports) = of(from, at);
        says(&accepted, true, "Accepted", "");
        assert_eq!((attached, ports), (Some(1), vec![80, 81]));
    }
    for (from, at) in [
        (Value::Null, "blue/more"),
        (json!({"from": "None"}), "blue/more"),
        (json!({"from": "Same"}), "green/more"),
        (green, "blue/more"),
        (json!({"from": "Selector"}), "blue/more"),
    ] {
        let (accepted, attached, ports) = of(from, at);
        says(
            &accepted,
            false,
            "NotAllowed",
            "spec.allowedListeners.namespaces",
        );
        assert_eq!((attached, ports), (Some(0), vec![80]));
    }
    let mut silent = world();
    gateway(&mut silent, "blue/edge", json!({}));
    listener_set(&mut silent, "blue/more", 1, json!([tcp("more", 81)]));
    says(&set(&silent, "blue/more").accepted, false, "NotAllowed", "");
    assert_eq!(edge(&silent).attached_sets, None);
}

#[test]
fn the_gateways_own_listeners_come_first_then_those_of_the_oldest_set_then_by_name() {
    let mut world = open();
    let udp = json!({"name": "udp", "port": 80, "protocol": "UDP"});
    listener_set(
        &mut world,
        "blue/b",
        2,
        json!([tcp("one", 81), tcp("own", 82)]),
    );
    listener_set(
        &mut world,
        "green/a",
        2,
        json!([tcp("one", 81), tcp("own", 83)]),
    );
    listener_set(
        &mut world,
        "blue/c",
        1,
        json!([tcp("own", 82), tcp("first", 80), udp]),
    );
    let decisions = decide(&world);
    let listener =
        |at: &str, place: usize| decisions.listener_sets[&name(at)].listeners[place].clone();
    for (at, place) in [("blue/c", 0), ("blue/c", 2), ("blue/b", 0), ("green/a", 1)] {
        says(&listener(at, place).accepted, true, "Accepted", "");
        says(&listener(at, place).conflicted, false, "NoConflicts", "");
    }
    for (at, place, whose) in [
        ("blue/c", 1, "the Gateway itself"),
        ("blue/b", 1, "an older ListenerSet"),
        ("green/a", 0, "an older ListenerSet"),
    ] {
        let listener = listener(at, place);
        says(&listener.conflicted, true, "ProtocolConflict", whose);
        says(&listener.accepted, false, "ProtocolConflict", whose);
        let programmed = find(
            &listener.conditions(&decisions.gateways[&name("blue/edge")].accepted),
            "Programmed",
        );
        says(&programmed, false, "ProtocolConflict", whose);
    }
    let edge = edge(&world);
    assert!(edge.listeners[0].is_accepted());
    assert_eq!(edge.attached_sets, Some(3));
    let served: Vec<_> = edge
        .frontends
        .iter()
        .map(|one| (one.port, one.protocol))
        .collect();
    let (tcp, udp) = (FrontendProtocol::Tcp, FrontendProtocol::Udp);
    assert_eq!(
        served,
        [(80, tcp), (80, udp), (81, tcp), (82, tcp), (83, tcp)]
    );
}

#[test]
fn a_set_is_accepted_while_any_of_its_listeners_is_and_does_not_count_otherwise() {
    let mut world = open();
    let http = json!({"name": "web", "port": 90, "protocol": "HTTP"});
    listener_set(&mut world, "blue/some", 1, json!([http, tcp("more", 81)]));
    listener_set(&mut world, "blue/none", 2, json!([http, tcp("again", 80)]));
    let some = set(&world, "blue/some");
    says(&some.accepted, true, "ListenersNotValid", "only \"more\"");
    let none = set(&world, "blue/none");
    says(
        &none.accepted,
        false,
        "ListenersNotValid",
        "the Gateway itself",
    );
    assert_eq!(edge(&world).attached_sets, Some(1));
    let gateway = |status: bool| NewCondition {
        type_: "Programmed",
        status: Some(status),
        reason: "Programmed".to_owned(),
        message: "no pool".to_owned(),
    };
    says(&some.programmed(&gateway(true)), true, "Programmed", "");
    says(
        &some.programmed(&gateway(false)),
        false,
        "ParentNotProgrammed",
        "Gateway blue/edge: no pool",
    );
    says(
        &none.programmed(&gateway(true)),
        false,
        "ListenersNotValid",
        "",
    );
}

#[test]
fn a_set_of_a_gateway_that_is_not_accepted_is_not_either_and_one_of_anothers_is_not_ours() {
    let mut world = open();
    listener_set(&mut world, "blue/more", 1, json!([tcp("more", 81)]));
    let host = json!([{"type": "Hostname", "value": "example.org"}]);
    let allowed = json!({"namespaces": {"from": "All"}});
    gateway(
        &mut world,
        "blue/edge",
        json!({"addresses": host, "allowedListeners": allowed}),
    );
    says(
        &set(&world, "blue/more").accepted,
        false,
        "ParentNotAccepted",
        "example.org",
    );
    class(
        &mut world,
        "internet",
        json!({"controllerName": "example.org/other"}),
    );
    assert_eq!(decide(&world), landfall_gateway::Decisions::default());
}

#[test]
fn listeners_beyond_what_an_address_serves_are_refused_the_newest_first() {
    let mut world = open();
    let listeners = |from: u16| (from..from + 64).map(|port| tcp(&format!("l{port}"), port));
    for (number, from) in (0..5_u8).zip((1000..).step_by(64)) {
        let listeners: Vec<Value> = listeners(from).collect();
        listener_set(
            &mut world,
            &format!("blue/s{number}"),
            number,
            json!(listeners),
        );
    }
    assert_eq!(ports(&world).len(), MAX_FRONTENDS);
    let refused = |at: &str| {
        let set = set(&world, at);
        let refused = set
            .listeners
            .iter()
            .filter(|one| one.accepted.reason == "TooManyListeners");
        refused.count()
    };
    // The Gateway has one of its own.
    assert_eq!(
        (refused("blue/s2"), refused("blue/s3"), refused("blue/s4")),
        (0, 1, 64)
    );
}

#[test]
fn a_route_attaches_to_its_direct_parent_and_to_nothing_else() {
    let mut world = open();
    listener_set(
        &mut world,
        "green/more",
        1,
        json!([tcp("more", 81), tcp("tcp", 82)]),
    );
    service(&mut world, "green/web", &[(80, "TCP")]);
    let attach = |world: &mut World, at: &str, parent: Value| {
        let backends = json!([{"backendRefs": [{"name": "web", "port": 80}]}]);
        let spec = json!({"parentRefs": [parent], "rules": backends});
        route(world, RouteKind::Tcp, at, 1, spec);
        let accepted = parent_of(world, at);
        let counts = |of: &[landfall_gateway::ListenerDecision]| {
            of.iter().map(|one| one.attached).collect::<Vec<_>>()
        };
        let decisions = decide(world);
        let own = counts(&decisions.gateways[&name("blue/edge")].listeners);
        let added = counts(&decisions.listener_sets[&name("green/more")].listeners);
        world.routes.clear();
        (accepted, own, added)
    };
    fn parent_of(world: &World, at: &str) -> NewCondition {
        parent(&decide(world), at, "Accepted")
    }
    let set = |section: Value| json!({"kind": "ListenerSet", "name": "more", "namespace": "green", "sectionName": section});
    let gateway =
        |section: Value| json!({"name": "edge", "namespace": "blue", "sectionName": section});
    let (accepted, own, added) = attach(&mut world, "green/web", set(Value::Null));
    says(&accepted, true, "Accepted", "\"more\", \"tcp\"");
    assert_eq!((own, added), (vec![0], vec![1, 1]));
    let (accepted, own, added) = attach(&mut world, "green/web", set(json!("tcp")));
    says(&accepted, true, "Accepted", "");
    assert_eq!((own, added), (vec![0], vec![0, 1]));
    let (accepted, own, added) = attach(&mut world, "blue/web", gateway(Value::Null));
    says(&accepted, true, "Accepted", "\"tcp\"");
    assert_eq!((own, added), (vec![1], vec![0, 0]));
    let (accepted, ..) = attach(&mut world, "green/web", gateway(json!("more")));
    says(
        &accepted,
        false,
        "NoMatchingParent",
        "Gateway blue/edge has no listener named \"more\"",
    );
    // What a listener says of namespaces is meant from where its ListenerSet is.
    let (accepted, ..) = attach(&mut world, "blue/web", set(Value::Null));
    says(
        &accepted,
        false,
        "NotAllowedByListeners",
        "ListenerSet green/more",
    );
}

#[test]
fn a_route_of_a_set_that_may_not_add_has_no_parent() {
    let mut world = open_to(json!({"from": "Same"}));
    listener_set(&mut world, "green/more", 1, json!([tcp("more", 81)]));
    let parent_ref = json!({"kind": "ListenerSet", "name": "more"});
    let spec = json!({"parentRefs": [parent_ref], "rules": []});
    route(&mut world, RouteKind::Tcp, "green/web", 1, spec);
    let accepted = parent(&decide(&world), "green/web", "Accepted");
    says(
        &accepted,
        false,
        "NoMatchingParent",
        "spec.allowedListeners.namespaces",
    );
}

#[test]
fn what_is_added_is_served_by_the_routes_attached_to_it() {
    let mut world = open();
    listener_set(&mut world, "green/more", 1, json!([tcp("tcp", 81)]));
    for at in ["blue/web", "green/shop"] {
        service(&mut world, at, &[(80, "TCP")]);
    }
    to(&mut world, "blue/web", json!([{"name": "web", "port": 80}]));
    let spec = json!({"parentRefs": [{"kind": "ListenerSet", "name": "more"}],
        "rules": [{"backendRefs": [{"name": "shop", "port": 80}]}]});
    route(&mut world, RouteKind::Tcp, "green/shop", 1, spec);
    let served: Vec<(u16, String)> = edge(&world)
        .frontends
        .iter()
        .map(|one| (one.port, one.backends[0].name.clone()))
        .collect();
    assert_eq!(served, [(80, "web".to_owned()), (81, "shop".to_owned())]);
}
