//! The frames that tell a segment where an address lives now, and the frames that ask whether it lives anywhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Buffer;
use super::answer::advert;
use super::arp::{Arp, Operation};
use super::ndp::{self, Message, Ndp};
use crate::Mac;

/// A frame that is sent unasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unasked {
    /// Gratuitous ARP as a request, from and for the address.
    ArpRequest(Ipv4Addr),
    /// Gratuitous ARP as a reply: some hosts only heed one of the two.
    ArpReply(Ipv4Addr),
    /// Unsolicited advertisement to all nodes.
    Advertisement(Ipv6Addr),
    /// ARP probe: a request without a sender (RFC 5227 §2.1.1).
    ArpProbe(Ipv4Addr),
    /// Duplicate address probe: a solicitation without a source (RFC 4862 §5.4.2).
    Solicitation(Ipv6Addr),
}

/// The frames of one announcement of `address`.
#[must_use]
pub fn announcement(address: IpAddr) -> ([Option<Unasked>; 2], u32) {
    match address {
        IpAddr::V4(address) => (
            [
                Some(Unasked::ArpRequest(address)),
                Some(Unasked::ArpReply(address)),
            ],
            2,
        ),
        IpAddr::V6(address) => ([Some(Unasked::Advertisement(address)), None], 1),
    }
}

/// The frame that asks whether anybody has `address`.
#[must_use]
pub fn question(address: IpAddr) -> Unasked {
    match address {
        IpAddr::V4(address) => Unasked::ArpProbe(address),
        IpAddr::V6(address) => Unasked::Solicitation(address),
    }
}

impl Unasked {
    /// Writes it as sent by `mac`; returns its length.
    pub fn emit(self, mac: Mac, out: &mut Buffer) -> usize {
        let arp = |operation, sender, target_mac, target| Arp {
            operation,
            sender_mac: mac,
            sender,
            target_mac,
            target,
        };
        match self {
            Self::ArpRequest(address) => {
                arp(Operation::Request, address, Mac::ZERO, address).emit(Mac::BROADCAST, out)
            }
            Self::ArpReply(address) => {
                arp(Operation::Reply, address, mac, address).emit(Mac::BROADCAST, out)
            }
            Self::ArpProbe(address) => arp(
                Operation::Request,
                Ipv4Addr::UNSPECIFIED,
                Mac::ZERO,
                address,
            )
            .emit(Mac::BROADCAST, out),
            Self::Advertisement(address) => advert(address, ndp::ALL_NODES, false, mac).emit(
                mac,
                ndp::group_mac(ndp::ALL_NODES),
                out,
            ),
            Self::Solicitation(address) => {
                let group = ndp::solicited_node(address);
                let probe = Ndp {
                    source: Ipv6Addr::UNSPECIFIED,
                    destination: group,
                    target: address,
                    message: Message::Solicitation { mac: None },
                };
                probe.emit(mac, ndp::group_mac(group), out)
            }
        }
    }
}
