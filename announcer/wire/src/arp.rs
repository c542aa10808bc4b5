//! ARP for IPv4 over Ethernet (RFC 826, RFC 5227).
//!
//! Panic contract: [`Arp::parse`] never panics and looks at 28 bytes whatever follows them (frames are padded to 60);
//! [`Arp::emit`] cannot, its buffer being of fixed size. Replies are built field by field.

use std::net::Ipv4Addr;

use pnet_packet::arp::{ArpHardwareType, ArpOperation, ArpPacket, MutableArpPacket};
use pnet_packet::ethernet::EtherType;

use super::ethernet::{self, from_pnet, to_pnet};
use super::{Buffer, Reason};
use crate::Mac;

/// Bytes of an ARP packet for IPv4 over Ethernet.
pub const LENGTH: usize = 28;

const ETHERNET: u16 = 1;
const IPV4: u16 = 0x0800;

/// Request or reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// "Who has the target address?"
    Request,
    /// "The sender address is at the sender's Ethernet address."
    Reply,
}

/// One ARP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// Request or reply.
    pub operation: Operation,
    /// Ethernet address of the sender.
    pub sender_mac: Mac,
    /// IPv4 address of the sender; unspecified in a probe.
    pub sender: Ipv4Addr,
    /// Ethernet address of the target; meaningless in a request.
    pub target_mac: Mac,
    /// IPv4 address of the target.
    pub target: Ipv4Addr,
}

impl Arp {
    /// Reads the payload of a frame of type [`ethernet::ARP`].
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(payload: &[u8]) -> Result<Self, Reason> {
        let bytes = payload.get(..LENGTH).ok_or(Reason::Truncated)?;
        let packet = ArpPacket::new(bytes).ok_or(Reason::Truncated)?;
        if packet.get_hardware_type().0 != ETHERNET {
            return Err(Reason::ArpHardware);
        }
        if packet.get_protocol_type().0 != IPV4 {
            return Err(Reason::ArpProtocol);
        }
        if packet.get_hw_addr_len() != 6 || packet.get_proto_addr_len() != 4 {
            return Err(Reason::ArpLengths);
        }
        let operation = match packet.get_operation().0 {
            1 => Operation::Request,
            2 => Operation::Reply,
            _ => return Err(Reason::ArpOperation),
        };
        Ok(Self {
            operation,
            sender_mac: from_pnet(packet.get_sender_hw_addr()),
            sender: packet.get_sender_proto_addr(),
            target_mac: from_pnet(packet.get_target_hw_addr()),
            target: packet.get_target_proto_addr(),
        })
    }

    /// Writes a whole frame to `destination` from the sender's Ethernet address; returns its length.
    pub fn emit(&self, destination: Mac, out: &mut Buffer) -> usize {
        ethernet::emit(destination, self.sender_mac, ethernet::ARP, out);
        if let Some(mut packet) = MutableArpPacket::new(&mut out[ethernet::HEADER..]) {
            packet.set_hardware_type(ArpHardwareType(ETHERNET));
            packet.set_protocol_type(EtherType(IPV4));
            packet.set_hw_addr_len(6);
            packet.set_proto_addr_len(4);
            packet.set_operation(ArpOperation(match self.operation {
                Operation::Request => 1,
                Operation::Reply => 2,
            }));
            packet.set_sender_hw_addr(to_pnet(self.sender_mac));
            packet.set_sender_proto_addr(self.sender);
            packet.set_target_hw_addr(to_pnet(self.target_mac));
            packet.set_target_proto_addr(self.target);
        }
        ethernet::HEADER + LENGTH
    }
}
