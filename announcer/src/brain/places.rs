//! Where this node answers, and whether it is about to go.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::Brain;
use crate::election::Now;
use crate::election::owners::{Event, Record};
use crate::link::{IfIndex, Link};
use crate::model::{Endpoint, Readiness};

/// Addresses that a line of the log names.
const NAMED: usize = 8;

impl Brain {
    /// Where it may come to answer for any address.
    pub(super) fn may_answer_on(&self) -> BTreeSet<IfIndex> {
        let links = self.links.links.values();
        let named = links.filter(|link| self.candidate_on.contains(&link.name));
        named.map(|link| link.index).collect()
    }

    /// Where it answers for an address. One that it gives away may be no policy's any more: it is answered for where it was,
    /// until another does.
    pub(super) fn answered_on(&self, address: IpAddr) -> BTreeSet<IfIndex> {
        let planned = self.indexes(address);
        if !planned.is_empty() {
            return planned;
        }
        let before = self.answered_on.get(&address);
        let usable = |index: &&IfIndex| {
            let link = self.links.links.get(*index);
            link.is_some_and(|link| link.usable().is_ok()) && !self.unavailable.contains(**index)
        };
        before
            .into_iter()
            .flatten()
            .filter(usable)
            .copied()
            .collect()
    }

    /// Addresses of this node that it has no interface left to answer on.
    pub(super) fn lost(&self) -> BTreeSet<IpAddr> {
        let is_mine = |(address, record): &(&IpAddr, &Record)| {
            let owner = record.owner.as_ref();
            self.answering.contains(address) || owner.is_some_and(|owner| owner.node == self.me)
        };
        let is_others = |address: &&IpAddr| {
            let all = self.candidates.get(*address);
            all.is_some_and(|all| all.iter().all(|one| one.node != self.me))
        };
        let mine = self.records.iter().filter(is_mine);
        let lost = mine.map(|(address, _)| address).filter(is_others);
        let lost = lost.filter(|address| self.answered_on(**address).is_empty());
        lost.copied().collect()
    }

    /// The log says what this node answers for no more, and why: a line a reason, however many they are.
    pub(super) fn say_what_ended(
        &self,
        before: &BTreeMap<IpAddr, BTreeSet<IfIndex>>,
        now: &BTreeMap<IpAddr, BTreeSet<IfIndex>>,
    ) {
        let mut ended: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
        for address in before.keys().filter(|address| !now.contains_key(address)) {
            ended
                .entry(self.why_not(*address))
                .or_default()
                .push(*address);
        }
        for (why, addresses) in ended {
            let some = &addresses[..addresses.len().min(NAMED)];
            tracing::info!(count = addresses.len(), addresses = ?some, why, "answers no more");
        }
    }

    fn why_not(&self, address: IpAddr) -> String {
        if self.owners.session().is_none() {
            return "this node's session is over".to_owned();
        }
        let record = self.records.get(&address);
        match record.map(|record| record.owner.as_ref()) {
            None => "it is nobody's address any more".to_owned(),
            Some(None) => "it was given up: no node may announce it".to_owned(),
            Some(Some(owner)) if owner.node != self.me => format!("{} owns it now", owner.node),
            Some(Some(_)) if self.indexes(address).is_empty() => {
                "no interface of this node may answer for it".to_owned()
            }
            Some(Some(_)) => {
                "a peer has the higher title, or this node may not answer now".to_owned()
            }
        }
    }

    /// A node is being drained from when, cordoned, an endpoint on it ends, until it is not cordoned any more. A cordon alone
    /// keeps what is new away, and leaves connections in peace.
    pub(super) fn look_whether_draining(&mut self, now: Now) {
        let me = &self.me;
        let cordoned = self.world.nodes.get(me).is_some_and(|node| node.cordoned);
        let endpoints = || {
            let slices = self.world.slices.values().flat_map(BTreeMap::values);
            slices.flat_map(|slice| &slice.endpoints)
        };
        let ends = |endpoint: &Endpoint| {
            endpoint.node.as_ref() == Some(me) && endpoint.readiness == Readiness::Draining
        };
        let draining = cordoned && (self.draining || endpoints().any(ends));
        if self.draining != draining {
            self.draining = draining;
            tracing::info!(draining, "whether this node is being drained");
            self.owners.observe(Event::Draining(draining), now);
        }
    }

    pub(super) fn indexes(&self, address: IpAddr) -> BTreeSet<IfIndex> {
        let Some(announcement) = self.plan.addresses.get(&address) else {
            return BTreeSet::new();
        };
        let named = |link: &&Link| announcement.interfaces.contains(&link.name);
        self.links
            .links
            .values()
            .filter(named)
            .map(|link| link.index)
            .collect()
    }
}
