//! Ethernet addresses, and the header, with up to two VLAN tags on the way in and none on the way out.
//!
//! Panic contract: [`Frame::parse`] never panics; [`emit`] cannot, its buffer being of fixed size.

use std::fmt;
use std::str::FromStr;

use pnet_base::MacAddr;
use pnet_packet::ethernet::{EtherType, EthernetPacket, MutableEthernetPacket};
use pnet_packet::vlan::VlanPacket;
use serde::{Deserialize, Serialize};

use super::{Buffer, Reason};

/// Bytes before the payload of an untagged frame.
pub const HEADER: usize = 14;
/// EtherType of ARP.
pub const ARP: u16 = 0x0806;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;
/// EtherType of frames between announcers: the first that IEEE 802 keeps for local experiments.
pub const PEERS: u16 = 0x88b5;

const TAGS: [u16; 3] = [0x8100, 0x88a8, 0x9100];

/// An Ethernet address.
///
/// As text, and in what announcers publish, it is six pairs of hexadecimal digits with colons between them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Everybody on the segment.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// "Not known", in an ARP request.
    pub const ZERO: Self = Self([0; 6]);

    /// Whether it names a group: multicast or broadcast.
    #[must_use]
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Whether it can be the address of one interface.
    #[must_use]
    pub fn is_station(self) -> bool {
        !self.is_group() && self != Self::ZERO
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Mac {
    type Err = ParseMacError;

    fn from_str(text: &str) -> Result<Self, ParseMacError> {
        let mut mac = [0; 6];
        let mut pairs = text.split(':');
        for byte in &mut mac {
            *byte = pairs
                .next()
                .and_then(pair)
                .ok_or_else(|| ParseMacError(text.to_owned()))?;
        }
        match pairs.next() {
            None => Ok(Self(mac)),
            Some(_) => Err(ParseMacError(text.to_owned())),
        }
    }
}

/// One or two hexadecimal digits, and no sign before them.
fn pair(text: &str) -> Option<u8> {
    let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    u8::from_str_radix(text, 16).ok().filter(|_| digits)
}

impl TryFrom<String> for Mac {
    type Error = ParseMacError;

    fn try_from(text: String) -> Result<Self, ParseMacError> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

/// A text that is no Ethernet address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no Ethernet address; one is written like 02:00:00:00:00:01")]
pub struct ParseMacError(String);

/// A received frame: its addresses, tags and what it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// To whom.
    pub destination: Mac,
    /// From whom.
    pub source: Mac,
    /// VLAN identifiers, outer first.
    pub vlans: [Option<u16>; 2],
    /// What the payload is.
    pub ether_type: u16,
    /// The rest, padding included.
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`Reason::Truncated`] when the header is not all there; [`Reason::VlanTagged`] for a third tag.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Reason> {
        let header = EthernetPacket::new(bytes).ok_or(Reason::Truncated)?;
        let mut ether_type = header.get_ethertype().0;
        let mut payload = bytes.get(HEADER..).ok_or(Reason::Truncated)?;
        let mut vlans = [None; 2];
        for vlan in &mut vlans {
            if !TAGS.contains(&ether_type) {
                break;
            }
            let tag = VlanPacket::new(payload).ok_or(Reason::Truncated)?;
            *vlan = Some(tag.get_vlan_identifier());
            ether_type = tag.get_ethertype().0;
            payload = payload.get(4..).ok_or(Reason::Truncated)?;
        }
        if TAGS.contains(&ether_type) {
            return Err(Reason::VlanTagged);
        }
        Ok(Self {
            destination: from_pnet(header.get_destination()),
            source: from_pnet(header.get_source()),
            vlans,
            ether_type,
            payload,
        })
    }

    /// Whether it is addressed to `mac` or to a group.
    #[must_use]
    pub fn reaches(&self, mac: Mac) -> bool {
        self.destination == mac || self.destination.is_group()
    }
}

/// Writes an untagged header.
pub fn emit(destination: Mac, source: Mac, ether_type: u16, out: &mut Buffer) {
    if let Some(mut header) = MutableEthernetPacket::new(out) {
        header.set_destination(to_pnet(destination));
        header.set_source(to_pnet(source));
        header.set_ethertype(EtherType(ether_type));
    }
}

pub(super) fn to_pnet(mac: Mac) -> MacAddr {
    MacAddr::from(mac.0)
}

pub(super) fn from_pnet(mac: MacAddr) -> Mac {
    Mac(mac.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ethernet_address_is_read_as_it_is_written() {
        let mac = Mac([2, 0, 0xa, 0xb0, 0, 0xff]);
        assert_eq!(mac.to_string().parse(), Ok(mac));
        let text = serde_json::to_string(&mac).unwrap();
        assert_eq!(text, r#""02:00:0a:b0:00:ff""#);
        assert_eq!(serde_json::from_str::<Mac>(&text).unwrap(), mac);
    }

    #[test]
    fn what_is_no_ethernet_address_is_refused() {
        for text in [
            "",
            "02:00:00:00:00",
            "02:00:00:00:00:01:02",
            "02:00:00:00:00:+1",
            "02-00-00-00-00-01",
            "02:00:00:00:00:100",
        ] {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
    }
}
