//! The cluster as plain values: what the watches saw, without anything the announcer does not use.
//!
//! Not a copy of the API's types: whatever an object may say, it has been read here into something that can be decided
//! on (`convert`), so that nonsense is met in one place. The invariant: an object that cannot be read is not in the
//! [`World`]; it never stops a watch.

mod change;
mod convert;
mod patterns;
pub mod published;
#[cfg(test)]
mod recorded;
mod world;

pub use change::{Key, Kind, Object};
pub use convert::{Unreadable, lbip, lease, namespace, node, policy, service, slice};
pub use patterns::{InterfacePatterns, PatternError};
pub use published::{Interface, Published, XdpState};
pub use world::{
    Ended, Endpoint, Lbip, Namespace, Node, Peer, Policy, Readiness, Service, ServicePort, Slice,
    SlicePort, World,
};
