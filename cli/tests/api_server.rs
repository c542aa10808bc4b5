//! The program against a real kube-apiserver, from nothing to installed and back to nothing; and what a developer sees
//! whose role ends at a namespace.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Namespace, Pod, Service, ServiceAccount};
use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Client};
use landfall_controller::run::{End, run_with};
use landfall_controller::settings::Settings;
use landfall_controller::state::State;
use landfall_crds::LoadBalancerIPPool;
use landfall_testbed::control_plane::identity::User;
use landfall_testbed::control_plane::{ControlPlane, Options};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(30);

/// A cluster without nodes, and whoever asks in it.
struct Cluster {
    plane: ControlPlane,
    client: Client,
}

impl Cluster {
    async fn start(test: &str) -> Option<Self> {
        let mut options = Options::for_test(test)?.with_controllers()?;
        for user in ["dev", "reader"] {
            options.users.push(User::new(user, user, &[]));
        }
        let plane = ControlPlane::start(options).await.unwrap();
        let client = plane.client().await.unwrap();
        Some(Self { plane, client })
    }

    /// What the program says to the administrator.
    fn run(&self, args: &[&str]) -> Said {
        self.run_as("admin", args)
    }

    fn run_as(&self, user: &str, args: &[&str]) -> Said {
        let kubeconfig = self.plane.kubeconfig(user);
        Said::of(&kubeconfig, args)
    }

    async fn apply(&self, namespace: Option<&str>, object: Value) {
        let text = |field: &str| object[field].as_str().unwrap().to_owned();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
        let kind = kube::core::GroupVersionKind::gvk(group, version, &kind);
        let resource = ApiResource::from_gvk(&kind);
        let api: Api<DynamicObject> = match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        };
        let name = object["metadata"]["name"].as_str().unwrap();
        api.patch(name, &PatchParams::apply("test"), &Patch::Apply(&object))
            .await
            .unwrap();
    }

    /// The namespace blue with a Service, and a developer who may read Services and Events there and nothing else.
    async fn blue(&self) {
        self.apply(
            None,
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "blue"}}),
        )
        .await;
        let rules = json!([
            {"apiGroups": [""], "resources": ["services"], "verbs": ["get", "list"]},
            {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["get", "list"]},
        ]);
        let rbac = "rbac.authorization.k8s.io/v1";
        let role = json!({"apiVersion": rbac, "kind": "Role", "metadata": {"name": "dev"}, "rules": rules});
        let binding = json!({"apiVersion": rbac, "kind": "RoleBinding", "metadata": {"name": "dev"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "dev"},
            "subjects": [{"kind": "User", "name": "dev", "apiGroup": "rbac.authorization.k8s.io"}]});
        self.apply(Some("blue"), role).await;
        self.apply(Some("blue"), binding).await;
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
            "spec": {"type": "LoadBalancer", "selector": {"app": "web"}, "ports": [{"port": 80}]}});
        self.apply(Some("blue"), service).await;
    }

    /// Waits for the account that Pods of a namespace need.
    async fn account(&self, namespace: &str) {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        let end = Instant::now() + PATIENCE;
        while accounts.get_opt("default").await.unwrap().is_none() {
            assert!(Instant::now() < end, "no account");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn web(&self) -> Service {
        let api: Api<Service> = Api::namespaced(self.client.clone(), "blue");
        api.get("web").await.unwrap()
    }

    /// The controller itself, in this process, until it is cancelled.
    fn controller(&self) -> (CancellationToken, JoinHandle<anyhow::Result<End>>) {
        let settings = Settings {
            default_class: true,
            gateway_namespaces: [].into(),
            lease: None,
            identity: "test".to_owned(),
            contest_pause: Duration::from_secs(1),
            parallel: 8,
            orphan_grace: Duration::from_secs(60),
        };
        let token = CancellationToken::new();
        let run = run_with(
            self.client.clone(),
            settings,
            None,
            token.clone(),
            Arc::new(State::default()),
        );
        (token, tokio::spawn(run))
    }

    /// The controller runs until the Service has what it wants.
    async fn controller_has_served(&self) {
        let (token, running) = self.controller();
        let end = Instant::now() + PATIENCE;
        while addresses(&self.web().await).is_empty() {
            assert!(Instant::now() < end, "the Service was not served");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let pools: Api<LoadBalancerIPPool> = Api::all(self.client.clone());
        let held = |pool: &LoadBalancerIPPool| {
            let counts = pool.status.as_ref().and_then(|status| status.ipv4.as_ref());
            pool.metadata.finalizers.is_some()
                && counts.is_some_and(|counts| counts.assigned == "1")
        };
        while !held(&pools.get("public").await.unwrap()) {
            assert!(Instant::now() < end, "the pool was not held and counted");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        token.cancel();
        running.await.unwrap().unwrap();
    }
}

/// What the program said, and how it ended.
#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    fn of(kubeconfig: &Path, args: &[&str]) -> Self {
        let output: Output = Command::new(env!("CARGO_BIN_EXE_landfall"))
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(args)
            .output()
            .unwrap();
        Self {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn has(&self, code: i32, parts: &[&str]) -> &Self {
        assert_eq!(self.code, code, "{self:#?}");
        for part in parts {
            assert!(self.out.contains(part), "no {part:?} in {self:#?}");
        }
        self
    }
}

fn addresses(service: &Service) -> Vec<String> {
    let status = service.status.clone().unwrap_or_default();
    let ingress = status.load_balancer.and_then(|balancer| balancer.ingress);
    ingress
        .into_iter()
        .flatten()
        .filter_map(|point| point.ip)
        .collect()
}

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
            "created (dry run)",
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

/// How the program ends that says everything to nobody.
fn deaf(kubeconfig: &Path, args: &[&str]) -> Option<i32> {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
    command.arg("--kubeconfig").arg(kubeconfig).args(args);
    command.stdout(writer.try_clone().unwrap()).stderr(writer);
    command.status().unwrap().code()
}

#[test]
fn whoever_stops_reading_stops_no_command() {
    let nowhere = Path::new("/nonexistent/kubeconfig");
    assert_eq!(deaf(nowhere, &["completion", "bash"]), Some(0));
    assert_eq!(deaf(nowhere, &["status"]), Some(2));
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
