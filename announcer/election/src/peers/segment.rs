//! One segment: who was heard on it, who is watched, and which side of a split this node is on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Settings;
use super::link::{Link, Phase};
use super::loss::Loss;
use super::ring;
use crate::Now;
use crate::names::NodeName;
use crate::order::score;

/// Members asked in a census.
const SAMPLE: usize = 16;
/// Partners of a node in the rings, and how many more may watch it while the rings change.
pub(super) const SPARE: usize = 6;

#[derive(Clone, Debug, Default)]
pub(super) struct Segment {
    pub(super) links: BTreeMap<NodeName, Link>,
    /// Whom beats of a watch go to.
    pub(super) targets: BTreeSet<NodeName>,
    pub(super) discover_at: Now,
    pub(super) witnessed_at: Option<Now>,
    /// How few hear this node here, and for how many of its own turns.
    pub(super) loss: Option<(Loss, u32)>,
    pub(super) census: Option<Census>,
    partners: BTreeSet<NodeName>,
    /// Members came or went: the rings are to be drawn anew.
    pub(super) changed: bool,
    /// A session was ended: whoever is new in a ring is so in place of a dead watcher.
    pub(super) bereaved: bool,
    swept_at: Now,
}

/// A sample of the remembered members, asked whether they hear us.
#[derive(Clone, Debug)]
pub(super) struct Census {
    pub(super) since: Now,
    pub(super) asked: BTreeSet<NodeName>,
    pub(super) answered: BTreeSet<NodeName>,
}

/// Exactly half of a segment is on this node's side. The other half may think the same of this one, and reach a router
/// as well; whichever of the two it reaches sooner, they end each other's sessions by turns that do not meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Half {
    /// A router was reached.
    pub(super) witnessed: bool,
    /// The other half comes first.
    pub(super) yields: bool,
    /// When the turns of both begin.
    pub(super) begins: Now,
}

impl Half {
    /// When it is this half's turn: a turn is long enough to hear of everybody on this side, and until the next one of the
    /// other half that has time to read of its end, though its watches ran out a beat sooner.
    pub(super) fn turn(&self, settings: &Settings, now: Now) -> Now {
        let mut turn = match self.yields {
            true => self.begins + settings.fence * 4,
            false => self.begins,
        };
        while now > turn + settings.fence * 5 / 4 {
            turn += settings.fence * 10;
        }
        turn.max(now)
    }
}

/// How much of a segment is on this node's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Majority,
    /// Exactly half: who reaches a router decides.
    Half,
    Minority,
}

impl Segment {
    pub(super) fn new(now: Now) -> Self {
        Self {
            discover_at: now,
            ..Self::default()
        }
    }

    /// Whether everybody watches everybody, by multicast. `known` sessions count too: a node that has just started
    /// must not shout among a thousand.
    pub(super) fn is_small(&self, settings: &Settings, known: usize) -> bool {
        self.links.len().max(known) < settings.everybody
    }

    /// Forgets who was not heard for long.
    pub(super) fn sweep(&mut self, settings: &Settings, now: Now) {
        if now < self.swept_at + Duration::from_secs(1) {
            return;
        }
        self.swept_at = now;
        let before = self.links.len();
        self.links
            .retain(|_, link| now < link.heard_at + settings.memory);
        self.changed |= self.links.len() != before;
    }

    /// Draws whom to watch. Returns whom no longer, to be told so.
    pub(super) fn retarget(
        &mut self,
        me: &NodeName,
        settings: &Settings,
        known: usize,
        now: Now,
    ) -> Vec<NodeName> {
        let targets: BTreeSet<NodeName> = if self.is_small(settings, known) {
            self.bereaved = false;
            self.links.keys().cloned().collect()
        } else {
            self.ring_targets(me, settings, now)
        };
        let dropped: Vec<_> = self.targets.difference(&targets).cloned().collect();
        for node in &dropped {
            if let Some(link) = self.links.get_mut(node) {
                link.phase = Phase::Distant;
                link.named_at = None;
            }
        }
        self.targets = targets;
        dropped
    }

    fn ring_targets(&mut self, me: &NodeName, settings: &Settings, now: Now) -> BTreeSet<NodeName> {
        if self.changed || self.bereaved || self.partners.is_empty() {
            let partners = ring::partners(me, self.links.keys());
            if self.bereaved {
                let until = now + settings.interval * 10;
                for node in partners.difference(&self.partners) {
                    if let Some(link) = self.links.get_mut(node)
                        && link.phase == Phase::Distant
                    {
                        link.phase = Phase::Awaited(until);
                    }
                }
            }
            self.partners = partners;
            self.changed = false;
            self.bereaved = false;
        }
        let mut targets = self.partners.clone();
        let unready = self
            .partners
            .iter()
            .any(|node| !self.links.get(node).is_some_and(Link::is_up));
        let mut others: Vec<_> = self
            .links
            .iter()
            .filter(|(node, _)| !self.partners.contains(*node))
            .filter(|(node, link)| {
                let names_us = link.named_at.is_some_and(|at| now < at + link.window * 3);
                names_us || unready && link.is_member() && self.targets.contains(*node)
            })
            .map(|(node, link)| (!link.is_up(), node.clone()))
            .collect();
        others.sort();
        let room = SPARE.saturating_sub(targets.len());
        targets.extend(others.into_iter().take(room).map(|(_, node)| node));
        targets
    }

    /// Watched sessions: those that can fall silent or did.
    pub(super) fn members(&self) -> impl Iterator<Item = (&NodeName, &Link)> {
        self.targets
            .iter()
            .filter_map(|node| self.links.get_key_value(node))
            .filter(|(_, link)| link.is_member())
    }

    /// Which side of a possible split this node is on, by those of its members that are heard and `count`. Everybody is
    /// watched in a small segment; in a larger one a census was made.
    pub(super) fn side(&self, small: bool, count: impl Fn(&NodeName, &Link) -> bool) -> Side {
        let (ours, all) = if small {
            let ours = self
                .members()
                .filter(|(node, link)| link.is_up() && count(node, link));
            (1 + ours.count(), 1 + self.members().count())
        } else {
            match &self.census {
                Some(census) => (1 + census.answered.len(), 1 + census.asked.len()),
                None => return Side::Minority,
            }
        };
        match (2 * ours).cmp(&all) {
            std::cmp::Ordering::Greater => Side::Majority,
            std::cmp::Ordering::Equal => Side::Half,
            std::cmp::Ordering::Less => Side::Minority,
        }
    }

    /// Whether the first of all members by name is on this node's side.
    pub(super) fn has_first(
        &self,
        me: &NodeName,
        small: bool,
        count: impl Fn(&NodeName, &Link) -> bool,
    ) -> bool {
        let first = match small {
            true => self.members().map(|(node, _)| node).min(),
            false => self.links.keys().next(),
        };
        let Some(first) = first.filter(|first| *first < me) else {
            return true;
        };
        let answered = |census: &Census| census.answered.contains(first);
        match self.links.get(first) {
            Some(link) if small => link.is_up() && count(first, link),
            _ => self.census.as_ref().is_some_and(answered),
        }
    }

    /// Begins a census, unless one was begun since `fresh`. Whom to ask.
    pub(super) fn take_census(&mut self, me: &NodeName, fresh: Now, now: Now) -> Vec<NodeName> {
        if self
            .census
            .as_ref()
            .is_some_and(|census| census.since >= fresh)
        {
            return Vec::new();
        }
        // Another sample each time, so that one that happens to be dead does not decide twice.
        let salt = [me.as_str().as_bytes(), &now.as_millis().to_le_bytes()].concat();
        let mut members: Vec<_> = self
            .links
            .keys()
            .map(|node| (score(&salt, node.as_str()), node))
            .collect();
        members.sort();
        let asked: BTreeSet<NodeName> = members
            .into_iter()
            .take(SAMPLE)
            .map(|(_, node)| node.clone())
            .collect();
        let whom = asked.iter().cloned().collect();
        self.census = Some(Census {
            since: now,
            asked,
            answered: BTreeSet::new(),
        });
        whom
    }
}
