//! Packet sockets: one for the ARP and one for the Neighbour Discovery of an interface.
//!
//! A socket is made without a protocol, given its filter, and only then bound: nothing of another interface can be in
//! its queue. The filter runs in the kernel; what it lets through is still checked byte by byte.
//!
//! Who receives waits in the system call, on a thread of its own: a runtime between the kernel and the answer costs 6 of
//! 21 µs.
//!
//! Most unsafe blocks of the announcer are here: socket calls that `socket2` does not have.

use std::collections::BTreeSet;
use std::io::ErrorKind::{Interrupted, WouldBlock};
use std::io::{self, Read as _};
use std::mem::{MaybeUninit, size_of};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, RawFd};
use std::ptr;
use std::time::Duration;

use landfall_wire::link::filter::{self, Op};
use libc::{c_int, sockaddr_ll, socklen_t};
use socket2::{Domain, SockAddr, SockAddrStorage, SockFilter, Socket, Type};

use super::IfIndex;

/// Bytes of frames that may wait for a socket: room for a router that asks for a thousand addresses at once.
pub(super) const QUEUE: c_int = 1 << 20;

/// How long a socket without frames keeps the one who receives waiting: whoever receives shows by it that it can.
const LONGEST_WAIT: Duration = Duration::from_millis(250);

/// Which frames a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// EtherType 0x0806.
    Arp,
    /// Neighbour solicitations and advertisements.
    Ndp,
}

impl Protocol {
    const fn ether_type(self) -> u16 {
        match self {
            Self::Arp => 0x0806,
            Self::Ndp => 0x86dd,
        }
    }

    /// The classic filter for whatever address.
    fn whole(self) -> Vec<Op> {
        match self {
            Self::Arp => filter::arp(),
            Self::Ndp => filter::ndp(),
        }
    }
}

/// A bound, filtered packet socket. Who receives waits; who sends does not.
#[derive(Debug)]
pub struct PacketSocket {
    socket: Socket,
    protocol: Protocol,
}

impl PacketSocket {
    /// Opens a socket on the interface.
    ///
    /// # Errors
    /// The operating system's; `EPERM` without `CAP_NET_RAW`, `ENODEV` when the interface has gone.
    pub fn open(ifindex: IfIndex, protocol: Protocol) -> io::Result<Self> {
        let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
        socket.set_read_timeout(Some(LONGEST_WAIT))?;
        socket.attach_filter(&assemble(&protocol.whole()))?;
        let fd = socket.as_raw_fd();
        // Kernels before 4.20 lack it; the filter drops what this host sent as well.
        let _ = set_option(fd, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &1_i32);
        // Beyond the system's limit only with CAP_NET_ADMIN; without it the default has to do.
        let _ = set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &QUEUE);
        socket.bind(&address(ifindex, protocol.ether_type())?)?;
        Ok(Self { socket, protocol })
    }

    /// Puts the classic filter in place: from now on a socket of [`Protocol::Arp`] is for packets from or about these
    /// addresses only, one of [`Protocol::Ndp`] for every neighbour message.
    ///
    /// # Errors
    /// The operating system's, when not even the filter for every packet can be put in place again.
    pub fn narrow(&self, addresses: &BTreeSet<Ipv4Addr>) -> io::Result<()> {
        let socket = &self.socket;
        let narrow = match self.protocol {
            Protocol::Arp => filter::arp_about(addresses),
            Protocol::Ndp => filter::ndp(),
        };
        // The kernel bounds the memory of filters; then every packet comes through.
        socket
            .attach_filter(&assemble(&narrow))
            .or_else(|_| socket.attach_filter(&assemble(&self.protocol.whole())))
    }

    /// Hands every multicast frame of the interface to this socket: for an interface on which the kernel has no IPv6
    /// and so no groups to join.
    ///
    /// # Errors
    /// The operating system's.
    pub fn receive_all_multicast(&self, ifindex: IfIndex) -> io::Result<()> {
        let request = libc::packet_mreq {
            mr_ifindex: index(ifindex)?,
            mr_type: u16::try_from(libc::PACKET_MR_ALLMULTI).unwrap_or_default(),
            mr_alen: 0,
            mr_address: [0; 8],
        };
        set_option(
            self.socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_ADD_MEMBERSHIP,
            &request,
        )
    }

    /// Reads a frame that has come, as [`PacketSocket::receive`] does; `None` when none has.
    ///
    /// # Errors
    /// As there.
    pub fn receive_now(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        // SAFETY: bytes are valid as bytes that may be none yet, and the call writes nothing else into them.
        let buffer = unsafe { &mut *(ptr::from_mut(buffer) as *mut [MaybeUninit<u8>]) };
        received(self.socket.recv_with_flags(buffer, libc::MSG_DONTWAIT))
    }

    /// Waits for a frame and reads it into `buffer`; what does not fit is cut off. `None` when none came for
    /// a while, or a signal did.
    ///
    /// # Errors
    /// The operating system's; `ENETDOWN` once when the interface goes down.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        received((&self.socket).read(buffer))
    }

    /// Waits until a frame has come, for a while; a signal ends it, too.
    ///
    /// # Errors
    /// The operating system's.
    pub fn wait(&self) -> io::Result<()> {
        match self.poll(LONGEST_WAIT) {
            Err(error) if error.kind() == Interrupted => Ok(()),
            waited => waited.map(drop),
        }
    }

    /// Whether a frame has come that nobody has read.
    #[must_use]
    pub fn has_unread(&self) -> bool {
        self.poll(Duration::ZERO).unwrap_or(false)
    }

    fn poll(&self, longest: Duration) -> io::Result<bool> {
        let mut wanted = libc::pollfd {
            fd: self.socket.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        let longest = c_int::try_from(longest.as_millis()).unwrap_or(c_int::MAX);
        // SAFETY: the pointer is to one such value, which outlives the call; the kernel writes plain integers into it.
        match unsafe { libc::poll(&raw mut wanted, 1, longest) } {
            0.. => Ok(wanted.revents & libc::POLLIN != 0),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Sends a frame, now or not at all.
    ///
    /// # Errors
    /// The operating system's; `WouldBlock` or `ENOBUFS` when the queue of the interface is full.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.socket
            .send_with_flags(frame, libc::MSG_DONTWAIT)
            .map(|_| ())
    }

    /// Frames the kernel dropped since the last call because this socket's queue was full.
    ///
    /// # Errors
    /// The operating system's.
    pub fn take_dropped(&self) -> io::Result<u32> {
        dropped(self.socket.as_raw_fd())
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn received(outcome: io::Result<usize>) -> io::Result<Option<usize>> {
    match outcome {
        Ok(length) => Ok(Some(length)),
        Err(error) if matches!(error.kind(), WouldBlock | Interrupted) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Frames the kernel dropped since the last call because the queue of a packet socket was full.
pub(super) fn dropped(fd: RawFd) -> io::Result<u32> {
    let mut stats = libc::tpacket_stats {
        tp_packets: 0,
        tp_drops: 0,
    };
    let mut length = length_of::<libc::tpacket_stats>();
    let pointer = (&raw mut stats).cast();
    // SAFETY: the pointer and length describe `stats`, which outlives the call; the kernel writes plain integers.
    let result = unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            pointer,
            &raw mut length,
        )
    };
    if result == 0 {
        Ok(stats.tp_drops)
    } else {
        Err(io::Error::last_os_error())
    }
}

pub(super) fn address(ifindex: IfIndex, ether_type: u16) -> io::Result<SockAddr> {
    let address = sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET).unwrap_or_default(),
        sll_protocol: ether_type.to_be(),
        sll_ifindex: index(ifindex)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: `sockaddr_ll` is a socket address type, which is what the view may be used for.
    *unsafe { storage.view_as::<sockaddr_ll>() } = address;
    // SAFETY: the storage holds a whole `sockaddr_ll`, of exactly this length.
    Ok(unsafe { SockAddr::new(storage, length_of::<sockaddr_ll>()) })
}

pub(super) fn set_option<T: Copy>(
    fd: RawFd,
    level: c_int,
    option: c_int,
    value: &T,
) -> io::Result<()> {
    let pointer = ptr::from_ref(value).cast();
    // SAFETY: the pointer and length describe `value`, which outlives the call; the kernel only reads it.
    let result = unsafe { libc::setsockopt(fd, level, option, pointer, length_of::<T>()) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn length_of<T>() -> socklen_t {
    socklen_t::try_from(size_of::<T>()).unwrap_or_default()
}

pub(super) fn index(ifindex: IfIndex) -> io::Result<c_int> {
    c_int::try_from(ifindex).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

/// A program in the form the socket call wants.
pub(super) fn assemble(program: &[Op]) -> Vec<SockFilter> {
    let instruction = |op: &Op| {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "codes are 16 bits wide; libc's constants are not"
        )]
        let code = op.code as u16;
        SockFilter::new(code, op.yes, op.no, op.value)
    };
    program.iter().map(instruction).collect()
}
