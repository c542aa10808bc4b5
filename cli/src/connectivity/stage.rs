//! Makes what the test needs, waits for it, reads it, and takes it away.

use std::fmt::Debug;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::Context as _;
use futures::AsyncBufReadExt as _;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret, Service};
use kube::api::{
    DeleteParams, ListParams, LogParams, Patch, PatchParams, PostParams, Preconditions,
};
use kube::{Api, Client, Resource, ResourceExt as _};
use landfall_crds::{L2AnnouncementPolicy, LoadBalancerIP, ip_name};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout_at};

use super::manifests::{self, LABEL};
use super::observer::Observer;
use crate::args::ConnectivityTest;
use crate::cluster::Cluster;
use crate::out::complain;
use crate::picture::NAMESPACE;

/// Who writes the test's objects.
const MANAGER: &str = "landfall-connectivity-test";
/// How often it is looked.
const AGAIN: Duration = Duration::from_millis(250);
/// How long the end of everything is waited for.
const CLEARING: Duration = Duration::from_secs(90);

/// The cluster, and the test's place in it.
pub(super) struct Stage<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) client: Client,
    pub(super) namespace: String,
    pub(super) timeout: Duration,
    /// The addresses of the test's Service.
    pub(super) vips: std::cell::RefCell<Vec<IpAddr>>,
    /// What a test left goes, though its client still runs.
    clear: bool,
}

impl<'a> Stage<'a> {
    pub(super) fn new(cluster: &'a Cluster, flags: &ConnectivityTest) -> Self {
        Self {
            cluster,
            client: cluster.client.clone(),
            namespace: flags.test_namespace.clone(),
            timeout: flags.timeout,
            vips: std::cell::RefCell::default(),
            clear: flags.clear,
        }
    }

    pub(super) fn own<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Makes sure that the namespace is nobody's, and takes away what an earlier test left.
    ///
    /// # Errors
    /// When it is somebody's.
    pub(super) async fn claim(&self) -> anyhow::Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let found = namespaces.get_opt(&self.namespace).await?;
        if let Some(found) = &found {
            anyhow::ensure!(
                found.labels().contains_key(LABEL),
                "namespace {} is there and is not this test's: --test-namespace names another one",
                self.namespace
            );
        }
        let client = self.own::<Pod>().get_opt(manifests::CLIENT).await?;
        let phase = client.and_then(|pod| pod.status?.phase);
        anyhow::ensure!(
            self.clear || !matches!(phase.as_deref(), Some("Pending" | "Running")),
            "a test of namespace {} runs, or was killed less than a quarter of an hour ago: --test-namespace names another \
             one, --clear takes it away",
            self.namespace
        );
        if found.is_some() || !self.reservations().await?.is_empty() {
            complain!("an earlier test left something, which goes first");
            self.clear().await?;
        }
        Ok(())
    }

    /// What selects this test's objects.
    fn ours(&self) -> ListParams {
        ListParams::default().labels(&format!("{LABEL}={}", self.namespace))
    }

    /// The records that keep an address for the client, and for nobody else.
    async fn reservations(&self) -> anyhow::Result<Vec<LoadBalancerIP>> {
        let records: Api<LoadBalancerIP> = Api::all(self.client.clone());
        match records.list(&self.ours()).await {
            Ok(found) => {
                let mut found = found.items;
                found.retain(|record| record.spec.holders.is_empty());
                Ok(found)
            }
            // Without Landfall there is no such kind, and nothing was left.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(Vec::new()),
            Err(error) => Err(error).context("listing the test's reservations"),
        }
    }

    /// Makes an object of the cluster's; one that is there already is somebody's.
    pub(super) async fn make<K>(&self, value: &Value) -> anyhow::Result<K>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Serialize + Debug,
    {
        let api: Api<K> = Api::all(self.client.clone());
        let object: K = serde_json::from_value(value.clone())?;
        let name = object.name_any();
        api.create(&PostParams::default(), &object)
            .await
            .with_context(|| format!("making {} {name}", K::kind(&())))
    }

    /// Makes a reservation; false where somebody has that address.
    pub(super) async fn reserve(&self, value: &Value) -> anyhow::Result<bool> {
        match self.make::<LoadBalancerIP>(value).await {
            Ok(_) => Ok(true),
            Err(error) => match error.downcast_ref::<kube::Error>() {
                Some(kube::Error::Api(status)) if status.code == 409 => Ok(false),
                _ => Err(error),
            },
        }
    }

    /// Copies the Secrets that images are pulled with.
    pub(super) async fn copy_secrets(&self, names: &[String]) -> anyhow::Result<()> {
        let theirs: Api<Secret> = Api::namespaced(self.client.clone(), NAMESPACE);
        let own: Api<Secret> = self.own();
        for name in names {
            let Some(found) = theirs.get_opt(name).await? else {
                continue;
            };
            let mut copy = Secret {
                data: found.data,
                type_: found.type_,
                ..Secret::default()
            };
            copy.metadata.name = Some(name.clone());
            own.create(&PostParams::default(), &copy)
                .await
                .with_context(|| format!("copying Secret {name}, with which images are pulled"))?;
        }
        Ok(())
    }

    /// Applies an object of the test's namespace.
    pub(super) async fn put<K>(&self, value: &Value) -> anyhow::Result<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + Debug,
    {
        apply(self.own(), value).await
    }

    /// Looks again and again until there is something to return; else why there was nothing at the end.
    pub(super) async fn until<T>(
        &self,
        mut look: impl AsyncFnMut() -> anyhow::Result<Result<T, String>>,
    ) -> anyhow::Result<Result<T, String>> {
        let end = Instant::now() + self.timeout;
        let mut open = "the API server did not answer".to_owned();
        loop {
            match timeout_at(end, look()).await {
                Ok(Ok(Ok(found))) => return Ok(Ok(found)),
                Ok(Ok(Err(why))) => open = why,
                // An API server that is busy or starts anew is asked again.
                Ok(Err(error)) if is_final(&error) => return Err(error),
                Ok(Err(error)) => open = format!("{error:#}"),
                Err(_) => {}
            }
            if Instant::now() + AGAIN >= end {
                return Ok(Err(format!("{open}, after {:?}", self.timeout)));
            }
            sleep(AGAIN).await;
        }
    }

    /// Waits until the backends of the last round run, and no others; returns their Pods.
    pub(super) async fn rolled_out(&self) -> anyhow::Result<Result<Vec<Pod>, String>> {
        let deployments: Api<Deployment> = self.own();
        let pods: Api<Pod> = self.own();
        let of = ListParams::default().labels(&format!("app={}", manifests::ECHO));
        self.until(async || {
            let found = deployments.get(manifests::ECHO).await?;
            let wanted = found.spec.as_ref().and_then(|spec| spec.replicas);
            let status = found.status.clone().unwrap_or_default();
            let counts = [
                status.replicas,
                status.updated_replicas,
                status.available_replicas,
            ];
            let current = status.observed_generation >= found.metadata.generation;
            let there = pods.list(&of).await?.items;
            if current
                && counts.iter().all(|count| *count == wanted)
                && i32::try_from(there.len()).ok() == wanted
            {
                return Ok(Ok(there));
            }
            let why = there.iter().find_map(waits);
            Ok(Err(format!(
                "{} of {} backends are available{}",
                status.available_replicas.unwrap_or_default(),
                wanted.unwrap_or_default(),
                why.map(|why| format!(": {why}")).unwrap_or_default()
            )))
        })
        .await
    }

    pub(super) async fn service(&self) -> anyhow::Result<Service> {
        let api: Api<Service> = self.own();
        api.get(manifests::ECHO)
            .await
            .context("reading the test's Service")
    }

    pub(super) async fn record(&self, address: IpAddr) -> anyhow::Result<Option<LoadBalancerIP>> {
        let api: Api<LoadBalancerIP> = Api::all(self.client.clone());
        api.get_opt(&ip_name(address))
            .await
            .with_context(|| format!("reading the record of {address}"))
    }

    /// The log of the client's Pod, line by line as it is written.
    pub(super) async fn listen(&self) -> anyhow::Result<Result<Observer, String>> {
        let pods: Api<Pod> = self.own();
        let begun = self
            .until(async || {
                let pod = pods.get(manifests::CLIENT).await?;
                let phase = pod
                    .status
                    .as_ref()
                    .and_then(|status| status.phase.as_deref());
                Ok(match phase {
                    Some("Running" | "Succeeded" | "Failed") => Ok(()),
                    _ => Err(waits(&pod).unwrap_or_else(|| "its Pod does not run".to_owned())),
                })
            })
            .await?;
        if let Err(why) = begun {
            return Ok(Err(why));
        }
        let params = LogParams {
            follow: true,
            ..LogParams::default()
        };
        let lines = pods.log_stream(manifests::CLIENT, &params).await?.lines();
        Ok(Ok(Observer::of(lines)))
    }

    /// Runs a Pod of the test's to its end; what it said, or what it said of why not.
    pub(super) async fn errand(&self, pod: &Value) -> anyhow::Result<Result<String, String>> {
        let pods: Api<Pod> = self.own();
        let name = self.put::<Pod>(pod).await?.name_any();
        let ended = self
            .until(async || {
                let pod = pods.get(&name).await?;
                let phase = pod.status.as_ref().and_then(|status| status.phase.clone());
                Ok(match phase.as_deref() {
                    Some("Succeeded") => Ok(true),
                    Some("Failed") => Ok(false),
                    _ => Err(waits(&pod).unwrap_or_else(|| format!("Pod {name} does not end"))),
                })
            })
            .await?;
        Ok(match ended {
            Ok(well) => {
                let text = pods.logs(&name, &LogParams::default()).await?;
                if well { Ok(text) } else { Err(text) }
            }
            Err(why) => Err(why),
        })
    }

    /// Takes away everything that a test of this namespace made, this one or an earlier one: the client first, so that
    /// nobody uses its addresses any more when they are free, and the reservations last.
    ///
    /// # Errors
    /// When something is still there at the end.
    pub(super) async fn clear(&self) -> anyhow::Result<()> {
        let end = Instant::now() + CLEARING;
        loop {
            let left = match timeout_at(end, self.clear_once()).await {
                Ok(Ok(None)) => return Ok(()),
                Ok(Ok(Some(left))) => left,
                Ok(Err(error)) if is_final(&error) => return Err(error),
                Ok(Err(error)) => format!("{error:#}"),
                Err(_) => "the API server did not answer".to_owned(),
            };
            anyhow::ensure!(
                Instant::now() + AGAIN < end,
                "something of the test is still there after {CLEARING:?}: {left}"
            );
            sleep(AGAIN).await;
        }
    }

    /// Asks for the next things to go; what is still there.
    async fn clear_once(&self) -> anyhow::Result<Option<String>> {
        let now = DeleteParams::default();
        let records: Api<LoadBalancerIP> = Api::all(self.client.clone());
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let ours = namespaces.get_opt(&self.namespace).await?;
        let ours = ours.filter(|found| found.labels().contains_key(LABEL));
        if let Some(found) = &ours {
            let pods: Api<Pod> = self.own();
            if let Some(client) = pods.get_opt(manifests::CLIENT).await? {
                if client.metadata.deletion_timestamp.is_none() {
                    absent(pods.delete(manifests::CLIENT, &now).await.map(drop))?;
                }
                return Ok(Some("the client's Pod".to_owned()));
            }
            if found.metadata.deletion_timestamp.is_none() {
                self.delete_policy().await?;
                absent(namespaces.delete(&self.namespace, &now).await.map(drop))
                    .with_context(|| format!("deleting namespace {}", self.namespace))?;
            }
            return Ok(Some(format!("namespace {}", self.namespace)));
        }
        self.delete_policy().await?;
        for record in self.reservations().await? {
            let only = now.clone().preconditions(Preconditions {
                uid: record.uid(),
                resource_version: record.resource_version(),
            });
            absent(records.delete(&record.name_any(), &only).await.map(drop))
                .context("deleting the test's reservations")?;
        }
        let vips = self.vips.borrow().clone();
        for address in vips {
            let record = self.record(address).await?;
            let held = record.is_some_and(|record| {
                let mut holders = record.spec.holders.iter();
                holders.any(|holder| holder.namespace == self.namespace)
            });
            if held {
                return Ok(Some(format!("the record of {address}")));
            }
        }
        Ok(None)
    }

    async fn delete_policy(&self) -> anyhow::Result<()> {
        let api: Api<L2AnnouncementPolicy> = Api::all(self.client.clone());
        let answer = api
            .delete_collection(&DeleteParams::default(), &self.ours())
            .await;
        absent(answer.map(drop)).context("deleting the test's policy")
    }

    /// What takes away the test where it could not.
    pub(super) fn by_hand(&self) -> String {
        format!(
            "Something of the test may be left: kubectl delete namespace {0}; kubectl delete lbip,l2policy -l {LABEL}={0}",
            self.namespace
        )
    }
}

async fn apply<K>(api: Api<K>, value: &Value) -> anyhow::Result<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let name = value["metadata"]["name"].as_str().unwrap_or_default();
    let params = PatchParams::apply(MANAGER).force();
    api.patch(name, &params, &Patch::Apply(value))
        .await
        .with_context(|| format!("making {} {name}", K::kind(&())))
}

/// Asking again would not help: it is refused.
fn is_final(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| match cause.downcast_ref::<kube::Error>() {
            Some(kube::Error::Api(status)) => matches!(status.code, 400 | 401 | 403 | 404 | 422),
            _ => false,
        })
}

/// Gone is what is wanted, and a kind that is not served has none.
fn absent(answer: Result<(), kube::Error>) -> anyhow::Result<()> {
    match answer {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        answer => Ok(answer?),
    }
}

/// Why a Pod does not run, in its own words.
fn waits(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let containers = status.container_statuses.iter().flatten();
    let mut waiting = containers.filter_map(|container| container.state.as_ref()?.waiting.clone());
    let unscheduled = || {
        let mut conditions = status.conditions.iter().flatten();
        let found = conditions.find(|c| c.type_ == "PodScheduled" && c.status == "False")?;
        found.message.clone()
    };
    let waiting = waiting.find_map(|state| {
        let reason = state
            .reason
            .filter(|reason| reason != "ContainerCreating")?;
        Some(format!("{reason} {}", state.message.unwrap_or_default()))
    });
    let why = waiting.or_else(unscheduled)?;
    Some(format!("{}: {}", pod.name_any(), why.trim()))
}
