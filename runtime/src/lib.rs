//! What the Landfall binaries share, so that they look and stop alike.
//!
//! ```text
//! args ──► telemetry              flags and the first log line
//!          shutdown               SIGTERM or SIGINT as a token
//!          admin ◄── readiness    /livez /readyz /metrics /debug/state
//!                ◄── metrics      state written at a scrape
//!                ◄── process      what this program is, and what it costs
//!          watch, backoff         what a watch says, whatever state it is in, and how it comes back
//!          call, apply, events    asking the API server, with bounded patience
//!          class ──► later        what its errors mean, and when to come back
//!          lease                  one leader, by observed time
//!          random                 what keeps many apart
//! ```
//!
//! Nothing in here knows what an address is.

pub mod admin;
pub mod apply;
pub mod args;
pub mod backoff;
pub mod call;
pub mod class;
pub mod events;
pub mod later;
pub mod lease;
pub mod metrics;
pub mod process;
pub mod random;
pub mod readiness;
pub mod shutdown;
pub mod telemetry;
pub mod watch;
