//! The interfaces of this node as values.

use std::collections::BTreeMap;
use std::fmt;

use ipnetwork::IpNetwork;

/// Kernel interface index, of this network namespace.
pub type IfIndex = u32;

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Everybody on the segment.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// "Not known", in an ARP request.
    pub const ZERO: Self = Self([0; 6]);

    /// Whether it names a group: multicast or broadcast.
    #[must_use]
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Whether it can be the address of one interface.
    #[must_use]
    pub fn is_station(self) -> bool {
        !self.is_group() && self != Self::ZERO
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

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
    /// `IFLA_INFO_KIND` (`veth`, `bridge`, `vlan`, …); `None` for physical devices.
    pub kind: Option<String>,
    /// Addresses with their prefix lengths, sorted.
    pub addresses: Vec<IpNetwork>,
}

/// All interfaces of this network namespace by index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkTable {
    /// Links by kernel index.
    pub links: BTreeMap<IfIndex, Link>,
}
