//! What is said on the wire about an address: ARP for IPv4, Neighbour Discovery for IPv6.
//!
//! It is: parsing of received frames, the decision what to answer, the frames themselves, and the pure timetables of
//! announcing and probing. It is not: sockets, interfaces, clocks (the announcer brings those).
//!
//! ```text
//!  bytes ─► ethernet ─► arp ─┐
//!                      ndp ─┴─► answer::decide ─► Answer (frame in the caller's buffer) | Claim | Ignored(Reason)
//!  schedule (when) ─► announce (which frames) ─► bytes
//!  probe (when, how long) ───────────────────► bytes
//!
//!  netlink messages ─► link::parse ─► LinkTable, neighbours      link::filter ─► programs for the kernel
//! ```
//!
//! Invariant: no byte received can make anything here panic, allocate or loop; every frame that is not answered has a
//! [`Reason`]. Frames are emitted into a [`Buffer`] of fixed size, larger than any frame made here, so emitting cannot
//! fail. `pnet` types do not leave this crate.

#![warn(missing_docs)]

pub mod announce;
pub mod answer;
pub mod arp;
pub mod ethernet;
pub mod link;
pub mod ndp;
pub mod peers;
pub mod probe;
pub mod reason;
pub mod schedule;
#[cfg(test)]
mod tests;

pub use answer::{Answer, Decision, Interest, decide};
pub use ethernet::Mac;
pub use reason::Reason;

/// Room for one frame made here. The longest is a neighbour message of 86 bytes.
pub type Buffer = [u8; 128];

/// A buffer to emit into.
#[must_use]
pub fn buffer() -> Buffer {
    [0; 128]
}
