//! Records that a person made or keeps.

use kube::api::{DeleteParams, Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, ResourceExt as _};
use landfall_crds::LoadBalancerIP;
use serde_json::{Value, json};

use crate::support::{Cluster, eventually};

/// A person applies a record.
async fn record(cluster: &Cluster, name: &str, spec: Value) {
    let kind = ApiResource::erase::<LoadBalancerIP>(&());
    let api: Api<DynamicObject> = Api::all_with(cluster.client.clone(), &kind);
    let record = json!({
        "apiVersion": "landfall.dev/v1alpha1", "kind": "LoadBalancerIP",
        "metadata": {"name": name}, "spec": spec,
    });
    let params = PatchParams::apply("person").force();
    api.patch(name, &params, &Patch::Apply(record))
        .await
        .unwrap();
}

fn kept_for(name: &str) -> Value {
    json!({"kind": "Service", "namespace": "blue", "name": name})
}

#[tokio::test]
async fn a_record_made_by_hand_keeps_its_address_for_a_service_to_come() {
    let mut cluster = cluster!(a_record_made_by_hand_keeps_its_address_for_a_service_to_come);
    let reserved = json!({"address": "192.0.2.0", "reservedFor": kept_for("vip")});
    record(&cluster, "192-0-2-0", reserved).await;
    cluster.cidrs("default", &["192.0.2.0/29"]).await;
    cluster.controller().await;
    cluster.service("blue", "web", &[], json!({})).await;
    cluster.has("blue", "web", &["192.0.2.1"]).await;
    let asks = [("landfall.dev/ips", "192.0.2.0")];
    cluster.service("blue", "thief", &asks, json!({})).await;
    let message = cluster.refused("blue", "thief", "AddressInUse").await;
    assert!(
        message.contains("is kept for Service blue/vip"),
        "{message}"
    );
    cluster.service("blue", "vip", &[], json!({})).await;
    cluster.has("blue", "vip", &["192.0.2.0"]).await;
    cluster.rest().await;
    let pool = cluster.pools().get("default").await.unwrap();
    let counts = pool.status.unwrap().ipv4.unwrap();
    assert_eq!((counts.assigned, counts.reserved), ("2".into(), "0".into()));
    cluster.stop().await;
}

#[tokio::test]
async fn a_reserved_address_outlives_its_holder_and_a_restart_and_goes_to_nobody_else() {
    let mut cluster =
        cluster!(a_reserved_address_outlives_its_holder_and_a_restart_and_goes_to_nobody_else);
    let reserved = json!({"address": "192.0.2.0", "reservedFor": kept_for("vip")});
    record(&cluster, "192-0-2-0", reserved).await;
    cluster.cidrs("default", &["192.0.2.0/30"]).await;
    cluster.controller().await;
    cluster.service("blue", "vip", &[], json!({})).await;
    cluster.has("blue", "vip", &["192.0.2.0"]).await;
    let services = cluster.services("blue");
    let params = DeleteParams::default();
    services.delete("vip", &params).await.unwrap();
    cluster.rest().await;
    cluster.kill().await;
    cluster.controller().await;
    cluster.service("blue", "web", &[], json!({})).await;
    cluster.has("blue", "web", &["192.0.2.1"]).await;
    cluster.service("blue", "vip", &[], json!({})).await;
    cluster.has("blue", "vip", &["192.0.2.0"]).await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_retained_address_waits_for_its_former_holder() {
    let mut cluster = cluster!(a_retained_address_waits_for_its_former_holder);
    cluster.cidrs("default", &["192.0.2.0/30"]).await;
    cluster.controller().await;
    cluster.service("blue", "vip", &[], json!({})).await;
    cluster.has("blue", "vip", &["192.0.2.0"]).await;
    let retain = Patch::Merge(json!({"spec": {"reclaimPolicy": "Retain"}}));
    let params = PatchParams::default();
    let records = cluster.records();
    records.patch("192-0-2-0", &params, &retain).await.unwrap();
    let before = records.get("192-0-2-0").await.unwrap().uid();
    let services = cluster.services("blue");
    let delete = DeleteParams::default();
    services.delete("vip", &delete).await.unwrap();
    eventually("the record keeps the address", async || {
        let record = records.get("192-0-2-0").await.unwrap();
        match &record.spec.reserved_for {
            Some(kept) if kept.name == "vip" && record.spec.holders.is_empty() => Ok(()),
            _ => Err(format!("{:?}", record.spec)),
        }
    })
    .await;
    cluster.service("blue", "web", &[], json!({})).await;
    cluster.has("blue", "web", &["192.0.2.1"]).await;
    cluster.service("blue", "vip", &[], json!({})).await;
    cluster.has("blue", "vip", &["192.0.2.0"]).await;
    assert_eq!(records.get("192-0-2-0").await.unwrap().uid(), before);
    cluster.stop().await;
}

#[tokio::test]
async fn a_record_made_by_hand_without_a_holder_keeps_everybody_out_until_it_is_deleted() {
    let mut cluster =
        cluster!(a_record_made_by_hand_without_a_holder_keeps_everybody_out_until_it_is_deleted);
    record(&cluster, "192-0-2-0", json!({"address": "192.0.2.0"})).await;
    cluster.cidrs("default", &["192.0.2.0/30"]).await;
    cluster.controller().await;
    let asks = [("landfall.dev/ips", "192.0.2.0")];
    cluster.service("blue", "web", &asks, json!({})).await;
    let message = cluster.refused("blue", "web", "AddressInUse").await;
    assert!(
        message.contains("is kept by LoadBalancerIP 192-0-2-0"),
        "{message}"
    );
    cluster.rest().await;
    let delete = DeleteParams::default();
    cluster
        .records()
        .delete("192-0-2-0", &delete)
        .await
        .unwrap();
    cluster.has("blue", "web", &["192.0.2.0"]).await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_record_that_somebody_deletes_comes_back_with_its_holder() {
    let mut cluster = cluster!(a_record_that_somebody_deletes_comes_back_with_its_holder);
    cluster.cidrs("default", &["192.0.2.0/29"]).await;
    cluster.controller().await;
    cluster.service("blue", "web", &[], json!({})).await;
    cluster.has("blue", "web", &["192.0.2.0"]).await;
    let before = cluster.records().get("192-0-2-0").await.unwrap().uid();
    cluster
        .records()
        .delete("192-0-2-0", &DeleteParams::default())
        .await
        .unwrap();
    eventually("the record is back", async || {
        match cluster.records().get_opt("192-0-2-0").await.unwrap() {
            Some(record) if record.uid() != before => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    cluster.has("blue", "web", &["192.0.2.0"]).await;
    cluster.stop().await;
}
