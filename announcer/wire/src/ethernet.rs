//! The Ethernet header, with up to two VLAN tags on the way in and none on the way out.
//!
//! Panic contract: [`Frame::parse`] never panics; [`emit`] cannot, its buffer being of fixed size.

use pnet_base::MacAddr;
use pnet_packet::ethernet::{EtherType, EthernetPacket, MutableEthernetPacket};
use pnet_packet::vlan::VlanPacket;

use super::{Buffer, Reason};
use crate::link::Mac;

/// Bytes before the payload of an untagged frame.
pub const HEADER: usize = 14;
/// EtherType of ARP.
pub const ARP: u16 = 0x0806;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;

const TAGS: [u16; 3] = [0x8100, 0x88a8, 0x9100];

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
