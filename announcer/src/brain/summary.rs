//! A look inside the brain, for people and metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::Brain;
use crate::election::Now;
use crate::model::{Kind, Lbip};
use crate::names::{NodeName, PolicyName, SessionId};
use crate::policy::PolicyOutcome;
use crate::report::Conflict;

/// A look inside, for `/debug/state` and metrics.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Summary {
    pub session: Option<SessionId>,
    /// The session of another machine of this node's name, which has its Lease.
    pub namesake: Option<SessionId>,
    /// Seconds until this node stops answering unless it renews.
    pub session_remaining_seconds: f64,
    /// Addresses this node answers for, and on which interfaces.
    pub answering: BTreeMap<IpAddr, BTreeSet<String>>,
    /// Addresses by owner, all nodes.
    pub owners: BTreeMap<IpAddr, String>,
    /// Nodes with a live session.
    pub live: BTreeSet<NodeName>,
    /// Nodes whose pods get no new connections, because others ended their sessions for silence.
    pub silenced: BTreeSet<NodeName>,
    /// Foreign hosts at our addresses.
    pub conflicts: BTreeMap<IpAddr, Conflict>,
    /// How often a foreign host was found.
    pub conflicts_seen: u64,
    /// Ownerships taken, by reason.
    pub transitions: BTreeMap<&'static str, u64>,
    /// Sessions that fell silent to heartbeats, by what came of it.
    pub silences: BTreeMap<&'static str, u64>,
    /// Frontends and backends wanted in the data path.
    pub frontends: usize,
    /// Backends of all frontends.
    pub backends: usize,
    pub hops: usize,
    /// Endpoints on no node of this segment.
    pub unplaced: usize,
    /// Kinds not listed yet.
    pub waiting_for: Vec<&'static str>,
    /// Why addresses are not announced.
    pub refusals: BTreeMap<IpAddr, String>,
    /// What is said of the cluster by one node alone, so that sums are right.
    pub cluster: Option<ClusterSummary>,
}

/// What every node knows alike.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct ClusterSummary {
    /// Addresses that somebody holds and nobody answers for, by the reason in their condition.
    pub unannounced: BTreeMap<&'static str, usize>,
    pub policies: BTreeMap<PolicyName, PolicyOutcome>,
}

impl Brain {
    /// A look inside.
    #[must_use]
    pub fn summary(&self, now: Now) -> Summary {
        let data_path = self.data_path.as_ref();
        let owner = |lbip: &Lbip| lbip.status.owner.as_ref().map(|owner| owner.node.clone());
        let waiting = Kind::LISTED
            .iter()
            .filter(|kind| !self.listed.contains(kind));
        let refusals = self.plan.addresses.iter().filter_map(|(address, plan)| {
            Some((*address, plan.refusal.as_ref()?.message(*address)))
        });
        Summary {
            session: self.owners.session().cloned(),
            namesake: self.described.namesake.clone(),
            session_remaining_seconds: self
                .owners
                .deadline()
                .map_or(0.0, |deadline| deadline.saturating_sub(now).as_secs_f64()),
            answering: self
                .answering
                .iter()
                .copied()
                .filter_map(|a| Some((a, self.plan.addresses.get(&a)?.interfaces.clone())))
                .collect(),
            owners: self
                .world
                .lbips
                .iter()
                .filter_map(|(address, lbip)| Some((*address, owner(lbip)?)))
                .collect(),
            live: self.owners.live_nodes(now),
            silenced: {
                let nodes = self.world.peers.keys();
                let silenced = nodes.filter(|node| self.world.is_silenced(node));
                silenced.cloned().collect()
            },
            conflicts: self
                .conflicts
                .iter()
                .map(|(a, (c, _))| (*a, c.clone()))
                .collect(),
            conflicts_seen: self.conflicts_seen,
            transitions: self.transitions.clone(),
            silences: self.to_peers.counts.clone(),
            frontends: data_path.map_or(0, |path| path.desired.frontends.len()),
            backends: data_path.map_or(0, |path| {
                path.desired
                    .frontends
                    .values()
                    .map(|v| v.backends.len())
                    .sum()
            }),
            hops: data_path.map_or(0, |path| path.desired.hops.len()),
            unplaced: self.unplaced,
            waiting_for: waiting.map(|kind| kind.as_str()).collect(),
            refusals: refusals.collect(),
            cluster: (self.holders_of_sessions().next() == Some(&self.me)).then(|| {
                ClusterSummary {
                    unannounced: self.unannounced(),
                    policies: self.plan.policies.clone(),
                }
            }),
        }
    }

    /// Nodes whose Leases have a holder: all nodes see the same ones, on whatever segments they are.
    fn holders_of_sessions(&self) -> impl Iterator<Item = &NodeName> {
        let peers = self.world.peers.iter();
        let holding = peers.filter(|(_, peer)| peer.lease.session.is_some());
        holding.map(|(node, _)| node)
    }

    fn unannounced(&self) -> BTreeMap<&'static str, usize> {
        // Those of which there are none are said too: who counts from nothing to one sees a step.
        let mut unannounced = BTreeMap::from([
            ("AddressConflict", 0),
            ("HolderGone", 0),
            ("NoCandidateNode", 0),
            ("NoDirector", 0),
            ("NoLocalEndpoint", 0),
            ("NoMatchingPolicy", 0),
            ("NoOwner", 0),
        ]);
        let all = self.world.lbips.iter();
        let is_held = |lbip: &Lbip| !lbip.holders.is_empty() || !lbip.gateways.is_empty();
        for (address, lbip) in all.filter(|(_, lbip)| is_held(lbip)) {
            let plan = self.plan.addresses.get(address);
            let refusal = plan.and_then(|plan| plan.refusal.as_ref());
            let owner = lbip.status.owner.as_ref();
            let is_owned = owner.is_some_and(|owner| {
                self.holders_of_sessions()
                    .any(|node| node.as_str() == owner.node)
            });
            let reason = match refusal {
                Some(refusal) => refusal.reason(),
                None if self.conflicts.contains_key(address) => "AddressConflict",
                None if !is_owned => "NoOwner",
                None => continue,
            };
            *unannounced.entry(reason).or_default() += 1;
        }
        unannounced
    }
}
