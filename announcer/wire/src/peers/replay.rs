//! The memory against replays: the last counter of every session, by segment.
//!
//! Invariant: while a session is remembered, no counter of it is taken twice on one segment, nor a lower one after a
//! higher. Only authentic frames come here, and the memory is bounded: the session heard longest ago is forgotten first.
//! Of a session that is forgotten, or was never heard, an old frame is taken; whoever decides by frames believes only
//! what acknowledges its own sequence.

use std::collections::{BTreeMap, HashMap};

use crate::link::IfIndex;

/// Sessions remembered on a segment: of a thousand nodes, four lives each.
pub(super) const MOST_SESSIONS: usize = 4_096;

#[derive(Debug, Default)]
pub(super) struct Replay {
    segments: BTreeMap<IfIndex, HashMap<Box<str>, Last>>,
    turn: u64,
}

#[derive(Debug)]
struct Last {
    counter: u64,
    turn: u64,
}

impl Replay {
    /// Whether the counter is the highest of its session on this segment; if so it is remembered.
    pub(super) fn rises(&mut self, segment: IfIndex, session: &str, counter: u64) -> bool {
        self.turn += 1;
        let turn = self.turn;
        let sessions = self.segments.entry(segment).or_default();
        if let Some(last) = sessions.get_mut(session) {
            let rises = counter > last.counter;
            if rises {
                *last = Last { counter, turn };
            }
            return rises;
        }
        if sessions.len() >= MOST_SESSIONS {
            let eldest = sessions.iter().min_by_key(|(_, last)| last.turn);
            if let Some(session) = eldest.map(|(session, _)| session.clone()) {
                sessions.remove(&session);
            }
        }
        sessions.insert(session.into(), Last { counter, turn });
        true
    }

    /// Forgets segments that are no more.
    pub(super) fn retain(&mut self, is_left: impl Fn(IfIndex) -> bool) {
        self.segments.retain(|segment, _| is_left(*segment));
    }
}
