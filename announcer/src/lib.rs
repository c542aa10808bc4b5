//! The announcer: one per node, owner of the addresses it won.
//!
//! ```text
//!  API server ─► cluster (watches) ─► model (plain values) ─┬► policy    who may announce what
//!                                                           ├► election  who does
//!  session ─► own Lease ────────────────────────────────────┤► dataplane what XDP shall do
//!  peers ─► heartbeats ─────────────────────────────────────┤
//!  link ─► interfaces, neighbours ──────────────────────────┘► report    what is written about it
//!                                                  brain decides, agent carries it all out
//! ```
//!
//! `model`, `policy`, `election`, `report`, `brain` and the assembly of `dataplane` are pure: values in, values out. What
//! is said on the wire is the crate `landfall-wire`. The pure parts stand below those that do something, and import none
//! of them.

pub mod agent;
pub mod args;
pub mod brain;
pub mod clock;
pub mod cluster;
mod cpu_limit;
pub mod daemon;
pub mod dataplane;
pub mod frames;
pub mod identity;
pub mod link;
mod looking;
pub mod metrics;
pub mod model;
pub mod names;
pub mod peers;
pub mod policy;
pub mod report;
pub mod responder;
pub mod samples;
pub mod session;
pub mod settings;
#[cfg(test)]
mod testing;
pub mod urgent;

pub use landfall_election as election;
