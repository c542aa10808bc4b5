//! What other nodes have told this one, and whom it believes. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::message::{Body, Digest, Message};
use super::{FORGOTTEN, Flow, MOST_KEPT};

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
            let mut unsure = std::mem::take(teller).into_flows();
            unsure.retain(&is_its_own);
            *teller = Teller {
                boot: message.boot,
                unsure,
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
    pub fn restore(&mut self, entries: &BTreeMap<Flow, IpAddr>, now: Duration) {
        self.has_news = true;
        for (flow, node) in entries {
            let teller = self.nodes.entry(*node).or_default();
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
    pub fn news(&mut self) -> Option<BTreeMap<Flow, IpAddr>> {
        std::mem::take(&mut self.has_news).then(|| self.entries())
    }

    /// Every connection that another node has, and which. Of two that claim one the last to come is
    /// believed: a client's port was used again, and whoever had it before cannot have said so yet.
    #[must_use]
    pub fn entries(&self) -> BTreeMap<Flow, IpAddr> {
        let of = |(node, teller): (&IpAddr, &Teller)| {
            let node = *node;
            teller
                .flows
                .union(&teller.unsure)
                .map(move |flow| (*flow, node))
                .collect::<Vec<_>>()
        };
        let mut entries: BTreeMap<Flow, IpAddr> = self.nodes.iter().flat_map(of).collect();
        for (flow, node) in &self.last {
            let teller = self.nodes.get(node);
            if teller.is_some_and(|teller| teller.has(flow)) {
                entries.insert(*flow, *node);
            }
        }
        entries
    }
}

impl Teller {
    fn into_flows(mut self) -> BTreeSet<Flow> {
        self.flows.append(&mut self.unsure);
        self.flows
    }

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
            Body::Keep { sequence, flows } => {
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
