//! Carrying a removal out.

use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use kube::{Api, Client, Resource, ResourceExt as _};
use landfall_crds::gateway_api::{GATEWAYS_EXIST, GatewayClass};
use landfall_crds::{
    DRAIN_FINALIZER, L2AnnouncementPolicy, LoadBalancerIP, LoadBalancerIPPool, ServiceKey,
};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::apply::{Applier, Labelled, Named, left_alone};
use super::removal::{
    self, SWEEPER, by_hand, is_marked, others_finalizers, still_answered, sweeper, unmark,
};
use super::report::Removed;
use super::rights;
use super::wait::until;
use crate::args::{Output, Uninstall};
use crate::cluster::{Cluster, Wants, list};
use crate::manifests::known;
use crate::out::{End, form, print, say, words, words_beside};
use crate::picture::{ANNOUNCER, CONTROLLER, NAMESPACE, Picture, Sight};

/// How long programs may take to be taken off the nodes.
const SWEEP: Duration = Duration::from_secs(90);

/// Takes Landfall off the cluster and its nodes.
///
/// # Errors
/// What cannot be read or deleted; the same command again goes on from there.
pub(crate) async fn uninstall(cluster: &Cluster, flags: &Uninstall) -> anyhow::Result<End> {
    let output = flags.output.output;
    if output != Output::Table {
        words_beside();
    }
    let (report, end) = planned_and_carried_out(cluster, flags).await?;
    if output != Output::Table {
        print(&form(&report, output, |_| String::new())?);
    }
    Ok(end)
}

async fn planned_and_carried_out(
    cluster: &Cluster,
    flags: &Uninstall,
) -> anyhow::Result<(Removed, End)> {
    let wants = Wants {
        workloads: true,
        planning: true,
    };
    let picture = cluster.picture(wants).await?;
    let forbidden = picture.forbidden();
    anyhow::ensure!(
        forbidden.is_empty(),
        "a removal must see all of it, and you may not list {}",
        forbidden.join(", ")
    );
    let mut applier = Applier::new(cluster.client.clone(), false);
    let (objects, others) = last(&mut applier).await?;
    let mut plan = removal::plan(&picture);
    plan.objects = objects
        .iter()
        .map(|(named, _)| format!("{} {}", named.kind, named.name))
        .collect();
    plan.left_alone = others.iter().map(left_alone).collect();
    say!("Cluster: {}", crate::words::plain(&cluster.place));
    words(&plan.draw(flags.release_addresses));
    let rights = rights::needed(&objects, !plan.nodes.is_empty(), plan.classes > 0);
    rights::ensure(&cluster.client, &rights).await?;
    if flags.dry_run {
        say!("Nothing was changed: this was a dry run.");
        return Ok((Removed::planned(plan), End::Well));
    }
    if !flags.yes && !super::agreed()? {
        say!("Nothing was changed.");
        return Ok((Removed::planned(plan), End::NotWell));
    }
    let removal = Removal {
        client: cluster.client.clone(),
        timeout: flags.timeout,
        release: flags.release_addresses,
        objects: objects.into_iter().map(|(named, _)| named).collect(),
    };
    let (unreached_nodes, left) = removal.carry_out(&picture, &mut applier).await?;
    let report = Removed {
        carried_out: true,
        unreached_nodes,
        left,
        ..Removed::planned(plan)
    };
    let end = End::of(report.is_complete());
    Ok((report, end))
}

/// What goes last, with its resource, what stands on others first; and what carries our label and is not ours.
async fn last(applier: &mut Applier) -> anyhow::Result<(Vec<(Named, ApiResource)>, Vec<Named>)> {
    let all = known()?;
    let Labelled { mut ours, others } = applier.labelled(&all).await?;
    // Somebody may have taken the label off.
    for named in all.iter().map(Named::from) {
        if !ours.iter().any(|one| one.is_of(&named)) && applier.exists(&named).await? {
            ours.push(named);
        }
    }
    // Definitions take the records with them; the namespace takes Leases and the key.
    ours.sort_by_key(|named| match named.kind.as_str() {
        "CustomResourceDefinition" => 0,
        "Namespace" => 2,
        _ => 1,
    });
    let mut objects = Vec::new();
    for named in ours {
        if let Some(resource) = applier.resource(&named).await? {
            objects.push((named, resource));
        }
    }
    Ok((objects, others))
}

struct Removal {
    client: Client,
    timeout: Duration,
    release: bool,
    /// What goes last.
    objects: Vec<Named>,
}

impl Removal {
    /// Returns the nodes that could not be reached, and what is still there.
    async fn carry_out(
        &self,
        picture: &Picture,
        applier: &mut Applier,
    ) -> anyhow::Result<(Vec<String>, Vec<String>)> {
        let announcer = removal::announcer(picture);
        let mut missed = Vec::new();
        self.silence(announcer.is_some()).await?;
        self.workload::<DaemonSet>(ANNOUNCER).await?;
        if let Some(announcer) = &announcer {
            missed = self.sweep(announcer, &removal::ran_on(picture)).await?;
        }
        self.workload::<Deployment>(CONTROLLER).await?;
        self.services().await?;
        self.pools().await?;
        self.classes(picture).await?;
        let left = self.rest(applier).await?;
        if !missed.is_empty() {
            say!("{}", by_hand(&missed));
        }
        if left.is_empty() {
            say!("Landfall is gone from the cluster.");
        } else {
            say!(
                "Still there after {:?}: {}. The same command again goes on.",
                self.timeout,
                left.join(", ")
            );
        }
        Ok((missed, left))
    }

    fn all<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = ()>,
    {
        Api::all(self.client.clone())
    }

    /// Policies go, and with them the answers.
    async fn silence(&self, running: bool) -> anyhow::Result<()> {
        let policies: Api<L2AnnouncementPolicy> = self.all();
        let found: Sight<L2AnnouncementPolicy> = list(self.all()).await?;
        for policy in found.all() {
            gone(
                policies
                    .delete(&policy.name_any(), &DeleteParams::default())
                    .await,
            )?;
        }
        say!("policies deleted: {}", found.all().len());
        if !running {
            return Ok(());
        }
        let silent = until(self.timeout, async || {
            let records: Sight<LoadBalancerIP> = list(self.all()).await?;
            Ok(still_answered(records.all()))
        });
        if !silent.await? {
            // A node that is gone for good answers nobody, and its name stays on the record.
            say!("going on all the same: what still answers ends with its announcer");
        }
        Ok(())
    }

    /// Deletes a workload and waits for the last of its Pods.
    async fn workload<K>(&self, name: &str) -> anyhow::Result<()>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), NAMESPACE);
        gone(api.delete(name, &DeleteParams::background()).await)?;
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
        let label = format!("app.kubernetes.io/name={name}");
        let ended = until(self.timeout, async || {
            let left = pods.list(&ListParams::default().labels(&label)).await?;
            let left: Vec<String> = left.iter().map(Pod::name_any).collect();
            Ok((!left.is_empty()).then(|| format!("waiting for {}", left.join(", "))))
        });
        if !ended.await? {
            say!("going on without waiting any longer: a node that does not answer keeps its Pod");
        }
        say!("{name} deleted");
        Ok(())
    }

    /// Takes programs and pins off the nodes; returns those that could not be reached.
    async fn sweep(&self, announcer: &DaemonSet, nodes: &[&Node]) -> anyhow::Result<Vec<String>> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
        let (ready, away): (Vec<&Node>, Vec<&Node>) = nodes.iter().partition(|node| is_ready(node));
        let mut missed: Vec<String> = away.iter().map(|node| node.name_any()).collect();
        let mut sweeping = Vec::new();
        for node in ready.iter().map(|node| node.name_any()) {
            let Some(pod) = sweeper(announcer, &node) else {
                continue;
            };
            let pod: Pod = serde_json::from_value(pod)?;
            match pods.create(&PostParams::default(), &pod).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                // By a quota or an admission policy: that node is left to a hand, and the removal goes on.
                Err(kube::Error::Api(status)) => {
                    let why = crate::words::plain(&status.message);
                    say!("the Pod that takes programs off {node} was refused: {why}");
                    missed.push(node);
                    continue;
                }
                Err(error) => {
                    return Err(error).context("making the Pod that takes programs off a node");
                }
            }
            sweeping.push((pod.name_any(), node));
        }
        let label = format!("{}={}", SWEEPER.0, SWEEPER.1);
        let (mut open, mut failed): (Vec<String>, Vec<String>) = Default::default();
        until(SWEEP.min(self.timeout), async || {
            let found = pods.list(&ListParams::default().labels(&label)).await?;
            let phase = |name: &str| {
                let pod = found.iter().find(|pod| pod.name_any() == name)?;
                pod.status.as_ref()?.phase.as_deref()
            };
            (open, failed) = Default::default();
            for (pod, node) in &sweeping {
                match phase(pod) {
                    Some("Succeeded") => {}
                    // Its kubelet turned it away, and will not think again.
                    Some("Failed") => failed.push(node.clone()),
                    _ => open.push(node.clone()),
                }
            }
            Ok((!open.is_empty()).then(|| format!("programs are taken off {}", open.join(", "))))
        })
        .await?;
        open.append(&mut failed);
        let swept = sweeping.len() - open.len();
        missed.extend(open);
        gone(
            pods.delete_collection(
                &DeleteParams::default(),
                &ListParams::default().labels(&label),
            )
            .await,
        )?;
        say!("XDP programs and pins taken off {swept} nodes");
        Ok(missed)
    }

    /// Takes our conditions off the Services.
    async fn services(&self) -> anyhow::Result<()> {
        let records: Sight<LoadBalancerIP> = list(self.all()).await?;
        let holders = removal::holders(records.all());
        let services: Sight<Service> = list(self.all()).await?;
        let mut unmarked = 0;
        for service in services.all() {
            let key = ServiceKey::new(service.namespace().unwrap_or_default(), service.name_any());
            let release = self.release && holders.contains(&key);
            if !is_marked(service) && !release {
                continue;
            }
            let api: Api<Service> = Api::namespaced(self.client.clone(), &key.namespace);
            let patch = Patch::Strategic(unmark(release));
            let answer = api
                .patch_status(&key.name, &PatchParams::default(), &patch)
                .await;
            match answer {
                // It went in the meantime.
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                answer => {
                    answer.with_context(|| format!("taking the conditions off Service {key}"))?;
                    unmarked += 1;
                }
            }
        }
        say!("conditions taken off {unmarked} Services");
        Ok(())
    }

    /// Takes our finalizer off the pools, and deletes them.
    async fn pools(&self) -> anyhow::Result<()> {
        let api: Api<LoadBalancerIPPool> = self.all();
        let pools: Sight<LoadBalancerIPPool> = list(self.all()).await?;
        for pool in pools.all() {
            let name = pool.name_any();
            take_off(&api, pool, DRAIN_FINALIZER)
                .await
                .with_context(|| format!("taking the finalizer off pool {name}"))?;
            gone(api.delete(&name, &DeleteParams::default()).await)?;
        }
        say!("pools deleted: {}", pools.all().len());
        Ok(())
    }

    /// Takes the finalizer off the GatewayClasses that nobody serves any more; they are not ours to delete.
    async fn classes(&self, picture: &Picture) -> anyhow::Result<()> {
        let api: Api<GatewayClass> = self.all();
        for class in removal::held_classes(picture) {
            let name = class.name_any();
            let Some(class) = api.get_opt(&name).await? else {
                continue;
            };
            take_off(&api, &class, GATEWAYS_EXIST)
                .await
                .with_context(|| format!("taking the finalizer off GatewayClass {name}"))?;
        }
        Ok(())
    }

    /// Everything else; returns what is left.
    async fn rest(&self, applier: &mut Applier) -> anyhow::Result<Vec<String>> {
        let mut deleted = Vec::new();
        for one in &self.objects {
            // Those that went before are among them, and their absence is what is wanted.
            if applier.delete(one).await? {
                deleted.push(one);
            }
        }
        let mut left = Vec::new();
        until(self.timeout, async || {
            left.clear();
            for one in deleted.iter().copied() {
                if applier.exists(one).await? {
                    left.push(format!("{} {}", one.kind, one.name));
                }
            }
            Ok((!left.is_empty()).then(|| format!("waiting for {}", left.join(", "))))
        })
        .await?;
        say!(
            "definitions, rights and namespace deleted: {} objects",
            deleted.len() - left.len()
        );
        Ok(left)
    }
}

/// Takes a finalizer of ours off an object, unless it went in the meantime.
async fn take_off<K>(api: &Api<K>, object: &K, finalizer: &str) -> anyhow::Result<()>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let patch = json!({"metadata": {
        "finalizers": others_finalizers(object.finalizers(), finalizer),
        "resourceVersion": object.resource_version(),
    }});
    let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
    let answer = api.patch(&object.name_any(), &params, &patch).await;
    gone(answer.map(drop))
}

fn is_ready(node: &Node) -> bool {
    let conditions = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Gone is what is wanted, whoever did it.
fn gone<T>(answer: Result<T, kube::Error>) -> anyhow::Result<()> {
    match answer {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error.into()),
    }
}
