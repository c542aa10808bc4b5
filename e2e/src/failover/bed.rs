//! A lab with Landfall in it, addresses to lose, and backends on two nodes that announce nothing, so that what is lost is
//! either an owner or a backend.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use kube::Api;
use kube::api::ListParams;
use landfall_crds::LoadBalancerIP;
use landfall_testbed::control_plane::assets::source_tree;
use landfall_testbed::netns;

use super::case::kubectl;
use crate::lab::cluster::{Lab, Size};
use crate::lab::plan::{Machine, Network};

/// Nodes with backends.
const SERVING: u8 = 2;
/// How long the cluster may take to come to rest.
const PATIENCE: Duration = Duration::from_secs(120);

/// The lab and what stands in it.
#[derive(Debug)]
pub(super) struct Bed {
    pub(super) lab: Lab,
    pub(super) addresses: Vec<Ipv4Addr>,
    tree: PathBuf,
    records: Api<LoadBalancerIP>,
}

impl Bed {
    /// Builds it: so many announcing nodes, two with the backends, one client; so many Services.
    pub(super) async fn up(nodes: u8, addresses: u8, mode: &str) -> Result<Self> {
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
            network: Network::default(),
        };
        let lab = Box::pin(Lab::up(&size, &mut |stage| eprintln!("failover: {stage}"))).await?;
        let records = Api::all(lab.client().await?);
        let bed = Self {
            lab,
            addresses: Vec::new(),
            tree: source_tree(),
            records,
        };
        bed.install(nodes, addresses, mode).await
    }

    async fn install(mut self, nodes: u8, addresses: u8, mode: &str) -> Result<Self> {
        eprintln!("failover: Landfall, {addresses} Services, backends");
        self.kubectl("apply -k config/default")?;
        let manifest = self.lab.plan().dir.join("failover.yaml");
        std::fs::write(&manifest, services(addresses, mode)).context("writing the Services")?;
        self.kubectl("apply -f e2e/manifests/failover/backends.yaml")?;
        self.kubectl(&format!("apply -f {}", manifest.display()))?;
        self.kubectl(&format!(
            "scale -n failover deployment/passenger --replicas={nodes}"
        ))?;
        self.pods_run()?;
        let until = Instant::now() + PATIENCE;
        while self.addresses.len() < usize::from(addresses) {
            ensure!(
                Instant::now() < until,
                "not every Service has an address after {PATIENCE:?}; see `kubectl get lbip` in the lab"
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
            self.addresses = self.owners().await?.into_keys().collect();
        }
        Ok(self)
    }

    /// Runs kubectl as the administrator.
    pub(super) fn kubectl(&self, words: &str) -> Result<String> {
        kubectl(&self.lab, &self.tree, words)
    }

    /// Waits until every pod beside Landfall's is where it should be.
    fn pods_run(&self) -> Result<()> {
        for deployment in ["backend", "passenger"] {
            self.kubectl(&format!(
                "rollout status -n failover deployment/{deployment} --timeout=180s"
            ))?;
        }
        Ok(())
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

    /// Which node owns each address that has an owner.
    pub(super) async fn owners(&self) -> Result<BTreeMap<Ipv4Addr, String>> {
        let records = self.records.list(&ListParams::default()).await?;
        let owners = records.items.into_iter().filter_map(|record| {
            let owner = record.status?.owner?;
            let IpAddr::V4(address) = record.spec.address.parse().ok()? else {
                return None;
            };
            Some((address, owner.node))
        });
        Ok(owners.collect())
    }

    /// How often addresses have changed their owners so far, all together.
    pub(super) async fn transitions(&self) -> Result<usize> {
        let records = self.records.list(&ListParams::default()).await?;
        let counts = records.items.into_iter().filter_map(|record| {
            let owner = record.status?.owner?;
            usize::try_from(owner.transitions).ok()
        });
        Ok(counts.sum())
    }

    /// The node that owns most addresses, and these.
    pub(super) async fn victim(&self) -> Result<(Machine, Vec<Ipv4Addr>)> {
        let mut owned: BTreeMap<String, Vec<Ipv4Addr>> = BTreeMap::new();
        for (address, node) in self.owners().await? {
            owned.entry(node).or_default().push(address);
        }
        let most = owned
            .into_iter()
            .max_by_key(|(_, addresses)| addresses.len());
        let (node, addresses) = most.context("no address has an owner")?;
        let machine = self.lab.plan().machine(&node);
        let machine =
            machine.with_context(|| format!("{node} owns addresses and is not of the lab"))?;
        Ok((machine.clone(), addresses))
    }

    /// Waits until every node is ready, every announcer runs again, and each hears all others.
    pub(super) async fn rest(&self) -> Result<()> {
        self.pods_run()?;
        let until = Instant::now() + PATIENCE;
        self.run(until).await?;
        let others = self.lab.plan().nodes.len() - 1;
        for node in &self.lab.plan().nodes {
            let says = format!("landfall_peers_heard {others}.0");
            while !metrics(node).is_ok_and(|text| text.lines().any(|line| line == says)) {
                ensure!(
                    Instant::now() < until,
                    "the announcer on {} does not hear all of {others} others after {PATIENCE:?}; see its /debug/state",
                    node.name
                );
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        Ok(())
    }

    async fn run(&self, until: Instant) -> Result<()> {
        loop {
            let said = self.kubectl(
                "get daemonset -n landfall-system landfall-announcer -o \
                 jsonpath={.status.numberReady}/{.status.desiredNumberScheduled}/{.status.numberUnavailable}",
            )?;
            let wanted = self.lab.plan().nodes.len();
            if said == format!("{wanted}/{wanted}/") {
                return Ok(());
            }
            if Instant::now() >= until {
                bail!("announcers ready/wanted/unavailable are {said} after {PATIENCE:?}");
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
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

/// Pool, policy and Services.
fn services(addresses: u8, mode: &str) -> String {
    let mut text = format!(
        "apiVersion: landfall.dev/v1alpha1
kind: LoadBalancerIPPool
metadata: {{name: failover}}
spec:
  blocks: [{{start: 192.0.2.120, stop: 192.0.2.249}}]
---
apiVersion: landfall.dev/v1alpha1
kind: L2AnnouncementPolicy
metadata: {{name: failover}}
spec:
  interfaces: [eth0]
  loadBalancing: {mode}
  nodeSelector: {{matchLabels: {{failover/role: announces}}}}
"
    );
    for number in 1..=addresses {
        let _ = write!(
            text,
            "---
apiVersion: v1
kind: Service
metadata: {{name: web-{number}, namespace: failover}}
spec:
  type: LoadBalancer
  selector: {{app: backend}}
  ports: [{{port: 80, targetPort: 8080}}]
"
        );
    }
    text
}
