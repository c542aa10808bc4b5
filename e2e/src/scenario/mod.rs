//! Scenarios: YAML files of steps and expectations, and what runs them.
//!
//! ```text
//!   file ── spec (serde) ──► Scenario ── step by step: expand variables ──► action ──► output ──► expectations ──► ✓ ✗
//! ```
//!
//! - [`spec`]: what may be written. [`check`]: reading it, and every complaint about it.
//! - [`vars`]: `${name}` (pure). [`jsonpath`]: kubectl's paths (pure). [`expect`]: what an output must hold (pure).
//! - [`run`]: carries steps out. [`probe`]: asks continuously in the background and measures silence; so does
//!   [`crate::failover`] by ARP. [`hold`]: keeps connections open.
//! - [`transcript`]: what is shown.
//!
//! Invariant: a scenario held only if every step was carried out and every expectation was met; what is shown is what
//! was run and what it printed.

pub mod check;
pub mod expect;
pub mod hold;
pub mod jsonpath;
pub mod probe;
pub mod run;
pub mod spec;
pub mod transcript;
pub mod vars;
mod watch;

pub use spec::{Scenario, Step};
