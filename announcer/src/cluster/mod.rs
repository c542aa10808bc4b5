//! The API server: watches in, requests out. I/O only; what is read is turned into values by [`crate::model`], what is
//! written was decided by [`crate::brain::Brain`].

mod client;
mod failures;
mod history;
mod own_node;
mod watch;
mod write;

pub use client::connect;
pub use failures::WriteFailures;
pub use history::watch_history;
pub use watch::WatchErrors;
pub use write::Writer;

/// The field manager of everything the announcer applies.
pub const FIELD_MANAGER: &str = "landfall-announcer";
