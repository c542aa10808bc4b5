//! The state machine itself: [`Election::observe`] takes events in, [`Election::decide`] says what
//! to do now.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::order::{order, score};
use super::sessions::{SeenLease, Sessions, Standing};
use super::{Candidate, ClaimReason, Contest, Now, Owner, Probed, Record, Settings};
use crate::names::{NodeName, SessionId, Version};

/// Something this node learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Own session began (or began anew): its Lease was written, the request sent at this time.
    SessionStarted(SessionId, Now),
    /// Own session was renewed by a request sent at this time.
    Renewed(SessionId, Now),
    /// Own session is over: its Lease names another, or is gone.
    SessionLost,
    /// A session Lease, this node's own included.
    LeaseSeen(NodeName, SeenLease),
    /// A session Lease was deleted.
    LeaseGone(NodeName),
    /// An address's record, from the watch.
    RecordSeen(IpAddr, Record),
    /// The record of an address was deleted.
    RecordGone(IpAddr),
    /// A write was carried out: the record now reads like this.
    Wrote(IpAddr, Record),
    /// A write was refused because the record had moved on; this is what a read found.
    Refused(IpAddr, Option<Record>),
    /// Nobody knows whether a write was carried out.
    Failed(IpAddr),
    /// The API server was asked whether this session still holds its node's Lease; the Lease.
    Inquired(NodeName, SessionId, Option<SeenLease>),
    /// An attempt to expire or to read a node's Lease ended, whatever came of it.
    InquiryEnded(NodeName),
    /// A probe ended.
    Probed(IpAddr, Probed),
    /// Who may own what; the whole of it.
    Contests(Vec<Contest>),
    /// This node is shutting down: every address goes to somebody else.
    Leaving,
}

/// A compare-and-swap to carry out. Its outcome comes back as an [`Event`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Become the owner.
    Claim {
        /// Of this address.
        address: IpAddr,
        /// If the record still is at this version.
        version: Version,
        /// The owner to write.
        owner: Owner,
        /// Why.
        reason: ClaimReason,
    },
    /// Ask another node to take the address.
    HandOver {
        /// This address.
        address: IpAddr,
        /// If the record still is at this version.
        version: Version,
        /// The owner to write: this session still, with the successor named.
        owner: Owner,
    },
    /// Leave the address without an owner: nobody else may have it.
    Release {
        /// This address.
        address: IpAddr,
        /// If the record still is at this version.
        version: Version,
    },
    /// End a session that was silent too long.
    Expire {
        /// Whose Lease.
        node: NodeName,
        /// If the Lease still is at this version.
        version: Version,
    },
    /// Read a Lease that this node never saw held by that session; there may be none.
    Inquire {
        /// Whose Lease.
        node: NodeName,
        /// The session in question.
        session: SessionId,
    },
}

/// What to do now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// The whole table of addresses to answer for; put in force before any write is sent.
    pub answering: BTreeSet<IpAddr>,
    /// Until when, by this node's clock.
    pub deadline: Option<Now>,
    /// Writes to send.
    pub writes: Vec<Write>,
    /// Addresses to probe.
    pub probes: Vec<IpAddr>,
    /// When to decide again if nothing happens before.
    pub wake_at: Option<Now>,
}

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

/// One node's view of all sessions and addresses.
#[derive(Clone, Debug)]
pub struct Election {
    me: NodeName,
    settings: Settings,
    sessions: Sessions,
    own: Option<(SessionId, Now)>,
    entries: BTreeMap<IpAddr, Entry>,
    inquiring: BTreeSet<NodeName>,
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
            inquiring: BTreeSet::new(),
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
            Event::LeaseSeen(node, lease) => self.sessions.observe(node, lease, now),
            Event::LeaseGone(node) => self.sessions.gone(&node, now),
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
                self.sessions.inquired(&node, &session, lease, now);
            }
            Event::InquiryEnded(node) => {
                self.inquiring.remove(&node);
            }
            Event::Probed(address, outcome) => self.probed(address, outcome, now),
            Event::Contests(contests) => self.take_contests(contests),
            Event::Leaving => self.leaving = true,
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
            entry.failures = 0;
            entry.retry_at = None;
        } else {
            entry.back_off(&self.settings, now);
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
            Probed::Clear => entry.failures = 0,
            Probed::Taken | Probed::Unable => entry.back_off(&self.settings, now),
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

    /// Says what to do now. Writes it returns count as under way from here on.
    pub fn decide(&mut self, now: Now) -> Decision {
        let mut decision = Decision {
            deadline: self.deadline(),
            ..Decision::default()
        };
        if !self.alive(now) {
            return decision;
        }
        decision.wake(self.deadline());
        let mut round = Round {
            live: self.live_nodes(now),
            load: self.load(now),
            silent: BTreeMap::new(),
            unknown: BTreeMap::new(),
            now,
        };
        let mut entries = std::mem::take(&mut self.entries);
        for (address, entry) in &mut entries {
            self.decide_one(*address, entry, &mut round, &mut decision);
            let quiet = entry.record.as_ref().map(|r| &r.version) == entry.offered.as_ref();
            if self
                .owner_is_me(entry)
                .is_some_and(|o| o.handover_to.is_none())
                && !quiet
            {
                decision.answering.insert(*address);
            }
        }
        self.entries = entries;
        self.expire_silent(&round, &mut decision);
        decision
    }

    fn decide_one(
        &self,
        address: IpAddr,
        entry: &mut Entry,
        round: &mut Round,
        out: &mut Decision,
    ) {
        let now = round.now;
        let Some(record) = entry.record.clone() else {
            return;
        };
        if entry.writing {
            return;
        }
        if let Some(at) = entry.retry_at.filter(|at| *at > now) {
            return out.wake(Some(at));
        }
        match &record.owner {
            None => self.contend(address, entry, &record, ClaimReason::First, round, out),
            Some(owner) if self.owner_is_me(entry).is_some() => {
                entry.vacant_since = None;
                if self.leaving || !entry.is_candidate(&self.me) {
                    self.give_away(address, entry, &record, owner, round, out);
                } else if owner.handover_to.is_some()
                    || entry.offered.as_ref() == Some(&record.version)
                {
                    self.claim(address, entry, &record, ClaimReason::Kept, out);
                }
            }
            Some(owner) => {
                let invited = owner.handover_to.as_ref() == Some(&self.me);
                if invited && !self.leaving && entry.is_candidate(&self.me) {
                    return self.claim(address, entry, &record, ClaimReason::HandedOver, out);
                }
                match self.sessions.standing(&owner.node, &owner.session, now) {
                    Standing::Live { until } => {
                        entry.vacant_since = None;
                        out.wake(Some(until));
                    }
                    Standing::Silent { since, version } => {
                        round.silent.insert(owner.node.clone(), (since, version));
                    }
                    Standing::Unknown => {
                        round
                            .unknown
                            .insert(owner.node.clone(), owner.session.clone());
                    }
                    Standing::Dead => {
                        let reason = if owner.node == self.me {
                            ClaimReason::Restarted
                        } else {
                            ClaimReason::OwnerDied
                        };
                        self.contend(address, entry, &record, reason, round, out);
                    }
                }
            }
        }
    }

    /// Nobody owns the address: claim it when it is this node's turn.
    fn contend(
        &self,
        address: IpAddr,
        entry: &mut Entry,
        record: &Record,
        reason: ClaimReason,
        round: &mut Round,
        out: &mut Decision,
    ) {
        let now = round.now;
        let since = *entry.vacant_since.get_or_insert(now);
        let candidates: Vec<&Candidate> = entry
            .candidates
            .iter()
            .filter(|c| round.live.contains(&c.node))
            .collect();
        let mut ranked = order(address, &candidates, &round.load);
        if let Some(previous) = record.owner.as_ref().map(|owner| &owner.node)
            && let Some(position) = ranked.iter().position(|node| *node == previous)
        {
            // Its announcer started anew: the address stays where it was.
            ranked[..=position].rotate_right(1);
        }
        if let Some(best) = ranked.first() {
            *round.load.entry((*best).clone()).or_default() += 1;
        }
        let Some(rank) = ranked.iter().position(|node| **node == self.me) else {
            return;
        };
        if self.leaving {
            return;
        }
        let patience = match reason {
            ClaimReason::First => self.settings.first_patience,
            _ => self.settings.patience,
        };
        let turn = since + patience * u32::try_from(rank).unwrap_or(u32::MAX);
        if now < turn {
            return out.wake(Some(turn));
        }
        if reason == ClaimReason::First {
            match entry.probe {
                Probe::Running => return,
                Probe::Clear(at) if now < at + self.settings.probe_validity => {}
                Probe::Unknown | Probe::Clear(_) => {
                    entry.probe = Probe::Running;
                    return out.probes.push(address);
                }
            }
        }
        self.claim(address, entry, record, reason, out);
    }

    fn claim(
        &self,
        address: IpAddr,
        entry: &mut Entry,
        record: &Record,
        reason: ClaimReason,
        out: &mut Decision,
    ) {
        let Some(session) = self.session() else {
            return;
        };
        let before = record.owner.as_ref().map_or(0, |owner| owner.transitions);
        let transitions = match reason {
            ClaimReason::Kept => before,
            _ => before.saturating_add(1),
        };
        entry.writing = true;
        out.writes.push(Write::Claim {
            address,
            version: record.version.clone(),
            owner: Owner {
                node: self.me.clone(),
                session: session.clone(),
                transitions,
                handover_to: None,
            },
            reason,
        });
    }

    /// This node owns the address and should not: ask the best other candidate, one at a time.
    fn give_away(
        &self,
        address: IpAddr,
        entry: &mut Entry,
        record: &Record,
        owner: &Owner,
        round: &mut Round,
        out: &mut Decision,
    ) {
        let now = round.now;
        if let (Some(asked), Some((node, since))) = (&owner.handover_to, &entry.asked)
            && asked == node
        {
            let until = *since + self.settings.handover_patience;
            if now < until && round.live.contains(node) && entry.is_candidate(node) {
                return out.wake(Some(until));
            }
            entry.unwilling.insert(node.clone());
        }
        let others: Vec<&Candidate> = entry
            .candidates
            .iter()
            .filter(|c| c.node != self.me && round.live.contains(&c.node))
            .filter(|c| !entry.unwilling.contains(&c.node))
            .collect();
        let successor = order(address, &others, &round.load)
            .first()
            .map(|n| (*n).clone());
        entry.writing = true;
        entry.offered = Some(record.version.clone());
        let version = record.version.clone();
        let Some(successor) = successor else {
            entry.asked = None;
            return out.writes.push(Write::Release { address, version });
        };
        *round.load.entry(successor.clone()).or_default() += 1;
        entry.asked = Some((successor.clone(), now));
        let owner = Owner {
            handover_to: Some(successor),
            ..owner.clone()
        };
        out.writes.push(Write::HandOver {
            address,
            version,
            owner,
        });
    }

    /// Addresses by node: what is owned by live sessions, or being handed over.
    fn load(&self, now: Now) -> BTreeMap<NodeName, usize> {
        let mut load = BTreeMap::new();
        for owner in self
            .entries
            .values()
            .filter_map(|e| e.record.as_ref().and_then(|r| r.owner.as_ref()))
        {
            if matches!(
                self.sessions.standing(&owner.node, &owner.session, now),
                Standing::Live { .. }
            ) {
                let node = owner.handover_to.as_ref().unwrap_or(&owner.node);
                *load.entry(node.clone()).or_default() += 1;
            }
        }
        load
    }

    fn expire_silent(&mut self, round: &Round, out: &mut Decision) {
        for (node, session) in &round.unknown {
            if self.inquiring.insert(node.clone()) {
                out.writes.push(Write::Inquire {
                    node: node.clone(),
                    session: session.clone(),
                });
            }
        }
        for (node, (since, version)) in &round.silent {
            let mut ranked: Vec<_> = round
                .live
                .iter()
                .map(|live| (score(node.as_str().as_bytes(), live.as_str()), live))
                .collect();
            ranked.sort();
            let rank = ranked
                .iter()
                .position(|(_, live)| **live == self.me)
                .unwrap_or(0);
            let rank = u32::try_from(rank).unwrap_or(u32::MAX);
            let turn = *since + self.settings.expire_stagger * rank;
            if round.now < turn {
                out.wake(Some(turn));
            } else if self.inquiring.insert(node.clone()) {
                out.writes.push(Write::Expire {
                    node: node.clone(),
                    version: version.clone(),
                });
            }
        }
    }
}

struct Round {
    live: BTreeSet<NodeName>,
    load: BTreeMap<NodeName, usize>,
    silent: BTreeMap<NodeName, (Now, Version)>,
    unknown: BTreeMap<NodeName, SessionId>,
    now: Now,
}

impl Decision {
    fn wake(&mut self, at: Option<Now>) {
        self.wake_at = match (self.wake_at, at) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
}

impl Entry {
    fn is_candidate(&self, node: &NodeName) -> bool {
        self.candidates
            .iter()
            .any(|candidate| candidate.node == *node)
    }

    fn back_off(&mut self, settings: &Settings, now: Now) {
        let pause = settings
            .retry_min
            .saturating_mul(1 << self.failures.min(16));
        self.retry_at = Some(now + pause.min(settings.retry_max));
        self.failures += 1;
    }
}

/// What makes two records speak of the same owner; not who was asked to take over.
fn owner_key(record: &Record) -> Option<(&NodeName, &SessionId)> {
    record
        .owner
        .as_ref()
        .map(|owner| (&owner.node, &owner.session))
}
