//! What an announcer says of its own node.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use landfall_crds::{
    L2NodeInterface, L2NodeStatus, L2NodeSummary, MAX_NODE_INTERFACES, MAX_NODE_REASON,
    MAX_NODES_HEARD, NodeXdp,
};

use crate::dataplane::RunsOn;
use crate::model::{Interface, XdpState};
use crate::names::{NodeName, SessionId};

/// Names a column has room for.
const SHOWN: usize = 3;

/// What a node is and does.
#[derive(Clone, Debug)]
pub struct OwnNode<'a> {
    /// Its session, and when that began.
    pub session: Option<(&'a SessionId, Time)>,
    pub interfaces: &'a [Interface],
    pub xdp: XdpState,
    /// The interfaces that the director's programs are on, by name.
    pub runs_on: &'a BTreeMap<String, RunsOn>,
    /// How many addresses it answers for.
    pub addresses: usize,
    /// Whom it hears both ways; `None` where no heartbeats run.
    pub hears: Option<BTreeSet<&'a NodeName>>,
}

/// Its status, whole.
#[must_use]
pub fn node_status(node: &OwnNode<'_>) -> L2NodeStatus {
    let interfaces = node.interfaces.iter();
    let interfaces = interfaces.map(|interface| {
        let xdp = node.runs_on.get(&interface.name);
        let why = xdp.and_then(|xdp| xdp.why_generic.as_ref());
        L2NodeInterface {
            name: interface.name.clone(),
            mac: interface.mac.to_string(),
            xdp: xdp.map(|xdp| xdp.path.clone()),
            why_generic: why.map(|why| why.chars().take(MAX_NODE_REASON).collect()),
        }
    });
    let names: Vec<&str> = node.interfaces.iter().map(|i| i.name.as_str()).collect();
    let heard: Vec<&str> = node
        .hears
        .iter()
        .flatten()
        .map(|node| node.as_str())
        .collect();
    let hears = match &node.hears {
        None => "no heartbeats".to_owned(),
        Some(_) => some_of(&heard),
    };
    L2NodeStatus {
        session: node
            .session
            .as_ref()
            .map(|(session, _)| session.to_string()),
        session_since: node.session.as_ref().map(|(_, since)| since.clone()),
        interfaces: interfaces.take(MAX_NODE_INTERFACES).collect(),
        xdp: match node.xdp {
            XdpState::Off => NodeXdp::Off,
            XdpState::Ready => NodeXdp::Ready,
            XdpState::Draining => NodeXdp::Draining,
            XdpState::Disabled => NodeXdp::Disabled,
            XdpState::Failed => NodeXdp::Failed,
        },
        addresses: i64::try_from(node.addresses).unwrap_or(i64::MAX),
        hears: heard
            .iter()
            .take(MAX_NODES_HEARD)
            .map(|node| (*node).to_owned())
            .collect(),
        // Of those that wait for this one to go, each says its own.
        conditions: Vec::new(),
        summary: Some(L2NodeSummary {
            interfaces: some_of(&names),
            hears,
        }),
    }
}

/// The first names, and how many more there are.
fn some_of(names: &[&str]) -> String {
    let (shown, more) = names.split_at(names.len().min(SHOWN));
    match (shown, more.len()) {
        ([], _) => "none".to_owned(),
        (shown, 0) => shown.join(", "),
        (shown, more) => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::interface;

    fn status(hears: Option<&[&str]>, interfaces: &[&str]) -> L2NodeStatus {
        let nodes: Vec<NodeName> = hears
            .unwrap_or_default()
            .iter()
            .map(|node| NodeName::new(*node))
            .collect();
        let interfaces: Vec<Interface> = interfaces.iter().map(|name| interface(name)).collect();
        node_status(&OwnNode {
            session: None,
            interfaces: &interfaces,
            xdp: XdpState::Ready,
            runs_on: &[("eth0".to_owned(), generic())].into(),
            addresses: 7,
            hears: hears.map(|_| nodes.iter().collect()),
        })
    }

    #[test]
    fn a_column_shows_the_first_names_and_how_many_more_there_are() {
        let columns = |status: L2NodeStatus| status.summary.unwrap();
        let shown = columns(status(Some(&["n2", "n3"]), &["eth0"]));
        assert_eq!((&*shown.interfaces, &*shown.hears), ("eth0", "n2, n3"));
        let shown = columns(status(Some(&["n2", "n3", "n4", "n5", "n6"]), &[]));
        assert_eq!(shown.hears, "n2, n3, n4 and 2 more");
        assert_eq!(shown.interfaces, "none");
        assert_eq!(columns(status(Some(&[]), &[])).hears, "none");
        assert_eq!(columns(status(None, &[])).hears, "no heartbeats");
    }

    fn generic() -> RunsOn {
        RunsOn {
            path: "generic".into(),
            why_generic: Some("e".repeat(1_000)),
        }
    }

    #[test]
    fn where_the_director_runs_on_an_interface_and_why_is_said() {
        let status = status(None, &["eth0", "eth1"]);
        let said = status.interfaces.iter();
        let said = said.map(|on| (on.xdp.as_deref(), on.why_generic.as_ref().map(String::len)));
        let expected = [(Some("generic"), Some(MAX_NODE_REASON)), (None, None)];
        assert_eq!(said.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_crowd_does_not_outgrow_the_object() {
        let names: Vec<String> = (0..500).map(|n| format!("n{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let status = status(Some(&names), &names);
        assert_eq!(status.hears.len(), MAX_NODES_HEARD);
        assert_eq!(status.interfaces.len(), MAX_NODE_INTERFACES);
        assert_eq!((status.addresses, status.xdp), (7, NodeXdp::Ready));
    }
}
