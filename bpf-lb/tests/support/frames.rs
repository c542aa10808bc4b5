//! Frames, built by etherparse, and judged by it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use landfall_bpf_lb::desired::Protocol;

use super::OWN;

/// MAC address of the client, or of the router it is behind.
pub(crate) const CLIENT_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0xc1];

/// What an ordinary frame carries.
const PAYLOAD: &[u8; LENGTH as usize] = b"odd";
const LENGTH: u32 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flow {
    pub(crate) client: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) protocol: Protocol,
}

/// Flags and numbers of a TCP segment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tcp {
    pub(crate) syn: bool,
    pub(crate) fin: bool,
    pub(crate) rst: bool,
    pub(crate) sequence: u32,
    pub(crate) ack: Option<u32>,
}

/// Opens a connection.
pub(crate) const SYN: Tcp = Tcp {
    syn: true,
    fin: false,
    rst: false,
    sequence: 1,
    ack: None,
};

/// The sequence number of every pod's SYN-ACK.
pub(crate) const POD_SEQUENCE: u32 = 0xffff_ffff;

/// The pod's answer to a SYN.
pub(crate) const SYN_ACK: Tcp = Tcp {
    syn: true,
    sequence: POD_SEQUENCE,
    ack: Some(2),
    ..SEGMENT
};

/// The client's answer to the pod's, and whatever comes after it.
pub(crate) const SEGMENT: Tcp = Tcp {
    syn: false,
    fin: false,
    rst: false,
    sequence: 2,
    ack: Some(POD_SEQUENCE.wrapping_add(1)),
};

pub(crate) const FIN: Tcp = Tcp {
    fin: true,
    ..SEGMENT
};

/// The client has heard that the pod has finished, too.
pub(crate) const LAST: Tcp = Tcp {
    ack: Some(FIN.sequence + LENGTH + 1),
    ..SEGMENT
};

pub(crate) const RST: Tcp = Tcp {
    rst: true,
    ack: None,
    ..SEGMENT
};

impl From<Tcp> for Shape {
    fn from(tcp: Tcp) -> Self {
        Self {
            tcp,
            ..Self::default()
        }
    }
}

/// How a frame is unusual.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) source: [u8; 6],
    pub(crate) destination: [u8; 6],
    pub(crate) hop_limit: u8,
    pub(crate) payload: Vec<u8>,
    pub(crate) tcp: Tcp,
    /// VLAN tags, outermost first.
    pub(crate) tags: Vec<u16>,
    /// IPv4 options, a multiple of four bytes.
    pub(crate) options: Vec<u8>,
    /// IPv6 extension headers: numbers of hop-by-hop, destination options or routing.
    pub(crate) extensions: Vec<u8>,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            source: CLIENT_MAC,
            destination: OWN,
            hop_limit: 64,
            payload: PAYLOAD.to_vec(),
            tcp: SYN,
            tags: Vec::new(),
            options: Vec::new(),
            extensions: Vec::new(),
        }
    }
}

/// An ordinary frame of this flow.
#[must_use]
pub(crate) fn frame(flow: Flow) -> Vec<u8> {
    shaped(flow, &Shape::default())
}

/// A frame of this flow and shape, all checksums right.
#[must_use]
pub(crate) fn shaped(flow: Flow, shape: &Shape) -> Vec<u8> {
    let ethernet = PacketBuilder::ethernet2(shape.source, shape.destination);
    let ip = match (flow.client.ip(), flow.to.ip()) {
        (IpAddr::V4(client), IpAddr::V4(to)) => {
            ethernet.ipv4(client.octets(), to.octets(), shape.hop_limit)
        }
        (IpAddr::V6(client), IpAddr::V6(to)) => {
            ethernet.ipv6(client.octets(), to.octets(), shape.hop_limit)
        }
        _ => panic!("two families in one flow"),
    };
    let (source, destination) = (flow.client.port(), flow.to.port());
    let mut frame = Vec::new();
    match flow.protocol {
        Protocol::Udp => ip
            .udp(source, destination)
            .write(&mut frame, &shape.payload)
            .unwrap(),
        Protocol::Tcp => {
            let tcp = shape.tcp;
            let mut segment = ip.tcp(source, destination, tcp.sequence, 1024);
            if tcp.syn {
                segment = segment.syn();
            }
            if tcp.fin {
                segment = segment.fin();
            }
            if tcp.rst {
                segment = segment.rst();
            }
            if let Some(number) = tcp.ack {
                segment = segment.ack(number);
            }
            segment.write(&mut frame, &shape.payload).unwrap();
        }
    }
    dress(&mut frame, shape);
    frame
}

/// Puts options, extension headers and tags into a plain frame.
pub(crate) fn dress(frame: &mut Vec<u8>, shape: &Shape) {
    insert_options(frame, &shape.options);
    insert_extensions(frame, &shape.extensions);
    for tag in shape.tags.iter().rev() {
        let [high, low] = tag.to_be_bytes();
        frame.splice(12..12, [0x81, 0x00, high, low]);
    }
}

fn insert_options(frame: &mut Vec<u8>, options: &[u8]) {
    if options.is_empty() {
        return;
    }
    frame.splice(34..34, options.iter().copied());
    frame[14] = 0x45 + u8::try_from(options.len() / 4).unwrap();
    let total = u16::try_from(frame.len() - 14).unwrap();
    frame[16..18].copy_from_slice(&total.to_be_bytes());
    frame[24..26].copy_from_slice(&[0, 0]);
    let sum = ones_complement(&frame[14..34 + options.len()]);
    frame[24..26].copy_from_slice(&(!sum).to_be_bytes());
}

fn insert_extensions(frame: &mut Vec<u8>, extensions: &[u8]) {
    let mut at = 54;
    let mut next_field = 20;
    for (index, extension) in extensions.iter().enumerate() {
        let following = frame[next_field];
        // Lengths differ, so that an offset by luck is not right.
        let length = 8 * (index + 1);
        let mut header = vec![0; length];
        header[0] = following;
        header[1] = u8::try_from(index).unwrap();
        if *extension != 43 {
            // PadN over the rest.
            header[2] = 1;
            header[3] = u8::try_from(length - 4).unwrap();
        }
        frame.splice(at..at, header);
        frame[next_field] = *extension;
        next_field = at;
        at += length;
    }
    if !extensions.is_empty() {
        let payload = u16::try_from(frame.len() - 54).unwrap();
        frame[18..20].copy_from_slice(&payload.to_be_bytes());
    }
}

/// The folded one's complement sum over big-endian words.
#[must_use]
pub(crate) fn ones_complement(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([
            pair[0],
            pair.get(1).copied().unwrap_or(0),
        ]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap()
}

/// What etherparse reads in a frame, all checksums recomputed and compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) source_mac: [u8; 6],
    pub(crate) destination_mac: [u8; 6],
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) hop_limit: u8,
    pub(crate) payload: Vec<u8>,
    pub(crate) tags: usize,
    /// Of the transport, as it stands.
    pub(crate) checksum: u16,
}

#[must_use]
pub(crate) fn see(frame: &[u8]) -> Seen {
    let packet = SlicedPacket::from_ethernet(frame).expect("a well-formed frame");
    let (from, to, hop_limit): (IpAddr, IpAddr, u8) =
        match packet.net.as_ref().expect("an IP header") {
            NetSlice::Ipv4(ip) => {
                let header = ip.header().to_header();
                assert_eq!(
                    header.header_checksum,
                    header.calc_header_checksum(),
                    "IPv4 header checksum"
                );
                (
                    Ipv4Addr::from(header.source).into(),
                    Ipv4Addr::from(header.destination).into(),
                    header.time_to_live,
                )
            }
            NetSlice::Ipv6(ip) => {
                let header = ip.header().to_header();
                (
                    Ipv6Addr::from(header.source).into(),
                    Ipv6Addr::from(header.destination).into(),
                    header.hop_limit,
                )
            }
            other => panic!("not IP: {other:?}"),
        };
    let (ports, payload, checksum, wanted) =
        match packet.transport.as_ref().expect("a transport header") {
            TransportSlice::Tcp(tcp) => {
                let header = tcp.to_header();
                let wanted = match (from, to) {
                    (IpAddr::V4(from), IpAddr::V4(to)) => {
                        header.calc_checksum_ipv4_raw(from.octets(), to.octets(), tcp.payload())
                    }
                    (IpAddr::V6(from), IpAddr::V6(to)) => {
                        header.calc_checksum_ipv6_raw(from.octets(), to.octets(), tcp.payload())
                    }
                    _ => unreachable!(),
                };
                (
                    (tcp.source_port(), tcp.destination_port()),
                    tcp.payload(),
                    tcp.checksum(),
                    wanted.unwrap(),
                )
            }
            TransportSlice::Udp(udp) => {
                let header = udp.to_header();
                let wanted = match (from, to) {
                    (IpAddr::V4(from), IpAddr::V4(to)) => {
                        header.calc_checksum_ipv4_raw(from.octets(), to.octets(), udp.payload())
                    }
                    (IpAddr::V6(from), IpAddr::V6(to)) => {
                        header.calc_checksum_ipv6_raw(from.octets(), to.octets(), udp.payload())
                    }
                    _ => unreachable!(),
                };
                let wanted = if udp.checksum() == 0 && from.is_ipv4() {
                    0
                } else {
                    wanted.unwrap()
                };
                (
                    (udp.source_port(), udp.destination_port()),
                    udp.payload(),
                    udp.checksum(),
                    wanted,
                )
            }
            other => panic!("not TCP or UDP: {other:?}"),
        };
    assert_eq!(checksum, wanted, "transport checksum");
    Seen {
        source_mac: frame[6..12].try_into().unwrap(),
        destination_mac: frame[..6].try_into().unwrap(),
        from: SocketAddr::new(from, ports.0),
        to: SocketAddr::new(to, ports.1),
        hop_limit,
        payload: payload.to_vec(),
        tags: packet.link_exts.len(),
        checksum,
    }
}
