//! What the kernel says of this node's interfaces and neighbours, and what it is asked to let through.
//!
//! It is: netlink messages taken into tables (`parse`), the tables, which links may announce at all (`eligible`), and the
//! programs of the classic packet filter with the machine that tries them. It is not: the sockets all this comes through.
//!
//! Invariant: no message and no frame can make anything here panic; a table says what the messages taken into it said.

pub mod bpf_vm;
mod eligible;
pub mod filter;
pub mod parse;
mod table;

pub use eligible::{CONTAINER_INTERFACES, Refusal};
pub use table::{IfIndex, Link, LinkTable};
