//! Announcers against a real API server, asked by a real client: who answers, and who takes over.

mod cluster;
mod heartbeats;
mod nodes;
mod restore;
mod sessions;

use landfall_testbed::skipped;
use std::time::Instant;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::ListParams;
use landfall_crds::L2AnnouncementPolicy;
use landfall_crds::conditions::{ACCEPTED, ANNOUNCED, SERVICE_ANNOUNCED, find};
use serde_json::json;

use cluster::{Cluster, with_cluster};

const V4: &str = "192.0.2.100";
const V6: &str = "2001:db8::100";
const NODES: [&str; 3] = ["n1", "n2", "n3"];

async fn service_condition(
    cluster: &Cluster,
    name: &str,
    status: &str,
) -> k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition {
    let services = Api::<Service>::namespaced(cluster.client.clone(), "shop");
    cluster
        .await_some(
            &format!("Service {name} to be announced: {status}"),
            async || {
                let conditions = services.get(name).await.ok()?.status?.conditions?;
                find(&conditions, SERVICE_ANNOUNCED)
                    .filter(|c| c.status == status)
                    .cloned()
            },
        )
        .await
}

/// Three announcers and a Service with an address of each family: the owner of the first.
async fn announced(cluster: &mut Cluster) -> String {
    for node in NODES {
        cluster.announce(node);
    }
    cluster.policy("all", json!({})).await;
    cluster.serve("web", &[V4, V6]).await;
    let v6 = cluster.owner(V6, &NODES).await;
    cluster.answered_by(V6, &v6).await;
    let first = cluster.owner(V4, &NODES).await;
    cluster.answered_by(V4, &first).await;
    first
}

fn without(gone: &str) -> Vec<&'static str> {
    NODES.into_iter().filter(|node| *node != gone).collect()
}

async fn await_event(cluster: &Cluster, says: &str) {
    let events = Api::<Event>::namespaced(cluster.client.clone(), "shop");
    cluster
        .await_some(&format!("an Event that says {says:?}"), async || {
            let events = events.list(&ListParams::default()).await.ok()?;
            let mut notes = events.items.iter().filter_map(|e| e.note.as_ref());
            notes.any(|note| note.contains(says)).then_some(())
        })
        .await;
}

#[test]
fn another_node_takes_over_when_the_owner_crashes_and_keeps_the_address_when_it_returns() {
    with_cluster("crash", &NODES, async |mut cluster| {
        let first = announced(&mut cluster).await;
        let condition = service_condition(&cluster, "web", "True").await;
        let said = format!("node {first} answers for {V4} on eth0");
        assert!(condition.message.contains(&said), "{}", condition.message);

        cluster.crash(&first);
        let crashed = Instant::now();
        let second = cluster.owner(V4, &without(&first)).await;
        cluster.answered_by(V4, &second).await;
        eprintln!(
            "answered again {:?} after the crash (sessions of 3 s)",
            crashed.elapsed()
        );
        let owner = cluster.record(V4).await.status.unwrap().owner.unwrap();
        assert_eq!(owner.transitions, 2);
        let v6 = cluster.owner(V6, &without(&first)).await;
        cluster.answered_by(V6, &v6).await;
        await_event(&cluster, "whose session ended").await;

        // Whoever comes back takes nothing back.
        cluster.announce(&first);
        cluster
            .await_some("the returned node to be ready", async || {
                let ready = cluster
                    .exec(&first, "curl -s http://127.0.0.1:7780/readyz")
                    .await;
                ready.contains("[+]session ok").then_some(())
            })
            .await;
        cluster.answered_by(V4, &second).await;
    });
}

#[test]
fn an_owner_that_leaves_hands_its_addresses_to_another_node() {
    with_cluster("leave", &NODES, async |mut cluster| {
        let first = announced(&mut cluster).await;
        let leaving = Instant::now();
        cluster.stop(&first).await;
        let second = cluster.owner(V4, &without(&first)).await;
        eprintln!("handed over {:?} after SIGTERM", leaving.elapsed());
        cluster.answered_by(V4, &second).await;
        await_event(&cluster, "handed over by").await;

        // The last one has both.
        cluster.stop(&second).await;
        let mut nodes = without(&first);
        nodes.retain(|node| **node != *second);
        let third = cluster.owner(V4, &nodes).await;
        cluster.owner(V6, &nodes).await;
        for address in [V4, V6] {
            cluster.answered_by(address, &third).await;
        }
        cluster
            .await_some("the metric of two owned addresses", async || {
                let metrics = cluster
                    .exec(&third, "curl -s http://127.0.0.1:7780/metrics")
                    .await;
                metrics.contains("landfall_addresses_owned 2").then_some(())
            })
            .await;
    });
}

#[test]
fn the_last_announcer_to_leave_releases_its_addresses() {
    with_cluster("release", &["n1"], async |mut cluster| {
        cluster.announce("n1");
        cluster.policy("all", json!({})).await;
        cluster.serve("web", &[V4]).await;
        cluster.owner(V4, &["n1"]).await;
        cluster.answered_by(V4, "n1").await;
        cluster.stop("n1").await;
        let status = cluster.record(V4).await.status.unwrap();
        assert!(
            status.owner.is_none() && status.interfaces.is_empty(),
            "{status:?}"
        );
        let condition = find(&status.conditions, ANNOUNCED).unwrap();
        assert!(
            condition.message.contains("stopping"),
            "{}",
            condition.message
        );
        service_condition(&cluster, "web", "False").await;
        assert!(cluster.ask(V4).await.is_empty());
    });
}

#[test]
fn what_cannot_be_announced_says_why_and_bad_policies_name_their_fault() {
    with_cluster("refusal", &["n1"], async |mut cluster| {
        cluster.announce("n1");
        cluster.policy("odd", json!({"interfaces": ["eth["]})).await;
        cluster.serve("web", &[V4]).await;
        let condition = service_condition(&cluster, "web", "False").await;
        assert_eq!(condition.reason, "NoCandidateNode");
        let policies = Api::<L2AnnouncementPolicy>::all(cluster.client.clone());
        let accepted = cluster
            .await_some("the policy to be judged", async || {
                find(
                    &policies.get("odd").await.unwrap().status?.conditions,
                    ACCEPTED,
                )
                .cloned()
            })
            .await;
        assert_eq!(accepted.status, "False");
        assert!(
            accepted.message.contains("interfaces[0] \"eth[\""),
            "{}",
            accepted.message
        );
        cluster
            .policy("good", json!({"interfaces": ["eth0"]}))
            .await;
        cluster.answered_by(V4, "n1").await;
        service_condition(&cluster, "web", "True").await;
    });
}

#[test]
fn an_address_a_foreign_host_uses_is_not_announced_until_it_is_free() {
    with_cluster("conflict", &["n1"], async |mut cluster| {
        cluster.ip("client", &format!("address add {V4}/32 dev eth0"));
        cluster.announce("n1");
        cluster.policy("all", json!({})).await;
        cluster.serve("web", &[V4]).await;
        let condition = service_condition(&cluster, "web", "False").await;
        assert_eq!(condition.reason, "AddressConflict");
        assert!(
            condition.message.contains("02:00:00:00:00:c8"),
            "{}",
            condition.message
        );
        cluster.ip("client", &format!("address del {V4}/32 dev eth0"));
        cluster.owner(V4, &["n1"]).await;
        service_condition(&cluster, "web", "True").await;
    });
}

#[test]
fn a_client_reaches_backends_on_every_node_through_the_director_and_after_its_owner_died() {
    with_cluster("director", &["n1", "n2"], async |mut cluster| {
        if !cluster.mount_bpffs() {
            skipped("director", "a bpffs");
            return;
        }
        cluster.announce("n1");
        cluster.announce("n2");
        cluster.policy("xdp", json!({"loadBalancing": "XDP"})).await;
        cluster.serve("web", &[V4, V6]).await;
        for (node, v4, v6) in [
            ("n1", "10.244.1.5", "fd00:10:244:1::5"),
            ("n2", "10.244.2.5", "fd00:10:244:2::5"),
        ] {
            cluster.backend("web", node, v4).await;
            cluster.backend("web", node, v6).await;
        }
        let first = cluster.owner(V4, &["n1", "n2"]).await;
        for vip in [V4, V6] {
            cluster.owner(vip, &["n1", "n2"]).await;
            let mut seen = std::collections::BTreeSet::new();
            cluster
                .await_some(&format!("both backends of {vip}"), async || {
                    // The answer names the node, and the client's address as the backend sees it.
                    seen.extend(cluster.connect(vip, 80).await);
                    (seen.len() == 2).then_some(())
                })
                .await;
            let client = if vip.contains(':') {
                "2001:db8::200"
            } else {
                "192.0.2.200"
            };
            assert!(
                seen.iter().all(|answer| answer.ends_with(client)),
                "{seen:?}"
            );
        }
        // Traffic flows from the moment the maps are written, and the metric follows.
        cluster
            .await_some("the metric of two frontends", async || {
                let metrics = cluster
                    .exec(&first, "curl -s http://127.0.0.1:7780/metrics")
                    .await;
                metrics
                    .contains("landfall_director_frontends 2")
                    .then_some(())
            })
            .await;
        let second = if first == "n1" { "n2" } else { "n1" };
        cluster.crash(&first);
        cluster.owner(V4, &[second]).await;
        cluster
            .await_some("an answer after the owner's death", async || {
                cluster.connect(V4, 80).await
            })
            .await;
        // What the dead one left attached would follow no change any more.
        let links = cluster.pin_dir(&first).join("links");
        let programs = || {
            let pins = std::fs::read_dir(&links).into_iter().flatten().flatten();
            pins.map(|pin| pin.file_name())
                .any(|name| name.to_string_lossy().starts_with("xdp-"))
        };
        assert!(programs());
        cluster.announce_with(&first, &["--xdp-mode", "off"]);
        cluster
            .await_some("the old programs to be taken off", async || {
                (!programs()).then_some(())
            })
            .await;
    });
}

#[test]
fn an_owner_that_is_cut_off_is_silent_before_another_takes_over() {
    with_cluster("links", &["n1", "n2"], async |mut cluster| {
        cluster.announce("n1");
        cluster.announce("n2");
        cluster.policy("all", json!({})).await;
        cluster.serve("web", &[V4]).await;
        let first = cluster.owner(V4, &["n1", "n2"]).await;
        let second = if first == "n1" { "n2" } else { "n1" };
        // Its only link is its way to the API server too: nobody is told, its session ends. Somebody who is cut off
        // together with it still asks.
        let port = format!("p-{first}");
        cluster.ip("hub", &format!("link set {port} nomaster"));
        cluster.ip("hub", &format!("address add 192.0.2.2/32 dev {port}"));
        let beside = format!("arping -c 1 -w 1 -I {port} -s 192.0.2.2 {V4}");
        let answered = async || {
            let said = cluster.exec("hub", &beside).await.to_lowercase();
            said.contains("reply from")
        };
        cluster
            .await_some("the cut off owner to go on for a while", async || {
                answered().await.then_some(())
            })
            .await;
        cluster.owner(V4, &[second]).await;
        assert!(!answered().await, "two nodes answer");
        cluster.answered_by(V4, second).await;
        cluster.ip("hub", &format!("link set p-{first} master br0"));
        cluster.answered_by(V4, second).await;
    });
}
