//! The cluster as plain values: what the watches saw, without anything the announcer does not use.
//!
//! Not a copy of the API's types: whatever an object may say, it has been read here into something
//! that can be decided on (`convert`), so that nonsense is met in one place. The invariant: an
//! object that cannot be read is not in the [`World`]; it never stops a watch.

mod announcer;
mod change;
mod convert;
mod world;

pub use announcer::{Interface, XdpState};
pub use change::{Key, Kind, Object};
pub use convert::{Unreadable, lbip, lease, namespace, node, policy, service, slice};
pub use world::{
    Endpoint, Lbip, Namespace, Node, Peer, Policy, Readiness, Service, ServicePort, Slice,
    SlicePort, World,
};
