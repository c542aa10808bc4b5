//! What announcers say to each other on a segment, as bytes: frames of EtherType 0x88B5 that only holders of the
//! cluster's key can make.
//!
//! It is: the format (`docs/reference/heartbeat.md`, byte by byte), the code that makes a frame authentic, the keys, the
//! memory against replays, and the bound on what forged frames may cost. It is not: what a frame means (the election's),
//! sockets, threads, clocks.
//!
//! ```text
//!  Frame ─► Speaker::say ─► pieces that fit ─► header, body, code ─► bytes for the socket
//!
//!  bytes ─► Envelope::open ─► Budget ─► Envelope::authenticate ─► Replay ─► Body::parse ─► Frame
//!              │                │                │                   │           │
//!              └────────────────┴── Refusal ─────┴───────────────────┴───────────┘     all of it: Listener::hear
//! ```
//!
//! Invariant: no byte received can make anything here panic; before a frame is known to be authentic nothing is
//! allocated, remembered or looped over for it but its code; every frame that is not believed has a [`Refusal`].

mod body;
mod budget;
mod bytes;
mod envelope;
mod keys;
pub mod letter;
mod listener;
mod pieces;
mod refusal;
mod replay;
mod speaker;
#[cfg(test)]
mod tests;

pub use body::{Beat, Body, Fenced, Flags, Heard, Kind, Move, Suspect, Title};
pub use envelope::{Authentic, Envelope};
pub use keys::{Key, KeyError, KeyId, KeyRing};
pub use listener::{Listener, source};
pub use refusal::Refusal;
pub use speaker::{Speaker, Unsayable};

use crate::Mac;

/// The first of the two EtherTypes that IEEE 802 keeps for local experiments.
pub const ETHER_TYPE: u16 = crate::ethernet::PEERS;
/// The group all announcers of a segment listen to: locally administered, and no protocol's of the IEEE.
pub const GROUP: Mac = Mac([0x03, 0x4c, 0x46, 0x88, 0xb5, 0x01]);
/// Bytes of a message at most. Every link that carries IPv6 takes as many (RFC 8200 §5), so no frame of ours is ever too
/// long for an interface.
pub const LONGEST_MESSAGE: usize = 1_280;
/// Bytes of a name of a node at most: what Kubernetes allows.
pub const LONGEST_NODE: usize = 253;
/// Bytes of a session's name at most.
pub const LONGEST_SESSION: usize = 40;
/// Acknowledgements in a beat, and ended sessions, at most.
pub const LONGEST_LIST: usize = 16;
/// Suspects, claims or moves in a frame at most.
pub const MOST_ITEMS: usize = 32;

/// Room for one frame.
pub type Buffer = [u8; crate::ethernet::HEADER + LONGEST_MESSAGE];

/// A buffer to emit into.
#[must_use]
pub const fn buffer() -> Buffer {
    [0; crate::ethernet::HEADER + LONGEST_MESSAGE]
}

/// Which cluster a frame is of: several may share a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClusterId(pub [u8; 8]);

impl ClusterId {
    /// Of a cluster known by this text: the uid of its namespace `kube-system`, which outlives everything else in it.
    #[must_use]
    pub fn of(uid: &str) -> Self {
        Self(keys::digest(uid.as_bytes()))
    }
}

/// What one announcer tells others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Who sent it.
    pub node: &'a str,
    /// Its session.
    pub session: &'a str,
    /// What it says.
    pub body: Body<'a>,
}
