//! Services made for Gateways, on a real API server that learns of Gateways while the controller runs.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    dead_code,
    clippy::panic,
    reason = "the shared support has more than is used here"
)]

mod definitions;
mod support;

use kube::Api;
use kube::api::{Patch, PatchParams};
use landfall_controller::gateway::Gateway;
use serde_json::{Value, json};
use support::Cluster;

async fn apply_gateway(cluster: &Cluster, annotations: Value) {
    let gateway = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": {"name": "edge", "namespace": "green", "annotations": annotations},
        "spec": {"gatewayClassName": "internet", "listeners": [{"name": "web", "port": 80, "protocol": "HTTP"}]},
    });
    let api = Api::<Gateway>::namespaced(cluster.client.clone(), "green");
    api.patch(
        "edge",
        &PatchParams::apply("test").force(),
        &Patch::Apply(gateway),
    )
    .await
    .unwrap();
}

#[tokio::test]
async fn a_service_made_for_a_gateway_is_given_what_the_gateway_asks_for() {
    let test = "a_service_made_for_a_gateway_is_given_what_the_gateway_asks_for";
    let Some(standard) = definitions::find(test) else {
        return;
    };
    let Some(mut cluster) = Cluster::start(test).await else {
        return;
    };
    let kept = json!({"blocks": [{"cidr": "192.0.2.0/29"}], "gatewayClasses": ["internet"]});
    cluster.pool("kept", kept).await;
    cluster
        .controller_with(|settings| settings.gateway_namespaces = ["blue".to_owned()].into())
        .await;
    // Without the Gateway API everything else goes on as ever.
    cluster.cidrs("other", &["198.51.100.0/29"]).await;
    cluster.service("blue", "plain", &[], json!({})).await;
    cluster.has("blue", "plain", &["198.51.100.0"]).await;
    cluster
        .pools()
        .delete("other", &kube::api::DeleteParams::default())
        .await
        .unwrap();

    definitions::install(&cluster, &standard).await;
    apply_gateway(&cluster, json!({"landfall.dev/ips": "192.0.2.5"})).await;
    let labels = json!({
        "gateway.envoyproxy.io/owning-gateway-namespace": "green",
        "gateway.envoyproxy.io/owning-gateway-name": "edge",
    });
    cluster.service("blue", "envoy", &[], json!({})).await;
    let labelled = json!({"metadata": {"labels": labels}});
    cluster
        .services("blue")
        .patch("envoy", &PatchParams::default(), &Patch::Merge(labelled))
        .await
        .unwrap();
    cluster.has("blue", "envoy", &["192.0.2.5"]).await;

    // What the Gateway asks for now is asked for at once, and what cannot be read is told of by its name.
    apply_gateway(&cluster, json!({"landfall.dev/ips": "192.0.2.6"})).await;
    cluster.has("blue", "envoy", &["192.0.2.6"]).await;
    apply_gateway(&cluster, json!({"landfall.dev/ips": "everywhere"})).await;
    let said = cluster.refused("blue", "envoy", "InvalidRequest").await;
    assert!(
        said.contains("annotation of Gateway green/edge: landfall.dev/ips"),
        "{said}"
    );
    // Who made the Gateway reads it there, and nothing is written into another controller's status.
    let api = Api::<Gateway>::namespaced(cluster.client.clone(), "green");
    let gateway = api.get("edge").await.unwrap();
    let uid = gateway.metadata.uid.clone().unwrap();
    let said = cluster.event_about(uid, "green", "InvalidRequest").await;
    assert!(said.starts_with("Service blue/envoy: "), "{said}");
    let writers = gateway.metadata.managed_fields.iter().flatten();
    let writers: Vec<_> = writers.filter_map(|one| one.manager.as_deref()).collect();
    assert_eq!(writers, ["test"]);
    cluster.stop().await;
}
