//! Everything somebody needs who looks at a cluster from afar, in one folder. Secrets are never read.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::jiff::Timestamp;
use kube::api::LogParams;
use kube::{Api, Resource, ResourceExt as _};
use serde::Serialize;
use serde_json::{Value, json};

use crate::args::Sysdump;
use crate::cluster::{Cluster, Wants, list};
use crate::ips::is_balanced;
use crate::out::{End, say};
use crate::picture::{NAMESPACE, Picture, Sight};
use crate::{ips, pools, status};

/// How many lines of a log are kept, from its end. A limit in bytes would cut that off: it counts from the beginning.
const LINES: i64 = 100_000;

/// Collects, and says where.
///
/// # Errors
/// When the API server cannot be asked, or the folder not be written.
pub(crate) async fn sysdump(cluster: &Cluster, flags: &Sysdump) -> anyhow::Result<End> {
    let now = Timestamp::now();
    let folder = flags.output_dir.clone().unwrap_or_else(|| {
        let stamp = now.strftime("%Y%m%d-%H%M%S");
        PathBuf::from(format!("landfall-sysdump-{stamp}"))
    });
    let wants = Wants {
        workloads: true,
        planning: true,
    };
    let picture = cluster.picture(wants).await?;
    // Everything that may end it is asked before the folder is there: half a folder looks like a whole one.
    let version = cluster.client.apiserver_version().await?;
    let events: Sight<Event> = list(Api::all(cluster.client.clone())).await?;
    let mut dump = Dump::new(&folder)?;
    dump.tables(&picture, now)?;
    dump.text(
        "version.txt",
        &format!(
            "landfall {}\nKubernetes {}\n",
            env!("CARGO_PKG_VERSION"),
            version.git_version
        ),
    )?;
    dump.objects(&picture)?;
    let ours = |event: &&Event| {
        let controller = event.reporting_controller.as_deref().unwrap_or_default();
        controller.starts_with("landfall.dev/") || event.namespace().as_deref() == Some(NAMESPACE)
    };
    let events: Vec<&Event> = events.all().iter().filter(ours).collect();
    dump.kind("events", events.into_iter())?;
    logs(cluster, &picture, &mut dump).await?;
    say!("{} files in {}", dump.files, folder.display());
    for missing in &dump.missing {
        say!("· missing: {}", crate::words::plain(missing));
    }
    Ok(End::of(dump.missing.is_empty()))
}

/// The logs of every container of ours, and of the one before it where it was restarted.
async fn logs(cluster: &Cluster, picture: &Picture, dump: &mut Dump) -> anyhow::Result<()> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), NAMESPACE);
    for pod in picture.pods.all() {
        let name = pod.name_any();
        let containers = pod
            .status
            .as_ref()
            .and_then(|status| status.container_statuses.as_ref());
        for container in containers.into_iter().flatten() {
            for previous in [false, true] {
                if previous && container.restart_count == 0 {
                    continue;
                }
                let params = wanted(&container.name, previous);
                let before = if previous { ".previous" } else { "" };
                match api.logs(&name, &params).await {
                    Ok(text) => dump.text(
                        &format!("logs/{name}.{}{before}.log", container.name),
                        &text,
                    )?,
                    Err(error) => dump.missing.push(format!("log of {name}: {error}")),
                }
            }
        }
    }
    Ok(())
}

/// The end of a log, where what went wrong is.
fn wanted(container: &str, previous: bool) -> LogParams {
    LogParams {
        container: Some(container.to_owned()),
        tail_lines: Some(LINES),
        previous,
        timestamps: true,
        ..LogParams::default()
    }
}

/// The folder, and what is in it.
struct Dump {
    folder: PathBuf,
    files: usize,
    missing: Vec<String>,
}

impl Dump {
    fn new(folder: &Path) -> anyhow::Result<Self> {
        fs::create_dir(folder)
            .with_context(|| format!("making the folder {}", folder.display()))?;
        for below in ["objects", "logs"] {
            fs::create_dir(folder.join(below))?;
        }
        Ok(Self {
            folder: folder.to_owned(),
            files: 0,
            missing: Vec::new(),
        })
    }

    fn text(&mut self, name: &str, text: &str) -> anyhow::Result<()> {
        let path = self.folder.join(name);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        self.files += 1;
        Ok(())
    }

    /// What the commands of these names print.
    fn tables(&mut self, picture: &Picture, now: Timestamp) -> anyhow::Result<()> {
        self.text("status.txt", &status::draw(&status::judge(picture, now)))?;
        self.text(
            "pools.txt",
            &pools::draw(&pools::pools(picture.pools.all(), &[])),
        )?;
        self.text("ips.txt", &ips::draw(&ips::ips(picture, None, now)))
    }

    fn objects(&mut self, picture: &Picture) -> anyhow::Result<()> {
        for hidden in picture.forbidden() {
            self.missing
                .push(format!("{hidden}: you may not list them"));
        }
        self.kind("deployments", picture.deployments.all().iter())?;
        self.kind("daemonsets", picture.daemon_sets.all().iter())?;
        self.kind("pods", picture.pods.all().iter())?;
        self.kind("leases", picture.leases.all().iter())?;
        self.kind("l2nodes", picture.l2_nodes.all().iter())?;
        self.kind("loadbalancerippools", picture.pools.all().iter())?;
        self.kind("loadbalancerips", picture.records.all().iter())?;
        self.kind("l2announcementpolicies", picture.policies.all().iter())?;
        self.kind("nodes", picture.nodes.all().iter())?;
        self.kind("servicecidrs", picture.service_cidrs.all().iter())?;
        self.kind("gateways", picture.gateways.all().iter())?;
        self.kind("gatewayclasses", picture.gateway_classes.all().iter())?;
        self.kind("listenersets", picture.listener_sets.all().iter())?;
        self.kind("tcproutes", picture.tcp_routes.all().iter())?;
        self.kind("udproutes", picture.udp_routes.all().iter())?;
        self.kind("referencegrants", picture.grants.all().iter())?;
        // Other Services are not Landfall's business, nor of those who read this.
        let services = picture
            .services
            .all()
            .iter()
            .filter(|service| is_balanced(service));
        self.kind("services", services)
    }

    fn kind<'a, K>(
        &mut self,
        name: &str,
        objects: impl Iterator<Item = &'a K>,
    ) -> anyhow::Result<()>
    where
        K: Resource<DynamicType = ()> + Serialize + 'a,
    {
        let objects: Vec<Value> = objects
            .map(serde_json::to_value)
            .collect::<Result<_, _>>()?;
        let whole = json!({"apiVersion": K::api_version(&()), "kind": format!("{}List", K::kind(&())), "items": objects});
        self.text(
            &format!("objects/{name}.yaml"),
            &serde_saphyr::to_string(&whole)?,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_log_the_end_is_kept() {
        let params = wanted("announcer", true);
        assert_eq!((params.tail_lines, params.limit_bytes), (Some(LINES), None));
    }
}
