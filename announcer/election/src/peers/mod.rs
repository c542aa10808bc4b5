//! The fast half of the election: heartbeats, silence, fences and the permit to answer.
//!
//! ```text
//!   frames, answers ─┐                              ┌─► beats, words, questions
//!   own session ─────┼─► Peers::observe(event, now) ┼─► fences
//!   progress words ──┘              │               └─► reports to the record half
//!                                   └─► permit(): until when this node may answer
//! ```
//!
//! It knows sessions and segments, no addresses. It is not a consensus protocol: a fence is one write at the API server,
//! and agreement of the peers only where that write takes longer than [`Settings::fence`].
//!
//! # Invariant
//! A session is ended by silence only if this node heard it both ways, if no fellow watcher hears it, if it leaves a
//! question to its own MAC unanswered, and if more than half of the segment's remembered members are on this node's side
//! (of exactly half: if a router is reached). A process that was paused, starved, deaf or mute loses its
//! permit by itself, within one window of its last beat or three of the last that was acknowledged, and has it back only
//! after a look at its own session.
//!
//! What is left: a machine whose clock stood still answers for at most one window of its own time, until a peer's
//! sequence or a tombstone tells it.

mod beats;
mod concession;
mod event;
mod frame;
mod judge;
mod lateness;
mod link;
mod loss;
mod pace;
mod permit;
pub(crate) mod ring;
mod segment;
mod strangers;
mod suspicion;
#[cfg(test)]
mod tests;
mod tombstones;
mod wrongs;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

pub use event::{Action, Event, Known, OwnEnd, Proof, Report, SegmentId, To};
pub use frame::{
    ACKNOWLEDGEMENTS, Beat, Body, Fenced, Flags, Frame, Heard, ITEMS, Kind, Move, Suspect,
    TOMBSTONES, Title,
};
pub use strangers::OwnName;

use self::lateness::Lateness;
use self::permit::Permit;
use self::segment::Segment;
use self::strangers::Strangers;
use self::suspicion::{Suspicion, Words};
use self::tombstones::Tombstones;
use self::wrongs::Wrongs;
use crate::Now;
use crate::names::{NodeName, SessionId};

/// How long a node that wrongly ended a session is not believed about that session's node.
pub const DISTRUST: Duration = Duration::from_secs(60);

/// No node sends or hears more than two hundred frames a second; a tenth less by its own clock, for others may run faster.
const FRAMES: usize = 180;

/// The times the fast half goes by.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Between two beats.
    pub interval: Duration,
    /// The longest window a node may ask for.
    pub longest_window: Duration,
    /// How long fellow watchers are waited for.
    pub words: Duration,
    /// How long an answer to the question is waited for if all fellows have spoken.
    pub question: Duration,
    /// How long a fence may take before the peers' agreement counts.
    pub fence: Duration,
    /// Between two watchers that would fence the same session.
    pub stagger: Duration,
    /// After a veto, until the next suspicion.
    pub rest: Duration,
    /// How long a member is remembered that is not heard any more.
    pub memory: Duration,
    /// How long beats list an ended session: two session lengths.
    pub tombstones: Duration,
    /// Fewer nodes than this on a segment watch each other all, by multicast.
    pub everybody: usize,
    /// Frames a second that a node sends or hears at most, all segments together; to keep to that it beats more slowly.
    pub frames: usize,
    /// How long fewer than half must hear this node before it says so.
    pub few_after: Duration,
    /// How long a node that wrongly ended a session is not believed about that session's node.
    pub distrust: Duration,
    /// How old a progress word may be.
    pub progress: Duration,
    /// How long a look at one's own session counts where no beat is acknowledged.
    pub confirmation: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            interval: Duration::from_millis(50),
            longest_window: Duration::from_secs(1),
            words: Duration::from_millis(30),
            question: Duration::from_millis(15),
            fence: Duration::from_millis(50),
            stagger: Duration::from_millis(30),
            rest: Duration::from_secs(1),
            memory: Duration::from_secs(300),
            tombstones: Duration::from_secs(30),
            everybody: 10,
            frames: FRAMES,
            few_after: Duration::from_secs(1),
            distrust: DISTRUST,
            progress: Duration::from_secs(1),
            confirmation: Duration::from_secs(1),
        }
    }
}

/// One node's view of its peers.
#[derive(Clone, Debug)]
pub struct Peers {
    me: NodeName,
    settings: Settings,
    session: Option<SessionId>,
    sequence: u64,
    /// When the last beats were sent.
    sent: VecDeque<(u64, Now)>,
    beat_at: Now,
    /// When the first thing is due, as of the last turn; what was heard since can only put it off.
    due_at: Now,
    lateness: Lateness,
    flags: Flags,
    /// Whether it was reported that few hear this node.
    lost: bool,
    known: BTreeMap<NodeName, SessionId>,
    segments: BTreeMap<SegmentId, Segment>,
    suspicions: BTreeMap<NodeName, Suspicion>,
    words: Words,
    tombstones: Tombstones,
    /// Ends of sessions that are said again.
    repeats: Vec<(Now, Fenced)>,
    permit: Permit,
    wrongs: Wrongs,
    strangers: Strangers,
    /// The session this node spoke for before it heard that it was over, how often it has said so, and when last.
    conceded: Option<(SessionId, u32, Now)>,
}

/// How many times in all the end of a session is said.
const TOLD: u32 = 3;

impl Peers {
    /// A node that has heard nothing yet.
    pub fn new(me: NodeName, settings: Settings) -> Self {
        Self {
            me,
            settings,
            session: None,
            sequence: 0,
            sent: VecDeque::new(),
            beat_at: Duration::ZERO,
            due_at: Duration::ZERO,
            lateness: Lateness::default(),
            flags: Flags::default(),
            lost: false,
            known: BTreeMap::new(),
            segments: BTreeMap::new(),
            suspicions: BTreeMap::new(),
            words: Words::default(),
            tombstones: Tombstones::new(settings.tombstones),
            repeats: Vec::new(),
            permit: Permit::default(),
            wrongs: Wrongs::default(),
            strangers: Strangers::default(),
            conceded: None,
        }
    }

    /// Takes one event in and says what to do.
    pub fn observe(&mut self, event: Event, now: Now, out: &mut Vec<Action>) {
        // Before anything that would renew the permit: a process that slept must notice first.
        self.notice_lapse(now);
        // A frame alone makes nothing overdue.
        let idle =
            matches!(event, Event::Heard(..)) && now < self.due_at && self.suspicions.is_empty();
        match event {
            Event::Tick => self.tick(now, out),
            Event::Began(session, at) => self.begin(session, at, out),
            Event::Lost => self.session = None,
            Event::Taken { by, since } => self.taken(by, since, now, out),
            Event::Wronged { node, by } => {
                self.wrongs.ignore(node, by, now, self.settings.distrust);
            }
            Event::Confirmed(session, at) => {
                if self.session.as_ref() == Some(&session) {
                    self.permit.confirmed(at);
                }
            }
            Event::Allowed(until) => self.permit.allowed = until,
            Event::Progress(at) => self.permit.responder = self.permit.responder.max(at),
            Event::Known(known) => self.take_known(known),
            Event::Flags(flags) => {
                self.flags = Flags {
                    few_hear: self.flags.few_hear,
                    ..flags
                }
            }
            Event::Segments(ids) => self.take_segments(&ids, now, out),
            Event::Heard(segment, frame) => self.hear(segment, frame, now, out),
            Event::Refused(_, node) => self.veto(&node, Proof::Refused, now, out),
            Event::Answered(_, node) => self.veto(&node, Proof::Answer, now, out),
            Event::Witnessed(segment) => {
                if let Some(segment) = self.segments.get_mut(&segment) {
                    segment.witnessed_at = Some(now);
                }
            }
            Event::Ended(fenced) => self.end(fenced, now, out),
            Event::Say(to, body) => self.say(&to, &body, out),
        }
        if !idle || !self.suspicions.is_empty() {
            self.judge(now, out);
            self.due_at = self.next_due();
        }
        self.renew_permit(now, out);
    }

    /// When to be told of the time.
    pub const fn wake_at(&self) -> Now {
        self.due_at
    }

    fn next_due(&self) -> Now {
        if self.session.is_none() {
            // It listens only, and judges nobody.
            return self.beat_at;
        }
        let links = self
            .segments
            .values()
            .flat_map(|segment| {
                segment
                    .targets
                    .iter()
                    .filter_map(|node| segment.links.get(node))
            })
            .filter_map(link::Link::deadline);
        let suspicions = self.suspicions.values().filter_map(Suspicion::wake_at);
        let repeats = self.repeats.iter().map(|(at, _)| *at);
        links
            .chain(suspicions)
            .chain(repeats)
            .fold(self.beat_at, Now::min)
    }

    /// Until when this node may answer, as far as is known now.
    pub const fn permit(&self) -> Now {
        self.permit.until
    }

    /// The session this node speaks for.
    pub const fn session(&self) -> Option<&SessionId> {
        self.session.as_ref()
    }

    /// Nodes heard both ways, by segment.
    pub fn heard(&self) -> BTreeMap<SegmentId, Vec<(NodeName, SessionId)>> {
        self.segments
            .iter()
            .map(|(id, segment)| {
                let up = segment.members().filter(|(_, link)| link.is_up());
                (
                    *id,
                    up.map(|(node, link)| (node.clone(), link.session.clone()))
                        .collect(),
                )
            })
            .collect()
    }

    /// Beats heard by this node's own name.
    pub const fn by_own_name(&self) -> OwnName {
        self.strangers.counts
    }

    fn begin(&mut self, session: SessionId, at: Now, out: &mut Vec<Action>) {
        self.strangers.begin(session.clone());
        self.session = Some(session);
        self.permit.began(at);
        let heard: BTreeSet<(NodeName, SessionId)> = self.heard().into_values().flatten().collect();
        for (node, session) in heard {
            out.push(Action::Report(Report::Unwatched { node, session }));
        }
        for segment in self.segments.values_mut() {
            for link in segment.links.values_mut() {
                // What they acknowledged was another's.
                link.acked = None;
                link.named_at = None;
                link.phase = link::Phase::Distant;
            }
        }
        self.suspicions.clear();
    }

    fn take_known(&mut self, known: Vec<Known>) {
        self.known = known
            .into_iter()
            .filter(|known| known.node != self.me)
            .map(|known| (known.node, known.session))
            .collect();
        self.let_go_who_left();
    }

    /// Who was heard on segments alone that are no more is heard nowhere: its Lease tells of it from then on.
    fn take_segments(&mut self, ids: &[SegmentId], now: Now, out: &mut Vec<Action>) {
        let heard = |peers: &Self| -> BTreeSet<(NodeName, SessionId)> {
            peers.heard().into_values().flatten().collect()
        };
        let before = heard(self);
        self.segments.retain(|id, _| ids.contains(id));
        for (node, session) in &before - &heard(self) {
            out.push(Action::Report(Report::Unwatched { node, session }));
        }
        for id in ids {
            self.segments
                .entry(*id)
                .or_insert_with(|| Segment::new(now));
        }
    }

    fn say(&self, to: &To, body: &Body, out: &mut Vec<Action>) {
        let Some(session) = &self.session else {
            return;
        };
        let frame = |body: Body| Frame {
            node: self.me.clone(),
            session: session.clone(),
            body,
        };
        for id in self.reach(to) {
            for part in body.parts() {
                out.push(Action::Send(id, to.clone(), frame(part)));
            }
        }
    }

    /// The segments by which somebody is reached; all for all.
    fn reach(&self, to: &To) -> Vec<SegmentId> {
        let hears = |segment: &Segment| match to {
            To::All => true,
            To::Node(node) => segment.links.contains_key(node),
        };
        self.segments
            .iter()
            .filter(|(_, segment)| hears(segment))
            .map(|(id, _)| *id)
            .collect()
    }

    /// The Lease of the own session was emptied.
    fn taken(&mut self, by: NodeName, since: Now, now: Now, out: &mut Vec<Action>) {
        let Some(session) = self.session.clone() else {
            return;
        };
        self.tombstones.insert(session, true, now);
        let wrongly = self.was_wrong(&by, since, now);
        let by = Some(by);
        self.lose(OwnEnd::Fenced { by, wrongly }, out);
    }

    /// A session is over: nobody is to acknowledge it any more, all are to know.
    fn end(&mut self, fenced: Fenced, now: Now, out: &mut Vec<Action>) {
        if fenced.by != self.me && self.wrongs.ignores(&fenced.node, &fenced.by, now) {
            return;
        }
        if self.session.as_ref() == Some(&fenced.session) {
            self.tombstones.insert(fenced.session, fenced.written, now);
            // Whoever ends a session for its silence has not heard it for longer than any window.
            let since = now.saturating_sub(self.settings.longest_window);
            let wrongly = self.was_wrong(&fenced.by, since, now);
            let by = Some(fenced.by);
            return self.lose(OwnEnd::Fenced { by, wrongly }, out);
        }
        if !self
            .tombstones
            .insert(fenced.session.clone(), fenced.written, now)
        {
            return;
        }
        let links = self.segments.values().filter_map(|segment| {
            let link = segment.links.get(&fenced.node)?;
            (link.session == fenced.session).then_some(link)
        });
        let heard_at = links.clone().map(|link| link.heard_at).max();
        let lives = links.clone().any(|link| link.is_up() && link.is_fresh(now));
        if lives {
            out.push(Action::Report(Report::EndedThoughHeard(
                fenced.node.clone(),
            )));
        }
        for segment in self.segments.values_mut() {
            if segment
                .links
                .get(&fenced.node)
                .is_some_and(|link| link.session == fenced.session)
            {
                segment.links.remove(&fenced.node);
                segment.targets.remove(&fenced.node);
                segment.bereaved = true;
            }
        }
        if self
            .suspicions
            .get(&fenced.node)
            .is_some_and(|suspicion| suspicion.session == fenced.session)
        {
            self.suspicions.remove(&fenced.node);
        }
        self.words.forget(&fenced.session);
        if self.known.get(&fenced.node) == Some(&fenced.session) {
            self.known.remove(&fenced.node);
        }
        out.push(Action::Report(Report::Ended(fenced.clone(), heard_at)));
        self.say(&To::All, &Body::Fenced(fenced.clone()), out);
        for again in 1..TOLD {
            self.repeats
                .push((now + self.settings.interval * again, fenced.clone()));
        }
    }

    /// Own session is over.
    fn lose(&mut self, end: OwnEnd, out: &mut Vec<Action>) {
        self.session = None;
        self.suspicions.clear();
        out.push(Action::Report(Report::OwnEnded(end)));
    }
}
