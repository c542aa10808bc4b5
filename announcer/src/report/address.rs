//! Conditions of addresses.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use landfall_crds::conditions::{ADDRESS_CONFLICT, ANNOUNCED, GATEWAYS_SERVED, NewCondition, find};
use landfall_crds::{LoadBalancerIPStatus, Owner};

use super::{Conflict, Report, View, put};
use crate::dataplane::RunsOn;
use crate::model::Lbip;
use crate::policy::Announcement;

/// The status a write of the owner leaves behind: with `owner` (or none), answering on the interfaces of `plan`, of which
/// the director runs on some. Everything else stays as it was.
#[must_use]
pub fn status_of(
    lbip: &Lbip,
    owner: Option<Owner>,
    plan: &Announcement,
    runs_on: &BTreeMap<String, RunsOn>,
    conflict: Option<&Conflict>,
    now: &Time,
) -> LoadBalancerIPStatus {
    let mut status = lbip.status.clone();
    let verdict = match &owner {
        Some(owner) => announced(lbip.address, &owner.node, plan, runs_on),
        None => given_up(lbip.address, plan),
    };
    status.interfaces = if owner.is_some() {
        plan.interfaces.iter().cloned().collect()
    } else {
        Vec::new()
    };
    status.owner = owner;
    let before = status.conditions.clone();
    put(
        &mut status.conditions,
        verdict.condition(&before, lbip.generation, now.clone()),
    );
    put_conflict(&mut status, lbip, conflict, now);
    put_served(&mut status, lbip, plan, now);
    status
}

/// Whether Gateways are served is said wherever Services share their address: that a node answers for it says nothing then.
fn put_served(status: &mut LoadBalancerIPStatus, lbip: &Lbip, plan: &Announcement, now: &Time) {
    let is_ours = |condition: &Condition| condition.type_ == GATEWAYS_SERVED;
    if lbip.gateways.is_empty() || lbip.holders.is_empty() {
        status.conditions.retain(|condition| !is_ours(condition));
        return;
    }
    let verdict = match &plan.unserved {
        Some(why) => NewCondition {
            type_: GATEWAYS_SERVED,
            status: Some(false),
            reason: why.reason().into(),
            message: why.message(lbip.address),
        },
        None => NewCondition {
            type_: GATEWAYS_SERVED,
            status: Some(true),
            reason: "Served".into(),
            message: format!("the director serves its Gateways on {}", lbip.address),
        },
    };
    let before = status.conditions.clone();
    put(
        &mut status.conditions,
        verdict.condition(&before, lbip.generation, now.clone()),
    );
}

fn announced(
    address: IpAddr,
    node: &str,
    plan: &Announcement,
    runs_on: &BTreeMap<String, RunsOn>,
) -> NewCondition {
    if plan.interfaces.is_empty() {
        return NewCondition {
            type_: ANNOUNCED,
            status: Some(false),
            reason: "NoInterface".into(),
            message: format!("node {node} owns {address} and has no eligible interface up for it"),
        };
    }
    // What carries its traffic there, where the director should.
    let interface = |name: &String| match runs_on.get(name) {
        _ if !plan.xdp => name.clone(),
        Some(on) => format!("{name} (XDP: {})", on.path),
        None => format!("{name} (XDP: not there, the kernel forwards)"),
    };
    let names: Vec<String> = plan.interfaces.iter().map(interface).collect();
    NewCondition {
        type_: ANNOUNCED,
        status: Some(true),
        reason: "Announced".into(),
        message: format!("node {node} answers for {address} on {}", names.join(", ")),
    }
}

/// Nobody owns it any more. Where none may, that is said at once, and not as a second reason after it.
fn given_up(address: IpAddr, plan: &Announcement) -> NewCondition {
    let (reason, message) = match &plan.refusal {
        Some(refusal) => (refusal.reason(), refusal.message(address)),
        None => (
            "Released",
            format!("no node announces {address}: the last owner gave it up"),
        ),
    };
    NewCondition {
        type_: ANNOUNCED,
        status: Some(false),
        reason: reason.into(),
        message,
    }
}

/// The conflict condition appears with the first conflict and says `False` when it is over.
fn put_conflict(
    status: &mut LoadBalancerIPStatus,
    lbip: &Lbip,
    conflict: Option<&Conflict>,
    now: &Time,
) -> bool {
    let known = status
        .conditions
        .iter()
        .any(|c| c.type_ == ADDRESS_CONFLICT);
    let verdict = match conflict {
        Some(conflict) => NewCondition {
            type_: ADDRESS_CONFLICT,
            status: Some(true),
            reason: "ForeignHost".into(),
            message: message(lbip.address, conflict),
        },
        None if known => NewCondition {
            type_: ADDRESS_CONFLICT,
            status: Some(false),
            reason: "Clear".into(),
            message: format!("no foreign host answers for {}", lbip.address),
        },
        None => return false,
    };
    let before = status.conditions.clone();
    put(
        &mut status.conditions,
        verdict.condition(&before, lbip.generation, now.clone()),
    )
}

/// What a person reads of a conflict.
pub(super) fn message(address: IpAddr, conflict: &Conflict) -> String {
    let Conflict {
        mac,
        interface,
        at_probe,
    } = conflict;
    let consequence = if *at_probe {
        "it is not announced; take the address from that host, exclude it from the pool, or overrule the host by the \
         annotation landfall.dev/overrule of the LoadBalancerIP"
    } else {
        "clients may reach either; take the address from that host"
    };
    format!("a foreign host ({mac}, seen on {interface}) uses {address}: {consequence}")
}

pub(super) fn reports(view: View<'_>) -> Vec<Report> {
    let mut reports = Vec::new();
    for (address, lbip) in &view.world.lbips {
        let plan = view.plan.addresses.get(address);
        let conflict = view.conflicts.get(address);
        let owner = lbip.status.owner.as_ref();
        let mine = owner.is_some_and(|owner| {
            owner.node == view.me.as_str()
                && view
                    .session
                    .is_some_and(|session| owner.session == session.as_str())
        });
        let status = match owner {
            Some(owner) if mine => {
                let Some(plan) = plan.filter(|_| owner.handover_to.is_none()) else {
                    continue;
                };
                let owner = Some(owner.clone());
                status_of(lbip, owner, plan, view.runs_on, conflict, view.now)
            }
            Some(owner) if view.live.iter().any(|node| node.as_str() == owner.node) => continue,
            _ => match unowned(view, lbip, plan, conflict) {
                Some(status) => status,
                None => continue,
            },
        };
        if status != lbip.status {
            reports.push(Report::Address(*address, Box::new(status)));
        }
    }
    reports
}

/// The status of an address without a live owner, where this node is the one to write it.
fn unowned(
    view: View<'_>,
    lbip: &Lbip,
    plan: Option<&Announcement>,
    conflict: Option<&Conflict>,
) -> Option<LoadBalancerIPStatus> {
    let mut status = lbip.status.clone();
    let before = status.conditions.clone();
    if let Some(conflict) = conflict {
        // Candidates see it from different interfaces, or different hosts. The first to tell is enough; the reporter
        // may correct it, and nobody else: two who correct each other would never end.
        let told = find(&before, ADDRESS_CONFLICT).is_some_and(|c| c.status == "True");
        if told && !view.is_reporter() {
            return None;
        }
        let verdict = NewCondition {
            type_: ANNOUNCED,
            status: Some(false),
            reason: "AddressConflict".into(),
            message: message(lbip.address, conflict),
        };
        put(
            &mut status.conditions,
            verdict.condition(&before, lbip.generation, view.now.clone()),
        );
        put_conflict(&mut status, lbip, Some(conflict), view.now);
        return Some(status);
    }
    let refusal = plan?.refusal.as_ref()?;
    if !view.is_reporter() || (lbip.holders.is_empty() && lbip.gateways.is_empty()) {
        return None;
    }
    let verdict = NewCondition {
        type_: ANNOUNCED,
        status: Some(false),
        reason: refusal.reason().into(),
        message: refusal.message(lbip.address),
    };
    put(
        &mut status.conditions,
        verdict.condition(&before, lbip.generation, view.now.clone()),
    );
    Some(status)
}
