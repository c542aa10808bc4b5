//! Announcers that hear each other, on a real segment and against a real API server: how soon a dead one is replaced,
//! and that one that is merely slow is not.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::cluster::{Cluster, with_cluster};

pub(crate) const V4: &str = "192.0.2.100";
const NODES: [&str; 3] = ["n1", "n2", "n3"];

/// Sessions here last three seconds: what is sooner was noticed on the segment.
const SOONER: Duration = Duration::from_millis(1_500);

/// Three announcers that hear each other, and a Service; its owner.
pub(crate) async fn announced(cluster: &mut Cluster) -> String {
    let keys = cluster.keys(&[("0001", [1; 32])]);
    for node in NODES {
        cluster.announce_with(node, &["--peer-keys", &keys]);
    }
    cluster.policy("all", json!({})).await;
    cluster.serve("web", &[V4]).await;
    let owner = cluster.owner(V4, &NODES).await;
    cluster.answered_by(V4, &owner).await;
    for node in NODES {
        hears(cluster, node, 2).await;
    }
    owner
}

/// Waits until the node hears so many others both ways.
async fn hears(cluster: &Cluster, node: &str, others: usize) {
    let says = format!("landfall_peers_heard {others}.0\n");
    cluster
        .await_some(&format!("{node} to hear {others} others"), async || {
            let metrics = cluster
                .exec(node, "curl -s http://127.0.0.1:7780/metrics")
                .await;
            metrics.contains(&says).then_some(())
        })
        .await;
}

pub(crate) fn without(gone: &str) -> Vec<&'static str> {
    NODES.into_iter().filter(|node| *node != gone).collect()
}

#[test]
fn the_addresses_of_a_crashed_announcer_are_taken_over_long_before_its_session_ends() {
    with_cluster("heartbeats", &NODES, async |mut cluster| {
        let first = announced(&mut cluster).await;
        cluster.crash(&first);
        let crashed = Instant::now();
        let second = cluster.owner(V4, &without(&first)).await;
        let took = crashed.elapsed();
        cluster.answered_by(V4, &second).await;
        eprintln!("another owner {took:?} after the crash");
        assert!(took < SOONER, "{took:?}");

        // The Lease says who ended the session.
        let leases = Api::<Lease>::namespaced(cluster.client.clone(), "landfall-system");
        let lease = leases.get(&format!("announcer-{first}")).await.unwrap();
        assert_eq!(lease.spec.unwrap().holder_identity, None);
        let notes = lease.metadata.annotations.unwrap();
        assert!(without(&first).contains(&notes["landfall.dev/fenced-by"].as_str()));
    });
}

#[test]
fn a_stopped_announcer_is_replaced_and_answers_nothing_when_it_goes_on() {
    with_cluster("thaw", &NODES, async |mut cluster| {
        let first = announced(&mut cluster).await;
        cluster.signal(&first, Signal::SIGSTOP);
        let second = cluster.owner(V4, &without(&first)).await;
        cluster.answered_by(V4, &second).await;
        cluster.signal(&first, Signal::SIGCONT);
        // It begins another session and is heard again.
        hears(&cluster, &first, 2).await;
        cluster.answered_by(V4, &second).await;
    });
}

/// Empties a node's Lease in the name of another, as somebody with that one's token can.
async fn end_session(leases: &Api<Lease>, node: &str, by: &str) {
    let patch = Patch::Merge(json!({
        "metadata": {"annotations": {"landfall.dev/fenced-by": by}},
        "spec": {"holderIdentity": null},
    }));
    let name = format!("announcer-{node}");
    leases
        .patch(&name, &PatchParams::default(), &patch)
        .await
        .unwrap();
}

/// Waits until the session was renewed; which it is, and what its node says.
async fn renewed(cluster: &Cluster, leases: &Api<Lease>, node: &str) -> (String, String) {
    let (name, renewal) = (format!("announcer-{node}"), format!("renewal-{node}"));
    let last = async || leases.get(&renewal).await.unwrap().resource_version();
    let before = last().await;
    let renewed = async || {
        let is_new = last().await != before;
        let lease = leases.get(&name).await.unwrap();
        let holder = lease.spec.as_ref().unwrap().holder_identity.clone()?;
        let said = lease.annotations()["landfall.dev/announcer"].clone();
        is_new.then_some((holder, said))
    };
    cluster.await_some("a renewal", renewed).await
}

#[test]
fn who_ends_a_session_that_peers_hear_is_named_and_does_not_end_it_again() {
    with_cluster("wronged", &NODES, async |mut cluster| {
        let owner = announced(&mut cluster).await;
        let thief = without(&owner)[0];
        let leases = Api::<Lease>::namespaced(cluster.client.clone(), "landfall-system");
        // It was heard for longer than a session's renewal.
        for _ in 0..3 {
            renewed(&cluster, &leases, &owner).await;
        }
        let (first, _) = renewed(&cluster, &leases, &owner).await;
        end_session(&leases, &owner, thief).await;
        let says = format!(r#""wrongedBy":"{thief}""#);
        let second = cluster
            .await_some("the wrong to be told", async || {
                let (session, said) = renewed(&cluster, &leases, &owner).await;
                said.contains(&says).then_some(session)
            })
            .await;
        assert_ne!(second, first, "it began anew");
        assert!(
            cluster
                .logged(&owner)
                .contains(&format!("node {thief} ended the session"))
        );

        for _ in 0..3 {
            end_session(&leases, &owner, thief).await;
            let (session, _) = renewed(&cluster, &leases, &owner).await;
            assert_eq!(session, second, "it goes on");
        }
        // Another may: it may know better.
        end_session(&leases, &owner, without(&owner)[1]).await;
        let (third, _) = renewed(&cluster, &leases, &owner).await;
        assert_ne!(third, second);
    });
}
