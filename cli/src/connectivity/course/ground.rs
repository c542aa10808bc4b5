//! The first checks, on which all others stand: what the test needs is there, and is made.

use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Pod, Service, ServiceAccount};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use landfall_controller::survey;
use landfall_crds::conditions::{ADDRESS_ASSIGNED, find};
use landfall_crds::selector::Labels;
use landfall_crds::{HolderKey, L2AnnouncementPolicy};

use super::Course;
use crate::connectivity::manifests::{self, CLIENT, ECHO};
use crate::connectivity::plan::{self, Lack};
use crate::connectivity::report::Outcome;
use crate::{pools, settings, status};

/// How long the client may take to say that it asks.
const BEGINS: Duration = Duration::from_secs(30);
/// How long the client asks if nobody ends it.
const AT_MOST: u64 = 900;
/// How often other addresses are tried for the client, where somebody is quicker.
const TRIES: usize = 5;

impl Course<'_> {
    pub(super) async fn installed(&mut self) -> anyhow::Result<Outcome> {
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
        if let Some(announcer) = picture.announcer() {
            self.secrets = manifests::pull_secrets(announcer);
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

    pub(super) async fn pools(&mut self) -> anyhow::Result<Outcome> {
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
        // Of several pools one that has nothing left is no fault of the others'.
        if !faults.is_empty()
            && (pools.len() == 1 || pools.iter().all(|pool| pool.accepted != Some(true)))
        {
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
        let words = words.chain(faults.iter().cloned());
        Ok(Outcome::passed(words.collect::<Vec<_>>().join(", ")))
    }

    pub(super) async fn backends(&mut self) -> anyhow::Result<Outcome> {
        let picture = self.picture().await?;
        let namespace = manifests::namespace(&self.stage.namespace);
        let namespace: Namespace = self.stage.make(&namespace).await?;
        self.stage.copy_secrets(&self.secrets).await?;
        self.stage
            .put::<ServiceAccount>(&manifests::account(&self.secrets))
            .await?;
        let labels: Labels = namespace.labels().clone();
        let plan = match plan::plan(&picture, (&self.stage.namespace, &labels), ECHO) {
            Ok(plan) => plan,
            Err(Lack::TooFew(why)) => return Ok(Outcome::skipped(why)),
            Err(Lack::Broken(why)) => return Ok(Outcome::failed(why)),
        };
        if plan.policies.is_empty() {
            let policy = manifests::policy(&self.stage.namespace);
            self.stage.make::<L2AnnouncementPolicy>(&policy).await?;
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

    pub(super) async fn address(&mut self) -> anyhow::Result<Outcome> {
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
        self.stage.vips.replace(has.clone());
        // Filled once the client has its own.
        self.pairs = has.into_iter().map(|vip| (vip, vip)).collect();
        Ok(Outcome::passed(words.join(" and ")))
    }

    pub(super) async fn owner(&mut self) -> anyhow::Result<Outcome> {
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

    /// Reserves addresses for the client, those that the controller would give to a Service like the test's, and starts it.
    pub(super) async fn client(&mut self) -> anyhow::Result<Outcome> {
        let mut taken = None;
        for _ in 0..TRIES {
            taken = self.reserve().await?.err();
            if taken.is_none() {
                break;
            }
        }
        if let Some(why) = taken {
            return Ok(Outcome::failed(why));
        }
        let Some(plan) = &self.plan else {
            return Ok(Outcome::failed("there is no plan"));
        };
        let pairs: Vec<(IpAddr, IpAddr)> =
            self.pairs.iter().map(|(vip, own)| (*own, *vip)).collect();
        // Where the owner answers, as far as the client's node has interfaces of these names.
        let mut interfaces = Vec::new();
        for vip in self.pairs.keys() {
            let status = self
                .stage
                .record(*vip)
                .await?
                .and_then(|record| record.status);
            interfaces.extend(status.unwrap_or_default().interfaces);
        }
        interfaces.retain(|name| plan.interfaces.contains(name));
        interfaces.dedup();
        if interfaces.is_empty() {
            interfaces.clone_from(&plan.interfaces);
        }
        let pod = manifests::client(&self.image, plan, &interfaces, &pairs, AT_MOST);
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

    /// Reserves those that are not yet; else why not, and it may be tried again.
    async fn reserve(&mut self) -> anyhow::Result<Result<(), String>> {
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
        let open = self.pairs.iter().filter(|(vip, own)| vip == own);
        let open: Vec<IpAddr> = open.map(|(vip, _)| *vip).collect();
        for vip in open {
            let Some(own) = free.iter().find(|own| own.is_ipv4() == vip.is_ipv4()) else {
                return Ok(Err(format!(
                    "the client needs an address beside {vip}, and no pool has another one free for it"
                )));
            };
            let reservation = manifests::reservation(&self.stage.namespace, *own);
            // Making it is the reservation: what is there already is somebody's.
            if !self.stage.reserve(&reservation).await? {
                return Ok(Err(format!("somebody was quicker to take {own}")));
            }
            self.pairs.insert(vip, *own);
        }
        Ok(Ok(()))
    }
}

fn addresses(service: &Service) -> Vec<IpAddr> {
    let status = service.status.as_ref();
    let ingress = status.and_then(|status| status.load_balancer.as_ref()?.ingress.as_ref());
    let points = ingress.into_iter().flatten();
    points
        .filter_map(|point| point.ip.as_ref()?.parse().ok())
        .collect()
}
