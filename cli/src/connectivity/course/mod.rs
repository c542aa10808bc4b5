//! The checks in their order: what each needs is made, and what was seen is judged.

mod ground;
mod moves;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use landfall_crds::conditions::{ANNOUNCED, SERVICE_ANNOUNCED, find};

use super::judge::{self, Seen};
use super::manifests;
use super::observer::Observer;
use super::plan::{self, Plan};
use super::report::{Outcome, Report};
use super::stage::Stage;
use crate::args::{Check, ConnectivityTest};
use crate::cluster::Wants;
use crate::out::say;
use crate::picture::Picture;

/// How long the client watches where nothing is done to anybody.
const QUIET: Duration = Duration::from_secs(5);
/// How long until the client asks: what it asked before the first answer is of the beginning.
const SETTLING: Duration = Duration::from_secs(1);
/// How long a connection needs to be lost.
const LOST: Duration = Duration::from_secs(4);

/// A step's result; the error of the outer one ends the test.
type Tried<T> = anyhow::Result<Result<T, Outcome>>;

/// The node that has each address.
type Owners = BTreeMap<IpAddr, String>;

/// The test on its way.
pub(super) struct Course<'a> {
    stage: &'a Stage<'a>,
    flags: &'a ConnectivityTest,
    report: &'a mut Report,
    image: String,
    secrets: Vec<String>,
    plan: Option<Plan>,
    /// The client's own address by each that it asks for.
    pairs: BTreeMap<IpAddr, IpAddr>,
    client: Option<Observer>,
    quiet: Option<Vec<Seen>>,
    round: u32,
}

/// Or the outcome that says why not.
macro_rules! tried {
    ($result:expr) => {
        match $result {
            Ok(found) => found,
            Err(outcome) => return Ok(outcome),
        }
    };
}
use tried;

impl<'a> Course<'a> {
    pub(super) fn new(
        stage: &'a Stage<'a>,
        flags: &'a ConnectivityTest,
        report: &'a mut Report,
    ) -> Self {
        Self {
            stage,
            flags,
            report,
            image: flags.image.clone().unwrap_or_default(),
            secrets: Vec::new(),
            plan: None,
            pairs: BTreeMap::new(),
            client: None,
            quiet: None,
            round: 0,
        }
    }

    /// Every check that is wanted.
    ///
    /// # Errors
    /// When the cluster cannot be asked.
    pub(super) async fn run(&mut self) -> anyhow::Result<()> {
        let mut blocked: Option<String> = None;
        for check in self.report.wanted.clone() {
            let began = Instant::now();
            let outcome = match &blocked {
                Some(why) => Outcome::skipped(why.clone()),
                None => Box::pin(self.check(check)).await?,
            };
            if check.is_ground() && !matches!(outcome, Outcome::Passed(_)) {
                blocked.get_or_insert(format!("stands on {}", check.name()));
            }
            say!("{}", self.report.add(check, outcome, began.elapsed()));
        }
        Ok(())
    }

    async fn check(&mut self, check: Check) -> anyhow::Result<Outcome> {
        match check {
            Check::Installed => self.installed().await,
            Check::Pools => self.pools().await,
            Check::Backends => self.backends().await,
            Check::Address => self.address().await,
            Check::Owner => self.owner().await,
            Check::Client => self.client().await,
            Check::Arp => self.who(IpAddr::is_ipv4, "IPv4").await,
            Check::Ndp => self.who(IpAddr::is_ipv6, "IPv6").await,
            Check::Tcp => Ok(judge::tcp(&tried!(self.quiet().await?))),
            Check::Udp => Ok(judge::udp(&tried!(self.quiet().await?))),
            Check::ClientAddress => Ok(judge::client_address(&tried!(self.quiet().await?))),
            Check::Xdp => self.xdp().await,
            Check::RollingUpdate => self.rolling_update().await,
            Check::PlannedMove => self.planned_move().await,
            Check::Restart => self.restart().await,
            Check::Failover => self.failover().await,
        }
    }

    /// Replaces all backends, on the nodes of the plan but one; returns their Pods.
    async fn deploy(
        &mut self,
        but: Option<&str>,
    ) -> anyhow::Result<Result<BTreeSet<String>, String>> {
        let Some(plan) = &self.plan else {
            return Ok(Err("there is no plan".to_owned()));
        };
        self.round += 1;
        let hosts = plan
            .backends
            .iter()
            .filter(|(node, _)| Some(node.as_str()) != but);
        let hosts: Vec<&str> = hosts.map(|(_, host)| host.as_str()).collect();
        let deployment = manifests::deployment(&self.image, plan, &hosts, self.round);
        self.stage.put::<Deployment>(&deployment).await?;
        let pods = self.stage.rolled_out().await?;
        Ok(pods.map(|pods| pods.iter().map(Pod::name_any).collect()))
    }

    /// Waits until every address has an owner that answers; returns who that is.
    async fn owned(&self) -> anyhow::Result<Result<Owners, String>> {
        self.stage
            .until(async || {
                let mut owners = Owners::new();
                for vip in self.pairs.keys() {
                    let record = self.stage.record(*vip).await?;
                    let status = record.and_then(|record| record.status).unwrap_or_default();
                    let said = find(&status.conditions, ANNOUNCED);
                    match (status.owner.as_ref(), said) {
                        (Some(owner), Some(said)) if said.status == "True" => {
                            owners.insert(*vip, owner.node.clone());
                        }
                        (_, said) => {
                            let why = match said.map(|said| said.message.clone()) {
                                Some(why) => Some(why),
                                None => self.announcers_say().await?,
                            };
                            let why = why.unwrap_or_else(|| "nobody has said why".to_owned());
                            return Ok(Err(format!("nobody answers for {vip}: {why}")));
                        }
                    }
                }
                Ok(Ok(owners))
            })
            .await
    }

    async fn announcers_say(&self) -> anyhow::Result<Option<String>> {
        let status = self.stage.service().await?.status.unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default();
        let said = find(&conditions, SERVICE_ANNOUNCED);
        Ok(said.map(|said| said.message.clone()))
    }

    async fn who(&mut self, of: fn(&IpAddr) -> bool, family: &str) -> anyhow::Result<Outcome> {
        if !self.pairs.keys().any(of) {
            return Ok(Outcome::skipped(format!(
                "the test's Service has no {family} address: the cluster or the pools have none of that family"
            )));
        }
        let mut seen = tried!(self.quiet().await?);
        seen.retain(|seen| of(&seen.window.vip));
        let picture = self.picture().await?;
        Ok(judge::who(&seen, &plan::macs(picture.l2_nodes.all())))
    }

    /// What the client sees while nothing is done to anybody: watched once.
    async fn quiet(&mut self) -> Tried<Vec<Seen>> {
        if let Some(seen) = &self.quiet {
            return Ok(Ok(seen.clone()));
        }
        if let Err(outcome) = self.watch(SETTLING).await {
            return Ok(Err(outcome));
        }
        let mark = self.mark();
        // What was asked last has time to be lost.
        if let Err(outcome) = self.watch(QUIET + LOST).await {
            return Ok(Err(outcome));
        }
        let seen = self.seen(mark).await?;
        if let Ok(seen) = &seen {
            self.quiet = Some(seen.clone());
        }
        Ok(seen)
    }

    fn mark(&self) -> usize {
        self.client.as_ref().map_or(0, Observer::mark)
    }

    async fn watch(&mut self, time: Duration) -> Result<(), Outcome> {
        let Some(client) = &mut self.client else {
            return Err(Outcome::skipped("stands on client"));
        };
        client.watch(time).await.map_err(Outcome::failed)
    }

    /// What the client saw since, with the owners of now.
    async fn seen(&self, mark: usize) -> Tried<Vec<Seen>> {
        let owners = match self.owned().await? {
            Ok(owners) => owners,
            Err(why) => return Ok(Err(Outcome::failed(why))),
        };
        let windows = self
            .client
            .as_ref()
            .map(|client| client.since(mark))
            .unwrap_or_default();
        let mut all = Vec::new();
        for (vip, own) in &self.pairs {
            let Some(window) = windows.get(vip) else {
                return Ok(Err(Outcome::failed(format!(
                    "the client said nothing of {vip}"
                ))));
            };
            all.push(Seen {
                owner: owners.get(vip).cloned().unwrap_or_default(),
                own: *own,
                window: window.clone(),
            });
        }
        Ok(Ok(all))
    }

    async fn xdp(&mut self) -> anyhow::Result<Outcome> {
        if !self.plan.as_ref().is_some_and(Plan::forwards_by_xdp) {
            return Ok(Outcome::skipped(
                "no policy with loadBalancing: XDP announces the test's Service",
            ));
        }
        let owners = match self.owned().await? {
            Ok(owners) => owners,
            Err(why) => return Ok(Outcome::failed(why)),
        };
        let Some(owner) = owners.values().next().cloned() else {
            return Ok(Outcome::failed("there is no address"));
        };
        let before = tried!(self.carried("before", &owner).await?);
        let mark = self.mark();
        tried!(self.watch(QUIET).await.map(|()| Vec::<()>::new()));
        let after = tried!(self.carried("after", &owner).await?);
        let seen = tried!(self.seen(mark).await?);
        // Answered within the watch; the counters were read around it.
        let of_owner = seen.iter().filter(|seen| seen.owner == owner);
        let asked = of_owner.map(|seen| seen.window.tcp.answered + seen.window.udp.answered);
        Ok(judge::xdp(&owner, before, after, asked.sum()))
    }

    async fn carried(&self, name: &str, node: &str) -> Tried<u64> {
        let reader = manifests::reader(name, &self.image, node);
        let text = match self.stage.errand(&reader).await? {
            Ok(text) => text,
            Err(why) => {
                return Ok(Err(Outcome::failed(format!(
                    "reading the metrics of {node}: {why}"
                ))));
            }
        };
        Ok(judge::carried(&text).ok_or_else(|| {
            Outcome::failed(format!(
                "the announcer of {node} counts no packets: its director does not run"
            ))
        }))
    }

    async fn picture(&self) -> anyhow::Result<Picture> {
        let wants = Wants {
            workloads: true,
            planning: true,
        };
        self.stage.cluster.picture(wants).await
    }
}
