//! This node's session: one Lease, renewed by compare-and-swap, timed by this node's own clock.
//!
//! ```text
//!  guard ─ one announcer a node ─► task ─ create, renew, lose, begin anew ─► election events
//!                                   ▲
//!                        published ─┘ what others must know, as an annotation
//! ```
//!
//! The invariant: a session id is used for one unbroken holding of the Lease. Once the Lease was seen gone or held by
//! another id, or peers have ended it, this id is never written again; but for a Lease emptied by a node that was wrong about
//! this one before, which its peers ignore as well.

mod guard;
mod task;

pub use guard::Guard;
pub use task::{Session, SessionSettings};
