//! Somebody else writes the status of a Service.

use std::time::{Duration, Instant};

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::{Cluster, eventually};

/// Another balancer writes an ingress, by the plain way.
async fn writes(cluster: &Cluster, name: &str, ingress: Value) {
    let status = Patch::Merge(json!({"status": {"loadBalancer": {"ingress": [ingress]}}}));
    let params = PatchParams {
        field_manager: Some("other-balancer".to_owned()),
        ..PatchParams::default()
    };
    let services = cluster.services("blue");
    services.patch_status(name, &params, &status).await.unwrap();
}

#[tokio::test]
async fn an_ingress_of_somebody_else_stays_while_there_is_nothing_to_put_in_its_place() {
    let mut cluster =
        cluster!(an_ingress_of_somebody_else_stays_while_there_is_nothing_to_put_in_its_place);
    let selective = json!({"blocks": [{"cidr": "192.0.2.0/24"}],
        "serviceSelector": {"matchLabels": {"lb": "landfall"}}});
    cluster.pool("p", selective).await;
    cluster.controller().await;
    cluster.service("blue", "web", &[], json!({})).await;
    cluster.refused("blue", "web", "NoMatchingPool").await;
    for ingress in [
        json!({"ip": "203.0.113.9"}),
        json!({"ip": "192.0.2.9"}),
        json!({"hostname": "lb-1.example"}),
    ] {
        writes(&cluster, "web", ingress.clone()).await;
        let shown = ingress.as_object().unwrap().values().next().unwrap();
        let shown = shown.as_str().unwrap();
        eventually(&format!("the condition names {shown}"), async || {
            let message = cluster.refused("blue", "web", "NoMatchingPool").await;
            let named = message.contains(shown) && message.contains("left alone");
            if named { Ok(()) } else { Err(message) }
        })
        .await;
        cluster.rest().await;
        let service = cluster.services("blue").get("web").await.unwrap();
        let balancer = service.status.unwrap().load_balancer.unwrap();
        let points = json!(balancer.ingress.unwrap());
        assert_eq!(points[0]["ip"], ingress["ip"]);
        assert_eq!(points[0]["hostname"], ingress["hostname"]);
        assert!(cluster.book().await.is_empty());
    }
    cluster.stop().await;
}

#[tokio::test]
async fn a_writer_who_keeps_undoing_ours_is_named_in_one_event_and_met_with_growing_pauses() {
    let mut cluster =
        cluster!(a_writer_who_keeps_undoing_ours_is_named_in_one_event_and_met_with_growing_pauses);
    cluster.cidrs("p", &["192.0.2.0/30"]).await;
    cluster.controller().await;
    cluster.service("blue", "web", &[], json!({})).await;
    cluster.has("blue", "web", &["192.0.2.0"]).await;
    let mut last = Duration::ZERO;
    for _ in 0..3 {
        let undone = Instant::now();
        writes(&cluster, "web", json!({"ip": "198.51.100.8"})).await;
        cluster.has("blue", "web", &["192.0.2.0"]).await;
        last = undone.elapsed();
    }
    assert!(last > Duration::from_secs(1), "{last:?}");
    let note = cluster.event("blue", "web", "StatusContested").await;
    assert!(note.contains("field manager \"other-balancer\""), "{note}");
    assert_eq!(
        cluster.events_about("blue", "web").await,
        2,
        "one transition, and one word about the other"
    );
    cluster.stop().await;
}
