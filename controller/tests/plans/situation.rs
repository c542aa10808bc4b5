//! An index whose writes all succeed at once, and the objects around it.

use std::collections::{BTreeMap, BTreeSet};

use landfall_crds::{LoadBalancerIPPoolSpec, LoadBalancerIPSpec, ReclaimPolicy};
use landfall_ipam::address::Point;
use landfall_ipam::book::Stored;
use landfall_ipam::book::Write;
use landfall_ipam::plan::Outcome;
use landfall_ipam::pools::{Pool, PoolError};
use landfall_ipam::request::Request;
use landfall_ipam::service::{FamilyPolicy, Protocol};
use landfall_ipam::{Family, HolderKey, Index, PoolName, Service};
use serde_json::{Value, json};

/// An index whose writes all succeed at once.
#[derive(Default)]
pub(crate) struct Situation {
    pub(crate) index: Index,
    clock: i64,
}

impl Situation {
    pub(crate) fn compiled(name: &str, spec: Value) -> Result<Pool, PoolError> {
        let spec: LoadBalancerIPPoolSpec = serde_json::from_value(spec).unwrap();
        Pool::compile(name, &spec, false)
    }

    pub(crate) fn pool(&mut self, name: &str, spec: Value) -> &mut Self {
        let pool = Self::compiled(name, spec);
        self.index.pool_seen(&PoolName::from(name), Some(pool));
        self.work()
    }

    pub(crate) fn cidrs(&mut self, name: &str, cidrs: &[&str]) -> &mut Self {
        let blocks: Vec<Value> = cidrs.iter().map(|cidr| json!({"cidr": cidr})).collect();
        self.pool(name, json!({"blocks": blocks}))
    }

    /// A pool is being deleted.
    pub(crate) fn drain(&mut self, name: &str, spec: Value) -> &mut Self {
        let pool = Self::compiled(name, spec).map(|mut pool| {
            pool.draining = true;
            pool
        });
        self.index.pool_seen(&PoolName::from(name), Some(pool));
        self.work()
    }

    /// A pool has gone.
    pub(crate) fn gone(&mut self, name: &str) -> &mut Self {
        self.index.pool_seen(&PoolName::from(name), None);
        self.work()
    }

    pub(crate) fn service(
        &mut self,
        name: &str,
        annotations: &[(&str, &str)],
        change: impl FnOnce(&mut Service),
    ) -> &mut Self {
        self.silent(name, annotations, change).work()
    }

    /// A Service that is seen, and nothing is done about it yet.
    pub(crate) fn silent(
        &mut self,
        name: &str,
        annotations: &[(&str, &str)],
        change: impl FnOnce(&mut Service),
    ) -> &mut Self {
        self.clock += 1;
        let annotations = annotations
            .iter()
            .map(|(k, v)| ((*k).into(), (*v).into()))
            .collect();
        let key = HolderKey::service("blue", name);
        let before = self.index.service(&key);
        let mut service = Service {
            uid: name.to_owned(),
            created: before.map_or(self.clock, |before| before.created),
            wanted: true,
            labels: BTreeMap::new(),
            gateway_class: None,
            frontends: Vec::new(),
            request: Request::read(&annotations, None),
            policy: FamilyPolicy::SingleStack,
            families: vec![Family::V4],
            ports: BTreeSet::from([(Protocol::Tcp, 80)]),
            local: false,
            selector: BTreeMap::from([("app".to_owned(), name.to_owned())]),
            cluster: Vec::new(),
            external: Vec::new(),
            status: before
                .map(|before| before.status.clone())
                .unwrap_or_default(),
            hosts: Vec::new(),
            ours: true,
            touched: before.is_some(),
            notes: Vec::new(),
            key,
        };
        change(&mut service);
        self.index.service_seen(service);
        self
    }

    /// Somebody else writes the status of a Service.
    pub(crate) fn foreign(&mut self, name: &str, addresses: &[&str], hosts: &[&str]) -> &mut Self {
        let known = self.index.service(&HolderKey::service("blue", name));
        let mut service = Service::clone(known.unwrap());
        service.status = addresses.iter().map(|text| text.parse().unwrap()).collect();
        service.hosts = hosts.iter().map(|&host| host.to_owned()).collect();
        service.ours = false;
        self.index.service_seen(service);
        self.work()
    }

    /// The controller is another process: it begins from the records and what the objects show.
    pub(crate) fn restart(&mut self) -> &mut Self {
        self.index.adopt();
        self.work()
    }

    pub(crate) fn plain(&mut self, name: &str) -> &mut Self {
        self.service(name, &[], |_| {})
    }

    pub(crate) fn delete(&mut self, name: &str) -> &mut Self {
        self.index.service_gone(&HolderKey::service("blue", name));
        self.work()
    }

    /// A person's own record.
    pub(crate) fn record(&mut self, spec: Value) -> &mut Self {
        let spec: LoadBalancerIPSpec = serde_json::from_value(spec).unwrap();
        self.clock += 1;
        let at = Point::from(spec.address.parse::<std::net::IpAddr>().unwrap());
        let version = self.clock.to_string();
        self.index.record_seen(
            at,
            Stored {
                spec,
                uid: version.clone(),
                version,
                out_of_pool: None,
                reserved_by_us: false,
                shown_to: BTreeSet::new(),
            },
        );
        self.work()
    }

    /// A person edits the only record there is.
    pub(crate) fn reclaim(&mut self, policy: ReclaimPolicy) -> &mut Self {
        let (at, entry) = self.index.entries().next().unwrap();
        let mut stored = entry.stored.clone().unwrap();
        stored.spec.reclaim_policy = policy;
        self.clock += 1;
        stored.version = self.clock.to_string();
        self.index.record_seen(at, stored);
        self.work()
    }

    pub(crate) fn work(&mut self) -> &mut Self {
        for round in 0.. {
            let Some(queued) = self.index.pop() else {
                break;
            };
            assert!(round < 10_000, "it never comes to rest: {queued:?}");
            let Some(step) = self.index.plan(&queued.key) else {
                continue;
            };
            self.write(&step.records);
            if let Some(service) = step.service {
                let status = step.plan.addresses(&service);
                // Without an address of ours nothing is said of the ingress, so that what is not ours stays.
                let left_alone = status.is_empty() && !service.ours;
                if service.status != status && !left_alone {
                    let shown = Service {
                        status,
                        ours: true,
                        ..Service::clone(&service)
                    };
                    self.index.service_seen(shown);
                }
            }
            for at in &step.shown {
                self.note_shown(*at, &queued.key);
            }
            let departures = self.index.depart(&queued.key, &step.plan.leave);
            self.write(&departures);
        }
        self
    }

    fn note_shown(&mut self, at: Point, key: &HolderKey) {
        let uid = self.index.service(key).map(|service| service.uid.clone());
        let entry = self.index.entries().find(|(other, _)| *other == at);
        let mut stored = entry.unwrap().1.stored.clone().unwrap();
        self.clock += 1;
        stored.shown_to = self.index.shown_to(at, &uid.unwrap());
        stored.version = self.clock.to_string();
        self.index.record_seen(at, stored);
    }

    pub(crate) fn write(&mut self, writes: &[Write]) {
        for write in writes {
            self.clock += 1;
            let version = self.clock.to_string();
            match write {
                Write::Create(at, spec) => {
                    let stored = Stored {
                        spec: spec.clone(),
                        uid: version.clone(),
                        version,
                        out_of_pool: None,
                        reserved_by_us: false,
                        shown_to: BTreeSet::new(),
                    };
                    self.index.record_seen(*at, stored);
                }
                Write::Replace(at, spec, stored) => {
                    // Whoever writes what stands there already changes nothing, nor whose it is.
                    let kept = &spec.reserved_for;
                    let by_us = stored.reserved_by_us || *kept != stored.spec.reserved_for;
                    let stored = Stored {
                        spec: spec.clone(),
                        version,
                        reserved_by_us: kept.is_some() && by_us,
                        ..stored.clone()
                    };
                    self.index.record_seen(*at, stored);
                }
                Write::Delete(at, stored) => self.index.record_gone(*at, &stored.uid, true),
            }
        }
    }

    pub(crate) fn outcome(&self, name: &str) -> Outcome {
        let service = self
            .index
            .service(&HolderKey::service("blue", name))
            .unwrap();
        self.index.preview(service).outcome.unwrap()
    }

    pub(crate) fn says(&self, name: &str) -> String {
        let outcome = self.outcome(name);
        format!("{}: {}", outcome.reason.as_str(), outcome.message)
    }

    pub(crate) fn has(&self, name: &str) -> String {
        let service = self
            .index
            .service(&HolderKey::service("blue", name))
            .unwrap();
        let addresses: Vec<String> = service.status.iter().map(ToString::to_string).collect();
        addresses.join(" ")
    }
}

pub(crate) fn dual(policy: FamilyPolicy) -> impl FnOnce(&mut Service) {
    move |service| {
        service.policy = policy;
        service.families = vec![Family::V4, Family::V6];
    }
}
