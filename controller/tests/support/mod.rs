//! One API server for all tests of the binary, a clean slate for each, and the controller in it
//! under the rights it has in a cluster.

mod definition;
mod rest;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Namespace, Node, Service};
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Client, Resource, ResourceExt as _};
use landfall_controller::run::{End, run_with};
use landfall_controller::settings::Settings;
use landfall_controller::state::State;
use landfall_crds::conditions::{ADDRESS_ASSIGNED, find};
use landfall_crds::{LoadBalancerIP, LoadBalancerIPPool};
use landfall_testbed::control_plane::identity::User;
use landfall_testbed::control_plane::{ControlPlane, EtcdCopy, Options, client};
use serde_json::{Value, json};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(60);

/// The API server, shared by the tests that run while it lives.
struct Server {
    plane: Mutex<ControlPlane>,
    /// The kubeconfig of the controller's ServiceAccount.
    controller: PathBuf,
    turn: Arc<Mutex<()>>,
}

static SERVER: std::sync::Mutex<Weak<Server>> = std::sync::Mutex::new(Weak::new());

fn server(test: &str) -> Option<Arc<Server>> {
    let mut held = SERVER
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(server) = held.upgrade() {
        return Some(server);
    }
    let mut options = Options::for_test(test)?;
    let account = "system:serviceaccount:landfall-system:landfall-controller";
    options.users.push(User::new(
        "controller",
        account,
        &["system:serviceaccounts"],
    ));
    let started = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let plane = ControlPlane::start(options).await.unwrap();
            let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/default");
            let output = plane
                .kubectl()
                .arg("apply")
                .arg("-k")
                .arg(tree)
                .output()
                .unwrap();
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            plane
        })
    });
    let plane = started.join().unwrap();
    let server = Arc::new(Server {
        controller: plane.kubeconfig("controller"),
        plane: Mutex::new(plane),
        turn: Arc::default(),
    });
    *held = Arc::downgrade(&server);
    Some(server)
}

/// A controller in this process.
struct Controller {
    token: CancellationToken,
    task: JoinHandle<anyhow::Result<End>>,
    state: Arc<State>,
}

/// A clean cluster for one test.
pub(crate) struct Cluster {
    pub(crate) client: Client,
    controllers: Vec<Controller>,
    server: Arc<Server>,
    _turn: OwnedMutexGuard<()>,
}

impl Cluster {
    /// `None`, said loudly, where there is no API server to be had.
    pub(crate) async fn start(test: &str) -> Option<Self> {
        if let Some(level) = std::env::var_os("LANDFALL_TEST_LOG") {
            let args = landfall_runtime::args::LogArgs {
                log_level: level.to_string_lossy().into_owned(),
                log_format: landfall_runtime::args::LogFormat::Text,
            };
            // What it returns writes the log, to the end of the process.
            std::mem::forget(landfall_runtime::telemetry::init(&args, "test", "0"));
        }
        let name = test.to_owned();
        let server = tokio::task::spawn_blocking(move || server(&name))
            .await
            .unwrap()?;
        let turn = Arc::clone(&server.turn).lock_owned().await;
        let client = server.plane.lock().await.client().await.unwrap();
        let cluster = Self {
            client,
            controllers: Vec::new(),
            server,
            _turn: turn,
        };
        cluster.clean().await;
        Some(cluster)
    }

    async fn clean(&self) {
        for name in ["blue", "green"] {
            let namespace = json!({"metadata": {"name": name, "labels": {"colour": name}}});
            let namespace: Namespace = serde_json::from_value(namespace).unwrap();
            let api = Api::<Namespace>::all(self.client.clone());
            let _ = api.create(&PostParams::default(), &namespace).await;
        }
        let services = Api::<Service>::all(self.client.clone());
        for service in services.list(&ListParams::default()).await.unwrap() {
            let (namespace, name) = (service.namespace().unwrap(), service.name_any());
            if name != "kubernetes" {
                let api = Api::<Service>::namespaced(self.client.clone(), &namespace);
                api.delete(&name, &DeleteParams::default()).await.unwrap();
            }
        }
        self.clear::<LoadBalancerIP>().await;
        self.clear::<LoadBalancerIPPool>().await;
        self.clear::<Node>().await;
    }

    async fn clear<K>(&self)
    where
        K: Resource<DynamicType = ()>,
    {
        let kind = ApiResource::erase::<K>(&());
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &kind);
        for object in api.list(&ListParams::default()).await.unwrap() {
            let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
            api.patch(&object.name_any(), &PatchParams::default(), &free)
                .await
                .unwrap();
            let _ = api
                .delete(&object.name_any(), &DeleteParams::default())
                .await;
        }
    }

    /// A controller under the rights of its ServiceAccount, without a leader Lease.
    pub(crate) async fn controller(&mut self) {
        self.controller_with(|_| {}).await;
    }

    /// The same with other settings.
    pub(crate) async fn controller_with(&mut self, change: impl FnOnce(&mut Settings)) {
        let client = client(&self.kubeconfig()).await.unwrap();
        self.controller_through(client, change);
    }

    /// The same through a client of the caller's own.
    pub(crate) fn controller_through(
        &mut self,
        client: Client,
        change: impl FnOnce(&mut Settings),
    ) {
        let mut settings = Settings {
            default_class: true,
            gateway_namespaces: ["envoy-gateway-system".to_owned()].into(),
            lease: None,
            identity: "test".to_owned(),
            contest_pause: Duration::from_secs(1),
            parallel: 8,
            orphan_grace: Duration::from_millis(200),
        };
        change(&mut settings);
        let token = CancellationToken::new();
        let state = Arc::new(State::default());
        let run = run_with(client, settings, None, token.clone(), Arc::clone(&state));
        self.controllers.push(Controller {
            token,
            task: tokio::spawn(run),
            state,
        });
    }

    /// The kubeconfig of the controller's ServiceAccount.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.server.controller.clone()
    }

    /// What `kubectl` prints.
    pub(crate) async fn kubectl(&self, args: &[&str]) -> String {
        let output = {
            let plane = self.server.plane.lock().await;
            plane.kubectl().args(args).output().unwrap()
        };
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A copy of etcd as it is now; the API server is away for a moment.
    pub(crate) async fn copy_etcd(&self) -> EtcdCopy {
        self.server.plane.lock().await.copy().await.unwrap()
    }

    /// Puts the copy back under everybody, without a word to anybody.
    pub(crate) async fn restore_etcd(&self, copy: &EtcdCopy) {
        let mut plane = self.server.plane.lock().await;
        plane.restore(copy).await.unwrap();
    }

    /// Stops all controllers the way SIGTERM does.
    pub(crate) async fn stop(&mut self) {
        for controller in self.controllers.drain(..) {
            controller.token.cancel();
            assert_eq!(controller.task.await.unwrap().unwrap(), End::Stopped);
        }
    }

    /// Ends all controllers the way SIGKILL does.
    pub(crate) async fn kill(&mut self) {
        while !self.controllers.is_empty() {
            self.kill_one(0).await;
        }
    }

    /// Ends one controller the way SIGKILL does; there is at least one.
    pub(crate) async fn kill_one(&mut self, at: usize) {
        let at = at % self.controllers.len();
        let Controller { token, task, .. } = self.controllers.remove(at);
        task.abort();
        let _ = task.await;
        // Its watches are tasks of their own.
        token.cancel();
    }

    pub(crate) fn services(&self, namespace: &str) -> Api<Service> {
        Api::namespaced(self.client.clone(), namespace)
    }

    pub(crate) fn records(&self) -> Api<LoadBalancerIP> {
        Api::all(self.client.clone())
    }

    pub(crate) fn pools(&self) -> Api<LoadBalancerIPPool> {
        Api::all(self.client.clone())
    }

    pub(crate) async fn pool(&self, name: &str, spec: Value) {
        self.try_pool(name, spec).await.unwrap();
    }

    /// A pool, good or bad: the answer is not decoded.
    pub(crate) async fn try_pool(&self, name: &str, spec: Value) -> kube::Result<()> {
        self.apply_pool(name, spec, &PatchParams::apply("test").force())
            .await
    }

    pub(super) async fn apply_pool(
        &self,
        name: &str,
        spec: Value,
        params: &PatchParams,
    ) -> kube::Result<()> {
        let pool = json!({
            "apiVersion": "landfall.dev/v1alpha1", "kind": "LoadBalancerIPPool",
            "metadata": {"name": name}, "spec": spec,
        });
        let kind = ApiResource::erase::<LoadBalancerIPPool>(&());
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &kind);
        api.patch(name, params, &Patch::Apply(pool)).await.map(drop)
    }

    /// A pool of CIDR blocks.
    pub(crate) async fn cidrs(&self, name: &str, cidrs: &[&str]) {
        let blocks: Vec<Value> = cidrs.iter().map(|cidr| json!({"cidr": cidr})).collect();
        self.pool(name, json!({"blocks": blocks})).await;
    }

    /// A Service of type LoadBalancer; `spec` is laid over the usual one.
    pub(crate) async fn service(
        &self,
        namespace: &str,
        name: &str,
        annotations: &[(&str, &str)],
        spec: Value,
    ) {
        let annotations: BTreeMap<_, _> = annotations.iter().copied().collect();
        let mut object = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": namespace, "annotations": annotations},
            "spec": {
                "type": "LoadBalancer", "selector": {"app": name},
                "allocateLoadBalancerNodePorts": false,
                "ports": [{"port": 80, "protocol": "TCP"}],
            },
        });
        for (field, value) in spec.as_object().unwrap() {
            object["spec"][field] = value.clone();
        }
        let params = PatchParams::apply("test").force();
        self.services(namespace)
            .patch(name, &params, &Patch::Apply(object))
            .await
            .unwrap();
    }

    /// The addresses a Service's status names.
    pub(crate) async fn addresses(&self, namespace: &str, name: &str) -> Vec<IpAddr> {
        addresses(&self.services(namespace).get(name).await.unwrap())
    }

    /// Waits until the Service has these addresses.
    pub(crate) async fn has(&self, namespace: &str, name: &str, want: &[&str]) {
        let want: Vec<IpAddr> = want.iter().map(|text| text.parse().unwrap()).collect();
        eventually(&format!("{namespace}/{name} has {want:?}"), async || {
            let service = self.services(namespace).get(name).await.unwrap();
            if addresses(&service) == want {
                Ok(())
            } else {
                Err(format!("{:?}", service.status))
            }
        })
        .await;
    }

    /// Waits until the Service is refused for this reason; returns the message.
    pub(crate) async fn refused(&self, namespace: &str, name: &str, reason: &str) -> String {
        eventually(
            &format!("{namespace}/{name} is refused: {reason}"),
            async || {
                let service = self.services(namespace).get(name).await.unwrap();
                let conditions = service
                    .status
                    .and_then(|status| status.conditions)
                    .unwrap_or_default();
                match find(&conditions, ADDRESS_ASSIGNED) {
                    Some(condition)
                        if condition.status == "False" && condition.reason == reason =>
                    {
                        Ok(condition.message.clone())
                    }
                    other => Err(format!("{other:?}")),
                }
            },
        )
        .await
    }

    /// Waits for an Event about the Service; returns its note.
    pub(crate) async fn event(&self, namespace: &str, name: &str, reason: &str) -> String {
        let uid = self.services(namespace).get(name).await.unwrap().uid();
        self.event_about(uid.unwrap(), namespace, reason).await
    }

    /// Waits for an Event about the object of this uid; returns its note.
    pub(crate) async fn event_about(&self, uid: String, namespace: &str, reason: &str) -> String {
        let events = Api::<Event>::namespaced(self.client.clone(), namespace);
        eventually(
            &format!("an Event {reason} about {uid} of {namespace}"),
            async || {
                let all = events.list(&ListParams::default()).await.unwrap();
                let mut about = all.items.into_iter().filter(|event| {
                    event
                        .regarding
                        .as_ref()
                        .is_some_and(|about| about.uid.as_ref() == Some(&uid))
                        && event.reason.as_deref() == Some(reason)
                });
                about
                    .next()
                    .and_then(|event| event.note)
                    .ok_or_else(|| "none".to_owned())
            },
        )
        .await
    }

    /// How many Events there are about a Service.
    pub(crate) async fn events_about(&self, namespace: &str, name: &str) -> usize {
        let uid = self.services(namespace).get(name).await.unwrap().uid();
        let events = Api::<Event>::namespaced(self.client.clone(), namespace);
        let all = events.list(&ListParams::default()).await.unwrap();
        let about = all
            .items
            .iter()
            .filter_map(|event| event.regarding.as_ref());
        about.filter(|about| about.uid == uid).count()
    }

    /// How many Events there are.
    pub(crate) async fn events(&self) -> usize {
        let events = Api::<Event>::all(self.client.clone());
        events
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .len()
    }

    /// Every record's address with the names of its holders.
    pub(crate) async fn book(&self) -> BTreeMap<IpAddr, Vec<String>> {
        let records = self.records().list(&ListParams::default()).await.unwrap();
        records
            .iter()
            .map(|record| (record.spec.address.parse().unwrap(), holders(record)))
            .collect()
    }

    /// The resourceVersions of everything the controller writes.
    pub(crate) async fn versions(&self) -> BTreeMap<String, String> {
        let mut versions = BTreeMap::new();
        let all = ListParams::default();
        for service in Api::<Service>::all(self.client.clone())
            .list(&all)
            .await
            .unwrap()
        {
            versions.insert(
                format!("service {}", service.name_any()),
                service.resource_version().unwrap(),
            );
        }
        for record in self.records().list(&all).await.unwrap() {
            versions.insert(
                format!("record {}", record.name_any()),
                record.resource_version().unwrap(),
            );
        }
        for pool in self.pools().list(&all).await.unwrap() {
            versions.insert(
                format!("pool {}", pool.name_any()),
                pool.resource_version().unwrap(),
            );
        }
        versions
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for controller in &self.controllers {
            controller.task.abort();
            controller.token.cancel();
        }
    }
}

/// The names of a record's holders.
pub(crate) fn holders(record: &LoadBalancerIP) -> Vec<String> {
    let holders = record.spec.holders.iter();
    holders
        .map(|holder| format!("{}/{}", holder.namespace, holder.name))
        .collect()
}

pub(crate) fn addresses(service: &Service) -> Vec<IpAddr> {
    let ingress = service
        .status
        .clone()
        .and_then(|status| status.load_balancer?.ingress);
    ingress
        .into_iter()
        .flatten()
        .filter_map(|point| point.ip?.parse().ok())
        .collect()
}

/// Awaits a condition, and says what stood against it when it does not come.
pub(crate) async fn eventually<T, F>(what: &str, check: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, String>>,
{
    eventually_within(PATIENCE, what, check).await
}

/// The same with another patience.
pub(crate) async fn eventually_within<T, F>(
    patience: Duration,
    what: &str,
    mut check: impl FnMut() -> F,
) -> T
where
    F: Future<Output = Result<T, String>>,
{
    let until = Instant::now() + patience;
    loop {
        match check().await {
            Ok(value) => return value,
            Err(state) if Instant::now() > until => {
                panic!("not within {patience:?}: {what}; {state}")
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}
