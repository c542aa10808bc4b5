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

mod conflicts;
mod effects;
mod input;
mod reporting;
mod summary;
#[cfg(test)]
mod tests;
mod writes;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use landfall_wire::Mac;

pub use effects::{Effects, Job, Notice, ReportKey, Subject, Swap};
pub use input::{Input, ProbeNews, SwapOutcome};
use reporting::Reporting;
pub use summary::Summary;

use crate::dataplane::{DataPath, assemble};
use crate::election::{ClaimReason, Contest, Election, Event, Now, Owner, Record, Settings};
use crate::link::{IfIndex, Link, LinkTable, NeighbourTable};
use crate::model::{
    Interface, InterfacePatterns, Key, Kind, Lbip, Object, Published, World, XdpState,
};
use crate::names::{NodeName, ServiceKey, SessionId};
use crate::policy::{Announcements, plan};
use crate::report::Conflict;

/// An interface that could not be listened on carries no address for this long.
const UNAVAILABLE_FOR: Duration = Duration::from_secs(30);

/// Unreadable objects remembered, so that each is told of once.
const TOLD: usize = 1024;

/// Everything one node knows.
pub struct Brain {
    me: NodeName,
    world: World,
    election: Election,
    plan: Announcements,
    links: Arc<LinkTable>,
    neighbours: Arc<NeighbourTable>,
    director: XdpState,
    conflicts: BTreeMap<IpAddr, (Conflict, Now)>,
    listed: BTreeSet<Kind>,
    leaving: bool,
    live: BTreeSet<NodeName>,
    claims: BTreeMap<IpAddr, (ClaimReason, Option<NodeName>)>,
    reporting: BTreeMap<ReportKey, Reporting>,
    notices: Vec<Notice>,
    told: BTreeSet<(Subject, String)>,
    unavailable: BTreeMap<IfIndex, Now>,
    data_path: Option<DataPath>,
    unplaced: usize,
    /// Something that policies, or what they make of it, depend on has changed.
    plan_due: bool,
    /// Something that only the data path depends on has changed.
    path_due: bool,
    report_due: bool,
    transitions: BTreeMap<&'static str, u64>,
    conflicts_seen: u64,
    /// Interfaces that are no container's although they look like one.
    plain: InterfacePatterns,
    /// Addresses whose records this node may not write, as it was told last.
    denied: BTreeSet<IpAddr>,
}

impl Brain {
    /// A node that knows nothing yet.
    #[must_use]
    pub fn new(me: NodeName, settings: Settings) -> Self {
        Self {
            election: Election::new(me.clone(), settings),
            me,
            world: World::default(),
            plan: Announcements::default(),
            links: Arc::default(),
            neighbours: Arc::default(),
            director: XdpState::Off,
            conflicts: BTreeMap::new(),
            listed: BTreeSet::new(),
            leaving: false,
            live: BTreeSet::new(),
            claims: BTreeMap::new(),
            reporting: BTreeMap::new(),
            notices: Vec::new(),
            told: BTreeSet::new(),
            unavailable: BTreeMap::new(),
            data_path: None,
            unplaced: 0,
            plan_due: true,
            path_due: true,
            report_due: true,
            transitions: BTreeMap::new(),
            conflicts_seen: 0,
            plain: InterfacePatterns::default(),
            denied: BTreeSet::new(),
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
                self.election.observe(Event::WentBack, now);
                for input in news {
                    self.take(input, now);
                }
            }
            Input::Session(event) => {
                self.report_due = true;
                self.election.observe(event, now);
            }
            Input::Links(links) => {
                self.links = links;
                self.plan_due = true;
            }
            Input::Neighbours(neighbours) => {
                self.neighbours = neighbours;
                self.path_due = true;
            }
            Input::Director(state) => {
                self.plan_due |= self.director != state;
                self.director = state;
            }
            Input::Swapped(address, outcome) => self.swapped(address, outcome, now),
            Input::Inquired(events) => {
                for event in events {
                    self.election.observe(event, now);
                }
            }
            Input::Reported(key, outcome) => self.reported(key, outcome, now),
            Input::Probed(address, news) => self.probed(address, news, now),
            Input::Conflict(address, conflict) => {
                self.conflicts_seen += 1;
                self.conflict(address, conflict, now);
            }
            Input::Unreadable(subject, error) => self.unreadable(subject, error),
            Input::Unavailable(ifindex) => {
                self.unavailable.insert(ifindex, now + UNAVAILABLE_FOR);
                self.plan_due = true;
            }
            Input::Leave => {
                self.leaving = true;
                self.plan_due = true;
                self.election.observe(Event::Leaving, now);
            }
        }
    }

    fn apply(&mut self, object: Object, now: Now) {
        match &object {
            Object::Address(lbip) => {
                let seen = Event::RecordSeen(lbip.address, record(lbip));
                self.election.observe(seen, now);
            }
            Object::Session(node, peer) => {
                self.election
                    .observe(Event::LeaseSeen(node.clone(), peer.lease.clone()), now);
            }
            _ => {}
        }
        let slice_of = match &object {
            Object::Slice(service, ..) => Some(service.clone()),
            _ => None,
        };
        if self.world.apply(object) {
            self.changed(slice_of.as_ref());
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
        match key {
            Key::Address(address) => self.election.observe(Event::RecordGone(*address), now),
            Key::Session(node) => self.election.observe(Event::LeaseGone(node.clone()), now),
            _ => {}
        }
        let slice_of = match key {
            Key::Slice(service, _) => Some(service),
            _ => None,
        };
        if self.world.remove(key) {
            self.changed(slice_of);
        }
    }

    fn list(&mut self, kind: Kind, listed: &BTreeSet<Key>, now: Now) {
        for key in self.world.missing(kind, listed) {
            self.remove(&key, now);
        }
        self.plan_due |= self.listed.insert(kind);
    }

    fn swapped(&mut self, address: IpAddr, outcome: SwapOutcome, now: Now) {
        self.denied.remove(&address);
        let claim = self.claims.remove(&address);
        let event = match outcome {
            SwapOutcome::Done(lbip) => {
                let record = record(&lbip);
                if let Some((reason, before)) = claim {
                    self.claimed(&lbip, reason, before);
                }
                self.plan_due |= self.world.apply(Object::Address(*lbip));
                Event::Wrote(address, record)
            }
            SwapOutcome::Refused(Some(lbip)) => {
                let record = record(&lbip);
                // A read after the refusal: newer than anything known.
                self.world.lbips.insert(address, *lbip);
                self.plan_due = true;
                Event::Refused(address, Some(record))
            }
            SwapOutcome::Refused(None) => {
                self.plan_due |= self.world.remove(&Key::Address(address));
                Event::Refused(address, None)
            }
            SwapOutcome::Failed => Event::Failed(address),
            SwapOutcome::Denied => {
                self.denied.insert(address);
                Event::Failed(address)
            }
        };
        self.report_due = true;
        self.election.observe(event, now);
    }

    /// This node now owns an address: tell people.
    fn claimed(&mut self, lbip: &Lbip, reason: ClaimReason, before: Option<NodeName>) {
        *self.transitions.entry(reason.as_str()).or_default() += 1;
        let from = match (reason, before) {
            (ClaimReason::Kept | ClaimReason::Restarted, _) => return,
            (ClaimReason::OwnerDied, Some(node)) => {
                format!(" (took over from {node}, whose session ended)")
            }
            (ClaimReason::HandedOver, Some(node)) => format!(" (handed over by {node})"),
            _ => String::new(),
        };
        let on = lbip.status.interfaces.join(", ");
        let note = format!(
            "node {} answers for {} on {on}{from}",
            self.me, lbip.address
        );
        self.notify(lbip.address, false, "Announced", note);
    }

    fn notify(&mut self, address: IpAddr, warning: bool, reason: &'static str, note: String) {
        let Some(lbip) = self.world.lbips.get(&address) else {
            return;
        };
        let mut subjects = vec![Subject::Address(lbip.name.clone(), lbip.uid.clone())];
        let holders = lbip.holders.iter();
        subjects.extend(holders.map(|(key, uid)| Subject::Service(key.clone(), uid.clone())));
        self.notices.push(Notice {
            subjects,
            warning,
            reason,
            note,
        });
    }

    /// The reporter tells it once on the object itself; every node has it in its log.
    fn unreadable(&mut self, subject: Subject, error: String) {
        if self.told.len() >= TOLD {
            self.told.clear();
        }
        if self.live.first() == Some(&self.me) && self.told.insert((subject.clone(), error.clone()))
        {
            let note = format!("cannot be read and is left out: {error}");
            let subjects = vec![subject];
            self.notices.push(Notice {
                subjects,
                warning: true,
                reason: "Unreadable",
                note,
            });
        }
    }

    fn ready(&self) -> bool {
        self.listed.len() == Kind::ALL.len()
    }

    /// Says what to do now.
    pub fn step(&mut self, now: Now, wall: &Time) -> Effects {
        let mut effects = Effects::default();
        self.forget_conflicts(now);
        let unavailable = self.unavailable.len();
        self.unavailable.retain(|_, until| now < *until);
        self.plan_due |= unavailable != self.unavailable.len();
        if self.plan_due && self.ready() {
            self.make_plan(now);
            self.path_due = true;
        }
        if self.path_due && self.ready() {
            self.path_due = false;
            effects.data_path = self.assemble();
        }
        effects.published = self.ready().then(|| self.published());
        effects.peers = self.peers();
        if self.ready() {
            let decision = self.election.decide(now);
            effects.deadline = decision.deadline;
            effects.wake_at = decision.wake_at;
            for address in decision.answering {
                effects.owned.insert(address, self.indexes(address));
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
            self.report(now, wall, &mut effects);
        }
        // What was said of the addresses given away is part of the farewell, unless nobody may hear it any more.
        let said = self.reporting.values().all(|reporting| reporting.refused);
        effects.in_vain = self.leaving && said && self.may_write_nothing();
        effects.has_left = self.leaving && (!self.ready() || self.election.has_left() && said);
        if let Some(until) = self.unavailable.values().min() {
            effects.wake_at = Some(effects.wake_at.map_or(*until, |at| at.min(*until)));
        }
        effects.notices = std::mem::take(&mut self.notices);
        effects
    }

    /// Whether nothing this node still owns can be given away.
    fn may_write_nothing(&self) -> bool {
        let owned = self.election.owned();
        let hopeless =
            |address: &IpAddr| self.denied.contains(address) && !self.election.is_writing(address);
        !owned.is_empty() && owned.iter().all(hopeless)
    }

    fn make_plan(&mut self, now: Now) {
        self.plan_due = false;
        self.report_due = true;
        let own = self.own_interfaces();
        let (leaving, director) = (self.leaving, self.director);
        // Of itself a node knows better than what its Lease said last.
        if let Some(peer) = self.world.peers.get_mut(&self.me) {
            peer.interfaces = own.clone();
            peer.leaving = leaving;
            peer.xdp = director;
        }
        self.plan = plan(&self.world, &self.me, &own);
        let contests = self.plan.addresses.iter().map(|(address, plan)| Contest {
            address: *address,
            candidates: plan.candidates.clone(),
        });
        self.election
            .observe(Event::Contests(contests.collect()), now);
    }

    fn assemble(&mut self) -> Option<DataPath> {
        let assembled = assemble(
            &self.world,
            &self.plan,
            &self.me,
            &self.links,
            &self.neighbours,
        );
        self.unplaced = assembled.unplaced;
        if self.data_path.as_ref() == Some(&assembled.path) {
            return None;
        }
        self.data_path = Some(assembled.path.clone());
        Some(assembled.path)
    }

    fn own_interfaces(&self) -> Vec<Interface> {
        let links = self.links.links.values();
        let available = links.filter(|link| !self.unavailable.contains_key(&link.index));
        let published = available.filter_map(|link| Interface::of(link).ok());
        let named = published.map(|interface| Interface {
            container: interface.container && !self.plain.names(&interface.name),
            ..interface
        });
        named.collect()
    }

    fn published(&self) -> Published {
        Published {
            interfaces: self.plan.publish.clone(),
            xdp: self.director,
            leaving: self.leaving,
        }
    }

    fn peers(&self) -> BTreeSet<Mac> {
        let others = self
            .world
            .peers
            .iter()
            .filter(|(node, _)| **node != self.me);
        others
            .flat_map(|(_, peer)| &peer.interfaces)
            .map(|interface| interface.mac)
            .collect()
    }

    fn indexes(&self, address: IpAddr) -> BTreeSet<IfIndex> {
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

/// The record as the election sees it.
fn record(lbip: &Lbip) -> Record {
    let owner = lbip.status.owner.as_ref().map(|owner| Owner {
        node: NodeName::new(&owner.node),
        session: SessionId::new(&owner.session),
        transitions: u64::try_from(owner.transitions).unwrap_or(0),
        handover_to: owner.handover_to.as_ref().map(NodeName::new),
    });
    Record {
        version: lbip.version.clone(),
        uid: lbip.uid.clone(),
        owner,
    }
}
