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
mod kept;
pub mod message;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::desired::Frontend;
pub(crate) use gained::gained_by;
pub use kept::Kept;
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
    wanted: BTreeMap<Flow, State>,
    /// What it may still have and shall not.
    withdrawn: BTreeMap<Flow, Pending>,
    /// Batches on their way.
    in_flight: BTreeMap<u32, Vec<Flow>>,
    digest_sent: Option<Duration>,
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
    /// slot it is.
    pub fn set(&mut self, owed: &BTreeMap<Flow, IpAddr>) {
        for (flow, node) in owed {
            let told = self.nodes.entry(*node).or_default();
            told.withdrawn.remove(flow);
            told.wanted
                .entry(*flow)
                .or_insert(State::Open(Pending::default()));
        }
        for (node, told) in &mut self.nodes {
            let gone: Vec<Flow> = told
                .wanted
                .keys()
                .filter(|flow| owed.get(flow) != Some(node))
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
            .filter(|(_, state)| **state != State::Acknowledged)
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
            told.wanted
                .values()
                .all(|state| *state == State::Acknowledged)
        })
    }
}

impl Told {
    fn due(&mut self, now: Duration, untold: &BTreeSet<Flow>, sequence: &mut u32) -> Vec<Body> {
        let keep: Vec<Flow> = self
            .wanted
            .iter()
            .filter(|(_, state)| matches!(state, State::Open(pending) if pending.is_due(now)))
            .map(|(flow, _)| *flow)
            .collect();
        let forget: Vec<Flow> = self
            .withdrawn
            .iter()
            .filter(|(flow, pending)| pending.is_due(now) && !untold.contains(flow))
            .map(|(flow, _)| *flow)
            .collect();
        let mut bodies = Vec::new();
        for flows in keep.chunks(message::BATCH) {
            let sequence = self.next(sequence, flows);
            for flow in flows {
                if let Some(State::Open(pending)) = self.wanted.get_mut(flow) {
                    pending.send(now, sequence);
                }
            }
            let flows = flows.to_vec();
            bodies.push(Body::Keep { sequence, flows });
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
        let settled = self
            .wanted
            .values()
            .all(|state| *state == State::Acknowledged);
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
            if let Some(state) = self.wanted.get_mut(&flow)
                && let State::Open(pending) = *state
                && pending.is_answered_by(sequence)
            {
                *state = State::Acknowledged;
            }
        }
    }

    fn open_all(&mut self) {
        for state in self.wanted.values_mut() {
            *state = State::Open(Pending::default());
        }
        self.digest_sent = None;
    }
}

#[cfg(test)]
mod tests;
