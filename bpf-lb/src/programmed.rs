//! What the maps hold, as a value: what [`crate::diff`] compares the wanted state with.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use landfall_bpf_lb_common::records::{BackendEntry, FrontendEntry, HopEntry};

use crate::desired::{Endpoint, Frontend, Vip};
use crate::room::Table;
use crate::tables::Tables;

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
    /// Their tables. What these say is in the map alone: it would be as much memory again.
    pub tables: Tables,
}

/// A frontend in the maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// Its map value.
    pub entry: FrontendEntry,
    /// The ids of its backends; unknown after a restart, as the next one.
    pub backends: Box<[u16]>,
    /// What it was made from; unknown after a restart, until it has been compared once.
    pub vip: Option<Arc<Vip>>,
    /// What it could not become, there being no room for a table of that.
    pub refused: Option<Arc<Vip>>,
}

impl Installed {
    /// Its table, if it has one.
    #[must_use]
    pub const fn table(&self) -> Option<Table> {
        table_of(&self.entry)
    }

    /// Whether it takes no new connections, for it is going.
    #[must_use]
    pub const fn is_draining(&self) -> bool {
        self.entry.flags & FrontendEntry::DRAINING != 0
    }
}

impl Programmed {
    /// Empty maps with room for so many slots.
    #[must_use]
    pub fn empty(slots: u32) -> Self {
        Self {
            tables: Tables::new(slots),
            ..Self::default()
        }
    }
}

/// The table that an entry names.
#[must_use]
pub const fn table_of(entry: &FrontendEntry) -> Option<Table> {
    if entry.table == FrontendEntry::NO_TABLE {
        return None;
    }
    Some(Table {
        start: entry.table,
        slots: FrontendEntry::slots(entry.flags),
    })
}

/// An entry that names a table, with these flags.
#[must_use]
pub const fn entry_of(table: Option<Table>, flags: u32) -> FrontendEntry {
    match table {
        Some(Table { start, slots }) => FrontendEntry {
            table: start,
            flags: flags | (slots.trailing_zeros() << FrontendEntry::SIZE_SHIFT),
        },
        None => FrontendEntry {
            table: FrontendEntry::NO_TABLE,
            flags,
        },
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
