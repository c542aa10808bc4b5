//! Who answers for an address: two state machines, events in, decisions out.
//!
//! [`peers`], the fast half, finds out within fractions of a second whose session is over, and holds the permit to answer;
//! [`owners`], the record half, says what follows from that for every address. Neither knows a client, a socket or a clock:
//! `now` is this node's monotonic time since its boot, in both.
//!
//! ```text
//!   frames, answers ─► Peers ──Report──► Owners ◄── Leases, records, candidates, own renewals
//!                        ▲ │               │
//!        allowed, flags ─┘ └─► permit      ├─► addresses to answer for (whole table)
//!                                          ├─► compare-and-swap writes, probes
//!                                          └─► when to decide again
//! ```
//!
//! It is not a consensus protocol: the API server's compare-and-swap is the arbiter, and agreement of the peers stands in
//! for it only while it does not answer.
//!
//! # Invariant
//! At any moment at most one node answers for an address, but for the moments that [`owners`] and [`peers`] name.

#![warn(missing_docs)]

#[cfg(test)]
mod cluster;
mod names;
mod namesake;
mod order;
pub mod owners;
pub mod peers;
mod sessions;

use std::time::Duration;

pub use names::{NodeName, SessionId, Version};
pub use namesake::{Elsewhere, Held, Namesake, Wait};
pub use sessions::{LONGEST_DURATION, SeenLease};

/// This node's monotonic time since any origin.
pub type Now = Duration;

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
}

impl ClaimReason {
    /// All of them. What counts by reason has each from the start, or who looks at an increase would miss the first.
    pub const ALL: [Self; 4] = [
        Self::First,
        Self::OwnerDied,
        Self::HandedOver,
        Self::Restarted,
    ];

    /// The metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::OwnerDied => "owner_died",
            Self::HandedOver => "handed_over",
            Self::Restarted => "restarted",
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
