//! From Services, EndpointSlices, Nodes and neighbours to what the data path shall do.
//!
//! [`assemble`] is pure; [`director`] carries it out in a task of its own, and [`channel`] tells other nodes of connections
//! that it has in slots of theirs. The invariant: every node that runs the
//! director assembles the same frontends and backends from the same world, so that every node picks the same backend
//! for a flow; only placements and hops are each node's own.

mod assemble;
pub mod channel;
pub mod director;
pub mod seed;
#[cfg(test)]
mod tests;

pub use assemble::{Assembled, DataPath, DirectorNews, LeftToKernel, RunsOn, assemble};
