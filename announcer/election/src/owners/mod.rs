//! The record half of the election: who owns what, as the records say and as they will.
//!
//! ```text
//!   Leases ───────────┐                               ┌─► addresses to answer for
//!   reports of peers ─┼─► Owners::observe             ├─► compare-and-swap writes, probes
//!                     └─► decide(&World, now) ────────┼─► what to tell peers
//!   records, candidates ──┘  (shown, not kept)        └─► until when all this is allowed
//! ```
//!
//! The records are the brain's; this half remembers only what no record says: what it has begun, what it heard from
//! peers, whom it asked in vain. An address's [`State`] is drawn from both, and the rules go by the state alone.
//!
//! # Invariant
//! At most one node answers for an address, but for these moments:
//! 1. A planned move: the successor answers first, and the old owner until it hears the successor's claim; no longer than
//!    [`Settings::handover`] after it read the claim in the record, or [`Settings::unheard`] where no heartbeats run.
//! 2. A session ended by the peers' agreement alone, whose process lives: until its permit is gone (`peers`).
//! 3. A standby that reads an old record: until the true owner's claim reaches it, or its own write is refused.
//! 4. An owner whose interface was away, and who heard nothing of the node it ceded the address to: until it does, or reads
//!    of it.
//!
//! Where no heartbeats run, the slow lane is exact: a session ends by its owner's clock *before* it can end by anybody
//! else's ([`Settings::margin`]), it is expired by compare-and-swap before its addresses are claimed, and whoever claims
//! answers only after its claim was acknowledged.

mod decide;
mod event;
mod hear;
mod memory;
mod outage;
mod own;
mod rank;
mod rebalance;
mod round;
mod state;
mod successor;
#[cfg(test)]
mod tests;
mod view;
mod watchers;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

pub use crate::ClaimReason;
pub use event::{Decision, Event, Outcome, State, Write};
pub use rank::{Candidate, Load, rank};

use self::memory::Of;
use self::own::Own;
use self::view::View;
use self::watchers::Watching;
use crate::names::{NodeName, SessionId, Version};
use crate::peers::Title;
use crate::{Now, Probed};

/// The times the record half goes by.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long a session lives after a renewal.
    pub duration: Duration,
    /// How much earlier than its peers the owner itself ends it.
    pub margin: Duration,
    /// How long the next candidate waits for the one before it, if a Lease ran out.
    pub patience: Duration,
    /// The same if the peers ended the session.
    pub fast_patience: Duration,
    /// The same while an address that nobody owned is being probed first.
    pub first_patience: Duration,
    /// How long a standby may take before others claim in its place.
    pub standby_patience: Duration,
    /// How long a successor may take to accept an address, and once more to be heard.
    pub handover: Duration,
    /// How long a successor may take to be heard that was told by a frame alone.
    pub cession: Duration,
    /// How long an old owner that reads of its successor's claim answers on where it does not hear its heartbeats: a watch
    /// may be quicker than the answer to the write.
    pub unheard: Duration,
    /// Between two nodes that would expire the same silent session.
    pub expire_stagger: Duration,
    /// How much longer than this node a peer must have had the API server before this node is the one that lost it: longer
    /// than renewals lie apart, whatever the clocks, so that an outage for all is not taken for it.
    pub apart: Duration,
    /// How far apart nodes have the API server again after an outage of all, at the most: so long a Lease that is too old,
    /// or a node that cannot renew while others do, is no sign of anything.
    pub staggered: Duration,
    /// How long a node that alone lost the API server keeps a session that is heard both ways; time enough to find it out
    /// and to give everything away.
    pub alone: Duration,
    /// How long a title heard from a peer counts if no record says so; it is said four times as often.
    pub title: Duration,
    /// How long a clear probe stays good.
    pub probe_validity: Duration,
    /// First pause after a failed write or a conflict; doubles up to `retry_max`.
    pub retry_min: Duration,
    /// Longest pause.
    pub retry_max: Duration,
    /// Standbys renamed at a time, while no claim is under way.
    pub standby_writes: usize,
    /// Claims under way at a time before an address is claimed that is answered for already: more are no sooner written,
    /// and only keep the API server from what is more urgent.
    pub claims: usize,
    /// Between two addresses given to a node that has fewer; none by default.
    pub rebalance: Option<Duration>,
}

impl Settings {
    /// The times that go with a session duration.
    pub fn for_duration(duration: Duration) -> Self {
        Self {
            duration,
            margin: duration / 50,
            patience: Duration::from_secs(2),
            fast_patience: Duration::from_millis(30),
            first_patience: Duration::from_secs(6),
            standby_patience: Duration::from_millis(500),
            handover: Duration::from_secs(2),
            cession: Duration::from_millis(200),
            unheard: Duration::from_millis(250),
            expire_stagger: Duration::from_millis(300),
            apart: duration * 2 / 5,
            staggered: duration * 5 / 3,
            alone: duration,
            title: Duration::from_secs(10),
            probe_validity: Duration::from_secs(5),
            retry_min: Duration::from_secs(1),
            retry_max: Duration::from_secs(60),
            standby_writes: 32,
            claims: 32,
            rebalance: None,
        }
    }
}

/// The owner as the record of an address states it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its node.
    pub node: NodeName,
    /// Its session: the right to answer dies with it.
    pub session: SessionId,
    /// Who answers when that session is ended.
    pub standby: Option<NodeName>,
    /// How often the address changed its owner so far.
    pub transitions: u64,
    /// The node asked to take the address.
    pub handover_to: Option<NodeName>,
}

/// What the API server last said about one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Version to swap against.
    pub version: Version,
    /// Identity of the object: a record made again is another record.
    pub uid: String,
    /// The owner, if any.
    pub owner: Option<Owner>,
}

/// The world as the brain knows it.
#[derive(Clone, Copy, Debug)]
pub struct World<'a> {
    /// The records by address; the answers of writes among them.
    pub records: &'a BTreeMap<IpAddr, Record>,
    /// The nodes that may own an address, whether their sessions live or not.
    pub candidates: &'a BTreeMap<IpAddr, Vec<Candidate>>,
    /// Addresses for which this node has no interface to answer on.
    pub without_interface: &'a BTreeSet<IpAddr>,
}

/// What is remembered of one address: nothing that its record says.
#[derive(Clone, Debug, Default)]
struct Memory {
    /// The record's owner when this was remembered.
    of: Option<Of>,
    /// A write is under way, or just failed.
    work: Work,
    failures: u32,
    /// It is being given to another.
    yielding: Option<Yielding>,
    /// Nodes that did not take it when asked.
    unwilling: BTreeSet<NodeName>,
    /// Without a live owner since.
    vacant_since: Option<Now>,
    probed: Option<Now>,
    /// A peer asked this node to take it.
    invited: Option<Invitation>,
    /// It was ceded to that session, which has not been heard to answer.
    ceded_to: Option<SessionId>,
    /// Since when there is nobody to give it to.
    deserted_since: Option<Now>,
    /// The highest title of a peer that counts.
    rival: Option<Rival>,
    /// Answered for without a record, in turn, while there is no API server to write to.
    taken: bool,
    /// What the peers are told of it.
    tell: Tell,
}

/// A peer that says that it answers for an address.
#[derive(Clone, Debug)]
struct Rival {
    title: Title,
    node: NodeName,
    session: SessionId,
    /// When it first said so.
    since: Now,
    /// And when it last did.
    at: Now,
}

/// An address on its way to another node.
#[derive(Clone, Debug)]
struct Yielding {
    to: NodeName,
    /// The record's count of owners when it was given.
    transitions: u64,
    /// How long the other may take; once the record names it, how long it may take to be heard.
    until: Now,
    /// The other was heard to answer.
    heard: bool,
    /// This node answers no more, and has said so.
    ceded: bool,
}

/// The word of an address's owner that this node is to take it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Invitation {
    session: SessionId,
    /// The record's count of owners when it was given.
    transitions: u64,
    /// The owner answers no more.
    ceded: bool,
    /// When it was last said.
    at: Now,
}

/// What peers are being told of an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Tell {
    #[default]
    Nothing,
    /// This node answers for it: so many times more, the next at this time.
    Claim { times: u32, at: Now },
    /// The successor was asked.
    Moved,
    /// The successor was told to answer; it is told again at this time.
    Ceded(Now),
}

/// What is under way for an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Work {
    #[default]
    Idle,
    Probing,
    Writing(Kind),
    Pausing(Now),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Claim,
    Amend,
    Release,
}

/// Reading or expiring a silent node's Lease.
#[derive(Clone, Copy, Debug, Default)]
struct Inquiry {
    under_way: bool,
    retry_at: Option<Now>,
    failures: u32,
}

/// One node's part in who owns what.
#[derive(Clone, Debug)]
pub struct Owners {
    me: NodeName,
    settings: Settings,
    own: Own,
    view: View,
    memory: BTreeMap<IpAddr, Memory>,
    inquiries: BTreeMap<NodeName, Inquiry>,
    watching: Watching,
    /// When an address is given to a node that has fewer next.
    rebalance_at: Option<Now>,
    merged: bool,
}

impl Owners {
    /// A node that has seen nothing yet.
    pub fn new(me: NodeName, settings: Settings) -> Self {
        Self {
            me,
            settings,
            own: Own::default(),
            view: View::new(settings),
            memory: BTreeMap::new(),
            inquiries: BTreeMap::new(),
            watching: Watching::default(),
            rebalance_at: None,
            merged: false,
        }
    }

    /// Takes one event in. Decides nothing.
    pub fn observe(&mut self, event: Event, now: Now) {
        match event {
            Event::SessionStarted(session, at) => {
                self.has_contact(at, now);
                self.own.begin(session, at);
            }
            Event::WasFenced => self.own.was_fenced = true,
            Event::Renewed(session, at) => {
                self.has_contact(at, now);
                self.own.renewed(&session, at);
            }
            Event::NotRenewed => self.own.failing = true,
            Event::SessionLost => self.own.lose(),
            Event::LeaseSeen(node, lease) => {
                self.heard_of(&node);
                self.view.leases.observe(node, lease, now);
            }
            Event::LeaseGone(node) => {
                self.heard_of(&node);
                self.view.leases.gone(&node, now);
                self.inquiries.remove(&node);
            }
            Event::RenewalSeen(node, version) => {
                self.heard_of(&node);
                self.view.leases.renewed(&node, version, now);
            }
            Event::Inquired(node, session, lease) => {
                self.heard_of(&node);
                self.view.leases.inquired(&node, &session, lease, now);
            }
            Event::InquiryEnded(node) => {
                let settings = self.settings;
                let inquiry = self.inquiries.entry(node).or_default();
                inquiry.under_way = false;
                inquiry.retry_at = Some(now + settings.pause(inquiry.failures));
                inquiry.failures += 1;
            }
            Event::Report(report) => self.take_report(report, now),
            Event::Settled(address, outcome) => self.settled(address, outcome, now),
            Event::Probed(address, outcome) => self.probed(address, outcome, now),
            Event::Draining(draining) => self.own.draining = draining,
            Event::Programmed(programmed) => self.own.programmed = programmed,
            Event::WentBack => self.went_back(now),
            Event::Leaving => self.own.leaving = true,
        }
    }

    /// What peers said that records say, they said of records that are gone.
    fn went_back(&mut self, now: Now) {
        self.view.went_back(now);
        for memory in self.memory.values_mut() {
            memory.rival.take_if(|rival| rival.title.written);
        }
    }

    fn heard_of(&mut self, node: &NodeName) {
        if let Some(inquiry) = self.inquiries.get_mut(node) {
            inquiry.failures = 0;
        }
    }

    fn settled(&mut self, address: IpAddr, outcome: Outcome, now: Now) {
        let settings = self.settings;
        let Some(memory) = self.memory.get_mut(&address) else {
            return;
        };
        if memory.work == Work::Writing(Kind::Claim) && outcome == Outcome::Done {
            memory.tell = Tell::Claim {
                times: decide::CLAIMED,
                at: now,
            };
        }
        memory.work = match outcome {
            Outcome::Done | Outcome::Refused => {
                memory.failures = 0;
                Work::Idle
            }
            Outcome::Unknown => {
                let pause = settings.pause(memory.failures);
                memory.failures += 1;
                Work::Pausing(now + pause)
            }
        };
    }

    fn probed(&mut self, address: IpAddr, outcome: Probed, now: Now) {
        let settings = self.settings;
        let Some(memory) = self.memory.get_mut(&address) else {
            return;
        };
        memory.work = match outcome {
            Probed::Clear => {
                memory.failures = 0;
                memory.probed = Some(now);
                Work::Idle
            }
            Probed::Taken | Probed::Unable => {
                let pause = settings.pause(memory.failures);
                memory.failures += 1;
                memory.probed = None;
                Work::Pausing(now + pause)
            }
        };
    }

    /// This node's session, if it has one.
    pub const fn session(&self) -> Option<&SessionId> {
        self.own.session()
    }

    /// Nodes with a live session by this node's reckoning.
    pub fn live_nodes(&self, now: Now) -> BTreeSet<NodeName> {
        let mut nodes = self.view.live(now);
        nodes.remove(&self.me);
        if self.allowed(now).is_some() {
            nodes.insert(self.me.clone());
        }
        nodes
    }

    /// Nodes that are heard both ways.
    pub fn heard(&self) -> impl Iterator<Item = &NodeName> {
        self.view.heard()
    }

    /// Addresses whose record names this node's present session.
    pub fn owned<'a>(&'a self, world: &World<'a>) -> impl Iterator<Item = IpAddr> + 'a {
        world
            .records
            .iter()
            .filter(|(_, record)| self.owner_is_me(record).is_some())
            .map(|(address, _)| *address)
    }

    /// Whether this node gives the address to somebody of whom it has not heard yet that he has it, and hears it by this.
    #[must_use]
    pub fn awaits(&self, title: &Title) -> bool {
        let memory = self.memory.get(&title.address);
        let yielding = memory.and_then(|memory| memory.yielding.as_ref());
        yielding.is_some_and(|yielding| !yielding.heard && title.transitions > yielding.transitions)
    }

    /// Whether another node was told to answer for the address, and is about to write.
    pub fn is_ceding(&self, address: &IpAddr, now: Now) -> bool {
        let memory = self.memory.get(address);
        memory.is_some_and(|memory| memory.is_ceding(&self.view, now))
    }

    /// Whether that is so of any address.
    pub fn is_ceding_any(&self, now: Now) -> bool {
        let mut all = self.memory.values();
        all.any(|memory| memory.is_ceding(&self.view, now))
    }

    /// Whether a write of this address's record is under way.
    pub fn is_writing(&self, address: &IpAddr) -> bool {
        self.memory
            .get(address)
            .is_some_and(|memory| matches!(memory.work, Work::Writing(_)))
    }

    /// Whether this node was told to leave.
    pub const fn is_leaving(&self) -> bool {
        self.own.leaving
    }

    /// Whether this node was told to leave, nothing is its own any more, and whoever took it was heard.
    pub fn has_left(&self, world: &World<'_>) -> bool {
        let at_work =
            |memory: &Memory| memory.yielding.is_some() || matches!(memory.work, Work::Writing(_));
        self.own.leaving && self.owned(world).next().is_none() && !self.memory.values().any(at_work)
    }

    fn owner_is_me<'a>(&self, record: &'a Record) -> Option<&'a Owner> {
        let owner = record.owner.as_ref()?;
        (Some(&owner.session) == self.session() && owner.node == self.me).then_some(owner)
    }
}

impl Settings {
    /// What keeps an attempt that fails again and again from being made all the time.
    fn pause(&self, failures: u32) -> Duration {
        self.retry_min
            .saturating_mul(1 << failures.min(16))
            .min(self.retry_max)
    }
}
