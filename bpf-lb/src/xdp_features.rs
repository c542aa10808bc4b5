//! What a driver says that it can do with XDP frames: the generic netlink family `netdev` (Linux 6.3).

use std::ffi::CStr;
use std::io;

use crate::netlink::{Attributes, ERROR, ask_by, code, kind_of, receive};

/// The family of generic netlink that knows the others (`GENL_ID_CTRL`), and how it is asked for one by name.
const CONTROL: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
/// How `netdev` is asked for an interface.
const NETDEV: &CStr = c"netdev";
const GET_DEVICE: u8 = 1;
const DEVICE_INDEX: u16 = 1;
const DEVICE_FEATURES: u16 = 3;
/// `NETDEV_XDP_ACT_BASIC`: it runs programs.
const BASIC: u64 = 1;
/// `NETDEV_XDP_ACT_NDO_XMIT`: it transmits frames that come in by others.
const TRANSMITS: u64 = 4;
/// `struct nlmsghdr` and `struct genlmsghdr`.
const HEADERS: usize = 16 + 4;

/// Whether an interface transmits XDP frames that came in by another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transmits {
    Yes,
    /// It does not now; many drivers do as soon as they run a program.
    NotNow,
    /// Its driver does not know XDP.
    Never,
}

/// Whether this interface does; nothing where the kernel does not tell.
pub(crate) fn transmits(ifindex: u32) -> Option<Transmits> {
    let features = features(ifindex)
        .inspect_err(|error| tracing::trace!(ifindex, %error, "no word of XDP features"))
        .ok()?;
    Some(match features {
        features if features & TRANSMITS != 0 => Transmits::Yes,
        features if features & BASIC != 0 => Transmits::NotNow,
        _ => Transmits::Never,
    })
}

/// The bits of `enum netdev_xdp_act` that hold for an interface of this thread's network namespace.
fn features(ifindex: u32) -> io::Result<u64> {
    let family = question(CONTROL, GET_FAMILY, FAMILY_NAME, NETDEV.to_bytes_with_nul())?;
    let family = u16::from_ne_bytes(attribute(&family, FAMILY_ID)?);
    let device = question(family, GET_DEVICE, DEVICE_INDEX, &ifindex.to_ne_bytes())?;
    Ok(u64::from_ne_bytes(attribute(&device, DEVICE_FEATURES)?))
}

/// The answer to a question of one attribute.
fn question(family: u16, command: u8, kind: u16, value: &[u8]) -> io::Result<Vec<u8>> {
    let length = u16::try_from(4 + value.len()).map_err(io::Error::other)?;
    // The command, of version 1.
    let mut asked = vec![command, 1, 0, 0];
    asked.extend(length.to_ne_bytes());
    asked.extend(kind.to_ne_bytes());
    asked.extend(value);
    asked.resize(asked.len().next_multiple_of(4), 0);
    let answer = receive(&ask_by(libc::NETLINK_GENERIC, family, 0, &asked)?)?;
    match kind_of(&answer) {
        Some(kind) if kind == family => Ok(answer),
        Some(ERROR) => Err(code(&answer).err().unwrap_or_else(unexpected)),
        _ => Err(unexpected()),
    }
}

fn attribute<const N: usize>(answer: &[u8], kind: u16) -> io::Result<[u8; N]> {
    let attributes = Attributes(answer.get(HEADERS..).unwrap_or_default());
    let found = attributes.into_iter().find(|(found, _)| *found == kind);
    let value = found.and_then(|(_, value)| value.try_into().ok());
    value.ok_or_else(unexpected)
}

fn unexpected() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "an answer to another question")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_that_is_gone_says_nothing() {
        assert_eq!(transmits(u32::from(u16::MAX)), None);
    }

    #[test]
    fn the_loopback_knows_no_xdp() {
        // Before Linux 6.3 nobody says so.
        assert!(matches!(transmits(1), None | Some(Transmits::Never)));
    }
}
