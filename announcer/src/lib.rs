//! The announcer: one per node, owner of the addresses it won.

pub mod election;
pub mod link;
pub mod names;
