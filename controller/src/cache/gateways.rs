//! What the Gateway API changes in the cache, and what follows from a decision about it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, Time};
use landfall_crds::Frontend;
use landfall_crds::gateway_api::Gateway;
use landfall_crds::version::{Stamped, supersedes};
use landfall_gateway::NamespacedName;
use landfall_ipam::address::Point;
use landfall_ipam::index::Writes;
use landfall_ipam::{HolderKey, HolderKind};
use serde_json::Value;

use super::Cache;
use crate::gateway::{LiveRecord, Marks, Subject, status};
use crate::validate::gateway as holder;

/// Whether both are one state of one object: an answer that its watch told of already, or to a write that changed nothing.
fn same_state(one: &impl Stamped, two: &impl Stamped) -> bool {
    one.uid() == two.uid() && one.version() == two.version() && !one.version().is_empty()
}

impl Cache {
    /// The API server answers a write of our own. An answer never brings back what its watch saw go, nor an older state.
    pub(crate) fn gateway_answered(&mut self, key: &NamespacedName, gateway: Gateway) {
        let known = self.gateway_api.world.gateways.get(key);
        if known.is_some_and(|known| known.uid() == gateway.uid()) {
            self.gateway_object_seen(key, Some(gateway));
        }
    }

    /// A Gateway was seen by its watch.
    pub(crate) fn gateway_object_seen(&mut self, key: &NamespacedName, gateway: Option<Gateway>) {
        let known = self.gateway_api.world.gateways.get(key);
        if let (Some(new), Some(known)) = (&gateway, known)
            && (!supersedes(new, &**known) || same_state(new, &**known))
        {
            return;
        }
        let holder = HolderKey::gateway(&key.namespace, &key.name);
        let holds = self.index.held_by(&holder).next().is_some();
        self.gateway_api.change(|world| match gateway {
            Some(gateway) => {
                if holds || holder::has_ours(&gateway) {
                    world.held.insert(key.clone());
                } else {
                    world.held.remove(key);
                }
                world.gateways.insert(key.clone(), Arc::new(gateway));
            }
            None => {
                world.held.remove(key);
                world.gateways.remove(key);
            }
        });
    }

    /// What a record says of its announcement: the Gateways that hold its address say it too.
    pub(crate) fn announcement_seen(&mut self, at: Point, conditions: &[Condition]) {
        if !self.gateway_api.announced_seen(at, conditions) {
            return;
        }
        let entry = self.index.entry(at);
        let keys = entry.into_iter().flat_map(|entry| entry.holder_keys());
        let gateways: Vec<HolderKey> = keys.filter(|key| key.kind == HolderKind::Gateway).collect();
        for key in gateways {
            self.gateway_again(&key);
        }
    }

    /// What a record says is served: ListenerSets of the Gateways that hold its address wait for it, and these say of it
    /// what there is no room for.
    pub(crate) fn served_seen(&mut self, at: Point, frontends: &[Frontend]) {
        if !self.gateway_api.served_seen(at, frontends) {
            return;
        }
        let entry = self.index.entry(at).into_iter();
        let keys = entry.flat_map(|entry| entry.holder_keys());
        let keys: Vec<HolderKey> = keys.filter(|key| key.kind == HolderKind::Gateway).collect();
        for key in &keys {
            let gateway = NamespacedName::new(&key.namespace, &key.name);
            self.gateway_api.sets_again(&gateway);
            self.gateway_again(key);
        }
    }

    /// What a record has of its Gateways' infrastructure was seen.
    pub(crate) fn marks_seen(&mut self, at: Point, record: Option<&ObjectMeta>) {
        let Some(metadata) = record else {
            self.gateway_api.records.remove(&at);
            return;
        };
        let live = LiveRecord {
            uid: metadata.uid.clone().unwrap_or_default(),
            marks: Marks::on(metadata),
        };
        self.gateway_api.records.insert(at, live);
        self.mark_unlike(at);
    }

    fn mark_unlike(&mut self, at: Point) {
        if self.marks_to_write(at).is_some() {
            self.gateway_api.again(Subject::Record(at));
        }
    }

    /// What a record shall have of the infrastructure of the Gateways that hold its address, with its uid; `None`: it has
    /// just that, or a holder is not known.
    pub(crate) fn marks_to_write(&self, at: Point) -> Option<(String, Marks)> {
        let known = &self.gateway_api;
        let live = known.records.get(&at)?;
        let mut gateways = Vec::new();
        let holders = self.index.entry(at)?.holder_keys();
        for key in holders.filter(|key| key.kind == HolderKind::Gateway) {
            let at = NamespacedName::new(&key.namespace, &key.name);
            known.decisions.gateways.get(&at)?;
            gateways.push(known.world.gateways.get(&at)?);
        }
        let wanted = Marks::of(gateways.into_iter().map(|gateway| &**gateway));
        (wanted != live.marks).then(|| (live.uid.clone(), wanted))
    }

    /// The status to write of a Gateway for which this was planned.
    pub(crate) fn gateway_status(
        &self,
        at: &NamespacedName,
        writes: &Writes,
        now: Time,
    ) -> Option<Value> {
        let addresses = writes.service.iter();
        let addresses = addresses.flat_map(|service| writes.plan.addresses(service));
        let is_shared = |at: &Point| {
            let mut holders = self
                .index
                .entry(*at)
                .into_iter()
                .flat_map(|one| one.holder_keys());
            holders.any(|key| key.kind == HolderKind::Service)
        };
        let beside: BTreeSet<Point> = addresses.map(Point::from).filter(is_shared).collect();
        status::gateway(&self.gateway_api, at, writes, &beside, now)
    }

    fn gateway_again(&mut self, key: &HolderKey) {
        if let Some(queued) = self.index.service(key).map(|service| service.queue_key()) {
            self.index.again(queued);
        }
    }

    /// Decides what has changed, and hands on what follows. Returns whether there was anything to decide.
    pub(crate) fn decide_gateways(&mut self) -> bool {
        let Some(before) = self.gateway_api.decide() else {
            return false;
        };
        let gateways = self.gateway_api.world.gateways.clone();
        for (at, gateway) in &gateways {
            let decision = self.gateway_api.decisions.gateways.get(at);
            let decided_otherwise = before.gateways.get(at) != decision;
            let service = holder::service(at, gateway, decision);
            let key = service.key.clone();
            let live = holder::live(gateway);
            // Whoever wrote it may have taken out what we said; if it was we who did, nothing is left to do.
            let rewritten = self
                .services
                .get(&key)
                .is_some_and(|known| known.version != live.version);
            self.services.shown(key.clone(), live);
            if self
                .index
                .service(&key)
                .is_some_and(|known| **known == service)
            {
                if decided_otherwise || rewritten {
                    self.gateway_again(&key);
                }
                continue;
            }
            self.index.service_seen(service);
            if self.index.service(&key).is_some() {
                self.since.entry(key).or_insert_with(Instant::now);
            } else {
                self.services.gone(&key);
            }
        }
        for key in self.index.known_gateways() {
            let at = NamespacedName::new(&key.namespace, &key.name);
            if !gateways.contains_key(&at) {
                self.index.service_gone(&key);
                self.services.gone(&key);
                self.said.remove(&key);
                self.since.remove(&key);
            }
        }
        self.gateway_api.mark_stale();
        let gateways = self.index.known_gateways();
        let held = gateways.iter().flat_map(|key| self.index.held_by(key));
        for at in held.collect::<Vec<Point>>() {
            self.mark_unlike(at);
        }
        true
    }
}

#[cfg(test)]
mod tests;
