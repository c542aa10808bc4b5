//! Golden frames, oracles and properties. The golden bytes were put together by hand from the RFCs' own drawings.

mod answers;
mod frames;
mod refused;
mod timetables;

use std::net::IpAddr;

use super::{Buffer, Decision, Interest, Reason, buffer, decide};
use crate::Mac;

/// This node, the client of the golden frames, and others.
const ME: Mac = Mac([2, 0, 0, 0, 0, 0x01]);
const CLIENT: Mac = Mac([2, 0, 0, 0, 0, 0xc1]);
const PEER: Mac = Mac([2, 0, 0, 0, 0, 0x02]);
/// Another interface of this node on the same segment.
const SISTER: Mac = Mac([2, 0, 0, 0, 0, 0x03]);
const FOREIGN: Mac = Mac([2, 0, 0, 0, 0, 0x77]);

const V4: &str = "192.0.2.100";
const V6: &str = "2001:db8::64";

/// "Who has 192.0.2.100? Tell 192.0.2.200", broadcast, padded to 60 bytes as a network card does.
const ARP_REQUEST: &str =
    "ffffffffffff0200000000c10806 0001080006040001 0200000000c1c00002c8 000000000000c0000264
    000000000000000000000000000000000000";
/// The answer to it.
const ARP_REPLY: &str =
    "0200000000c102000000000108060001080006040002 020000000001c0000264 0200000000c1c00002c8";
const GRATUITOUS_REQUEST: &str =
    "ffffffffffff02000000000108060001080006040001 020000000001c0000264 000000000000c0000264";
const GRATUITOUS_REPLY: &str =
    "ffffffffffff02000000000108060001080006040002 020000000001c0000264 020000000001c0000264";
const ARP_PROBE: &str =
    "ffffffffffff02000000000108060001080006040001 02000000000100000000 000000000000c0000264";

/// "Who has 2001:db8::64? Tell 2001:db8::c1", to the solicited-node group.
const SOLICITATION: &str = "3333ff0000640200000000c186dd 6000000000203aff 20010db80000000000000000000000c1
    ff0200000000000000000001ff000064 870019e300000000 20010db8000000000000000000000064 01010200000000c1";
/// The same question to a neighbour believed reachable, without an option.
const UNICAST_SOLICITATION: &str =
    "0200000000010200000000c186dd 6000000000183aff 20010db80000000000000000000000c1
    20010db8000000000000000000000064 8700edf800000000 20010db8000000000000000000000064";
/// A duplicate address probe.
const DAD: &str = "3333ff0000640200000000c186dd 6000000000183aff 00000000000000000000000000000000
    ff0200000000000000000001ff000064 87004c2700000000 20010db8000000000000000000000064";
/// The answer to the two questions: solicited, override.
const ADVERTISEMENT: &str = "0200000000c102000000000186dd 6000000000203aff 20010db8000000000000000000000064
    20010db80000000000000000000000c1 880088ee60000000 20010db8000000000000000000000064 0201020000000001";
/// The answer to the probe, and the announcement: to all nodes, override only.
const ADVERTISEMENT_TO_ALL: &str = "33330000000102000000000186dd 6000000000203aff 20010db8000000000000000000000064
    ff020000000000000000000000000001 8800f86420000000 20010db8000000000000000000000064 0201020000000001";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<_> = hex.chars().filter(char::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap())
        .collect()
}

/// What this node does about a frame when it has to do with `addresses` in this way.
fn meet(frame: &[u8], addresses: &[&str], interest: Interest) -> (Decision, Buffer) {
    let addresses: Vec<IpAddr> = addresses
        .iter()
        .map(|address| address.parse().unwrap())
        .collect();
    let mut out = buffer();
    let interest = |address| {
        if addresses.contains(&address) {
            interest
        } else {
            Interest::None
        }
    };
    let friend = |mac| match mac {
        PEER => Some(Reason::Peer),
        SISTER => Some(Reason::OwnFrame),
        _ => None,
    };
    (decide(frame, ME, interest, friend, &mut out), out)
}

/// The frame it sends in answer.
fn answer(frame: &[u8], owned: &[&str]) -> Vec<u8> {
    match meet(frame, owned, Interest::Owned) {
        (Decision::Answer(answer), out) => out[..answer.length].to_vec(),
        (other, _) => panic!("not answered: {other:?}"),
    }
}

/// The same frame from and about another Ethernet address, with the checksum put right.
fn from(hex: &str, was: Mac, is: Mac) -> Vec<u8> {
    let mut frame = bytes(hex);
    for at in 0..frame.len() - 5 {
        if frame[at..at + 6] == was.0 {
            frame[at..at + 6].copy_from_slice(&is.0);
        }
    }
    with_checksum(frame)
}

/// Puts the ICMPv6 checksum of an IPv6 frame without extension headers right; leaves others alone.
fn with_checksum(mut frame: Vec<u8>) -> Vec<u8> {
    if frame[12..14] != [0x86, 0xdd] {
        return frame;
    }
    frame[56..58].fill(0);
    let mut sum: u32 = 58 + u32::try_from(frame.len() - 54).unwrap();
    for word in frame[22..].chunks(2) {
        sum += u32::from(u16::from_be_bytes([
            word[0],
            word.get(1).copied().unwrap_or(0),
        ]));
    }
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    frame[56..58].copy_from_slice(&(!u16::try_from(sum).unwrap()).to_be_bytes());
    frame
}
