//! How long a client goes without an address when its owner fails: measured in a lab, by a client that asks.
//!
//! ```text
//!   bed ── a lab with Landfall, addresses, backends on a node that announces nothing
//!    │
//!   case ── disturbs the node that owns most addresses, and undoes it
//!    │
//!   arp, connect, stream ── ask from the client's namespace all the while ──► silence ──► seen ──► figures
//! ```
//!
//! What it is not: a test. It judges nothing; it prints what was, and writes it down.
//!
//! Invariant: a silence is measured between two moments at which the client was served for certain. It is not derived
//! from logs, timers or records.

mod addresses;
mod arp;
mod bed;
mod case;
mod connect;
mod figures;
mod rounds;
mod seen;
mod silence;
mod stream;

pub(crate) use self::arp::{Asking, PATIENCE};
pub use self::case::Case;
pub use self::rounds::{Options, run};
pub(crate) use self::silence::{Sample, both};
