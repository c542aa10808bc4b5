//! A naive model of an API server and of controllers around the pure index: no task, no clock.
//!
//! Watches lag by kind, writes fail before or after they are done, controllers restart anywhere,
//! and two of them may work at once. What the index promises is checked against the naive state.

mod check;
mod world;

pub(crate) use world::{Fault, World};
