//! One interface as the thread uses it: its sockets, and by which Ethernet addresses nodes were heard on it.

use std::collections::BTreeMap;
use std::io;

use landfall_election::{NodeName, Now};
use landfall_wire::Mac;
use landfall_wire::peers::GROUP;

use crate::link::{Ear, IfIndex, PeerSocket};

/// An interface with its sockets open.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) mac: Mac,
    /// Heartbeats and what else announcers say to each other.
    pub(super) peers: PeerSocket,
    /// Answers to the questions, in either family.
    pub(super) answers: [PeerSocket; 2],
    /// Of authentic frames only.
    pub(super) heard_from: BTreeMap<NodeName, Mac>,
    /// More came than is believed: left to the kernel's queue until then.
    pub(super) rests_until: Now,
}

impl Segment {
    /// # Errors
    /// The operating system's.
    pub(super) fn open(ifindex: IfIndex, mac: Mac) -> io::Result<Self> {
        let peers = PeerSocket::open(ifindex, Ear::Peers)?;
        peers.join(ifindex, GROUP)?;
        Ok(Self {
            mac,
            peers,
            answers: [
                PeerSocket::open(ifindex, Ear::ArpReplies)?,
                PeerSocket::open(ifindex, Ear::Advertisements)?,
            ],
            heard_from: BTreeMap::new(),
            rests_until: Now::ZERO,
        })
    }

    pub(super) fn sockets(&self) -> impl Iterator<Item = &PeerSocket> {
        std::iter::once(&self.peers).chain(&self.answers)
    }
}
