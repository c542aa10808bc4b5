//! This node's session: named in one Lease, renewed in another, timed by this node's own clock.
//!
//! ```text
//!  guard ─ one announcer a node ─► task ─ begin, renew, lose, begin anew ─► election events
//!                                   ▲
//!                        published ─┘ what others must know, as an annotation
//! ```
//!
//! All announcers watch the Lease that names the session, and it is written only when something of it changes. A renewal
//! is a write of the other one, which few watch, and then a look at the first.
//!
//! Why that is as good as one compare-and-swap: who ends a session for its silence reads the first Lease, then the last
//! renewal, and then swaps the first. A renewal that is answered before the session's end by this node's clock was
//! written before that reader can have taken the session for silent, so it is seen there. One that comes later counts
//! only after a swap of the first Lease: either that comes before the reader's read, which then sees the renewal that
//! was written still before, or it comes after, and the reader's own swap is refused.
//!
//! The invariant: a session id is used for one unbroken holding of the Lease. Once the Lease was seen gone or held by
//! another id, or peers have ended it, this id is never written again; but for a Lease emptied by a node that was wrong about
//! this one before, which its peers ignore as well.

mod guard;
mod task;

pub use guard::Guard;
pub use task::{Session, SessionSettings};
