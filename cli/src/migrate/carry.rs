//! Reading another balancer's objects, and writing what they come to.

use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::apps::v1::DaemonSet;
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Resource, ResourceExt as _};
use landfall_crds::LoadBalancerIP;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::fate::{Becomes, Fate, fates};
use super::{Plan, draft, draw, unheard};
use crate::args::{From, Migrate, Output};
use crate::cluster::{Cluster, Wants, list};
use crate::out::{End, form, print, say};
use crate::picture::Sight;
use crate::{files, settings};

/// Who applies: the same as installs.
const MANAGER: &str = "landfall-cli";

/// How long the controller may take to record what it takes over.
const ADOPTION: Duration = Duration::from_secs(60);

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

/// By what the announcer of a balancer is known: a part of its image.
fn announcer_of(from: From) -> Option<&'static str> {
    match from {
        From::Metallb => Some("metallb/speaker"),
        From::KubeVip => Some("kube-vip"),
        From::Purelb => Some("lbnodeagent"),
        // Cilium's agent is the network too: it stays.
        From::Cilium => None,
    }
}

/// Moves over.
///
/// # Errors
/// What cannot be read or written.
pub(crate) async fn migrate(
    connection: &crate::args::Connection,
    flags: &Migrate,
) -> anyhow::Result<End> {
    // With files a plan can be made without a cluster; what is in use then is what the files say.
    let cluster = crate::cluster::connect(connection).await;
    let cluster = match cluster {
        Err(_) if !flags.filenames.is_empty() && !flags.apply => None,
        found => Some(found?),
    };
    let theirs = match (flags.filenames.as_slice(), &cluster) {
        ([], Some(cluster)) => of_cluster(cluster, flags.from).await?,
        (names, _) => {
            let (documents, unreadable) = files::documents(names, false)?;
            if let Some(first) = unreadable.first() {
                anyhow::bail!("{first}");
            }
            documents
                .into_iter()
                .map(|document| document.value)
                .collect()
        }
    };
    let wants = Wants {
        workloads: true,
        planning: true,
    };
    let picture = match &cluster {
        Some(cluster) => cluster.picture(wants).await?,
        None => crate::picture::Picture::default(),
    };
    anyhow::ensure!(
        picture.services_of.is_none() && picture.services.is_seen(),
        "every Service must be seen, or an address in use is overlooked: you may not list them all"
    );
    let (settings, guessed) = settings::of(picture.controller())?;
    let mut objects = picture.objects();
    if cluster.is_none() {
        let services = theirs.iter().filter(|object| object["kind"] == "Service");
        let services = services.filter_map(|object| serde_json::from_value(object.clone()).ok());
        objects.services.extend(services);
    }
    let mut draft = draft(flags.from, &theirs);
    draft.notes.extend(unheard(flags.from, &objects.services));
    let pools: Vec<_> = draft.pools.iter().map(|(pool, _)| pool).collect();
    let fates = fates(objects, &pools, &settings);
    let mut plan = Plan::new(draft, fates);
    plan.notes
        .extend(guessed.filter(|_| picture.controller().is_some()));

    match flags.output.output {
        Output::Table => print(&draw(&plan)),
        _ => print(&form(&plan, flags.output.output, draw)?),
    }
    let Some(cluster) = cluster.filter(|_| flags.apply) else {
        if flags.output.output == Output::Table {
            say!(
                "\nNothing was written. --apply writes the pools; --apply --announce the policies too."
            );
        }
        return Ok(End::of(plan.changes_nothing()));
    };
    if !plan.changes_nothing() {
        say!(
            "\nNothing was written: an address in use would change. The table says which, and why."
        );
        return Ok(End::NotWell);
    }
    carry_out(&cluster, flags, &plan).await
}

async fn carry_out(cluster: &Cluster, flags: &Migrate, plan: &Plan) -> anyhow::Result<End> {
    say!();
    for pool in &plan.pools {
        write(cluster, pool).await?;
    }
    if flags.announce {
        if let Some(name) = announces(cluster, flags.from).await? {
            say!(
                "The policies were not written: {name} runs, and two that answer for one address are a conflict. \
                 Take it off, then say the same again."
            );
            return Ok(End::NotWell);
        }
        for policy in &plan.policies {
            write(cluster, policy).await?;
        }
    }
    let kept: Vec<&Fate> = plan
        .addresses
        .iter()
        .filter(|fate| fate.becomes == Becomes::Kept)
        .collect();
    let runs = {
        let wants = Wants {
            workloads: true,
            planning: false,
        };
        cluster.picture(wants).await?.controller().is_some()
    };
    if !runs {
        say!(
            "Landfall is not installed yet: `landfall install` now takes over the {} addresses in use.",
            kept.len()
        );
        return Ok(End::Well);
    }
    adopted(cluster, &kept).await
}

/// Waits until every address that is kept has its record.
async fn adopted(cluster: &Cluster, kept: &[&Fate]) -> anyhow::Result<End> {
    let end = tokio::time::Instant::now() + ADOPTION;
    loop {
        let records: Sight<LoadBalancerIP> = list(Api::all(cluster.client.clone())).await?;
        let has = |fate: &Fate| {
            let mut records = records.all().iter();
            records.any(|record| {
                let mut holders = record.spec.holders.iter();
                record.spec.address == fate.address
                    && holders.any(|holder| {
                        format!("{}/{}", holder.namespace, holder.name) == fate.service
                    })
            })
        };
        let open: Vec<&str> = kept
            .iter()
            .filter(|fate| !has(fate))
            .map(|fate| &*fate.address)
            .collect();
        if open.is_empty() {
            say!(
                "{} addresses in use are recorded; not one changed.",
                kept.len()
            );
            return Ok(End::Well);
        }
        if tokio::time::Instant::now() >= end {
            say!(
                "Not recorded after {ADOPTION:?}: {}. `landfall explain ip ADDRESS` tells why.",
                open.join(", ")
            );
            return Ok(End::NotWell);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Writes an object as ours; what others have written into it stays.
async fn write<K>(cluster: &Cluster, object: &K) -> anyhow::Result<()>
where
    K: Resource<DynamicType = ()> + Serialize + DeserializeOwned + Clone + std::fmt::Debug,
{
    let api: Api<K> = Api::all(cluster.client.clone());
    let name = object.name_any();
    let (kind, before) = (K::kind(&()), api.get_metadata_opt(&name).await?);
    let after = api
        .patch(&name, &PatchParams::apply(MANAGER), &Patch::Apply(object))
        .await
        .with_context(|| {
            format!(
                "{kind} {name} is there already and somebody else's: rename theirs, or delete it"
            )
        })?;
    let done = match before {
        None => "created",
        Some(before) if before.resource_version() == after.resource_version() => "unchanged",
        Some(_) => "configured",
    };
    say!("{kind} {name} {done}");
    Ok(())
}

/// The announcer of the other balancer, if it runs.
async fn announces(cluster: &Cluster, from: From) -> anyhow::Result<Option<String>> {
    let Some(image) = announcer_of(from) else {
        return Ok(None);
    };
    let all: Sight<DaemonSet> = list(Api::all(cluster.client.clone())).await?;
    let found = all.all().iter().find(|set| runs_image(set, image));
    Ok(found.map(|set| {
        format!(
            "DaemonSet {}/{}",
            set.namespace().unwrap_or_default(),
            set.name_any()
        )
    }))
}

fn runs_image(set: &DaemonSet, part: &str) -> bool {
    let spec = set
        .spec
        .as_ref()
        .and_then(|spec| spec.template.spec.as_ref());
    let mut containers = spec.into_iter().flat_map(|spec| &spec.containers);
    containers.any(|container| {
        container
            .image
            .as_ref()
            .is_some_and(|image| image.contains(part))
    })
}

/// Their objects, as the cluster has them.
async fn of_cluster(cluster: &Cluster, from: From) -> anyhow::Result<Vec<Value>> {
    let mut found = Vec::new();
    for (group, versions, kind, plural) in kinds(from) {
        for version in *versions {
            let gvk = GroupVersionKind::gvk(group, version, kind);
            let resource = ApiResource::from_gvk_with_plural(&gvk, plural);
            let api: Api<DynamicObject> = Api::all_with(cluster.client.clone(), &resource);
            match api.list(&ListParams::default()).await {
                Ok(objects) => {
                    for mut object in objects {
                        object.types.get_or_insert_with(|| kube::core::TypeMeta {
                            api_version: resource.api_version.clone(),
                            kind: resource.kind.clone(),
                        });
                        found.push(serde_json::to_value(object)?);
                    }
                    break;
                }
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("listing {plural}.{group}"));
                }
            }
        }
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
        let sets: Sight<DaemonSet> = list(Api::all(cluster.client.clone())).await?;
        let part = announcer_of(from).unwrap_or_default();
        for set in sets.all().iter().filter(|set| runs_image(set, part)) {
            found.push(typed(set)?);
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
