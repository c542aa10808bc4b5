//! The condition `landfall.dev/Announced` of Services.
//!
//! A Service may have several addresses, and these several owners; the owner of the first address that has one speaks
//! for all of them, from the records. A Service that holds none any more loses the condition. Where a policy wants the
//! director to serve it and that one's tables have no room, the speaker says so of its own node: it is the one that the
//! clients' packets come to, and the others have the same room.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use landfall_bpf_lb::diff::Refusal;
use landfall_crds::conditions::{ANNOUNCED, NewCondition, SERVICE_ANNOUNCED, find};

use super::{Report, View, address, says_the_same};
use crate::model::{Lbip, Service};
use crate::names::ServiceKey;

/// The reason of an address that a foreign host answered for before it was claimed.
const CONFLICT: &str = "AddressConflict";
/// The reason of one that is announced, but not served by the director that is to serve it.
const LEFT_TO_KERNEL: &str = "LeftToKernel";

pub(super) fn reports(view: View<'_>) -> Vec<Report> {
    let mut held: BTreeMap<&ServiceKey, Vec<&Lbip>> = BTreeMap::new();
    for (address, plan) in &view.plan.addresses {
        for holder in &plan.holders {
            held.entry(holder)
                .or_default()
                .extend(view.world.lbips.get(address));
        }
    }
    let mut reports: Vec<_> = held
        .iter()
        .filter_map(|(key, lbips)| report(view, key, lbips))
        .collect();
    if view.is_reporter() {
        let stale = view.world.services.iter().filter(|(key, service)| {
            !held.contains_key(key) && find(&service.conditions, SERVICE_ANNOUNCED).is_some()
        });
        reports.extend(stale.map(|(key, _)| Report::Service(key.clone(), None)));
    }
    reports
}

fn report(view: View<'_>, key: &ServiceKey, lbips: &[&Lbip]) -> Option<Report> {
    let service = view.world.services.get(key)?;
    let speaker = lbips.iter().find_map(|lbip| live_owner(view, lbip));
    let mine = match speaker {
        Some(node) => node == view.me.as_str(),
        None => view.is_reporter(),
    };
    if !mine {
        return None;
    }
    let words: Option<Vec<_>> = lbips.iter().map(|lbip| word(view, lbip)).collect();
    // An address between two owners: its next owner will speak.
    let words = words?;
    let refused = words
        .iter()
        .find_map(|word| word.as_ref().err().map(|(reason, _)| reason));
    let message = words.iter().map(|word| match word {
        Ok(message) => message.as_str(),
        Err((_, message)) => message.as_str(),
    });
    let left = left_to_kernel(view, service, lbips);
    let announced = left.as_ref().map_or("Announced", |_| LEFT_TO_KERNEL);
    let message = message.chain(left.as_deref());
    let verdict = NewCondition {
        type_: SERVICE_ANNOUNCED,
        status: Some(refused.is_none()),
        reason: refused.map_or(announced, |reason| reason).to_owned(),
        message: message.collect::<Vec<_>>().join("; "),
    };
    let condition = verdict.condition(&service.conditions, service.generation, view.now.clone());
    let known = find(&service.conditions, SERVICE_ANNOUNCED);
    if known.is_some_and(|known| says_the_same(known, &condition)) {
        return None;
    }
    Some(Report::Service(key.clone(), Some(Box::new(condition))))
}

/// What the director of this node leaves to the kernel of a Service that a policy wants it to serve.
fn left_to_kernel(view: View<'_>, service: &Service, lbips: &[&Lbip]) -> Option<String> {
    let mut left: BTreeMap<Refusal, BTreeSet<String>> = BTreeMap::new();
    for lbip in lbips {
        for ((port, protocol), refusal) in view.refused.get(&lbip.address).into_iter().flatten() {
            let mut ports = service.ports.iter();
            if ports.any(|one| one.port == *port && one.protocol == *protocol) {
                left.entry(*refusal)
                    .or_default()
                    .insert(format!("{port}/{protocol}"));
            }
        }
    }
    let sentence = |(refusal, ports): (Refusal, BTreeSet<String>)| {
        let ports: Vec<String> = ports.into_iter().collect();
        let (ports, why) = (ports.join(", "), refusal.describe());
        format!(
            "on node {} the kernel forwards {ports} instead of XDP: {why}",
            view.me
        )
    };
    let sentences: Vec<String> = left.into_iter().map(sentence).collect();
    (!sentences.is_empty()).then(|| sentences.join("; "))
}

fn live_owner<'a>(view: View<'_>, lbip: &'a Lbip) -> Option<&'a str> {
    let owner = lbip.status.owner.as_ref()?;
    view.live
        .iter()
        .any(|node| node.as_str() == owner.node)
        .then_some(owner.node.as_str())
}

/// What there is to say of one address; nothing while it is between two owners.
fn word(view: View<'_>, lbip: &Lbip) -> Option<Result<String, (&'static str, String)>> {
    if live_owner(view, lbip).is_some() {
        let condition = find(&lbip.status.conditions, ANNOUNCED)?;
        return Some(if condition.status == "True" {
            Ok(condition.message.clone())
        } else {
            Err(("NoInterface", condition.message.clone()))
        });
    }
    if let Some(conflict) = view.conflicts.get(&lbip.address) {
        return Some(Err((CONFLICT, address::message(lbip.address, conflict))));
    }
    // Another node asked, and was answered by a foreign host: it said so on the record.
    let told = find(&lbip.status.conditions, ANNOUNCED)
        .filter(|told| told.reason == CONFLICT && lbip.status.owner.is_none());
    if let Some(told) = told {
        return Some(Err((CONFLICT, told.message.clone())));
    }
    let refusal = refusal(view, lbip.address)?;
    Some(Err((refusal.reason(), refusal.message(lbip.address))))
}

fn refusal<'a>(view: View<'a>, address: IpAddr) -> Option<&'a crate::policy::Unannounced> {
    view.plan.addresses.get(&address)?.refusal.as_ref()
}
