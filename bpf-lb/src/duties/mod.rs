//! Connections whose slots went to another node: who must keep an entry for them there.
//!
//! ```text
//!  node of the pod                                  node of the slot's current backend
//!  Owed ── entries, again until acknowledged ─────► Kept ──► map entries: "that node has it"
//!       ◄─ acknowledgement ────────────────────────
//!       ── digest, every 20 s ─────────────────────►
//!       ◄─ "tell all again", if it differs ────────
//! ```
//! Whoever has a living connection whose slot is now another node's keeps an entry for it *at that
//! node*. So a director needs no table, and an owner's death moves nothing.
//!
//! Pure: no socket and no clock. A channel carries [`message::Message`]s as bytes between nodes, says
//! from whom they are, and vouches for it.
//!
//! Invariants: what a node has told and the other acknowledged is there until it is withdrawn, or
//! for [`FORGOTTEN`] after the teller fell silent; what it told before it started anew, or before the
//! two disagreed, is there until its digest says that all has been told again; a node is believed only
//! about connections of its own pods.

mod gained;
pub mod message;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::desired::Frontend;
pub(crate) use gained::gained_by;
use message::{Body, Digest, Message};

/// What is kept is told again so often, by its digest.
pub const REFRESH: Duration = Duration::from_secs(20);
/// What was not told again for so long is forgotten.
pub const FORGOTTEN: Duration = Duration::from_secs(60);
/// Connections kept for one node at most: about five times as many as a node moves in a rolling
/// update at the default size of the tables.
pub const MOST_KEPT: usize = 65_536;
/// What is not acknowledged is told again after so long.
pub const REPEAT: Duration = Duration::from_millis(200);

/// A connection, as its client's packets show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    /// Address and port of the client.
    pub client: SocketAddr,
    /// Where it connected to.
    pub frontend: Frontend,
}

/// Who has a connection, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claim {
    /// The node, by its address.
    pub node: IpAddr,
    /// Somebody has torn the connection down in its client's name, and its pod has not said whether it believed that. Who
    /// has it without such a doubt is believed before.
    pub is_doubtful: bool,
}

impl From<IpAddr> for Claim {
    fn from(node: IpAddr) -> Self {
        Self {
            node,
            is_doubtful: false,
        }
    }
}

/// What this node owes to others.
#[derive(Clone, Debug)]
pub struct Owed {
    boot: u64,
    /// Of the last batch, whomever it was for: a node that is forgotten here still remembers what it
    /// heard, so that no number may come twice.
    sequence: u32,
    nodes: BTreeMap<IpAddr, Told>,
}

/// What one other node was told.
#[derive(Clone, Debug, Default)]
struct Told {
    /// What it shall have, and whether it has said that it does.
    wanted: BTreeMap<Flow, Wanted>,
    /// What it may still have and shall not.
    withdrawn: BTreeMap<Flow, Pending>,
    /// Batches on their way.
    in_flight: BTreeMap<u32, Vec<Flow>>,
    digest_sent: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Wanted {
    is_doubtful: bool,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open(Pending),
    Acknowledged,
}

/// What is not acknowledged yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Pending {
    sent: Option<Duration>,
    /// The first batch that said it. An earlier one said something else of the same connection.
    since: Option<u32>,
}

impl Pending {
    fn is_due(self, now: Duration) -> bool {
        self.sent.is_none_or(|sent| now >= sent + REPEAT)
    }

    fn send(&mut self, now: Duration, sequence: u32) {
        self.sent = Some(now);
        self.since.get_or_insert(sequence);
    }

    fn is_answered_by(self, sequence: u32) -> bool {
        self.since
            .is_some_and(|since| sequence.wrapping_sub(since) < u32::MAX / 2)
    }
}

impl Wanted {
    fn is_due(&self, now: Duration) -> bool {
        matches!(self.state, State::Open(pending) if pending.is_due(now))
    }

    fn send(&mut self, now: Duration, sequence: u32) {
        if let State::Open(pending) = &mut self.state {
            pending.send(now, sequence);
        }
    }
}

impl Owed {
    /// Nothing, of a process that calls itself `boot`: a number higher than that of every earlier one.
    #[must_use]
    pub fn new(boot: u64) -> Self {
        Self {
            boot,
            sequence: 0,
            nodes: BTreeMap::new(),
        }
    }

    /// Owes just this from now on: living connections of this node's pods, each with the node whose
    /// slot it is, and whether it is doubtful that it lives.
    pub fn set(&mut self, owed: &BTreeMap<Flow, Claim>) {
        for (flow, claim) in owed {
            let told = self.nodes.entry(claim.node).or_default();
            told.withdrawn.remove(flow);
            let wanted = Wanted {
                is_doubtful: claim.is_doubtful,
                state: State::Open(Pending::default()),
            };
            let known = told.wanted.entry(*flow).or_insert(wanted);
            if known.is_doubtful != claim.is_doubtful {
                *known = wanted;
            }
        }
        for (node, told) in &mut self.nodes {
            let gone: Vec<Flow> = told
                .wanted
                .keys()
                .filter(|flow| owed.get(flow).map(|claim| claim.node) != Some(*node))
                .copied()
                .collect();
            for flow in gone {
                told.wanted.remove(&flow);
                told.withdrawn.insert(flow, Pending::default());
            }
        }
    }

    /// What is to be sent now, and to whom. Nodes that are owed nothing any more and have said so
    /// are forgotten.
    pub fn due(&mut self, now: Duration) -> Vec<(IpAddr, Message)> {
        // Who had to know of a connection is told that it need not only after the next one knows.
        let untold: BTreeSet<Flow> = self
            .nodes
            .values()
            .flat_map(|told| &told.wanted)
            .filter(|(_, wanted)| wanted.state != State::Acknowledged)
            .map(|(flow, _)| *flow)
            .collect();
        let mut messages = Vec::new();
        for (node, told) in &mut self.nodes {
            let bodies = told.due(now, &untold, &mut self.sequence);
            let message = |body| {
                (
                    *node,
                    Message {
                        boot: self.boot,
                        body,
                    },
                )
            };
            messages.extend(bodies.into_iter().map(message));
        }
        self.nodes
            .retain(|_, told| !told.wanted.is_empty() || !told.withdrawn.is_empty());
        messages
    }

    /// What `node` answered.
    pub fn answered(&mut self, node: IpAddr, message: &Message) {
        let Some(told) = self.nodes.get_mut(&node) else {
            return;
        };
        // An answer to an earlier process tells nothing of what this one has said.
        if message.boot != self.boot {
            return;
        }
        match &message.body {
            Body::Acknowledge { sequence } => told.acknowledged(*sequence),
            Body::TellAgain => told.open_all(),
            Body::Keep { .. } | Body::Forget { .. } | Body::Digest(_) => {}
        }
    }

    /// Whether every other node has acknowledged all it shall have.
    #[cfg(test)]
    fn has_told_all(&self) -> bool {
        self.nodes.values().all(|told| {
            let mut wanted = told.wanted.values();
            wanted.all(|wanted| wanted.state == State::Acknowledged)
        })
    }
}

impl Told {
    fn due(&mut self, now: Duration, untold: &BTreeSet<Flow>, sequence: &mut u32) -> Vec<Body> {
        let keep = |doubtful: bool| -> Vec<Flow> {
            let wanted = self.wanted.iter();
            wanted
                .filter(|(_, wanted)| wanted.is_doubtful == doubtful && wanted.is_due(now))
                .map(|(flow, _)| *flow)
                .collect()
        };
        let keep = [false, true].map(|doubtful| (doubtful, keep(doubtful)));
        let forget: Vec<Flow> = self
            .withdrawn
            .iter()
            .filter(|(flow, pending)| pending.is_due(now) && !untold.contains(flow))
            .map(|(flow, _)| *flow)
            .collect();
        let mut bodies = Vec::new();
        for (is_doubtful, keep) in keep {
            for flows in keep.chunks(message::BATCH) {
                let sequence = self.next(sequence, flows);
                for flow in flows {
                    if let Some(wanted) = self.wanted.get_mut(flow) {
                        wanted.send(now, sequence);
                    }
                }
                bodies.push(Body::Keep {
                    sequence,
                    is_doubtful,
                    flows: flows.to_vec(),
                });
            }
        }
        for flows in forget.chunks(message::BATCH) {
            let sequence = self.next(sequence, flows);
            for flow in flows {
                if let Some(pending) = self.withdrawn.get_mut(flow) {
                    pending.send(now, sequence);
                }
            }
            let flows = flows.to_vec();
            bodies.push(Body::Forget { sequence, flows });
        }
        let mut wanted = self.wanted.values();
        let settled = wanted.all(|wanted| wanted.state == State::Acknowledged);
        let is_due = self.digest_sent.is_none_or(|sent| now >= sent + REFRESH);
        if settled && is_due && self.withdrawn.is_empty() && !self.wanted.is_empty() {
            self.digest_sent = Some(now);
            bodies.push(Body::Digest(Digest::of(self.wanted.keys())));
        }
        bodies
    }

    fn next(&mut self, sequence: &mut u32, flows: &[Flow]) -> u32 {
        *sequence = sequence.wrapping_add(1);
        self.in_flight.insert(*sequence, flows.to_vec());
        // What is older was sent again since.
        while self.in_flight.len() > 4096 {
            self.in_flight.pop_first();
        }
        *sequence
    }

    fn acknowledged(&mut self, sequence: u32) {
        let Some(flows) = self.in_flight.remove(&sequence) else {
            return;
        };
        for flow in flows {
            if let Some(pending) = self.withdrawn.get(&flow)
                && pending.is_answered_by(sequence)
            {
                self.withdrawn.remove(&flow);
            }
            if let Some(wanted) = self.wanted.get_mut(&flow)
                && let State::Open(pending) = wanted.state
                && pending.is_answered_by(sequence)
            {
                wanted.state = State::Acknowledged;
            }
        }
    }

    fn open_all(&mut self) {
        for wanted in self.wanted.values_mut() {
            wanted.state = State::Open(Pending::default());
        }
        self.digest_sent = None;
    }
}

/// What other nodes have here, as they said.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// Something may have changed since it was last asked for.
    has_news: bool,
    nodes: BTreeMap<IpAddr, Teller>,
    /// Of the connections that several nodes claim: who was the last to come.
    last: BTreeMap<Flow, IpAddr>,
}

#[derive(Clone, Debug, Default)]
struct Teller {
    boot: u64,
    heard: Duration,
    flows: BTreeSet<Flow>,
    /// Told before the teller started anew or disagreed, and not again since.
    unsure: BTreeSet<Flow>,
    /// Those of both of which it has said that it is doubtful whether they live.
    doubtful: BTreeSet<Flow>,
    /// The latest word of each flow: batches that come late must not undo later ones.
    latest: BTreeMap<Flow, u32>,
}

impl Kept {
    /// Takes what `node` says, and returns what to answer. `is_its_own` says whether a node may speak
    /// of a connection: one of its pods must be a backend of that frontend.
    pub fn receive(
        &mut self,
        node: IpAddr,
        message: &Message,
        now: Duration,
        is_its_own: impl Fn(&Flow) -> bool,
    ) -> Option<Message> {
        // An answer names the process that it answers, not the one it comes from.
        if matches!(message.body, Body::Acknowledge { .. } | Body::TellAgain) {
            return None;
        }
        let teller = self.nodes.entry(node).or_default();
        if message.boot < teller.boot {
            return None;
        }
        self.has_news = true;
        if message.boot > teller.boot {
            let Teller {
                flows: mut unsure,
                unsure: mut before,
                doubtful,
                ..
            } = std::mem::take(teller);
            unsure.append(&mut before);
            unsure.retain(&is_its_own);
            *teller = Teller {
                boot: message.boot,
                unsure,
                doubtful,
                ..Teller::default()
            };
        }
        teller.heard = now;
        let mut news = Vec::new();
        let answer = teller.take(&message.body, is_its_own, &mut news);
        for flow in news {
            let has_it = |(other, teller): (&IpAddr, &Teller)| *other != node && teller.has(&flow);
            if self.nodes.iter().any(has_it) {
                self.last.insert(flow, node);
            }
        }
        let answer = answer?;
        Some(Message {
            boot: message.boot,
            body: answer,
        })
    }

    /// Whether `node` has said something later, in another process: this is old, or said again by somebody.
    #[must_use]
    pub fn is_outdated(&self, node: IpAddr, message: &Message) -> bool {
        let is_answer = matches!(message.body, Body::Acknowledge { .. } | Body::TellAgain);
        let teller = self.nodes.get(&node);
        !is_answer && teller.is_some_and(|teller| message.boot < teller.boot)
    }

    /// Has been told these by nodes whose word is not known any more: they stay until those nodes have
    /// said all again, or have been silent for long.
    pub fn restore(&mut self, entries: &BTreeMap<Flow, Claim>, now: Duration) {
        self.has_news = true;
        for (flow, claim) in entries {
            let teller = self.nodes.entry(claim.node).or_default();
            teller.heard = teller.heard.max(now);
            if !teller.flows.contains(flow) {
                teller.unsure.insert(*flow);
            }
        }
    }

    /// Forgets the nodes that have fallen silent.
    pub fn expire(&mut self, now: Duration) {
        let heard = self.nodes.len();
        self.nodes
            .retain(|_, teller| now < teller.heard + FORGOTTEN);
        self.has_news |= self.nodes.len() != heard;
        let nodes = &self.nodes;
        self.last.retain(|flow, node| {
            let teller = nodes.get(node);
            teller.is_some_and(|teller| teller.has(flow))
        });
    }

    /// The same as [`Kept::entries`], if something may have changed since the last call.
    pub fn news(&mut self) -> Option<BTreeMap<Flow, Claim>> {
        std::mem::take(&mut self.has_news).then(|| self.entries())
    }

    /// Every connection that another node has, and which. Of two that claim one, the one without a doubt
    /// is believed; of two alike the last to come: a client's port was used again, and whoever had it
    /// before cannot have said so yet.
    #[must_use]
    pub fn entries(&self) -> BTreeMap<Flow, Claim> {
        let mut entries: BTreeMap<Flow, Claim> = BTreeMap::new();
        for (node, teller) in &self.nodes {
            for flow in teller.flows.union(&teller.unsure) {
                let claim = Claim {
                    node: *node,
                    is_doubtful: teller.doubtful.contains(flow),
                };
                let last = self.last.get(flow);
                let weight = |claim: &Claim| (!claim.is_doubtful, last == Some(&claim.node));
                match entries.get(flow) {
                    Some(known) if weight(known) > weight(&claim) => {}
                    _ => drop(entries.insert(*flow, claim)),
                }
            }
        }
        entries
    }
}

impl Teller {
    fn has(&self, flow: &Flow) -> bool {
        self.flows.contains(flow) || self.unsure.contains(flow)
    }

    /// Takes what is said, and returns what to answer; `news` are connections that it did not have.
    fn take(
        &mut self,
        body: &Body,
        is_its_own: impl Fn(&Flow) -> bool,
        news: &mut Vec<Flow>,
    ) -> Option<Body> {
        match body {
            Body::Keep {
                sequence,
                is_doubtful,
                flows,
            } => {
                let own: Vec<&Flow> = flows.iter().filter(|flow| is_its_own(flow)).collect();
                // Without room it is not acknowledged, so that it is told again.
                if self.flows.len() + own.len() > MOST_KEPT {
                    return None;
                }
                for flow in own {
                    if self.is_news(*flow, *sequence) {
                        if !self.has(flow) {
                            news.push(*flow);
                        }
                        self.flows.insert(*flow);
                        self.unsure.remove(flow);
                        if *is_doubtful {
                            self.doubtful.insert(*flow);
                        } else {
                            self.doubtful.remove(flow);
                        }
                    }
                }
                Some(Body::Acknowledge {
                    sequence: *sequence,
                })
            }
            Body::Forget { sequence, flows } => {
                for flow in flows {
                    if self.is_news(*flow, *sequence) {
                        self.flows.remove(flow);
                        self.unsure.remove(flow);
                        self.doubtful.remove(flow);
                    }
                }
                Some(Body::Acknowledge {
                    sequence: *sequence,
                })
            }
            Body::Digest(digest) => {
                // What is over need not be remembered once both agree.
                if *digest == Digest::of(&self.flows) {
                    self.latest.retain(|flow, _| self.flows.contains(flow));
                    self.doubtful.retain(|flow| self.flows.contains(flow));
                    self.unsure.clear();
                    return None;
                }
                self.unsure.append(&mut self.flows);
                Some(Body::TellAgain)
            }
            Body::Acknowledge { .. } | Body::TellAgain => None,
        }
    }

    fn is_news(&mut self, flow: Flow, sequence: u32) -> bool {
        let latest = self.latest.entry(flow).or_insert(sequence);
        let is_news = sequence.wrapping_sub(*latest) < u32::MAX / 2;
        if is_news {
            *latest = sequence;
        }
        is_news
    }
}

#[cfg(test)]
mod tests;
