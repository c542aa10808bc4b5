//! The world: what is on its way between nodes and server, and the invariant at every step.

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use super::faults::{CALM, Dice, Faults, STEP};
use super::node::Node;
use super::server::{Request, Server, doubt};
use crate::{Candidate, Contest, Election, Event, NodeName, Now, Probed, Record, Settings};

pub(super) struct World {
    pub(super) dice: Dice,
    pub(super) now: Now,
    pub(super) faults: Faults,
    pub(super) server: Server,
    pub(super) nodes: Vec<Node>,
    pub(super) wire: Vec<(Now, usize, Request)>,
    pub(super) addresses: Vec<IpAddr>,
}

impl World {
    pub(super) fn new(seed: u64, nodes: usize, addresses: u8, faults: Faults) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let names: Vec<_> = (0..nodes)
            .map(|n| NodeName::new(format!("node-{n}")))
            .collect();
        let nodes = names
            .iter()
            .map(|name| Node {
                name: name.clone(),
                election: Election::new(
                    name.clone(),
                    Settings::for_duration(Duration::from_secs(15)),
                ),
                rate: 995 + u32::try_from(dice.roll(11)).unwrap(),
                lives: 0,
                session: None,
                lease_version: None,
                renewing: false,
                renew_at: Duration::ZERO,
                answering: BTreeSet::new(),
                deadline: None,
                seen: 0,
                blind_until: Duration::ZERO,
                paused_until: Duration::ZERO,
                dead_until: None,
                inbox: VecDeque::new(),
                informed: false,
            })
            .collect();
        let mut server = Server::default();
        let addresses: Vec<IpAddr> = (1..=addresses)
            .map(|last| IpAddr::from([192, 0, 2, last]))
            .collect();
        for address in &addresses {
            server.put_record(*address, None);
        }
        let now = Duration::from_secs(1);
        Self {
            dice,
            now,
            faults,
            server,
            nodes,
            wire: Vec::new(),
            addresses,
        }
    }

    pub(super) fn contests(&self) -> Event {
        let candidates: Vec<_> = self
            .nodes
            .iter()
            .map(|n| Candidate {
                node: n.name.clone(),
                weight: 0,
            })
            .collect();
        let contest = |a: &IpAddr| Contest {
            address: *a,
            candidates: candidates.clone(),
        };
        Event::Contests(self.addresses.iter().map(contest).collect())
    }

    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += STEP;
            self.deliver();
            for index in 0..self.nodes.len() {
                self.trouble(index);
                self.turn(index);
            }
            self.check();
        }
    }

    /// Requests arrive at the server; some never do, some answers never come back, and a request
    /// may be carried out twice.
    pub(super) fn deliver(&mut self) {
        let now = self.now;
        let (due, later) = std::mem::take(&mut self.wire)
            .into_iter()
            .partition(|r| r.0 <= now);
        self.wire = later;
        let due: Vec<(Now, usize, Request)> = due;
        for (_, from, request) in due {
            let name = self.nodes[from].name.clone();
            let mut heard = self.server.serve(&name, &request);
            if self.dice.chance(self.faults.loss / 3) {
                // A proxy sent it twice; the caller hears the second answer.
                heard = self.server.serve(&name, &request);
            }
            if self.dice.chance(self.faults.loss) {
                heard = doubt(&request);
            }
            let at = now + self.travel();
            self.nodes[from].inbox.push_back((at, heard));
        }
    }

    pub(super) fn travel(&mut self) -> Duration {
        STEP * u32::try_from(self.dice.roll(self.faults.delay + 1)).unwrap()
    }

    pub(super) fn send(&mut self, from: usize, request: Request) {
        if self.dice.chance(self.faults.loss) {
            let at = self.now + Duration::from_secs(2);
            self.nodes[from].inbox.push_back((at, doubt(&request)));
            return;
        }
        let at = self.now + self.travel();
        if self.dice.chance(self.faults.loss) {
            // The caller gives up, the request arrives all the same, much later.
            let late = at + Duration::from_secs(3);
            self.wire.push((late, from, request.clone()));
            self.nodes[from]
                .inbox
                .push_back((self.now + Duration::from_secs(2), doubt(&request)));
            return;
        }
        self.wire.push((at, from, request));
    }

    pub(super) fn trouble(&mut self, index: usize) {
        let Faults {
            blind,
            pause,
            crash,
            ..
        } = self.faults;
        let long = Duration::from_millis(self.dice.roll(25_000));
        let [b, p, c] = [
            self.dice.roll(10_000),
            self.dice.roll(10_000),
            self.dice.roll(10_000),
        ];
        let node = &mut self.nodes[index];
        if b < blind {
            node.blind_until = self.now + long;
        }
        if p < pause {
            node.paused_until = self.now + long;
        }
        if c < crash && node.dead_until.is_none() {
            node.dead_until = Some(self.now + long);
        }
    }

    pub(super) fn turn(&mut self, index: usize) {
        let contests = (!self.nodes[index].informed).then(|| self.contests());
        let now = self.now;
        let node = &mut self.nodes[index];
        if let Some(until) = node.dead_until {
            if now < until {
                node.answering.clear();
                return;
            }
            node.restart();
        }
        if now < node.paused_until {
            return;
        }
        let local = node.local(now);
        while let Some(position) = node.inbox.iter().position(|(at, _)| *at <= now) {
            let Some((_, heard)) = node.inbox.remove(position) else {
                break;
            };
            for event in heard {
                node.hear(event, local);
            }
        }
        node.watch(&self.server, now, local);
        if let Some(contests) = contests {
            node.election.observe(contests, local);
            node.informed = true;
        }
        let decision = node.election.decide(local);
        node.answering = decision.answering;
        node.deadline = decision.deadline;
        for address in decision.probes {
            node.inbox
                .push_back((now + STEP * 3, vec![Event::Probed(address, Probed::Clear)]));
        }
        let mut out: Vec<Request> = decision.writes.into_iter().map(Request::Write).collect();
        out.extend(node.renewal(&self.server, local));
        for request in out {
            self.send(index, request);
        }
    }

    pub(super) fn answering(&self, address: IpAddr) -> Vec<&NodeName> {
        let answers = |node: &&Node| {
            node.dead_until.is_none()
                && self.now >= node.paused_until
                && node.answering.contains(&address)
                && node
                    .deadline
                    .is_some_and(|deadline| node.local(self.now) < deadline)
        };
        self.nodes
            .iter()
            .filter(answers)
            .map(|node| &node.name)
            .collect()
    }

    pub(super) fn check(&self) {
        for address in &self.addresses {
            let answering = self.answering(*address);
            assert!(
                answering.len() <= 1,
                "at {:?} {address} is answered by {answering:?}; record {:?}",
                self.now,
                self.server.records[address]
            );
        }
    }

    pub(super) fn calm_down(&mut self) {
        self.faults = CALM;
        for node in &mut self.nodes {
            node.blind_until = Duration::ZERO;
            node.paused_until = Duration::ZERO;
            if let Some(until) = &mut node.dead_until {
                *until = self.now;
            }
        }
    }

    pub(super) fn transitions(&self) -> u64 {
        let transitions = |r: &Record| r.owner.as_ref().map_or(0, |o| o.transitions);
        self.server.records.values().map(transitions).sum()
    }

    pub(super) fn assert_all_answered(&self) {
        for address in &self.addresses {
            assert_eq!(
                self.answering(*address).len(),
                1,
                "{address} at {:?}",
                self.now
            );
        }
    }
}
