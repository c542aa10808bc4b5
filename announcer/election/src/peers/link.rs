//! One peer on one segment: what was heard of it, and what it heard of us.

use std::time::Duration;

use super::frame::{Beat, Flags};
use crate::Now;
use crate::names::SessionId;

/// How many windows an acknowledgement stays good: it is one beat late by nature, and beats get lost.
pub(super) const ACK_WINDOWS: u32 = 3;

/// How a peer stands on one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Heard at some time; not watched, or not yet both ways. It cannot fall silent.
    Distant,
    /// Its watchers died and this node is in their place: it has until then to be heard both ways.
    Awaited(Now),
    /// Heard both ways.
    Up,
    /// Was, and is not any more.
    Silent,
}

/// What is known of a peer on a segment.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) session: SessionId,
    pub(super) sequence: u64,
    pub(super) heard_at: Now,
    pub(super) interval: Duration,
    pub(super) window: Duration,
    pub(super) flags: Flags,
    /// When the last of our beats that it acknowledged was sent.
    pub(super) acked: Option<Now>,
    /// When it last named our session: it watches us, or asks to.
    pub(super) named_at: Option<Now>,
    pub(super) phase: Phase,
    /// It speaks to all of whom it hears and names us no more, and hears us on another segment.
    pub(super) is_unheard: bool,
    /// We were late ourselves: nothing is held against it before then.
    pub(super) forgiven_until: Now,
}

impl Link {
    pub(super) fn new(session: SessionId, beat: &Beat, now: Now) -> Self {
        Self {
            session,
            sequence: beat.sequence,
            heard_at: now,
            interval: beat.interval,
            window: beat.window,
            flags: beat.flags,
            acked: None,
            named_at: None,
            phase: Phase::Distant,
            is_unheard: false,
            forgiven_until: Now::ZERO,
        }
    }

    /// Whether a watch was established: it is a remembered member of the segment.
    pub(super) const fn is_member(&self) -> bool {
        matches!(self.phase, Phase::Up | Phase::Silent)
    }

    pub(super) fn is_up(&self) -> bool {
        self.phase == Phase::Up
    }

    /// Until when it counts as heard both ways if nothing more comes.
    pub(super) fn deadline(&self) -> Option<Now> {
        match self.phase {
            Phase::Distant | Phase::Silent => None,
            Phase::Awaited(until) => Some(until),
            Phase::Up if self.is_unheard => Some(self.heard_at.max(self.forgiven_until)),
            Phase::Up => Some(self.up_until().max(self.forgiven_until)),
        }
    }

    /// Whether it was heard within its window, or may have been without our knowing it yet.
    pub(super) fn is_heard(&self, now: Now) -> bool {
        now < self.heard_until().max(self.forgiven_until)
    }

    /// A quarter of an interval more than asked for, so that the beat that is due at the very end still counts.
    fn heard_until(&self) -> Now {
        self.heard_at + self.window + self.interval / 4
    }

    fn up_until(&self) -> Now {
        let heard = self.heard_until();
        match self.acked {
            Some(acked) => heard.min(acked + self.window * ACK_WINDOWS),
            None => heard,
        }
    }

    /// Whether it was heard so lately that the watch of nobody else can have run out by itself.
    pub(super) fn is_fresh(&self, now: Now) -> bool {
        now < self.heard_at + self.interval * 2
    }

    /// Whether it would count as heard both ways now.
    pub(super) fn would_be_up(&self, now: Now) -> bool {
        self.acked.is_some() && !self.is_unheard && now < self.up_until()
    }

    /// Whether this beat came sooner after the last than its sequence allows: then our own clock stood still.
    pub(super) fn tells_of_a_pause(&self, beat: &Beat, now: Now) -> bool {
        let beats = u32::try_from(beat.sequence.saturating_sub(self.sequence)).unwrap_or(u32::MAX);
        let elapsed = now.saturating_sub(self.heard_at);
        // Clocks may differ by a tenth, and a beat may have waited for a window.
        beat.interval.saturating_mul(beats) > elapsed * 5 / 4 + beat.window * ACK_WINDOWS
    }
}
