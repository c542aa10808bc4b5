//! What is measured: happenings are counted, state is collected when it is asked for, so that it
//! cannot drift and goes when its pool goes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use landfall_crds::conditions::AssignedReason;
use landfall_ipam::Family;
use landfall_runtime::metrics::{Writer, count, flag};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family as Labelled;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::state::State;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabels {
    class: String,
}

/// The counters; clones count together.
#[derive(Clone, Debug)]
pub struct Metrics {
    latency: Histogram,
    conflicts: Counter,
    adoptions: Counter,
    events_dropped: Counter,
    violations: Counter,
    errors: Labelled<ErrorLabels, Counter>,
}

impl Metrics {
    /// Registers everything, the state among it.
    #[must_use]
    pub fn register(registry: &mut Registry, state: &Arc<State>) -> Self {
        let metrics = Self {
            latency: Histogram::new([
                0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
            ]),
            conflicts: Counter::default(),
            adoptions: Counter::default(),
            events_dropped: Counter::default(),
            violations: Counter::default(),
            errors: Labelled::default(),
        };
        registry.register(
            "landfall_allocation_latency_seconds",
            "From the event that asked for addresses to the status that names them",
            metrics.latency.clone(),
        );
        registry.register(
            "landfall_record_conflicts",
            "Writes of a LoadBalancerIP that somebody else was quicker with",
            metrics.conflicts.clone(),
        );
        registry.register(
            "landfall_adoptions",
            "Addresses taken over from a Service's status",
            metrics.adoptions.clone(),
        );
        registry.register(
            "landfall_events_dropped",
            "Events given up under load",
            metrics.events_dropped.clone(),
        );
        registry.register(
            "landfall_invariant_violations",
            "States that cannot be and were met all the same: each is a bug worth a report",
            metrics.violations.clone(),
        );
        registry.register(
            "landfall_reconcile_errors",
            "Steps that had to be tried again, by class of error",
            metrics.errors.clone(),
        );
        registry.register_collector(Box::new(Snapshot(Arc::clone(state))));
        metrics
    }

    /// A Service got its addresses.
    pub fn assigned(&self, after: Duration) {
        self.latency.observe(after.as_secs_f64());
    }

    /// Somebody else was quicker.
    pub fn conflict(&self) {
        self.conflicts.inc();
    }

    /// Addresses were taken over.
    pub fn adopted(&self, count: usize) {
        self.adoptions.inc_by(count as u64);
    }

    /// An Event was given up.
    pub fn event_dropped(&self) {
        self.events_dropped.inc();
    }

    /// Something happened that cannot happen.
    pub fn violated(&self) {
        self.violations.inc();
    }

    pub fn failed(&self, class: &str) {
        let labels = ErrorLabels {
            class: class.to_owned(),
        };
        self.errors.get_or_create(&labels).inc();
    }
}

/// What is said of each pool and family.
const POOLS: [(&str, &str); 4] = [
    ("landfall_pool_addresses", "Addresses a pool has"),
    (
        "landfall_pool_addresses_assigned",
        "Addresses of a pool that have a holder.",
    ),
    (
        "landfall_pool_addresses_available",
        "Addresses of a pool that are free.",
    ),
    (
        "landfall_pool_addresses_reserved",
        "Addresses of a pool that are kept for a holder to come.",
    ),
];

/// The state, looked at when somebody asks.
#[derive(Debug)]
struct Snapshot(Arc<State>);

impl Collector for Snapshot {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a gauge is a float; a /64 needs no last digit"
    )]
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut rows: Vec<(String, &'static str, [u128; 4])> = Vec::new();
        let mut pending: BTreeMap<&'static str, i64> = BTreeMap::new();
        let mut accepted: Vec<(String, f64)> = Vec::new();
        let (failing, leads);
        {
            let cache = self.0.lock();
            leads = cache.open.leads;
            failing = count(cache.open.failing.len());
            let index = &cache.index;
            // One replica says it, so that a sum over the replicas is right.
            for (name, pool) in index.all_pools().filter(|_| leads) {
                accepted.push((name.to_string(), flag(pool.is_ok())));
                let Ok(pool) = pool else { continue };
                for family in Family::ALL
                    .into_iter()
                    .filter(|family| pool.total(*family) > 0)
                {
                    let counts = index.counts_of(pool, family);
                    let values = [
                        counts.total,
                        counts.assigned,
                        counts.available,
                        counts.reserved,
                    ];
                    rows.push((pool.name.to_string(), family.as_str(), values));
                }
            }
            // Those of which there are none are said too: who counts from nothing to one sees a step.
            if leads {
                let reasons = AssignedReason::ALL.into_iter();
                let reasons = reasons.filter(|reason| *reason != AssignedReason::Assigned);
                pending.extend(reasons.map(|reason| (reason.as_str(), 0)));
            }
            for queued in index.waiting().iter().filter(|_| leads) {
                let live = cache.services.get(&queued.key);
                let condition = live.and_then(|live| {
                    landfall_crds::conditions::find(
                        &live.conditions,
                        landfall_crds::conditions::ADDRESS_ASSIGNED,
                    )
                });
                let reason = condition.filter(|condition| condition.status == "False");
                let known = AssignedReason::ALL.into_iter();
                let reason = reason
                    .and_then(|reason| known.map(|r| r.as_str()).find(|r| *r == reason.reason));
                if let Some(reason) = reason {
                    *pending.entry(reason).or_default() += 1;
                }
            }
        }
        let mut writer = Writer::from(encoder);
        let help = "Whether this replica leads: one of them does.";
        writer.gauge("landfall_leader", help, flag(leads))?;
        let help = "Whether a pool is accepted, by pool.";
        let accepted = accepted.iter();
        let accepted = accepted.map(|(pool, value)| ([("pool", pool.as_str())], *value));
        writer.gauges("landfall_pool_accepted", help, accepted)?;
        for (at, (name, help)) in POOLS.into_iter().enumerate() {
            let values = rows.iter().map(|(pool, family, values)| {
                let labels = [("pool", pool.as_str()), ("family", *family)];
                (labels, values[at] as f64)
            });
            writer.gauges(name, help, values)?;
        }
        let pending = pending
            .iter()
            .map(|(reason, number)| ([("reason", *reason)], *number));
        let help = "Services without their addresses, by reason.";
        writer.gauges("landfall_services_pending", help, pending)?;
        writer.lost_log_records("landfall_log_records_lost")?;
        let help = "Services whose records or status could not be written several times in a row.";
        writer.gauge("landfall_services_failing", help, failing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Cache;
    use crate::service::build;
    use crate::validate;
    use crate::validate::LiveService;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;
    use landfall_crds::{Block, LoadBalancerIPPoolSpec};
    use landfall_ipam::pools::Pool;
    use landfall_ipam::{PoolName, ServiceKey};

    fn text(registry: &Registry) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
        text
    }

    #[test]
    fn the_series_of_a_pool_come_and_go_with_it() {
        let state = Arc::new(State::default());
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry, &state);
        let name = PoolName::from("default");
        let blocks = ["192.0.2.0/29", "2001:db8::/64"].map(|cidr| Block {
            cidr: Some(cidr.to_owned()),
            ..Block::default()
        });
        let pool = Pool::compile("default", &LoadBalancerIPPoolSpec::of(blocks.into()), false);
        state.change(|cache| {
            cache.open.leads = true;
            cache.index.pool_seen(&name, Some(pool));
            let refused = Pool::compile("empty", &LoadBalancerIPPoolSpec::of(Vec::new()), false);
            cache.index.pool_seen(&PoolName::from("empty"), Some(refused));
        });
        metrics.conflict();
        metrics.adopted(2);
        metrics.failed("transient");
        metrics.assigned(Duration::from_millis(7));
        insta::assert_snapshot!(text(&registry));
        state.change(|cache| cache.open.leads = false);
        let follower = text(&registry);
        assert!(follower.contains("landfall_leader 0.0\n"), "{follower}");
        assert!(!follower.contains("default"), "{follower}");
        state.change(|cache| {
            cache.open.leads = true;
            cache.index.pool_seen(&name, None);
        });
        assert!(!text(&registry).contains("default"));
    }

    /// A Service that asks for an address of no pool, planned for and told.
    fn pending(cache: &mut Cache, name: &str, asks: &str) {
        let object = serde_json::from_value(serde_json::json!({
            "metadata": {"name": name, "namespace": "blue", "uid": name,
                "annotations": {"landfall.dev/ips": asks}},
            "spec": {"type": "LoadBalancer"},
        }));
        let service = validate::service(&object.unwrap(), true, None).unwrap();
        let key = service.key.clone();
        cache.index.service_seen(service);
        let queued = cache.index.pop().unwrap();
        let step = cache.index.plan(&queued.key).unwrap();
        let status = build::status(&step, &LiveService::default(), Time(Timestamp::UNIX_EPOCH));
        let conditions = status.unwrap()["conditions"].clone();
        let live = LiveService {
            conditions: serde_json::from_value(conditions).unwrap(),
            ..LiveService::default()
        };
        cache.services.shown(key, live);
    }

    #[test]
    fn services_without_their_addresses_are_counted_by_reason_while_they_wait() {
        let state = Arc::new(State::default());
        let mut registry = Registry::default();
        let _metrics = Metrics::register(&mut registry, &state);
        state.change(|cache| {
            cache.open.leads = true;
            pending(cache, "one", "192.0.2.1");
            pending(cache, "two", "192.0.2.2");
            pending(cache, "odd", "anything");
        });
        let all = text(&registry);
        for (reason, count) in [("NotInAnyPool", 2), ("InvalidRequest", 1)] {
            let line = format!("landfall_services_pending{{reason=\"{reason}\"}} {count}\n");
            assert!(all.contains(&line), "{all}");
        }
        let gone = ["one", "two"].map(|name| ServiceKey::new("blue", name));
        state.change(|cache| gone.iter().for_each(|key| cache.index.service_gone(key)));
        let none = "landfall_services_pending{reason=\"NotInAnyPool\"} 0\n";
        assert!(text(&registry).contains(none));
    }
}
