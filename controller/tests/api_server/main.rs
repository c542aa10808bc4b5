//! The controller against a real kube-apiserver and etcd, under its own RBAC rights.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../support/mod.rs"]
mod support;

/// A clean cluster; or the end of the test, said loudly, where there is no API server to be had.
macro_rules! cluster {
    ($test:ident) => {
        match Cluster::start(stringify!($test)).await {
            Some(cluster) => cluster,
            None => return,
        }
    };
}

mod asked;
mod foreign;
mod leaders;
mod limits;
#[path = "../limits/mod.rs"]
#[allow(dead_code, reason = "the page of refusals reads more of it")]
mod limits_of_schemas;
mod pools;
mod program;
mod records;
mod restarts;
mod restore;
mod scrape;

use std::collections::BTreeMap;

use kube::ResourceExt as _;
use kube::api::{DeleteParams, Patch, PatchParams};
use landfall_crds::conditions::find;
use landfall_crds::ip_name;
use serde_json::json;
use support::{Cluster, addresses, eventually};

#[tokio::test]
async fn single_and_dual_stack_services_are_recorded_and_addressed() {
    let mut cluster = cluster!(single_and_dual_stack_services_are_recorded_and_addressed);
    cluster
        .cidrs("default", &["192.0.2.0/29", "2001:db8::/64"])
        .await;
    cluster.controller().await;
    cluster.service("blue", "single", &[], json!({})).await;
    cluster.has("blue", "single", &["192.0.2.0"]).await;
    cluster
        .service(
            "blue",
            "dual",
            &[],
            json!({"ipFamilyPolicy": "RequireDualStack"}),
        )
        .await;
    cluster
        .has("blue", "dual", &["192.0.2.1", "2001:db8::"])
        .await;
    cluster
        .service("blue", "six", &[], json!({"ipFamilies": ["IPv6"]}))
        .await;
    cluster.has("blue", "six", &["2001:db8::1"]).await;

    let service = cluster.services("blue").get("dual").await.unwrap();
    let ingress = service
        .status
        .clone()
        .unwrap()
        .load_balancer
        .unwrap()
        .ingress
        .unwrap();
    assert!(
        ingress
            .iter()
            .all(|point| point.ip_mode.as_deref() == Some("VIP"))
    );
    for address in addresses(&service) {
        let record = cluster.records().get(&ip_name(address)).await.unwrap();
        assert_eq!(record.spec.pool_ref.unwrap().name, "default");
        assert_eq!(record.spec.holders[0].uid, service.uid().unwrap());
    }
    let note = cluster.event("blue", "dual", "Assigned").await;
    assert_eq!(
        note,
        "IPv4 192.0.2.1 from pool default; IPv6 2001:db8:: from pool default"
    );
    let pool = eventually("the pool counts its addresses", async || {
        let pool = cluster.pools().get("default").await.unwrap();
        let status = pool.status.clone().unwrap_or_default();
        let counts = status.ipv4.clone().unwrap_or_default();
        if counts.assigned == "2" && status.ipv6.is_some_and(|six| six.assigned == "2") {
            Ok(pool)
        } else {
            Err(format!("{:?}", pool.status))
        }
    })
    .await;
    let status = pool.status.unwrap();
    assert_eq!(status.ipv4.unwrap().available, "6");
    assert_eq!(status.ipv6.unwrap().total, "18446744073709551616");
    assert!(find(&status.conditions, "Accepted").unwrap().status == "True");
    cluster.stop().await;
}

#[tokio::test]
async fn a_pending_service_says_why_and_is_addressed_when_a_pool_appears() {
    let mut cluster = cluster!(a_pending_service_says_why_and_is_addressed_when_a_pool_appears);
    cluster.controller().await;
    cluster.service("blue", "web", &[], json!({})).await;
    let message = cluster.refused("blue", "web", "NoMatchingPool").await;
    assert_eq!(
        message,
        "IPv4: there is no pool; create a LoadBalancerIPPool"
    );
    cluster.cidrs("default", &["192.0.2.0/30"]).await;
    cluster.has("blue", "web", &["192.0.2.0"]).await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_request_outside_every_pool_is_refused_in_condition_and_event() {
    let mut cluster = cluster!(a_request_outside_every_pool_is_refused_in_condition_and_event);
    cluster.cidrs("default", &["192.0.2.0/30"]).await;
    cluster.controller().await;
    cluster
        .service(
            "blue",
            "far",
            &[("landfall.dev/ips", "203.0.113.9")],
            json!({}),
        )
        .await;
    let message = cluster.refused("blue", "far", "NotInAnyPool").await;
    assert_eq!(
        message,
        "IPv4: 203.0.113.9 lies in no pool; ask for an address of pool default"
    );
    assert_eq!(cluster.event("blue", "far", "NotInAnyPool").await, message);
    cluster
        .service(
            "blue",
            "odd",
            &[("metallb.io/loadBalancerIPs", "anything")],
            json!({}),
        )
        .await;
    let message = cluster.refused("blue", "odd", "InvalidRequest").await;
    assert!(message.starts_with("metallb.io/loadBalancerIPs: \"anything\" is not an IP address"));
    assert!(cluster.book().await.is_empty());
    cluster.stop().await;
}

#[tokio::test]
async fn a_foreign_class_is_never_touched() {
    let mut cluster = cluster!(a_foreign_class_is_never_touched);
    cluster.cidrs("default", &["192.0.2.0/30"]).await;
    let foreign = json!({"loadBalancerClass": "example.com/other"});
    cluster.service("blue", "foreign", &[], foreign).await;
    cluster
        .controller_with(|settings| settings.default_class = false)
        .await;
    cluster.service("blue", "none", &[], json!({})).await;
    cluster
        .service(
            "blue",
            "ours",
            &[],
            json!({"loadBalancerClass": "landfall.dev/l2"}),
        )
        .await;
    cluster.has("blue", "ours", &["192.0.2.0"]).await;
    for name in ["foreign", "none"] {
        let service = cluster.services("blue").get(name).await.unwrap();
        assert_eq!(service.status.unwrap_or_default().conditions, None);
        assert!(cluster.addresses("blue", name).await.is_empty());
    }
    cluster.stop().await;
}

#[tokio::test]
async fn losing_every_status_restores_the_same_addresses() {
    let mut cluster = cluster!(losing_every_status_restores_the_same_addresses);
    cluster.cidrs("default", &["192.0.2.0/28"]).await;
    cluster.controller().await;
    let names: Vec<String> = (0..8).map(|n| format!("s{n}")).collect();
    for name in &names {
        cluster.service("green", name, &[], json!({})).await;
    }
    let mut before = BTreeMap::new();
    for name in &names {
        before.insert(name, addressed(&cluster, "green", name).await);
    }
    cluster.stop().await;
    cluster
        .services("green")
        .delete("s0", &DeleteParams::default())
        .await
        .unwrap();
    for name in &names[1..] {
        let empty = json!({"status": {"loadBalancer": null, "conditions": null}});
        let params = PatchParams::default();
        cluster
            .services("green")
            .patch_status(name, &params, &Patch::Merge(empty))
            .await
            .unwrap();
    }
    cluster.controller().await;
    for name in &names[1..] {
        assert_eq!(addressed(&cluster, "green", name).await, before[name]);
    }
    // The one that was deleted while nobody looked is released after its grace time.
    eventually("the orphan is released", async || {
        let book = cluster.book().await;
        if book.contains_key(&before[&names[0]][0]) {
            Err(format!("{book:?}"))
        } else {
            Ok(())
        }
    })
    .await;
    cluster.stop().await;
}

/// Waits until the Service has an address.
async fn addressed(cluster: &Cluster, namespace: &str, name: &str) -> Vec<std::net::IpAddr> {
    eventually(&format!("{name} is addressed"), async || {
        match cluster.addresses(namespace, name).await {
            none if none.is_empty() => Err("it is not".to_owned()),
            some => Ok(some),
        }
    })
    .await
}

#[tokio::test]
async fn a_service_that_stops_being_ours_gives_its_address_to_the_next() {
    let mut cluster = cluster!(a_service_that_stops_being_ours_gives_its_address_to_the_next);
    cluster
        .pool("one", json!({"blocks": [{"start": "192.0.2.77"}]}))
        .await;
    cluster.controller().await;
    cluster.service("blue", "first", &[], json!({})).await;
    cluster.has("blue", "first", &["192.0.2.77"]).await;
    cluster.service("blue", "second", &[], json!({})).await;
    cluster.refused("blue", "second", "PoolExhausted").await;
    let other = json!({"spec": {"type": "ClusterIP", "allocateLoadBalancerNodePorts": null}});
    cluster
        .services("blue")
        .patch("first", &PatchParams::default(), &Patch::Merge(other))
        .await
        .unwrap();
    cluster.has("blue", "second", &["192.0.2.77"]).await;
    cluster.has("blue", "first", &[]).await;
    let first = cluster.services("blue").get("first").await.unwrap();
    assert_eq!(first.status.unwrap().conditions, None);
    cluster.stop().await;
}

#[tokio::test]
async fn addresses_of_another_controller_are_adopted_before_anything_is_allocated() {
    let mut cluster =
        cluster!(addresses_of_another_controller_are_adopted_before_anything_is_allocated);
    cluster.cidrs("default", &["192.0.2.0/29"]).await;
    cluster.service("blue", "newcomer", &[], json!({})).await;
    for (name, address) in [
        ("one", "192.0.2.0"),
        ("two", "192.0.2.1"),
        ("outside", "198.51.100.7"),
    ] {
        cluster.service("blue", name, &[], json!({})).await;
        let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": address}]}}});
        cluster
            .services("blue")
            .patch_status(name, &PatchParams::default(), &Patch::Merge(status))
            .await
            .unwrap();
    }
    cluster.controller().await;
    cluster.has("blue", "newcomer", &["192.0.2.2"]).await;
    for (name, address) in [
        ("one", "192.0.2.0"),
        ("two", "192.0.2.1"),
        // What no pool has is not ours, and there is something to put in its place.
        ("outside", "192.0.2.3"),
    ] {
        cluster.event("blue", name, "Assigned").await;
        cluster.has("blue", name, &[address]).await;
    }
    assert_eq!(cluster.book().await.len(), 4);
    cluster.stop().await;
}

#[tokio::test]
async fn services_of_one_sharing_key_share_an_address_and_part_when_they_clash() {
    let mut cluster =
        cluster!(services_of_one_sharing_key_share_an_address_and_part_when_they_clash);
    cluster.cidrs("default", &["192.0.2.0/29"]).await;
    cluster.controller().await;
    let key = [("landfall.dev/sharing-key", "dns")];
    cluster
        .service(
            "blue",
            "tcp",
            &key,
            json!({"ports": [{"port": 53, "protocol": "TCP"}]}),
        )
        .await;
    cluster.has("blue", "tcp", &["192.0.2.0"]).await;
    cluster
        .service(
            "blue",
            "udp",
            &key,
            json!({"ports": [{"port": 53, "protocol": "UDP"}]}),
        )
        .await;
    cluster.has("blue", "udp", &["192.0.2.0"]).await;
    let record = cluster.records().get("192-0-2-0").await.unwrap();
    assert_eq!(record.spec.sharing_key.as_deref(), Some("dns"));
    assert_eq!(record.spec.holders.len(), 2);
    cluster.kill().await;
    cluster.controller().await;
    cluster
        .service(
            "blue",
            "udp",
            &[],
            json!({"ports": [{"port": 53, "protocol": "UDP"}]}),
        )
        .await;
    cluster.has("blue", "udp", &["192.0.2.1"]).await;
    cluster.has("blue", "tcp", &["192.0.2.0"]).await;
    cluster.stop().await;
}

#[tokio::test]
async fn external_addresses_are_recorded_with_their_holder_and_refused_to_the_next() {
    let mut cluster =
        cluster!(external_addresses_are_recorded_with_their_holder_and_refused_to_the_next);
    cluster.cidrs("default", &["192.0.2.0/29"]).await;
    cluster.controller().await;
    let external = json!({"externalIPs": ["192.0.2.5"]});
    cluster.service("blue", "edge", &[], external.clone()).await;
    cluster.has("blue", "edge", &["192.0.2.5"]).await;
    cluster.service("blue", "late", &[], external).await;
    let message = cluster.refused("blue", "late", "AddressInUse").await;
    assert!(message.contains("held by Service blue/edge"), "{message}");
    cluster.cidrs("default", &["198.51.100.0/29"]).await;
    cluster.service("blue", "web", &[], json!({})).await;
    cluster.has("blue", "web", &["198.51.100.0"]).await;
    cluster.has("blue", "edge", &["192.0.2.5"]).await;
    cluster.stop().await;
}
