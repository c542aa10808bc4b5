//! A lab with Landfall in it, addresses to lose, and backends on two nodes that announce nothing, so that what is lost is
//! either an owner or a backend.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use kube::Api;
use kube::api::ListParams;
use landfall_crds::{LoadBalancerIP, Owner};
use landfall_testbed::control_plane::assets::source_tree;
use landfall_testbed::netns;

use super::addresses::{POOL, addresses, manifest};
use super::case::kubectl;
use super::rounds::Options;
use crate::lab::cluster::{Lab, Size};
use crate::lab::plan::{Machine, Network};

/// Nodes with backends.
pub(super) const SERVING: u8 = 2;
/// Of the nodes that announce so many own anything, where one is to own everything.
const TWO: u8 = 2;
/// How long the cluster may take to come to rest, and how much longer for each address.
const PATIENCE: Duration = Duration::from_secs(120);
const PATIENCE_EACH: Duration = Duration::from_millis(60);
/// Between two looks whether it has.
const LOOK: Duration = Duration::from_millis(100);
/// At rest so many objects are written in a second at the most: Leases, and not what is said of a thousand addresses after
/// each round.
const WRITES: u64 = 20;
const A_SECOND: Duration = Duration::from_secs(1);

/// The lab and what stands in it.
#[derive(Debug)]
pub(super) struct Bed {
    pub(super) lab: Lab,
    patience: Duration,
    count: usize,
    tree: PathBuf,
    records: Api<LoadBalancerIP>,
    deployments: Api<Deployment>,
    daemons: Api<DaemonSet>,
}

impl Bed {
    /// Builds it: so many announcing nodes, two with the backends, one client; the Services with their addresses.
    pub(super) async fn up(options: &Options) -> Result<Self> {
        let nodes = options.nodes;
        ensure!(nodes >= 2, "with fewer than 2 nodes nobody can take over");
        let role = |role: &str| BTreeMap::from([("failover/role".to_owned(), role.to_owned())]);
        let names = (1..=nodes).map(|number| (format!("node-{number}"), role("announces")));
        let serve =
            (1..=SERVING).map(|number| (format!("node-{}", nodes + number), role("serves")));
        let size = Size {
            nodes: nodes + SERVING,
            clients: 1,
            labels: names.chain(serve).collect(),
            images: BTreeSet::new(),
            audited: BTreeSet::new(),
            network: Network::default(),
        };
        let lab = Box::pin(Lab::up(&size, &mut |stage| eprintln!("failover: {stage}"))).await?;
        let client = lab.client().await?;
        let bed = Self {
            lab,
            patience: PATIENCE + PATIENCE_EACH * u32::from(options.addresses),
            count: usize::from(options.addresses),
            tree: source_tree(),
            records: Api::all(client.clone()),
            deployments: Api::namespaced(client.clone(), "failover"),
            daemons: Api::namespaced(client, "landfall-system"),
        };
        bed.install(options).await?;
        Ok(bed)
    }

    async fn install(&self, options: &Options) -> Result<()> {
        let count = options.addresses;
        eprintln!("failover: Landfall, {count} addresses, backends");
        let route = format!("route add {POOL} dev eth0");
        netns::ip(&self.client()?.netns, &route)?;
        self.kubectl("apply -k config/default")?;
        let file = self.lab.plan().dir.join("failover.yaml");
        std::fs::write(&file, manifest(&addresses(count), &options.mode))
            .context("writing the Services")?;
        self.kubectl("apply -f e2e/manifests/failover/backends.yaml")?;
        self.kubectl(&format!("create -f {}", file.display()))?;
        self.kubectl(&format!(
            "scale -n failover deployment/passenger --replicas={}",
            options.nodes
        ))?;
        let first = if options.together { 1 } else { options.nodes };
        self.may_own(1..=first)?;
        self.until_at_rest(|record| record.is_some()).await?;
        // What has an owner stays there when there is another.
        if options.together {
            self.may_own(TWO..=TWO)?;
        }
        Ok(())
    }

    /// From now on these nodes may own addresses.
    fn may_own(&self, nodes: std::ops::RangeInclusive<u8>) -> Result<()> {
        let names: Vec<String> = nodes.map(|number| format!("node-{number}")).collect();
        let words = format!("label node {} failover/owns=yes", names.join(" "));
        self.kubectl(&words).map(drop)
    }

    /// Runs kubectl as the administrator.
    pub(super) fn kubectl(&self, words: &str) -> Result<String> {
        kubectl(&self.lab, &self.tree, words)
    }

    /// A node that serves and owns nothing.
    pub(super) fn backend(&self) -> Result<Machine> {
        let last = self.lab.plan().nodes.last();
        last.cloned().context("a lab without nodes")
    }

    /// The root of the source tree.
    pub(super) fn tree(&self) -> &Path {
        &self.tree
    }

    /// The machine of the client.
    pub(super) fn client(&self) -> Result<&Machine> {
        self.lab
            .plan()
            .machine("client-1")
            .context("a lab without a client")
    }

    /// What the records say, as the API server has it at hand.
    async fn list(&self) -> Result<Vec<(Ipv4Addr, Option<Owner>)>> {
        let at_hand = ListParams::default().match_any();
        let records = self.records.list(&at_hand).await?;
        let owners = records.items.into_iter().filter_map(|record| {
            let IpAddr::V4(address) = record.spec.address.parse().ok()? else {
                return None;
            };
            Some((address, record.status.and_then(|status| status.owner)))
        });
        Ok(owners.collect())
    }

    /// How often addresses have changed their owners so far, all together.
    pub(super) async fn transitions(&self) -> Result<usize> {
        let records = self.list().await?;
        let counts = records
            .into_iter()
            .filter_map(|(_, owner)| usize::try_from(owner?.transitions).ok());
        Ok(counts.sum())
    }

    /// The node that owns most addresses, and these.
    pub(super) async fn victim(&self) -> Result<(Machine, Vec<Ipv4Addr>)> {
        let mut owned: BTreeMap<String, Vec<Ipv4Addr>> = BTreeMap::new();
        for (address, owner) in self.list().await? {
            if let Some(owner) = owner {
                owned.entry(owner.node).or_default().push(address);
            }
        }
        let most = owned
            .into_iter()
            .max_by_key(|(_, addresses)| addresses.len());
        let (node, mut addresses) = most.context("no address has an owner")?;
        addresses.sort_unstable();
        let machine = self.lab.plan().machine(&node);
        let machine =
            machine.with_context(|| format!("{node} owns addresses and is not of the lab"))?;
        Ok((machine.clone(), addresses))
    }

    /// Waits until every pod runs, each announcer hears all others, every address has an owner and a standby, and all that
    /// is to be said of them was written.
    pub(super) async fn rest(&self) -> Result<()> {
        let stands = |owner: Option<&Owner>| owner.is_some_and(|owner| owner.standby.is_some());
        loop {
            self.until_at_rest(stands).await?;
            let before = self.revision().await?;
            tokio::time::sleep(A_SECOND).await;
            if self.revision().await? <= before + WRITES {
                return Ok(());
            }
        }
    }

    /// The store's, which counts every write of any object.
    async fn revision(&self) -> Result<u64> {
        let latest = ListParams::default().limit(1);
        let list = self.daemons.list(&latest).await?;
        let revision = list.metadata.resource_version.unwrap_or_default();
        let read = revision.parse();
        read.with_context(|| format!("resourceVersion {revision:?} of a list"))
    }

    async fn until_at_rest(&self, fits: impl Fn(Option<&Owner>) -> bool) -> Result<()> {
        let until = Instant::now() + self.patience;
        loop {
            let began = Instant::now();
            let missing = match self.missing(&fits).await {
                Ok(None) => return Ok(()),
                Ok(Some(missing)) => missing,
                // An API server that was still a moment ago.
                Err(error) => format!("{error:#}"),
            };
            ensure!(
                Instant::now() < until,
                "not at rest after {:?}: {missing}",
                self.patience
            );
            // Ten thousand records are not read without a pause: who looks keeps those waiting who write.
            tokio::time::sleep(LOOK.max(began.elapsed() * 3)).await;
        }
    }

    /// The first thing that is not as it is at rest.
    async fn missing(&self, fits: impl Fn(Option<&Owner>) -> bool) -> Result<Option<String>> {
        let daemons = self.daemons.get("landfall-announcer").await?;
        let (ready, wanted) = (announcers(&daemons), self.lab.plan().nodes.len());
        if ready != Some(wanted) {
            return Ok(Some(format!("{ready:?} of {wanted} announcers are ready")));
        }
        let others = wanted - 1;
        let says = format!("landfall_peers_heard {others}.0");
        for node in &self.lab.plan().nodes {
            let hears = metrics(node).is_ok_and(|text| text.lines().any(|line| line == says));
            if !hears {
                let name = &node.name;
                return Ok(Some(format!(
                    "the announcer on {name} does not hear all of {others} others; see its /debug/state"
                )));
            }
        }
        for name in ["backend", "passenger"] {
            let deployment = self.deployments.get(name).await?;
            if !is_there(&deployment) {
                return Ok(Some(format!("the Deployment {name} has not all its Pods")));
            }
        }
        let records = self.list().await?;
        let fit = records.iter().filter(|(_, owner)| fits(owner.as_ref()));
        let (fit, wanted) = (fit.count(), self.count);
        Ok((fit != wanted).then(|| {
            format!("{fit} of {wanted} addresses have the owner, and the standby, that they should; see `kubectl get lbip` in the lab")
        }))
    }
}

/// How many announcers are ready, once the controller has seen what is wanted now.
fn announcers(daemons: &DaemonSet) -> Option<usize> {
    let status = daemons.status.as_ref()?;
    let is_seen = status.observed_generation == daemons.metadata.generation;
    let all = status.number_unavailable.unwrap_or_default() == 0
        && status.updated_number_scheduled == Some(status.desired_number_scheduled);
    (is_seen && all)
        .then(|| usize::try_from(status.number_ready).ok())
        .flatten()
}

/// Whether a Deployment has all its Pods, and no others.
fn is_there(deployment: &Deployment) -> bool {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas);
    deployment.status.as_ref().is_some_and(|status| {
        status.observed_generation == deployment.metadata.generation
            && status.replicas == wanted
            && status.updated_replicas == wanted
            && status.available_replicas == wanted
    })
}

/// What the announcer of a node measures.
fn metrics(node: &Machine) -> Result<String> {
    netns::inside(&node.netns, || {
        let mut stream = TcpStream::connect("127.0.0.1:7780")?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    })?
}
