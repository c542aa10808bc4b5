//! The others' sessions: what their Leases say, and what the fast half hears.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::outage::Renewals;
use super::{Rival, Settings};
use crate::Now;
use crate::names::{NodeName, SessionId, Version};
use crate::peers::{Fenced, Flags, Report};
use crate::sessions::{Sessions, Standing};

/// Ended sessions remembered; forgetting one costs one more read of a Lease.
const REMEMBERED: usize = 4096;
/// With fewer sessions than this everybody hears everybody, so that who is not heard is not there.
const EVERYBODY: usize = 10;
/// How long this node takes nothing after a session was ended that it hears itself: then it is known whom else it hears.
const DOUBT: Duration = Duration::from_millis(250);

/// How a session stands, all things considered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// May be answering; until then at least, if nothing new is seen.
    Live { until: Now },
    /// It was not renewed in time, and its Lease names it still: at this version, its renewals at that.
    Silent {
        since: Now,
        version: Version,
        renewal: Option<Version>,
    },
    /// Its Lease was never seen to name it.
    Unknown,
    /// Ended by the peers, in writing or not.
    Ended { at: Now },
    /// Ended by its owner's word or its Lease's silence.
    Dead,
}

#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) leases: Sessions,
    heard: BTreeMap<NodeName, Heard>,
    /// Sessions that were heard both ways and are not now.
    down: BTreeMap<NodeName, SessionId>,
    ended: BTreeMap<SessionId, Now>,
    /// Others ended what this node hears: one of the two is on the wrong side of a split.
    doubts_until: Now,
    /// When the API server's history went back last.
    went_back_at: Option<Now>,
    settings: Settings,
    pub(super) renewals: Renewals,
}

/// What is heard of a peer.
#[derive(Clone, Debug)]
struct Heard {
    session: SessionId,
    /// Until it has said how it does it is trusted with nothing.
    flags: Flags,
    said: bool,
}

impl View {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            leases: Sessions::new(settings.duration),
            heard: BTreeMap::new(),
            down: BTreeMap::new(),
            ended: BTreeMap::new(),
            doubts_until: Now::ZERO,
            went_back_at: None,
            settings,
            renewals: Renewals::default(),
        }
    }

    pub(super) fn take(&mut self, report: Report, now: Now) {
        match report {
            Report::Up { node, session, .. } => {
                self.down.remove(&node);
                let before = self.heard.get(&node);
                let heard = Heard {
                    said: before.is_some_and(|heard| heard.said && heard.session == session),
                    flags: before.map(|heard| heard.flags).unwrap_or_default(),
                    session,
                };
                self.heard.insert(node, heard);
                self.renewals.listen(now);
            }
            Report::Down { node, session } if self.heard.remove(&node).is_some() => {
                self.down.insert(node, session);
            }
            Report::Unwatched { node, .. } => {
                self.heard.remove(&node);
                self.down.remove(&node);
            }
            Report::Flags(node, new) => {
                if let Some(heard) = self.heard.get_mut(&node) {
                    // What it counted before it was heard may be of long ago.
                    if heard.said && heard.flags.renewals != new.renewals {
                        self.renewals.heard(&self.settings, now);
                    }
                    heard.flags = new;
                    heard.said = true;
                }
            }
            Report::EndedThoughHeard(_) => self.doubts_until = now + DOUBT,
            Report::Ended(Fenced { node, session, .. }, _) => {
                if self
                    .heard
                    .get(&node)
                    .is_some_and(|heard| heard.session == session)
                {
                    self.heard.remove(&node);
                }
                if self.down.get(&node) == Some(&session) {
                    self.down.remove(&node);
                }
                self.end(session, now);
            }
            _ => {}
        }
    }

    pub(super) fn end(&mut self, session: SessionId, now: Now) {
        if self.ended.len() >= REMEMBERED {
            self.ended.clear();
        }
        self.ended.entry(session).or_insert(now);
    }

    /// When it is known again on which side this node is.
    pub(super) fn doubts_until(&self, now: Now) -> Option<Now> {
        Some(self.doubts_until).filter(|until| now < *until)
    }

    pub(super) fn went_back(&mut self, now: Now) {
        self.leases.went_back();
        self.went_back_at = Some(now);
    }

    /// Whether a session is heard, or on record, and not over: what was recorded of one of before may be said again by
    /// anybody.
    pub(super) fn is_present(&self, node: &NodeName, session: &SessionId) -> bool {
        let is_known = self.hears(node, session) || self.leases.named_by(node) == Some(session);
        is_known && !self.was_ended(session)
    }

    /// Whether a peer may answer still for what it said that it answers for. A title that no record says yet is said again
    /// and again: if it is not heard any more it was given up, by a node that may live on. One that is on record stays,
    /// until it is read there; but for one of a history that was gone, which its holder may not have noticed yet.
    pub(super) fn believes(&self, rival: &Rival, now: Now) -> bool {
        let lasts = self.settings.title;
        let is_of_this_history = || self.went_back_at.is_none_or(|at| rival.since > at + lasts);
        let is_on_record = || {
            rival.title.written && self.hears(&rival.node, &rival.session) && is_of_this_history()
        };
        !self.was_ended(&rival.session) && (now < rival.at + lasts || is_on_record())
    }

    pub(super) fn hears(&self, node: &NodeName, session: &SessionId) -> bool {
        self.heard
            .get(node)
            .is_some_and(|heard| heard.session == *session)
    }

    pub(super) fn heard(&self) -> impl Iterator<Item = &NodeName> {
        self.heard.keys()
    }

    pub(super) fn hears_any(&self) -> bool {
        !self.heard.is_empty()
    }

    pub(super) fn flags(&self, node: &NodeName) -> Option<&Flags> {
        self.heard.get(node).map(|heard| &heard.flags)
    }

    /// The session of a peer that is heard.
    pub(super) fn session(&self, node: &NodeName) -> Option<&SessionId> {
        self.heard.get(node).map(|heard| &heard.session)
    }

    /// Whether a peer says that it had the API server lately.
    pub(super) fn somebody_has_api(&self) -> bool {
        self.heard.values().any(|heard| heard.flags.has_api)
    }

    /// Whether the peers ended this session.
    pub(super) fn was_ended(&self, session: &SessionId) -> bool {
        self.ended.contains_key(session)
    }

    /// Whether a session of another is known that is not over.
    pub(super) fn knows_others(&self, me: &NodeName, now: Now) -> bool {
        let holds = |(node, session): (&NodeName, &SessionId)| {
            node != me && !self.ended.contains_key(session)
        };
        !self.heard.is_empty()
            || self.down.iter().any(|(node, session)| {
                !matches!(
                    self.fate(node, session, now),
                    Fate::Ended { .. } | Fate::Dead
                )
            })
            || self.leases.holders().any(holds)
    }

    /// Nodes that can be given something, or may take something.
    pub(super) fn live(&self, now: Now) -> BTreeSet<NodeName> {
        let leases: BTreeSet<&NodeName> = self
            .leases
            .live_sessions(now)
            .filter(|(_, session)| !self.ended.contains_key(*session))
            .map(|(node, _)| node)
            .collect();
        let few = leases.len() <= EVERYBODY;
        let mut live: BTreeSet<NodeName> = leases
            .into_iter()
            .filter(|node| {
                let unheard = self.hears_any() && few && !self.heard.contains_key(*node);
                !unheard && !self.down.contains_key(*node)
            })
            .cloned()
            .collect();
        live.extend(self.heard.keys().cloned());
        live.retain(|node| !self.flags(node).is_some_and(|flags| flags.leaving));
        live
    }

    /// Whether this node hears nobody, or is with fewer than half of those that it heard, and the others live: it should
    /// take nothing. It would be taken from again as soon as they end its session.
    pub(super) fn is_cut_off(&self, now: Now) -> bool {
        let lives = |(node, session): &(&NodeName, &SessionId)| {
            matches!(self.fate(node, session, now), Fate::Live { .. })
        };
        let (here, there) = (1 + self.heard.len(), self.down.iter().filter(lives).count());
        now < self.doubts_until || there > here || self.heard.is_empty() && there > 0
    }

    pub(super) fn fate(&self, node: &NodeName, session: &SessionId, now: Now) -> Fate {
        if let Some(at) = self.ended.get(session) {
            return Fate::Ended { at: *at };
        }
        if let Some(heard) = self.heard.get(node)
            && heard.session == *session
            && heard.flags.alone < self.settings.alone
        {
            return Fate::Live {
                until: now + Duration::from_millis(500),
            };
        }
        match self.leases.standing(node, session, now) {
            Standing::Live { until } => Fate::Live { until },
            Standing::Silent {
                since,
                version,
                renewal,
            } => Fate::Silent {
                since,
                version,
                renewal,
            },
            Standing::Unknown => Fate::Unknown,
            Standing::Dead => Fate::Dead,
        }
    }
}
