//! When to announce what: once at once, then repeated, never faster than a stated rate.
//!
//! A key may also be repeated for ever, at a period of its own ([`Schedule::set_period`]).
//!
//! A pure timetable. Many addresses armed together take turns: the first announcement of every one goes out before the
//! second of any, and all of them together keep below [`Pace::frames_per_second`].
//!
//! Invariant: a key is in the timetable at most once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How often and how fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Announcements after the first.
    pub repeats: u32,
    /// Time between announcements of one key.
    pub interval: Duration,
    /// No more frames than this in a second, all keys together.
    pub frames_per_second: u32,
    /// So many of them may leave back to back.
    pub burst: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            repeats: 4,
            interval: Duration::from_secs(1),
            frames_per_second: 2_000,
            burst: 64,
        }
    }
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn<K> {
    /// Announce this and ask again.
    Announce(K),
    /// Nothing before this time.
    Wait(Instant),
    /// Nothing until something is armed.
    Idle,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    due: Instant,
    order: u64,
    left: u32,
    frames: u32,
    period: Option<Duration>,
}

/// The timetable.
#[derive(Clone, Debug)]
pub struct Schedule<K> {
    pace: Pace,
    entries: BTreeMap<K, Entry>,
    queue: BTreeSet<(Instant, u64, K)>,
    /// When the frames sent so far will have been paid for, at the allowed rate.
    paid: Option<Instant>,
    order: u64,
}

impl<K: Ord + Copy> Schedule<K> {
    /// An empty timetable.
    #[must_use]
    pub fn new(pace: Pace) -> Self {
        Self {
            pace,
            entries: BTreeMap::new(),
            queue: BTreeSet::new(),
            paid: None,
            order: 0,
        }
    }

    /// Announce `key`, whose announcement takes `frames` frames, from the beginning; afterwards once every `period`.
    pub fn arm(&mut self, now: Instant, key: K, frames: u32, period: Option<Duration>) {
        self.disarm(key);
        self.insert(
            key,
            Entry {
                due: now,
                order: 0,
                left: self.pace.repeats,
                frames,
                period,
            },
        );
    }

    /// From now on `key`, whose announcement takes `frames` frames, is announced once every `period`, or not beyond
    /// what it was armed for.
    pub fn set_period(&mut self, now: Instant, key: K, frames: u32, period: Option<Duration>) {
        let known = self.take(key);
        match (known, period) {
            (Some(entry), _) if entry.left > 0 => self.insert(key, Entry { period, ..entry }),
            (_, Some(wait)) => self.insert(
                key,
                Entry {
                    due: now + wait,
                    order: 0,
                    left: 0,
                    frames,
                    period,
                },
            ),
            (_, None) => {}
        }
    }

    /// Announce `key` no more.
    pub fn disarm(&mut self, key: K) {
        self.take(key);
    }

    fn take(&mut self, key: K) -> Option<Entry> {
        let entry = self.entries.remove(&key)?;
        self.queue.remove(&(entry.due, entry.order, key));
        Some(entry)
    }

    /// How many keys still have announcements to come.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is to come.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What to do at `now`.
    pub fn turn(&mut self, now: Instant) -> Turn<K> {
        let Some(&(due, _, key)) = self.queue.first() else {
            return Turn::Idle;
        };
        let earliest = self.paid.map_or(due, |paid| {
            due.max(paid.checked_sub(self.cost(self.pace.burst)).unwrap_or(paid))
        });
        if earliest > now {
            return Turn::Wait(earliest);
        }
        let Some(entry) = self.entries.get(&key).copied() else {
            return Turn::Idle;
        };
        self.disarm(key);
        let from = self.paid.map_or(now, |paid| paid.max(now));
        self.paid = Some(from + self.cost(entry.frames));
        let next = if entry.left > 0 {
            Some(self.pace.interval)
        } else {
            entry.period
        };
        if let Some(wait) = next {
            self.insert(
                key,
                Entry {
                    due: now + wait,
                    left: entry.left.saturating_sub(1),
                    ..entry
                },
            );
        }
        Turn::Announce(key)
    }

    fn cost(&self, frames: u32) -> Duration {
        Duration::from_secs(1) * frames / self.pace.frames_per_second.max(1)
    }

    fn insert(&mut self, key: K, entry: Entry) {
        self.order += 1;
        let entry = Entry {
            order: self.order,
            ..entry
        };
        self.queue.insert((entry.due, entry.order, key));
        self.entries.insert(key, entry);
    }
}
