//! One announcer: its election, its clock, its watch and the task that renews its session.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use super::server::{Change, Request, Server};
use crate::{Election, Event, NodeName, Now, SessionId, Settings, Version};

/// One announcer.
pub(super) struct Node {
    pub(super) name: NodeName,
    pub(super) election: Election,
    /// This node's clock runs at `rate` per mille of true time.
    pub(super) rate: u32,
    pub(super) lives: u32,
    pub(super) session: Option<SessionId>,
    pub(super) lease_version: Option<Version>,
    pub(super) renewing: bool,
    pub(super) renew_at: Now,
    pub(super) answering: BTreeSet<IpAddr>,
    pub(super) deadline: Option<Now>,
    /// Position in the server's log, and until when (true time) its watch sleeps.
    pub(super) seen: usize,
    pub(super) blind_until: Now,
    pub(super) paused_until: Now,
    pub(super) dead_until: Option<Now>,
    pub(super) inbox: VecDeque<(Now, Vec<Event>)>,
    /// Was told of candidates in this life.
    pub(super) informed: bool,
}

impl Node {
    pub(super) fn local(&self, now: Now) -> Now {
        now * self.rate / 1000
    }

    pub(super) fn restart(&mut self) {
        let settings = Settings::for_duration(Duration::from_secs(15));
        self.election = Election::new(self.name.clone(), settings);
        self.dead_until = None;
        self.session = None;
        self.lease_version = None;
        self.renewing = false;
        self.inbox.clear();
        self.informed = false;
        self.seen = 0;
    }

    pub(super) fn hear(&mut self, event: Event, local: Now) {
        match &event {
            Event::Renewed(session, sent_at)
                if self.election.session() != Some(session)
                    && self.session.as_ref() == Some(session) =>
            {
                let started = Event::SessionStarted(session.clone(), *sent_at);
                self.election.observe(started, local);
            }
            Event::SessionLost => self.session = None,
            _ => {}
        }
        self.election.observe(event, local);
    }

    /// The watch: everything the log has that is new, unless it is blind; what it saw blind comes
    /// as a list, that is, only the last state of each object.
    pub(super) fn watch(&mut self, server: &Server, now: Now, local: Now) {
        if now < self.blind_until {
            return;
        }
        let mut last = BTreeMap::new();
        for (index, change) in server.log[self.seen..].iter().enumerate() {
            let key = match change {
                Change::Lease(node, _) => node.to_string(),
                Change::Record(address, _) => address.to_string(),
            };
            last.insert(key, index);
        }
        let seen = self.seen;
        for index in last.into_values().collect::<BTreeSet<_>>() {
            let event = match server.log[seen + index].clone() {
                Change::Lease(node, lease) => Event::LeaseSeen(node, lease),
                Change::Record(address, record) => Event::RecordSeen(address, record),
            };
            self.election.observe(event, local);
        }
        self.seen = server.log.len();
    }

    /// The session task: read, then renew by compare-and-swap, every 5 s.
    pub(super) fn renewal(&mut self, server: &Server, local: Now) -> Option<Request> {
        if local < self.renew_at {
            return None;
        }
        self.renew_at = local + Duration::from_secs(5);
        let lease = server.leases.get(&self.name);
        if let Some(session) = &self.session {
            let held = lease.and_then(|lease| lease.session.as_ref());
            if held != Some(session) && self.election.session() == Some(session) {
                self.election.observe(Event::SessionLost, local);
                self.session = None;
            }
        }
        if self.session.is_none() {
            self.lives += 1;
            self.session = Some(SessionId::new(format!("{}-{}", self.name, self.lives)));
        }
        Some(Request::Renew {
            session: self.session.clone()?,
            version: lease.map(|lease| lease.version.clone()),
            sent_at: local,
        })
    }
}
