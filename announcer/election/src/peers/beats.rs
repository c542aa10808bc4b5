//! Beats out and frames in.

use std::time::Duration;

use super::frame::{ACKNOWLEDGEMENTS, Beat, Body, Fenced, Frame, Heard, Kind, Suspect};
use super::link::{Link, Phase};
use super::pace::discovery;
use super::strangers::Sign;
use super::{Action, OwnEnd, Peers, Proof, Report, SegmentId, To};
use crate::Now;
use crate::names::{NodeName, SessionId};

/// Nobody who beats more seldom is forgiven three beats.
const SLOWEST: Duration = Duration::from_secs(1);
/// Beats whose time of sending is remembered.
const SENT: usize = 64;

impl Peers {
    pub(super) fn tick(&mut self, now: Now, out: &mut Vec<Action>) {
        let due: Vec<Fenced> = {
            let (due, later) = std::mem::take(&mut self.repeats)
                .into_iter()
                .partition(|(at, _)| *at <= now);
            self.repeats = later;
            let due: Vec<(Now, Fenced)> = due;
            due.into_iter().map(|(_, fenced)| fenced).collect()
        };
        for fenced in due {
            self.say(&To::All, &Body::Fenced(fenced), out);
        }
        if now >= self.beat_at {
            self.turn(now, out);
        }
    }

    /// One beat on every segment.
    fn turn(&mut self, now: Now, out: &mut Vec<Action>) {
        let known = self.known.len();
        let mut ends = Vec::new();
        for (id, segment) in &mut self.segments {
            segment.sweep(&self.settings, now);
            let dropped = segment.retarget(&self.me, &self.settings, known, now);
            ends.extend(dropped.into_iter().map(|node| (*id, node)));
        }
        let interval = self.interval();
        let gap = self
            .lateness
            .turn(now, interval, self.settings.longest_window);
        let was_late = gap > interval * 2;
        if was_late {
            self.forgive(now);
        }
        // No catching up: a turn that was missed is missed.
        let next = self.beat_at + interval;
        self.beat_at = if next > now { next } else { now + interval };
        if self.session.is_none() {
            return;
        }
        self.note_who_hears(now);
        self.look_who_hears(was_late, now, out);
        self.sequence += 1;
        self.sent.push_back((self.sequence, now));
        if self.sent.len() > SENT {
            self.sent.pop_front();
        }
        for (id, node) in ends {
            self.report_unwatched(&node, out);
            self.send_beat(id, To::Node(node), Kind::End, Vec::new(), now, out);
        }
        let ids: Vec<SegmentId> = self.segments.keys().copied().collect();
        for id in ids {
            self.beat(id, known, now, out);
        }
    }

    /// We were late, and so may be the frames that wait for us: what we missed is not held against others.
    fn forgive(&mut self, now: Now) {
        for segment in self.segments.values_mut() {
            for link in segment.links.values_mut().filter(|link| link.is_up()) {
                link.forgiven_until = now + link.window;
            }
        }
    }

    fn beat(&mut self, id: SegmentId, known: usize, now: Now, out: &mut Vec<Action>) {
        let crowd = self.crowd();
        let Some(segment) = self.segments.get_mut(&id) else {
            return;
        };
        let mut beats = Vec::new();
        let name = |link: &Link| Heard {
            session: link.session.clone(),
            sequence: link.sequence,
        };
        if segment.is_small(&self.settings, known) {
            // Who is heard no more is not named: a node whose sending side is dead learns it from that.
            let heard = segment
                .targets
                .iter()
                .filter_map(|node| segment.links.get(node))
                .filter(|link| link.is_heard(now))
                .map(name);
            beats.push((To::All, Kind::Watch, heard.take(ACKNOWLEDGEMENTS).collect()));
        } else {
            for (node, link) in segment
                .targets
                .iter()
                .filter_map(|node| segment.links.get_key_value(node))
            {
                beats.push((To::Node(node.clone()), Kind::Watch, vec![name(link)]));
            }
            if now >= segment.discover_at {
                segment.discover_at = now + discovery(crowd);
                beats.push((To::All, Kind::Discovery, Vec::new()));
            }
        }
        for (to, kind, heard) in beats {
            self.send_beat(id, to, kind, heard, now, out);
        }
    }

    pub(super) fn send_beat(
        &self,
        id: SegmentId,
        to: To,
        kind: Kind,
        heard: Vec<Heard>,
        now: Now,
        out: &mut Vec<Action>,
    ) {
        let Some(session) = &self.session else {
            return;
        };
        let beat = Beat {
            sequence: self.sequence,
            interval: self.interval(),
            window: self.window(),
            kind,
            flags: self.flags,
            heard,
            ended: self.tombstones.listed(now),
        };
        let frame = Frame {
            node: self.me.clone(),
            session: session.clone(),
            body: Body::Beat(beat),
        };
        out.push(Action::Send(id, to, frame));
    }

    pub(super) fn take(&mut self, id: SegmentId, frame: Frame, now: Now, out: &mut Vec<Action>) {
        if frame.node == self.me {
            if let Body::Beat(beat) = &frame.body
                && let Some(sign) = self.strangers.hear(&frame.session, beat.sequence)
            {
                out.push(Action::Report(Report::SameName {
                    session: frame.session,
                    lives: sign == Sign::Lives,
                }));
            }
            return;
        }
        if self.tombstones.contains(&frame.session) {
            if matches!(&frame.body, Body::Fenced(fenced) if fenced.session == frame.session) {
                // It knows.
                return;
            }
            return self.tell_the_dead(id, &frame, now, out);
        }
        match frame.body {
            Body::Beat(beat) => self.hear_beat(id, frame.node, frame.session, &beat, now, out),
            Body::Suspect(suspects) => self.hear_suspects(id, &frame.node, &suspects, now, out),
            Body::Veto(suspects) => {
                for suspect in suspects {
                    let held = self.suspicions.get(&suspect.node);
                    if held.is_some_and(|held| {
                        held.session == suspect.session && suspect.sequence >= held.sequence
                    }) {
                        self.veto(&suspect.node, Proof::Fellow, now, out);
                    }
                }
            }
            Body::Fenced(fenced) => self.end(fenced, now, out),
            Body::Claims(titles) => {
                out.push(Action::Report(Report::Claims(
                    frame.node,
                    frame.session,
                    titles,
                )));
            }
            Body::Moves(moves) => out.push(Action::Report(Report::Moves(
                frame.node,
                frame.session,
                moves,
            ))),
            Body::Ceded(moves) => out.push(Action::Report(Report::Ceded(
                frame.node,
                frame.session,
                moves,
            ))),
        }
    }

    fn tell_the_dead(&mut self, id: SegmentId, frame: &Frame, now: Now, out: &mut Vec<Action>) {
        let (Some(session), Some(written)) = (
            self.session.clone(),
            self.tombstones
                .tell(&frame.session, self.settings.interval, now),
        ) else {
            return;
        };
        let fenced = Fenced {
            node: frame.node.clone(),
            session: frame.session.clone(),
            by: self.me.clone(),
            written,
        };
        let answer = Frame {
            node: self.me.clone(),
            session,
            body: Body::Fenced(fenced),
        };
        out.push(Action::Send(id, To::Node(frame.node.clone()), answer));
    }

    fn hear_beat(
        &mut self,
        id: SegmentId,
        node: NodeName,
        session: SessionId,
        beat: &Beat,
        now: Now,
        out: &mut Vec<Action>,
    ) {
        self.read_tombstones(&node, beat, now, out);
        if self.tombstones.contains(&session) {
            // It says so of itself.
            return;
        }
        let Some(own) = self.session.clone() else {
            return;
        };
        let named = beat.heard.iter().find(|heard| heard.session == own);
        if named.is_some_and(|heard| heard.sequence > self.sequence) {
            return self.lose(OwnEnd::Copy, out);
        }
        let acked = named.and_then(|heard| {
            self.sent
                .iter()
                .find(|(sequence, _)| *sequence == heard.sequence)
        });
        let acked = acked.map(|(_, at)| *at);
        let Some(segment) = self.segments.get_mut(&id) else {
            return;
        };
        let names_all = segment.is_small(&self.settings, self.known.len());
        let link = match segment.links.entry(node.clone()) {
            std::collections::btree_map::Entry::Vacant(entry) => {
                segment.changed = true;
                entry.insert(Link::new(session.clone(), beat, now))
            }
            std::collections::btree_map::Entry::Occupied(entry) => {
                let link = entry.into_mut();
                if link.session != session {
                    if link.is_up() && !link.flags.leaving {
                        // Two speak by one name. The one that is heard both ways counts until it is silent.
                        return;
                    }
                    *link = Link::new(session.clone(), beat, now);
                }
                link
            }
        };
        if beat.sequence < link.sequence {
            return;
        }
        let slept = link.is_up() && link.tells_of_a_pause(beat, now);
        let flags_changed = link.flags.differ(&beat.flags);
        if named.is_some() {
            link.unnamed = 0;
        } else if names_all && beat.kind == Kind::Watch && beat.sequence > link.sequence {
            // One that comes by two ways counts once, and one way that names us is enough.
            link.unnamed = link.unnamed.saturating_add(1);
        }
        link.sequence = beat.sequence;
        link.heard_at = now;
        link.interval = beat.interval;
        let slow = beat.interval.min(SLOWEST) * 3;
        link.window = beat.window.min(self.settings.longest_window.max(slow));
        link.flags = beat.flags;
        // A poll is no watch: nobody who was merely asked may fall silent.
        let watches = beat.kind == Kind::Watch && named.is_some();
        if watches {
            link.named_at = Some(now);
            link.acked = link.acked.max(acked);
            if let Some(at) = acked {
                self.permit.acknowledged(at);
            }
        }
        let (up_before, was_silent) = (link.is_up(), link.phase == Phase::Silent);
        let ends = beat.kind == Kind::End && link.phase != Phase::Distant;
        if beat.kind == Kind::End {
            link.phase = Phase::Distant;
            link.named_at = None;
        } else if watches && link.would_be_up(now) {
            link.phase = Phase::Up;
        }
        let comes_up = !up_before && link.is_up();
        if comes_up {
            segment.targets.insert(node.clone());
            self.due_at = link
                .deadline()
                .map_or(self.due_at, |deadline| self.due_at.min(deadline));
        }
        let answer = Heard {
            session: session.clone(),
            sequence: beat.sequence,
        };
        let lives = beat.kind == Kind::Final && acked.is_some();
        if lives
            && let Some(census) = &mut segment.census
            && census.asked.contains(&node)
        {
            census.answered.insert(node.clone());
        }
        if slept {
            self.permit.lapse(now);
            self.wrongs.lapse();
        }
        if ends {
            self.report_unwatched(&node, out);
        }
        if comes_up {
            self.come_up(&node, session, was_silent, out);
        }
        if up_before && flags_changed || comes_up {
            out.push(Action::Report(Report::Flags(node.clone(), beat.flags)));
        }
        if lives {
            // The suspect itself, on another segment.
            self.veto(&node, Proof::Fellow, now, out);
        }
        if beat.kind == Kind::Poll {
            self.send_beat(id, To::Node(node), Kind::Final, vec![answer], now, out);
        }
    }

    /// A watch ended by word, here or there.
    fn report_unwatched(&mut self, node: &NodeName, out: &mut Vec<Action>) {
        let mut links = self
            .segments
            .values()
            .filter_map(|segment| segment.links.get(node));
        if links.clone().any(Link::is_up) {
            return;
        }
        if let Some(link) = links.next() {
            let (node, session) = (node.clone(), link.session.clone());
            self.suspicions.remove(&node);
            out.push(Action::Report(Report::Unwatched { node, session }));
        }
    }

    fn come_up(
        &mut self,
        node: &NodeName,
        session: SessionId,
        merged: bool,
        out: &mut Vec<Action>,
    ) {
        self.suspicions.remove(node);
        self.words.forget(&session);
        out.push(Action::Report(Report::Up {
            node: node.clone(),
            session,
            merged,
        }));
    }

    /// A session that a peer lists as over is over, our own too.
    fn read_tombstones(&mut self, by: &NodeName, beat: &Beat, now: Now, out: &mut Vec<Action>) {
        for session in &beat.ended {
            if self.tombstones.contains(session) {
                continue;
            }
            if self.session.as_ref() == Some(session) {
                if self.wrongs.ignores(&self.me, by, now) {
                    continue;
                }
                self.tombstones.insert(session.clone(), false, now);
                // A list may be passed on: it does not say who ended what.
                let (by, wrongly) = (None, false);
                self.lose(OwnEnd::Fenced { by, wrongly }, out);
                continue;
            }
            let linked = self
                .segments
                .values()
                .flat_map(|segment| &segment.links)
                .find_map(|(node, link)| (link.session == *session).then(|| node.clone()));
            let known = || {
                self.known
                    .iter()
                    .find_map(|(node, known)| (known == session).then(|| node.clone()))
            };
            match linked.or_else(known) {
                Some(node) => {
                    let fenced = Fenced {
                        node,
                        session: session.clone(),
                        by: by.clone(),
                        written: false,
                    };
                    self.end(fenced, now, out);
                }
                None => {
                    self.tombstones.insert(session.clone(), false, now);
                }
            }
        }
    }

    fn hear_suspects(
        &mut self,
        id: SegmentId,
        by: &NodeName,
        suspects: &[Suspect],
        now: Now,
        out: &mut Vec<Action>,
    ) {
        let mut vetoes = Vec::new();
        for suspect in suspects {
            if suspect.node == self.me {
                // A word of its own; of a process that may still answer, or it would be a lie.
                if self.session.as_ref() == Some(&suspect.session) && now < self.permit.until {
                    vetoes.push(Suspect {
                        sequence: self.sequence,
                        ..suspect.clone()
                    });
                }
                continue;
            }
            let heard = self
                .segments
                .values()
                .filter_map(|segment| segment.links.get(&suspect.node))
                .filter(|link| {
                    link.session == suspect.session && link.is_up() && link.would_be_up(now)
                })
                .map(|link| (link.sequence, link.is_fresh(now)))
                .max();
            match heard {
                Some((sequence, fresh)) if fresh || sequence > suspect.sequence => {
                    vetoes.push(Suspect {
                        sequence,
                        ..suspect.clone()
                    });
                }
                // Not more than the one who asks: our own timer says soon.
                Some(_) | None => self.words.silent(&suspect.session, by.clone(), now),
            }
        }
        if let (false, Some(session)) = (vetoes.is_empty(), self.session.clone()) {
            for part in Body::Veto(vetoes).parts() {
                let frame = Frame {
                    node: self.me.clone(),
                    session: session.clone(),
                    body: part,
                };
                out.push(Action::Send(id, To::Node(by.clone()), frame));
            }
        }
    }
}
