//! Model checking: three nodes with both halves, an API server and one address, in rounds of fifty milliseconds. At
//! several moments an adversary may do one thing, one in all unless more is asked for; everything it can do is tried.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use stateright::{Checker, Model, Property};

use super::node::{Input, Node, Wants};
use super::print::Printed;
use super::server::{Reply, Request, Server, doubt};
use super::world::{SEGMENT, session};
use crate::owners::{self, Candidate, Owner};
use crate::peers::{self, Action, Frame, To};
use crate::{NodeName, Now};

const NODES: usize = 3;
const ROUND: Duration = Duration::from_millis(50);
/// Rounds in which the adversary may act, counted from rest.
const MOMENTS: [u32; 5] = [0, 1, 3, 6, 12];
/// Rounds after which all must be well again: sessions have ended by then, and been begun.
const END: u32 = 520;
/// Rounds of quiet after which nothing more is expected.
const QUIET: u32 = 40;
/// Rounds that two may answer: a planned move whose claim is never heard, or the permit of a process that was fenced.
const TWICE: u32 = 45;

/// What the adversary may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Act {
    Nothing,
    Crash(usize),
    Restart(usize),
    /// The process stands still for so many rounds; its clock runs.
    Pause(usize, u32),
    /// The machine does, with its clock.
    Freeze(usize, u32),
    /// For so many rounds nothing reaches a node, leaves it, or both.
    Deaf(usize, u32),
    Mute(usize, u32),
    Cut(usize, u32),
    /// All requests are lost for so many rounds.
    ServerAway(u32),
    /// What is asked for is done for so many rounds, and nobody hears of it.
    Unanswered(u32),
    /// What is written in so many rounds is done two seconds later; who wrote it has given it up by then.
    Late(u32),
    /// A watch delivers nothing for so many rounds.
    Blind(usize, u32),
    Leave(usize),
    /// It has no interface to answer on for so many rounds; nobody reads of that.
    Unplug(usize, u32),
}

#[derive(Clone, Debug)]
struct Cluster {
    round: u32,
    /// True time.
    clock: Now,
    budget: u32,
    nodes: Vec<Node>,
    server: Server,
    seen: Vec<usize>,
    replies: Vec<(usize, Vec<Reply>)>,
    retries: Vec<(u32, usize, Request)>,
    /// On their way to the server.
    delayed: Vec<(u32, usize, Request)>,
    deaf: [u32; NODES],
    mute: [u32; NODES],
    cut: [u32; NODES],
    blind: [u32; NODES],
    unplugged: [u32; NODES],
    away: u32,
    unanswered: u32,
    late: u32,
    twice: u32,
    /// Somebody was to give something away.
    planned: bool,
    /// A deaf node took what another answered for.
    taken_deaf: bool,
}

type State = Printed<Cluster>;

fn vip() -> IpAddr {
    IpAddr::from([192, 0, 2, 10])
}

impl Cluster {
    fn at_rest(budget: u32) -> Self {
        let names: Vec<NodeName> = (0..NODES).map(|n| NodeName::new(format!("n{n}"))).collect();
        let candidates: Vec<Candidate> = names.iter().cloned().map(Candidate::plain).collect();
        let nodes = names.iter().map(|name| {
            let mut node = Node::new(name.clone(), 1000, &[SEGMENT]);
            node.candidates.insert(vip(), candidates.clone());
            node
        });
        let mut cluster = Self {
            round: 0,
            clock: Duration::from_secs(1),
            budget,
            nodes: nodes.collect(),
            server: Server::default(),
            seen: vec![0; NODES],
            replies: Vec::new(),
            retries: Vec::new(),
            delayed: Vec::new(),
            deaf: [0; NODES],
            mute: [0; NODES],
            cut: [0; NODES],
            blind: [0; NODES],
            unplugged: [0; NODES],
            away: 0,
            unanswered: 0,
            late: 0,
            twice: 0,
            planned: false,
            taken_deaf: false,
        };
        for name in &names {
            cluster.server.put_lease(name, Some(session(name, 1)), None);
        }
        let owner = Owner {
            node: names[0].clone(),
            session: session(&names[0], 1),
            standby: Some(names[1].clone()),
            transitions: 1,
            handover_to: None,
        };
        cluster.server.put_record(vip(), Some(owner));
        // Not a multiple of the time between renewals, so that one falls among what is tried.
        for _ in 0..113 {
            cluster.play();
        }
        cluster.round = 0;
        assert_eq!(cluster.answering(), [0]);
        cluster
    }

    fn answering(&self) -> Vec<usize> {
        (0..NODES)
            .filter(|n| self.nodes[*n].answers(&vip(), self.time()))
            .collect()
    }

    fn time(&self) -> Now {
        self.clock
    }

    /// Answered once, and nothing of what the adversary did goes on.
    fn is_well(&self) -> bool {
        let goes_on = [
            &self.deaf,
            &self.mute,
            &self.cut,
            &self.blind,
            &self.unplugged,
        ]
        .iter()
        .any(|left| left.iter().any(|n| *n > 0));
        let stopped = self
            .nodes
            .iter()
            .any(|node| !node.dead && node.stopped.is_some());
        let is_served = self.away + self.unanswered + self.late == 0 && self.delayed.is_empty();
        !goes_on && !stopped && is_served && self.answering().len() == 1
    }

    fn passes(&self, from: usize, to: usize) -> bool {
        self.mute[from] == 0 && self.deaf[to] == 0 && self.cut[from] == 0 && self.cut[to] == 0
    }

    fn act(&mut self, act: Act) {
        let time = self.time();
        self.planned |= matches!(act, Act::Leave(_) | Act::Unplug(..));
        match act {
            Act::Nothing => {}
            Act::Crash(n) => self.nodes[n].dead = true,
            Act::Restart(n) => {
                self.nodes[n].restart(&[SEGMENT]);
                self.seen[n] = 0;
            }
            Act::Pause(n, rounds) => self.nodes[n].stopped = Some(time + ROUND * rounds),
            Act::Freeze(n, rounds) => {
                self.nodes[n].frozen = true;
                self.nodes[n].stood_still += ROUND * rounds;
                self.nodes[n].stopped = Some(time + ROUND * rounds);
            }
            Act::Deaf(n, rounds) => self.deaf[n] = rounds,
            Act::Mute(n, rounds) => self.mute[n] = rounds,
            Act::Cut(n, rounds) => self.cut[n] = rounds,
            Act::ServerAway(rounds) => self.away = rounds,
            Act::Unanswered(rounds) => self.unanswered = rounds,
            Act::Late(rounds) => self.late = rounds,
            Act::Blind(n, rounds) => self.blind[n] = rounds,
            Act::Leave(n) => {
                let local = self.nodes[n].local(time);
                self.nodes[n].owners.observe(owners::Event::Leaving, local);
            }
            Act::Unplug(n, rounds) => {
                self.unplugged[n] = rounds;
                self.plug(n, false);
            }
        }
    }

    fn plug(&mut self, n: usize, is_up: bool) {
        let (name, time) = (self.nodes[n].name.clone(), self.time());
        self.nodes[n].read_of_interface(&name, is_up, time);
    }

    /// One round: what was answered comes back, watches deliver, everybody takes its turn, frames arrive at once.
    fn play(&mut self) {
        self.round += 1;
        self.clock += ROUND;
        let time = self.time();
        let before = (self.answering(), self.owner());
        let mut frames = VecDeque::new();
        let mut requests = Vec::new();
        for (n, replies) in std::mem::take(&mut self.replies) {
            self.input(n, Input::Reply(replies), &mut frames, &mut requests);
        }
        for n in 0..NODES {
            if self.away == 0 && self.blind[n] == 0 && self.nodes[n].runs() {
                let changes = self.server.log[self.seen[n]..].to_vec();
                self.seen[n] = self.server.log.len();
                for change in changes {
                    self.input(n, Input::Change(change), &mut frames, &mut requests);
                }
            }
        }
        for n in 0..NODES {
            self.turn(n, time, &mut frames, &mut requests);
        }
        while let Some((from, to, frame)) = frames.pop_front() {
            self.deliver(from, &to, &frame, &mut frames, &mut requests);
        }
        for n in 0..NODES {
            let mut wants = Wants::default();
            if self.nodes[n].runs() && self.nodes[n].decide_at <= time + Duration::from_millis(2) {
                self.nodes[n].decide(time, &mut wants);
            }
            self.carry_out(n, wants, &mut frames, &mut requests);
        }
        while let Some((from, to, frame)) = frames.pop_front() {
            self.deliver(from, &to, &frame, &mut frames, &mut requests);
        }
        let (due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.retries)
            .into_iter()
            .partition(|(at, ..)| *at <= self.round);
        self.retries = later;
        requests.extend(due.into_iter().map(|(_, n, request)| (n, request)));
        for (n, request) in requests {
            self.serve(n, request);
        }
        let (due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.delayed)
            .into_iter()
            .partition(|(at, ..)| *at <= self.round);
        self.delayed = later;
        for (_, n, request) in due {
            self.server.serve(&self.nodes[n].name, request);
        }
        self.look_who_took(&before);
        for left in self
            .deaf
            .iter_mut()
            .chain(&mut self.mute)
            .chain(&mut self.cut)
            .chain(&mut self.blind)
        {
            *left = left.saturating_sub(1);
        }
        for n in 0..NODES {
            if self.unplugged[n] == 1 {
                self.plug(n, true);
            }
            self.unplugged[n] = self.unplugged[n].saturating_sub(1);
        }
        for left in [&mut self.away, &mut self.unanswered, &mut self.late] {
            *left = left.saturating_sub(1);
        }
        self.twice = if self.answering().len() > 1 {
            self.twice + 1
        } else {
            0
        };
        for node in &mut self.nodes {
            node.reports.clear();
        }
    }

    fn owner(&self) -> Option<NodeName> {
        let owner = self.server.records[&vip()].owner.as_ref();
        owner.map(|owner| owner.node.clone())
    }

    /// Whether one that hears nobody has come to own, or to answer for, what another answered for all the while.
    fn look_who_took(&mut self, (before, owned_by): &(Vec<usize>, Option<NodeName>)) {
        let (now, owner) = (self.answering(), self.owner());
        self.taken_deaf |= !self.planned
            && (0..NODES).filter(|n| self.deaf[*n] > 0).any(|n| {
                let name = Some(&self.nodes[n].name);
                let answers_anew = now.contains(&n) && !before.contains(&n);
                let is_served = before
                    .iter()
                    .any(|other| *other != n && now.contains(other));
                is_served && owned_by.as_ref() != name && (answers_anew || owner.as_ref() == name)
            });
    }

    fn input(&mut self, n: usize, input: Input, frames: &mut Frames, requests: &mut Requests) {
        let time = self.time();
        let node = &mut self.nodes[n];
        if node.dead {
            return;
        }
        if !node.runs() {
            node.waiting.push_back(input);
            return;
        }
        let mut wants = Wants::default();
        node.take(input, time, &mut wants);
        self.carry_out(n, wants, frames, requests);
    }

    fn turn(&mut self, n: usize, time: Now, frames: &mut Frames, requests: &mut Requests) {
        let node = &mut self.nodes[n];
        if node.dead || node.stopped.is_some_and(|until| time < until) {
            return;
        }
        let mut wants = Wants::default();
        if node.stopped.take().is_some() {
            node.frozen = false;
            for input in std::mem::take(&mut node.waiting) {
                node.take(input, time, &mut wants);
            }
        }
        node.tell_peers(peers::Event::Tick, time, &mut wants);
        if node.decide_at <= time {
            node.decide(time, &mut wants);
        }
        let renewal = node.renewal(time, &self.server);
        self.carry_out(n, wants, frames, requests);
        requests.extend(renewal.map(|request| (n, request)));
    }

    fn deliver(
        &mut self,
        from: usize,
        to: &To,
        frame: &Frame,
        frames: &mut Frames,
        requests: &mut Requests,
    ) {
        for n in 0..NODES {
            let meant = match to {
                To::All => n != from,
                To::Node(node) => self.nodes[n].name == *node,
            };
            if meant && self.passes(from, n) {
                self.input(n, Input::Frame(SEGMENT, frame.clone()), frames, requests);
            }
        }
    }

    fn carry_out(&mut self, n: usize, wants: Wants, frames: &mut Frames, requests: &mut Requests) {
        let time = self.time();
        for action in wants.actions {
            match action {
                Action::Send(_, to, frame) => frames.push_back((n, to, frame)),
                Action::Ask(_, node) => {
                    let Some(suspect) = self.nodes.iter().position(|other| other.name == node)
                    else {
                        continue;
                    };
                    let owns = self.nodes[n].records[&vip()]
                        .owner
                        .as_ref()
                        .is_some_and(|owner| owner.node == node);
                    let other = &self.nodes[suspect];
                    let answers = if owns {
                        other.answers(&vip(), time)
                    } else {
                        !other.dead && !other.frozen
                    };
                    if answers && self.passes(n, suspect) && self.passes(suspect, n) {
                        self.input(
                            n,
                            Input::Peers(peers::Event::Answered(SEGMENT, node)),
                            frames,
                            requests,
                        );
                    }
                }
                Action::AskWitness(_) => {
                    if self.deaf[n] == 0 && self.mute[n] == 0 && self.cut[n] == 0 {
                        self.input(
                            n,
                            Input::Peers(peers::Event::Witnessed(SEGMENT)),
                            frames,
                            requests,
                        );
                    }
                }
                Action::Fence { node, session } => {
                    requests.push((n, Request::Fence { node, session }))
                }
                Action::Confirm(session) => {
                    let sent_at = self.nodes[n].local(time);
                    requests.push((n, Request::Confirm { session, sent_at }));
                }
                Action::Report(_) => {}
            }
        }
        if let Some(decision) = wants.decision {
            requests.extend(
                decision
                    .writes
                    .into_iter()
                    .map(|write| (n, Request::Write(write))),
            );
            for address in decision.probes {
                let probed = owners::Event::Probed(address, crate::Probed::Clear);
                self.replies.push((n, vec![Reply::Owners(probed)]));
            }
        }
    }

    fn serve(&mut self, n: usize, request: Request) {
        if self.nodes[n].dead {
            return;
        }
        let is_write = matches!(request, Request::Write(_) | Request::Fence { .. });
        if self.away == 0 && self.late > 0 && is_write {
            self.delayed.push((self.round + 40, n, request.clone()));
        } else if self.away == 0 {
            let heard = self.server.serve(&self.nodes[n].name, request.clone());
            if self.unanswered == 0 {
                return self.replies.push((n, heard));
            }
        }
        // Nothing came back: a fence is tried again until it is done.
        self.replies.push((n, doubt(&request)));
        if matches!(request, Request::Fence { .. }) {
            self.retries.push((self.round + 10, n, request));
        }
    }
}

type Frames = VecDeque<(usize, To, Frame)>;
type Requests = Vec<(usize, Request)>;

struct Adversary {
    budget: u32,
}

impl Model for Adversary {
    type State = State;
    type Action = Act;

    fn init_states(&self) -> Vec<State> {
        vec![State::of(Cluster::at_rest(self.budget))]
    }

    fn actions(&self, state: &State, acts: &mut Vec<Act>) {
        let cluster = &state.it;
        acts.push(Act::Nothing);
        if cluster.budget == 0 || !MOMENTS.contains(&cluster.round) {
            return;
        }
        for n in 0..NODES {
            if cluster.nodes[n].dead {
                acts.push(Act::Restart(n));
                continue;
            }
            acts.extend([
                Act::Crash(n),
                Act::Pause(n, 5),
                Act::Pause(n, 40),
                Act::Freeze(n, 40),
                Act::Deaf(n, 20),
                Act::Mute(n, 20),
                Act::Cut(n, 5),
                Act::Cut(n, 40),
                Act::Blind(n, 40),
                Act::Leave(n),
                Act::Unplug(n, 2),
                Act::Unplug(n, 40),
            ]);
        }
        for rounds in [4, 40] {
            acts.extend([
                Act::ServerAway(rounds),
                Act::Unanswered(rounds),
                Act::Late(rounds),
            ]);
        }
    }

    fn next_state(&self, state: &State, act: Act) -> Option<State> {
        let mut cluster = (*state.it).clone();
        if act != Act::Nothing {
            cluster.budget -= 1;
        }
        cluster.act(act);
        cluster.play();
        // Where the adversary is done nothing is chosen any more: the rest is one path.
        let mut quiet = 0;
        while cluster.twice <= TWICE
            && !MOMENTS.iter().any(|moment| *moment >= cluster.round)
            && cluster.round < END
        {
            cluster.play();
            quiet = if cluster.is_well() { quiet + 1 } else { 0 };
            if quiet >= QUIET {
                cluster.round = END;
            }
        }
        Some(State::of(cluster))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "two answer only within the stated windows",
                |_, state: &State| state.it.twice <= TWICE,
            ),
            Property::always(
                "a deaf node never takes an address that is served",
                |_, state: &State| !state.it.taken_deaf,
            ),
            Property::always(
                "in the end the address is answered once",
                |_, state: &State| {
                    let cluster = &state.it;
                    let alive = cluster
                        .nodes
                        .iter()
                        .any(|node| !node.dead && !node.owners.is_leaving());
                    cluster.round < END || !alive || cluster.answering().len() == 1
                },
            ),
            Property::always(
                "no address moves more than once for each thing that happened",
                |model, state: &State| {
                    let owner = state.it.server.records[&vip()].owner.as_ref();
                    let moves = owner.map_or(0, |owner| owner.transitions - 1);
                    moves <= u64::from(model.budget - state.it.budget) * 2
                },
            ),
        ]
    }

    fn within_boundary(&self, state: &State) -> bool {
        state.it.round <= END
    }
}

#[test]
fn whatever_an_adversary_does_two_answer_only_within_the_stated_windows_and_the_address_comes_back()
{
    let budget = std::env::var("LANDFALL_ADVERSARY")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1);
    // Depth first: what waits to be looked at are the branches of one path, and not a whole level of clusters.
    let checker = Adversary { budget }.checker().threads(2).spawn_dfs().join();
    println!(
        "{} states, {} of them different",
        checker.state_count(),
        checker.unique_state_count()
    );
    checker.assert_properties();
}
