//! One announcer: both halves, its clock, its book of records, and the shell around them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use super::server::{Change, Reply, Request, SESSION, Server};
use super::world::session;
use crate::owners::{self, Candidate, Decision, Owners, Record, World as Shown};
use crate::peers::{self, Action, Frame, Known, OwnEnd, Peers, Report, SegmentId};
use crate::{Elsewhere, Held, Namesake, NodeName, Now, SessionId};

/// What reaches a process, and waits while it is stopped.
#[derive(Clone, Debug)]
pub(super) enum Input {
    Peers(peers::Event),
    Frame(SegmentId, Frame),
    Reply(Vec<Reply>),
    Change(Change),
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) name: NodeName,
    pub(super) peers: Peers,
    pub(super) owners: Owners,
    pub(super) records: BTreeMap<IpAddr, Record>,
    pub(super) candidates: BTreeMap<IpAddr, Vec<Candidate>>,
    pub(super) without_interface: BTreeSet<IpAddr>,
    /// This machine's clock runs at `rate` per mille of true time, and stood still for so long.
    pub(super) rate: u32,
    pub(super) stood_still: Duration,
    pub(super) lives: u32,
    pub(super) session: Option<SessionId>,
    pub(super) renew_at: Now,
    pub(super) wake_at: Now,
    pub(super) decide_at: Now,
    pub(super) answering: BTreeSet<IpAddr>,
    pub(super) stopped: Option<Now>,
    pub(super) frozen: bool,
    pub(super) dead: bool,
    /// Of a dead one: its process alone is; the kernel answers for the machine's own address.
    pub(super) gone: bool,
    pub(super) waiting: VecDeque<Input>,
    pub(super) sessions: BTreeMap<NodeName, SessionId>,
    known_due: bool,
    pub(super) namesake: Namesake,
    elsewhere: Elsewhere,
    /// All that this machine's processes ever spoke for.
    made: BTreeSet<SessionId>,
    /// Whose renewals its watches deliver.
    pub(super) subscribed: BTreeSet<NodeName>,
    pub(super) reports: Vec<(Now, Report)>,
    pub(super) sent: u64,
    pub(super) heard: u64,
}

/// What a node wants done.
#[derive(Default)]
pub(super) struct Wants {
    pub(super) actions: Vec<Action>,
    pub(super) decision: Option<Decision>,
}

impl Node {
    pub(super) fn new(name: NodeName, rate: u32, segments: &[SegmentId]) -> Self {
        let mut peers = Peers::new(name.clone(), peers::Settings::default());
        peers.observe(
            peers::Event::Segments(segments.to_vec()),
            Duration::ZERO,
            &mut Vec::new(),
        );
        let mut owners = Owners::new(name.clone(), owners::Settings::for_duration(SESSION));
        owners.observe(owners::Event::Programmed(true), Duration::ZERO);
        Self {
            name,
            peers,
            owners,
            records: BTreeMap::new(),
            candidates: BTreeMap::new(),
            without_interface: BTreeSet::new(),
            rate,
            stood_still: Duration::ZERO,
            lives: 0,
            session: None,
            renew_at: Duration::ZERO,
            wake_at: Duration::ZERO,
            decide_at: Duration::ZERO,
            answering: BTreeSet::new(),
            stopped: None,
            frozen: false,
            dead: false,
            gone: false,
            waiting: VecDeque::new(),
            sessions: BTreeMap::new(),
            known_due: false,
            namesake: Namesake::new(peers::Settings::default().interval),
            elsewhere: Elsewhere::default(),
            made: BTreeSet::new(),
            subscribed: BTreeSet::new(),
            reports: Vec::new(),
            sent: 0,
            heard: 0,
        }
    }

    /// A new process on the same machine.
    pub(super) fn restart(&mut self, segments: &[SegmentId]) {
        let fresh = Self::new(self.name.clone(), self.rate, segments);
        *self = Self {
            lives: self.lives,
            made: std::mem::take(&mut self.made),
            stood_still: self.stood_still,
            candidates: std::mem::take(&mut self.candidates),
            without_interface: std::mem::take(&mut self.without_interface),
            reports: std::mem::take(&mut self.reports),
            ..fresh
        };
    }

    /// Its interfaces are others than those that it published.
    pub(super) fn forget_sessions(&mut self) {
        self.made.clear();
    }

    /// It reads that a node, itself perhaps, may answer for nothing any more because it lost its interface, or may again.
    pub(super) fn read_of_interface(&mut self, of: &NodeName, is_up: bool, now: Now) {
        for (address, candidates) in &mut self.candidates {
            candidates.retain(|candidate| candidate.node != *of);
            if is_up {
                candidates.push(Candidate::plain(of.clone()));
                candidates.sort_by(|a, b| a.node.cmp(&b.node));
            }
            if *of == self.name && is_up {
                self.without_interface.remove(address);
            } else if *of == self.name {
                self.without_interface.insert(*address);
                self.answering.remove(address);
            }
        }
        self.decide_at = self.decide_at.min(now);
    }

    pub(super) fn local(&self, now: Now) -> Now {
        (now - self.stood_still) * self.rate / 1000
    }

    /// When, in true time, this machine's clock shows that.
    pub(super) fn true_time(&self, local: Now) -> Now {
        local * 1000 / self.rate + self.stood_still + Duration::from_micros(1)
    }

    pub(super) fn runs(&self) -> bool {
        !self.dead && self.stopped.is_none()
    }

    pub(super) fn answers(&self, address: &IpAddr, now: Now) -> bool {
        self.runs() && self.answering.contains(address) && self.local(now) < self.peers.permit()
    }

    pub(super) fn tell_peers(&mut self, event: peers::Event, now: Now, wants: &mut Wants) {
        let local = self.local(now);
        let from = wants.actions.len();
        self.peers.observe(event, local, &mut wants.actions);
        let reports: Vec<Report> = wants.actions[from..]
            .iter()
            .filter_map(|action| match action {
                Action::Report(report) => Some(report.clone()),
                _ => None,
            })
            .collect();
        for report in reports {
            if let Report::SameName { session, lives } = &report {
                self.elsewhere.note(session.clone(), *lives);
            }
            if let Report::OwnEnded(end) = &report {
                let copied = self.session.take().filter(|_| *end == OwnEnd::Copy);
                copied
                    .into_iter()
                    .for_each(|session| self.elsewhere.note(session, true));
                self.renew_at = Duration::ZERO;
            }
            self.reports.push((now, report.clone()));
            self.owners.observe(owners::Event::Report(report), local);
            self.decide_at = self.decide_at.min(now);
        }
        self.wake_at = self.true_time(self.peers.wake_at());
    }

    pub(super) fn take(&mut self, input: Input, now: Now, wants: &mut Wants) {
        let local = self.local(now);
        match input {
            Input::Peers(event) => self.tell_peers(event, now, wants),
            Input::Frame(segment, frame) => {
                self.tell_peers(peers::Event::Heard(segment, frame), now, wants)
            }
            Input::Reply(replies) => {
                for reply in replies {
                    self.reply(reply, now, wants);
                }
                self.decide_at = self.decide_at.min(now);
            }
            Input::Change(Change::Record(address, record)) => {
                self.keep(address, record);
                self.decide_at = self.decide_at.min(now + Duration::from_millis(1));
            }
            Input::Change(Change::Renewal(node, version)) => {
                let seen = owners::Event::RenewalSeen(node, version);
                self.owners.observe(seen, local);
            }
            Input::Change(Change::Lease(node, lease, fenced)) => {
                if node != self.name {
                    let before = match &lease.session {
                        Some(session) => self.sessions.insert(node.clone(), session.clone()),
                        None => self.sessions.remove(&node),
                    };
                    self.known_due |= before.as_ref() != lease.session.as_ref();
                }
                self.owners
                    .observe(owners::Event::LeaseSeen(node, lease), local);
                if let Some(fenced) = fenced {
                    self.tell_peers(peers::Event::Ended(fenced), now, wants);
                }
                self.decide_at = self.decide_at.min(now + Duration::from_millis(1));
            }
        }
    }

    /// The server's history went back: all that it says now replaces what was known.
    pub(super) fn go_back(&mut self, server: &Server, now: Now, wants: &mut Wants) {
        let local = self.local(now);
        self.owners.observe(owners::Event::WentBack, local);
        self.records.clone_from(&server.records);
        for (node, lease) in server.leases.clone() {
            self.take(Input::Change(Change::Lease(node, lease, None)), now, wants);
        }
        for (node, version) in server.renewals.clone() {
            self.take(Input::Change(Change::Renewal(node, version)), now, wants);
        }
        self.tell_known(now, wants);
    }

    /// Sessions began or ended by what a watch has delivered.
    pub(super) fn tell_known(&mut self, now: Now, wants: &mut Wants) {
        if std::mem::take(&mut self.known_due) {
            let known = self.sessions.iter();
            let known = known.map(|(node, session)| Known {
                node: node.clone(),
                session: session.clone(),
            });
            let known = known.collect();
            self.tell_peers(peers::Event::Known(known), now, wants);
        }
    }

    fn keep(&mut self, address: IpAddr, record: Record) {
        let newer = self
            .records
            .get(&address)
            .is_none_or(|known| !record.version.is_older_than(&known.version));
        if newer {
            self.records.insert(address, record);
        }
    }

    fn reply(&mut self, reply: Reply, now: Now, wants: &mut Wants) {
        let local = self.local(now);
        match reply {
            Reply::Began(session, at) => {
                if self.session.as_ref() == Some(&session) {
                    self.namesake.has_begun();
                    self.owners
                        .observe(owners::Event::SessionStarted(session.clone(), at), local);
                    self.tell_peers(peers::Event::Began(session, at), now, wants);
                }
            }
            Reply::Renewed(session, at) => {
                self.owners
                    .observe(owners::Event::Renewed(session.clone(), at), local);
                self.tell_peers(peers::Event::Confirmed(session, at), now, wants);
            }
            Reply::Confirmed(session, at) => {
                self.tell_peers(peers::Event::Confirmed(session, at), now, wants)
            }
            Reply::NotRenewed(session) => {
                if self.session.as_ref() == Some(&session) {
                    self.owners.observe(owners::Event::NotRenewed, local);
                    self.renew_at = self.renew_at.min(local + SESSION / 15);
                }
            }
            Reply::Lost(session) if self.session.as_ref() != Some(&session) => {}
            Reply::Lost(_) => {
                self.session = None;
                self.renew_at = Duration::ZERO;
                self.owners.observe(owners::Event::SessionLost, local);
                self.tell_peers(peers::Event::Lost, now, wants);
            }
            Reply::Peers(event) => self.tell_peers(event, now, wants),
            Reply::Owners(event) => self.owners.observe(event, local),
            Reply::Record(address, record, outcome) => {
                self.keep(address, record);
                self.owners
                    .observe(owners::Event::Settled(address, outcome), local);
            }
        }
    }

    pub(super) fn decide(&mut self, now: Now, wants: &mut Wants) {
        let local = self.local(now);
        let shown = Shown {
            records: &self.records,
            candidates: &self.candidates,
            without_interface: &self.without_interface,
        };
        let decision = self.owners.decide(&shown, local);
        self.answering = &decision.answering - &self.without_interface;
        self.decide_at = self
            .true_time(decision.wake_at)
            .max(now + Duration::from_millis(1));
        self.tell_peers(peers::Event::Progress(local), now, wants);
        self.tell_peers(peers::Event::Allowed(decision.allowed), now, wants);
        self.tell_peers(peers::Event::Flags(decision.flags), now, wants);
        for (to, body) in decision.say.clone() {
            self.tell_peers(peers::Event::Say(to, body), now, wants);
        }
        wants.decision = Some(decision);
    }

    /// Whether its watches deliver this.
    pub(super) fn is_told(&self, change: &Change) -> bool {
        match change {
            Change::Renewal(node, _) => self.owners.watched().contains(node),
            Change::Lease(..) | Change::Record(..) => true,
        }
    }

    /// The session task: a renewal every five seconds, a new session where there is none.
    pub(super) fn renewal(&mut self, now: Now, server: &Server) -> Option<Request> {
        let local = self.local(now);
        if local < self.renew_at {
            return None;
        }
        self.renew_at = local + SESSION / 3;
        let begins = self.session.is_none() || self.owners.session() != self.session.as_ref();
        if self.session.is_none() {
            self.lives += 1;
            let session = session(&self.name, self.lives);
            self.namesake.tries(session.clone());
            self.made.insert(session.clone());
            self.session = Some(session);
        }
        if begins {
            let lease = server.leases.get(&self.name);
            let holder = lease.and_then(|lease| lease.session.as_ref());
            let held = holder.map(|session| Held {
                session,
                renewal: server.renewals.get(&self.name),
                duration: SESSION,
                of_this_machine: self.made.contains(session),
            });
            if let Err(wait) = self.namesake.may_begin(held, &self.elsewhere, local) {
                self.renew_at = wait.until;
                return None;
            }
        }
        Some(Request::Renew {
            session: self.session.clone()?,
            begins,
            sent_at: local,
        })
    }
}
