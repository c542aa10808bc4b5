//! What the kernel's messages say, taken into tables. Pure.
//!
//! Panic contract: no message can make anything here panic, whatever it lacks or repeats.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::{IfIndex, Link, LinkTable};
use crate::Mac;

/// An address and the interface it is to be found on.
pub type Key = (IpAddr, IfIndex);

/// What the kernel knows of one neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its Ethernet address, while the kernel holds it for valid.
    pub mac: Option<Mac>,
    /// Confirmed a short time ago, or being confirmed now: nothing to ask.
    pub settled: bool,
}

/// What it knows of all.
pub type Cache = BTreeMap<Key, Entry>;

/// Takes in a message about links or their addresses.
pub fn of_links(table: &mut LinkTable, message: RouteNetlinkMessage) {
    match message {
        RouteNetlinkMessage::NewLink(message) => put_link(table, &message),
        // A port that leaves a bridge is also told as a link deleted, in the bridge's own family.
        RouteNetlinkMessage::DelLink(message) if !is_bridge(&message) => {
            table.links.remove(&message.header.index);
        }
        RouteNetlinkMessage::NewAddress(message) => put_address(table, &message),
        RouteNetlinkMessage::DelAddress(message) => {
            let link = table.links.get_mut(&message.header.index);
            if let (Some(link), Some(address)) = (link, network(&message)) {
                link.addresses.retain(|known| *known != address);
                link.passing.remove(&address);
            }
        }
        _ => {}
    }
}

/// Takes in a message about neighbours.
pub fn of_neighbours(cache: &mut Cache, message: RouteNetlinkMessage) {
    match message {
        RouteNetlinkMessage::NewNeighbour(message) => put_neighbour(cache, &message),
        RouteNetlinkMessage::DelNeighbour(message) => {
            if let Some(key) = key(&message) {
                cache.remove(&key);
            }
        }
        _ => {}
    }
}

fn is_bridge(message: &LinkMessage) -> bool {
    message.header.interface_family == AddressFamily::Bridge
}

fn put_link(table: &mut LinkTable, message: &LinkMessage) {
    // Events of wireless extensions carry only their own attribute.
    if is_bridge(message)
        || message
            .attributes
            .iter()
            .any(|attribute| matches!(attribute, LinkAttribute::Wireless(_)))
    {
        return;
    }
    let flags = message.header.flags;
    let known = table.links.get(&message.header.index);
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mac: None,
        up: flags.contains(LinkFlags::Up),
        carrier: flags.contains(LinkFlags::LowerUp),
        loopback: flags.contains(LinkFlags::Loopback),
        noarp: flags.contains(LinkFlags::Noarp),
        master: None,
        lower: None,
        kind: None,
        addresses: known.map_or_else(Vec::new, |known| known.addresses.clone()),
        passing: known.map_or_else(BTreeSet::new, |known| known.passing.clone()),
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(bytes)
                if message.header.link_layer_type == LinkLayerType::Ether =>
            {
                link.mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(Mac);
            }
            LinkAttribute::Controller(index) if *index != 0 => link.master = Some(*index),
            LinkAttribute::Link(index) if *index != 0 => link.lower = Some(*index),
            LinkAttribute::LinkInfo(infos) => {
                link.kind = infos.iter().find_map(|info| match info {
                    LinkInfo::Kind(kind) => Some(kind.to_string()),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    table.links.insert(link.index, link);
}

fn put_address(table: &mut LinkTable, message: &AddressMessage) {
    let link = table.links.get_mut(&message.header.index);
    let (Some(link), Some(address)) = (link, network(message)) else {
        return;
    };
    if let Err(position) = link.addresses.binary_search(&address) {
        link.addresses.insert(position, address);
    }
    if message.header.flags.intersects(PASSING) {
        link.passing.insert(address);
    } else {
        link.passing.remove(&address);
    }
}

/// `Secondary` is what temporary ones of IPv6 are marked with, too.
const PASSING: AddressHeaderFlags = AddressHeaderFlags::Secondary
    .union(AddressHeaderFlags::Deprecated)
    .union(AddressHeaderFlags::Tentative)
    .union(AddressHeaderFlags::Dadfailed);

/// The address itself: for IPv4 the local one, which differs from the plain one on a point-to-point link.
fn network(message: &AddressMessage) -> Option<IpNetwork> {
    let mut found: Option<IpAddr> = None;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => found = Some(*address),
            AddressAttribute::Address(address) => found = found.or(Some(*address)),
            _ => {}
        }
    }
    IpNetwork::new(found?, message.header.prefix_len).ok()
}

fn put_neighbour(cache: &mut Cache, message: &NeighbourMessage) {
    let Some(key) = key(message) else { return };
    let state = message.header.state;
    let valid = !matches!(
        state,
        NeighbourState::Incomplete | NeighbourState::Failed | NeighbourState::None
    );
    let mac = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) => {
                <[u8; 6]>::try_from(bytes.as_slice()).ok().map(Mac)
            }
            _ => None,
        });
    let settled = valid && state != NeighbourState::Stale;
    cache.insert(
        key,
        Entry {
            mac: mac.filter(|_| valid),
            settled,
        },
    );
}

fn key(message: &NeighbourMessage) -> Option<Key> {
    message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => {
                Some((IpAddr::V4(*address), message.header.ifindex))
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => {
                Some((IpAddr::V6(*address), message.header.ifindex))
            }
            _ => None,
        })
}
