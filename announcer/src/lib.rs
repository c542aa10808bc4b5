//! The announcer: one per node, owner of the addresses it won.

pub mod link;
pub mod responder;
pub mod wire;
