//! What the XDP programs and their loader must agree on: map records, verdicts, and the arithmetic
//! of the data path (checksums, flow hash, header parsing).
//!
//! It is not the programs (`ebpf/`) and not the loader: nothing here touches a map, a helper or a
//! socket, so that every line is tested on the host.
//!
//! Invariant: a record has no hidden padding and no `Option`; what comes from the wire keeps its
//! order of bytes. Sizes are asserted at compile time.
#![no_std]
#![warn(missing_docs)]

pub mod checksum;
pub mod echo;
pub mod fairness;
pub mod flow;
pub mod headers;
mod layout;
pub mod neighbour;
pub mod places;
pub mod quote;
pub mod records;
pub mod sample;
mod verdict;

pub use verdict::{Action, Verdict};

/// Names under which the maps are found in the object and pinned below the pin directory.
///
/// The number at the end of a name is the version of what the map holds: layout and meaning. Who
/// changes either counts it up, and a restart makes that map anew instead of misreading it.
pub mod names {
    /// IPv4 VIP:port:protocol → [`crate::records::FrontendEntry`]; and each VIP by [`crate::echo::PORT`] and ICMP, whose
    /// echo requests are answered.
    pub const FRONTENDS4: &str = "LF_FRONTENDS4_3";
    /// IPv6 VIP:port:protocol → [`crate::records::FrontendEntry`].
    pub const FRONTENDS6: &str = "LF_FRONTENDS6_3";
    /// Where IPv4 frontends are looked for first: [`crate::records::Place4`].
    pub const PLACES4: &str = "LF_PLACES4_1";
    /// The same of IPv6 frontends: [`crate::records::Place6`].
    pub const PLACES6: &str = "LF_PLACES6_1";
    /// The slots of all Maglev tables: each a power of two of them, side by side.
    pub const TABLES: &str = "LF_TABLES_3";
    /// Backend id → [`crate::records::BackendEntry`].
    pub const BACKENDS: &str = "LF_BACKENDS_2";
    /// Hop id → [`crate::records::HopEntry`].
    pub const HOPS: &str = "LF_HOPS_2";
    /// MAC address → nothing: the nodes that run a director.
    pub const NODES: &str = "LF_NODES_2";
    /// A bit for each of those, by [`crate::records::node_bit`]: most frames come from none of them.
    pub const NODE_BITS: &str = "LF_NODEBITS_1";
    /// Interface index → [`crate::records::InterfaceEntry`].
    pub const INTERFACES: &str = "LF_INTERF_2";
    /// Where an interface is looked for first, by the end of its index: [`crate::records::InterfaceEntry`].
    pub const INTERFACE_PLACES: &str = "LF_IFPLACES_1";
    /// IPv4 connections, both directions of each.
    pub const CONNECTIONS4: &str = "LF_CONNECT4_1";
    /// IPv6 connections, both directions of each.
    pub const CONNECTIONS6: &str = "LF_CONNECT6_1";
    /// IPv4 connections that are not confirmed yet.
    pub const HALF_OPEN4: &str = "LF_HALFOPEN4_1";
    /// IPv6 connections that are not confirmed yet.
    pub const HALF_OPEN6: &str = "LF_HALFOPEN6_1";
    /// The one [`crate::records::TurnoverEntry`], per CPU.
    pub const TURNOVER: &str = "LF_TURNOVER_1";
    /// The one [`crate::records::StateEntry`].
    pub const STATE: &str = "LF_STATE_3";
    /// Packets by [`crate::Verdict`], per CPU.
    pub const COUNTERS: &str = "LF_COUNTERS_8";
    /// The one [`crate::records::SamplingEntry`].
    pub const SAMPLING: &str = "LF_SAMPLING_1";
    /// Samples of packets, each a [`crate::sample::Sample`]; there only while somebody looks.
    pub const SAMPLES: &str = "LF_SAMPLES_1";
    /// Packets that were wanted and not taken, per CPU; there only while somebody looks.
    pub const MISSED: &str = "LF_MISSED_1";

    /// All of them.
    pub const MAPS: [&str; 21] = [
        FRONTENDS4,
        FRONTENDS6,
        PLACES4,
        PLACES6,
        TABLES,
        BACKENDS,
        HOPS,
        NODES,
        NODE_BITS,
        INTERFACES,
        INTERFACE_PLACES,
        CONNECTIONS4,
        CONNECTIONS6,
        HALF_OPEN4,
        HALF_OPEN6,
        TURNOVER,
        STATE,
        COUNTERS,
        SAMPLING,
        SAMPLES,
        MISSED,
    ];

    /// Global: jiffies in a second.
    pub const JIFFIES_PER_SECOND: &str = "JIFFIES_PER_SECOND";
    /// Global: the cluster's secret for the flow hash.
    pub const SEED: &str = "SEED";

    /// The director and deliverer, at XDP.
    pub const XDP: &str = "landfall_xdp";
    /// The same for frames of several buffers.
    pub const XDP_FRAGS: &str = "landfall_xdp_frags";
    /// The same, at TC ingress.
    pub const TC: &str = "landfall_tc";
    /// The reverse of delivery, at TC egress.
    pub const EGRESS: &str = "landfall_egress";
    /// Tells the jiffies of now and notes that user space lives.
    pub const FEED: &str = "landfall_feed";
}
