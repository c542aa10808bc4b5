//! What the Landfall binaries share, so that they look and stop alike.
//!
//! ```text
//! args ──► telemetry           flags and the first log line
//!          shutdown            SIGTERM or SIGINT as a token
//!          admin ◄── readiness /livez /readyz /metrics /debug/state
//!          lease               one leader, by observed time
//!          apply, events, class   writing to the API server, and what its errors mean
//! ```
//!
//! Nothing in here knows what an address is.

pub mod admin;
pub mod apply;
pub mod args;
pub mod class;
pub mod events;
pub mod lease;
pub mod readiness;
pub mod shutdown;
pub mod telemetry;
