//! The announcer: one per node, owner of the addresses it won.
//!
//! ```text
//!  API server ─► cluster (watches) ─► model (plain values) ─┬► policy    who may announce what
//!                                                           ├► election  who does
//!  session ─► own Lease ────────────────────────────────────┤► dataplane what XDP shall do
//!  link ─► interfaces, neighbours ──────────────────────────┘► report    what is written about it
//!                                                  agent carries it all out
//! ```
//!
//! `model`, `policy`, `election`, `dataplane` and `report` are pure: values in, values out.

pub mod agent;
pub mod args;
pub mod cluster;
pub mod daemon;
pub mod dataplane;
pub mod link;
pub mod metrics;
pub mod model;
pub mod names;
pub mod policy;
pub mod report;
pub mod responder;
pub mod session;
pub mod settings;
pub mod wire;

pub use landfall_election as election;
