//! The thread's loop: waits for a frame, a command or the machine's time, and does what the machine says.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use landfall_election::peers::{Action, Body, Event, Frame, Peers, Settings, To};
use landfall_election::{NodeName, Now};
use landfall_wire::Mac;
use landfall_wire::buffer;
use landfall_wire::peers::{GROUP, KeyId, Refusal, source};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use tokio::sync::mpsc::UnboundedSender;

use super::questions::{self, Asked, Questions};
use super::segment::Segment;
use super::view::lateness;
use super::voice::Voice;
use super::{Command, PeersStatus, STRETCHED, View, Wanted, convert};
use crate::brain::{Input, Whereabouts};
use crate::clock;
use crate::link::scheduling::Priority;
use crate::link::{IfIndex, PeerSocket};
use crate::responder::Responder;

/// Without anything to do the thread still looks at the time so often: the permit needs it.
const LONGEST_TURN: Duration = Duration::from_millis(50);
/// Frames read of one socket before it rests and everything else has its turn: it bounds what a flood costs.
const BATCH: usize = 64;
/// How long a socket rests on which too much came.
const REST: Duration = Duration::from_millis(1);
/// The brain speaks at least every quarter of a second. One that does not for so long makes no progress.
const STUCK: Duration = Duration::from_secs(1);
/// Between two looks from outside.
const SHOWN: Duration = Duration::from_millis(500);
/// Before a socket that could not be opened is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Longer frames are cut off, which the parser sees.
const FRAME: usize = 2_048;

pub(super) struct Driver {
    me: NodeName,
    machine: Peers,
    patience: Duration,
    /// Between two beats, as asked for; and whether it was said that they are further apart.
    interval: Duration,
    told_of_interval: bool,
    voice: Option<Voice>,
    others: Vec<Vec<KeyId>>,
    responder: Responder,
    lane: UnboundedSender<Wanted>,
    agent: UnboundedSender<Input>,
    view: View,
    /// Until when the session allows answers, and when the brain said so.
    deadline: Now,
    told_at: Now,
    asked_for: BTreeMap<IfIndex, Mac>,
    segments: BTreeMap<IfIndex, Segment>,
    nodes: BTreeMap<NodeName, Whereabouts>,
    /// What the brain was told last of where authentic frames come from.
    heard_from: Option<BTreeSet<Mac>>,
    questions: Questions,
    actions: Vec<Action>,
    problems: Vec<String>,
    retry_at: Option<Now>,
    late: Duration,
    looked_at: Now,
    shown_at: Now,
}

impl Driver {
    pub(super) fn new(
        me: NodeName,
        settings: Settings,
        responder: Responder,
        (lane, agent): (UnboundedSender<Wanted>, UnboundedSender<Input>),
        view: View,
    ) -> Self {
        Self {
            machine: Peers::new(me.clone(), settings),
            patience: settings.progress,
            interval: settings.interval,
            told_of_interval: false,
            me,
            voice: None,
            others: Vec::new(),
            responder,
            lane,
            agent,
            view,
            deadline: Now::ZERO,
            told_at: Now::ZERO,
            asked_for: BTreeMap::new(),
            segments: BTreeMap::new(),
            nodes: BTreeMap::new(),
            heard_from: None,
            questions: Questions::default(),
            actions: Vec::new(),
            problems: Vec::new(),
            retry_at: None,
            late: Duration::ZERO,
            looked_at: Now::ZERO,
            shown_at: Now::ZERO,
        }
    }

    pub(super) fn run(
        mut self,
        priority: Priority,
        commands: &Receiver<Command>,
        ear: &UnixStream,
    ) {
        let begun = clock::now();
        loop {
            let wake_at = self.wake_at();
            self.wait(wake_at, ear);
            let late = lateness(wake_at, begun, clock::now());
            self.late = self.late.max(late);
            // Frames first: what waited in the sockets was said before the time that is told next.
            self.receive();
            if !self.take_commands(commands, ear) {
                break;
            }
            self.reopen();
            self.look_at_time();
            self.show(priority);
        }
        self.responder.set_deadline(Now::ZERO);
    }

    /// Only what is due: this thread is before all others, and must take little.
    fn look_at_time(&mut self) {
        let now = clock::now();
        if now >= self.looked_at + LONGEST_TURN {
            self.looked_at = now;
            self.learn(Event::Progress(self.responder.progress()));
        }
        if now >= self.machine.wake_at() {
            self.learn(Event::Tick);
        }
    }

    fn wake_at(&self) -> Now {
        self.machine.wake_at().min(clock::now() + LONGEST_TURN)
    }

    /// Until there is something to read, or it is time. Whatever ends it, the loop looks at everything.
    fn wait(&self, until: Now, ear: &UnixStream) {
        let now = clock::now();
        let (resting, awake): (Vec<&Segment>, Vec<&Segment>) = self
            .segments
            .values()
            .partition(|segment| segment.rests_until > now);
        let until = resting
            .iter()
            .fold(until, |until, segment| until.min(segment.rests_until));
        let sockets = awake.into_iter().flat_map(Segment::sockets);
        let mut fds = vec![PollFd::new(ear.as_fd(), PollFlags::POLLIN)];
        fds.extend(sockets.map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)));
        let pause = TimeSpec::from(until.saturating_sub(now));
        // Interrupted or not, the loop looks at everything.
        let _ = ppoll(&mut fds, Some(pause), None);
    }

    /// Lets the machine learn something, does what it says, and puts its permit in force.
    fn learn(&mut self, event: Event) {
        let now = clock::now();
        let mut actions = std::mem::take(&mut self.actions);
        self.machine.observe(event, now, &mut actions);
        // First of all: what is not allowed any more must not go on while frames are sent.
        self.responder.set_deadline(self.permit());
        for action in actions.drain(..) {
            self.act(action, now);
        }
        self.actions = actions;
    }

    /// Without keys nobody can end this session for its silence, and it ends with its deadline.
    fn permit(&self) -> Now {
        match self.voice {
            Some(_) => self.machine.permit(),
            None => self.deadline,
        }
    }

    fn is_stuck(&self, now: Now) -> bool {
        now > self.told_at + STUCK || now > self.responder.progress() + self.patience
    }

    fn act(&mut self, action: Action, now: Now) {
        match action {
            Action::Send(_, _, frame)
                if matches!(frame.body, Body::Beat(_)) && self.is_stuck(now) => {}
            Action::Send(segment, to, frame) => self.send(segment, &to, &frame),
            Action::Ask(segment, node) => self.ask(segment, &node, now),
            Action::AskWitness(segment) => self.ask_witness(segment, now),
            // The announcer ending, nobody carries it out.
            Action::Fence { node, session } => drop(self.lane.send(Wanted::Fence(node, session))),
            Action::Confirm(session) => drop(self.lane.send(Wanted::Confirm(session))),
            Action::Report(report) => drop(self.agent.send(Input::Peers(report))),
        }
    }

    fn send(&mut self, ifindex: IfIndex, to: &To, frame: &Frame) {
        let (Some(segment), Some(voice)) = (self.segments.get(&ifindex), &mut self.voice) else {
            return;
        };
        let destination = match to {
            To::All => GROUP,
            To::Node(node) => match segment.heard_from.get(node) {
                Some(mac) => *mac,
                // It names nobody: all who heard it would answer. It is said again.
                None if matches!(frame.body, Body::Ceded(_)) => return,
                // Whoever was not heard yet hears what is said to all.
                None => GROUP,
            },
        };
        let (speaker, key) = voice.speak();
        let view = &self.view;
        let sent = |bytes: &[u8]| match segment.peers.send(bytes) {
            Ok(()) => view.sent(),
            Err(error) => {
                view.unsent();
                tracing::trace!(ifindex, %error, "a frame was not sent");
            }
        };
        let frame = convert::said(frame);
        if let Err(error) = speaker.say(&frame, destination, segment.mac, key, sent) {
            tracing::debug!(ifindex, %error, "a frame cannot be said");
        }
    }

    /// Asks a silent node for something it would answer for, if it lived.
    fn ask(&mut self, ifindex: IfIndex, node: &NodeName, now: Now) {
        let (Some(segment), Some(whereabouts)) =
            (self.segments.get(&ifindex), self.nodes.get(node))
        else {
            return;
        };
        let heard = segment.heard_from.get(node);
        let Some(mac) = heard.or_else(|| whereabouts.macs.first()).copied() else {
            return;
        };
        for address in &whereabouts.addresses {
            let asked = Asked::Node(node.clone(), mac);
            self.questions.note(ifindex, *address, asked, now);
            let mut out = buffer();
            let length = questions::write(*address, segment.mac, mac, &mut out);
            // A question that does not leave is not answered, which proves nothing.
            let _ = segment.peers.send(&out[..length]);
        }
    }

    fn ask_witness(&mut self, ifindex: IfIndex, now: Now) {
        let Some(segment) = self.segments.get(&ifindex) else {
            return;
        };
        let routes = std::fs::read_to_string("/proc/thread-self/net/route").unwrap_or_default();
        let Some(router) = questions::router(&routes, &name_of(ifindex)) else {
            return;
        };
        self.questions
            .note(ifindex, router.into(), Asked::Witness, now);
        let mut out = buffer();
        let length = questions::write(router.into(), segment.mac, Mac::BROADCAST, &mut out);
        let _ = segment.peers.send(&out[..length]);
    }

    fn receive(&mut self) {
        let indexes: Vec<IfIndex> = self.segments.keys().copied().collect();
        let mut frame = [0; FRAME];
        for ifindex in indexes {
            for socket in 0..3 {
                for turn in 1..=BATCH {
                    let Some(segment) = self.segments.get_mut(&ifindex) else {
                        break;
                    };
                    if segment.rests_until > clock::now() {
                        break;
                    }
                    let from = segment.sockets().nth(socket);
                    let Some(length) = from.and_then(|from| read(from, ifindex, &mut frame)) else {
                        break;
                    };
                    if turn == BATCH {
                        segment.rests_until = clock::now() + REST;
                    }
                    if socket == 0 {
                        self.hear(ifindex, &frame[..length]);
                    } else {
                        self.hear_answer(ifindex, &frame[..length]);
                    }
                }
            }
        }
    }

    fn hear_answer(&mut self, ifindex: IfIndex, bytes: &[u8]) {
        let answered = self.questions.answered(ifindex, bytes, clock::now());
        match answered {
            Some(Asked::Node(node, _)) => self.learn(Event::Answered(ifindex, node)),
            Some(Asked::Witness) => self.learn(Event::Witnessed(ifindex)),
            None => {}
        }
    }

    fn hear(&mut self, ifindex: IfIndex, bytes: &[u8]) {
        let (Some(voice), Some(segment)) = (&mut self.voice, self.segments.get_mut(&ifindex))
        else {
            return;
        };
        let now = clock::now();
        match voice.listener.hear(ifindex, segment.mac, bytes, now) {
            Ok(frame) => {
                self.view.heard();
                let frame = convert::heard(frame);
                if let Some(mac) = source(bytes).filter(|_| frame.node != self.me) {
                    let before = segment.heard_from.insert(frame.node.clone(), mac);
                    if before != Some(mac) {
                        self.say_who_is_heard();
                    }
                }
                self.learn(Event::Heard(ifindex, frame));
            }
            Err(reason) => {
                self.view.refused(reason);
                if reason == Refusal::Flood {
                    segment.rests_until = now + REST;
                }
                // It speaks, and so it lives, whatever it says.
                if let Some(mac) = source(bytes).filter(|_| reason.shows_life())
                    && let Some(node) = self.node_of(ifindex, mac)
                {
                    self.learn(Event::Refused(ifindex, node));
                }
            }
        }
    }

    /// Tells the brain by which Ethernet addresses peers were heard, if that is news. Without keys nobody is.
    fn say_who_is_heard(&mut self) {
        let segments = self.segments.values();
        let macs = segments.flat_map(|segment| segment.heard_from.values().copied());
        let heard = self.voice.is_some().then(|| macs.collect());
        if heard != self.heard_from {
            self.heard_from.clone_from(&heard);
            // The announcer ending, nobody needs to know.
            drop(self.agent.send(Input::HeardFrom(heard)));
        }
    }

    fn node_of(&self, ifindex: IfIndex, mac: Mac) -> Option<NodeName> {
        let heard = &self.segments.get(&ifindex)?.heard_from;
        let heard = heard.iter().find(|(_, known)| **known == mac);
        let published = || {
            let mut nodes = self.nodes.iter();
            nodes.find(|(_, whereabouts)| whereabouts.macs.contains(&mac))
        };
        heard
            .map(|(node, _)| node)
            .or_else(|| published().map(|(node, _)| node))
            .cloned()
    }

    /// False when it is time to end.
    fn take_commands(&mut self, commands: &Receiver<Command>, ear: &UnixStream) -> bool {
        let mut rings = [0; 64];
        while matches!((&*ear).read(&mut rings), Ok(1..)) {}
        loop {
            match commands.try_recv() {
                Ok(Command::Learn(event)) => self.learn(event),
                Ok(Command::Deadline { session, allowed }) => {
                    (self.deadline, self.told_at) = (session.max(allowed), clock::now());
                    let allowed = allowed.max(session.min(self.told_at + STUCK));
                    self.learn(Event::Allowed(allowed));
                }
                Ok(Command::Segments(segments)) => {
                    self.asked_for = segments;
                    self.retry_at = Some(Now::ZERO);
                }
                Ok(Command::Nodes(nodes)) => {
                    for segment in self.segments.values_mut() {
                        segment
                            .heard_from
                            .retain(|node, _| nodes.contains_key(node));
                    }
                    self.nodes = nodes;
                    self.say_who_is_heard();
                }
                Ok(Command::Keys(cluster, keys)) => {
                    match &mut self.voice {
                        Some(voice) => voice.set_keys(*keys, &self.others),
                        None => self.voice = Some(Voice::new(cluster, *keys, &self.others)),
                    }
                    self.retry_at = Some(Now::ZERO);
                    self.say_who_is_heard();
                }
                Ok(Command::Others(others)) => {
                    self.others = others;
                    if let Some(voice) = &mut self.voice {
                        voice.choose(&self.others);
                    }
                }
                Err(TryRecvError::Disconnected) => return false,
                Err(TryRecvError::Empty) => return true,
            }
        }
    }

    /// Brings the sockets into line with the interfaces asked for; tells the machine which there are.
    fn reopen(&mut self) {
        if self.retry_at.is_none_or(|at| clock::now() < at) || self.voice.is_none() {
            return;
        }
        self.retry_at = None;
        self.problems.clear();
        let asked_for = &self.asked_for;
        self.segments
            .retain(|ifindex, segment| asked_for.get(ifindex) == Some(&segment.mac));
        for (&ifindex, &mac) in asked_for {
            if self.segments.contains_key(&ifindex) {
                continue;
            }
            match Segment::open(ifindex, mac) {
                Ok(segment) => drop(self.segments.insert(ifindex, segment)),
                Err(error) => {
                    let problem = format!("no heartbeats on interface {ifindex}: {error}");
                    self.problems.push(problem);
                    self.retry_at = Some(clock::now() + RETRY);
                }
            }
        }
        if let Some(voice) = &mut self.voice {
            let segments = &self.segments;
            voice
                .listener
                .retain(|ifindex| segments.contains_key(&ifindex));
        }
        let indexes = self.segments.keys().copied().collect();
        self.learn(Event::Segments(indexes));
    }

    fn show(&mut self, priority: Priority) {
        let now = clock::now();
        if now < self.shown_at + SHOWN {
            return;
        }
        self.shown_at = now;
        let interval = self.look_at_interval();
        let heard = self.machine.heard().into_iter();
        self.view.show(PeersStatus {
            speaks: self.voice.is_some(),
            stuck: self.is_stuck(now),
            priority,
            late: std::mem::take(&mut self.late),
            asked_interval: self.interval,
            interval,
            heard: heard
                .map(|(segment, sessions)| (name_of(segment), sessions.into_iter().collect()))
                .collect(),
            namesake_beats: self.machine.by_own_name().heard,
            copied_beats: self.machine.by_own_name().copied,
            problems: self.problems.clone(),
        });
    }

    /// Beats that are further apart than was asked for are worth a word, once.
    fn look_at_interval(&mut self) -> Duration {
        let interval = self.machine.interval();
        let is_stretched = interval > self.interval;
        if is_stretched && !self.told_of_interval {
            tracing::info!(asked = ?self.interval, ?interval, "beats are further apart than asked for: {STRETCHED}");
        }
        self.told_of_interval |= is_stretched;
        interval
    }
}

fn name_of(ifindex: IfIndex) -> String {
    let name = nix::net::if_::if_indextoname(ifindex);
    name.map_or_else(
        |_| format!("#{ifindex}"),
        |name| name.to_string_lossy().into_owned(),
    )
}

/// A frame that is there already.
fn read(socket: &PeerSocket, ifindex: IfIndex, frame: &mut [u8]) -> Option<usize> {
    match socket.receive(frame) {
        Ok(length) => length,
        Err(error) => {
            tracing::debug!(ifindex, %error, "reading a frame of a peer failed");
            None
        }
    }
}
