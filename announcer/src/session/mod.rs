//! This node's session: one Lease, renewed by compare-and-swap, timed by this node's own clock.

pub mod published;
