//! What happens when links, neighbours and other hosts change under the responder.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_precision_loss,
    reason = "a test may end here"
)]

mod announcing;
mod conflicts;
mod crowds;
mod filters;
mod groups;
mod interfaces;
mod limits;
mod looking;
mod neighbours;
mod removal;
#[path = "../segment/mod.rs"]
mod segment;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use landfall_announcer::link::IfIndex;
use landfall_announcer::responder::{Filter, ProbeOutcome, Settings};
use landfall_wire::Mac;
use landfall_wire::Reason;
use segment::{Node, eventually, mac, on_a_segment, said_once, text};

const V4: &str = "192.0.2.100";
const V6: &str = "2001:db8::1:64";

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn foreign(name: &str) -> Mac {
    mac(if name == "other" { 99 } else { 200 })
}

fn answered(node: &Node) -> u64 {
    node.responder
        .counters()
        .interfaces
        .iter()
        .map(|interface| interface.answered_arp)
        .sum()
}

fn arp(source: Mac, sender: [u8; 4]) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend(source.0);
    frame.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(source.0);
    frame.extend(sender);
    frame.extend([0; 6]);
    frame.extend([192, 0, 2, 100]);
    frame
}

fn arp_request(source: Mac) -> Vec<u8> {
    arp(source, [192, 0, 2, 200])
}

fn gratuitous_arp(source: Mac) -> Vec<u8> {
    arp(source, [192, 0, 2, 100])
}

fn unsolicited_advertisement(source: Mac) -> Vec<u8> {
    let IpAddr::V6(target) = address(V6) else {
        unreachable!()
    };
    let mut out = landfall_wire::buffer();
    let length = landfall_wire::announce::Unasked::Advertisement(target).emit(source, &mut out);
    out[..length].to_vec()
}
