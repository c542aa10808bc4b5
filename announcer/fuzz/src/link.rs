//! What of the announcer's `link` is pure.

#[path = "../../src/link/emulator.rs"]
mod emulator;
#[path = "../../src/link/filter.rs"]
mod filter;
#[path = "../../src/link/table.rs"]
mod table;
#[path = "../../src/link/told.rs"]
mod told;

use std::collections::BTreeSet;
use std::net::IpAddr;

pub use table::{IfIndex, Link, LinkTable, Mac};

use netlink_packet_route::RouteNetlinkMessage;

/// Whether the classic filter of the socket that a frame of this kind comes to would keep it, for one address.
pub fn classic_keeps(address: IpAddr, frame: &[u8], kind: u32) -> bool {
    let program = match address {
        IpAddr::V4(address) => filter::arp_about(&BTreeSet::from([address])),
        IpAddr::V6(_) => filter::ndp(),
    };
    emulator::keeps(&program, frame, kind, false)
}

/// Takes a message about links in.
pub fn of_links(table: &mut LinkTable, message: RouteNetlinkMessage) {
    told::of_links(table, message);
}

/// Takes messages about neighbours in: how many neighbours there are then, and how many with an Ethernet address.
pub fn of_neighbours(messages: Vec<RouteNetlinkMessage>) -> (usize, usize) {
    let mut cache = told::Cache::new();
    for message in messages {
        told::of_neighbours(&mut cache, message);
    }
    let known = cache.values().filter(|entry| entry.mac.is_some());
    (cache.len(), known.count())
}
