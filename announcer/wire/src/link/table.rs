//! The interfaces of this node as values.

use std::collections::{BTreeMap, BTreeSet};

use ipnetwork::IpNetwork;

use crate::Mac;

/// Kernel interface index, of this network namespace.
pub type IfIndex = u32;

/// One interface, as netlink last described it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Kernel index.
    pub index: IfIndex,
    /// Kernel name.
    pub name: String,
    /// Ethernet address; `None` where the device has none of six bytes.
    pub mac: Option<Mac>,
    /// `IFF_UP`.
    pub up: bool,
    /// Carrier: `IFF_LOWER_UP`.
    pub carrier: bool,
    /// `IFF_LOOPBACK`.
    pub loopback: bool,
    /// `IFF_NOARP`.
    pub noarp: bool,
    /// Index of the bridge, bond or team it is enslaved to.
    pub master: Option<IfIndex>,
    /// Index of the interface that it stands on: of a VLAN device its trunk, of a veth its peer.
    pub lower: Option<IfIndex>,
    /// `IFLA_INFO_KIND` (`veth`, `bridge`, `vlan`, …); `None` for physical devices.
    pub kind: Option<String>,
    /// Addresses with their prefix lengths, sorted.
    pub addresses: Vec<IpNetwork>,
    /// Those of them that are no node's for long: secondary ones, as whatever moves addresses between hosts adds them,
    /// temporary and deprecated ones of IPv6, and those that it is not yet clear or clear that they are another's.
    pub passing: BTreeSet<IpNetwork>,
}

/// All interfaces of this network namespace by index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkTable {
    /// Links by kernel index.
    pub links: BTreeMap<IfIndex, Link>,
}
