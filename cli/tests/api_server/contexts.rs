//! Which cluster is asked, and of which namespaces: a kubeconfig of two contexts.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Service;
use kube::Api;
use serde_json::{Value, json};

use crate::cluster::{Cluster, PATIENCE, Said, addresses};
use crate::pool;

/// The administrator's kubeconfig with a second context, which is the current one and of a cluster that is not there. The
/// first is called `near`, and names the namespace blue.
fn of_two_contexts(cluster: &Cluster, folder: &Path) -> PathBuf {
    let text = std::fs::read_to_string(cluster.plane.kubeconfig("admin")).unwrap();
    let mut config: Value = serde_saphyr::from_str(&text).unwrap();
    let current = config["current-context"].clone();
    let contexts = config["contexts"].as_array_mut().unwrap();
    let near = contexts.iter_mut().find(|one| one["name"] == current);
    let near = near.unwrap();
    near["name"] = "near".into();
    near["context"]["namespace"] = "blue".into();
    let user = near["context"]["user"].clone();
    contexts.push(json!({"name": "far", "context": {"cluster": "far", "user": user}}));
    config["current-context"] = "far".into();
    let far = json!({"name": "far", "cluster": {"server": "http://127.0.0.1:1"}});
    config["clusters"].as_array_mut().unwrap().push(far);
    let path = folder.join("kubeconfig");
    std::fs::write(&path, config.to_string()).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn a_context_names_the_cluster_and_the_namespace_and_a_flag_names_all() {
    let Some(cluster) = Cluster::start("contexts").await else {
        return;
    };
    cluster.blue().await;
    let green = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "green"}});
    cluster.apply(None, green).await;
    let other = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "other"},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}});
    cluster.apply(Some("green"), other).await;
    cluster.run(&["install", "--no-wait"]).has(0, &["Applied"]);
    cluster.apply(None, pool()).await;
    let (token, running) = cluster.controller();
    let others: Api<Service> = Api::namespaced(cluster.client.clone(), "green");
    let end = Instant::now() + PATIENCE;
    while addresses(&cluster.web().await).is_empty()
        || addresses(&others.get("other").await.unwrap()).is_empty()
    {
        assert!(Instant::now() < end, "the Services were not served");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    token.cancel();
    running.await.unwrap().unwrap();

    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = of_two_contexts(&cluster, folder.path());
    let said = |args: &[&str]| Said::of(&kubeconfig, args);
    // The current one is of a cluster that nobody reaches.
    let away = said(&["ips", "-A", "--request-timeout=2s"]);
    assert!(away.code == 2 && away.out.is_empty(), "{away:#?}");
    let unknown = said(&["--context=nowhere", "ips"]);
    assert!(
        unknown.code == 2 && unknown.err.contains("nowhere"),
        "{unknown:#?}"
    );
    let mut shown = Vec::new();
    for args in [
        &["ips"][..],
        &["ips", "-n", "green"],
        &["ips", "-A"],
        &["ips", "--context=near", "--all-namespaces"],
    ] {
        let typed: Vec<&str> = [&["--context=near"], args].concat();
        let typed = if args.contains(&"--context=near") {
            args
        } else {
            &typed
        };
        let said = said(typed);
        let has = |service: &str| said.out.contains(service);
        shown.push((has("blue/web"), has("green/other")));
    }
    let both = (true, true);
    assert_eq!(shown, [(true, false), (false, true), both, both]);
    let explained = said(&["--context=near", "explain", "service", "web"]);
    assert!(explained.out.contains("Service blue/web"), "{explained:#?}");
}
