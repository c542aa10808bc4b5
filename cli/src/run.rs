//! From flags to a command, and from what it says to how the program ends.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser as _};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use landfall_crds::{HolderKey, HolderKind};
use serde_json::json;

use crate::args::{self, Args, Command, DryRun};
use crate::cluster::{Cluster, Wants, connect, list, namespace};
use crate::connectivity::connectivity_test;
use crate::explain::{self, Asked};
use crate::install::{install, print_only, uninstall};
use crate::migrate::migrate;
use crate::monitor::monitor;
use crate::out::{End, complain, failed, form, print};
use crate::picture::{CONTROLLER, Hidden, Picture};
use crate::sysdump::sysdump;
use crate::{files, ips, pools, settings, status, try_out, validate};

/// How often `--wait` looks again.
const AGAIN: Duration = Duration::from_millis(500);

/// The program.
#[must_use]
pub fn main() -> ExitCode {
    let args = Args::parse();
    crate::colour::settle(args.colour);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(Box::pin(run(args))),
        Err(error) => Err(error.into()),
    };
    match ended {
        Ok(end) => end.into(),
        Err(error) => {
            complain!("error: {}", crate::words::plain(&told(&error)));
            failed()
        }
    }
}

/// An error with what caused it. Of what the API server answers its own sentence is told, and not the whole object that
/// carries it.
fn told(error: &anyhow::Error) -> String {
    let mut words: Vec<String> = Vec::new();
    for cause in error.chain() {
        let said = match cause.downcast_ref::<kube::Error>() {
            Some(kube::Error::Api(status)) if !status.message.is_empty() => {
                words.push(status.message.clone());
                break;
            }
            _ => cause.to_string(),
        };
        // A sentence that carries its cause within says it once.
        if !words.last().is_some_and(|last| last.ends_with(&said)) {
            words.push(said);
        }
    }
    words.join(": ")
}

async fn run(args: Args) -> anyhow::Result<End> {
    let connection = &args.connection;
    match &args.command {
        Command::Status(flags) => status(&connect(connection).await?, flags).await,
        Command::Pools(flags) => pools(&connect(connection).await?, flags).await,
        Command::Ips(flags) => {
            let cluster = connect(connection).await?;
            let named = namespace(connection).filter(|_| !flags.all_namespaces);
            ips(&cluster, named.as_deref(), flags).await
        }
        Command::Monitor(flags) => monitor(connection, flags).await,
        Command::Explain(what) => explain(&connect(connection).await?, what).await,
        Command::Install(flags) | Command::Upgrade(flags) if flags.dry_run == DryRun::Client => {
            print_only(connect(connection).await.ok().as_ref(), flags).await
        }
        Command::Install(flags) => install(&connect(connection).await?, flags, false).await,
        Command::Upgrade(flags) => install(&connect(connection).await?, flags, true).await,
        Command::Uninstall(flags) => uninstall(&connect(connection).await?, flags).await,
        Command::Validate(flags) => validate(connection, flags).await,
        Command::Migrate(flags) => migrate(connection, flags).await,
        Command::Connectivity(args::Connectivity::Test(flags)) => {
            connectivity_test(&connect(connection).await?, flags).await
        }
        Command::Sysdump(flags) => sysdump(&connect(connection).await?, flags).await,
        Command::Version(flags) => version(connection, flags).await,
        Command::Completion { shell } => {
            let mut command = Args::command();
            let name = called().unwrap_or_else(|| "landfall".to_owned());
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut command, name, &mut script);
            print(&String::from_utf8_lossy(&script));
            Ok(End::Well)
        }
    }
}

/// The name this program was called by: `landfall` or `kubectl-landfall`.
fn called() -> Option<String> {
    let path = std::env::args_os().next()?;
    let name = std::path::Path::new(&path).file_name()?;
    Some(name.to_string_lossy().into_owned())
}

async fn status(cluster: &Cluster, flags: &args::Status) -> anyhow::Result<End> {
    let wants = Wants {
        workloads: true,
        planning: true,
    };
    let deadline = tokio::time::Instant::now() + flags.timeout;
    let mut said = None;
    loop {
        let picture = match flags.wait {
            false => cluster.picture(wants).await,
            // An API server that says nothing must not make the waiting longer than was asked.
            true => match tokio::time::timeout_at(deadline, cluster.picture(wants)).await {
                Ok(answer) => answer,
                Err(_) => anyhow::bail!("the API server did not answer within {:?}", flags.timeout),
            },
        };
        let is_last = !flags.wait || tokio::time::Instant::now() + AGAIN >= deadline;
        let picture = match picture {
            Ok(picture) => picture,
            Err(error) if is_last => return Err(error),
            // A cluster that is coming up refuses before it answers.
            Err(error) => {
                let words = told(&error);
                if said.as_ref() != Some(&words) {
                    complain!("  … {}", crate::words::plain(&words));
                    said = Some(words);
                }
                tokio::time::sleep(AGAIN).await;
                continue;
            }
        };
        let status = status::judge(&picture, Timestamp::now());
        if is_last || status.end_of_waiting() == End::Well {
            print(&form(&status, flags.output.output, status::draw)?);
            return Ok(match flags.wait {
                true => status.end_of_waiting(),
                false => status.end(),
            });
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn pools(cluster: &Cluster, flags: &args::Pools) -> anyhow::Result<End> {
    let picture = cluster.picture(Wants::default()).await?;
    if let Some(why) = picture.pools.hidden() {
        anyhow::bail!("LoadBalancerIPPools cannot be read: {}", remedy(why));
    }
    let pools = pools::pools(picture.pools.all(), &flags.names);
    if let Some(missing) = flags
        .names
        .iter()
        .find(|name| !pools.iter().any(|pool| pool.name == **name))
    {
        anyhow::bail!(
            "there is no LoadBalancerIPPool {missing:?}; `landfall pools` lists those there are"
        );
    }
    print(&form(&pools, flags.output.output, |pools| {
        pools::draw(pools)
    })?);
    Ok(End::of(pools.iter().all(|pool| pool.problems.is_empty())))
}

fn remedy(why: Hidden) -> &'static str {
    match why {
        Hidden::Forbidden => "you may not list them; the ClusterRole landfall-view permits it",
        Hidden::Absent => "the cluster does not know the kind; `landfall install` brings it",
    }
}

async fn ips(cluster: &Cluster, namespace: Option<&str>, flags: &args::Ips) -> anyhow::Result<End> {
    let picture = cluster.picture(Wants::default()).await?;
    match picture.records.hidden() {
        Some(why) if !picture.services.is_seen() => {
            anyhow::bail!(
                "neither LoadBalancerIPs nor Services can be read: {}",
                remedy(why)
            );
        }
        Some(why) => complain!(
            "LoadBalancerIPs cannot be read ({why}): this is what the Services{} say of themselves.",
            of_namespace(&picture)
        ),
        None => {}
    }
    let ips = ips::ips(&picture, namespace, Timestamp::now());
    print(&form(&ips, flags.output.output, |ips| ips::draw(ips))?);
    let silent = |ip: &ips::Ip| matches!(ip.state, ips::State::Silent | ips::State::Conflict);
    Ok(End::of(!ips.iter().any(silent)))
}

fn of_namespace(picture: &Picture) -> String {
    let of = picture.services_of.as_ref();
    of.map_or_else(String::new, |namespace| {
        format!(" of namespace {namespace}")
    })
}

async fn explain(cluster: &Cluster, what: &args::Explain) -> anyhow::Result<End> {
    let mut picture = cluster
        .picture(Wants {
            workloads: true,
            planning: true,
        })
        .await?;
    match what {
        args::Explain::Service { name, .. } => {
            picture.events = events(cluster, HolderKind::Service, name).await?;
        }
        args::Explain::Gateway { name, .. } => {
            picture.events = events(cluster, HolderKind::Gateway, name).await?;
        }
        args::Explain::Ip { .. } => {}
    }
    let (settings, guessed) = settings::of(picture.controller())?;
    let asked = Asked {
        picture: &picture,
        settings: &settings,
        guessed: guessed.as_deref(),
        now: Timestamp::now(),
    };
    let (told, output) = match what {
        args::Explain::Service { name, output } => {
            let key = HolderKey::service(&*cluster.namespace, name);
            let told = explain::service(&asked, &key).with_context(|| {
                match picture.services.hidden() {
                    Some(why) => format!(
                        "Services of namespace {} cannot be read: {why}",
                        cluster.namespace
                    ),
                    None => format!("there is no Service {key}; -n names another namespace"),
                }
            })?;
            (told, output)
        }
        args::Explain::Gateway { name, output } => {
            let key = HolderKey::gateway(&*cluster.namespace, name);
            let told = explain::gateway(&asked, &key).with_context(|| {
                match picture.gateways.hidden() {
                    Some(why) => format!("Gateways cannot be read: {why}"),
                    None => format!("there is no {}; -n names another namespace", key.in_words()),
                }
            })?;
            (told, output)
        }
        args::Explain::Ip { address, output } => {
            let parsed = explain::parse(address).with_context(|| {
                format!("{address:?} is neither an address nor the name of a LoadBalancerIP; write it like 192.0.2.10, 2001:db8::10 or 192-0-2-10")
            })?;
            (explain::ip(&asked, parsed), output)
        }
    };
    print(&form(&told, output.output, |told| told.tree.draw())?);
    Ok(End::of(told.well))
}

/// The Events about an object of the namespace.
async fn events(
    cluster: &Cluster,
    kind: HolderKind,
    name: &str,
) -> anyhow::Result<crate::picture::Sight<k8s_openapi::api::events::v1::Event>> {
    let sight = list(Api::namespaced(cluster.client.clone(), &cluster.namespace)).await?;
    Ok(match sight {
        crate::picture::Sight::Seen(all) => {
            let about = |event: &k8s_openapi::api::events::v1::Event| {
                let regarding = event.regarding.as_ref();
                regarding.is_some_and(|object| {
                    object.kind.as_deref() == Some(kind.as_str())
                        && object.name.as_deref() == Some(name)
                })
            };
            crate::picture::Sight::Seen(all.into_iter().filter(about).collect())
        }
        hidden => hidden,
    })
}

async fn validate(connection: &args::Connection, flags: &args::Validate) -> anyhow::Result<End> {
    let (mut documents, unreadable) = files::documents(&flags.filenames, flags.recursive)?;
    let placed = namespace(connection).unwrap_or_else(|| "default".to_owned());
    validate::place(&mut documents, &placed);
    let found = if flags.cluster {
        let cluster = connect(connection).await?;
        let wants = Wants {
            workloads: true,
            planning: true,
        };
        let picture = cluster.picture(wants).await?;
        let mut found = validate::check(&documents, Some(&picture))?;
        try_out::all(&cluster, &documents, &mut found).await?;
        found
    } else {
        validate::check(&documents, None)?
    };
    let mut found = found;
    found.findings.splice(0..0, unreadable);
    print(&form(&found, flags.output.output, validate::draw)?);
    Ok(End::of(found.well()))
}

async fn version(connection: &args::Connection, flags: &args::Version) -> anyhow::Result<End> {
    let mut model = json!({"client": env!("CARGO_PKG_VERSION")});
    let asked = match flags.client {
        true => Ok(()),
        false => installed(connection, &mut model).await,
    };
    let text = form(&model, flags.output.output, draw_versions)?;
    // What this program is, it knows without a cluster.
    print(&text);
    asked.map(|()| End::Well)
}

fn draw_versions(model: &serde_json::Value) -> String {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let mut lines = vec![format!("landfall {}", text(&model["client"]))];
    if let Some(server) = model.get("kubernetes") {
        lines.push(format!("Kubernetes {}", text(server)));
        let installed = model["installed"].as_object();
        match installed.filter(|installed| installed.contains_key(CONTROLLER)) {
            Some(installed) => lines.extend(
                installed
                    .iter()
                    .map(|(name, image)| format!("{name} {}", text(image))),
            ),
            None => lines.push("not installed, as far as you may see".to_owned()),
        }
    }
    lines
        .iter()
        .map(|line| format!("{}\n", crate::words::plain(line)))
        .collect()
}

/// Asks the cluster what it is and what is installed in it.
async fn installed(
    connection: &args::Connection,
    model: &mut serde_json::Value,
) -> anyhow::Result<()> {
    let cluster = connect(connection).await?;
    let server = cluster.client.apiserver_version().await?;
    let wants = Wants {
        workloads: true,
        planning: false,
    };
    let picture = cluster.picture(wants).await?;
    let judged = status::judge(&picture, Timestamp::now());
    let installed: serde_json::Map<_, _> = judged
        .workloads
        .into_iter()
        .map(|workload| (workload.name, workload.image.into()))
        .collect();
    model["kubernetes"] = server.git_version.into();
    model["installed"] = installed.into();
    Ok(())
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn versions_are_told_of_this_program_the_api_server_and_what_is_installed() {
        let image = |name: &str| format!("registry.example.org/landfall/{name}:1.2.3");
        let installed = json!({"landfall-announcer": image("landfall-announcer"),
            "landfall-controller": image("landfall-controller")});
        let all = json!({"client": "1.2.3", "kubernetes": "v1.33.1", "installed": installed});
        insta::assert_snapshot!(draw_versions(&all));
        let nothing = json!({"client": "1.2.3", "kubernetes": "v1.33.1", "installed": {}});
        assert_eq!(
            draw_versions(&nothing),
            "landfall 1.2.3\nKubernetes v1.33.1\nnot installed, as far as you may see\n"
        );
        assert_eq!(
            draw_versions(&json!({"client": "1.2.3"})),
            "landfall 1.2.3\n"
        );
    }

    #[test]
    fn what_the_api_server_refuses_is_told_in_its_own_sentence_once() {
        let status = Status::failure("pods is forbidden", "Forbidden").with_code(403);
        let error = kube::Error::Api(Box::new(status));
        let error = anyhow::Error::from(error).context("listing pods");
        assert_eq!(told(&error), "listing pods: pods is forbidden");
    }
}
