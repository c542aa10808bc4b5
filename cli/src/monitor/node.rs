//! What happens to a node's announcer, as its L2Node and the Lease of its session say. Pure.

use k8s_openapi::api::coordination::v1::Lease;
use landfall_crds::{L2Node, L2NodeStatus};

use super::address::Change;
use crate::picture::sessions;

/// On a Lease whose session another node has ended: that node.
const FENCED_BY: &str = "landfall.dev/fenced-by";

/// How the node stands, as it says itself and the Lease of its session does, where that is to be seen.
pub(super) fn state(node: &L2Node, lease: Option<&Lease>) -> Change {
    let status = node.status.clone().unwrap_or_default();
    let ended = lease.is_some_and(|lease| !is_held(lease));
    let session = match (&status.session, lease.and_then(fenced_by)) {
        (Some(_), Some(by)) if ended => format!("its session was ended by {by}"),
        (Some(_), _) if ended => "its session has ended".to_owned(),
        (Some(session), _) => format!("session {session}"),
        (None, _) => "it has no session".to_owned(),
    };
    Change::new("state", format!("{session}; {}", stands(&status)))
}

/// What happened to the node between the two; the nodes of a change are others that it concerns.
pub(super) fn changes(before: Option<&L2Node>, now: Option<&L2Node>) -> Vec<Change> {
    let status = |node: &L2Node| node.status.clone().unwrap_or_default();
    match (before.map(status), now.map(status)) {
        (None, None) => Vec::new(),
        (Some(_), None) => vec![Change::new("gone", "it announces no longer")],
        (None, Some(now)) => {
            let words = format!("{}; {}", session(&now), stands(&now));
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
            changes.extend(hearing(&before, &now));
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

fn stands(status: &L2NodeStatus) -> String {
    format!("{}; {}; {}", interfaces(status), xdp(status), heard(status))
}

fn heard(status: &L2NodeStatus) -> String {
    let columns = status.summary.as_ref();
    match status.hears.as_slice() {
        [] if columns.is_some_and(|shown| shown.hears == "no heartbeats") => {
            "it runs no heartbeats".to_owned()
        }
        [] => "it hears nobody".to_owned(),
        names => format!("it hears {}", names.join(", ")),
    }
}

/// Whom it hears now and did not, and the other way round; both concern those others as much.
fn hearing(before: &L2NodeStatus, now: &L2NodeStatus) -> Option<Change> {
    let only = |one: &L2NodeStatus, other: &L2NodeStatus| -> Vec<String> {
        let names = one.hears.iter();
        let names = names.filter(|name| !other.hears.contains(name));
        names.cloned().collect()
    };
    let (come, gone) = (only(now, before), only(before, now));
    let words = match (come.join(", "), gone.join(", ")) {
        (come, gone) if come.is_empty() && gone.is_empty() => return None,
        (come, gone) if gone.is_empty() => format!("it hears {come} now"),
        (come, gone) if come.is_empty() => format!("it hears {gone} no longer; {}", heard(now)),
        (come, gone) => format!("it hears {come} now, and {gone} no longer"),
    };
    let others = come.iter().chain(&gone).map(String::as_str);
    Some(Change::new("hears", words).at(others))
}

fn fenced_by(lease: &Lease) -> Option<&String> {
    lease.metadata.annotations.as_ref()?.get(FENCED_BY)
}

fn is_held(lease: &Lease) -> bool {
    sessions(std::slice::from_ref(lease))
        .values()
        .any(|session| session.held)
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
    let mut changes = Vec::new();
    if was.held && !is.as_ref().is_some_and(|is| is.held) {
        changes.push(match now.and_then(fenced_by) {
            Some(by) => {
                let words = format!("its session was ended by {by}");
                Change::new("session", words).at([by.as_str()])
            }
            None => Change::new("session", "its session has ended"),
        });
    } else if is.as_ref().is_some_and(|is| is.published.leaving) && !was.published.leaving {
        changes.push(Change::new("leaving", "its announcer is about to stop"));
    }
    let wronged_by = is.and_then(|is| is.published.wronged_by);
    if let Some(by) = wronged_by.filter(|by| Some(by) != was.published.wronged_by.as_ref()) {
        let words = format!(
            "{by} had ended its session although others heard it; what {by} does to it is not believed for a while"
        );
        changes.push(Change::new("wronged", words).at([by.as_str()]));
    }
    let of_node = |change| (node.clone(), change);
    changes.into_iter().map(of_node).collect()
}
