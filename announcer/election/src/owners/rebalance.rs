//! Giving addresses to nodes that have fewer, where that is asked for: one at a time, and seldom.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::rank::{Candidate, Load, rank};
use super::round::Round;
use super::{Decision, Memory, Owners, Work};
use crate::names::NodeName;
use crate::order::spread;

impl Owners {
    /// Gives one address to a node that has fewer, now and then: nodes that start, or have the API server back, together do
    /// it one after the other, or all would give to the same.
    pub(super) fn rebalance(
        &mut self,
        memory: &mut BTreeMap<IpAddr, Memory>,
        round: &mut Round<'_>,
        out: &mut Decision,
    ) {
        let Some(pause) = self.settings.rebalance else {
            return;
        };
        let phase = || spread(b"rebalance", self.me.as_str(), pause);
        let at = *self
            .rebalance_at
            .get_or_insert_with(|| round.now + pause + phase());
        if round.now < at || memory.values().any(|memory| memory.yielding.is_some()) {
            return;
        }
        self.rebalance_at = Some(round.now + pause);
        if !self.has_api(round.now) {
            return;
        }
        let of = |load: &Load, node: &NodeName| load.get(node).copied().unwrap_or(0);
        let better = round.world.records.iter().find(|(address, record)| {
            let live = round
                .candidates(**address)
                .iter()
                .filter(|candidate| round.live.contains(&candidate.node));
            let live: Vec<&Candidate> = live.collect();
            let idle = memory
                .get(*address)
                .is_some_and(|memory| memory.work == Work::Idle);
            let first = rank(**address, &live, &round.load).first().copied();
            idle && self.owner_is_me(record).is_some()
                && first.is_some_and(|first| of(&round.load, first) + 1 < of(&round.load, &self.me))
        });
        if let Some((address, record)) = better
            && let Some(memory) = memory.get_mut(address)
        {
            self.give_away(*address, memory, record, false, round, out);
        }
    }
}
