//! etcd restored from an older copy under running announcers, without a word to anybody.

use kube::Api;
use kube::api::DeleteParams;
use landfall_crds::L2AnnouncementPolicy;
use serde_json::json;

use crate::cluster::{Cluster, with_cluster};

const NODES: [&str; 2] = ["n1", "n2"];
const KEPT: &str = "192.0.2.100";
const LATER: &str = "192.0.2.102";
const NEW: &str = "192.0.2.103";

/// Waits until nobody answers for an address.
async fn silent(cluster: &Cluster, address: &str) {
    cluster
        .await_some(&format!("nobody to answer for {address}"), async || {
            cluster.ask(address).await.is_empty().then_some(())
        })
        .await;
}

#[test]
fn announcers_follow_a_restored_etcd_and_an_owner_that_it_still_names_is_never_silent() {
    with_cluster("restore", &NODES, async |mut cluster| {
        for node in NODES {
            cluster.announce_lasting(node);
        }
        cluster.policy("all", json!({})).await;
        cluster.serve("web", &[KEPT]).await;
        let first = cluster.owner(KEPT, &NODES).await;
        cluster.answered_by(KEPT, &first).await;
        let copy = cluster.copy_etcd().await;
        cluster.serve("later", &[LATER]).await;
        let later = cluster.owner(LATER, &NODES).await;
        cluster.answered_by(LATER, &later).await;
        let told = |cluster: &Cluster, node: &str| {
            let log = cluster.logged(node);
            log.matches("a past that was over").count()
        };
        for node in NODES {
            assert_eq!(told(&cluster, node), 0, "the API server was only away");
        }

        let asking = cluster.keep_asking(KEPT);
        cluster.restore_etcd(&copy).await;
        silent(&cluster, LATER).await;
        cluster.serve("new", &[NEW]).await;
        let new = cluster.owner(NEW, &NODES).await;
        cluster.answered_by(NEW, &new).await;
        let (asked, answered) = asking.end();
        assert!(asked > 3 && answered + 1 >= asked, "{answered} of {asked}");
        cluster.answered_by(KEPT, &first).await;
        for node in NODES {
            assert_eq!(told(&cluster, node), 1, "{node} says it once");
        }
        // What is edited from now on is heard of.
        let policies = Api::<L2AnnouncementPolicy>::all(cluster.client.clone());
        let params = DeleteParams::default();
        policies.delete("all", &params).await.unwrap();
        silent(&cluster, KEPT).await;
    });
}

#[test]
fn announcers_that_began_after_the_copy_wait_for_nobody_that_it_names() {
    with_cluster("restore-older", &NODES, async |mut cluster| {
        for node in NODES {
            cluster.announce_lasting(node);
        }
        cluster.policy("all", json!({})).await;
        cluster.serve("web", &[KEPT]).await;
        let first = cluster.owner(KEPT, &NODES).await;
        cluster.answered_by(KEPT, &first).await;
        let copy = cluster.copy_etcd().await;
        for node in NODES {
            cluster.stop(node).await;
            cluster.announce_lasting(node);
        }
        let now = cluster.owner(KEPT, &NODES).await;
        cluster.answered_by(KEPT, &now).await;

        cluster.restore_etcd(&copy).await;
        cluster.serve("new", &[NEW]).await;
        for address in [KEPT, NEW] {
            let owner = cluster.owner(address, &NODES).await;
            cluster.answered_by(address, &owner).await;
        }
        for node in NODES {
            let log = cluster.logged(node);
            assert!(!log.contains("by the name of this node"), "{node}: {log}");
        }
    });
}
