//! The program against a real kube-apiserver, from nothing to installed and back to nothing; and what a developer sees
//! whose role ends at a namespace.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;
mod contexts;
mod monitoring;
mod moving_over;
mod secrets;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cluster::{Cluster, Said, addresses, deaf};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

fn broken(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/broken")
        .join(name)
}

fn pool() -> Value {
    json!({"apiVersion": "landfall.dev/v1alpha1", "kind": "LoadBalancerIPPool", "metadata": {"name": "public"},
        "spec": {"blocks": [{"cidr": "192.0.2.0/29"}]}})
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_installed_is_seen_explained_checked_and_taken_away_without_a_trace() {
    let Some(cluster) = Cluster::start("installing and removing").await else {
        return;
    };
    cluster.blue().await;

    // Tried: nothing is there afterwards.
    cluster.run(&["install", "--dry-run=server"]).has(
        0,
        &[
            "landfall-controller",
            "created (server dry run)",
            "37 objects: 28 created, 9 not tried (server dry run)",
            "What was not tried is of namespace landfall-system, which is not there yet.",
            "Nothing was changed",
        ],
    );
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    assert!(
        namespaces
            .get_opt("landfall-system")
            .await
            .unwrap()
            .is_none()
    );
    cluster.run(&["upgrade"]).has(2, &[]);
    cluster
        .run(&["status"])
        .has(1, &["`landfall install` makes it"]);

    // A pipe gets no colours, unless somebody wants them.
    for (color, is_painted) in [("auto", false), ("never", false), ("always", true)] {
        let said = cluster.run(&["status", "--color", color]);
        assert_eq!(
            said.out.contains("\u{1b}[31m✗\u{1b}[0m"),
            is_painted,
            "{said:#?}"
        );
        assert_eq!(
            said.out.contains('\u{1b}'),
            is_painted,
            "{color}: {said:#?}"
        );
    }
    let json = cluster.run(&["status", "-o", "json", "--color=always"]);
    assert!(!json.out.contains('\u{1b}'), "for programs: {json:#?}");

    // Done, and done again: the second time there is nothing to do, and what was chosen stays.
    let chosen = [
        "install",
        "--no-wait",
        "--registry=registry.example.org/lf",
        "--tag=9",
        "--default-class=true",
    ];
    cluster.run(&chosen).has(
        0,
        &["registry.example.org/lf/landfall-controller:9", "created"],
    );
    let again = cluster.run(&["install", "--no-wait", "--tag=9"]);
    again.has(
        0,
        &["registry.example.org/lf/landfall-controller:9", "unchanged"],
    );
    assert!(
        ["created", "configured", "removed"]
            .iter()
            .all(|done| !again.out.contains(done)),
        "{again:#?}"
    );
    // Tried with another tag: the two workloads would change, nothing else, and nothing does.
    let tried = cluster.run(&["upgrade", "--dry-run=server", "--tag=10"]);
    tried.has(
        0,
        &["37 objects: 2 configured, 35 unchanged (server dry run)"],
    );
    for workload in ["Deployment ", "DaemonSet "] {
        let mut lines = tried.out.lines();
        let line = lines.find(|line| line.starts_with(workload)).unwrap();
        assert!(line.ends_with(" configured (server dry run)"), "{line}");
    }
    cluster.run(&["upgrade", "--dry-run=server"]).has(
        0,
        &[
            "landfall-controller:9",
            "37 objects: 37 unchanged (server dry run)",
        ],
    );
    // What its documentation has applied beside it is neither taken away by an upgrade nor somebody else's.
    beside(&cluster);
    let upgraded = cluster.run(&["upgrade", "--no-wait", "--tag=9"]);
    upgraded.has(0, &["unchanged"]);
    assert!(
        ["landfall-gateway-controller", "landfall-scraper", "removed"]
            .iter()
            .all(|word| !upgraded.out.contains(word)),
        "{upgraded:#?}"
    );
    // No node, nothing to try; and a namespace of somebody's is not the test's.
    let refused = cluster.run(&["connectivity", "test", "--test-namespace=blue"]);
    assert!(
        refused.code == 2 && refused.err.contains("is not this test's"),
        "{refused:#?}"
    );
    cluster.run(&["connectivity", "test", "--timeout=2s"]).has(
        1,
        &[
            "installed       FAILED",
            "SKIPPED",
            "stands on installed",
            "0 passed, 1 failed",
        ],
    );
    assert!(namespaces.get_opt("landfall-test").await.unwrap().is_none());
    // What people gave to a workload stays, a tag stays with its version, and nothing goes back unasked.
    let sets: Api<DaemonSet> = Api::namespaced(cluster.client.clone(), "landfall-system");
    let mut args = sets
        .get("landfall-announcer")
        .await
        .unwrap()
        .spec
        .unwrap()
        .template
        .spec
        .unwrap()
        .containers[0]
        .args
        .clone()
        .unwrap();
    args.extend(["--xdp-mode".to_owned(), "off".to_owned()]);
    let patch =
        json!([{"op": "replace", "path": "/spec/template/spec/containers/0/args", "value": args}]);
    let patch: Patch<()> = Patch::Json(serde_json::from_value(patch).unwrap());
    sets.patch("landfall-announcer", &PatchParams::default(), &patch)
        .await
        .unwrap();
    cluster
        .run(&[
            "upgrade",
            "--no-wait",
            "--registry=registry.example.org/other",
        ])
        .has(
            0,
            &[
                "registry.example.org/other/landfall-controller:9",
                "landfall-announcer: --xdp-mode=off stays",
            ],
        );
    let set = serde_json::to_string(&sets.get("landfall-announcer").await.unwrap()).unwrap();
    assert!(set.contains("--xdp-mode=off"), "{set}");
    let newer = json!({"metadata": {"annotations": {"landfall.dev/version": "99.0.0"}}});
    sets.patch(
        "landfall-announcer",
        &PatchParams::default(),
        &Patch::Merge(newer),
    )
    .await
    .unwrap();
    let refused = cluster.run(&["upgrade", "--no-wait"]);
    assert!(
        refused.code == 2 && refused.err.contains("version 99.0.0 is installed"),
        "{refused:#?}"
    );
    cluster
        .run(&[
            "upgrade",
            "--no-wait",
            "--allow-downgrade",
            "--registry=registry.example.org/lf",
        ])
        .has(0, &["Applied"]);
    cluster.run(&["upgrade", "--timeout=1s", "--tag=10"]).has(
        1,
        &[
            "registry.example.org/lf/landfall-controller:10",
            "It does not run",
            "landfall-controller: 0 of 2 ready",
        ],
    );
    cluster
        .run(&["status", "--wait", "--timeout=1s"])
        .has(1, &["landfall-controller   0/2"]);

    // Seen and explained.
    cluster.apply(None, pool()).await;
    cluster.controller_has_served().await;
    cluster
        .run(&["pools"])
        .has(0, &["public", "192.0.2.0/29", "IPv4"]);
    cluster
        .run(&["ips", "-A"])
        .has(1, &["192.0.2.0", "blue/web", "Silent"]);
    cluster
        .run(&["ips", "-o", "json"])
        .has(1, &["\"address\": \"192.0.2.0\""]);
    cluster
        .run(&["explain", "service", "web", "-n", "blue"])
        .has(
            1,
            &[
                "keeps 192.0.2.0 of pool public",
                "public: it would give; 7 IPv4 free",
                "there is no policy",
            ],
        );
    cluster
        .run(&["explain", "ip", "::1"])
        .has(1, &["no Service can have it"]);
    cluster
        .run(&["explain", "ip", "192.0.2.0"])
        .has(1, &["is held by blue/web"]);
    cluster.run(&["version"]).has(
        0,
        &["landfall-controller registry.example.org/lf/landfall-controller:10"],
    );

    // Checked.
    let bad = broken("11-overlap.yaml");
    let bad = bad.to_str().unwrap();
    cluster
        .run(&["validate", "--cluster", "-f", bad])
        .has(0, &["share addresses with pool public, two"]);
    let request = broken("10-request.yaml");
    cluster
        .run(&["validate", "-n", "blue", "-f", request.to_str().unwrap()])
        .has(1, &["Service blue/request"]);
    let bad = broken("02-host-bits.yaml");
    cluster
        .run(&["validate", "-f", bad.to_str().unwrap()])
        .has(1, &["spec.blocks[0].cidr: host bits are set"]);

    // Collected for who looks from afar.
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("dump");
    let said = cluster.run(&["sysdump", "--output-dir", folder.to_str().unwrap()]);
    said.has(0, &["files in"]);
    let records = std::fs::read_to_string(folder.join("objects/loadbalancerips.yaml")).unwrap();
    assert!(records.contains("192.0.2.0") && folder.join("status.txt").is_file());

    secrets::stay_out_of(&cluster, &folder).await;

    // Taken away.
    cluster
        .run(&["uninstall"])
        .has(2, &["This goes, in this order"]);
    cluster
        .run(&["uninstall", "--dry-run"])
        .has(0, &["conditions landfall.dev/… of 1 Services", "1 pools"]);
    cluster.run(&["uninstall", "--yes"]).has(
        0,
        &[
            "conditions taken off 1 Services",
            "pools deleted: 1",
            "Landfall is gone from the cluster.",
        ],
    );
    nothing_is_left(&cluster).await;
    assert_eq!(
        addresses(&cluster.web().await),
        ["192.0.2.0"],
        "for who serves it next"
    );
    cluster
        .run(&["uninstall", "--yes"])
        .has(0, &["Landfall is gone"]);
}

#[test]
fn whoever_stops_reading_stops_no_command() {
    let nowhere = Path::new("/nonexistent/kubeconfig");
    assert_eq!(deaf(nowhere, &["completion", "bash"]), Some(0));
    assert_eq!(deaf(nowhere, &["status"]), Some(2));
}

/// Applies what is beside the installation, as `docs/` says.
fn beside(cluster: &Cluster) {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config");
    for (option, path) in [("-k", "gateway-api"), ("-f", "monitoring/scraper.yaml")] {
        let mut command = cluster.plane.kubectl();
        command.args(["apply", option]).arg(config.join(path));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

async fn nothing_is_left(cluster: &Cluster) {
    let conditions = cluster
        .web()
        .await
        .status
        .unwrap()
        .conditions
        .unwrap_or_default();
    assert!(conditions.is_empty(), "{conditions:?}");
    let definitions: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
    assert!(
        definitions
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );
    let output = cluster
        .plane
        .kubectl()
        .args(["get", "-A", "-o", "name", "-l", "app.kubernetes.io/part-of=landfall"])
        .arg(
            "namespaces,serviceaccounts,roles,rolebindings,clusterroles,clusterrolebindings,deployments,daemonsets,pods,\
             poddisruptionbudgets,validatingadmissionpolicies,validatingadmissionpolicybindings",
        )
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "");
    // A label may be lacking; names begin alike.
    let output = cluster
        .plane
        .kubectl()
        .args(["get", "-A", "-o", "name"])
        .arg(
            "namespaces,clusterroles,clusterrolebindings,validatingadmissionpolicies,\
             validatingadmissionpolicybindings,priorityclasses",
        )
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let names = String::from_utf8(output.stdout).unwrap();
    let left: Vec<&str> = names
        .lines()
        .filter(|name| name.contains("landfall"))
        .collect();
    assert_eq!(left, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_developer_whose_role_ends_at_a_namespace_is_told_of_own_services() {
    let Some(cluster) = Cluster::start("a developer's own Services").await else {
        return;
    };
    cluster.blue().await;
    cluster.run(&["install", "--no-wait"]).has(0, &["Applied"]);
    cluster.apply(None, pool()).await;
    cluster.controller_has_served().await;

    let told = cluster.run_as("dev", &["explain", "service", "web", "-n", "blue"]);
    told.has(
        1,
        &[
            "Service blue/web: has 192.0.2.0",
            "pools and records cannot be read: you may not list them",
            "Assigned (for ",
            "IPv4 192.0.2.0 from pool public",
            "Events, the latest last",
        ],
    );
    let ips = cluster.run_as("dev", &["ips", "-n", "blue"]);
    ips.has(0, &["192.0.2.0", "blue/web"]);
    assert!(
        ips.err.contains("LoadBalancerIPs cannot be read"),
        "{ips:#?}"
    );

    // Whether all is well cannot be told by who sees nothing of it.
    cluster
        .run_as("dev", &["status", "-n", "blue"])
        .has(2, &["whether all is well cannot be told"]);

    // What is not theirs stays hidden, and is said so.
    let other = cluster.run_as(
        "dev",
        &["explain", "service", "kubernetes", "-n", "default"],
    );
    assert!(
        other.code == 2 && other.err.contains("you may not list them"),
        "{other:#?}"
    );
    let refused = cluster.run_as("dev", &["uninstall", "--yes"]);
    assert!(
        refused.code == 2 && refused.err.contains("you may not list"),
        "{refused:#?}"
    );

    // Whoever sees all and may take away nothing is told so before anything is gone.
    let rbac = "rbac.authorization.k8s.io/v1";
    let role = json!({"apiVersion": rbac, "kind": "ClusterRole", "metadata": {"name": "see-all"},
        "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list"]}]});
    let binding = json!({"apiVersion": rbac, "kind": "ClusterRoleBinding", "metadata": {"name": "see-all"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "see-all"},
        "subjects": [{"kind": "User", "name": "reader", "apiGroup": "rbac.authorization.k8s.io"}]});
    cluster.apply(None, role).await;
    cluster.apply(None, binding).await;
    let refused = cluster.run_as("reader", &["uninstall", "--yes"]);
    refused.has(2, &["Cluster: https://", "This goes, in this order"]);
    assert!(
        refused.err.contains("nothing was changed")
            && refused
                .err
                .contains("delete deployments.apps landfall-controller in landfall-system"),
        "{refused:#?}"
    );
    assert!(!refused.out.contains("deleted"), "{refused:#?}");

    // What only carries the label is somebody else's.
    let dashboard = json!({"apiVersion": rbac, "kind": "ClusterRole", "rules": [],
        "metadata": {"name": "dashboard", "labels": {"app.kubernetes.io/part-of": "landfall"}}});
    cluster.apply(None, dashboard).await;
    cluster.run(&["uninstall", "--dry-run"]).has(
        0,
        &[
            "ClusterRole dashboard carries the label",
            "- ClusterRole landfall-controller",
        ],
    );
    cluster
        .run(&["upgrade", "--no-wait"])
        .has(0, &["ClusterRole dashboard carries the label"]);

    // A removal of which nobody reads the rest is carried out all the same.
    assert_eq!(
        deaf(&cluster.plane.kubeconfig("admin"), &["uninstall", "--yes"]),
        Some(0)
    );
    let roles: Api<ClusterRole> = Api::all(cluster.client.clone());
    roles
        .delete("dashboard", &DeleteParams::default())
        .await
        .unwrap();
    nothing_is_left(&cluster).await;
}

#[test]
fn what_would_be_applied_is_printed_without_a_cluster() {
    let nowhere = Path::new("/nonexistent/kubeconfig");
    let said = Said::of(
        nowhere,
        &[
            "install",
            "--dry-run=client",
            "--registry=registry.example.org/lf",
            "--default-class=false",
        ],
    );
    said.has(
        0,
        &[
            "registry.example.org/lf/landfall-controller:",
            "--default-class=false",
            "kind: CustomResourceDefinition",
        ],
    );
    let theirs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/theirs/metallb.yaml");
    let said = Said::of(
        nowhere,
        &["migrate", "--from=cilium", "-f", theirs.to_str().unwrap()],
    );
    assert!(
        said.code == 2 && said.err.contains("no object of that balancer"),
        "{said:#?}"
    );
    // Looking at manifests needs none either.
    let bad = broken("05-backwards.yaml");
    Said::of(nowhere, &["validate", "-f", bad.to_str().unwrap()]).has(1, &["swap the two"]);
    assert_eq!(Said::of(nowhere, &["status"]).code, 2);
    Said::of(nowhere, &["version"]).has(2, &["landfall "]);
}

/// A kubeconfig of an API server that takes connections and says nothing.
fn silent(folder: &Path) -> (TcpListener, PathBuf) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": server}}], "users": [{"name": "u", "user": {}}]});
    let path = folder.join("kubeconfig");
    std::fs::write(&path, config.to_string()).unwrap();
    (listener, path)
}

#[test]
fn an_api_server_that_says_nothing_holds_nobody_up() {
    let folder = tempfile::tempdir().unwrap();
    let (_listener, kubeconfig) = silent(folder.path());
    let began = Instant::now();
    for args in [
        &["status", "--request-timeout=1s"][..],
        &["status", "--wait", "--timeout=2s", "--request-timeout=1h"],
        &["uninstall", "--yes", "--request-timeout=1s"],
        &["monitor", "--request-timeout=1s"],
    ] {
        assert_eq!(Said::of(&kubeconfig, args).code, 2, "{args:?}");
    }
    assert!(began.elapsed() < Duration::from_secs(30));
}
