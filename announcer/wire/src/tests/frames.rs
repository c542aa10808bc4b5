//! Parsing and emitting: properties, and etherparse as an oracle.

use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::icmpv6::{Icmpv6PayloadSlice, NdpOptionSlice};
use etherparse::{Icmpv6Type, NetSlice, SlicedPacket, TransportSlice};
use proptest::prelude::*;

use super::*;
use crate::arp::{Arp, Operation};
use crate::ethernet::Frame;
use crate::ndp::{ALL_NODES, Message, Ndp, solicited_node};

fn macs() -> impl Strategy<Value = Mac> {
    any::<[u8; 6]>().prop_map(Mac)
}

fn unicast() -> impl Strategy<Value = Ipv6Addr> {
    any::<[u8; 16]>().prop_map(|mut octets| {
        octets[0] &= 0x7f;
        octets[15] |= 1;
        Ipv6Addr::from(octets)
    })
}

fn arps() -> impl Strategy<Value = Arp> {
    (
        any::<bool>(),
        macs(),
        any::<[u8; 4]>(),
        macs(),
        any::<[u8; 4]>(),
    )
        .prop_map(|(reply, sender_mac, sender, target_mac, target)| Arp {
            operation: if reply {
                Operation::Reply
            } else {
                Operation::Request
            },
            sender_mac,
            sender: Ipv4Addr::from(sender),
            target_mac,
            target: Ipv4Addr::from(target),
        })
}

fn messages() -> impl Strategy<Value = Message> {
    prop_oneof![
        proptest::option::of(macs()).prop_map(|mac| Message::Solicitation { mac }),
        (any::<[bool; 3]>(), proptest::option::of(macs())).prop_map(
            |([router, solicited, overrides], mac)| {
                Message::Advertisement {
                    router,
                    solicited,
                    overrides,
                    mac,
                }
            }
        ),
    ]
}

fn between_hosts() -> impl Strategy<Value = Ndp> {
    (unicast(), unicast(), unicast(), messages()).prop_map(
        |(source, destination, target, message)| Ndp {
            source,
            destination,
            target,
            message,
        },
    )
}

/// Messages between hosts, to groups, and from hosts without an address: all that RFC 4861 §7.1 lets pass.
fn ndps() -> impl Strategy<Value = Ndp> {
    prop_oneof![
        2 => between_hosts(),
        1 => between_hosts().prop_map(to_a_group),
        1 => between_hosts().prop_map(without_a_source),
    ]
}

fn to_a_group(ndp: Ndp) -> Ndp {
    let (destination, message) = match ndp.message {
        solicitation @ Message::Solicitation { .. } => (solicited_node(ndp.target), solicitation),
        Message::Advertisement {
            router,
            overrides,
            mac,
            ..
        } => {
            let advertisement = Message::Advertisement {
                router,
                solicited: false,
                overrides,
                mac,
            };
            (ALL_NODES, advertisement)
        }
    };
    Ndp {
        destination,
        message,
        ..ndp
    }
}

fn without_a_source(ndp: Ndp) -> Ndp {
    Ndp {
        source: Ipv6Addr::UNSPECIFIED,
        destination: solicited_node(ndp.target),
        message: Message::Solicitation { mac: None },
        ..ndp
    }
}

proptest! {
    #[test]
    fn an_arp_packet_emitted_is_parsed_as_it_was(arp in arps(), destination in macs(), padding in 0..30_usize) {
        let mut out = buffer();
        let length = arp.emit(destination, &mut out);
        let mut bytes = out[..length].to_vec();
        bytes.resize(length + padding, 0);
        let frame = Frame::parse(&bytes).unwrap();
        prop_assert_eq!((frame.destination, frame.source), (destination, arp.sender_mac));
        prop_assert_eq!(Arp::parse(frame.payload), Ok(arp));
    }

    #[test]
    fn a_neighbour_message_emitted_is_parsed_as_it_was(ndp in ndps(), to in macs(), padding in 0..30_usize) {
        let mut out = buffer();
        let length = ndp.emit(CLIENT, to, &mut out);
        let mut bytes = out[..length].to_vec();
        bytes.resize(length + padding, 0xa5);
        let frame = Frame::parse(&bytes).unwrap();
        prop_assert_eq!(Ndp::parse(frame.payload), Ok(ndp));
    }

    #[test]
    fn etherparse_reads_an_arp_packet_the_same(arp in arps(), destination in macs()) {
        let mut out = buffer();
        let length = arp.emit(destination, &mut out);
        let packet = SlicedPacket::from_ethernet(&out[..length]).unwrap();
        let Some(NetSlice::Arp(read)) = packet.net else { panic!("not ARP") };
        prop_assert_eq!(read.operation().0, if arp.operation == Operation::Request { 1 } else { 2 });
        prop_assert_eq!(read.sender_hw_addr(), &arp.sender_mac.0[..]);
        prop_assert_eq!(read.sender_protocol_addr(), &arp.sender.octets()[..]);
        prop_assert_eq!(read.target_hw_addr(), &arp.target_mac.0[..]);
        prop_assert_eq!(read.target_protocol_addr(), &arp.target.octets()[..]);
    }

    #[test]
    fn etherparse_reads_a_neighbour_message_the_same(ndp in ndps()) {
        let mut out = buffer();
        let length = ndp.emit(ME, CLIENT, &mut out);
        let packet = SlicedPacket::from_ethernet(&out[..length]).unwrap();
        let Some(NetSlice::Ipv6(ip)) = packet.net else { panic!("not IPv6") };
        prop_assert_eq!((ip.header().source_addr(), ip.header().destination_addr(), ip.header().hop_limit()), (ndp.source, ndp.destination, 255));
        let Some(TransportSlice::Icmpv6(icmp)) = packet.transport else { panic!("not ICMPv6") };
        prop_assert!(icmp.is_checksum_valid(ndp.source.octets(), ndp.destination.octets()));
        let (target, options) = match icmp.payload_slice().unwrap() {
            Icmpv6PayloadSlice::NeighborSolicitation(read) => (read.target_address(), read.options_iterator()),
            Icmpv6PayloadSlice::NeighborAdvertisement(read) => (read.target_address(), read.options_iterator()),
            other => panic!("{other:?}"),
        };
        prop_assert_eq!(target, ndp.target);
        let read: Vec<(bool, Vec<u8>)> = options
            .map(|option| match option.unwrap() {
                NdpOptionSlice::SourceLinkLayerAddress(read) => (false, read.link_layer_address().to_vec()),
                NdpOptionSlice::TargetLinkLayerAddress(read) => (true, read.link_layer_address().to_vec()),
                other => panic!("{other:?}"),
            })
            .collect();
        let (is_target, mac) = match ndp.message {
            Message::Solicitation { mac } => (false, mac),
            Message::Advertisement { mac, .. } => (true, mac),
        };
        let written: Vec<_> = mac.into_iter().map(|mac| (is_target, mac.0.to_vec())).collect();
        prop_assert_eq!(read, written);
        if let Message::Advertisement { router, solicited, overrides, .. } = ndp.message {
            let Icmpv6Type::NeighborAdvertisement(flags) = icmp.icmp_type() else { panic!("not an advertisement") };
            prop_assert_eq!((flags.router, flags.solicited, flags.r#override), (router, solicited, overrides));
        }
    }

    #[test]
    fn any_bytes_are_decided_about(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = meet(&bytes, &[V4, V6], Interest::Owned);
    }

    #[test]
    fn any_bytes_behind_a_header_are_decided_about(
        ipv6 in any::<bool>(),
        mut payload in proptest::collection::vec(any::<u8>(), 0..200),
        next in prop_oneof![Just(58_u8), Just(0), Just(43), Just(60)],
    ) {
        let mut frame = [&ME.0[..], &CLIENT.0, if ipv6 { &[0x86, 0xdd] } else { &[8, 6] }].concat();
        if ipv6 && payload.len() > 41 {
            let length = u16::try_from(payload.len() - 40).unwrap();
            (payload[0], payload[6], payload[7], payload[40]) = (0x60, next, 255, 135);
            payload[4..6].copy_from_slice(&length.to_be_bytes());
        }
        frame.extend(payload);
        let _ = meet(&with_checksum_if_room(frame), &[V4, V6], Interest::Owned);
    }

    #[test]
    fn a_golden_frame_with_any_damage_is_decided_about(
        which in 0..5_usize,
        damage in proptest::collection::vec((14..90_usize, any::<u8>()), 1..6),
        cut in 14..100_usize,
        repair in any::<bool>(),
    ) {
        let mut frame = bytes([ARP_REQUEST, SOLICITATION, UNICAST_SOLICITATION, DAD, ADVERTISEMENT][which]);
        for (at, value) in damage {
            if let Some(byte) = frame.get_mut(at) {
                *byte = value;
            }
        }
        frame.truncate(cut);
        let frame = if repair { with_checksum_if_room(frame) } else { frame };
        for interest in [Interest::Owned, Interest::Probing] {
            let _ = meet(&frame, &[V4, V6], interest);
        }
    }

    #[test]
    fn an_owned_address_asked_for_properly_is_always_answered(target in unicast(), source in unicast(), mac in any::<[u8; 6]>()) {
        let mac = Mac([mac[0] & 0xfe | 2, mac[1], mac[2], mac[3], mac[4], mac[5]]);
        prop_assume!(mac != ME && source != target);
        let group = solicited_node(target);
        let question = Ndp { source, destination: group, target, message: Message::Solicitation { mac: Some(mac) } };
        let mut out = buffer();
        let length = question.emit(mac, crate::ndp::group_mac(group), &mut out);
        let reply = answer(&out[..length], &[&target.to_string()]);
        let reply = Ndp::parse(Frame::parse(&reply).unwrap().payload).unwrap();
        prop_assert_eq!((reply.source, reply.destination, reply.target), (target, source, target));
    }
}

fn with_checksum_if_room(frame: Vec<u8>) -> Vec<u8> {
    if frame.len() < 60 {
        frame
    } else {
        with_checksum(frame)
    }
}

#[test]
fn the_solicited_node_group_takes_the_last_three_bytes() {
    let group = solicited_node("2001:db8::12:3456:789a".parse().unwrap());
    assert_eq!(group, "ff02::1:ff56:789a".parse::<Ipv6Addr>().unwrap());
    assert_eq!(
        crate::ndp::group_mac(group),
        Mac([0x33, 0x33, 0xff, 0x56, 0x78, 0x9a])
    );
}

/// The payload of a golden frame.
fn payload(frame: &str) -> Vec<u8> {
    let frame = bytes(frame);
    Frame::parse(&frame).unwrap().payload.to_vec()
}

#[test]
fn the_golden_arp_packets_say_this() {
    let (nobody, vip, client) = (
        Ipv4Addr::UNSPECIFIED,
        Ipv4Addr::new(192, 0, 2, 100),
        Ipv4Addr::new(192, 0, 2, 200),
    );
    let (request, reply) = (Operation::Request, Operation::Reply);
    for (frame, operation, sender_mac, sender, target_mac, target) in [
        (ARP_REQUEST, request, CLIENT, client, Mac::ZERO, vip),
        (ARP_REPLY, reply, ME, vip, CLIENT, client),
        (ARP_PROBE, request, ME, nobody, Mac::ZERO, vip),
        (GRATUITOUS_REQUEST, request, ME, vip, Mac::ZERO, vip),
        (GRATUITOUS_REPLY, reply, ME, vip, ME, vip),
    ] {
        let said = Arp {
            operation,
            sender_mac,
            sender,
            target_mac,
            target,
        };
        assert_eq!(Arp::parse(&payload(frame)), Ok(said));
    }
}

#[test]
fn the_golden_neighbour_messages_say_this() {
    let address = |text: &str| -> Ipv6Addr { text.parse().unwrap() };
    let (vip, client, group) = (
        address(V6),
        address("2001:db8::c1"),
        address("ff02::1:ff00:64"),
    );
    let ask = |mac| Message::Solicitation { mac };
    let tell = |solicited| Message::Advertisement {
        router: false,
        solicited,
        overrides: true,
        mac: Some(ME),
    };
    for (frame, source, destination, message) in [
        (SOLICITATION, client, group, ask(Some(CLIENT))),
        (UNICAST_SOLICITATION, client, vip, ask(None)),
        (DAD, Ipv6Addr::UNSPECIFIED, group, ask(None)),
        (ADVERTISEMENT, vip, client, tell(true)),
        (ADVERTISEMENT_TO_ALL, vip, ALL_NODES, tell(false)),
    ] {
        let said = Ndp {
            source,
            destination,
            target: vip,
            message,
        };
        assert_eq!(Ndp::parse(&payload(frame)), Ok(said));
    }
}
