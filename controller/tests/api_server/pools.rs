//! Pools: whom they admit, what they say, and what becomes of holders when they change.

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use landfall_crds::conditions::{OUT_OF_POOL, find};
use serde_json::{Value, json};

use crate::support::{Cluster, eventually};

async fn label(cluster: &Cluster, namespace: &str, name: &str, labels: Value) {
    let patch = Patch::Merge(json!({"metadata": {"labels": labels}}));
    let services = cluster.services(namespace);
    let params = PatchParams::default();
    services.patch(name, &params, &patch).await.unwrap();
}

/// Waits until a condition of the pool is as wanted; returns its message.
pub(super) async fn says(
    cluster: &Cluster,
    pool: &str,
    kind: &str,
    wanted: impl Fn(&Condition) -> bool,
) -> String {
    eventually(&format!("{kind} of pool {pool}"), async || {
        let status = cluster.pools().get(pool).await.unwrap().status;
        let conditions = status.unwrap_or_default().conditions;
        match find(&conditions, kind) {
            Some(condition) if wanted(condition) => Ok(condition.message.clone()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}

/// Waits until the pool's condition `Accepted` has this reason; returns its message.
async fn accepted(cluster: &Cluster, pool: &str, reason: &str) -> String {
    says(cluster, pool, "Accepted", |accepted| {
        accepted.reason == reason
    })
    .await
}

/// Waits until a deleted pool has drained.
async fn gone(cluster: &Cluster, pool: &str) {
    eventually(&format!("pool {pool} is gone"), async || {
        match cluster.pools().get_opt(pool).await.unwrap() {
            None => Ok(()),
            Some(pool) => Err(format!("{:?}", pool.status)),
        }
    })
    .await;
}

#[tokio::test]
async fn selectors_decide_who_gets_addresses_and_labels_cannot_forge_a_name() {
    let mut cluster = cluster!(selectors_decide_who_gets_addresses_and_labels_cannot_forge_a_name);
    let pool = |cidr: &str, field: &str, labels: Value| json!({"blocks": [{"cidr": cidr}], field: {"matchLabels": labels}});
    let web = pool("192.0.2.0/30", "serviceSelector", json!({"tier": "web"}));
    cluster.pool("web", web).await;
    let green = pool(
        "198.51.100.0/30",
        "namespaceSelector",
        json!({"colour": "green"}),
    );
    cluster.pool("green", green).await;
    let name = json!({"io.kubernetes.service.name": "vip"});
    let vip = pool("203.0.113.0/30", "serviceSelector", name.clone());
    cluster.pool("vip", vip).await;
    cluster.controller().await;
    cluster.service("blue", "front", &[], json!({})).await;
    let message = cluster.refused("blue", "front", "NoMatchingPool").await;
    assert!(
        message.contains("pool web: its serviceSelector does not match"),
        "{message}"
    );
    assert!(
        message.contains("pool green: its namespaceSelector does not match"),
        "{message}"
    );
    label(&cluster, "blue", "front", name).await;
    cluster.rest().await;
    assert!(
        cluster.addresses("blue", "front").await.is_empty(),
        "a forged name"
    );
    label(&cluster, "blue", "front", json!({"tier": "web"})).await;
    cluster.has("blue", "front", &["192.0.2.0"]).await;
    cluster.service("green", "inside", &[], json!({})).await;
    cluster.has("green", "inside", &["198.51.100.0"]).await;
    cluster.service("blue", "vip", &[], json!({})).await;
    cluster.has("blue", "vip", &["203.0.113.0"]).await;
    label(&cluster, "blue", "front", json!({"tier": null})).await;
    cluster.rest().await;
    cluster.has("blue", "front", &["192.0.2.0"]).await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_pool_named_by_annotation_is_obeyed_and_naming_another_one_moves() {
    let mut cluster = cluster!(a_pool_named_by_annotation_is_obeyed_and_naming_another_one_moves);
    cluster.cidrs("a", &["192.0.2.0/30"]).await;
    let quiet = json!({"blocks": [{"cidr": "198.51.100.0/30"}], "autoAssign": false});
    cluster.pool("b", quiet).await;
    cluster.controller().await;
    let pool = |name| [("landfall.dev/pool", name)];
    cluster.service("blue", "web", &pool("b"), json!({})).await;
    cluster.has("blue", "web", &["198.51.100.0"]).await;
    cluster.service("blue", "web", &pool("a"), json!({})).await;
    cluster.has("blue", "web", &["192.0.2.0"]).await;
    cluster.rest().await;
    assert_eq!(cluster.book().await.len(), 1, "the old one is released");
    cluster.stop().await;
}

#[tokio::test]
async fn the_annotations_of_other_projects_are_obeyed() {
    let mut cluster = cluster!(the_annotations_of_other_projects_are_obeyed);
    cluster.cidrs("a", &["192.0.2.0/28"]).await;
    cluster.cidrs("b", &["198.51.100.0/28"]).await;
    cluster.controller().await;
    let asks = [
        ("lbipam.cilium.io/ips", "192.0.2.1"),
        ("io.cilium/lb-ipam-ips", "192.0.2.2"),
        ("metallb.io/loadBalancerIPs", "192.0.2.3"),
        ("metallb.universe.tf/loadBalancerIPs", "192.0.2.4"),
    ];
    for (n, (annotation, address)) in asks.into_iter().enumerate() {
        let name = format!("asks-{n}");
        let annotations = [(annotation, address)];
        cluster
            .service("blue", &name, &annotations, json!({}))
            .await;
        cluster.has("blue", &name, &[address]).await;
    }
    let pools = [
        "metallb.io/address-pool",
        "metallb.universe.tf/address-pool",
    ];
    for (n, annotation) in pools.into_iter().enumerate() {
        let name = format!("pool-{n}");
        cluster
            .service("blue", &name, &[(annotation, "b")], json!({}))
            .await;
        let address = format!("198.51.100.{n}");
        cluster.has("blue", &name, &[&address]).await;
    }
    let keys = [
        "lbipam.cilium.io/sharing-key",
        "io.cilium/lb-ipam-sharing-key",
        "metallb.io/allow-shared-ip",
        "metallb.universe.tf/allow-shared-ip",
    ];
    for (n, annotation) in keys.into_iter().enumerate() {
        let name = format!("shares-{n}");
        let ports = json!({"ports": [{"port": 8000 + n, "protocol": "TCP"}]});
        cluster
            .service("blue", &name, &[(annotation, "k")], ports)
            .await;
        cluster.has("blue", &name, &["192.0.2.0"]).await;
    }
    cluster.stop().await;
}

#[tokio::test]
async fn renaming_splitting_and_merging_pools_moves_nobody() {
    let mut cluster = cluster!(renaming_splitting_and_merging_pools_moves_nobody);
    cluster.cidrs("old", &["192.0.2.0/29"]).await;
    cluster.controller().await;
    for n in 0..6 {
        let (name, address) = (format!("s{n}"), format!("192.0.2.{n}"));
        cluster.service("blue", &name, &[], json!({})).await;
        cluster.has("blue", &name, &[&address]).await;
    }
    let book = cluster.book().await;
    let delete = async |name: &str| {
        let now = DeleteParams::default();
        cluster.pools().delete(name, &now).await.unwrap();
        gone(&cluster, name).await;
    };
    // Renamed,
    cluster.cidrs("new", &["192.0.2.0/29"]).await;
    delete("old").await;
    // split,
    cluster.cidrs("upper", &["192.0.2.4/30"]).await;
    cluster.cidrs("new", &["192.0.2.0/30"]).await;
    cluster.rest().await;
    let account = async || {
        let records = cluster.records().list(&Default::default()).await.unwrap();
        let pools = records.iter().map(|record| {
            let pool = record.spec.pool_ref.as_ref();
            pool.map(|pool| pool.name.clone()).unwrap_or_default()
        });
        pools.collect::<Vec<_>>()
    };
    assert_eq!(
        account().await,
        ["new", "new", "new", "new", "upper", "upper"]
    );
    // and merged again.
    cluster.cidrs("new", &["192.0.2.0/29"]).await;
    delete("upper").await;
    cluster.rest().await;
    assert_eq!(account().await, ["new"; 6]);
    assert_eq!(cluster.book().await, book);
    for n in 0..6 {
        let (name, address) = (format!("s{n}"), format!("192.0.2.{n}"));
        cluster.has("blue", &name, &[&address]).await;
    }
    cluster.stop().await;
}

#[tokio::test]
async fn a_pool_names_the_nodes_whose_addresses_it_never_gives() {
    let mut cluster = cluster!(a_pool_names_the_nodes_whose_addresses_it_never_gives);
    cluster.cidrs("default", &["192.0.2.0/30"]).await;
    let node: Node = serde_json::from_value(json!({"metadata": {"name": "node-1"}})).unwrap();
    let nodes = Api::<Node>::all(cluster.client.clone());
    nodes.create(&PostParams::default(), &node).await.unwrap();
    let addresses = json!([{"type": "InternalIP", "address": "192.0.2.0"}]);
    let status = Patch::Merge(json!({"status": {"addresses": addresses}}));
    let params = PatchParams::default();
    nodes
        .patch_status("node-1", &params, &status)
        .await
        .unwrap();
    cluster.controller().await;
    cluster.service("blue", "web", &[], json!({})).await;
    cluster.has("blue", "web", &["192.0.2.1"]).await;
    let message = accepted(&cluster, "default", "NodeAddressesExcluded").await;
    assert_eq!(
        message,
        "never hands out the addresses of nodes: 192.0.2.0 (node node-1)"
    );
    cluster.stop().await;
}

#[tokio::test]
async fn a_deleted_pool_says_how_many_addresses_it_still_waits_for() {
    let mut cluster = cluster!(a_deleted_pool_says_how_many_addresses_it_still_waits_for);
    cluster.cidrs("old", &["192.0.2.0/30"]).await;
    cluster.controller().await;
    cluster.service("blue", "web", &[], json!({})).await;
    cluster.has("blue", "web", &["192.0.2.0"]).await;
    cluster.rest().await;
    let delete = DeleteParams::default();
    cluster.pools().delete("old", &delete).await.unwrap();
    let message = accepted(&cluster, "old", "Draining").await;
    assert!(
        message.starts_with("is being deleted; 1 address"),
        "{message}"
    );
    cluster
        .services("blue")
        .delete("web", &delete)
        .await
        .unwrap();
    gone(&cluster, "old").await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_deleted_pool_drains_and_its_holders_move_only_when_they_ask() {
    let mut cluster = cluster!(a_deleted_pool_drains_and_its_holders_move_only_when_they_ask);
    cluster.cidrs("old", &["192.0.2.0/30"]).await;
    cluster.controller().await;
    cluster.service("blue", "web", &[], json!({})).await;
    cluster.has("blue", "web", &["192.0.2.0"]).await;
    eventually("the pool has its finalizer", async || {
        let pool = cluster.pools().get("old").await.unwrap();
        pool.metadata
            .finalizers
            .filter(|f| !f.is_empty())
            .map(drop)
            .ok_or_else(String::new)
    })
    .await;
    cluster.cidrs("new", &["198.51.100.0/30"]).await;
    cluster
        .pools()
        .delete("old", &DeleteParams::default())
        .await
        .unwrap();
    eventually("the record is marked", async || {
        let record = cluster.records().get("192-0-2-0").await.unwrap();
        let conditions = record.status.unwrap_or_default().conditions;
        match find(&conditions, OUT_OF_POOL) {
            Some(marked) if marked.status == "True" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    cluster.has("blue", "web", &["192.0.2.0"]).await;
    assert!(cluster.pools().get("old").await.is_ok());
    cluster
        .service(
            "blue",
            "web",
            &[("landfall.dev/renumber", "true")],
            json!({}),
        )
        .await;
    cluster.has("blue", "web", &["198.51.100.0"]).await;
    gone(&cluster, "old").await;
    cluster.stop().await;
}

#[tokio::test]
async fn disabled_and_overlapping_pools_keep_their_addresses_over_a_restart() {
    let mut cluster = cluster!(disabled_and_overlapping_pools_keep_their_addresses_over_a_restart);
    cluster.cidrs("one", &["192.0.2.0/30"]).await;
    cluster.cidrs("two", &["192.0.2.2/31"]).await;
    cluster.controller().await;
    for (n, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
        cluster.service("blue", name, &[], json!({})).await;
        cluster.has("blue", name, &[&format!("192.0.2.{n}")]).await;
    }
    says(&cluster, "two", "Overlap", |overlap| {
        overlap.status == "True"
    })
    .await;
    let book = cluster.book().await;
    let blocks = json!([{"cidr": "192.0.2.0/30"}]);
    cluster
        .pool("one", json!({"blocks": blocks, "disabled": true}))
        .await;
    cluster.kill().await;
    cluster.controller().await;
    cluster.service("blue", "late", &[], json!({})).await;
    cluster.refused("blue", "late", "PoolExhausted").await;
    assert_eq!(cluster.book().await, book);
    cluster.stop().await;
}

#[tokio::test]
async fn a_pool_that_cannot_be_used_says_which_field_and_stops_nothing() {
    let mut cluster = cluster!(a_pool_that_cannot_be_used_says_which_field_and_stops_nothing);
    let backwards = json!([{"start": "192.0.2.9", "stop": "192.0.2.1"}]);
    cluster.pool("bad", json!({"blocks": backwards})).await;
    cluster.cidrs("good", &["192.0.2.16/30"]).await;
    cluster.controller().await;
    cluster.service("blue", "web", &[], json!({})).await;
    cluster.has("blue", "web", &["192.0.2.16"]).await;
    let message = says(&cluster, "bad", "Accepted", |accepted| {
        accepted.status == "False"
    })
    .await;
    assert_eq!(
        message,
        "spec.blocks[0].stop: 192.0.2.1 lies before start 192.0.2.9; swap the two"
    );
    cluster.stop().await;
}

#[tokio::test]
async fn a_pool_that_cannot_be_decoded_gets_an_event_and_stops_nothing() {
    let mut cluster = cluster!(a_pool_that_cannot_be_decoded_gets_an_event_and_stops_nothing);
    cluster.cidrs("good", &["192.0.2.0/30"]).await;
    // A definition of another version lets through what this one cannot read.
    let odd = json!({"blocks": [{"cidr": "198.51.100.0/30"}], "priority": "high"});
    cluster
        .while_priority_is_a_word(eventually("the other definition is in force", async || {
            let result = cluster.try_pool("odd", odd.clone()).await;
            result.map_err(|error| error.to_string())
        }))
        .await;
    cluster.controller().await;
    cluster.service("blue", "web", &[], json!({})).await;
    cluster.has("blue", "web", &["192.0.2.0"]).await;
    let events = kube::Api::<k8s_openapi::api::events::v1::Event>::namespaced(
        cluster.client.clone(),
        "default",
    );
    eventually("an Event on the pool", async || {
        let all = events.list(&ListParams::default()).await.unwrap();
        let about = |event: &&k8s_openapi::api::events::v1::Event| {
            event.reason.as_deref() == Some("Undecodable")
                && event.regarding.as_ref().and_then(|on| on.name.as_deref()) == Some("odd")
        };
        all.iter()
            .find(about)
            .map(drop)
            .ok_or_else(|| "none".to_owned())
    })
    .await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_pool_deleted_right_after_its_first_address_drains() {
    let mut cluster = cluster!(a_pool_deleted_right_after_its_first_address_drains);
    cluster.controller().await;
    let names = [("landfall.dev/pool", "q")];
    cluster.service("blue", "web", &names, json!({})).await;
    cluster.cidrs("q", &["192.0.2.0/30"]).await;
    cluster.has("blue", "web", &["192.0.2.0"]).await;
    let params = DeleteParams::default();
    cluster.pools().delete("q", &params).await.unwrap();
    accepted(&cluster, "q", "Draining").await;
    let services = cluster.services("blue");
    services.delete("web", &params).await.unwrap();
    gone(&cluster, "q").await;
    cluster.stop().await;
}
