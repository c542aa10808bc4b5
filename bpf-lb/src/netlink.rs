//! Questions to the kernel by netlink, as far as interfaces are asked about: messages made and read by hand.
//!
//! Not for the tables of connections, which a library reads.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// The kinds of messages that end an answer.
pub(crate) const ERROR: u16 = 2;
pub(crate) const DONE: u16 = 3;
/// Has the kernel tell the asker what it tells those who listen (`NLM_F_ECHO`), and at least that it was asked
/// (`NLM_F_ACK`).
pub(crate) const ONE: u16 = 0x0c;
/// Has the kernel answer with all that there are (`NLM_F_DUMP`).
pub(crate) const ALL: u16 = 0x300;
const REQUEST: u16 = 1;
const HEADER: u32 = 16;

/// Asks the kernel by route netlink, by a socket on which it answers.
pub(crate) fn ask(kind: u16, flags: u16, asked: &[u8]) -> io::Result<OwnedFd> {
    ask_by(libc::NETLINK_ROUTE, kind, flags, asked)
}

/// Asks the kernel by a protocol of netlink, by a socket on which it answers.
pub(crate) fn ask_by(protocol: i32, kind: u16, flags: u16, asked: &[u8]) -> io::Result<OwnedFd> {
    let socket = socket(libc::AF_NETLINK, libc::SOCK_RAW, protocol)?;
    let length = u32::try_from(asked.len()).map_err(io::Error::other)?;
    // struct nlmsghdr.
    let mut request = Vec::new();
    request.extend((HEADER + length).to_ne_bytes());
    request.extend(kind.to_ne_bytes());
    request.extend((REQUEST | flags).to_ne_bytes());
    request.extend([0; 8]);
    request.extend(asked);
    // SAFETY: the buffer is as long as said.
    let sent = unsafe {
        libc::send(
            socket.as_raw_fd(),
            request.as_ptr().cast(),
            request.len(),
            0,
        )
    };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(socket)
}

pub(crate) fn receive(socket: &OwnedFd) -> io::Result<Vec<u8>> {
    let mut answer = vec![0; 65_536];
    // SAFETY: the buffer is as long as said.
    let length = unsafe {
        libc::recv(
            socket.as_raw_fd(),
            answer.as_mut_ptr().cast(),
            answer.len(),
            0,
        )
    };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    answer.truncate(length);
    Ok(answer)
}

/// The kind of a netlink message.
pub(crate) fn kind_of(message: &[u8]) -> Option<u16> {
    let kind = message.get(4..6)?.try_into().ok()?;
    Some(u16::from_ne_bytes(kind))
}

/// What a message says that ends an answer: that all went well, or why not.
pub(crate) fn code(message: &[u8]) -> io::Result<()> {
    match word(message, 16).unwrap_or_default().cast_signed() {
        0.. => Ok(()),
        code => Err(io::Error::from_raw_os_error(code.saturating_neg())),
    }
}

pub(crate) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.get(..4)?.try_into().ok()?;
    Some(u32::from_ne_bytes(bytes))
}

pub(crate) fn socket(domain: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    // SAFETY: a plain system call.
    let fd = unsafe { libc::socket(domain, kind | libc::SOCK_CLOEXEC, protocol) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Netlink attributes one after the other.
pub(crate) struct Attributes<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let header = self.0.get(..4)?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]);
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}
