//! From another balancer, in the order of the documents.

use std::path::Path;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::cluster::{Cluster, PATIENCE, addresses};

/// A definition that takes whatever its objects say, as far as this program reads another balancer's.
fn definition(group: &str, version: &str, kind: &str, plural: &str) -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {"group": group, "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase()},
            "versions": [{"name": version, "served": true, "storage": true, "schema": {"openAPIV3Schema":
                {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}})
}

#[tokio::test(flavor = "multi_thread")]
async fn moving_over_from_another_balancer_takes_every_address_in_use_over_and_changes_none() {
    let Some(cluster) = Cluster::start("moving over").await else {
        return;
    };
    cluster.blue().await;
    for (kind, plural) in [
        ("IPAddressPool", "ipaddresspools"),
        ("L2Advertisement", "l2advertisements"),
    ] {
        cluster
            .apply(None, definition("metallb.io", "v1beta1", kind, plural))
            .await;
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/theirs/metallb.yaml");
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "metallb-system"}});
    cluster.apply(None, namespace).await;
    let end = Instant::now() + PATIENCE;
    loop {
        let output = cluster
            .plane
            .kubectl()
            .args(["apply", "-f"])
            .arg(&file)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        // A definition is served a moment after it is there; one kind of the file has none here.
        if said.contains("first-pool") && said.contains("example") {
            break;
        }
        assert!(Instant::now() < end, "{said}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let services: Api<Service> = Api::namespaced(cluster.client.clone(), "blue");
    let taken = json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.17"}]}}});
    services
        .patch_status("web", &PatchParams::default(), &Patch::Merge(&taken))
        .await
        .unwrap();

    // In the order of docs/how-to/move.md: the pools before Landfall itself.
    cluster.run(&["migrate", "--from=metallb"]).has(
        0,
        &[
            "first-pool",
            "192.0.2.17",
            "blue/web",
            "kept",
            "Nothing was written",
        ],
    );
    let definitions: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
    let ours = definitions
        .get_opt("loadbalancerippools.landfall.dev")
        .await;
    assert!(ours.unwrap().is_none());
    cluster.run(&["migrate", "--from=metallb", "--apply"]).has(
        0,
        &[
            "loadbalancerippools.landfall.dev",
            "LoadBalancerIPPool first-pool created",
            "Landfall is not installed yet",
        ],
    );
    cluster
        .run(&["install", "--no-wait", "--default-class=true"])
        .has(0, &["Applied"]);

    // For programs the answer is the plan alone; what is said besides goes beside it.
    let json = cluster.run(&["migrate", "--from=metallb", "-o", "json"]);
    let plan: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(plan["addresses"][0]["becomes"], "Kept", "{json:#?}");
    assert!(json.err.contains("Nothing was written"), "{json:#?}");

    let (token, running) = cluster.controller();
    let announce = ["migrate", "--from=metallb", "--apply", "--announce"];
    // Whoever still announces is known by its labels and its image, in whatever registry that is.
    let speaker = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "speaker-x"},
        "spec": {"automountServiceAccountToken": false, "containers": [{"name": "speaker", "image": "registry.example.org/bitnami/metallb-speaker:0.14"}]}});
    cluster.account("metallb-system").await;
    cluster.apply(Some("metallb-system"), speaker).await;
    tokio::task::block_in_place(|| cluster.run(&announce)).has(
        1,
        &[
            "LoadBalancerIPPool first-pool unchanged",
            "Pod metallb-system/speaker-x is there",
        ],
    );
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), "metallb-system");
    let at_once = DeleteParams::default().grace_period(0);
    pods.delete("speaker-x", &at_once).await.unwrap();
    tokio::task::block_in_place(|| cluster.run(&announce)).has(
        0,
        &[
            "LoadBalancerIPPool first-pool unchanged",
            "L2AnnouncementPolicy example created",
            "1 addresses in use are recorded; not one changed",
        ],
    );
    assert_eq!(addresses(&cluster.web().await), ["192.0.2.17"]);
    token.cancel();
    running.await.unwrap().unwrap();
}
