//! Which addresses are announced, under which policies, and by which nodes they may be.
//!
//! Pure: the [`World`] in, [`Announcements`] out. It does not know who lives or who owns; that is the election's. The
//! invariant: an address has candidates only if some policy selects a Service or Gateway that holds it; one that has none carries
//! a reason a person can act on.

mod announcements;
mod compiled;
mod outcome;
mod refusal;
#[cfg(test)]
mod tests;

pub use announcements::{Announcement, Announcements, plan};
pub use compiled::Impediment;
pub use outcome::{IdlePattern, PolicyOutcome};
pub use refusal::Unannounced;
