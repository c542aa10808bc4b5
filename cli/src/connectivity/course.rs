//! The checks in their order: what each needs is made, and what was seen is judged.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use landfall_controller::survey;
use landfall_crds::conditions::{ADDRESS_ASSIGNED, ANNOUNCED, SERVICE_ANNOUNCED, find};
use landfall_crds::selector::Labels;
use landfall_crds::{HolderKey, L2AnnouncementPolicy, LoadBalancerIP};

use super::judge::{self, FAILOVER, PLANNED, Seen};
use super::manifests::{self, CLIENT, ECHO};
use super::plan::{self, Plan};
use super::report::{Outcome, Report};
use super::stage::{Observer, Stage};
use crate::args::{Check, ConnectivityTest};
use crate::cluster::Wants;
use crate::out::say;
use crate::picture::Picture;
use crate::{pools, settings, status};

/// How long the client watches where nothing is done to anybody.
const QUIET: Duration = Duration::from_secs(5);
/// How long a connection needs to be lost.
const LOST: Duration = Duration::from_secs(4);
/// How long the client may take to say that it asks.
const BEGINS: Duration = Duration::from_secs(30);
/// How long the client asks if nobody ends it.
const AT_MOST: u64 = 3_600;

/// A step's result; the error of the outer one ends the test.
type Tried<T> = anyhow::Result<Result<T, Outcome>>;

/// The test on its way.
pub(super) struct Course<'a> {
    stage: &'a Stage<'a>,
    flags: &'a ConnectivityTest,
    report: &'a mut Report,
    image: String,
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
            Check::Failover => self.failover().await,
        }
    }

    async fn installed(&mut self) -> anyhow::Result<Outcome> {
        let picture = self.picture().await?;
        let judged = status::judge(&picture, Timestamp::now());
        let runs = judged.workloads.len() == 2
            && judged
                .workloads
                .iter()
                .all(|w| w.ready == w.wanted && w.wanted > 0);
        if !runs || judged.leader.is_none() {
            let why = judged.wrong.into_iter().next();
            let why = why
                .unwrap_or_else(|| "the controller and the announcers do not all run".to_owned());
            return Ok(Outcome::failed(why));
        }
        if let (true, Some(announcer)) = (self.image.is_empty(), picture.announcer()) {
            self.image = match manifests::image(announcer) {
                Ok(image) => image,
                Err(why) => return Ok(Outcome::failed(why)),
            };
        }
        let words = judged
            .workloads
            .iter()
            .map(|w| format!("{} {}/{}", w.name, w.ready, w.wanted));
        Ok(Outcome::passed(words.collect::<Vec<_>>().join(", ")))
    }

    async fn pools(&mut self) -> anyhow::Result<Outcome> {
        let picture = self.picture().await?;
        let named: Vec<String> = self.flags.pool.iter().cloned().collect();
        let pools = pools::pools(picture.pools.all(), &named);
        if pools.is_empty() {
            return Ok(Outcome::failed(match named.first() {
                Some(name) => format!("there is no pool {name}"),
                None => "there is no pool; apply a LoadBalancerIPPool".to_owned(),
            }));
        }
        let faults = pools.iter().flat_map(|pool| {
            let refused = (pool.accepted != Some(true))
                .then(|| format!("pool {} is not accepted", pool.name));
            refused.into_iter().chain(pool.problems.iter().cloned())
        });
        let faults: Vec<String> = faults.collect();
        if !faults.is_empty() {
            return Ok(Outcome::failed(faults.join("; ")));
        }
        let words = pools.iter().flat_map(|pool| {
            let families = pool.families.iter();
            families.map(|of| {
                format!(
                    "{} has {} {} addresses free",
                    pool.name, of.counts.available, of.family
                )
            })
        });
        Ok(Outcome::passed(words.collect::<Vec<_>>().join(", ")))
    }

    async fn backends(&mut self) -> anyhow::Result<Outcome> {
        let picture = self.picture().await?;
        let namespace = manifests::namespace(&self.stage.namespace);
        let namespace: Namespace = self.stage.put_wide(&namespace).await?;
        let labels: Labels = namespace.labels().clone();
        let plan = match plan::plan(&picture, (&self.stage.namespace, &labels), ECHO) {
            Ok(plan) => plan,
            // There is nothing wrong with a cluster of one node; nothing can be tried in it either.
            Err(why) => return Ok(Outcome::skipped(why)),
        };
        if plan.policies.is_empty() {
            let policy = manifests::policy(&self.stage.namespace);
            self.stage.put_wide::<L2AnnouncementPolicy>(&policy).await?;
        }
        self.stage
            .put::<Service>(&manifests::service(self.flags.pool.as_deref()))
            .await?;
        let words = format!(
            "on {}; the client is on {}; announced by {}",
            plan.backends
                .keys()
                .cloned()
                .collect::<Vec<_>>()
                .join(" and "),
            plan.client,
            match plan.policies.is_empty() {
                true =>
                    "a policy of the test, as none of the cluster's selects its Service".to_owned(),
                false => format!(
                    "policy {}",
                    plan.policies
                        .keys()
                        .cloned()
                        .collect::<Vec<_>>()
                        .join(" and ")
                ),
            }
        );
        self.plan = Some(plan);
        Ok(match self.deploy(None).await? {
            Ok(_) => Outcome::passed(words),
            Err(why) => Outcome::failed(why),
        })
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

    async fn address(&mut self) -> anyhow::Result<Outcome> {
        let has = self
            .stage
            .until(async || {
                let service = self.stage.service().await?;
                let conditions = service.status.clone().and_then(|status| status.conditions);
                let conditions = conditions.unwrap_or_default();
                let assigned = find(&conditions, ADDRESS_ASSIGNED);
                let has = addresses(&service);
                Ok(match assigned {
                    Some(said) if said.status == "True" && !has.is_empty() => Ok(has),
                    Some(said) => Err(said.message.clone()),
                    None => Err("the controller has said nothing of it yet".to_owned()),
                })
            })
            .await?;
        let has = match has {
            Ok(has) => has,
            Err(why) => return Ok(Outcome::failed(why)),
        };
        let words: Vec<String> = has.iter().map(IpAddr::to_string).collect();
        // Filled once the client has its own.
        self.pairs = has.into_iter().map(|vip| (vip, vip)).collect();
        Ok(Outcome::passed(words.join(" and ")))
    }

    async fn owner(&mut self) -> anyhow::Result<Outcome> {
        Ok(match self.owned().await? {
            Ok(owners) => {
                let words = owners
                    .iter()
                    .map(|(vip, node)| format!("{node} answers for {vip}"));
                Outcome::passed(words.collect::<Vec<_>>().join(", "))
            }
            Err(why) => Outcome::failed(why),
        })
    }

    /// Waits until every address has an owner that answers; returns who that is.
    async fn owned(&self) -> anyhow::Result<Result<BTreeMap<IpAddr, String>, String>> {
        self.stage
            .until(async || {
                let mut owners = BTreeMap::new();
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

    /// Reserves addresses for the client, those that the controller would give to a Service like the test's, and starts it.
    async fn client(&mut self) -> anyhow::Result<Outcome> {
        let mut picture = self.picture().await?;
        let mut like: Service = self.stage.service().await?;
        like.metadata.name = Some(CLIENT.to_owned());
        like.metadata.uid = Some(CLIENT.to_owned());
        like.status = None;
        if let crate::picture::Sight::Seen(services) = &mut picture.services {
            services.push(like);
        }
        let (settings, _) = settings::of(picture.controller())?;
        let cache = survey::cache(picture.objects(), &settings);
        let key = HolderKey::service(&*self.stage.namespace, CLIENT);
        let free = cache
            .index
            .service(&key)
            .map(|known| cache.index.preview(known).addresses(known));
        let free = free.unwrap_or_default();
        let vips: Vec<IpAddr> = self.pairs.keys().copied().collect();
        for vip in vips {
            let Some(own) = free.iter().find(|own| own.is_ipv4() == vip.is_ipv4()) else {
                return Ok(Outcome::failed(format!(
                    "the client needs an address beside {vip}, and no pool has another one free for it"
                )));
            };
            let reservation = manifests::reservation(&self.stage.namespace, *own);
            self.stage.put_wide::<LoadBalancerIP>(&reservation).await?;
            self.pairs.insert(vip, *own);
        }
        let Some(plan) = &self.plan else {
            return Ok(Outcome::failed("there is no plan"));
        };
        let pairs: Vec<(IpAddr, IpAddr)> =
            self.pairs.iter().map(|(vip, own)| (*own, *vip)).collect();
        let pod = manifests::client(&self.image, plan, &pairs, AT_MOST);
        let node = plan.client.clone();
        self.stage.put::<Pod>(&pod).await?;
        let mut observer = match self.stage.listen().await? {
            Ok(observer) => observer,
            Err(why) => return Ok(Outcome::failed(why)),
        };
        if let Err(why) = observer.begun(pairs.len(), BEGINS).await {
            return Ok(Outcome::failed(why));
        }
        self.client = Some(observer);
        let own: Vec<String> = pairs.iter().map(|(own, _)| own.to_string()).collect();
        Ok(Outcome::passed(format!(
            "{} on the segment of {node}",
            own.join(" and ")
        )))
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
        // What was asked before the first answer is of the beginning.
        if let Err(outcome) = self.watch(Duration::from_secs(1)).await {
            return Ok(Err(outcome));
        }
        let mark = self.mark();
        if let Err(outcome) = self.watch(QUIET).await {
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
        let text = match self.stage.metrics(name, &self.image, node).await? {
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

    async fn rolling_update(&mut self) -> anyhow::Result<Outcome> {
        let before = match self.stage.rolled_out().await? {
            Ok(pods) => pods.iter().map(Pod::name_any).collect(),
            Err(why) => return Ok(Outcome::failed(why)),
        };
        let mark = self.mark();
        if let Err(why) = self.deploy(None).await? {
            return Ok(Outcome::failed(why));
        }
        tried!(self.watch(LOST).await.map(|()| Vec::<()>::new()));
        Ok(judge::rolling_update(
            &tried!(self.seen(mark).await?),
            &before,
        ))
    }

    async fn planned_move(&mut self) -> anyhow::Result<Outcome> {
        let Some(from) = self.may_move().await? else {
            return Ok(Outcome::skipped(ONE_NODE));
        };
        let before = tried!(self.seen(self.mark().saturating_sub(8)).await?);
        let mark = self.mark();
        if let Err(why) = self.deploy(Some(&from)).await? {
            return Ok(Outcome::failed(why));
        }
        tried!(self.left(&from).await?);
        tried!(self.watch(LOST).await.map(|()| Vec::<()>::new()));
        let outcome = self.moved(mark, &before, &from, PLANNED).await?;
        // As it was, for what comes after.
        Ok(match self.deploy(None).await? {
            Ok(_) => outcome,
            Err(why) => Outcome::failed(why),
        })
    }

    async fn failover(&mut self) -> anyhow::Result<Outcome> {
        if !self.flags.disruptive {
            return Ok(Outcome::skipped(
                "deletes an announcer's Pod: --disruptive permits it",
            ));
        }
        let Some(from) = self.may_move().await? else {
            return Ok(Outcome::skipped(ONE_NODE));
        };
        let before = tried!(self.seen(self.mark().saturating_sub(8)).await?);
        let mark = self.mark();
        if let Err(why) = self.stage.replace_announcer(&from).await? {
            return Ok(Outcome::failed(why));
        }
        tried!(self.left(&from).await?);
        tried!(self.watch(LOST).await.map(|()| Vec::<()>::new()));
        self.moved(mark, &before, &from, FAILOVER).await
    }

    /// The owner of an address, where another node could have it.
    async fn may_move(&self) -> anyhow::Result<Option<String>> {
        if self
            .plan
            .as_ref()
            .is_none_or(|plan| plan.backends.len() < 2)
        {
            return Ok(None);
        }
        Ok(self
            .owned()
            .await?
            .ok()
            .and_then(|owners| owners.into_values().next()))
    }

    /// Waits until a node has no address of the test any more.
    async fn left(&self, node: &str) -> Tried<()> {
        let left = self
            .stage
            .until(async || {
                Ok(match self.owned().await? {
                    Ok(owners) => match owners.iter().find(|(_, owner)| *owner == node) {
                        None => Ok(()),
                        Some((vip, _)) => Err(format!("{vip} is still at {node}")),
                    },
                    Err(why) => Err(why),
                })
            })
            .await?;
        Ok(left.map_err(Outcome::failed))
    }

    async fn moved(
        &self,
        mark: usize,
        before: &[Seen],
        from: &str,
        limit: u64,
    ) -> anyhow::Result<Outcome> {
        let after = tried!(self.seen(mark).await?);
        let to: Vec<String> = after.iter().map(|seen| seen.owner.clone()).collect();
        let seen = after.into_iter().zip(before).map(|(after, before)| Seen {
            owner: before.owner.clone(),
            ..after
        });
        Ok(judge::moved(&seen.collect::<Vec<_>>(), from, &to, limit))
    }

    async fn picture(&self) -> anyhow::Result<Picture> {
        let wants = Wants {
            workloads: true,
            planning: true,
        };
        self.stage.cluster.picture(wants).await
    }
}

const ONE_NODE: &str =
    "backends can run on one node beside the client's, and an address cannot move to another";

fn addresses(service: &Service) -> Vec<IpAddr> {
    let status = service.status.as_ref();
    let ingress = status.and_then(|status| status.load_balancer.as_ref()?.ingress.as_ref());
    let points = ingress.into_iter().flatten();
    points
        .filter_map(|point| point.ip.as_ref()?.parse().ok())
        .collect()
}
