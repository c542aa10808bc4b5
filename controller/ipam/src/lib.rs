//! The allocator: who gets which address, as values.
//!
//! It is not a controller: it knows no client, no runtime, no socket and no clock. Events go in,
//! plans come out, and the shell carries them out.
//!
//! ```text
//! Services ─┐                    ┌─ plan: keep, take, leave + verdict ──► records, Service status
//! pools ────┤► Index ──► plan ───┤
//! records ──┤  (one picture)     └─ explain: the same plan in words
//! nodes ────┘
//! ```
//!
//! Invariants: an address that a record names is nobody else's, whichever pools cover it; a holder
//! is never moved unless it asked; the same world gives the same plan.

pub mod address;
pub mod admission;
pub mod book;
pub mod counts;
pub mod explain;
mod impact;
pub mod index;
mod join;
mod lanes;
mod lead;
pub mod occupied;
pub mod plan;
pub mod pool;
pub mod pools;
mod record;
pub mod request;
mod review;
mod search;
pub mod selection;
pub mod service;
pub mod sharing;
pub mod spans;
pub mod step;
mod taken;
mod words;
pub mod world;

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

pub use address::Family;
pub use index::Index;
pub use landfall_crds::conditions::AssignedReason as Reason;
pub use service::{Service, ServiceKey, Turn};

/// A pool by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolName(pub Arc<str>);

impl From<&str> for PoolName {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl Borrow<str> for PoolName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PoolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why something asked for cannot be had: a reason for machines and one sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The condition's reason.
    pub reason: Reason,
    /// What is wrong, and what would help.
    pub message: String,
}

impl Refusal {
    /// A refusal.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }
}
