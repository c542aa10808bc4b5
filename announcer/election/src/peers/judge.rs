//! Judging silence: from a watch that runs out to a session that is over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::frame::{Body, Fenced, Frame, Heard, Kind, Suspect};
use super::link::{Link, Phase};
use super::segment::{Half, Side};
use super::suspicion::{Stage, Suspicion, rest};
use super::{Action, Peers, Proof, Report, SegmentId, To};
use crate::Now;
use crate::names::{NodeName, SessionId};
use crate::order::score;

impl Peers {
    pub(super) fn judge(&mut self, now: Now, out: &mut Vec<Action>) {
        if self.session.is_none() {
            return;
        }
        let fallen = self.fall_silent(now, out);
        let rested = self
            .suspicions
            .iter()
            .filter(|(_, suspicion)| match suspicion.stage {
                Stage::Resting { until } => until.is_some_and(|until| until <= now),
                _ => false,
            });
        let mut asked: BTreeSet<NodeName> = rested.map(|(node, _)| node.clone()).collect();
        asked.extend(fallen);
        if !asked.is_empty() {
            self.ask(&asked, now, out);
        }
        let due: Vec<NodeName> = self.suspicions.keys().cloned().collect();
        for node in due {
            self.proceed(&node, now, out);
        }
        self.look_who_watches();
    }

    /// Watches that ran out. Returns whose sessions are heard nowhere any more.
    fn fall_silent(&mut self, now: Now, out: &mut Vec<Action>) -> BTreeSet<NodeName> {
        let mut fallen = BTreeSet::new();
        for segment in self.segments.values_mut() {
            for node in &segment.targets {
                let Some(link) = segment.links.get_mut(node) else {
                    continue;
                };
                if link.deadline().is_none_or(|deadline| now < deadline) {
                    continue;
                }
                // One that said that it would go has gone if its session is over; else it may not have handed over all.
                let has_left = link.flags.leaving && self.known.get(node) != Some(&link.session);
                link.phase = match has_left {
                    true => Phase::Distant,
                    false => Phase::Silent,
                };
                fallen.insert(node.clone());
            }
        }
        fallen.retain(|node| {
            let mut links = self
                .segments
                .values()
                .filter_map(|segment| segment.links.get(node));
            !links.any(super::link::Link::is_up)
        });
        for node in &fallen {
            let session = self
                .segments
                .values()
                .find_map(|segment| segment.links.get(node))
                .map(|link| &link.session);
            if let Some(session) = session {
                out.push(Action::Report(Report::Down {
                    node: node.clone(),
                    session: session.clone(),
                }));
            }
        }
        fallen.retain(|node| {
            let mut links = self
                .segments
                .values()
                .filter_map(|segment| segment.links.get(node));
            links.any(|link| link.phase == Phase::Silent)
        });
        fallen
    }

    /// Opens suspicions, or opens them again: words to fellow watchers, the question, witness and census.
    fn ask(&mut self, nodes: &BTreeSet<NodeName>, now: Now, out: &mut Vec<Action>) {
        let mut said: BTreeMap<(SegmentId, To), Vec<Suspect>> = BTreeMap::new();
        let mut polls: BTreeSet<(SegmentId, NodeName)> = BTreeSet::new();
        let known = self.known.len();
        for node in nodes {
            let mut opened: Option<Suspicion> = None;
            for (id, segment) in &mut self.segments {
                let Some(link) = segment.links.get(node) else {
                    continue;
                };
                if link.phase != Phase::Silent {
                    // Seen here once: it may be heard here although nobody watches it.
                    polls.insert((*id, node.clone()));
                    continue;
                }
                let small = segment.is_small(&self.settings, known);
                let suspect = Suspect {
                    node: node.clone(),
                    session: link.session.clone(),
                    sequence: link.sequence,
                };
                let fellows: BTreeSet<NodeName> = if small {
                    let up = segment.members().filter(|(_, link)| link.is_up());
                    up.map(|(fellow, _)| fellow.clone()).collect()
                } else {
                    let others = std::iter::once(&self.me).chain(segment.links.keys());
                    let mut partners = super::ring::partners(node, others);
                    partners.remove(&self.me);
                    partners
                };
                let suspicion = opened.get_or_insert_with(|| Suspicion {
                    session: link.session.clone(),
                    sequence: link.sequence,
                    segments: BTreeSet::new(),
                    fellows: BTreeSet::new(),
                    stage: Stage::Asking {
                        since: now,
                        next: now + self.settings.question,
                    },
                    vetoed: false,
                });
                suspicion.sequence = suspicion.sequence.max(link.sequence);
                suspicion.segments.insert(*id);
                if small {
                    said.entry((*id, To::All)).or_default().push(suspect);
                } else {
                    for fellow in &fellows {
                        said.entry((*id, To::Node(fellow.clone())))
                            .or_default()
                            .push(suspect.clone());
                    }
                    let fresh = now.saturating_sub(self.settings.words);
                    polls.extend(
                        segment
                            .take_census(&self.me, fresh, now)
                            .into_iter()
                            .map(|node| (*id, node)),
                    );
                }
                suspicion.fellows.extend(fellows);
                out.push(Action::Ask(*id, node.clone()));
                if segment.side(small, |_, _| true) != Side::Majority {
                    out.push(Action::AskWitness(*id));
                }
            }
            match opened {
                Some(mut suspicion) => {
                    suspicion.vetoed = self
                        .suspicions
                        .get(node)
                        .is_some_and(|before| before.vetoed);
                    self.suspicions.insert(node.clone(), suspicion);
                }
                // The segment it was silent on is gone, or its watch ended.
                None => drop(self.suspicions.remove(node)),
            }
        }
        for ((id, to), suspects) in said {
            self.send_parts(id, &to, &Body::Suspect(suspects), out);
        }
        for (id, node) in polls {
            let link = self
                .segments
                .get(&id)
                .and_then(|segment| segment.links.get(&node));
            if let Some(link) = link {
                let heard = vec![Heard {
                    session: link.session.clone(),
                    sequence: link.sequence,
                }];
                self.send_beat(id, To::Node(node), Kind::Poll, heard, now, out);
            }
        }
    }

    fn send_parts(&self, id: SegmentId, to: &To, body: &Body, out: &mut Vec<Action>) {
        let Some(session) = &self.session else {
            return;
        };
        for part in body.parts() {
            let frame = Frame {
                node: self.me.clone(),
                session: session.clone(),
                body: part,
            };
            out.push(Action::Send(id, to.clone(), frame));
        }
    }

    /// Takes one suspicion as far as it can go now.
    fn proceed(&mut self, node: &NodeName, now: Now, out: &mut Vec<Action>) {
        let Some(suspicion) = self.suspicions.get(node) else {
            return;
        };
        let session = suspicion.session.clone();
        match suspicion.stage {
            Stage::Asking { since, next } => {
                let stage = self.weigh(node, suspicion, since, next, now);
                self.set_stage(node, stage);
                if matches!(stage, Stage::Turn { at } if at <= now) {
                    self.proceed(node, now, out);
                }
            }
            Stage::Turn { at } if at <= now => {
                self.set_stage(
                    node,
                    Stage::Fencing {
                        until: now + self.settings.fence,
                    },
                );
                out.push(Action::Fence {
                    node: node.clone(),
                    session,
                });
            }
            Stage::Fencing { until } if until <= now => {
                let by = self.me.clone();
                self.suspicions.remove(node);
                self.end(
                    Fenced {
                        node: node.clone(),
                        session,
                        by,
                        written: false,
                    },
                    now,
                    out,
                );
            }
            Stage::Turn { .. } | Stage::Fencing { .. } | Stage::Resting { .. } => {}
        }
    }

    fn set_stage(&mut self, node: &NodeName, stage: Stage) {
        if let Some(suspicion) = self.suspicions.get_mut(node) {
            suspicion.stage = stage;
        }
    }

    /// Whether enough was said, and asked in vain.
    fn weigh(
        &self,
        node: &NodeName,
        suspicion: &Suspicion,
        since: Now,
        next: Now,
        now: Now,
    ) -> Stage {
        if now < since + self.settings.question {
            return Stage::Asking { since, next };
        }
        let said: BTreeSet<&NodeName> = self.words.by(&suspicion.session, now).collect();
        let everybody = suspicion.fellows.iter().all(|fellow| said.contains(fellow));
        if !everybody && now < since + self.settings.words {
            return Stage::Asking {
                since,
                next: since + self.settings.words,
            };
        }
        let known = self.known.len();
        let mut half: Option<Half> = None;
        // One that has just fallen silent as well, and whose time is not up yet, is on nobody's side: watches of one split
        // run out one after the other.
        let counts = |node: &NodeName, link: &Link| said.contains(node) || link.heard_at >= since;
        let (mut hope, mut most) = (false, false);
        let segments = suspicion.segments.iter();
        for segment in segments.filter_map(|id| self.segments.get(id)) {
            let small = segment.is_small(&self.settings, known);
            let side = segment.side(small, counts);
            hope |= side != segment.side(small, |_, _| true);
            most |= side == Side::Majority;
            if let (Side::Half, Some(link)) = (side, segment.links.get(node)) {
                let this = Half {
                    witnessed: segment.witnessed_at.is_some_and(|at| at >= since),
                    yields: !segment.has_first(&self.me, small, counts),
                    // The others wait for as long as this node has asked them to: it may be longer.
                    begins: since + self.window().saturating_sub(link.window),
                };
                half = half.max(Some(this));
            }
        }
        let judged = most || half.is_some_and(|half| half.witnessed);
        if !judged && hope {
            return Stage::Asking {
                since,
                next: now + self.settings.question,
            };
        }
        // A router answers when it has time. It is asked again when that is over, and so is the suspect.
        let asked_again = since + self.settings.rest;
        if !judged && half.is_some() && now < asked_again {
            return Stage::Asking {
                since,
                next: asked_again,
            };
        }
        if !judged {
            let pause = match half {
                Some(_) => Duration::ZERO,
                None => self.settings.rest,
            };
            return Stage::Resting {
                until: Some(now + pause),
            };
        }
        let turn = self.turn_of(&suspicion.session, &said);
        let Some(half) = half.filter(|_| !most) else {
            return Stage::Turn { at: now + turn };
        };
        let turn = turn.min(self.settings.fence);
        let next = half.turn(&self.settings, now + turn) - turn;
        if next > now {
            // Until then it is weighed again whenever something is heard: the other half may have ended somebody.
            return Stage::Asking { since, next };
        }
        Stage::Turn { at: now + turn }
    }

    /// The order among the watchers that agree.
    fn turn_of(&self, session: &SessionId, said: &BTreeSet<&NodeName>) -> Duration {
        let place = |watcher: &NodeName| score(session.as_str().as_bytes(), watcher.as_str());
        let mine = (place(&self.me), &self.me);
        let before = said
            .iter()
            .filter(|watcher| (place(watcher), **watcher) < mine)
            .count();
        self.settings.stagger * u32::try_from(before).unwrap_or(u32::MAX)
    }

    /// Who left, and handed over all, is no member that is silent: nobody is in the minority because of it, or waits for its
    /// word.
    pub(super) fn let_go(&mut self, node: &NodeName) {
        let links = self
            .segments
            .values_mut()
            .filter_map(|segment| segment.links.get_mut(node));
        for link in links.filter(|link| link.phase == Phase::Silent && link.flags.leaving) {
            link.phase = Phase::Distant;
        }
        if let Some(suspicion) = self.suspicions.remove(node) {
            self.words.forget(&suspicion.session);
        }
    }

    fn is_leaving(&self, node: &NodeName) -> bool {
        let mut links = self
            .segments
            .values()
            .filter_map(|segment| segment.links.get(node));
        links.any(|link| link.phase == Phase::Silent && link.flags.leaving)
    }

    /// Those whose sessions were given up after they fell silent.
    pub(super) fn let_go_who_left(&mut self) {
        let suspects = self.suspicions.iter();
        let over = suspects.filter(|(node, suspicion)| {
            self.known.get(*node) != Some(&suspicion.session) && self.is_leaving(node)
        });
        let over: Vec<NodeName> = over.map(|(node, _)| node.clone()).collect();
        for node in over {
            self.let_go(&node);
        }
    }

    /// Somebody knows that the suspect lives.
    pub(super) fn veto(&mut self, node: &NodeName, proof: Proof, now: Now, out: &mut Vec<Action>) {
        if proof == Proof::Answer && self.is_leaving(node) {
            // Its machine answers, of which nothing is asked but itself once it owns nothing.
            return self.let_go(node);
        }
        let Some(suspicion) = self.suspicions.get_mut(node) else {
            return;
        };
        match suspicion.stage {
            Stage::Asking { .. } | Stage::Turn { .. } => {}
            // It goes on speaking.
            Stage::Resting { until: Some(_) } if proof == Proof::Refused => {}
            Stage::Resting { .. } | Stage::Fencing { .. } => return,
        }
        suspicion.stage = Stage::Resting {
            until: rest(proof, &self.settings, now),
        };
        self.words.forget(&suspicion.session);
        if !suspicion.vetoed {
            suspicion.vetoed = true;
            out.push(Action::Report(Report::Vetoed {
                node: node.clone(),
                proof,
            }));
        }
    }
}
