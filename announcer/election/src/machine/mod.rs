//! The state machine itself: [`Election::observe`] takes events in, [`Election::decide`] says what
//! to do now (`decide`).

mod decide;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::event::Event;
use super::sessions::Sessions;
use super::{Candidate, Contest, Now, Owner, Probed, Record, Settings};
use crate::names::{NodeName, SessionId, Version};

#[derive(Clone, Debug, Default)]
struct Entry {
    record: Option<Record>,
    candidates: Vec<Candidate>,
    /// A write is under way.
    writing: bool,
    /// The version a hand-over or release was sent against (rule 3 of the module).
    offered: Option<Version>,
    /// Who was asked to take it, and since when.
    asked: Option<(NodeName, Now)>,
    /// Nodes that did not take it when asked.
    unwilling: BTreeSet<NodeName>,
    /// Without a live owner since, as far as this node knows.
    vacant_since: Option<Now>,
    probe: Probe,
    back_off: BackOff,
}

/// What keeps an attempt that fails again and again from being made all the time.
#[derive(Clone, Copy, Debug, Default)]
struct BackOff {
    /// Not again before.
    retry_at: Option<Now>,
    failures: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Probe {
    #[default]
    Unknown,
    Running,
    Clear(Now),
}

/// Reading or expiring a silent node's Lease.
#[derive(Clone, Copy, Debug, Default)]
struct Inquiry {
    under_way: bool,
    back_off: BackOff,
}

/// One node's view of all sessions and addresses.
#[derive(Clone, Debug)]
pub struct Election {
    me: NodeName,
    settings: Settings,
    sessions: Sessions,
    own: Option<(SessionId, Now)>,
    entries: BTreeMap<IpAddr, Entry>,
    inquiries: BTreeMap<NodeName, Inquiry>,
    leaving: bool,
}

impl Election {
    /// A node that has seen nothing yet.
    pub fn new(me: NodeName, settings: Settings) -> Self {
        Self {
            me,
            settings,
            sessions: Sessions::new(settings.duration),
            own: None,
            entries: BTreeMap::new(),
            inquiries: BTreeMap::new(),
            leaving: false,
        }
    }

    /// Takes one event in. Decides nothing.
    pub fn observe(&mut self, event: Event, now: Now) {
        match event {
            Event::SessionStarted(session, sent_at) => self.own = Some((session, sent_at)),
            Event::Renewed(session, sent_at) => {
                if let Some((own, last)) = &mut self.own
                    && *own == session
                {
                    *last = (*last).max(sent_at);
                }
            }
            Event::SessionLost => self.own = None,
            Event::LeaseSeen(node, lease) => {
                self.heard_of(&node);
                self.sessions.observe(node, lease, now);
            }
            Event::LeaseGone(node) => {
                self.heard_of(&node);
                self.sessions.gone(&node, now);
            }
            Event::RecordSeen(address, record) => self.take_record(address, record, false),
            Event::RecordGone(address) => {
                self.entries.remove(&address);
            }
            Event::Wrote(address, record) => {
                self.settled(address, now, true);
                self.take_record(address, record, false);
            }
            Event::Refused(address, Some(record)) => {
                self.settled(address, now, true);
                self.take_record(address, record, true);
            }
            Event::Refused(address, None) => {
                self.entries.remove(&address);
            }
            Event::Failed(address) => self.settled(address, now, false),
            Event::Inquired(node, session, lease) => {
                self.heard_of(&node);
                self.sessions.inquired(&node, &session, lease, now);
            }
            Event::InquiryEnded(node) => {
                if let Some(inquiry) = self.inquiries.get_mut(&node) {
                    inquiry.ended(&self.settings, now);
                }
            }
            Event::Probed(address, outcome) => self.probed(address, outcome, now),
            Event::Contests(contests) => self.take_contests(contests),
            Event::WentBack => {
                self.sessions.went_back();
                for entry in self.entries.values_mut() {
                    entry.offered = None;
                    if let Some(record) = &mut entry.record {
                        record.version = Version::new("");
                    }
                }
            }
            Event::Leaving => self.leaving = true,
        }
    }

    /// What a node's Lease says now is known: the next question about it is a new one.
    fn heard_of(&mut self, node: &NodeName) {
        if let Some(inquiry) = self.inquiries.get_mut(node) {
            inquiry.back_off.failures = 0;
        }
    }

    fn take_record(&mut self, address: IpAddr, record: Record, authoritative: bool) {
        let entry = self.entries.entry(address).or_default();
        if let Some(known) = &entry.record {
            if known.uid != record.uid {
                *entry = Entry {
                    candidates: std::mem::take(&mut entry.candidates),
                    ..Entry::default()
                };
            } else if !authoritative && record.version.is_older_than(&known.version) {
                return;
            } else if owner_key(known) != owner_key(&record) {
                entry.vacant_since = None;
                entry.unwilling.clear();
                entry.asked = None;
                entry.probe = Probe::Unknown;
            }
        }
        entry.record = Some(record);
    }

    fn settled(&mut self, address: IpAddr, now: Now, definite: bool) {
        let Some(entry) = self.entries.get_mut(&address) else {
            return;
        };
        entry.writing = false;
        if definite {
            entry.back_off = BackOff::default();
        } else {
            entry.back_off.failed(&self.settings, now);
        }
    }

    fn probed(&mut self, address: IpAddr, outcome: Probed, now: Now) {
        let Some(entry) = self.entries.get_mut(&address) else {
            return;
        };
        entry.probe = match outcome {
            Probed::Clear => Probe::Clear(now),
            Probed::Taken | Probed::Unable => Probe::Unknown,
        };
        match outcome {
            Probed::Clear => entry.back_off.failures = 0,
            Probed::Taken | Probed::Unable => entry.back_off.failed(&self.settings, now),
        }
    }

    fn take_contests(&mut self, contests: Vec<Contest>) {
        for entry in self.entries.values_mut() {
            entry.candidates.clear();
        }
        for Contest {
            address,
            candidates,
        } in contests
        {
            self.entries.entry(address).or_default().candidates = candidates;
        }
        self.entries
            .retain(|_, entry| entry.record.is_some() || !entry.candidates.is_empty());
    }

    /// The moment this node stops answering unless it renews its session.
    pub fn deadline(&self) -> Option<Now> {
        let (_, sent_at) = self.own.as_ref()?;
        Some(*sent_at + self.settings.duration.saturating_sub(self.settings.margin))
    }

    /// This node's session, if it has one.
    pub fn session(&self) -> Option<&SessionId> {
        self.own.as_ref().map(|(session, _)| session)
    }

    /// Nodes with a live session by this node's reckoning.
    pub fn live_nodes(&self, now: Now) -> BTreeSet<NodeName> {
        let mut nodes: BTreeSet<_> = self.sessions.live_nodes(now).cloned().collect();
        if self.alive(now) {
            nodes.insert(self.me.clone());
        } else {
            nodes.remove(&self.me);
        }
        nodes
    }

    /// Addresses whose record names this node's present session.
    pub fn owned(&self) -> BTreeSet<IpAddr> {
        let mine = |entry: &&Entry| self.owner_is_me(entry).is_some();
        self.entries
            .iter()
            .filter(|(_, e)| mine(e))
            .map(|(address, _)| *address)
            .collect()
    }

    /// Whether a write of this address's record is under way.
    pub fn is_writing(&self, address: &IpAddr) -> bool {
        self.entries.get(address).is_some_and(|entry| entry.writing)
    }

    /// Whether this node was told to leave and nothing is its own any more.
    pub fn has_left(&self) -> bool {
        self.leaving
            && self
                .entries
                .values()
                .all(|e| self.owner_is_me(e).is_none() && !e.writing)
    }

    fn alive(&self, now: Now) -> bool {
        self.deadline().is_some_and(|deadline| now < deadline)
    }

    fn owner_is_me<'a>(&self, entry: &'a Entry) -> Option<&'a Owner> {
        let owner = entry.record.as_ref()?.owner.as_ref()?;
        (Some(&owner.session) == self.session() && owner.node == self.me).then_some(owner)
    }
}

impl Entry {
    fn is_candidate(&self, node: &NodeName) -> bool {
        self.candidates
            .iter()
            .any(|candidate| candidate.node == *node)
    }
}

impl Inquiry {
    fn ended(&mut self, settings: &Settings, now: Now) {
        self.under_way = false;
        self.back_off.failed(settings, now);
    }
}

impl BackOff {
    fn failed(&mut self, settings: &Settings, now: Now) {
        let pause = settings
            .retry_min
            .saturating_mul(1 << self.failures.min(16));
        self.retry_at = Some(now + pause.min(settings.retry_max));
        self.failures += 1;
    }

    /// Until when it is waited, if it is.
    fn until(&self, now: Now) -> Option<Now> {
        self.retry_at.filter(|at| *at > now)
    }
}

/// What makes two records speak of the same owner; not who was asked to take over.
fn owner_key(record: &Record) -> Option<(&NodeName, &SessionId)> {
    record
        .owner
        .as_ref()
        .map(|owner| (&owner.node, &owner.session))
}
