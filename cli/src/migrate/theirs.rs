//! Another balancer's objects, as a cluster has them; and whether it still announces.

use anyhow::Context as _;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Pod, PodSpec, PodTemplateSpec};
use kube::api::ListParams;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Resource, ResourceExt as _};
use serde::Serialize;
use serde_json::Value;

use super::announcers::{self, announces};
use crate::args::From;
use crate::cluster::{Cluster, list};
use crate::picture::Sight;

/// A kind of theirs: group, versions (the newest first), kind, plural.
type Kind = (
    &'static str,
    &'static [&'static str],
    &'static str,
    &'static str,
);

fn kinds(from: From) -> &'static [Kind] {
    match from {
        From::Metallb => &[
            (
                "metallb.io",
                &["v1beta1"],
                "IPAddressPool",
                "ipaddresspools",
            ),
            (
                "metallb.io",
                &["v1beta1"],
                "L2Advertisement",
                "l2advertisements",
            ),
            ("metallb.io", &["v1beta2", "v1beta1"], "BGPPeer", "bgppeers"),
            (
                "metallb.io",
                &["v1beta1"],
                "BGPAdvertisement",
                "bgpadvertisements",
            ),
            ("metallb.io", &["v1beta1"], "BFDProfile", "bfdprofiles"),
            ("metallb.io", &["v1beta1"], "Community", "communities"),
        ],
        From::Cilium => &[
            (
                "cilium.io",
                &["v2", "v2alpha1"],
                "CiliumLoadBalancerIPPool",
                "ciliumloadbalancerippools",
            ),
            (
                "cilium.io",
                &["v2alpha1", "v2"],
                "CiliumL2AnnouncementPolicy",
                "ciliuml2announcementpolicies",
            ),
            (
                "cilium.io",
                &["v2", "v2alpha1"],
                "CiliumBGPClusterConfig",
                "ciliumbgpclusterconfigs",
            ),
            (
                "cilium.io",
                &["v2alpha1"],
                "CiliumBGPPeeringPolicy",
                "ciliumbgppeeringpolicies",
            ),
        ],
        From::KubeVip => &[],
        From::Purelb => &[
            ("purelb.io", &["v2", "v1"], "ServiceGroup", "servicegroups"),
            ("purelb.io", &["v2", "v1"], "LBNodeAgent", "lbnodeagents"),
        ],
    }
}

/// Their objects, as the cluster has them.
pub(super) async fn of_cluster(cluster: &Cluster, from: From) -> anyhow::Result<Vec<Value>> {
    let mut found = Vec::new();
    for kind in kinds(from) {
        found.extend(all(cluster, kind).await?);
    }
    if from == From::KubeVip {
        let maps: Api<k8s_openapi::api::core::v1::ConfigMap> = Api::all(cluster.client.clone());
        let named = ListParams::default().fields("metadata.name=kubevip");
        for map in maps
            .list(&named)
            .await
            .context("listing ConfigMaps named kubevip")?
        {
            found.push(typed(&map)?);
        }
        let is_vip = |spec: Option<&PodSpec>| {
            spec.is_some_and(|spec| spec.containers.iter().any(announcers::is_vip))
        };
        for set in &sets(cluster).await? {
            if is_vip(template(set).and_then(|template| template.spec.as_ref())) {
                found.push(typed(set)?);
            }
        }
        // On control planes it runs as a static Pod, which nobody owns but its node.
        let lone = |pod: &&Pod| {
            let owners = pod.metadata.owner_references.iter().flatten();
            !owners.into_iter().any(|owner| owner.kind == "DaemonSet")
        };
        for pod in pods(cluster).await?.iter().filter(lone) {
            if is_vip(pod.spec.as_ref()) {
                found.push(typed(pod)?);
            }
        }
    }
    anyhow::ensure!(
        !found.is_empty(),
        "nothing of that balancer is in the cluster: its objects can also be given as files, -f"
    );
    Ok(found)
}

/// An object of a list, with its kind, which lists leave out.
fn typed<K: Resource<DynamicType = ()> + Serialize>(object: &K) -> anyhow::Result<Value> {
    let mut value = serde_json::to_value(object)?;
    value["apiVersion"] = K::api_version(&()).into_owned().into();
    value["kind"] = K::kind(&()).into_owned().into();
    Ok(value)
}

/// Every object of a kind, in the newest version that is served.
async fn all(cluster: &Cluster, kind: &Kind) -> anyhow::Result<Vec<Value>> {
    let (group, versions, kind, plural) = kind;
    for version in *versions {
        let gvk = GroupVersionKind::gvk(group, version, kind);
        let resource = ApiResource::from_gvk_with_plural(&gvk, plural);
        let api: Api<DynamicObject> = Api::all_with(cluster.client.clone(), &resource);
        match api.list(&ListParams::default()).await {
            Ok(objects) => {
                let mut found = Vec::new();
                for mut object in objects {
                    object.types.get_or_insert_with(|| kube::core::TypeMeta {
                        api_version: resource.api_version.clone(),
                        kind: resource.kind.clone(),
                    });
                    found.push(serde_json::to_value(object)?);
                }
                return Ok(found);
            }
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error).with_context(|| format!("listing {plural}.{group}")),
        }
    }
    Ok(Vec::new())
}

/// What of the other balancer still answers for addresses of Services, if anything does.
///
/// # Errors
/// When that cannot be told: who may not look must not conclude that nothing is there.
pub(super) async fn announcer(cluster: &Cluster, from: From) -> anyhow::Result<Option<String>> {
    if from == From::Cilium {
        let announcing = kinds(from)
            .iter()
            .filter(|(_, _, kind, _)| *kind == "CiliumL2AnnouncementPolicy");
        for kind in announcing {
            if let Some(policy) = all(cluster, kind).await?.first() {
                return Ok(Some(super::named(policy)));
            }
        }
        return Ok(None);
    }
    for set in &sets(cluster).await? {
        let Some(template) = template(set) else {
            continue;
        };
        let (of_template, own) = (template.metadata.as_ref(), &set.metadata);
        let runs = template.spec.as_ref().is_some_and(|spec| {
            announces(from, own, spec)
                || of_template.is_some_and(|labels| announces(from, labels, spec))
        });
        if runs {
            return Ok(Some(said(set)));
        }
    }
    for pod in &pods(cluster).await? {
        let phase = pod
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref());
        let ended = matches!(phase, Some("Succeeded" | "Failed"));
        let spec = pod.spec.as_ref().filter(|_| !ended);
        if spec.is_some_and(|spec| announces(from, &pod.metadata, spec)) {
            return Ok(Some(said(pod)));
        }
    }
    Ok(None)
}

fn said<K: Resource<DynamicType = ()>>(object: &K) -> String {
    format!(
        "{} {}/{}",
        K::kind(&()),
        object.namespace().unwrap_or_default(),
        object.name_any()
    )
}

fn template(set: &DaemonSet) -> Option<&PodTemplateSpec> {
    set.spec.as_ref().map(|spec| &spec.template)
}

async fn sets(cluster: &Cluster) -> anyhow::Result<Vec<DaemonSet>> {
    seen("DaemonSets", list(Api::all(cluster.client.clone())).await?)
}

async fn pods(cluster: &Cluster) -> anyhow::Result<Vec<Pod>> {
    seen("Pods", list(Api::all(cluster.client.clone())).await?)
}

/// All there are, or the refusal to show them.
fn seen<K>(kinds: &str, sight: Sight<K>) -> anyhow::Result<Vec<K>> {
    match sight {
        Sight::Seen(all) => Ok(all),
        Sight::Hidden(why) => anyhow::bail!(
            "{kinds} of every namespace must be seen to tell whether the other balancer still announces: {why}"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::Hidden;

    #[test]
    fn who_may_not_look_is_not_told_that_nothing_is_there() {
        let refused: Sight<Pod> = Sight::Hidden(Hidden::Forbidden);
        let error = seen("Pods", refused).unwrap_err().to_string();
        assert!(
            error.contains("Pods of every namespace must be seen"),
            "{error}"
        );
        assert!(
            seen("Pods", Sight::<Pod>::Seen(Vec::new()))
                .unwrap()
                .is_empty()
        );
    }
}
