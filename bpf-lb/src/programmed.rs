//! What the maps hold, as a value: what [`crate::diff`] compares the wanted state with.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use landfall_bpf_lb_common::records::{BackendEntry, FrontendEntry, HopEntry, Slot};

use crate::desired::{Endpoint, Frontend, Vip};

/// The contents of the maps that user space writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Programmed {
    /// By hop id.
    pub hops: BTreeMap<u16, HopEntry>,
    /// MAC addresses of directors.
    pub nodes: BTreeSet<[u8; 6]>,
    /// By backend id.
    pub backends: BTreeMap<u16, BackendEntry>,
    /// All frontends.
    pub frontends: BTreeMap<Frontend, Installed>,
    /// Tables that no frontend uses, the longest unused first.
    pub free_tables: VecDeque<u32>,
    /// So many of them, at the end, may still be read by a packet on its way.
    pub just_freed: usize,
}

/// A frontend in the maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// Its map value.
    pub entry: FrontendEntry,
    /// The contents of its table; empty if it has none.
    pub slots: Arc<[Slot]>,
    /// What it was made from; unknown after a restart, until it has been compared once.
    pub vip: Option<Vip>,
}

impl Programmed {
    /// Empty maps with room for so many tables.
    #[must_use]
    pub fn empty(tables: u32) -> Self {
        Self {
            free_tables: (0..tables).collect(),
            ..Self::default()
        }
    }
}

/// The pod of a backend.
#[must_use]
pub(crate) fn endpoint_of(backend: &BackendEntry) -> Endpoint {
    let address = if backend.flags & BackendEntry::IPV6 == 0 {
        let [a, b, c, d, ..] = backend.address;
        IpAddr::from([a, b, c, d])
    } else {
        IpAddr::from(backend.address)
    };
    Endpoint {
        address,
        port: u16::from_be_bytes(backend.port),
    }
}

/// An address as a hop or backend record holds it: 16 bytes, IPv4 mapped into IPv6.
#[must_use]
pub fn mapped(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// The reverse of [`mapped`].
#[must_use]
pub fn unmapped(bytes: [u8; 16]) -> IpAddr {
    Ipv6Addr::from(bytes).to_canonical()
}
