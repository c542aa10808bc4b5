//! What happens to an address, from its record before and its record now. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use landfall_crds::conditions::{ADDRESS_CONFLICT, ANNOUNCED, GATEWAYS_SERVED, OUT_OF_POOL, find};
use landfall_crds::{LoadBalancerIP, LoadBalancerIPStatus, Owner};

use crate::ips::{Ip, State};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// One word.
    pub(super) change: &'static str,
    /// The nodes it concerns; the one that has the say now comes first.
    pub(super) nodes: Vec<String>,
    pub(super) words: String,
}

impl Change {
    pub(super) fn new(change: &'static str, words: impl Into<String>) -> Self {
        Self {
            change,
            nodes: Vec::new(),
            words: words.into(),
        }
    }

    pub(super) fn at<'a>(mut self, nodes: impl IntoIterator<Item = &'a str>) -> Self {
        self.nodes = nodes.into_iter().map(str::to_owned).collect();
        self
    }
}

/// What happened to the address between the two; before its record was there, and once it is gone, there is none.
pub(super) fn changes(
    before: Option<&LoadBalancerIP>,
    now: Option<&LoadBalancerIP>,
) -> Vec<Change> {
    let mut changes = Vec::new();
    match (before, now) {
        (before, Some(now)) => {
            let held = holders(now);
            match before.map(holders) {
                None => changes.push(Change::new("assigned", format!("{held}{}", pool(now)))),
                Some(was) if was != held => {
                    changes.push(Change::new("holders", format!("{held}; before, {was}")));
                }
                Some(_) => {}
            }
        }
        (Some(before), None) => {
            let words = format!("its record is gone; before, {}", holders(before));
            let owner = before.status.as_ref().and_then(|s| s.owner.as_ref());
            let owner = owner.map(|owner| owner.node.as_str());
            return vec![Change::new("released", words).at(owner)];
        }
        (None, None) => return changes,
    }
    let status = |record: Option<&LoadBalancerIP>| {
        let status = record.and_then(|record| record.status.clone());
        status.unwrap_or_default()
    };
    let (before, now) = (status(before), status(now));
    let owned = ownership(&before, &now);
    let moved = owned.iter().any(|owned| owned.change != "standby");
    changes.extend(owned);
    let owner = now.owner.as_ref().map(|owner| owner.node.as_str());
    for type_ in [ANNOUNCED, ADDRESS_CONFLICT, OUT_OF_POOL, GATEWAYS_SERVED] {
        let said = find(&now.conditions, type_);
        // That the owner answers was just said, and why there is none.
        let told = |said: &Condition| said.status == "True" || owner.is_none();
        let repeats = |said: &Condition| type_ == ANNOUNCED && moved && told(said);
        if said.is_some_and(repeats) {
            continue;
        }
        changes.extend(condition(&before.conditions, type_, said).map(|said| said.at(owner)));
    }
    changes
}

fn ownership(before: &LoadBalancerIPStatus, now: &LoadBalancerIPStatus) -> Vec<Change> {
    let mut changes = Vec::new();
    match (&before.owner, &now.owner) {
        (None, None) => {}
        (None, Some(owner)) => {
            changes.push(Change::new("gained", answers(owner, now)).at([owner.node.as_str()]));
        }
        (Some(owner), None) => {
            let said = find(&now.conditions, ANNOUNCED).filter(|said| said.status != "True");
            let said = said.map_or_else(String::new, |said| format!(": {}", said.message));
            let words = format!("{} is its owner no longer{said}", owner.node);
            changes.push(Change::new("lost", words).at([owner.node.as_str()]));
        }
        (Some(from), Some(to)) if from.node != to.node => {
            let cause = cause(from, &to.node);
            let words = format!("from {}, {cause}; {}", from.node, answers(to, now));
            let nodes = [to.node.as_str(), from.node.as_str()];
            changes.push(Change::new("moved", words).at(nodes));
        }
        (Some(from), Some(to)) if from.session != to.session => {
            let words = format!(
                "{} has it again in another session; {}",
                to.node,
                answers(to, now)
            );
            changes.push(Change::new("regained", words).at([to.node.as_str()]));
        }
        (Some(from), Some(to)) => changes.extend(kept(from, to, before, now)),
    }
    changes
}

/// Why an address went from its owner to that node, as far as the record told it beforehand: an owner that lives is only
/// followed by the one it named.
fn cause(from: &Owner, to: &str) -> &'static str {
    if from.handover_to.as_deref() == Some(to) {
        "which handed it over"
    } else if from.standby.as_deref() == Some(to) {
        "whose session is over, to the node that stood by"
    } else {
        "whose session is over"
    }
}

/// What changed while its owner stayed.
fn kept(
    from: &Owner,
    to: &Owner,
    before: &LoadBalancerIPStatus,
    now: &LoadBalancerIPStatus,
) -> Vec<Change> {
    let mut changes = Vec::new();
    if from.handover_to != to.handover_to {
        changes.push(match (&from.handover_to, &to.handover_to) {
            (_, Some(next)) => {
                let words = format!("{} is handing it over to {next}", to.node);
                Change::new("yielding", words).at([to.node.as_str(), next.as_str()])
            }
            (next, None) => {
                let next = next.as_deref().unwrap_or_default();
                let words = format!("{} keeps it: {next} did not take it", to.node);
                Change::new("kept", words).at([to.node.as_str(), next])
            }
        });
    }
    if from.standby != to.standby {
        let words = match &to.standby {
            Some(node) => format!("{node} stands by"),
            None => "no node stands by".to_owned(),
        };
        let nodes = [Some(&to.node), to.standby.as_ref(), from.standby.as_ref()];
        let nodes = nodes.into_iter().flatten().map(String::as_str);
        changes.push(Change::new("standby", words).at(nodes));
    }
    if before.interfaces != now.interfaces && !now.interfaces.is_empty() {
        changes.push(Change::new("interfaces", answers(to, now)).at([to.node.as_str()]));
    }
    changes
}

fn answers(owner: &Owner, status: &LoadBalancerIPStatus) -> String {
    let on = match status.interfaces.as_slice() {
        [] => "owns it and answers on no interface".to_owned(),
        names => format!("answers on {}", names.join(", ")),
    };
    let standby = owner.standby.as_ref();
    let standby = standby.map_or_else(String::new, |node| format!("; {node} stands by"));
    format!("{} {on}{standby}", owner.node)
}

/// A condition that says something else than before; what is as it should be may put it in other words unheard.
pub(super) fn condition(
    before: &[Condition],
    type_: &str,
    said: Option<&Condition>,
) -> Option<Change> {
    let was = find(before, type_);
    let said = match (was, said) {
        (None, None) => return None,
        (Some(_), None) => return Some(Change::new("condition", format!("{type_} is withdrawn"))),
        (_, Some(said)) => said,
    };
    let same = |was: &Condition| {
        let words = said.status == "True" || was.message == said.message;
        was.status == said.status && was.reason == said.reason && words
    };
    let words = format!(
        "{type_} is {} ({}): {}",
        said.status, said.reason, said.message
    );
    (!was.is_some_and(same)).then(|| Change::new("condition", words))
}

fn pool(record: &LoadBalancerIP) -> String {
    let pool = record.spec.pool_ref.as_ref();
    pool.map_or_else(String::new, |pool| format!(", from pool {}", pool.name))
}

/// Who has the address, in words.
fn holders(record: &LoadBalancerIP) -> String {
    let spec = &record.spec;
    match (spec.holders.as_slice(), &spec.reserved_for) {
        ([], Some(kept)) => format!("kept for {} {}/{}", kept.kind, kept.namespace, kept.name),
        ([], None) => "held by nobody".to_owned(),
        (holders, _) => {
            let names = holders.iter();
            let names =
                names.map(|holder| format!("{} {}/{}", holder.kind, holder.namespace, holder.name));
            format!("held by {}", names.collect::<Vec<_>>().join(", "))
        }
    }
}

/// How an address stands.
pub(super) fn state(ip: &Ip) -> Change {
    let held = match (ip.holders.as_slice(), &ip.reserved_for) {
        ([], Some(kept)) => format!("kept for {kept}"),
        ([], None) => "held by nobody".to_owned(),
        (holders, _) => format!("held by {}", holders.join(", ")),
    };
    let mut words = match ip.state {
        State::Unknown => held,
        state => format!("{state:?}, {held}"),
    };
    if !ip.interfaces.is_empty() {
        words.push_str(&format!("; on {}", ip.interfaces.join(", ")));
    }
    if let Some(node) = &ip.standby {
        words.push_str(&format!("; {node} stands by"));
    }
    if let Some(why) = &ip.why {
        words.push_str(&format!("; {why}"));
    }
    Change::new("state", words).at([&ip.node, &ip.standby]
        .into_iter()
        .flatten()
        .map(String::as_str))
}
