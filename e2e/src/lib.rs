//! The lab: a real cluster whose nodes are network namespaces, and the scenarios told in it.
//!
//! - [`lab`]: the machine room: namespaces, links, nodes, clients; made, listed, taken down.
//! - [`failover`]: how long a client goes without an address, measured.
//! - [`rights`]: what an account may do, held against what it did.
//! - [`scenario`]: YAML files of steps and expectations, and what runs them.
//!
//! What they stand on (processes, namespaces, the control plane) is `landfall-testbed`.

pub mod failover;
pub mod lab;
pub mod rights;
pub mod scenario;
