//! The allocator: who gets which address, as values.
//!
//! It is not a controller: it knows no client, no runtime, no socket and no clock. Events go in,
//! plans come out, and the shell carries them out.
//!
//! ```text
//! Services,     
//! Gateways ─┐                    ┌─ plan: keep, take, leave + verdict ──► records, Service status
//! pools ────┤► index ──► plan ───┤
//! records ──┤  (one world)       └─ explain: the same plan in words
//! nodes ────┘
//! ```
//!
//! [`pools`] says where addresses come from, [`book`] who has them, [`plan`] what becomes of one
//! Service, [`index`] who has to be looked at. Below them stand the values they speak in.
//!
//! Invariants: an address that a record names is nobody else's, whichever pools cover it; a holder
//! is never moved unless it asked; the same world gives the same plan.

#![warn(missing_docs)]

pub mod address;
pub mod book;
pub mod counts;
pub mod index;
pub mod plan;
pub mod pools;
pub mod request;
pub mod selection;
pub mod service;
pub mod sharing;
pub mod spans;
mod world;

pub use address::Family;
pub use index::Index;
pub use landfall_crds::conditions::AssignedReason as Reason;
pub use landfall_crds::{HolderKey, HolderKind, PoolName};
pub use service::{QueueKey, Service};
pub use world::Network;

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
