//! ICMP messages, built by etherparse.

use std::net::IpAddr;

use etherparse::PacketBuilder;

use super::frames::{Flow, SEGMENT, Shape, Tcp, dress, shaped};
use super::scene::Family;

/// What an ICMP error says: type, code, and the four bytes behind the checksum.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said(pub(crate) u8, pub(crate) u8, pub(crate) [u8; 4]);

/// Every error that is understood.
pub(crate) fn errors(ipv6: bool) -> Vec<Said> {
    let mtu = [0, 0, 5, 0x14];
    if ipv6 {
        vec![
            Said(2, 0, mtu),
            Said(1, 4, [0; 4]),
            Said(3, 0, [0; 4]),
            Said(4, 1, [0, 0, 0, 6]),
        ]
    } else {
        vec![
            Said(3, 4, mtu),
            Said(3, 3, [0; 4]),
            Said(11, 0, [0; 4]),
            Said(12, 0, [9, 0, 0, 0]),
        ]
    }
}

/// The one that says that a packet does not fit.
pub(crate) fn too_big(ipv6: bool) -> Said {
    errors(ipv6)[0]
}

/// The IP packet in this frame, to so many bytes behind its IP header.
pub(crate) fn quote(frame: &[u8], octets: usize) -> Vec<u8> {
    let header = if frame[12] == 0x08 { 20 } else { 40 };
    let end = (14 + header + octets).min(frame.len());
    frame[14..end].to_vec()
}

/// A frame of this shape with an ICMP message in it, all checksums right.
pub(crate) fn message(from: IpAddr, to: IpAddr, said: Said, body: &[u8], shape: &Shape) -> Vec<u8> {
    let ethernet = PacketBuilder::ethernet2(shape.source, shape.destination);
    let Said(kind, code, rest) = said;
    let mut frame = Vec::new();
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ethernet
            .ipv4(from.octets(), to.octets(), shape.hop_limit)
            .icmpv4_raw(kind, code, rest)
            .write(&mut frame, body),
        (IpAddr::V6(from), IpAddr::V6(to)) => ethernet
            .ipv6(from.octets(), to.octets(), shape.hop_limit)
            .icmpv6_raw(kind, code, rest)
            .write(&mut frame, body),
        _ => panic!("two families in one packet"),
    }
    .unwrap();
    dress(&mut frame, shape);
    frame
}

/// An echo request, or, the other way round, its answer.
pub(crate) fn echo(from: IpAddr, to: IpAddr, is_answer: bool, shape: &Shape) -> Vec<u8> {
    let kind = match (to.is_ipv6(), is_answer) {
        (false, false) => 8,
        (false, true) => 0,
        (true, false) => 128,
        (true, true) => 129,
    };
    // Identifier 0x1234, number 7.
    let said = Said(kind, 0, [0x12, 0x34, 0, 7]);
    message(from, to, said, &shape.payload, shape)
}

/// A router on the client's way.
pub(crate) fn router(family: Family) -> IpAddr {
    if family.vip.is_ipv6() {
        "2001:db8:aaaa::1".parse().unwrap()
    } else {
        "203.0.113.1".parse().unwrap()
    }
}

/// A packet, as a router saw it.
pub(crate) fn seen_by_router(flow: Flow, tcp: Tcp) -> Vec<u8> {
    let shape = Shape {
        hop_limit: 61,
        payload: (0..=250).cycle().take(333).collect(),
        ..tcp.into()
    };
    shaped(flow, &shape)
}

/// What comes back for `flow`.
pub(crate) fn reverse(flow: Flow) -> Flow {
    Flow {
        client: flow.to,
        to: flow.client,
        protocol: flow.protocol,
    }
}

/// The error of a router about what `flow.to` sent to its client.
pub(crate) fn about(
    family: Family,
    flow: Flow,
    said: Said,
    octets: usize,
    shape: &Shape,
) -> Vec<u8> {
    let quoted = quote(&seen_by_router(reverse(flow), SEGMENT), octets);
    message(router(family), flow.to.ip(), said, &quoted, shape)
}

/// The one that says that what the VIP sent to this client does not fit.
pub(crate) fn does_not_fit(family: Family, flow: Flow) -> Vec<u8> {
    let said = too_big(family.vip.is_ipv6());
    about(family, flow, said, 8, &Shape::default())
}
