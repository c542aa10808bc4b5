//! Interfaces, sockets and neighbours of this node: the only module of the announcer with syscalls.
//!
//! It is: what the kernel knows (links and addresses from netlink events, neighbours kept resolved), what it is asked
//! to do (packet sockets with their filter, multicast groups). It is not: what its messages say and which links may
//! announce, which is [`landfall_wire::link`]'s; nor any decision about addresses of Services.
//!
//! ```text
//!  rtnetlink ─► monitor ─► watch<LinkTable>
//!            └► neighbours ─► watch<Neighbours>
//!  packet sockets ◄─► responder           groups ─► MLD reports by the kernel
//! ```
//!
//! Invariant: state comes from events after one full dump; when events were lost there is another dump. Everything
//! works in the network namespace of the thread that started it.

mod addresses;
mod groups;
mod monitor;
mod neighbours;
mod peer_socket;
mod requests;
pub mod scheduling;
mod socket;
mod tap;

pub use addresses::{AddressFilter, FilterCounts};
pub use groups::{GroupKey, Groups, kernel_groups};
pub use monitor::monitor;
pub use neighbours::{NeighbourTable, Neighbours};
pub use peer_socket::{Ear, PeerSocket};
pub use socket::{PacketSocket, Protocol};
pub use tap::{Tap, Tapped};

pub use landfall_wire::link::{IfIndex, Link, LinkTable};
