//! A cluster without nodes, and the program asked in it.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Service, ServiceAccount};
use kube::api::{Patch, PatchParams};
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

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster without nodes, and whoever asks in it.
pub(crate) struct Cluster {
    pub(crate) plane: ControlPlane,
    pub(crate) client: Client,
}

impl Cluster {
    pub(crate) async fn start(test: &str) -> Option<Self> {
        let mut options = Options::for_test(test)?.with_controllers()?;
        for user in ["dev", "reader"] {
            options.users.push(User::new(user, user, &[]));
        }
        let plane = ControlPlane::start(options).await.unwrap();
        let client = plane.client().await.unwrap();
        Some(Self { plane, client })
    }

    /// What the program says to the administrator.
    pub(crate) fn run(&self, args: &[&str]) -> Said {
        self.run_as("admin", args)
    }

    pub(crate) fn run_as(&self, user: &str, args: &[&str]) -> Said {
        let kubeconfig = self.plane.kubeconfig(user);
        Said::of(&kubeconfig, args)
    }

    pub(crate) async fn apply(&self, namespace: Option<&str>, object: Value) {
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
    pub(crate) async fn blue(&self) {
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
    pub(crate) async fn account(&self, namespace: &str) {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        let end = Instant::now() + PATIENCE;
        while accounts.get_opt("default").await.unwrap().is_none() {
            assert!(Instant::now() < end, "no account");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn web(&self) -> Service {
        let api: Api<Service> = Api::namespaced(self.client.clone(), "blue");
        api.get("web").await.unwrap()
    }

    /// The controller itself, in this process, until it is cancelled.
    pub(crate) fn controller(&self) -> (CancellationToken, JoinHandle<anyhow::Result<End>>) {
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
    pub(crate) async fn controller_has_served(&self) {
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
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    pub(crate) fn of(kubeconfig: &Path, args: &[&str]) -> Self {
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

    pub(crate) fn has(&self, code: i32, parts: &[&str]) -> &Self {
        assert_eq!(self.code, code, "{self:#?}");
        for part in parts {
            assert!(self.out.contains(part), "no {part:?} in {self:#?}");
        }
        self
    }
}

pub(crate) fn addresses(service: &Service) -> Vec<String> {
    let status = service.status.clone().unwrap_or_default();
    let ingress = status.load_balancer.and_then(|balancer| balancer.ingress);
    ingress
        .into_iter()
        .flatten()
        .filter_map(|point| point.ip)
        .collect()
}

/// How the program ends that says everything to nobody.
pub(crate) fn deaf(kubeconfig: &Path, args: &[&str]) -> Option<i32> {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
    command.arg("--kubeconfig").arg(kubeconfig).args(args);
    command.stdout(writer.try_clone().unwrap()).stderr(writer);
    command.status().unwrap().code()
}
