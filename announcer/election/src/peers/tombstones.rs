//! Sessions that are over: nobody acknowledges them again, and every beat lists them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::frame::TOMBSTONES;
use crate::Now;
use crate::names::SessionId;

/// Remembered at most; the oldest goes first.
const REMEMBERED: usize = 4096;

#[derive(Clone, Debug)]
struct Tombstone {
    ended_at: Now,
    written: bool,
    told_at: Option<Now>,
    /// Its own node has said so.
    conceded: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Tombstones {
    life: Duration,
    ended: BTreeMap<SessionId, Tombstone>,
}

impl Tombstones {
    pub(super) const fn new(life: Duration) -> Self {
        Self {
            life,
            ended: BTreeMap::new(),
        }
    }

    pub(super) fn contains(&self, session: &SessionId) -> bool {
        self.ended.contains_key(session)
    }

    /// Takes one in. Whether that is news: a new one, or one that is in writing only now.
    pub(super) fn insert(&mut self, session: SessionId, written: bool, now: Now) -> bool {
        if let Some(known) = self.ended.get_mut(&session) {
            let news = written && !known.written;
            known.written |= written;
            return news;
        }
        if self.ended.len() >= REMEMBERED {
            let oldest = self.ended.iter().min_by_key(|(_, tomb)| tomb.ended_at);
            if let Some(oldest) = oldest.map(|(session, _)| session.clone()) {
                self.ended.remove(&oldest);
            }
        }
        self.ended.insert(
            session,
            Tombstone {
                ended_at: now,
                written,
                told_at: None,
                conceded: false,
            },
        );
        true
    }

    /// Whether to tell a session that speaks on that it is over; not more often than every `pause`.
    pub(super) fn tell(&mut self, session: &SessionId, pause: Duration, now: Now) -> Option<bool> {
        let tomb = self.ended.get_mut(session)?;
        if tomb.told_at.is_some_and(|at| now < at + pause) {
            return None;
        }
        tomb.told_at = Some(now);
        Some(tomb.written)
    }

    /// Its own node says that it is over. Whether that is news.
    pub(super) fn concede(&mut self, session: &SessionId) -> bool {
        self.ended
            .get_mut(session)
            .is_some_and(|tomb| !std::mem::replace(&mut tomb.conceded, true))
    }

    /// The youngest, for a beat.
    pub(super) fn listed(&self, now: Now) -> Vec<SessionId> {
        let mut young: Vec<_> = self
            .ended
            .iter()
            .filter(|(_, tomb)| now < tomb.ended_at + self.life)
            .collect();
        young.sort_by_key(|(_, tomb)| std::cmp::Reverse(tomb.ended_at));
        young.truncate(TOMBSTONES);
        young
            .into_iter()
            .map(|(session, _)| session.clone())
            .collect()
    }
}
