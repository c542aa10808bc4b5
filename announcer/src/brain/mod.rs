//! The brain: everything this node knows, and what follows from it.
//!
//! ```text
//!  Input ─► take: into the world, the election, what is seen of links, neighbours and foreign hosts
//!            step: policy::plan ─► election::decide ─► dataplane::assemble ─► report::reports ─► Effects
//! ```
//!
//! Pure: no clock, no socket, no request; it is told the time and returns what is wanted. The agent carries that out.
//!
//! Invariant: whatever is wanted follows from all that was taken in before, and from nothing else; nothing is wanted of
//! anybody before every kind was listed once.

mod absences;
mod conflicts;
mod departures;
mod effects;
mod fences;
mod input;
mod notices;
mod own_node;
mod peers;
mod places;
mod published;
mod reporting;
mod silences;
mod summary;
#[cfg(test)]
mod tests;
mod unavailable;
mod writes;
mod wrongs;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use absences::Absences;
pub use effects::{Effects, Expiry, Job, Notice, ReportKey, Subject, Swap};
pub use input::{Input, ProbeNews, SwapOutcome};
use own_node::Described;
use peers::ToPeers;
pub use peers::{Heartbeats, Whereabouts};
use reporting::Reporting;
use silences::Silences;
pub use summary::{ClusterSummary, Summary};
use unavailable::Unavailable;
use writes::record;
use wrongs::Wrongs;

use crate::dataplane::{DataPath, DirectorNews, assemble};
use crate::election::owners::{self, Candidate, Event, Owners, Record, Settings};
use crate::election::{ClaimReason, Now};
use crate::link::{IfIndex, LinkTable, NeighbourTable};
use crate::model::{InterfacePatterns, Key, Kind, Object, World, XdpState};
use crate::names::{NodeName, ServiceKey};
use crate::policy::{Announcements, plan};
use crate::report::Conflict;

/// Everything one node knows.
pub struct Brain {
    me: NodeName,
    world: World,
    owners: Owners,
    /// What the records of `world` say to the election, and what `plan` does: shown to it, never written but from these.
    records: BTreeMap<IpAddr, Record>,
    candidates: BTreeMap<IpAddr, Vec<Candidate>>,
    /// Addresses of this node for which it has no interface any more.
    without_interface: BTreeSet<IpAddr>,
    /// Interfaces on which some address would be answered for.
    candidate_on: BTreeSet<String>,
    /// What it answered for, as it decided last.
    answering: BTreeSet<IpAddr>,
    /// And where.
    answered_on: BTreeMap<IpAddr, BTreeSet<IfIndex>>,
    /// This node is being drained.
    draining: bool,
    plan: Announcements,
    links: Arc<LinkTable>,
    neighbours: Arc<NeighbourTable>,
    director: DirectorNews,
    conflicts: BTreeMap<IpAddr, (Conflict, Now)>,
    listed: BTreeSet<Kind>,
    leaving: bool,
    live: BTreeSet<NodeName>,
    claims: BTreeMap<IpAddr, (ClaimReason, Option<NodeName>)>,
    reporting: BTreeMap<ReportKey, Reporting>,
    notices: Vec<Notice>,
    told: BTreeSet<(Subject, String)>,
    unavailable: Unavailable,
    data_path: Option<Arc<DataPath>>,
    unplaced: usize,
    /// Something that policies, or what they make of it, depend on has changed.
    plan_due: bool,
    /// Something that only the data path depends on has changed.
    path_due: bool,
    /// It is to be assembled in the step after: first those who answer are told.
    path_next: bool,
    report_due: bool,
    /// Before this it is not found out again what to report.
    report_at: Now,
    /// Reports that are due once no address is being ceded any more.
    reports_wait: bool,
    transitions: BTreeMap<&'static str, u64>,
    conflicts_seen: u64,
    /// Interfaces that are no container's although they look like one.
    plain: InterfacePatterns,
    /// Addresses whose records this node may not write, as it was told last.
    denied: BTreeSet<IpAddr>,
    to_peers: ToPeers,
    wrongs: Wrongs,
    fences: fences::Fences,
    silences: Silences,
    absences: Absences,
    described: Described,
    /// What is told of addresses that are not announced any more, once that is written.
    ends: BTreeMap<IpAddr, String>,
}

impl Brain {
    /// A node that knows nothing yet.
    #[must_use]
    pub fn new(me: NodeName, settings: Settings) -> Self {
        Self {
            owners: Owners::new(me.clone(), settings),
            records: BTreeMap::new(),
            candidates: BTreeMap::new(),
            without_interface: BTreeSet::new(),
            candidate_on: BTreeSet::new(),
            answering: BTreeSet::new(),
            answered_on: BTreeMap::new(),
            draining: false,
            me,
            world: World::default(),
            plan: Announcements::default(),
            links: Arc::default(),
            neighbours: Arc::default(),
            director: DirectorNews::default(),
            conflicts: BTreeMap::new(),
            listed: BTreeSet::new(),
            leaving: false,
            live: BTreeSet::new(),
            claims: BTreeMap::new(),
            reporting: BTreeMap::new(),
            notices: Vec::new(),
            told: BTreeSet::new(),
            unavailable: Unavailable::default(),
            data_path: None,
            unplaced: 0,
            plan_due: true,
            path_due: true,
            path_next: false,
            report_due: true,
            report_at: Now::ZERO,
            reports_wait: false,
            transitions: ClaimReason::ALL.map(|reason| (reason.as_str(), 0)).into(),
            conflicts_seen: 0,
            plain: InterfacePatterns::default(),
            denied: BTreeSet::new(),
            to_peers: ToPeers::default(),
            wrongs: Wrongs::default(),
            fences: fences::Fences::default(),
            silences: Silences::default(),
            absences: Absences::default(),
            described: Described::default(),
            ends: BTreeMap::new(),
        }
    }

    /// The same, to whom these interfaces are no container's whatever they look like.
    #[must_use]
    pub fn with_plain_interfaces(self, plain: InterfacePatterns) -> Self {
        Self { plain, ..self }
    }

    /// Takes one input in.
    pub fn take(&mut self, input: Input, now: Now) {
        match input {
            Input::Applied(object) => self.apply(object, now),
            Input::Gone(key) => self.remove(&key, now),
            Input::Listed(kind, keys) => self.list(kind, &keys, now),
            Input::WentBack(news) => {
                self.world.forget_versions();
                self.owners.observe(Event::WentBack, now);
                for input in news {
                    self.take(input, now);
                }
            }
            Input::Renewal(node, version) => {
                let seen = Event::RenewalSeen(node, version);
                self.owners.observe(seen, now);
            }
            Input::Session(event) => {
                self.report_due = true;
                self.session_news(&event, now);
                self.owners.observe(event, now);
            }
            Input::Taken(by, since) => self.taken(by, since),
            Input::Namesake(session) => self.described.namesake = session,
            Input::Peers(report) => self.peers_said(report, now),
            Input::HeardFrom(macs) => self.to_peers.heard_from = macs,
            Input::Keys(keys) => self.to_peers.keys = keys,
            Input::Links(links) => {
                self.unavailable.changed(&self.links, &links);
                self.links = links;
                self.plan_due = true;
            }
            Input::Neighbours(neighbours) => {
                self.neighbours = neighbours;
                self.path_due = true;
            }
            Input::Director(news) => {
                self.plan_due |= self.director != news;
                self.director = news;
            }
            Input::Swapped(address, outcome) => self.swapped(address, outcome, now),
            Input::Inquired(events) => {
                for event in events {
                    self.owners.observe(event, now);
                }
            }
            Input::Reported(key, outcome) => self.reported(key, outcome, now),
            Input::Described(outcome) => self.described(outcome, now),
            Input::NamesakeSaid(outcome) => self.namesake_said(outcome, now),
            Input::Probed(address, news) => self.probed(address, news, now),
            Input::Conflict(address, conflict) => {
                self.conflicts_seen += 1;
                self.conflict(address, conflict, now);
            }
            Input::Unreadable(subject, error) => self.unreadable(subject, error),
            Input::Unavailable(ifindex) => {
                self.unavailable.failed(ifindex, now);
                self.plan_due = true;
            }
            Input::Leave => {
                self.leaving = true;
                self.plan_due = true;
                self.owners.observe(Event::Leaving, now);
            }
        }
    }

    fn apply(&mut self, mut object: Object, now: Now) {
        if let Object::Session(node, peer) = &mut object {
            let known = self.world.peers.get(node);
            if *node == self.me {
                self.fences.inherit(&peer.fenced_at, now);
            }
            if let Some(by) = self.wrongs.read(node, peer, known, now) {
                self.wronged(node.clone(), by);
            }
            self.absences.read(node, Some(peer), now);
            let seen = Event::LeaseSeen(node.clone(), peer.lease.clone());
            self.owners.observe(seen, now);
        }
        let slice_of = match &object {
            Object::Slice(service, ..) => Some(service.clone()),
            _ => None,
        };
        let address = match &object {
            Object::Address(lbip) => Some(lbip.address),
            _ => None,
        };
        // Where ten thousand addresses change their owner, and their Services the condition, it is not planned ten thousand
        // times who may own them.
        let status_alone = self.world.differs_in_status_alone(&object);
        if self.world.apply(object) {
            if status_alone {
                self.report_due = true;
                self.to_peers.due |= address.is_some();
            } else {
                self.changed(slice_of.as_ref());
            }
        }
        if let Some(address) = address {
            self.show_record(address);
        }
    }

    /// Shows the election what the record of an address says now, if there is one.
    fn show_record(&mut self, address: IpAddr) {
        match self.world.lbips.get(&address) {
            Some(lbip) => drop(self.records.insert(address, record(lbip))),
            None => drop(self.records.remove(&address)),
        }
    }

    /// Where endpoints run is a policy's business only where traffic must stay local.
    fn changed(&mut self, slice_of: Option<&ServiceKey>) {
        self.path_due = true;
        let is_local = |key| {
            self.world
                .services
                .get(key)
                .is_some_and(|service| service.local)
        };
        self.plan_due |= slice_of.is_none_or(is_local);
    }

    fn remove(&mut self, key: &Key, now: Now) {
        if let Key::Session(node) = key {
            self.absences.read(node, None, now);
            self.departs(node, now);
            self.owners.observe(Event::LeaseGone(node.clone()), now);
        }
        let slice_of = match key {
            Key::Slice(service, _) => Some(service),
            _ => None,
        };
        if self.world.remove(key) {
            self.changed(slice_of);
        }
        if let Key::Address(address) = key {
            self.show_record(*address);
        }
    }

    fn list(&mut self, kind: Kind, listed: &BTreeSet<Key>, now: Now) {
        for key in self.world.missing(kind, listed) {
            self.remove(&key, now);
        }
        self.plan_due |= self.listed.insert(kind);
    }

    /// Whether everything was listed once that a decision depends on. A node without any link is not known yet: there is a
    /// loopback everywhere.
    fn ready(&self) -> bool {
        self.listed.len() == Kind::LISTED.len() && !self.links.links.is_empty()
    }

    /// Says what to do now.
    pub fn step(&mut self, now: Now, wall: &Time) -> Effects {
        let mut effects = Effects::default();
        self.forget_conflicts(now);
        self.forget_departed(now);
        for absence in self.absences.due(now) {
            tracing::warn!("{absence}");
        }
        self.plan_due |= self.unavailable.expire(now);
        if self.plan_due && self.ready() {
            self.make_plan(now);
            self.path_due = true;
        }
        if self.path_due && self.ready() {
            self.path_due = false;
            self.to_peers.due = true;
            self.look_whether_draining(now);
            effects.data_path = self.assemble();
        }
        effects.published = self.ready().then(|| self.published(now));
        effects.peers = self.peers();
        effects.ready = self.may_answer_on();
        if self.ready() {
            self.silences.look(&self.me, &self.records);
            let shown = owners::World {
                records: &self.records,
                candidates: &self.candidates,
                without_interface: &self.without_interface,
            };
            let decision = self.owners.decide(&shown, now);
            self.decided(&decision);
            effects.watched.clone_from(self.owners.watched());
            effects.deadline = self.owners.deadline();
            effects.allowed = decision.allowed;
            effects.wake_at = Some(decision.wake_at);
            effects.announce = decision.announce;
            for address in decision.answering {
                let indexes = self.answered_on(address);
                if indexes.is_empty() {
                    continue;
                }
                effects.owned.insert(address, indexes);
                let period = self
                    .plan
                    .addresses
                    .get(&address)
                    .and_then(|plan| plan.period);
                effects
                    .periods
                    .extend(period.map(|period| (address, period)));
            }
            for address in decision.probes {
                effects.probes.push((address, self.indexes(address)));
            }
            for write in decision.writes {
                self.write(write, wall, now, &mut effects);
            }
            let before = std::mem::replace(&mut self.answered_on, effects.owned.clone());
            let new = effects.owned.keys().filter(|a| !before.contains_key(a));
            effects.taken_over = self.silences.answered(new.copied());
            self.say_what_ended(&before, &effects.owned);
            if effects.taken_over.is_empty() {
                self.report(now, wall, &mut effects);
            } else {
                // Answers first: what is written about it comes in the step after.
                effects.wake_at = Some(now);
            }
            self.describe(now, wall, &mut effects);
        }
        // What was said of the addresses given away is part of the farewell, unless nobody may hear it any more.
        let said = self.has_reported();
        effects.in_vain = self.leaving && said && self.may_write_nothing();
        let shown = owners::World {
            records: &self.records,
            candidates: &self.candidates,
            without_interface: &self.without_interface,
        };
        effects.has_left = self.leaving && (!self.ready() || self.owners.has_left(&shown) && said);
        if let Some(until) = self.unavailable.until() {
            effects.wake_no_later(until);
        }
        if let Some(until) = self.departed_until() {
            effects.wake_no_later(until);
        }
        if std::mem::take(&mut self.path_next) {
            self.path_due = true;
            effects.wake_at = Some(now);
        }
        self.tell_peers(now, &mut effects);
        effects.notices = std::mem::take(&mut self.notices);
        effects
    }

    /// Whether nothing this node still owns can be given away.
    fn may_write_nothing(&self) -> bool {
        let shown = owners::World {
            records: &self.records,
            candidates: &self.candidates,
            without_interface: &self.without_interface,
        };
        let owned: BTreeSet<IpAddr> = self.owners.owned(&shown).collect();
        let hopeless =
            |address: &IpAddr| self.denied.contains(address) && !self.owners.is_writing(address);
        !owned.is_empty() && owned.iter().all(hopeless)
    }

    fn make_plan(&mut self, now: Now) {
        self.plan_due = false;
        self.report_due = true;
        let own = self.own_interfaces();
        let (leaving, director, carries) = (self.leaving, self.director.state, self.carries());
        // Of itself a node knows better than what its Lease said last.
        if let Some(peer) = self.world.peers.get_mut(&self.me) {
            peer.interfaces = own.clone();
            peer.leaving = leaving;
            peer.xdp = director;
            peer.carries = carries;
            peer.unsteady = self.fences.are_many(now);
        }
        self.plan = plan(&self.world, &self.me, &own);
        let addresses = self.plan.addresses.iter();
        self.candidates = addresses
            .map(|(address, plan)| (*address, plan.candidates.clone()))
            .collect();
        self.without_interface = self.lost();
        let interfaces = self.plan.addresses.values().map(|plan| &plan.interfaces);
        self.candidate_on = interfaces.flatten().cloned().collect();
        let programmed = self.director.state != XdpState::Failed;
        self.owners.observe(Event::Programmed(programmed), now);
    }

    fn assemble(&mut self) -> Option<Arc<DataPath>> {
        let assembled = assemble(
            &self.world,
            &self.plan,
            &self.me,
            &self.links,
            &self.neighbours,
            &self.director,
        );
        self.unplaced = assembled.unplaced;
        assembled.path.replace(&mut self.data_path)
    }
}
