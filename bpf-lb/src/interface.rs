//! What the kernel says of a network interface: its name, its driver, the XDP program on it.
//!
//! A few system calls of this thread's network namespace; nothing is kept.

use std::ffi::CStr;
use std::io;
use std::mem::zeroed;
use std::os::fd::AsRawFd;

use crate::netlink::{Attributes, ERROR, ask, code, kind_of, receive, socket};

/// Drivers whose frames come from the same machine, or that have no native XDP worth having.
/// Native XDP on a veth loses the note that a checksum is still to be filled in: what a local
/// sender sent would be thrown away by its receiver.
const GENERIC_DRIVERS: [&str; 4] = ["veth", "bridge", "tun", "macvlan"];

/// The name of the interface of this index.
pub(crate) fn name(ifindex: u32) -> io::Result<String> {
    const IFLA_IFNAME: u16 = 3;
    let answer = get_link(ifindex)?;
    let name = Attributes(answer.get(LINK_ATTRIBUTES..).unwrap_or_default())
        .find(|(kind, _)| *kind == IFLA_IFNAME)
        .and_then(|(_, name)| CStr::from_bytes_until_nul(name).ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "an interface without a name"))?;
    Ok(name.to_string_lossy().into_owned())
}

/// Whether an interface could not be asked for there is none of its index.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENODEV)
}

/// Why the program does not belong into the driver of the interface `name` whatever that offers, if so.
pub(crate) fn why_generic(name: &str) -> io::Result<Option<String>> {
    Ok(match driver(name)? {
        None => Some("it has no driver to tell".to_owned()),
        Some(driver) if GENERIC_DRIVERS.contains(&driver.as_str()) => {
            Some(format!("native XDP is of no use with its driver, {driver}"))
        }
        Some(_) => None,
    })
}

/// Whether the interface `name` takes VLAN tags off received frames, before native XDP sees those.
pub(crate) fn strips_tags(name: &str) -> io::Result<bool> {
    const ETHTOOL_GFLAGS: u32 = 0x25;
    const RECEIVE_VLAN: u32 = 1 << 8;
    #[repr(C)]
    struct Value {
        command: u32,
        data: u32,
    }
    let mut value = Value {
        command: ETHTOOL_GFLAGS,
        data: 0,
    };
    let mut request = Request::new(name)?;
    request.0.ifr_ifru.ifru_data = (&raw mut value).cast();
    match request.ioctl(libc::SIOCETHTOOL) {
        Ok(()) => Ok(value.data & RECEIVE_VLAN != 0),
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The driver's name; some interfaces have none to tell.
fn driver(name: &str) -> io::Result<Option<String>> {
    const ETHTOOL_GDRVINFO: u32 = 3;
    #[repr(C)]
    struct DriverInfo {
        command: u32,
        driver: [u8; 32],
        rest: [u8; 256],
    }
    let mut info = DriverInfo {
        command: ETHTOOL_GDRVINFO,
        driver: [0; 32],
        rest: [0; 256],
    };
    let mut request = Request::new(name)?;
    request.0.ifr_ifru.ifru_data = (&raw mut info).cast();
    match request.ioctl(libc::SIOCETHTOOL) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => return Ok(None),
        Err(error) => return Err(error),
    }
    let name = CStr::from_bytes_until_nul(&info.driver).unwrap_or_default();
    Ok(Some(name.to_string_lossy().into_owned()))
}

struct Request(libc::ifreq);

impl Request {
    fn new(name: &str) -> io::Result<Self> {
        // SAFETY: all zeros is a valid request.
        let mut request: libc::ifreq = unsafe { zeroed() };
        if name.len() >= request.ifr_name.len() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "interface name too long",
            ));
        }
        for (slot, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *slot = libc::c_char::from_ne_bytes([byte]);
        }
        Ok(Self(request))
    }

    fn ioctl(&mut self, request: libc::c_ulong) -> io::Result<()> {
        let socket = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
        // SAFETY: every request used here reads and writes an `ifreq`.
        let result = unsafe { libc::ioctl(socket.as_raw_fd(), request, &raw mut self.0) };
        if result < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }
}

/// The id of the XDP program on the interface, if there is one.
pub(crate) fn xdp_program(ifindex: u32) -> io::Result<Option<u32>> {
    const IFLA_XDP: u16 = 43;
    /// The first three tell a program by mode, the last one if there is but one.
    const PROGRAM_IDS: [u16; 4] = [4, 5, 6, 7];
    let answer = get_link(ifindex)?;
    let Some(attributes) = answer.get(LINK_ATTRIBUTES..) else {
        return Ok(None);
    };
    let xdp = Attributes(attributes).find(|(kind, _)| kind & 0x3fff == IFLA_XDP);
    let Some((_, nested)) = xdp else {
        return Ok(None);
    };
    let id = Attributes(nested)
        .find(|(kind, _)| PROGRAM_IDS.contains(kind))
        .and_then(|(_, value)| {
            let id = u32::from_ne_bytes(value.get(..4)?.try_into().ok()?);
            (id != 0).then_some(id)
        });
    Ok(id)
}

/// Where the attributes of an RTM_NEWLINK message begin: behind `struct nlmsghdr` and
/// `struct ifinfomsg`.
const LINK_ATTRIBUTES: usize = 16 + 16;

/// The kernel's RTM_NEWLINK message for the interface.
fn get_link(ifindex: u32) -> io::Result<Vec<u8>> {
    // struct ifinfomsg.
    let mut asked = vec![0; 4];
    asked.extend(ifindex.to_ne_bytes());
    asked.extend([0; 8]);
    link(receive(&ask(libc::RTM_GETLINK, 0, &asked)?)?)
}

/// An answer, if it is an RTM_NEWLINK message.
fn link(answer: Vec<u8>) -> io::Result<Vec<u8>> {
    match kind_of(&answer) {
        Some(libc::RTM_NEWLINK) => Ok(answer),
        Some(ERROR) => Err(code(&answer).err().unwrap_or_else(unexpected)),
        _ => Err(unexpected()),
    }
}

fn unexpected() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "an answer to another question")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message that says why there is no other.
    fn refusal(errno: i32) -> Vec<u8> {
        let mut message = 36_u32.to_ne_bytes().to_vec();
        message.extend(ERROR.to_ne_bytes());
        message.extend([0; 10]);
        message.extend((-errno).to_ne_bytes());
        message.extend([0; 16]);
        message
    }

    #[test]
    fn an_interface_is_gone_only_if_the_kernel_says_so() {
        let says = |errno| link(refusal(errno)).unwrap_err();
        assert!(is_gone(&says(libc::ENODEV)));
        for errno in [libc::ENOBUFS, libc::EPERM, libc::EMFILE] {
            assert_eq!(says(errno).raw_os_error(), Some(errno));
            assert!(!is_gone(&says(errno)));
        }
        for cut in [Vec::new(), refusal(0), vec![0; 16]] {
            assert!(!is_gone(&link(cut).unwrap_err()));
        }
        assert!(is_gone(&name(u32::from(u16::MAX)).unwrap_err()));
    }
}
