//! The questions that are asked, of both families.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use landfall_announcer::link::Protocol;
use landfall_wire::Mac;
use landfall_wire::arp::{Arp, Operation};
use landfall_wire::buffer;
use landfall_wire::ndp::{Message, Ndp, group_mac, solicited_node};

const CLIENT: Mac = Mac([2, 0, 0, 0, 0, 200]);

/// A family: how it is asked in.
#[derive(Clone, Copy)]
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) protocol: Protocol,
    /// A question about the address of this number.
    pub(crate) ask: fn(u32) -> Vec<u8>,
    /// A question about the node's own address, which its kernel answers.
    pub(crate) ask_kernel: fn() -> Vec<u8>,
    /// Whether a frame is an answer, to this question if one is given.
    pub(crate) answers: fn(&[u8], Option<&[u8]>) -> bool,
}

pub(crate) const ARP: Family = Family {
    name: "arp",
    protocol: Protocol::Arp,
    ask: |number| arp_request(v4(number)),
    ask_kernel: || arp_request(Ipv4Addr::new(192, 0, 2, 11)),
    answers: |frame, question| {
        frame.len() >= 42
            && frame[20..22] == [0, 2]
            && question.is_none_or(|question| frame[28..32] == question[38..42])
    },
};

pub(crate) const NDP: Family = Family {
    name: "ndp",
    protocol: Protocol::Ndp,
    ask: |number| solicitation(v6(number)),
    ask_kernel: || solicitation(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x11)),
    answers: |frame, question| {
        frame.len() >= 78
            && frame[54] == 136
            && question.is_none_or(|question| frame[62..78] == question[62..78])
    },
};

pub(crate) const FAMILIES: [Family; 2] = [ARP, NDP];

/// The first number of those nobody owns.
pub(crate) const FOREIGN: u32 = 1 << 20;

pub(crate) fn addresses(owned: u32) -> impl Iterator<Item = IpAddr> {
    (0..owned).flat_map(|number| [IpAddr::V4(v4(number)), IpAddr::V6(v6(number))])
}

/// So many different questions about the owned addresses, in no order, or about others.
pub(crate) fn many(family: Family, count: u32, first: u32, owned: u32) -> Vec<Vec<u8>> {
    (0..count)
        .map(|number| (family.ask)(first + number * 7_919 % owned))
        .collect()
}

fn v4(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 64, 0, 0)) + number)
}

fn v6(number: u32) -> Ipv6Addr {
    Ipv6Addr::from(0x2001_0db8_0000_0000_0000_0000_0001_0000_u128 + u128::from(number))
}

fn arp_request(target: Ipv4Addr) -> Vec<u8> {
    let arp = Arp {
        operation: Operation::Request,
        sender_mac: CLIENT,
        sender: Ipv4Addr::new(192, 0, 2, 200),
        target_mac: Mac::ZERO,
        target,
    };
    let mut out = buffer();
    let length = arp.emit(Mac::BROADCAST, &mut out);
    out[..length].to_vec()
}

fn solicitation(target: Ipv6Addr) -> Vec<u8> {
    let group = solicited_node(target);
    let message = Message::Solicitation { mac: Some(CLIENT) };
    let ndp = Ndp {
        source: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x200),
        destination: group,
        target,
        message,
    };
    let mut out = buffer();
    let length = ndp.emit(CLIENT, group_mac(group), &mut out);
    out[..length].to_vec()
}
