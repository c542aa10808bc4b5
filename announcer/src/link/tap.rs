//! A socket that only looks: what an interface receives and sends of ARP, Neighbour Discovery and announcers' frames.

use std::io;
use std::io::ErrorKind::{Interrupted, WouldBlock};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::ptr;

use landfall_wire::link::filter;
use libc::sockaddr_ll;
use socket2::{Domain, Socket, Type};

use super::IfIndex;
use super::socket::{QUEUE, address, assemble, dropped, set_option};

/// Bound to one interface; nothing is ever sent by it.
#[derive(Debug)]
pub struct Tap(Socket);

/// A frame that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tapped {
    /// How much of it is in the buffer.
    pub length: usize,
    /// Whether this host sent it.
    pub is_sent: bool,
}

impl Tap {
    /// Opens one on the interface.
    ///
    /// # Errors
    /// The operating system's; `EPERM` without `CAP_NET_RAW`, `ENODEV` when the interface has gone.
    pub fn open(ifindex: IfIndex) -> io::Result<Self> {
        let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
        socket.set_nonblocking(true)?;
        socket.attach_filter(&assemble(&filter::neighbours_and_peers()))?;
        // Beyond the system's limit only with CAP_NET_ADMIN; without it the default has to do.
        let _ = set_option(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUFFORCE,
            &QUEUE,
        );
        // What this host sends is shown to sockets of every protocol alone.
        let every = u16::try_from(libc::ETH_P_ALL).unwrap_or_default();
        socket.bind(&address(ifindex, every)?)?;
        Ok(Self(socket))
    }

    /// Reads a frame that has passed into `buffer`; what does not fit is cut off. `None` when none has.
    ///
    /// # Errors
    /// The operating system's; `ENETDOWN` once when the interface goes down.
    pub fn take(&self, buffer: &mut [u8]) -> io::Result<Option<Tapped>> {
        // SAFETY: bytes are valid as bytes that may be none yet, and the call writes nothing else into them.
        let buffer = unsafe { &mut *(ptr::from_mut(buffer) as *mut [MaybeUninit<u8>]) };
        match self.0.recv_from(buffer) {
            Ok((length, from)) => {
                // SAFETY: a packet socket's address is a `sockaddr_ll`, for which the storage has room.
                let from = unsafe { &*from.as_ptr().cast::<sockaddr_ll>() };
                Ok(Some(Tapped {
                    length,
                    is_sent: from.sll_pkttype == libc::PACKET_OUTGOING,
                }))
            }
            Err(error) if matches!(error.kind(), WouldBlock | Interrupted) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Frames the kernel dropped since the last call because this socket's queue was full.
    ///
    /// # Errors
    /// The operating system's.
    pub fn take_dropped(&self) -> io::Result<u32> {
        dropped(self.0.as_raw_fd())
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
