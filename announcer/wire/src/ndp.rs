//! Neighbour solicitations and advertisements: IPv6 header, extension headers, ICMPv6 (RFC 4861 §4.3, §4.4, §7.1).
//!
//! Panic contract: [`Ndp::parse`] never panics, whatever the bytes, and follows at most [`MAX_EXTENSIONS`] headers and
//! as many options as the message has room for; [`Ndp::emit`] cannot panic, its buffer being of fixed size.

use std::net::Ipv6Addr;

use pnet_packet::icmpv6::ndp::{
    MutableNeighborAdvertPacket, MutableNeighborSolicitPacket, NeighborAdvertPacket,
    NeighborSolicitPacket,
};
use pnet_packet::icmpv6::{Icmpv6Code, Icmpv6Packet, Icmpv6Type, checksum};
use pnet_packet::ip::IpNextHeaderProtocol;
use pnet_packet::ipv6::{Ipv6Packet, MutableIpv6Packet};

use super::ethernet;
use super::{Buffer, Reason};
use crate::Mac;

/// All nodes of the link.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// Extension headers followed before giving up.
pub const MAX_EXTENSIONS: usize = 8;

const HEADER: usize = 40;
/// Both messages have 24 bytes before their options.
const FIXED: usize = 24;
const LINK_LAYER_OPTION: usize = 8;
const ICMPV6: u8 = 58;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const SOURCE_OPTION: u8 = 1;
const TARGET_OPTION: u8 = 2;
const ROUTER_FLAG: u8 = 0x80;
const SOLICITED_FLAG: u8 = 0x40;
const OVERRIDE_FLAG: u8 = 0x20;

/// What a neighbour message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// "Who has the target address?"
    Solicitation {
        /// Source Link-Layer Address option.
        mac: Option<Mac>,
    },
    /// "The target address is here."
    Advertisement {
        /// The sender is a router.
        router: bool,
        /// In answer to a unicast-sourced solicitation.
        solicited: bool,
        /// Replaces what the receiver had cached.
        overrides: bool,
        /// Target Link-Layer Address option.
        mac: Option<Mac>,
    },
}

/// One neighbour message with the addresses of its IPv6 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ndp {
    /// IPv6 source; unspecified in a duplicate address probe.
    pub source: Ipv6Addr,
    /// IPv6 destination.
    pub destination: Ipv6Addr,
    /// The address it is about.
    pub target: Ipv6Addr,
    /// What it says.
    pub message: Message,
}

impl Ndp {
    /// Reads the payload of a frame of type [`ethernet::IPV6`] and checks all that RFC 4861 §7.1 asks for.
    ///
    /// # Errors
    /// What is wrong with it, or that it is something else.
    pub fn parse(payload: &[u8]) -> Result<Self, Reason> {
        let header = Ipv6Packet::new(payload).ok_or(Reason::Truncated)?;
        if header.get_version() != 6 {
            return Err(Reason::Ipv6Header);
        }
        let length = usize::from(header.get_payload_length());
        if length == 0 {
            return Err(if header.get_next_header().0 == 0 {
                Reason::Jumbogram
            } else {
                Reason::NotNeighbour
            });
        }
        let body = payload
            .get(HEADER..HEADER + length)
            .ok_or(Reason::Truncated)?;
        let icmp = skip_extensions(header.get_next_header().0, body)?;
        let kind = *icmp.first().ok_or(Reason::Truncated)?;
        if kind != SOLICITATION && kind != ADVERTISEMENT {
            return Err(Reason::NotNeighbour);
        }
        if header.get_hop_limit() != 255 {
            return Err(Reason::HopLimit);
        }
        let (source, destination) = (header.get_source(), header.get_destination());
        check_icmp(icmp, source, destination)?;
        let parsed = if kind == SOLICITATION {
            solicitation(icmp, source, destination)?
        } else {
            advertisement(icmp, source, destination)?
        };
        parsed.check()?;
        Ok(parsed)
    }

    fn check(&self) -> Result<(), Reason> {
        if self.target.is_multicast() {
            return Err(Reason::MulticastTarget);
        }
        if self.source.is_multicast() {
            return Err(Reason::BadSender);
        }
        let consistent = match self.message {
            Message::Solicitation { mac } => {
                !self.source.is_unspecified()
                    || (is_solicited_node(self.destination) && mac.is_none())
            }
            Message::Advertisement { solicited, .. } => {
                !(self.destination.is_multicast() && solicited)
            }
        };
        if consistent {
            Ok(())
        } else {
            Err(Reason::Inconsistent)
        }
    }

    /// Writes a whole frame from `from` to `to`; returns its length.
    pub fn emit(&self, from: Mac, to: Mac, out: &mut Buffer) -> usize {
        ethernet::emit(to, from, ethernet::IPV6, out);
        let option = match self.message {
            Message::Solicitation { mac } => mac.map(|mac| (SOURCE_OPTION, mac)),
            Message::Advertisement { mac, .. } => mac.map(|mac| (TARGET_OPTION, mac)),
        };
        let length = FIXED
            + if option.is_some() {
                LINK_LAYER_OPTION
            } else {
                0
            };
        if let Some(mut header) = MutableIpv6Packet::new(&mut out[ethernet::HEADER..]) {
            header.set_version(6);
            header.set_traffic_class(0);
            header.set_flow_label(0);
            header.set_payload_length(if option.is_some() { 32 } else { 24 });
            header.set_next_header(IpNextHeaderProtocol(ICMPV6));
            header.set_hop_limit(255);
            header.set_source(self.source);
            header.set_destination(self.destination);
        }
        let start = ethernet::HEADER + HEADER;
        let icmp = &mut out[start..start + length];
        if let Some((kind, mac)) = option {
            icmp[FIXED] = kind;
            icmp[FIXED + 1] = 1;
            icmp[FIXED + 2..FIXED + LINK_LAYER_OPTION].copy_from_slice(&mac.0);
        }
        self.emit_fixed(icmp);
        let sum = Icmpv6Packet::new(icmp).map_or(0, |packet| {
            checksum(&packet, &self.source, &self.destination)
        });
        icmp[2..4].copy_from_slice(&sum.to_be_bytes());
        start + length
    }

    fn emit_fixed(&self, icmp: &mut [u8]) {
        match self.message {
            Message::Solicitation { .. } => {
                if let Some(mut packet) = MutableNeighborSolicitPacket::new(icmp) {
                    packet.set_icmpv6_type(Icmpv6Type(SOLICITATION));
                    packet.set_icmpv6_code(Icmpv6Code(0));
                    packet.set_checksum(0);
                    packet.set_reserved(0);
                    packet.set_target_addr(self.target);
                }
            }
            Message::Advertisement {
                router,
                solicited,
                overrides,
                ..
            } => {
                if let Some(mut packet) = MutableNeighborAdvertPacket::new(icmp) {
                    let flag = |set: bool, bit: u8| if set { bit } else { 0 };
                    packet.set_icmpv6_type(Icmpv6Type(ADVERTISEMENT));
                    packet.set_icmpv6_code(Icmpv6Code(0));
                    packet.set_checksum(0);
                    packet.set_flags(
                        flag(router, ROUTER_FLAG)
                            | flag(solicited, SOLICITED_FLAG)
                            | flag(overrides, OVERRIDE_FLAG),
                    );
                    packet.set_reserved(0);
                    packet.set_target_addr(self.target);
                }
            }
        }
    }
}

/// The multicast group in which the holder of `address` listens for solicitations (RFC 4291 §2.7.1).
#[must_use]
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::new(
        0xff02,
        0,
        0,
        0,
        0,
        1,
        0xff00 | u16::from(a),
        u16::from_be_bytes([b, c]),
    )
}

/// The Ethernet group that carries an IPv6 group (RFC 2464 §7).
#[must_use]
pub fn group_mac(group: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = group.octets();
    Mac([0x33, 0x33, a, b, c, d])
}

fn is_solicited_node(address: Ipv6Addr) -> bool {
    address == solicited_node(address)
}

/// The ICMPv6 message behind the extension headers that may precede it.
fn skip_extensions(first: u8, body: &[u8]) -> Result<&[u8], Reason> {
    let (mut next, mut rest) = (first, body);
    for _ in 0..=MAX_EXTENSIONS {
        match next {
            ICMPV6 => return Ok(rest),
            44 => return Err(Reason::Fragmented),
            // Hop-by-hop, routing, destination options: next header, length in units of eight after the first eight.
            0 | 43 | 60 => {
                let [following, units, ..] = *rest else {
                    return Err(Reason::ExtensionHeaders);
                };
                next = following;
                rest = rest
                    .get((usize::from(units) + 1) * 8..)
                    .ok_or(Reason::ExtensionHeaders)?;
            }
            _ => return Err(Reason::NotNeighbour),
        }
    }
    Err(Reason::ExtensionHeaders)
}

fn check_icmp(icmp: &[u8], source: Ipv6Addr, destination: Ipv6Addr) -> Result<(), Reason> {
    if icmp.len() < FIXED {
        return Err(Reason::Truncated);
    }
    let packet = Icmpv6Packet::new(icmp).ok_or(Reason::Truncated)?;
    let (stated, computed) = (
        packet.get_checksum(),
        checksum(&packet, &source, &destination),
    );
    // In one's complement 0x0000 and 0xffff are the same number.
    if stated != computed && !(matches!(stated, 0 | 0xffff) && matches!(computed, 0 | 0xffff)) {
        return Err(Reason::Checksum);
    }
    if packet.get_icmpv6_code().0 != 0 {
        return Err(Reason::IcmpCode);
    }
    Ok(())
}

fn solicitation(icmp: &[u8], source: Ipv6Addr, destination: Ipv6Addr) -> Result<Ndp, Reason> {
    let packet = NeighborSolicitPacket::new(icmp).ok_or(Reason::Truncated)?;
    let mac = link_layer_option(icmp, SOURCE_OPTION)?;
    Ok(Ndp {
        source,
        destination,
        target: packet.get_target_addr(),
        message: Message::Solicitation { mac },
    })
}

fn advertisement(icmp: &[u8], source: Ipv6Addr, destination: Ipv6Addr) -> Result<Ndp, Reason> {
    let packet = NeighborAdvertPacket::new(icmp).ok_or(Reason::Truncated)?;
    let flags = packet.get_flags();
    let message = Message::Advertisement {
        router: flags & ROUTER_FLAG != 0,
        solicited: flags & SOLICITED_FLAG != 0,
        overrides: flags & OVERRIDE_FLAG != 0,
        mac: link_layer_option(icmp, TARGET_OPTION)?,
    };
    Ok(Ndp {
        source,
        destination,
        target: packet.get_target_addr(),
        message,
    })
}

/// The first link-layer address option of `wanted` kind. Every option must have a length, known to us or not.
fn link_layer_option(icmp: &[u8], wanted: u8) -> Result<Option<Mac>, Reason> {
    let mut rest = icmp.get(FIXED..).unwrap_or_default();
    let mut found = None;
    while !rest.is_empty() {
        let [kind, units, ..] = *rest else {
            return Err(Reason::BadOption);
        };
        let length = usize::from(units) * 8;
        let option = rest
            .get(..length)
            .filter(|option| !option.is_empty())
            .ok_or(Reason::BadOption)?;
        if let ([_, _, a, b, c, d, e, f], None, true) = (option, found, kind == wanted) {
            found = Some(Mac([*a, *b, *c, *d, *e, *f]));
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    Ok(found)
}
