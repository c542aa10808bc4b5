//! Who watches whose renewals: of few sessions everybody those of all; of many each the four others that its own are
//! watched by. What all watch is the Lease that names a session; that changes when the session begins or ends.
//!
//! Invariant: as long as any node lives, somebody watches every session that is named. A watcher that dies is named no
//! more when its own watchers have ended its session, and the rings close over it.

use std::collections::BTreeSet;

use super::round::Round;
use super::view::Fate;
use super::{Decision, Owners, Record};
use crate::Now;
use crate::names::NodeName;
use crate::peers::ring;
use crate::sessions::Standing;

/// With so many named sessions or fewer everybody watches all.
const EVERYBODY: usize = 10;

/// Whose renewals this node watches.
#[derive(Clone, Debug, Default)]
pub(super) struct Watching {
    /// Nodes whose sessions were named when this was drawn.
    named: BTreeSet<NodeName>,
    nodes: BTreeSet<NodeName>,
}

impl Watching {
    /// The nodes that watch `node`.
    pub(super) fn watchers(&self, node: &NodeName) -> BTreeSet<NodeName> {
        partners(node, &self.named)
    }

    pub(super) fn contains(&self, node: &NodeName) -> bool {
        self.nodes.contains(node)
    }
}

impl Owners {
    /// Whose renewals this node has to be told of.
    pub const fn watched(&self) -> &BTreeSet<NodeName> {
        &self.watching.nodes
    }

    /// Draws whom to watch, if sessions were begun or ended.
    pub(super) fn look_whom_to_watch(&mut self, now: Now) {
        if !self.view.leases.named().eq(&self.watching.named) {
            let named: BTreeSet<NodeName> = self.view.leases.named().cloned().collect();
            let nodes = partners(&self.me, &named);
            self.watching = Watching { named, nodes };
        }
        self.view.leases.watch(&self.watching.nodes, now);
    }

    /// Another owns the address: its session is looked after.
    pub(super) fn watch(&self, record: &Record, round: &mut Round<'_>, out: &mut Decision) {
        let Some(owner) = &record.owner else {
            return;
        };
        match self.view.fate(&owner.node, &owner.session, round.now) {
            Fate::Live { until } => out.wake(until),
            Fate::Silent {
                since,
                version,
                renewal,
            } => {
                let silent = (owner.session.clone(), since, version, renewal);
                round.silent.insert(owner.node.clone(), silent);
            }
            Fate::Unknown => {
                round
                    .unknown
                    .insert(owner.node.clone(), owner.session.clone());
            }
            Fate::Ended { .. } | Fate::Dead => {}
        }
    }

    /// A watched session is looked after whether it owns anything or not: its watchers alone can tell that it is silent.
    pub(super) fn look_after_watched(&self, round: &mut Round<'_>, out: &mut Decision) {
        for node in &self.watching.nodes {
            let Some(session) = self.view.leases.named_by(node) else {
                continue;
            };
            match self.view.fate(node, session, round.now) {
                Fate::Live { until } => out.wake(until),
                // Ended by agreement, perhaps, and not in writing yet: who has not heard of it goes by the Lease.
                _ => {
                    if let Standing::Silent {
                        since,
                        version,
                        renewal,
                    } = self.view.leases.standing(node, session, round.now)
                    {
                        let silent = (session.clone(), since, version, renewal);
                        round.silent.insert(node.clone(), silent);
                    }
                }
            }
        }
    }
}

fn partners(node: &NodeName, named: &BTreeSet<NodeName>) -> BTreeSet<NodeName> {
    if named.len() > EVERYBODY {
        return ring::partners(node, named.iter());
    }
    named
        .iter()
        .filter(|other| *other != node)
        .cloned()
        .collect()
}
