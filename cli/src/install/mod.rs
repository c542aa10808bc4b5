//! Putting Landfall into a cluster, bringing it to another version, and taking it off again.
//!
//! [`removal`] says what goes, in which order and why; the rest carries out. Whatever was done in part is done in full by
//! the same command again.

mod apply;
mod removal;
mod remove;
mod report;
mod rights;
mod version;
mod wait;

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;

pub(crate) use remove::uninstall;

use crate::args::{DryRun, Install, Output};
use crate::cluster::{Cluster, Wants};
use crate::manifests::{
    Choice, Manifest, Phase, images, kept_and_replaced, known, manifests, stamped,
};
use crate::out::{End, form, print, say, words, words_beside};
use crate::picture::{NAMESPACE, Picture};
use apply::{Applier, Done, Named};
use report::Installed;

/// The Kubernetes that the rules of the CRDs need: it knows addresses.
const LEAST_MINOR: u32 = 31;

/// Balancers that would serve the same Services, by a definition that each brings.
const OTHERS: [(&str, &str, &str); 3] = [
    ("ipaddresspools.metallb.io", "MetalLB", "metallb"),
    (
        "ciliumloadbalancerippools.cilium.io",
        "Cilium LB IPAM",
        "cilium",
    ),
    ("servicegroups.purelb.io", "PureLB", "purelb"),
];

/// Installs, or with `only_over` brings what is installed to this version.
pub(crate) async fn install(
    cluster: &Cluster,
    flags: &Install,
    only_over: bool,
) -> anyhow::Result<End> {
    let output = flags.output.output;
    if output != Output::Table {
        words_beside();
    }
    let mut report = Installed::new(flags.dry_run == DryRun::Server);
    let end = carry_out(cluster, flags, only_over, &mut report).await?;
    if output != Output::Table {
        print(&form(&report, output, |_| String::new())?);
    }
    Ok(end)
}

async fn carry_out(
    cluster: &Cluster,
    flags: &Install,
    only_over: bool,
    report: &mut Installed,
) -> anyhow::Result<End> {
    let wants = Wants {
        workloads: true,
        planning: false,
    };
    let before = cluster.picture(wants).await?;
    let is_there = before.controller().is_some() || before.announcer().is_some();
    if only_over && !is_there {
        anyhow::bail!(
            "nothing is installed in {NAMESPACE} that could be upgraded: `landfall install` installs it"
        );
    }
    let choice = chosen(flags, &before)?;
    let all = stamped(manifests(&choice)?);
    preflight(cluster, &choice).await?;
    if !flags.allow_downgrade {
        no_downgrade(cluster, &before).await?;
    }
    for (workload, image) in images(&all) {
        say!("{workload} will run {image}");
    }
    for words in kept_and_replaced(&choice)? {
        say!("{}", crate::words::plain(&words));
    }
    let dry = flags.dry_run == DryRun::Server;
    let mut applier = Applier::new(cluster.client.clone(), dry);
    let mut phase = Phase::Namespace;
    for manifest in &all {
        // What is defined must be served before anybody asks for it.
        if phase == Phase::Definitions && manifest.phase > phase && !dry {
            wait::established(&cluster.client, flags.timeout).await?;
        }
        phase = manifest.phase;
        let done = applier.apply(manifest).await?;
        say!("{}", line(manifest, done, dry));
        report.applied(manifest, done);
    }
    let strays = applier.strays(&known()?).await?;
    for old in &strays.ours {
        applier.delete(old).await?;
        report.removed(old);
        let done = if dry { "would be removed" } else { "removed" };
        say!(
            "{:<34} {:<40} {done}: no part of this version{}",
            old.kind,
            old.name,
            suffix(dry)
        );
    }
    for other in &strays.others {
        say!("note: {}", apply::left_alone(other));
        report.left_alone(apply::left_alone(other));
    }
    say!("{}{}", report.summary(), suffix(dry));
    if dry {
        if report.count(Done::Untried.in_words()) > 0 {
            say!("What was not tried is of namespace {NAMESPACE}, which is not there yet.");
        }
        say!("Nothing was changed: this was a dry run.");
        return Ok(End::Well);
    }
    if flags.no_wait {
        say!("Applied. `landfall status --wait` waits until it runs.");
        return Ok(End::Well);
    }
    let runs = wait::running(cluster, flags.timeout).await?;
    report.runs = Some(runs);
    if !runs {
        return Ok(End::NotWell);
    }
    words(&next(is_there));
    Ok(End::Well)
}

/// Brings the definitions that are not there yet, and waits until they are served: for who writes objects of ours before
/// the rest is installed.
///
/// # Errors
/// What the API server has against it.
pub(crate) async fn define(cluster: &Cluster) -> anyhow::Result<()> {
    /// How long they may take to be served.
    const SERVED: Duration = Duration::from_secs(30);
    let mut applier = Applier::new(cluster.client.clone(), false);
    let all = stamped(manifests(&Choice::default())?);
    let mut made = false;
    for manifest in all
        .iter()
        .filter(|manifest| manifest.phase == Phase::Definitions)
    {
        if !applier.exists(&Named::from(manifest)).await? {
            let done = applier.apply(manifest).await?;
            say!("{}", line(manifest, done, false));
            made = true;
        }
    }
    if made {
        wait::established(&cluster.client, SERVED).await?;
    }
    Ok(())
}

/// What is typed, and where nothing is, what the installation has chosen before.
fn chosen(flags: &Install, before: &Picture) -> anyhow::Result<Choice> {
    // Nothing at all takes the list away.
    let namespaces = flags.gateway_namespaces.clone();
    let namespaces = namespaces.map(|names| if names == [""] { Vec::new() } else { names });
    anyhow::ensure!(
        !namespaces.iter().flatten().any(String::is_empty),
        "--gateway-namespaces has an empty name between two commas: take one away"
    );
    let typed = Choice {
        registry: flags.registry.clone(),
        tag: flags.tag.clone(),
        default_class: flags.default_class,
        gateway_namespaces: namespaces,
        ..Choice::default()
    };
    Ok(typed.or(version::choice(before)))
}

/// Refuses to bring an installation to an older version.
async fn no_downgrade(cluster: &Cluster, before: &Picture) -> anyhow::Result<()> {
    let definitions: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
    let mut installed = Vec::new();
    for crd in landfall_crds::all() {
        let name = crd.metadata.name.unwrap_or_default();
        let found = definitions.get_metadata_opt(&name).await;
        let found = found.with_context(|| format!("reading {name}"))?;
        installed.extend(found.and_then(|found| version::of(&found.metadata).map(str::to_owned)));
    }
    let workloads = [
        before.controller().map(|found| &found.metadata),
        before.announcer().map(|found| &found.metadata),
    ];
    let workloads = workloads.into_iter().flatten().filter_map(version::of);
    if let Some(newer) =
        version::newer_than_this(installed.iter().map(String::as_str).chain(workloads))
    {
        anyhow::bail!(
            "version {newer} is installed, and this is {}: an older definition forgets what newer fields hold. Use \
             `landfall` {newer}, or say --allow-downgrade",
            env!("CARGO_PKG_VERSION")
        );
    }
    Ok(())
}

/// Prints what would be applied. Without a cluster nothing was chosen before.
///
/// # Errors
/// Never as long as the manifests that this program carries are those it was tested with.
pub(crate) async fn print_only(cluster: Option<&Cluster>, flags: &Install) -> anyhow::Result<End> {
    let wants = Wants {
        workloads: true,
        planning: false,
    };
    let before = match cluster {
        Some(cluster) => cluster.picture(wants).await.unwrap_or_default(),
        None => Picture::default(),
    };
    let all = stamped(manifests(&chosen(flags, &before)?)?);
    if flags.output.output == Output::Json {
        let items: Vec<_> = all.into_iter().map(|manifest| manifest.value).collect();
        let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items});
        print(&form(&list, Output::Json, |_| String::new())?);
        return Ok(End::Well);
    }
    for manifest in all {
        print(&format!(
            "---\n{}",
            serde_saphyr::to_string(&manifest.value)?
        ));
    }
    Ok(End::Well)
}

fn line(manifest: &Manifest, done: Done, dry: bool) -> String {
    let done = done.in_words();
    format!(
        "{:<34} {:<40} {done}{}",
        manifest.kind(),
        manifest.name(),
        suffix(dry)
    )
}

/// What kubectl says behind an outcome that was only tried.
fn suffix(dry: bool) -> &'static str {
    if dry { " (server dry run)" } else { "" }
}

/// What must hold before anything is applied, and what people should know.
async fn preflight(cluster: &Cluster, choice: &Choice) -> anyhow::Result<()> {
    let version = cluster
        .client
        .apiserver_version()
        .await
        .context("asking the API server for its version")?;
    let digits = version
        .minor
        .trim_end_matches(|c: char| !c.is_ascii_digit());
    if digits.parse().is_ok_and(|minor: u32| minor < LEAST_MINOR) && version.major == "1" {
        anyhow::bail!(
            "this is Kubernetes {}: Landfall needs 1.{LEAST_MINOR} or newer",
            version.git_version
        );
    }
    let definitions: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
    for (name, title, from) in OTHERS {
        let found = definitions.get_metadata_opt(name).await;
        if matches!(found, Ok(Some(_))) && choice.default_class != Some(false) {
            say!(
                "note: {title} is in this cluster. With --default-class=false Landfall serves Services of \
                 loadBalancerClass landfall.dev/l2 alone; `landfall migrate --from {from}` moves all over."
            );
        }
    }
    Ok(())
}

fn next(was_there: bool) -> String {
    if was_there {
        return "All of it runs. `landfall status` shows it.\n".to_owned();
    }
    "All of it runs. Two objects make it work; edit the addresses, which must be of the nodes' own segment and free, and
the interfaces:

    cat <<EOF | kubectl apply -f -
    apiVersion: landfall.dev/v1alpha1
    kind: LoadBalancerIPPool
    metadata:
      name: public
    spec:
      blocks:
        - start: 192.0.2.200
          stop: 192.0.2.220
    ---
    apiVersion: landfall.dev/v1alpha1
    kind: L2AnnouncementPolicy
    metadata:
      name: default
    spec:
      interfaces:
        - eth[0-9]+
    EOF

Then `landfall status` shows it, and `landfall explain service NAME` tells why a Service has its address, or none.
"
    .to_owned()
}

/// Whether whoever sits there agrees. Where nobody sits, `--yes` must have been said.
fn agreed() -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        anyhow::bail!("nobody is there to be asked: say --yes, or --dry-run to see what would go");
    }
    words("Go on? Type yes: ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_becomes_of_each_object_is_a_line_and_the_last_words_say_what_is_lacking() {
        let all = manifests(&Choice::default()).unwrap();
        let all: String = all
            .iter()
            .map(|manifest| format!("{}\n", line(manifest, Done::Created, false)))
            .collect();
        insta::assert_snapshot!(format!("{all}\n{}", next(false)));
    }

    #[test]
    fn what_a_dry_run_says_is_a_line_for_each_object_and_their_number() {
        let all = manifests(&Choice::default()).unwrap();
        // Where the namespace is not there yet, what is to be in it cannot be tried.
        let (inside, cluster): (Vec<_>, Vec<_>) = all
            .iter()
            .partition(|manifest| manifest.namespace().is_some());
        let outcomes = [Done::Created, Done::Configured, Done::Unchanged];
        let shown = cluster.into_iter().zip(outcomes);
        let shown = shown.chain(
            inside
                .into_iter()
                .map(|manifest| (manifest, Done::Untried))
                .take(1),
        );
        let mut report = Installed::new(true);
        let lines = shown.map(|(manifest, done)| {
            report.applied(manifest, done);
            line(manifest, done, true)
        });
        let lines: Vec<String> = lines.collect();
        let summary = format!("{}{}", report.summary(), suffix(true));
        insta::assert_snapshot!(format!("{}\n{summary}", lines.join("\n")));
    }

    #[test]
    fn whatever_becomes_of_an_object_is_said() {
        let manifests = manifests(&Choice::default()).unwrap();
        let words = |done| line(&manifests[0], done, true);
        let all = [
            Done::Created,
            Done::Configured,
            Done::Unchanged,
            Done::Untried,
        ]
        .map(words);
        let ends = ["created", "configured", "unchanged", "not tried"];
        for (line, end) in all.iter().zip(ends) {
            assert!(
                line.ends_with(&format!(" {end} (server dry run)")),
                "{line}"
            );
        }
    }
}
