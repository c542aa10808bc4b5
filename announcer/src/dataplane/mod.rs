//! From Services, EndpointSlices, Nodes and neighbours to what the data path shall do.
//!
//! [`assemble`] is pure; [`director`] carries it out in a task of its own. The invariant: every node that runs the
//! director assembles the same frontends and backends from the same world, so that every node picks the same backend
//! for a flow; only placements and hops are each node's own.

mod assemble;
pub mod director;
#[cfg(test)]
mod tests;

pub use assemble::{Assembled, DataPath, assemble};
