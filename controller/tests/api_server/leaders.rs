//! Many replicas: one leads, another takes over; and two that both believe to lead do no harm.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Service;
use kube::api::{DeleteParams, ListParams};
use kube::runtime::wait::await_condition;
use kube::{Api, ResourceExt as _};
use serde_json::json;

use crate::program::{Program, leases};
use crate::support::{Cluster, addresses, eventually};

const LEASE: &str = "landfall-controller";

/// How a leader ends.
enum End {
    Terminated,
    Killed,
}

/// Who holds the Lease.
fn holder(lease: Option<&Lease>) -> Option<String> {
    lease?.spec.as_ref()?.holder_identity.clone()
}

/// The moment at which the Lease is seen to have another holder than this one.
async fn taken_over(leases: Api<Lease>, from: String) -> Instant {
    let other = |lease: Option<&Lease>| holder(lease).is_some_and(|now| now != from);
    await_condition(leases, LEASE, other).await.unwrap();
    Instant::now()
}

/// The moment at which the Service is seen to have an address.
async fn addressed(services: Api<Service>, name: &str) -> Instant {
    let has = |service: Option<&Service>| service.is_some_and(|s| !addresses(s).is_empty());
    await_condition(services, name, has).await.unwrap();
    Instant::now()
}

/// Two replicas; the one that holds the Lease ends. The other must give an address to a Service
/// that was made meanwhile, within a second of holding the Lease.
async fn fail_over(cluster: &Cluster, end: End) {
    let _ = leases(cluster)
        .delete(LEASE, &DeleteParams::default())
        .await;
    cluster.cidrs("default", &["192.0.2.0/29"]).await;
    let flags = ["--lease-duration", "3s"];
    let mut replicas: Vec<(&str, Program)> = ["one", "two"]
        .map(|name| (name, Program::start(cluster, name, &flags)))
        .into();
    for (_, program) in &replicas {
        program.ready().await;
    }
    cluster.service("blue", "first", &[], json!({})).await;
    cluster.has("blue", "first", &["192.0.2.0"]).await;
    let lease = leases(cluster).get(LEASE).await.unwrap();
    let leader = holder(Some(&lease)).unwrap();
    let at = replicas
        .iter()
        .position(|(name, _)| leader.starts_with(&format!("{name}_")))
        .unwrap();
    let change = tokio::spawn(taken_over(leases(cluster), leader));
    let (_, mut leading) = replicas.remove(at);
    match end {
        End::Terminated => leading.terminate().await,
        End::Killed => leading.kill().await,
    }
    let services = cluster.services("blue");
    let address = tokio::spawn(addressed(services, "second"));
    cluster.service("blue", "second", &[], json!({})).await;
    let both = async { (change.await.unwrap(), address.await.unwrap()) };
    let (change, address) = tokio::time::timeout(Duration::from_secs(20), both)
        .await
        .unwrap();
    let took = address.saturating_duration_since(change);
    assert!(took < Duration::from_secs(1), "{took:?} after taking over");
    cluster.has("blue", "first", &["192.0.2.0"]).await;
    cluster.has("blue", "second", &["192.0.2.1"]).await;
}

#[tokio::test]
async fn a_follower_allocates_within_a_second_of_the_lease_that_its_leader_released() {
    let cluster =
        cluster!(a_follower_allocates_within_a_second_of_the_lease_that_its_leader_released);
    fail_over(&cluster, End::Terminated).await;
}

#[tokio::test]
async fn a_follower_allocates_within_a_second_of_the_lease_that_a_dead_leader_let_expire() {
    let cluster =
        cluster!(a_follower_allocates_within_a_second_of_the_lease_that_a_dead_leader_let_expire);
    fail_over(&cluster, End::Killed).await;
}

#[tokio::test]
async fn two_controllers_at_once_never_make_two_holders() {
    let mut cluster = cluster!(two_controllers_at_once_never_make_two_holders);
    cluster.cidrs("default", &["192.0.2.0/26"]).await;
    cluster.controller().await;
    cluster.controller().await;
    cluster.controller().await;
    let names: Vec<String> = (0..48).map(|n| format!("s{n:02}")).collect();
    futures::future::join_all(
        names
            .iter()
            .map(|name| cluster.service("blue", name, &[], json!({}))),
    )
    .await;
    let mut seen = BTreeSet::new();
    for name in &names {
        addressed(cluster.services("blue"), name).await;
        for address in cluster.addresses("blue", name).await {
            assert!(seen.insert(address), "{address} has two holders");
        }
    }
    eventually("records and status agree", async || {
        let mut claimed = BTreeMap::new();
        for service in cluster
            .services("blue")
            .list(&ListParams::default())
            .await
            .unwrap()
        {
            for address in addresses(&service) {
                claimed.insert(address, vec![format!("blue/{}", service.name_any())]);
            }
        }
        let book = cluster.book().await;
        // One address each: what two leaders made for the same Service is released again.
        if book == claimed && book.len() == names.len() {
            Ok(())
        } else {
            Err(format!("{book:?} {claimed:?}"))
        }
    })
    .await;
    cluster.stop().await;
}

#[tokio::test]
async fn leaders_forced_at_once_never_make_two_holders_nor_give_a_family_twice() {
    let mut cluster =
        cluster!(leaders_forced_at_once_never_make_two_holders_nor_give_a_family_twice);
    let blocks = ["192.0.2.0/26", "2001:db8::/122"];
    cluster.cidrs("default", &blocks).await;
    for _ in 0..3 {
        cluster.controller().await;
    }
    let names: Vec<String> = (0..48).map(|n| format!("s{n:02}")).collect();
    let dual = json!({"ipFamilyPolicy": "PreferDualStack"});
    let made = names
        .iter()
        .map(|name| cluster.service("blue", name, &[], dual.clone()));
    futures::future::join_all(made).await;
    let services = cluster.services("blue");
    let all = names.iter().map(|name| addressed(services.clone(), name));
    futures::future::join_all(all).await;
    cluster.rest().await;
    let mut claimed = BTreeMap::new();
    for service in services.list(&ListParams::default()).await.unwrap() {
        let name = format!("blue/{}", service.name_any());
        let held = addresses(&service);
        let families: BTreeSet<bool> = held.iter().map(|address| address.is_ipv4()).collect();
        assert_eq!((held.len(), families.len()), (2, 2), "{name}: {held:?}");
        for address in held {
            let other = claimed.insert(address, vec![name.clone()]);
            assert_eq!(other, None, "{address} has two holders");
        }
    }
    assert_eq!(cluster.book().await, claimed, "records and status agree");
    cluster.stop().await;
}
