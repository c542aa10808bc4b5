//! What lies between nodes and server, and when things happen.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::IpAddr;
use std::time::Duration;

use super::check::Check;
use super::dice::Dice;
use super::node::{Input, Node, Wants};
use super::server::{Change, Request, Server, doubt};
use crate::owners::{Candidate, Owner};
use crate::peers::{self, Action, Frame, SegmentId, To};
use crate::{NodeName, Now, Probed, SessionId, owners};

pub(super) const SEGMENT: SegmentId = 7;
/// How long a router takes to answer at the most: it has other things to do.
const ROUTER: Duration = Duration::from_millis(40);
/// Addresses that differ in their last byte alone.
const ROW: usize = 250;

/// How bad the network is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weather {
    /// Frames lost, in ten thousand.
    pub(super) frames: u64,
    pub(super) frame_delay: Duration,
    /// Requests or answers lost, in ten thousand.
    pub(super) requests: u64,
    pub(super) request_delay: Duration,
    pub(super) watch_delay: Duration,
}

pub(super) const CALM: Weather = Weather {
    frames: 0,
    frame_delay: Duration::from_micros(300),
    requests: 0,
    request_delay: Duration::from_millis(8),
    watch_delay: Duration::from_millis(20),
};
pub(super) const STORM: Weather = Weather {
    frames: 500,
    frame_delay: Duration::from_millis(12),
    requests: 500,
    request_delay: Duration::from_millis(60),
    watch_delay: Duration::from_millis(500),
};

/// Something that will happen, before what was planned later for the same moment.
struct Planned {
    at: Now,
    count: u64,
    what: Box<Happening>,
}

impl Planned {
    const fn key(&self) -> (Now, u64) {
        (self.at, self.count)
    }
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

enum Happening {
    Input(usize, Input),
    Serve(usize, Request),
    Due(usize),
    Watch(usize),
    Check,
}

pub(super) struct World {
    pub(super) dice: Dice,
    pub(super) now: Now,
    pub(super) weather: Weather,
    pub(super) server: Server,
    pub(super) nodes: Vec<Node>,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) index: BTreeMap<NodeName, usize>,
    /// Machines whose names others have as well.
    pub(super) twins: BTreeMap<NodeName, usize>,
    queue: BinaryHeap<Reverse<Planned>>,
    count: u64,
    pub(super) due: Vec<Now>,
    pub(super) seen: Vec<usize>,
    pub(super) watching: Vec<bool>,
    /// Who has not noticed that the server's history went back: their watches wait for what is gone.
    pub(super) misled: BTreeSet<usize>,
    /// On which side of a split each node is, on the segment.
    pub(super) side: Vec<u8>,
    pub(super) deaf: BTreeSet<usize>,
    pub(super) mute: BTreeSet<usize>,
    /// Pairs (from, to) whose frames are lost.
    pub(super) cut: BTreeSet<(usize, usize)>,
    pub(super) wrong_key: BTreeSet<usize>,
    pub(super) no_api: BTreeSet<usize>,
    pub(super) server_down: bool,
    /// How long the server is busy with a record's write: they wait for one another.
    pub(super) pace: Duration,
    free_at: Now,
    /// The sides a router is reached from, and how long it takes to answer at the most.
    pub(super) router: (Vec<u8>, Duration),
    pub(super) check: Check,
    pub(super) fences: u64,
    /// What the API server told watchers, each to each.
    pub(super) watched: u64,
}

impl World {
    pub(super) fn new(seed: u64, nodes: usize, addresses: usize, weather: Weather) -> Self {
        let mut dice = Dice::new(seed);
        let names: Vec<NodeName> = (0..nodes)
            .map(|n| NodeName::new(format!("node-{n:03}")))
            .collect();
        let candidates: Vec<Candidate> = names.iter().cloned().map(Candidate::plain).collect();
        let addresses: Vec<IpAddr> = (0..addresses)
            .map(|n| {
                let [third, last] = [n / ROW, n % ROW].map(|n| u8::try_from(n).unwrap());
                IpAddr::from([10, 0, third, last])
            })
            .collect();
        let nodes: Vec<Node> = names
            .iter()
            .map(|name| {
                let rate = 900 + u32::try_from(dice.roll(201)).unwrap();
                let mut node = Node::new(name.clone(), rate, &[SEGMENT]);
                node.candidates = addresses
                    .iter()
                    .map(|address| (*address, candidates.clone()))
                    .collect();
                node
            })
            .collect();
        let count = nodes.len();
        let mut world = Self {
            dice,
            now: Duration::from_secs(1),
            weather,
            server: Server::default(),
            nodes,
            twins: BTreeMap::new(),
            index: names
                .iter()
                .cloned()
                .enumerate()
                .map(|(n, name)| (name, n))
                .collect(),
            check: Check::new(addresses.len()),
            addresses,
            queue: BinaryHeap::new(),
            count: 0,
            due: vec![Duration::MAX; count],
            seen: vec![0; count],
            watching: vec![false; count],
            misled: BTreeSet::new(),
            side: vec![0; count],
            deaf: BTreeSet::new(),
            mute: BTreeSet::new(),
            cut: BTreeSet::new(),
            wrong_key: BTreeSet::new(),
            no_api: BTreeSet::new(),
            server_down: false,
            pace: Duration::ZERO,
            free_at: Now::ZERO,
            router: (vec![0], ROUTER),
            fences: 0,
            watched: 0,
        };
        for address in world.addresses.clone() {
            world.server.put_record(address, None);
        }
        for n in 0..count {
            let start = world.now
                + world
                    .dice
                    .between(Duration::ZERO, Duration::from_millis(200));
            world.due[n] = start;
            world.at(start, Happening::Due(n));
            world.at(start, Happening::Watch(n));
            world.watching[n] = true;
        }
        world.at(world.now, Happening::Check);
        world
    }

    /// Records that are owned already, evenly, each with a standby; sessions begin as these.
    pub(super) fn settle(&mut self) {
        let count = self.nodes.len();
        for n in 0..count {
            let name = self.nodes[n].name.clone();
            self.server.put_lease(&name, Some(session(&name, 1)), None);
        }
        for (n, address) in self.addresses.clone().into_iter().enumerate() {
            let owner = Owner {
                node: self.nodes[n % count].name.clone(),
                session: session(&self.nodes[n % count].name, 1),
                standby: Some(self.nodes[(n + 1 + n / count) % count].name.clone())
                    .filter(|standby| *standby != self.nodes[n % count].name)
                    .or_else(|| Some(self.nodes[(n + 1) % count].name.clone())),
                transitions: 1,
                handover_to: None,
            };
            self.server.put_record(address, Some(owner));
        }
    }

    /// Which of the addresses it is.
    pub(super) fn place(address: &IpAddr) -> usize {
        let IpAddr::V4(address) = address else {
            unreachable!("{address} is none of them");
        };
        let [.., third, last] = address.octets();
        usize::from(third) * ROW + usize::from(last)
    }

    fn at(&mut self, at: Now, happening: Happening) {
        self.count += 1;
        self.queue.push(Reverse(Planned {
            at: at.max(self.now),
            count: self.count,
            what: Box::new(happening),
        }));
    }

    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self
            .queue
            .peek()
            .is_some_and(|Reverse(next)| next.at <= end)
            && let Some(Reverse(Planned { at, what, .. })) = self.queue.pop()
        {
            self.now = at;
            self.happen(*what);
        }
        self.now = end;
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Input(n, input) => self.input(n, input),
            Happening::Serve(n, request) => self.serve(n, request),
            // It was put off, or came sooner.
            Happening::Due(n) if self.due[n] != self.now => {}
            Happening::Due(n) => {
                self.due[n] = Duration::MAX;
                self.turn(n);
            }
            Happening::Watch(n) => self.watch(n),
            Happening::Check => {
                let mut check = std::mem::take(&mut self.check);
                check.look(self);
                let every = check.every;
                self.check = check;
                self.at(self.now + every, Happening::Check);
            }
        }
    }

    fn input(&mut self, n: usize, input: Input) {
        let node = &mut self.nodes[n];
        if node.dead {
            return;
        }
        if !node.runs() {
            // Requests die with their connections; the rest waits in sockets, which hold so much.
            if node.waiting.len() < 1000 {
                node.waiting.push_back(input);
            }
            return;
        }
        let mut wants = Wants::default();
        node.take(input, self.now, &mut wants);
        self.carry_out(n, wants);
    }

    /// A process takes its turn: whatever waits for it first.
    fn turn(&mut self, n: usize) {
        let now = self.now;
        let node = &mut self.nodes[n];
        if node.dead {
            return;
        }
        if let Some(until) = node.stopped {
            if now < until {
                return self.schedule(n);
            }
            if node.frozen {
                node.frozen = false;
            }
            node.stopped = None;
            let mut wants = Wants::default();
            // The timer fires first: nothing read from a socket may count before the pause is noticed.
            for input in std::mem::take(&mut node.waiting) {
                node.take(input, now, &mut wants);
            }
            node.tell_known(now, &mut wants);
            self.carry_out(n, wants);
        }
        let node = &mut self.nodes[n];
        let mut wants = Wants::default();
        if now >= node.wake_at {
            node.tell_peers(peers::Event::Tick, now, &mut wants);
        }
        if now >= node.decide_at {
            node.decide(now, &mut wants);
        }
        let request = node.renewal(now, &self.server);
        self.carry_out(n, wants);
        if let Some(request) = request {
            self.send_request(n, request);
        }
        self.schedule(n);
    }

    pub(super) fn schedule(&mut self, n: usize) {
        let node = &self.nodes[n];
        if node.dead {
            return;
        }
        let next = match node.stopped {
            Some(until) => until,
            None => node
                .wake_at
                .min(node.decide_at)
                .min(node.true_time(node.renew_at)),
        };
        let next = next.max(self.now + Duration::from_micros(50));
        if next < self.due[n] {
            self.due[n] = next;
            self.at(next, Happening::Due(n));
        }
    }

    pub(super) fn carry_out(&mut self, n: usize, wants: Wants) {
        for action in wants.actions {
            match action {
                Action::Send(_, to, frame) => self.send(n, &to, frame),
                Action::Ask(_, node) => self.ask(n, &node),
                Action::AskWitness(_) => {
                    let (sides, late) = &self.router;
                    if sides.contains(&self.side[n])
                        && !self.deaf.contains(&n)
                        && !self.mute.contains(&n)
                    {
                        let witnessed = Input::Peers(peers::Event::Witnessed(SEGMENT));
                        let at = self.now + self.dice.between(Duration::from_millis(1), *late);
                        self.at(at, Happening::Input(n, witnessed));
                    }
                }
                Action::Fence { node, session } => {
                    self.fences += 1;
                    self.send_request(n, Request::Fence { node, session });
                }
                Action::Confirm(session) => {
                    let sent_at = self.nodes[n].local(self.now);
                    self.send_request(n, Request::Confirm { session, sent_at });
                }
                Action::Report(_) => {}
            }
        }
        if let Some(decision) = wants.decision {
            for write in decision.writes {
                self.send_request(n, Request::Write(write));
            }
            for address in decision.probes {
                let taken = (0..self.nodes.len()).any(|other| {
                    other != n
                        && self.joined(n, other)
                        && self.nodes[other].answers(&address, self.now)
                });
                let outcome = if taken { Probed::Taken } else { Probed::Clear };
                let probed = super::server::Reply::Owners(owners::Event::Probed(address, outcome));
                let at = self.now + Duration::from_millis(600);
                self.at(at, Happening::Input(n, Input::Reply(vec![probed])));
            }
        }
        self.schedule(n);
    }

    /// Whether frames pass from one to the other.
    pub(super) fn passes(&self, from: usize, to: usize) -> bool {
        self.side[from] == self.side[to]
            && !self.mute.contains(&from)
            && !self.deaf.contains(&to)
            && !self.cut.contains(&(from, to))
    }

    fn joined(&self, a: usize, b: usize) -> bool {
        self.passes(a, b) && self.passes(b, a)
    }

    fn send(&mut self, from: usize, to: &To, frame: Frame) {
        self.nodes[from].sent += 1;
        let receivers: Vec<usize> = match to {
            To::All => (0..self.nodes.len()).filter(|n| *n != from).collect(),
            To::Node(node) => self
                .index
                .get(node)
                .into_iter()
                .chain(self.twins.get(node))
                .copied()
                .collect(),
        };
        for n in receivers {
            if !self.passes(from, n) || self.dice.chance(self.weather.frames) {
                continue;
            }
            self.nodes[n].heard += 1;
            let at = self.now
                + self
                    .dice
                    .between(Duration::from_micros(50), self.weather.frame_delay);
            let refused = self.wrong_key.contains(&from) != self.wrong_key.contains(&n);
            let input = if refused {
                Input::Peers(peers::Event::Refused(SEGMENT, frame.node.clone()))
            } else {
                Input::Frame(SEGMENT, frame.clone())
            };
            self.at(at, Happening::Input(n, input));
        }
    }

    /// One question to the suspect's own MAC: for an address of its session as the asker knows it, or for its own.
    fn ask(&mut self, n: usize, node: &NodeName) {
        let Some(&suspect) = self.index.get(node) else {
            return;
        };
        let owned = self.nodes[n].records.iter().find_map(|(address, record)| {
            record
                .owner
                .as_ref()
                .filter(|owner| owner.node == *node)
                .map(|_| *address)
        });
        let other = &self.nodes[suspect];
        let answers = match owned {
            Some(address) => other.answers(&address, self.now),
            None => !other.frozen && (!other.dead || other.gone),
        };
        if answers && self.joined(n, suspect) {
            let at = self.now + Duration::from_millis(1);
            self.at(
                at,
                Happening::Input(
                    n,
                    Input::Peers(peers::Event::Answered(SEGMENT, node.clone())),
                ),
            );
        }
    }

    fn reaches_server(&self, n: usize) -> bool {
        !self.server_down && !self.no_api.contains(&n)
    }

    fn send_request(&mut self, n: usize, request: Request) {
        if !self.reaches_server(n) || self.dice.chance(self.weather.requests) {
            return self.give_up(n, request);
        }
        let mut at = self.now
            + self
                .dice
                .between(Duration::from_millis(1), self.weather.request_delay);
        if matches!(request, Request::Write(_)) {
            at = at.max(self.free_at);
            self.free_at = at + self.pace;
        }
        self.at(at, Happening::Serve(n, request));
    }

    /// Nothing came back: a fence is tried again until it is done, a renewal at its next turn.
    fn give_up(&mut self, n: usize, request: Request) {
        let later = self.now + Duration::from_millis(500);
        match request {
            Request::Fence { .. } => self.at(later, Happening::Serve(n, request)),
            request => {
                let heard = doubt(&request);
                let at = self.now + Duration::from_secs(2);
                self.at(at, Happening::Input(n, Input::Reply(heard)));
            }
        }
    }

    fn serve(&mut self, n: usize, request: Request) {
        if self.nodes[n].dead {
            return;
        }
        if !self.reaches_server(n) {
            return self.give_up(n, request);
        }
        let name = self.nodes[n].name.clone();
        let before = self.server.log.len();
        let heard = self.server.serve(&name, request.clone());
        let news = &self.server.log[before..];
        let changed: Vec<usize> = (0..self.nodes.len())
            .filter(|n| !self.watching[*n])
            .filter(|n| news.iter().any(|change| self.nodes[*n].is_told(change)))
            .collect();
        for other in changed {
            if self.seen[other] < self.server.log.len() {
                self.watching[other] = true;
                let at = self.now
                    + self
                        .dice
                        .between(Duration::from_millis(1), self.weather.watch_delay);
                self.at(at, Happening::Watch(other));
            }
        }
        if self.dice.chance(self.weather.requests) {
            return self.give_up(n, request);
        }
        let at = self.now
            + self
                .dice
                .between(Duration::from_millis(1), self.weather.request_delay);
        self.at(at, Happening::Input(n, Input::Reply(heard)));
    }

    /// The watches: everything that is new, in order. One that begins first tells how it is now.
    fn watch(&mut self, n: usize) {
        let reads = self.nodes[n].runs() && self.reaches_server(n) && !self.misled.contains(&n);
        if !reads {
            return self.at(self.now + Duration::from_millis(500), Happening::Watch(n));
        }
        self.watching[n] = false;
        let node = &mut self.nodes[n];
        let wanted = node.owners.watched().clone();
        let begun = wanted.difference(&node.subscribed).filter_map(|node| {
            let renewal = self.server.renewals.get(node)?;
            Some(Change::Renewal(node.clone(), renewal.clone()))
        });
        let mut changes: Vec<Change> = begun.collect();
        node.subscribed = wanted;
        let news = self.server.log[self.seen[n]..].iter();
        changes.extend(news.filter(|change| node.is_told(change)).cloned());
        self.seen[n] = self.server.log.len();
        self.watched += u64::try_from(changes.len()).unwrap();
        for change in changes {
            self.input(n, Input::Change(change));
        }
        let mut wants = Wants::default();
        self.nodes[n].tell_known(self.now, &mut wants);
        self.carry_out(n, wants);
    }

    pub(super) fn restart(&mut self, n: usize) {
        self.nodes[n].restart(&[SEGMENT]);
        self.seen[n] = 0;
        if !self.watching[n] {
            self.watching[n] = true;
            self.at(self.now, Happening::Watch(n));
        }
        self.due[n] = Duration::MAX;
        self.schedule(n);
    }

    pub(super) fn stop(&mut self, n: usize, time: Duration) {
        self.nodes[n].stopped = Some(self.now + time);
        self.schedule(n);
    }

    /// The machine with its clock.
    pub(super) fn freeze(&mut self, n: usize, time: Duration) {
        self.nodes[n].frozen = true;
        self.nodes[n].stood_still += time;
        self.stop(n, time);
    }

    pub(super) fn tell(&mut self, n: usize, event: owners::Event) {
        let local = self.nodes[n].local(self.now);
        self.nodes[n].owners.observe(event, local);
        self.nodes[n].decide_at = self.now;
        self.schedule(n);
    }
}

pub(super) fn session(node: &NodeName, life: u32) -> SessionId {
    SessionId::new(format!("{node}-{life}"))
}
