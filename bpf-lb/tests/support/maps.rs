//! Looking into the pinned maps.

use std::net::SocketAddr;

use aya::maps::{Array, HashMap, Map, MapData};
use landfall_bpf_lb::Settings;
use landfall_bpf_lb::desired::Protocol;
use landfall_bpf_lb_common::echo::PORT;
use landfall_bpf_lb_common::names;
use landfall_bpf_lb_common::quote::ICMP;
use landfall_bpf_lb_common::records::{
    ConnectionEntry4, ConnectionEntry6, ConnectionKey4, ConnectionKey6, ConnectionState, Direction,
    FrontendEntry, FrontendKey4, FrontendKey6, InterfaceEntry, Slot, StateEntry,
};

use super::frames::Flow;

pub(crate) fn open(settings: &Settings, name: &str) -> MapData {
    MapData::from_pin(settings.pin_dir.join("maps").join(name)).expect("a pinned map")
}

/// What the table of connections has of the client's packets on `flow`.
pub(crate) fn connection(settings: &Settings, flow: Flow) -> Option<ConnectionState> {
    let (client_port, port) = (flow.client.port().to_be(), flow.to.port().to_be());
    let protocol = flow.protocol as u8;
    let direction = Direction::Forward as u8;
    match (flow.client, flow.to) {
        (SocketAddr::V4(client), SocketAddr::V4(to)) => {
            let map: HashMap<_, ConnectionKey4, ConnectionEntry4> =
                Map::HashMap(open(settings, names::CONNECTIONS4))
                    .try_into()
                    .unwrap();
            let key = ConnectionKey4 {
                client: u32::from_ne_bytes(client.ip().octets()),
                address: u32::from_ne_bytes(to.ip().octets()),
                client_port,
                port,
                protocol,
                direction,
                zero: [0; 2],
            };
            map.get(&key, 0).ok().map(|entry| entry.state)
        }
        (SocketAddr::V6(client), SocketAddr::V6(to)) => {
            let map: HashMap<_, ConnectionKey6, ConnectionEntry6> =
                Map::HashMap(open(settings, names::CONNECTIONS6))
                    .try_into()
                    .unwrap();
            let words = |address: std::net::Ipv6Addr| {
                let bytes = address.octets();
                let (high, low) = bytes.split_at(8);
                [high, low].map(|half| u64::from_ne_bytes(half.try_into().unwrap()))
            };
            let key = ConnectionKey6 {
                client: words(*client.ip()),
                address: words(*to.ip()),
                client_port,
                port,
                protocol,
                direction,
                zero: [0; 2],
            };
            map.get(&key, 0).ok().map(|entry| entry.state)
        }
        _ => panic!("two families in one flow"),
    }
}

/// The interfaces by which frames are known.
pub(crate) fn interfaces(settings: &Settings) -> Vec<u32> {
    let map: HashMap<_, u32, InterfaceEntry> = Map::HashMap(open(settings, names::INTERFACES))
        .try_into()
        .unwrap();
    map.keys().collect::<Result<_, _>>().unwrap()
}

/// Removes a TCP frontend from the map of all, and from nowhere else.
pub(crate) fn remove_frontend(settings: &Settings, vip: SocketAddr) {
    remove(settings, vip, Protocol::Tcp as u8);
}

/// Removes from it that echo requests to this address are answered.
pub(crate) fn remove_echo(settings: &Settings, vip: SocketAddr) {
    remove(settings, SocketAddr::new(vip.ip(), PORT), ICMP);
}

fn remove(settings: &Settings, vip: SocketAddr, protocol: u8) {
    let (port, zero) = (vip.port().to_be(), 0);
    match vip {
        SocketAddr::V4(vip) => {
            let map = Map::HashMap(open(settings, names::FRONTENDS4));
            let mut map: HashMap<_, FrontendKey4, FrontendEntry> = map.try_into().unwrap();
            let address = u32::from_ne_bytes(vip.ip().octets());
            map.remove(&FrontendKey4 {
                address,
                port,
                protocol,
                zero,
            })
            .unwrap();
        }
        SocketAddr::V6(vip) => {
            let map = Map::HashMap(open(settings, names::FRONTENDS6));
            let mut map: HashMap<_, FrontendKey6, FrontendEntry> = map.try_into().unwrap();
            let mut address = [0; 4];
            for (word, bytes) in address.iter_mut().zip(vip.ip().octets().chunks(4)) {
                *word = u32::from_ne_bytes(bytes.try_into().unwrap());
            }
            map.remove(&FrontendKey6 {
                address,
                port,
                protocol,
                zero,
            })
            .unwrap();
        }
    }
}

/// Changes what programs and user space tell each other.
pub(crate) fn change_state(settings: &Settings, change: impl FnOnce(&mut StateEntry)) {
    let mut map: Array<_, StateEntry> =
        Map::Array(open(settings, names::STATE)).try_into().unwrap();
    let mut state = map.get(&0, 0).unwrap();
    change(&mut state);
    map.set(0, state, 0).unwrap();
}

/// Nobody has more to say of the slots: they have been as they are for long.
pub(crate) fn settle(settings: &Settings) {
    let mut map: Array<_, Slot> = Map::Array(open(settings, names::TABLES))
        .try_into()
        .unwrap();
    for index in 0..map.len() {
        let slot = map.get(&index, 0).unwrap();
        if slot.unsettled != 0 {
            map.set(
                index,
                Slot {
                    unsettled: 0,
                    ..slot
                },
                0,
            )
            .unwrap();
        }
    }
}

/// Makes every connection older.
pub(crate) fn age(settings: &Settings, seconds: u32) {
    let jiffies = seconds * jiffies_per_second();
    macro_rules! age {
        ($kind:ident, $name:expr, $key:ty, $entry:ty) => {
            let mut map: HashMap<_, $key, $entry> =
                Map::$kind(open(settings, $name)).try_into().unwrap();
            let entries: Vec<($key, $entry)> = map.iter().collect::<Result<_, _>>().unwrap();
            for (key, mut entry) in entries {
                entry.state.seen = entry.state.seen.wrapping_sub(jiffies);
                map.insert(key, entry, 0).unwrap();
            }
        };
    }
    age!(
        HashMap,
        names::CONNECTIONS4,
        ConnectionKey4,
        ConnectionEntry4
    );
    age!(
        HashMap,
        names::CONNECTIONS6,
        ConnectionKey6,
        ConnectionEntry6
    );
    age!(
        LruHashMap,
        names::HALF_OPEN4,
        ConnectionKey4,
        ConnectionEntry4
    );
    age!(
        LruHashMap,
        names::HALF_OPEN6,
        ConnectionKey6,
        ConnectionEntry6
    );
}

fn jiffies_per_second() -> u32 {
    // SAFETY: all zeros is a valid structure for the call to fill.
    let tick = unsafe {
        let mut tick: libc::timespec = std::mem::zeroed();
        libc::clock_getres(libc::CLOCK_MONOTONIC_COARSE, &raw mut tick);
        tick
    };
    u32::try_from(1_000_000_000 / tick.tv_nsec).unwrap()
}
