//! Writing what another balancer's objects come to.

use std::time::Duration;

use kube::api::{Patch, PatchParams};
use kube::{Api, Resource, ResourceExt as _};
use landfall_crds::LoadBalancerIP;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::fate::{Becomes, Fate, fates};
use super::{Plan, draft, draw, theirs, unheard};
use crate::args::{Migrate, Output};
use crate::cluster::{Cluster, Wants, list};
use crate::out::{End, form, print, say, words_beside};
use crate::picture::{Picture, Sight};
use crate::validate::{self, Document, Gravity};
use crate::{files, install, settings};

/// Who applies: the same as installs.
const MANAGER: &str = "landfall-cli";

/// How long the controller may take to record what it takes over.
const ADOPTION: Duration = Duration::from_secs(60);

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
    let found = match (flags.filenames.as_slice(), &cluster) {
        ([], Some(cluster)) => theirs::of_cluster(cluster, flags.from).await?,
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
        None => Picture::default(),
    };
    anyhow::ensure!(
        picture.services_of.is_none() && picture.services.is_seen(),
        "every Service must be seen, or an address in use is overlooked: you may not list them all"
    );
    let (settings, guessed) = settings::of(picture.controller())?;
    let mut objects = picture.objects();
    if cluster.is_none() {
        let services = found.iter().filter(|object| object["kind"] == "Service");
        let services = services.filter_map(|object| serde_json::from_value(object.clone()).ok());
        objects.services.extend(services);
    }
    let mut draft = draft(flags.from, &found);
    anyhow::ensure!(
        !draft.is_empty(),
        "no object of that balancer is in what was given: nothing was looked at"
    );
    draft.notes.extend(unheard(flags.from, &objects.services));
    let pools: Vec<_> = draft.pools.iter().map(|(pool, _)| pool).collect();
    let fates = fates(objects, &pools, &settings);
    let mut plan = Plan::new(draft, fates);
    plan.notes
        .extend(guessed.filter(|_| picture.controller().is_some()));

    plan.mistakes = mistakes(&plan, cluster.as_ref().map(|_| &picture))?;

    if flags.output.output != Output::Table {
        words_beside();
    }
    print(&form(&plan, flags.output.output, draw)?);
    if let Some(words) = plan.unanswered(flags.from) {
        say!("\n{words}");
    }
    let hindered = plan.hindered(flags.leave_alone);
    let Some(cluster) = cluster.filter(|_| flags.apply) else {
        say!(
            "\nNothing was written. --apply writes the pools; --apply --announce the policies too."
        );
        return Ok(End::of(hindered.is_none()));
    };
    if let Some(why) = hindered {
        say!("\nNothing was written: {why}");
        return Ok(End::NotWell);
    }
    carry_out(&cluster, flags, &plan).await
}

/// What is wrong with what would be written, found before the API server finds it.
fn mistakes(plan: &Plan, picture: Option<&Picture>) -> anyhow::Result<Vec<String>> {
    let mut documents = Vec::new();
    let mut take = |value: serde_json::Value| {
        documents.push(Document {
            place: "plan".to_owned(),
            value,
        });
    };
    for pool in &plan.pools {
        take(serde_json::to_value(pool)?);
    }
    for policy in &plan.policies {
        take(serde_json::to_value(policy)?);
    }
    let found = validate::check(&documents, picture)?;
    let mistakes = found.findings.into_iter();
    let mistakes = mistakes.filter(|finding| finding.gravity == Gravity::Mistake);
    Ok(mistakes.map(|finding| finding.without_place()).collect())
}

async fn carry_out(cluster: &Cluster, flags: &Migrate, plan: &Plan) -> anyhow::Result<End> {
    // Asked before anything is written: what cannot be told ends here.
    let announcer = match flags.announce {
        true => theirs::announcer(cluster, flags.from).await?,
        false => None,
    };
    say!();
    // Pools come before whoever serves from them, and the API server must know the kind.
    install::define(cluster).await?;
    for pool in &plan.pools {
        write(cluster, pool).await?;
    }
    if flags.announce {
        if let Some(name) = announcer {
            say!(
                "The policies were not written: {name} is there, and two that answer for one address are a conflict. \
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
        .map_err(|error| match &error {
            kube::Error::Api(status) if status.code == 409 => anyhow::Error::from(error).context(
                format!("{kind} {name} is there already and somebody else's: rename theirs, or delete it"),
            ),
            _ => anyhow::Error::from(error).context(format!("writing {kind} {name}")),
        })?;
    let done = match before {
        None => "created",
        Some(before) if before.resource_version() == after.resource_version() => "unchanged",
        Some(_) => "configured",
    };
    say!("{kind} {name} {done}");
    Ok(())
}
