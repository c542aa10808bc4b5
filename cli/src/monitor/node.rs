//! What happens to a node's announcer, as its L2Node and the Lease of its session say. Pure.

use k8s_openapi::api::coordination::v1::Lease;
use landfall_crds::{L2Node, L2NodeStatus};

use super::address::Change;
use crate::picture::sessions;

/// On a Lease whose session another node has ended: that node.
const FENCED_BY: &str = "landfall.dev/fenced-by";

/// What happened to the node between the two.
pub(super) fn changes(before: Option<&L2Node>, now: Option<&L2Node>) -> Vec<Change> {
    let status = |node: &L2Node| node.status.clone().unwrap_or_default();
    match (before.map(status), now.map(status)) {
        (None, None) => Vec::new(),
        (Some(_), None) => vec![Change::new("gone", "it announces no longer")],
        (None, Some(now)) => {
            let words = format!(
                "{}; {}; {}; {}",
                session(&now),
                interfaces(&now),
                xdp(&now),
                heard(&now)
            );
            vec![Change::new("joined", words)]
        }
        (Some(before), Some(now)) => {
            let mut changes = Vec::new();
            let mut say = |change, differs: bool, words: String| {
                if differs {
                    changes.push(Change::new(change, words));
                }
            };
            say("session", before.session != now.session, session(&now));
            say(
                "interfaces",
                interfaces(&before) != interfaces(&now),
                format!("{}; before, {}", interfaces(&now), interfaces(&before)),
            );
            say("xdp", xdp(&before) != xdp(&now), xdp(&now));
            say("hears", before.hears != now.hears, hearing(&before, &now));
            changes
        }
    }
}

fn session(status: &L2NodeStatus) -> String {
    match &status.session {
        Some(session) => format!("session {session} has begun"),
        None => "it has no session".to_owned(),
    }
}

fn interfaces(status: &L2NodeStatus) -> String {
    let names = status.interfaces.iter();
    match names.map(|one| one.name.as_str()).collect::<Vec<_>>() {
        names if names.is_empty() => "it can announce on no interface".to_owned(),
        names => format!("it can announce on {}", names.join(", ")),
    }
}

fn xdp(status: &L2NodeStatus) -> String {
    let modes = status.interfaces.iter().filter_map(|one| {
        let why = one.why_generic.as_ref();
        let why = why.map_or_else(String::new, |why| format!(" ({why})"));
        Some(format!("{} {}{why}", one.name, one.xdp.as_ref()?))
    });
    let modes: Vec<String> = modes.collect();
    let modes = match modes.is_empty() {
        true => String::new(),
        false => format!(": {}", modes.join(", ")),
    };
    format!("XDP is {:?}{modes}", status.xdp)
}

fn heard(status: &L2NodeStatus) -> String {
    match status.hears.as_slice() {
        [] => "it hears nobody".to_owned(),
        names => format!("it hears {}", names.join(", ")),
    }
}

fn hearing(before: &L2NodeStatus, now: &L2NodeStatus) -> String {
    let only = |one: &L2NodeStatus, other: &L2NodeStatus| {
        let names = one.hears.iter();
        let names = names.filter(|name| !other.hears.contains(name));
        names.cloned().collect::<Vec<_>>().join(", ")
    };
    let (come, gone) = (only(now, before), only(before, now));
    match (come.is_empty(), gone.is_empty()) {
        (false, true) => format!("it hears {come} now"),
        (true, false) => format!("it hears {gone} no longer; {}", heard(now)),
        _ => format!("it hears {come} now, and {gone} no longer"),
    }
}

/// The node of a session's Lease, and what happened to the session. That one begins, the L2Node says.
pub(super) fn session_changes(
    before: Option<&Lease>,
    now: Option<&Lease>,
) -> Vec<(String, Change)> {
    let read = |lease: Option<&Lease>| lease.map(std::slice::from_ref).map(sessions);
    let (before, after) = (read(before), read(now));
    let Some((node, was)) = before.unwrap_or_default().pop_first() else {
        return Vec::new();
    };
    let is = after.unwrap_or_default().remove(&node);
    let ended = was.held && !is.as_ref().is_some_and(|is| is.held);
    let leaving = is.is_some_and(|is| is.published.leaving) && !was.published.leaving;
    let by = now.and_then(|lease| lease.metadata.annotations.as_ref()?.get(FENCED_BY));
    let change = match by {
        Some(by) if ended => Change::new("session", format!("its session was ended by {by}")),
        _ if ended => Change::new("session", "its session has ended"),
        _ if leaving => Change::new("leaving", "its announcer is about to stop"),
        _ => return Vec::new(),
    };
    vec![(node, change)]
}
