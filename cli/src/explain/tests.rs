use landfall_crds::HolderKey;
use serde_json::{Value, json};

use super::*;
use crate::picture::{Hidden, Sight};
use crate::settings;

fn at() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().unwrap()
}

fn objects<T: serde::de::DeserializeOwned>(all: Value) -> Sight<T> {
    Sight::Seen(serde_json::from_value(all).unwrap())
}

fn condition(type_: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({"type": type_, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": "2026-01-01T00:57:00Z"})
}

fn pool(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "landfall.dev/v1alpha1", "kind": "LoadBalancerIPPool", "metadata": {"name": name}, "spec": spec})
}

fn service(name: &str, annotations: Value, spec: Value, status: Value) -> Value {
    let mut object = json!({"metadata": {"namespace": "blue", "name": name, "uid": name, "annotations": annotations,
            "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80}], "ipFamilies": ["IPv4"]}, "status": status});
    for (field, value) in spec.as_object().unwrap() {
        object["spec"][field] = value.clone();
    }
    object
}

fn held(address: &str, name: &str) -> Value {
    json!({"apiVersion": "landfall.dev/v1alpha1", "kind": "LoadBalancerIP",
        "metadata": {"name": address.replace('.', "-"), "uid": address, "resourceVersion": "1"},
        "spec": {"address": address, "poolRef": {"name": "public"},
            "holders": [{"kind": "Service", "namespace": "blue", "name": name, "uid": name}]},
        "status": {"owner": {"node": "node-1", "session": "s1", "standby": "node-2", "since": "2026-01-01T00:57:00Z", "transitions": 3},
            "interfaces": ["eth0"], "conditions": [condition("Announced", "True", "Announced", "node node-1 answers for 192.0.2.64 on eth0")]}})
}

fn picture() -> Picture {
    Picture {
        pools: objects(json!([
            pool(
                "gold",
                json!({"blocks": [{"cidr": "198.51.100.0/30"}], "priority": 5,
                "serviceSelector": {"matchLabels": {"tier": "gold"}}})
            ),
            pool(
                "public",
                json!({"blocks": [{"start": "192.0.2.64", "stop": "192.0.2.65"}]})
            ),
            pool(
                "parked",
                json!({"blocks": [{"cidr": "203.0.113.0/30"}], "disabled": true})
            ),
            pool("odd", json!({"blocks": [{"cidr": "192.0.2.200/28"}]})),
        ])),
        records: objects(json!([held("192.0.2.64", "web")])),
        services: objects(json!([
            service(
                "web",
                json!({}),
                json!({}),
                json!({
                "loadBalancer": {"ingress": [{"ip": "192.0.2.64"}]},
                "conditions": [condition("landfall.dev/AddressAssigned", "True", "Assigned", "IPv4 192.0.2.64 from pool public"),
                    condition("landfall.dev/Announced", "True", "Announced", "node node-1 answers for 192.0.2.64 on eth0")]})
            ),
            service(
                "late",
                json!({"landfall.dev/ips": "192.0.2.64", "landfall.dev/ipz": "x"}),
                json!({}),
                json!({
                "conditions": [condition("landfall.dev/AddressAssigned", "False", "AddressInUse", "as it was before")]})
            ),
            service(
                "theirs",
                json!({}),
                json!({"loadBalancerClass": "io.cilium/l2-announcer"}),
                json!({})
            ),
            service(
                "inside",
                json!({}),
                json!({"type": "ClusterIP", "clusterIPs": ["10.96.0.7"]}),
                json!({})
            ),
        ])),
        policies: objects(json!([
            {"apiVersion": "landfall.dev/v1alpha1", "kind": "L2AnnouncementPolicy", "metadata": {"name": "kernel"},
                "spec": {}, "status": {"nodes": 2}},
            {"apiVersion": "landfall.dev/v1alpha1", "kind": "L2AnnouncementPolicy", "metadata": {"name": "fast"},
                "spec": {"loadBalancing": "XDP"}, "status": {"nodes": 2}},
            {"apiVersion": "landfall.dev/v1alpha1", "kind": "L2AnnouncementPolicy", "metadata": {"name": "other"},
                "spec": {"serviceSelector": {"matchLabels": {"tier": "gold"}}}},
        ])),
        nodes: objects(
            json!([{"metadata": {"name": "node-1"}, "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.11"}]}}]),
        ),
        namespaces: objects(json!([{"metadata": {"name": "blue"}}])),
        events: objects(
            json!([{"metadata": {"name": "e"}, "eventTime": "2026-01-01T00:57:00.000000Z", "reason": "Assigned",
            "note": "IPv4 192.0.2.64 from pool public"}]),
        ),
        ..Picture::default()
    }
}

fn tell(picture: &Picture, name: &str) -> Told {
    let (settings, _) = settings::of(None).unwrap();
    let asked = Asked {
        picture,
        settings: &settings,
        guessed: None,
        now: at(),
    };
    super::service(&asked, &HolderKey::service("blue", name)).unwrap()
}

fn tell_gateway(picture: &Picture, name: &str) -> Told {
    let (settings, _) = settings::of(None).unwrap();
    let asked = Asked {
        picture,
        settings: &settings,
        guessed: None,
        now: at(),
    };
    super::gateway(&asked, &HolderKey::gateway("blue", name)).unwrap()
}

/// A cluster with a class of ours and one of Envoy Gateway, and a Gateway of each.
fn gateways() -> Picture {
    let mut picture = picture();
    let gateway = |name: &str, class: &str, listeners: Value, status: Value| {
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
            "metadata": {"namespace": "blue", "name": name, "uid": name, "generation": 1,
                "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"gatewayClassName": class, "listeners": listeners,
                "allowedListeners": {"namespaces": {"from": "Same"}}},
            "status": status})
    };
    let class = |name: &str, controller: &str| json!({"metadata": {"name": name}, "spec": {"controllerName": controller}});
    let tcp = |name: &str, port: u16| json!({"name": name, "port": port, "protocol": "TCP"});
    picture.gateway_classes = objects(json!([
        class("internet", "landfall.dev/gateway-controller"),
        class("envoy", "gateway.envoyproxy.io/gatewayclass-controller"),
    ]));
    let said = condition(
        "Programmed",
        "False",
        "AddressNotAssigned",
        "no pool has an address for it",
    );
    let http = json!({"name": "http", "port": 8080, "protocol": "HTTP"});
    picture.gateways = objects(json!([
        gateway(
            "edge",
            "internet",
            json!([tcp("web", 80), http]),
            json!({"conditions": [said]})
        ),
        gateway("theirs", "envoy", json!([http]), json!({})),
        gateway("lost", "nowhere", json!([]), json!({})),
    ]));
    picture.listener_sets = objects(json!([{"metadata": {"namespace": "blue", "name": "more"},
        "spec": {"parentRef": {"name": "edge"}, "listeners": [tcp("more", 81), tcp("again", 80)]}}]));
    let route = json!({"parentRefs": [{"name": "edge", "sectionName": "web"}, {"name": "more", "kind": "ListenerSet"}],
        "rules": [{"backendRefs": [{"name": "gone", "port": 80}]}]});
    picture.tcp_routes =
        objects(json!([{"metadata": {"namespace": "blue", "name": "web"}, "spec": route}]));
    let Sight::Seen(services) = &mut picture.services else {
        unreachable!("it was made so");
    };
    let mut made = service("envoy-theirs", json!({}), json!({}), json!({}));
    made["metadata"]["labels"] = json!({"gateway.networking.k8s.io/gateway-name": "theirs"});
    services.push(serde_json::from_value(made).unwrap());
    picture
}

fn tell_ip(picture: &Picture, address: &str) -> Told {
    let (settings, _) = settings::of(None).unwrap();
    let asked = Asked {
        picture,
        settings: &settings,
        guessed: None,
        now: at(),
    };
    super::ip(&asked, parse(address).unwrap())
}

#[test]
fn a_served_service_is_told_from_its_wish_to_who_answers() {
    let told = tell(&picture(), "web");
    assert!(told.well);
    insta::assert_snapshot!(told.tree.draw());
}

#[test]
fn one_that_waits_is_told_what_every_pool_says_and_what_stands_in_its_way() {
    let told = tell(&picture(), "late");
    assert!(!told.well);
    insta::assert_snapshot!(told.tree.draw());
}

#[test]
fn one_that_is_not_served_is_told_why_at_once() {
    let first = |name| tell(&picture(), name).tree.below[0].says.clone();
    insta::assert_snapshot!(format!("{}\n{}", first("theirs"), first("inside")));
}

#[test]
fn whoever_may_read_own_services_alone_is_told_what_stands_on_them_and_what_is_missing() {
    let mut picture = picture();
    picture.pools = Sight::Hidden(Hidden::Forbidden);
    picture.records = Sight::Hidden(Hidden::Forbidden);
    picture.policies = Sight::Hidden(Hidden::Forbidden);
    picture.namespaces = Sight::Hidden(Hidden::Forbidden);
    picture.nodes = Sight::Hidden(Hidden::Forbidden);
    picture.services_of = Some("blue".to_owned());
    insta::assert_snapshot!(tell(&picture, "web").tree.draw());
}

#[test]
fn an_address_is_told_by_who_holds_it_who_asks_for_it_and_who_has_it_otherwise() {
    let picture = picture();
    let told = [
        "192-0-2-64",
        "192.0.2.65",
        "192.0.2.11",
        "10.96.0.7",
        "224.0.0.1",
    ];
    let told: Vec<String> = told
        .map(|address| tell_ip(&picture, address).tree.draw())
        .into();
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn a_gateway_of_ours_is_told_by_class_listeners_routes_pools_and_policies() {
    let told = tell_gateway(&gateways(), "edge");
    assert!(!told.well);
    insta::assert_snapshot!(told.tree.draw());
}

#[test]
fn what_cannot_be_read_of_a_gateways_routes_is_not_said_to_be_missing() {
    let mut picture = gateways();
    picture.listener_sets = Sight::Hidden(Hidden::Absent);
    picture.tcp_routes = Sight::Hidden(Hidden::Forbidden);
    let told = tell_gateway(&picture, "edge").tree.draw();
    assert!(
        told.contains("? listeners and routes: TCPRoutes of all namespaces cannot be read"),
        "{told}"
    );
    assert!(!told.contains("refuses everything"), "{told}");
    assert!(
        told.contains("AddressNotAssigned"),
        "the controller is still heard: {told}"
    );
}

#[test]
fn a_gateway_of_anothers_is_told_by_its_services_and_one_without_a_class_that_nobody_can_say() {
    let picture = gateways();
    let told = ["theirs", "lost"].map(|name| tell_gateway(&picture, name).tree.draw());
    insta::assert_snapshot!(told.join("\n"));
}
