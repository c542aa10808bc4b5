//! What is to be done for one Service: planned under the lock, carried out without it.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use landfall_crds::conditions::{ADDRESS_ASSIGNED, find};
use landfall_gateway::NamespacedName;
use landfall_ipam::index::Writes;
use landfall_ipam::plan::{How, Outcome};
use landfall_ipam::{HolderKey, HolderKind, QueueKey};
use landfall_runtime::events::Note;
use serde_json::Value;

use super::{build, status};
use crate::cache::Cache;
use crate::contest::Said;
use crate::context::Context;
use crate::validate::LiveService;

/// Planned writes with the status they end in; everything a task needs to carry them out.
#[derive(Debug)]
pub struct Work {
    /// Whom it is about.
    pub queued: QueueKey,
    pub(super) writes: Writes,
    pub(super) live: LiveService,
    pub(super) status: Option<Value>,
    /// What is compared with what was said before: for a Gateway all of its status, which says more than its addresses.
    said: Option<Outcome>,
    /// The Event of the transition, if it is one.
    pub(super) note: Option<Note>,
}

/// What there is to do for a Service.
#[derive(Debug)]
pub enum Planned {
    /// Nothing, or nobody to do it for.
    Nothing,
    /// To carry this out.
    Work(Box<Work>),
    /// To come back after a pause: somebody else undoes what was written, and nothing else is to do.
    Pause(Duration),
}

/// Plans for a Service.
pub fn plan(context: &Context, queued: &QueueKey) -> Planned {
    let mut cache = context.state.lock();
    let Some(writes) = cache.index.plan(&queued.key) else {
        return Planned::Nothing;
    };
    let live = cache.services.get(&queued.key).cloned().unwrap_or_default();
    let now = Time(Timestamp::now());
    let status = match queued.key.kind {
        HolderKind::Service => build::status(&writes, &live, now),
        HolderKind::Gateway => {
            let at = NamespacedName::new(&queued.key.namespace, &queued.key.name);
            cache.gateway_status(&at, &writes, now)
        }
    };
    let said = cache.said.get(&queued.key);
    let work = Work {
        queued: queued.clone(),
        note: build::note(&writes, &live, status.as_ref(), said),
        said: words(&queued.key, &writes, status.as_ref()),
        writes,
        live,
        status,
    };
    if work.is_idle() {
        work.finish(&mut cache);
        return Planned::Nothing;
    }
    match work.pause(said, context.settings.contest_pause, Instant::now()) {
        Some(pause) => Planned::Pause(pause),
        None => Planned::Work(Box::new(work)),
    }
}

/// The words of a status, to know them again: the outcome, and for a Gateway everything else its status says.
fn words(key: &HolderKey, writes: &Writes, status: Option<&Value>) -> Option<Outcome> {
    let mut outcome = writes.plan.outcome.clone()?;
    if let Some(status) = status.filter(|_| key.kind == HolderKind::Gateway) {
        let mut timeless = status.clone();
        let listeners = timeless["listeners"].as_array_mut().into_iter().flatten();
        listeners.for_each(|listener| forget_times(&mut listener["conditions"]));
        forget_times(&mut timeless["conditions"]);
        outcome.message = timeless.to_string();
    }
    Some(outcome)
}

fn forget_times(conditions: &mut Value) {
    for condition in conditions.as_array_mut().into_iter().flatten() {
        if let Some(condition) = condition.as_object_mut() {
            condition.remove("lastTransitionTime");
        }
    }
}

/// What the written status means to those who watch us.
#[derive(Debug, PartialEq, Eq)]
struct News {
    /// It went from without to with its addresses.
    allocated: bool,
    /// Addresses taken over from its status.
    adopted: usize,
}

impl Work {
    pub(super) fn key(&self) -> &HolderKey {
        &self.queued.key
    }

    fn is_idle(&self) -> bool {
        self.writes_no_record() && self.status.is_none()
    }

    fn writes_no_record(&self) -> bool {
        self.writes.records.is_empty()
            && self.writes.marks.is_empty()
            && self.writes.shown.is_empty()
            && self.writes.plan.leave.is_empty()
    }

    /// What the status says, if it says something.
    fn words(&self) -> Option<(&Outcome, Vec<IpAddr>)> {
        let service = self.writes.service.as_ref()?;
        Some((self.said.as_ref()?, self.writes.plan.addresses(service)))
    }

    /// How long to wait before the same is said once more.
    fn pause(&self, said: Option<&Said>, first: Duration, now: Instant) -> Option<Duration> {
        let (outcome, addresses) = self.words()?;
        let repeats = |said: &&Said| said.is(&self.live.uid, outcome, &addresses);
        let said = said.filter(repeats).filter(|_| self.writes_no_record())?;
        said.pause(first, now)
    }

    /// A Service that is gone, or no longer ours and let go, is forgotten.
    pub(super) fn finish(&self, cache: &mut Cache) {
        let lives = cache
            .index
            .service(self.key())
            .is_some_and(|service| service.wanted);
        if self.writes.service.is_none() && lives {
            // Something of a former one was let go of; this one's own turn comes.
            return;
        }
        cache.since.remove(self.key());
        if self.writes.plan.outcome.is_none() {
            cache.services.gone(self.key());
            cache.said.remove(self.key());
            cache.index.forget(self.key());
        }
    }

    fn news(&self) -> Option<News> {
        let plan = &self.writes.plan;
        let outcome = plan.outcome.as_ref()?;
        // Another message for one that had its addresses is no allocation.
        let had = match self.key().kind {
            HolderKind::Service => find(&self.live.conditions, ADDRESS_ASSIGNED)
                .is_some_and(|condition| condition.status == "True"),
            HolderKind::Gateway => {
                let service = self.writes.service.as_ref()?;
                build::shows(service, &plan.addresses(service))
            }
        };
        let adopted = plan.take.iter().filter(|take| take.how == How::Adopt);
        Some(News {
            allocated: outcome.assigned && !had,
            adopted: adopted.count(),
        })
    }

    /// What was said is kept; the Event about a writer in the way, if it is time for it.
    fn remember(&self, cache: &mut Cache, now: Instant) -> Option<Note> {
        let (outcome, addresses) = self.words()?;
        let before = cache.said.get(self.key());
        let mut said = Said::after(before, &self.live.uid, outcome, &addresses, now);
        let note = said.tell(self.key().kind, self.live.writers.other.as_deref());
        cache.said.insert(self.key().clone(), said);
        note
    }

    /// The status is written: says so in logs, metrics and Events.
    pub(super) fn report(&self, context: &Context) {
        let key = self.key();
        let now = Instant::now();
        let (since, contested, behind) = {
            let mut cache = context.state.lock();
            let behind = cache.gateway_behind(key, &context.settings);
            let since = cache.since.remove(key);
            (since, self.remember(&mut cache, now), behind)
        };
        if let Some(outcome) = &self.writes.plan.outcome {
            let (reason, message) = (outcome.reason.as_str(), &outcome.message);
            if outcome.assigned {
                tracing::info!(service = %key, "assigned: {message}");
            } else {
                tracing::info!(service = %key, reason, "pending: {message}");
            }
        }
        if let Some(news) = self.news() {
            context.metrics.adopted(news.adopted);
            if let Some(since) = since.filter(|_| news.allocated) {
                let after = now.saturating_duration_since(since);
                context.metrics.assigned(after);
            }
        }
        // Who made the Gateway may not see the Service that its controller made, nor who its controller is.
        if let (Some((gateway, uid)), Some(note)) = (behind, &self.note) {
            let words = format!("{}: {}", key.in_words(), note.note);
            let note = Note {
                note: words,
                ..note.clone()
            };
            context.publish(status::reference(&gateway, &uid), note);
        }
        for note in self.note.iter().cloned().chain(contested) {
            context.publish(status::reference(key, &self.live.uid), note);
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Service;
    use landfall_ipam::PoolName;
    use landfall_ipam::pools::Pool;
    use serde_json::json;

    use super::*;
    use crate::validate;

    /// A Service with a pool to have its address from, whose status says this of it already.
    fn work(conditions: Value) -> Work {
        let object: Service = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "blue", "uid": "u"},
            "spec": {"type": "LoadBalancer"},
            "status": {"conditions": conditions},
        }))
        .unwrap();
        let service = validate::service(&object, true, None).unwrap();
        let queued = service.queue_key();
        let blocks = json!({"blocks": [{"cidr": "192.0.2.0/30"}]});
        let pool = Pool::compile("p", &serde_json::from_value(blocks).unwrap(), false);
        let mut cache = Cache::default();
        cache.index.pool_seen(&PoolName::from("p"), Some(pool));
        cache.index.service_seen(service);
        let writes = cache.index.plan(&queued.key).unwrap();
        let live = validate::live(&object);
        let status = build::status(&writes, &live, Time(Timestamp::now()));
        Work {
            queued,
            note: build::note(&writes, &live, status.as_ref(), None),
            said: writes.plan.outcome.clone(),
            writes,
            live,
            status,
        }
    }

    #[test]
    fn only_the_way_from_without_to_with_addresses_counts_as_an_allocation() {
        let condition = |status: &str| {
            json!([{"type": ADDRESS_ASSIGNED, "status": status, "reason": "Other",
                "message": "another one", "lastTransitionTime": "2026-01-01T00:00:00Z"}])
        };
        let allocated = |before: Value| work(before).news().unwrap().allocated;
        assert!(allocated(json!([])));
        assert!(!allocated(condition("True")));
        assert!(allocated(condition("False")));
    }

    /// A Gateway that is decided, with what its status says already and whether we wrote that.
    fn gateway_work(status: Value, ours: bool) -> Work {
        let manager = json!({"manager": validate::MANAGER, "operation": "Apply", "subresource": "status",
            "apiVersion": "gateway.networking.k8s.io/v1", "fieldsType": "FieldsV1",
            "fieldsV1": {"f:status": {"f:addresses": {}, "f:conditions": {}}}});
        let object = serde_json::from_value(json!({
            "metadata": {"name": "edge", "namespace": "blue", "uid": "u",
                "managedFields": if ours { json!([manager]) } else { json!([]) }},
            "spec": {"gatewayClassName": "internet", "listeners": []}, "status": status,
        }))
        .unwrap();
        let class = json!({"metadata": {"name": "internet"},
            "spec": {"controllerName": "landfall.dev/gateway-controller"}});
        let at = NamespacedName::new("blue", "edge");
        let blocks = json!({"blocks": [{"cidr": "192.0.2.0/30"}]});
        let pool = Pool::compile("p", &serde_json::from_value(blocks).unwrap(), false);
        let mut cache = Cache::default();
        cache.index.pool_seen(&PoolName::from("p"), Some(pool));
        let known = &mut cache.gateway_api;
        known.class_seen("internet", serde_json::from_value(class).unwrap());
        cache.gateway_object_seen(&at, Some(object));
        cache.decide_gateways();
        let key = HolderKey::gateway("blue", "edge");
        let queued = cache.index.service(&key).unwrap().queue_key();
        let writes = cache.index.plan(&key).unwrap();
        let live = cache.services.get(&key).cloned().unwrap();
        let now = Time(Timestamp::now());
        let status = cache.gateway_status(&at, &writes, now);
        Work {
            queued,
            note: build::note(&writes, &live, status.as_ref(), None),
            said: words(&key, &writes, status.as_ref()),
            writes,
            live,
            status,
        }
    }

    #[test]
    fn a_gateway_that_shows_its_address_is_no_allocation_and_no_event_after_a_start() {
        let new = gateway_work(json!({}), false);
        assert!(new.news().unwrap().allocated);
        assert_eq!(new.note.unwrap().reason, "Assigned");
        let addresses = json!({"addresses": [{"type": "IPAddress", "value": "192.0.2.0"}]});
        let shown = gateway_work(addresses, true);
        assert!(shown.status.is_some(), "its conditions are to be written");
        assert!(!shown.news().unwrap().allocated);
        assert_eq!(shown.note, None);
    }
}
