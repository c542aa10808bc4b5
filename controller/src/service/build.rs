//! What shall be written for a plan: status, records, Events. Pure.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::LoadBalancerIngress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use landfall_crds::LoadBalancerIPSpec;
use landfall_crds::conditions::{ADDRESS_ASSIGNED, NewCondition, OUT_OF_POOL, find};
use landfall_ipam::index::{Mark, Writes};
use landfall_ipam::plan::Outcome;
use landfall_ipam::{HolderKind, Service};
use landfall_runtime::events::Note;
use serde_json::{Value, json};

use crate::contest::Said;
use crate::validate::LiveService;

/// The status to apply, or `None` when the Service's status says so already: compared with the
/// API server's defaults laid over it, so that nothing to do writes nothing.
///
/// Without an address of ours no ingress is applied: what we wrote goes by that, and what somebody
/// else wrote stays.
#[must_use]
pub fn status(writes: &Writes, live: &LiveService, now: Time) -> Option<Value> {
    let service = writes.service.as_ref()?;
    let Some(outcome) = &writes.plan.outcome else {
        return cleared(&writes.plan.leave, live);
    };
    let addresses = writes.plan.addresses(service);
    let condition = verdict(outcome).condition(&live.conditions, live.generation, now);
    let same_condition = find(&live.conditions, ADDRESS_ASSIGNED) == Some(&condition);
    let same_ingress = if addresses.is_empty() {
        !live.writers.ours || live.ingress.is_empty()
    } else {
        names(&live.ingress, &addresses)
    };
    if same_condition && same_ingress {
        return None;
    }
    let mut status = json!({"conditions": [condition]});
    if !addresses.is_empty() {
        let points = addresses.iter();
        let points = points.map(|address| json!({"ip": address, "ipMode": "VIP"}));
        status["loadBalancer"] = json!({"ingress": points.collect::<Vec<_>>()});
    }
    Some(status)
}

/// What somebody else's ingress names beside addresses that are left; `None`: it names none of them.
fn rest<'a>(leave: &[IpAddr], live: &'a LiveService) -> Option<Vec<&'a LoadBalancerIngress>> {
    let leaves = |point: &LoadBalancerIngress| {
        let ip = point.ip.as_deref().and_then(|ip| ip.parse().ok());
        ip.is_some_and(|ip| leave.contains(&ip))
    };
    let named = !live.writers.ours && live.ingress.iter().any(leaves);
    named.then(|| live.ingress.iter().filter(|point| !leaves(point)).collect())
}

/// The status of a Service that is no longer ours: our condition goes, and what we wrote. What
/// somebody else wrote since then stays, but for what it leaves.
fn cleared(leave: &[IpAddr], live: &LiveService) -> Option<Value> {
    if let Some(rest) = rest(leave, live) {
        return Some(json!({"loadBalancer": {"ingress": rest}}));
    }
    let ours = find(&live.conditions, ADDRESS_ASSIGNED).is_some()
        || (live.writers.ours && !live.ingress.is_empty());
    ours.then(|| json!({}))
}

/// Whether the ingress points are just these addresses, as the API server would complete them.
fn names(ingress: &[LoadBalancerIngress], addresses: &[IpAddr]) -> bool {
    ingress.len() == addresses.len()
        && ingress.iter().zip(addresses).all(|(point, address)| {
            point.ip.as_deref().and_then(|ip| ip.parse::<IpAddr>().ok()) == Some(*address)
                && point.hostname.is_none()
                && point.ip_mode.as_deref().is_none_or(|mode| mode == "VIP")
        })
}

fn verdict(outcome: &Outcome) -> NewCondition {
    NewCondition {
        type_: ADDRESS_ASSIGNED,
        status: Some(outcome.assigned),
        reason: outcome.reason.as_str().to_owned(),
        message: outcome.message.clone(),
    }
}

/// The Event of a transition: the condition or the addresses are others than those said last. After
/// a start, when nothing is known to have been said, what stands there is taken for it.
///
/// `status`: what is to be written.
#[must_use]
pub fn note(
    writes: &Writes,
    live: &LiveService,
    status: Option<&Value>,
    said: Option<&Said>,
) -> Option<Note> {
    let outcome = writes.plan.outcome.as_ref()?;
    let service = writes.service.as_ref()?;
    let addresses = writes.plan.addresses(service);
    let same = match (said, service.key.kind) {
        (Some(said), _) => said.means(&live.uid, outcome, &addresses),
        (None, HolderKind::Service) => {
            let status = if outcome.assigned { "True" } else { "False" };
            let reason = outcome.reason.as_str();
            find(&live.conditions, ADDRESS_ASSIGNED)
                .is_some_and(|before| before.status == status && before.reason == reason)
                && (addresses.is_empty() || names(&live.ingress, &addresses))
        }
        (None, HolderKind::Gateway) if outcome.assigned => shows(service, &addresses),
        (None, HolderKind::Gateway) => {
            let programmed = status.and_then(|status| status["conditions"].as_array());
            let mut programmed = programmed.into_iter().flatten();
            let programmed = programmed.find(|condition| condition["type"] == "Programmed");
            find(&live.conditions, "Programmed")
                .zip(programmed)
                .is_some_and(|(before, now)| {
                    now["status"] == before.status.as_str()
                        && now["reason"] == before.reason.as_str()
                })
        }
    };
    (!same).then(|| Note {
        warning: !outcome.assigned,
        reason: outcome.reason.as_str().to_owned(),
        action: "AssignAddress",
        note: outcome.message.clone(),
    })
}

/// Whether a status that we wrote names these addresses already.
#[must_use]
pub fn shows(service: &Service, addresses: &[IpAddr]) -> bool {
    service.ours
        && addresses
            .iter()
            .all(|address| service.status.contains(address))
}

/// A record's spec as a patch that leaves nothing of the old one.
#[must_use]
pub fn record_patch(spec: &LoadBalancerIPSpec, uid: &str, version: &str) -> Value {
    json!({
        "metadata": {"uid": uid, "resourceVersion": version},
        "spec": {
            "poolRef": spec.pool_ref,
            "frontends": (!spec.frontends.is_empty()).then_some(&spec.frontends),
            "holders": spec.holders,
            "sharingKey": spec.sharing_key,
            "reservedFor": spec.reserved_for,
            "reclaimPolicy": spec.reclaim_policy,
        },
    })
}

/// The `OutOfPool` condition of a record: as old as the one it replaces while it says as much.
#[must_use]
pub fn out_of_pool(mark: &Mark, now: Timestamp) -> Condition {
    let why = mark.out_of_pool.as_deref();
    let before = mark
        .before
        .as_ref()
        .filter(|before| before.is == why.is_some());
    let since = before.and_then(|before| Timestamp::from_second(before.since).ok());
    let verdict = NewCondition {
        type_: OUT_OF_POOL,
        status: Some(why.is_some()),
        reason: if why.is_some() {
            "PoolChanged"
        } else {
            "InPool"
        }
        .to_owned(),
        message: why.map_or_else(
            || "its pool gives it to its holder".to_owned(),
            str::to_owned,
        ),
    };
    verdict.condition(&[], None, Time(since.unwrap_or(now)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_ipam::address::Point;
    use landfall_ipam::book::OutOfPool;

    #[test]
    fn a_mark_that_says_as_much_for_another_reason_is_no_transition() {
        let now = Timestamp::from_second(100).unwrap();
        let mark = |why: Option<&str>, before: Option<bool>| Mark {
            at: Point::MIN,
            out_of_pool: why.map(str::to_owned),
            before: before.map(|is| OutOfPool {
                is,
                why: "old".to_owned(),
                since: 7,
            }),
        };
        let since = |mark: Mark| out_of_pool(&mark, now).last_transition_time.0.as_second();
        assert_eq!(since(mark(Some("new"), Some(true))), 7);
        assert_eq!(since(mark(Some("new"), Some(false))), 100);
        assert_eq!(since(mark(None, Some(true))), 100);
        assert_eq!(since(mark(Some("new"), None)), 100);
    }
}
