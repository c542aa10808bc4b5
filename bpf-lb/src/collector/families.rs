//! The entries of both families' tables, and what they say of a connection.

use std::net::{IpAddr, SocketAddr};

use aya::Pod;
use landfall_bpf_lb_common::records::{
    ConnectionEntry4, ConnectionEntry6, ConnectionKey4, ConnectionKey6, ConnectionState, Direction,
};

use crate::desired::{Endpoint, Frontend, Protocol};
use crate::duties::Flow;

/// Key and value of one family's tables.
pub(super) trait Table {
    type Key: Pod + Default + PartialEq;
    type Value: Pod + Default;
    fn protocol(key: &Self::Key) -> Option<Protocol>;
    fn direction(key: &Self::Key) -> u8;
    fn state(value: &Self::Value) -> &ConnectionState;
    /// The key of the other direction.
    fn twin(key: &Self::Key, value: &Self::Value) -> Self::Key;
    /// The pod of a connection, by its forward entry.
    fn pod(value: &Self::Value) -> Endpoint;
    /// The connection of a forward entry.
    fn flow(key: &Self::Key) -> Option<Flow>;
    /// The key of its forward entry; `None` if it is of the other family.
    fn key(flow: &Flow) -> Option<Self::Key>;
    /// An entry that has no pod.
    fn value(state: ConnectionState) -> Self::Value;
}

/// IPv4.
pub(super) struct Four;
/// IPv6.
pub(super) struct Six;

macro_rules! table {
    ($family:ty, $key:ident, $value:ident, $from:expr, $to:expr) => {
        impl Table for $family {
            type Key = $key;
            type Value = $value;

            fn protocol(key: &$key) -> Option<Protocol> {
                [Protocol::Tcp, Protocol::Udp]
                    .into_iter()
                    .find(|known| *known as u8 == key.protocol)
            }

            fn direction(key: &$key) -> u8 {
                key.direction
            }

            fn state(value: &$value) -> &ConnectionState {
                &value.state
            }

            fn twin(key: &$key, value: &$value) -> $key {
                let forward = key.direction == Direction::Forward as u8;
                $key {
                    address: value.address,
                    port: value.state.port,
                    direction: if forward {
                        Direction::Reverse as u8
                    } else {
                        Direction::Forward as u8
                    },
                    ..*key
                }
            }

            fn pod(value: &$value) -> Endpoint {
                Endpoint {
                    address: $from(value.address),
                    port: u16::from_be(value.state.port),
                }
            }

            fn flow(key: &$key) -> Option<Flow> {
                let forward = key.direction == Direction::Forward as u8;
                Some(Flow {
                    client: SocketAddr::new($from(key.client), u16::from_be(key.client_port)),
                    frontend: Frontend {
                        address: $from(key.address),
                        port: u16::from_be(key.port),
                        protocol: Self::protocol(key).filter(|_| forward)?,
                    },
                })
            }

            fn key(flow: &Flow) -> Option<$key> {
                Some($key {
                    client: $to(flow.client.ip())?,
                    address: $to(flow.frontend.address)?,
                    client_port: flow.client.port().to_be(),
                    port: flow.frontend.port.to_be(),
                    protocol: flow.frontend.protocol as u8,
                    direction: Direction::Forward as u8,
                    ..$key::default()
                })
            }

            fn value(state: ConnectionState) -> $value {
                $value {
                    state,
                    ..$value::default()
                }
            }
        }
    };
}

table!(Four, ConnectionKey4, ConnectionEntry4, from4, to4);
table!(Six, ConnectionKey6, ConnectionEntry6, from6, to6);

fn from4(address: u32) -> IpAddr {
    IpAddr::from(address.to_ne_bytes())
}

fn to4(address: IpAddr) -> Option<u32> {
    match address {
        IpAddr::V4(address) => Some(u32::from_ne_bytes(address.octets())),
        IpAddr::V6(_) => None,
    }
}

fn from6(address: [u64; 2]) -> IpAddr {
    let [high, low] = address.map(u64::to_ne_bytes);
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&high);
    bytes[8..].copy_from_slice(&low);
    IpAddr::from(bytes)
}

fn to6(address: IpAddr) -> Option<[u64; 2]> {
    match address {
        IpAddr::V6(address) => {
            let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = address.octets();
            Some([[a, b, c, d, e, f, g, h], [i, j, k, l, m, n, o, p]].map(u64::from_ne_bytes))
        }
        IpAddr::V4(_) => None,
    }
}
