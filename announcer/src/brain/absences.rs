//! Nodes whose session others ended and whose announcer did not come back: their pods get no new connections by XDP, and
//! somebody should know why. It may be that none is to run there any more.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::election::Now;
use crate::model::Peer;
use crate::model::published::LEASE_PREFIX;
use crate::names::NodeName;

/// After so long nobody is about to come back.
const LONG: Duration = Duration::from_secs(600);

/// Since when, and whether it was said.
#[derive(Debug, Default)]
pub(super) struct Absences {
    since: BTreeMap<NodeName, (Now, bool)>,
}

impl Absences {
    /// What a node's Lease says now; none where it has none any more.
    pub(super) fn read(&mut self, node: &NodeName, peer: Option<&Peer>, now: Now) {
        if peer.is_some_and(|peer| peer.lease.session.is_none() && peer.fenced_by.is_some()) {
            self.since.entry(node.clone()).or_insert((now, false));
        } else {
            self.since.remove(node);
        }
    }

    /// What is to be said now.
    pub(super) fn due(&mut self, now: Now) -> Vec<String> {
        let due = self.since.iter_mut();
        let due = due.filter(|(_, (since, said))| !said && now >= *since + LONG);
        due.map(|(node, (_, said))| {
            *said = true;
            format!(
                "node {node} was fenced {} minutes ago and its announcer has not come back: pods on it get no new \
                 connections by XDP. If none is to run there any more, delete the Lease {LEASE_PREFIX}{node}",
                LONG.as_secs() / 60
            )
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{peer, secs};

    fn fenced() -> Peer {
        let mut peer = peer("n2", 1, Vec::new());
        peer.lease.session = None;
        peer.fenced_by = Some(NodeName::new("n3"));
        peer
    }

    #[test]
    fn of_a_fenced_node_that_stays_away_it_is_said_once_and_how_to_end_it() {
        let (mut absences, node) = (Absences::default(), NodeName::new("n2"));
        absences.read(&node, Some(&fenced()), secs(100));
        absences.read(&node, Some(&fenced()), secs(400));
        assert!(absences.due(secs(699)).is_empty());
        let [said] = &absences.due(secs(700))[..] else {
            panic!("not said");
        };
        assert!(said.ends_with("delete the Lease announcer-n2"), "{said}");
        assert!(absences.due(secs(701)).is_empty());
    }

    #[test]
    fn a_node_that_comes_back_or_left_by_its_own_word_is_not_missed() {
        let (mut absences, node) = (Absences::default(), NodeName::new("n2"));
        absences.read(&node, Some(&fenced()), secs(100));
        absences.read(&node, Some(&peer("n2", 2, Vec::new())), secs(200));
        let left = Peer {
            fenced_by: None,
            ..fenced()
        };
        absences.read(&node, Some(&left), secs(300));
        assert!(absences.due(secs(2_000)).is_empty());
        absences.read(&node, Some(&fenced()), secs(3_000));
        absences.read(&node, None, secs(3_001));
        assert!(absences.due(secs(9_000)).is_empty());
    }
}
