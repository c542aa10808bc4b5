//! Who answers for an address: a state machine, events in, decisions out.
//!
//! What the announcer runs is [`Election`], and the rest of this page is about it. Its successor stands beside it and is
//! **not driven by the announcer yet**: [`peers`], the fast half, finds out within fractions of a second whose session is
//! over, and [`owners`], the record half, says what follows from that for every address.
//!
//! It is not a consensus protocol: the API server's compare-and-swap is the only arbiter. It knows
//! no client, no socket and no clock; `now` is this node's monotonic time since any origin.
//!
//! ```text
//!   own renewals ─┐                                   ┌─► addresses to answer for (whole table)
//!   peers' Leases ─┼─► Election::observe ─► decide() ─┼─► compare-and-swap writes
//!   owner records ─┤                                   ├─► probes
//!   candidates ────┘                                   └─► when to decide again
//! ```
//!
//! # Invariant
//! At any moment at most one node answers for an address. It rests on four rules:
//! 1. A session ends by its owner's clock *before* it can end by anybody else's: the owner counts
//!    from the moment it **sent** its last successful renewal and stops [`Settings::margin`] early,
//!    a peer counts from the moment it **saw** that renewal. Clocks whose rates differ by less than
//!    `margin / duration` keep the rule.
//! 2. A session that fell silent is first *expired*: its Lease is emptied by compare-and-swap. Only
//!    then may its addresses be claimed. A renewal nobody saw (a blind watch) makes that write
//!    fail, a renewal after it fails itself; so a stale view costs a write, never a second owner.
//!    A session this node never saw hold its Lease is asked about first: the watch of Leases may be
//!    further behind than the watch of records.
//! 3. An owner goes quiet before it sends the write that gives an address away, and answers again
//!    only when the record has moved past the version that write was made against.
//! 4. Whoever claims answers only after its claim was acknowledged.
//!
//! The bound of the model: a frame whose answer was already decided when the process was paused
//! may leave when it wakes (one frame a socket); the record of an address deleted and made again
//! within a peer's blind watch is caught by the probe that precedes every first claim.

#![warn(missing_docs)]

#[cfg(test)]
mod cluster;
mod event;
mod machine;
mod names;
mod order;
pub mod owners;
pub mod peers;
mod sessions;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::time::Duration;

pub use event::{Decision, Event, Write};
pub use machine::Election;
pub use names::{NodeName, SessionId, Version};
pub use order::{Candidate, order};
pub use sessions::{LONGEST_DURATION, SeenLease, Standing};

/// This node's monotonic time since any origin.
pub type Now = Duration;

/// The times the election goes by.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long a session lives after a renewal.
    pub duration: Duration,
    /// How much earlier than its peers the owner itself ends it.
    pub margin: Duration,
    /// How long the next candidate waits for the one before it.
    pub patience: Duration,
    /// The same while an address that nobody owned is being probed first.
    pub first_patience: Duration,
    /// How long a successor may take to accept a hand-over.
    pub handover_patience: Duration,
    /// Between two nodes that would expire the same silent session.
    pub expire_stagger: Duration,
    /// How long a clear probe stays good.
    pub probe_validity: Duration,
    /// First pause after a failed write or a conflict; doubles up to `retry_max`.
    pub retry_min: Duration,
    /// Longest pause.
    pub retry_max: Duration,
}

impl Settings {
    /// The times that go with a session duration.
    pub fn for_duration(duration: Duration) -> Self {
        Self {
            duration,
            margin: duration / 50,
            patience: Duration::from_secs(2),
            first_patience: Duration::from_secs(6),
            handover_patience: Duration::from_secs(2),
            expire_stagger: Duration::from_millis(300),
            probe_validity: Duration::from_secs(5),
            retry_min: Duration::from_secs(1),
            retry_max: Duration::from_secs(60),
        }
    }
}

/// The owner as the record of an address states it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its node.
    pub node: NodeName,
    /// Its session: the right to answer dies with it.
    pub session: SessionId,
    /// How often the address changed its owner so far.
    pub transitions: u64,
    /// The node asked to take the address.
    pub handover_to: Option<NodeName>,
}

/// What the API server last said about one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Version to swap against.
    pub version: Version,
    /// Identity of the object: a record made again is another record.
    pub uid: String,
    /// The owner, if any.
    pub owner: Option<Owner>,
}

/// Why an address was claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimReason {
    /// Nobody owned it; it was probed first.
    First,
    /// The owner's session died.
    OwnerDied,
    /// The owner asked this node to take it.
    HandedOver,
    /// This node's own earlier session owned it.
    Restarted,
    /// This node owned it, had begun to give it away, and keeps it.
    Kept,
}

impl ClaimReason {
    /// The metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::OwnerDied => "owner_died",
            Self::HandedOver => "handed_over",
            Self::Restarted => "restarted",
            Self::Kept => "kept",
        }
    }
}

/// What a probe before a first claim found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probed {
    /// Nobody answered.
    Clear,
    /// Somebody uses the address.
    Taken,
    /// The probe could not be made (no interface yet): nothing is known.
    Unable,
}

/// An address and who may own it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contest {
    /// The address.
    pub address: IpAddr,
    /// The nodes that may own it, whether their sessions live or not.
    pub candidates: Vec<Candidate>,
}
