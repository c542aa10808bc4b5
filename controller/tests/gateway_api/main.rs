//! Gateways of a class of ours, their listeners and routes, on a real API server with the standard's own definitions.
//! The announcers are played by what they say of an address in its record.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    dead_code,
    clippy::panic,
    reason = "the shared support has more than is used here"
)]

#[path = "../definitions/mod.rs"]
mod definitions;
mod listener_sets;
mod releases;
mod statuses;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, ResourceExt as _};
use landfall_crds::gateway_api::Gateway;
use landfall_crds::{LoadBalancerIP, ip_name};
use serde_json::{Value, json};
use support::{Cluster, eventually};

const GROUP: &str = "gateway.networking.k8s.io";

/// A cluster with the Gateway API, the class `internet` and a controller.
async fn cluster(test: &str) -> Option<Cluster> {
    let mut cluster = without_controller(test).await?;
    cluster.controller().await;
    Some(cluster)
}

async fn without_controller(test: &str) -> Option<Cluster> {
    let standard = definitions::find(test)?;
    let cluster = Cluster::start(test).await?;
    definitions::install(&cluster, &standard).await;
    for kind in [
        "TCPRoute",
        "UDPRoute",
        "ReferenceGrant",
        "ListenerSet",
        "Gateway",
        "GatewayClass",
    ] {
        let all: Api<DynamicObject> = Api::all_with(cluster.client.clone(), &resource(kind));
        for object in all.list(&ListParams::default()).await.unwrap() {
            let api = api(&cluster, kind, object.namespace().as_deref());
            api.delete(&object.name_any(), &DeleteParams::default())
                .await
                .unwrap();
        }
        if kind == "GatewayClass" {
            let all = all.list(&ListParams::default()).await.unwrap();
            for object in all {
                free_class(&cluster, &object.name_any()).await;
            }
        }
    }
    apply(
        &cluster,
        "GatewayClass",
        None,
        "internet",
        json!({"controllerName": "landfall.dev/gateway-controller"}),
    )
    .await;
    Some(cluster)
}

/// Takes the finalizers off a class that is being deleted, as somebody may who wants it gone.
async fn free_class(cluster: &Cluster, name: &str) {
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    let api = api(cluster, "GatewayClass", None);
    match api.patch(name, &PatchParams::default(), &free).await {
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        answer => drop(answer.unwrap()),
    }
}

fn resource(kind: &str) -> ApiResource {
    let plural = match kind {
        "GatewayClass" => "gatewayclasses".to_owned(),
        kind => format!("{}s", kind.to_lowercase()),
    };
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, "v1", kind), &plural)
}

fn api(cluster: &Cluster, kind: &str, namespace: Option<&str>) -> Api<DynamicObject> {
    match namespace {
        Some(namespace) => Api::namespaced_with(cluster.client.clone(), namespace, &resource(kind)),
        None => Api::all_with(cluster.client.clone(), &resource(kind)),
    }
}

async fn apply(cluster: &Cluster, kind: &str, namespace: Option<&str>, name: &str, spec: Value) {
    let object = json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": kind, "metadata": {"name": name}, "spec": spec,
    });
    let params = PatchParams::apply("test").force();
    let api = api(cluster, kind, namespace);
    api.patch(name, &params, &Patch::Apply(object))
        .await
        .unwrap();
}

/// A Gateway of namespace `blue` with a TCP listener on port 80, and what else its spec says.
async fn gateway(cluster: &Cluster, name: &str, spec: Value) {
    let mut whole = json!({
        "gatewayClassName": "internet",
        "listeners": [{"name": "tcp", "port": 80, "protocol": "TCP"}],
    });
    for (field, value) in spec.as_object().unwrap() {
        whole[field] = value.clone();
    }
    apply(cluster, "Gateway", Some("blue"), name, whole).await;
}

async fn annotate(cluster: &Cluster, name: &str, annotations: Value) {
    let patch = json!({"metadata": {"annotations": annotations}});
    let api = api(cluster, "Gateway", Some("blue"));
    api.patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
}

async fn get(cluster: &Cluster, name: &str) -> Gateway {
    let api: Api<Gateway> = Api::namespaced(cluster.client.clone(), "blue");
    api.get(name).await.unwrap()
}

fn says(conditions: &[Condition], type_: &str, status: &str, reason: &str) -> Option<String> {
    let mut found = conditions
        .iter()
        .filter(|one| one.type_ == type_ && one.status == status && one.reason == reason);
    found.next().map(|one| one.message.clone())
}

/// Waits until the Gateway says this of its newest generation; returns the message.
async fn gateway_says(
    cluster: &Cluster,
    name: &str,
    type_: &str,
    status: &str,
    reason: &str,
) -> String {
    eventually(
        &format!("Gateway {name} is {type_}={status}, {reason}"),
        async || {
            let gateway = get(cluster, name).await;
            let conditions = gateway.status.clone().unwrap_or_default().conditions;
            let newest = |one: &Condition| one.observed_generation == gateway.metadata.generation;
            let newest: Vec<Condition> = conditions
                .iter()
                .filter(|one| newest(one))
                .cloned()
                .collect();
            says(&newest, type_, status, reason).ok_or_else(|| format!("{conditions:?}"))
        },
    )
    .await
}

/// Waits until the Gateway has these addresses.
async fn has(cluster: &Cluster, name: &str, want: &[&str]) {
    eventually(&format!("Gateway {name} has {want:?}"), async || {
        let status = get(cluster, name).await.status.unwrap_or_default();
        let has: Vec<&str> = status
            .addresses
            .iter()
            .map(|one| one.value.as_str())
            .collect();
        let types = status
            .addresses
            .iter()
            .all(|one| one.type_.as_deref() == Some("IPAddress"));
        if has == want && types {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        }
    })
    .await;
}

/// Waits until nobody writes the status of a Gateway any more, by what the API server counts of such requests.
async fn writes_rest(cluster: &Cluster) {
    let written = async || {
        let metrics = http::Request::get("/metrics").body(Vec::new()).unwrap();
        let metrics = cluster.client.request_text(metrics).await.unwrap();
        let status = |line: &&str| {
            line.starts_with("apiserver_request_total{")
                && line.contains("resource=\"gateways\"")
                && line.contains("subresource=\"status\"")
        };
        let lines: Vec<String> = metrics.lines().filter(status).map(str::to_owned).collect();
        assert!(!lines.is_empty(), "the API server counts its requests");
        lines
    };
    let looks = std::cell::RefCell::new(Vec::new());
    eventually("the status of Gateways is written no more", async || {
        let now = written().await;
        let mut looks = looks.borrow_mut();
        looks.push(now);
        let last = looks.last();
        let same = looks.iter().rev().take_while(|one| Some(*one) == last);
        match same.count() {
            25.. => Ok(()),
            _ => Err(format!("{last:?}")),
        }
    })
    .await;
}

/// Says of an address what the announcers would.
async fn announce(cluster: &Cluster, address: &str, status: &str, message: &str) {
    let condition = json!([{"type": "Announced", "status": status, "reason": "Test", "message": message,
        "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
    let patch = json!({
        "apiVersion": "landfall.dev/v1alpha1", "kind": "LoadBalancerIP", "status": {"conditions": condition},
    });
    let params = PatchParams::apply("announcer").force();
    let name = ip_name(address.parse().unwrap());
    let records = cluster.records();
    records
        .patch_status(&name, &params, &Patch::Apply(patch))
        .await
        .unwrap();
}

async fn record(cluster: &Cluster, address: &str) -> Option<LoadBalancerIP> {
    let name = ip_name(address.parse().unwrap());
    cluster.records().get_opt(&name).await.unwrap()
}

/// Waits until a TCPRoute of namespace `blue` says this of its only parent of ours; returns the message.
async fn route_says(
    cluster: &Cluster,
    name: &str,
    type_: &str,
    status: &str,
    reason: &str,
) -> String {
    eventually(
        &format!("TCPRoute {name} is {type_}={status}, {reason}"),
        async || {
            let route = api(cluster, "TCPRoute", Some("blue"))
                .get(name)
                .await
                .unwrap();
            let parents = route.data["status"]["parents"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let ours = parents
                .iter()
                .find(|one| one["controllerName"] == "landfall.dev/gateway-controller");
            let conditions: Vec<Condition> = ours
                .map(|one| serde_json::from_value(one["conditions"].clone()).unwrap())
                .unwrap_or_default();
            says(&conditions, type_, status, reason).ok_or_else(|| format!("{parents:?}"))
        },
    )
    .await
}

/// A backend as it is recorded: name, weight, and whether it is refused.
type Share<'a> = (&'a str, u32, bool);

/// What is served on an address: port, and for each backend its name, weight and whether it is refused.
async fn serves(cluster: &Cluster, address: &str, want: &[(u16, &[Share<'_>])]) {
    eventually(&format!("{address} serves {want:?}"), async || {
        let frontends = record(cluster, address)
            .await
            .map(|record| record.spec.frontends);
        let found: Vec<(u16, Vec<Share<'_>>)> = frontends
            .iter()
            .flatten()
            .map(|frontend| {
                let backends = frontend.backends.iter();
                let backends = backends.map(|one| (one.name.as_str(), one.weight, one.refused));
                (frontend.port, backends.collect())
            })
            .collect();
        let same = found.len() == want.len()
            && found
                .iter()
                .zip(want)
                .all(|(found, want)| found.0 == want.0 && found.1 == want.1);
        if same {
            Ok(())
        } else {
            Err(format!("{found:?}"))
        }
    })
    .await;
}

#[tokio::test]
async fn three_requested_addresses_are_put_right_one_by_one() {
    let test = "three_requested_addresses_are_put_right_one_by_one";
    let Some(mut cluster) = cluster(test).await else {
        return;
    };
    cluster.cidrs("public", &["192.0.2.0/29"]).await;
    let unsupported = json!({"type": "Hostname", "value": "gateway.example.org"});
    let unusable = json!({"type": "IPAddress", "value": "203.0.113.9"});
    let usable = json!({"type": "IPAddress", "value": "192.0.2.3"});
    gateway(
        &cluster,
        "edge",
        json!({"addresses": [unsupported, unusable, usable]}),
    )
    .await;
    let said = gateway_says(&cluster, "edge", "Accepted", "False", "UnsupportedAddress").await;
    assert!(said.contains("gateway.example.org"), "{said}");
    gateway_says(&cluster, "edge", "Programmed", "False", "Invalid").await;

    gateway(&cluster, "edge", json!({"addresses": [unusable, usable]})).await;
    gateway_says(&cluster, "edge", "Accepted", "True", "Accepted").await;
    let said = gateway_says(&cluster, "edge", "Programmed", "False", "AddressNotUsable").await;
    assert!(said.contains("203.0.113.9 lies in no pool"), "{said}");

    gateway(&cluster, "edge", json!({"addresses": [usable]})).await;
    has(&cluster, "edge", &["192.0.2.3"]).await;
    let said = gateway_says(&cluster, "edge", "Programmed", "False", "Pending").await;
    assert!(said.contains("no node answers for it yet"), "{said}");
    announce(&cluster, "192.0.2.3", "True", "answered").await;
    gateway_says(&cluster, "edge", "Programmed", "True", "Programmed").await;
    let listeners = get(&cluster, "edge").await.status.unwrap().listeners;
    for type_ in ["Accepted", "ResolvedRefs", "Programmed"] {
        assert!(
            says(&listeners[0].conditions, type_, "True", type_).is_some(),
            "{listeners:?}"
        );
    }
    announce(
        &cluster,
        "192.0.2.3",
        "False",
        "no policy with loadBalancing XDP selects it",
    )
    .await;
    let said = gateway_says(&cluster, "edge", "Programmed", "False", "Pending").await;
    assert!(said.contains("192.0.2.3: no policy"), "{said}");
    cluster.stop().await;
}

#[tokio::test]
async fn an_address_without_a_value_is_any_and_a_gateway_keeps_what_it_has() {
    let test = "an_address_without_a_value_is_any_and_a_gateway_keeps_what_it_has";
    let Some(mut cluster) = cluster(test).await else {
        return;
    };
    cluster
        .cidrs("public", &["192.0.2.0/29", "2001:db8::/125"])
        .await;
    gateway(
        &cluster,
        "edge",
        json!({"addresses": [{"type": "IPAddress"}]}),
    )
    .await;
    has(&cluster, "edge", &["192.0.2.0", "2001:db8::"]).await;
    // Another controller process takes it over as it stands, and writes nothing.
    cluster.stop().await;
    let before = get(&cluster, "edge").await.resource_version();
    let record_before = record(&cluster, "192.0.2.0")
        .await
        .unwrap()
        .resource_version();
    cluster.controller().await;
    gateway(&cluster, "later", json!({})).await;
    has(&cluster, "later", &["192.0.2.1", "2001:db8::1"]).await;
    assert_eq!(get(&cluster, "edge").await.resource_version(), before);
    let record_now = record(&cluster, "192.0.2.0")
        .await
        .unwrap()
        .resource_version();
    assert_eq!(record_now, record_before);
    // A typing error costs it nothing.
    annotate(&cluster, "edge", json!({"landfall.dev/ips": "nowhere"})).await;
    let said = gateway_says(&cluster, "edge", "Programmed", "False", "AddressNotUsable").await;
    assert!(said.contains("landfall.dev/ips"), "{said}");
    has(&cluster, "edge", &["192.0.2.0", "2001:db8::"]).await;
    // Its addresses go with it.
    let gateways = api(&cluster, "Gateway", Some("blue"));
    gateways
        .delete("edge", &DeleteParams::default())
        .await
        .unwrap();
    eventually("the record is gone", async || {
        match record(&cluster, "192.0.2.0").await {
            None => Ok(()),
            Some(record) => Err(format!("{record:?}")),
        }
    })
    .await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_gateway_waits_for_a_full_pool_and_is_served_when_room_appears() {
    let test = "a_gateway_waits_for_a_full_pool_and_is_served_when_room_appears";
    let Some(mut cluster) = cluster(test).await else {
        return;
    };
    cluster.cidrs("public", &["192.0.2.0/32"]).await;
    cluster.service("blue", "web", &[], json!({})).await;
    cluster.has("blue", "web", &["192.0.2.0"]).await;
    gateway(&cluster, "edge", json!({})).await;
    let said = gateway_says(
        &cluster,
        "edge",
        "Programmed",
        "False",
        "AddressNotAssigned",
    )
    .await;
    assert!(said.contains("widen a pool or add one"), "{said}");
    cluster.cidrs("public", &["192.0.2.0/31"]).await;
    has(&cluster, "edge", &["192.0.2.1"]).await;
    cluster.stop().await;
}

#[tokio::test]
async fn of_two_gateways_that_ask_for_one_address_the_first_has_it_and_they_share_it_when_both_say_so()
 {
    let test = "of_two_gateways_that_ask_for_one_address_the_first_has_it_and_they_share_it_when_both_say_so";
    let Some(mut cluster) = cluster(test).await else {
        return;
    };
    cluster.cidrs("public", &["192.0.2.0/29"]).await;
    let wish = json!({"addresses": [{"type": "IPAddress", "value": "192.0.2.5"}]});
    gateway(&cluster, "first", wish.clone()).await;
    has(&cluster, "first", &["192.0.2.5"]).await;
    let mut other = wish;
    other["listeners"] = json!([{"name": "dns", "port": 53, "protocol": "UDP"}]);
    gateway(&cluster, "second", other).await;
    let said = gateway_says(
        &cluster,
        "second",
        "Programmed",
        "False",
        "AddressNotUsable",
    )
    .await;
    assert!(said.contains("held by Gateway blue/first"), "{said}");
    for name in ["first", "second"] {
        annotate(&cluster, name, json!({"landfall.dev/sharing-key": "both"})).await;
    }
    has(&cluster, "second", &["192.0.2.5"]).await;
    serves(&cluster, "192.0.2.5", &[(53, &[]), (80, &[])]).await;
    // A Service joins them on a port of its own.
    let terms = [
        ("landfall.dev/sharing-key", "both"),
        ("landfall.dev/ips", "192.0.2.5"),
    ];
    cluster
        .service(
            "blue",
            "web",
            &terms,
            json!({"ports": [{"port": 8080, "protocol": "TCP"}]}),
        )
        .await;
    cluster.has("blue", "web", &["192.0.2.5"]).await;
    let gateways = api(&cluster, "Gateway", Some("blue"));
    gateways
        .delete("first", &DeleteParams::default())
        .await
        .unwrap();
    serves(&cluster, "192.0.2.5", &[(53, &[])]).await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_route_is_attached_its_shares_are_recorded_and_a_grant_is_taken_back_at_once() {
    let test = "a_route_is_attached_its_shares_are_recorded_and_a_grant_is_taken_back_at_once";
    let Some(mut cluster) = cluster(test).await else {
        return;
    };
    cluster.cidrs("public", &["192.0.2.0/29"]).await;
    gateway(&cluster, "edge", json!({})).await;
    has(&cluster, "edge", &["192.0.2.0"]).await;
    let inside = json!({"type": "ClusterIP", "allocateLoadBalancerNodePorts": null});
    cluster.service("blue", "near", &[], inside.clone()).await;
    cluster.service("green", "far", &[], inside).await;
    let route = json!({
        "parentRefs": [{"name": "edge"}],
        "rules": [{"backendRefs": [
            {"name": "near", "port": 80, "weight": 70},
            {"name": "far", "namespace": "green", "port": 80, "weight": 30},
            {"name": "gone", "port": 80, "weight": 0},
        ]}],
    });
    apply(&cluster, "TCPRoute", Some("blue"), "web", route).await;
    route_says(&cluster, "web", "Accepted", "True", "Accepted").await;
    let said = route_says(&cluster, "web", "ResolvedRefs", "False", "RefNotPermitted").await;
    assert!(said.contains("Service blue/gone does not exist"), "{said}");
    let refused = [(
        80,
        &[("near", 70, false), ("far", 30, true), ("gone", 0, true)][..],
    )];
    serves(&cluster, "192.0.2.0", &refused).await;

    let grant = json!({
        "from": [{"group": GROUP, "kind": "TCPRoute", "namespace": "blue"}],
        "to": [{"group": "", "kind": "Service", "name": "far"}],
    });
    apply(&cluster, "ReferenceGrant", Some("green"), "blue", grant).await;
    route_says(&cluster, "web", "ResolvedRefs", "False", "BackendNotFound").await;
    let granted = [(
        80,
        &[("near", 70, false), ("far", 30, false), ("gone", 0, true)][..],
    )];
    serves(&cluster, "192.0.2.0", &granted).await;
    let attached = get(&cluster, "edge").await.status.unwrap().listeners;
    assert_eq!(attached[0].attached_routes, 1);

    // Another controller's entry stays through what follows.
    let routes = api(&cluster, "TCPRoute", Some("blue"));
    let mut theirs = routes.get_status("web").await.unwrap();
    let entry = json!({"parentRef": {"name": "elsewhere"}, "controllerName": "example.org/other", "conditions": [
        {"type": "Accepted", "status": "True", "reason": "Accepted", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
    theirs.data["status"]["parents"]
        .as_array_mut()
        .unwrap()
        .push(entry);
    theirs.metadata.managed_fields = None;
    routes
        .replace_status("web", &kube::api::PostParams::default(), &theirs)
        .await
        .unwrap();
    let grants = api(&cluster, "ReferenceGrant", Some("green"));
    grants
        .delete("blue", &DeleteParams::default())
        .await
        .unwrap();
    route_says(&cluster, "web", "ResolvedRefs", "False", "RefNotPermitted").await;
    serves(&cluster, "192.0.2.0", &refused).await;
    let parents = routes.get("web").await.unwrap().data["status"]["parents"].clone();
    let controllers: BTreeMap<&str, &str> = parents
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            (
                one["controllerName"].as_str().unwrap(),
                one["parentRef"]["name"].as_str().unwrap(),
            )
        })
        .collect();
    let both = [
        ("example.org/other", "elsewhere"),
        ("landfall.dev/gateway-controller", "edge"),
    ];
    assert_eq!(controllers, both.into());
    cluster.stop().await;
}
