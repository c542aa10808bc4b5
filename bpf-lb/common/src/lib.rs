//! What the XDP programs and their loader must agree on: map records, verdicts, and the arithmetic
//! of the data path (checksums, flow hash, header parsing).
//!
//! It is not the programs (`ebpf/`) and not the loader: nothing here touches a map, a helper or a
//! socket, so that every line is tested on the host.
//!
//! Invariant: a record has no padding and no `Option`; multi-byte fields that come from the wire
//! are byte arrays in network order. Sizes are asserted at compile time.
#![no_std]
#![warn(missing_docs)]

pub mod checksum;
pub mod flow;
pub mod headers;
pub mod neighbour;
pub mod records;
mod verdict;

pub use verdict::{Action, Verdict};

/// Names under which the maps are found in the object and pinned below the pin directory.
pub mod names {
    /// IPv4 VIP:port:protocol → [`crate::records::FrontendEntry`].
    pub const FRONTENDS4: &str = "LF_FRONTENDS4";
    /// IPv6 VIP:port:protocol → [`crate::records::FrontendEntry`].
    pub const FRONTENDS6: &str = "LF_FRONTENDS6";
    /// All Maglev tables, one after the other, two slots an element.
    pub const TABLES: &str = "LF_TABLES";
    /// Backend id → [`crate::records::BackendEntry`].
    pub const BACKENDS: &str = "LF_BACKENDS";
    /// Hop id → [`crate::records::HopEntry`].
    pub const HOPS: &str = "LF_HOPS";
    /// MAC address → nothing: the nodes that run a director.
    pub const NODES: &str = "LF_NODES";
    /// Interface index → [`crate::records::InterfaceEntry`].
    pub const INTERFACES: &str = "LF_INTERFACES";
    /// IPv4 connections delivered on this node.
    pub const CONNECTIONS4: &str = "LF_CONNECTIONS4";
    /// IPv6 connections delivered on this node.
    pub const CONNECTIONS6: &str = "LF_CONNECTIONS6";
    /// Packets by [`crate::Verdict`], per CPU.
    pub const COUNTERS: &str = "LF_COUNTERS";
    /// Connection inserts of the current tick, per CPU.
    pub const BUDGET: &str = "LF_BUDGET";

    /// Global: slots in one Maglev table.
    pub const TABLE_SLOTS: &str = "TABLE_SLOTS";
    /// Global: jiffies in a second.
    pub const JIFFIES_PER_SECOND: &str = "JIFFIES_PER_SECOND";
    /// Global: new connections one CPU may record in a second.
    pub const INSERT_BUDGET: &str = "INSERT_BUDGET";

    /// The director and deliverer, at XDP.
    pub const XDP: &str = "landfall_xdp";
    /// The reverse of delivery, at TC egress.
    pub const EGRESS: &str = "landfall_egress";
}
