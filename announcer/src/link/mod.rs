//! Interfaces, sockets and neighbours of this node: the only module with syscalls.

mod table;

pub use table::{IfIndex, Link, LinkTable, Mac};
