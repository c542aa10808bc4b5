//! A suspicion, from the silence to the fence: words of fellow watchers, the question to the suspect itself, and which
//! side of a split this node is on.

use std::collections::{BTreeMap, BTreeSet};

use super::event::{Proof, SegmentId};
use crate::Now;
use crate::names::{NodeName, SessionId};

#[derive(Clone, Debug)]
pub(super) struct Suspicion {
    pub(super) session: SessionId,
    /// The last sequence heard of it.
    pub(super) sequence: u64,
    /// Where it fell silent.
    pub(super) segments: BTreeSet<SegmentId>,
    /// Watchers that were asked.
    pub(super) fellows: BTreeSet<NodeName>,
    pub(super) stage: Stage,
    pub(super) vetoed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Words and answers are waited for.
    Asking {
        /// Since when.
        since: Now,
        /// When to look at it next.
        next: Now,
    },
    /// All agree; it is this node's turn to fence it at this time.
    Turn { at: Now },
    /// The fence is being written; agreed, if that takes longer.
    Fencing { until: Now },
    /// It lives, or this node may not judge; asked again then, if it is silent still.
    Resting { until: Option<Now> },
}

impl Suspicion {
    pub(super) const fn wake_at(&self) -> Option<Now> {
        match self.stage {
            Stage::Asking { next, .. } => Some(next),
            Stage::Turn { at } => Some(at),
            Stage::Fencing { until } => Some(until),
            Stage::Resting { until } => until,
        }
    }
}

/// Watchers that said a session is silent, by session: a word may come before our own timer.
#[derive(Clone, Debug, Default)]
pub(super) struct Words {
    said: BTreeMap<SessionId, BTreeMap<NodeName, Now>>,
}

impl Words {
    pub(super) fn silent(&mut self, session: &SessionId, by: NodeName, now: Now) {
        if self.said.len() > 1024 {
            self.said.clear();
        }
        self.said
            .entry(session.clone())
            .or_default()
            .insert(by, now);
    }

    /// Who said so within the last second.
    pub(super) fn by(&self, session: &SessionId, now: Now) -> impl Iterator<Item = &NodeName> {
        self.said
            .get(session)
            .into_iter()
            .flatten()
            .filter(move |(_, at)| now < **at + std::time::Duration::from_secs(1))
            .map(|(node, _)| node)
    }

    pub(super) fn forget(&mut self, session: &SessionId) {
        self.said.remove(session);
    }
}

/// What a proof of life means for the suspicion: how long nobody asks again.
pub(super) const fn rest(proof: Proof, settings: &super::Settings, now: Now) -> Option<Now> {
    match proof {
        // A fellow's word is good for a moment; it may be the only one who still hears it. So is a frame that was refused:
        // whoever sends such ones sends more of them, and one alone may be anybody's.
        Proof::Fellow | Proof::Refused => Some(now.saturating_add(settings.rest)),
        // It answers for its addresses whatever became of its beats: left to the slow lane until heard again.
        Proof::Answer => None,
    }
}
