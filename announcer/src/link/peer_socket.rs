//! Packet sockets of the heartbeats: for frames of other announcers, and for answers to questions about them.
//!
//! Apart from the responder's, because nobody may wait here, for a frame or for room to send one.

use std::io::ErrorKind::{Interrupted, WouldBlock};
use std::io::{self, Read as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

use landfall_wire::Mac;
use landfall_wire::link::filter::{self, Op};
use socket2::{Domain, Socket, Type};

use super::IfIndex;
use super::socket::{address, assemble, index, set_option};

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ear {
    /// What announcers say to each other.
    Peers,
    /// ARP replies to this host.
    ArpReplies,
    /// Neighbour advertisements.
    Advertisements,
}

impl Ear {
    const fn ether_type(self) -> u16 {
        match self {
            Self::Peers => landfall_wire::peers::ETHER_TYPE,
            Self::ArpReplies => 0x0806,
            Self::Advertisements => 0x86dd,
        }
    }

    fn filter(self) -> Vec<Op> {
        match self {
            Self::Peers => filter::peers(),
            Self::ArpReplies => filter::arp_replies(),
            Self::Advertisements => filter::advertisements(),
        }
    }
}

/// A bound, filtered packet socket that keeps nobody waiting.
#[derive(Debug)]
pub struct PeerSocket(Socket);

impl PeerSocket {
    /// Opens a socket on the interface.
    ///
    /// # Errors
    /// The operating system's; `EPERM` without `CAP_NET_RAW`, `ENODEV` when the interface has gone.
    pub fn open(ifindex: IfIndex, ear: Ear) -> io::Result<Self> {
        let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
        socket.set_nonblocking(true)?;
        socket.attach_filter(&assemble(&ear.filter()))?;
        let fd = socket.as_raw_fd();
        // Kernels before 4.20 lack it; the filter drops what this host sent as well.
        let _ = set_option(fd, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &1_i32);
        socket.bind(&address(ifindex, ear.ether_type())?)?;
        Ok(Self(socket))
    }

    /// Lets the interface receive what is sent to this group of Ethernet addresses.
    ///
    /// # Errors
    /// The operating system's.
    pub fn join(&self, ifindex: IfIndex, group: Mac) -> io::Result<()> {
        let mut address = [0; 8];
        address[..6].copy_from_slice(&group.0);
        let request = libc::packet_mreq {
            mr_ifindex: index(ifindex)?,
            mr_type: u16::try_from(libc::PACKET_MR_MULTICAST).unwrap_or_default(),
            mr_alen: 6,
            mr_address: address,
        };
        let fd = self.0.as_raw_fd();
        set_option(fd, libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &request)
    }

    /// Reads a frame that is there already into `buffer`; what does not fit is cut off.
    ///
    /// # Errors
    /// The operating system's; `ENETDOWN` once when the interface goes down.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match (&self.0).read(buffer) {
            Ok(length) => Ok(Some(length)),
            Err(error) if matches!(error.kind(), WouldBlock | Interrupted) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends a frame, now or not at all.
    ///
    /// # Errors
    /// The operating system's; `WouldBlock` or `ENOBUFS` when the queue of the interface is full.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.0.send(frame).map(|_| ())
    }
}

impl AsFd for PeerSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
