//! Who has an address: questions by ARP and NDP, and the answers to them. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    EthernetRepr, Icmpv6Packet, Icmpv6Repr, IpProtocol, Ipv6Packet, Ipv6Repr, NdiscNeighborFlags,
    NdiscRepr,
};

/// A question of `mac` who has `target`. Without an address of its own it only wants to know whether the target is free.
#[must_use]
pub fn question(mac: EthernetAddress, own: Option<IpAddr>, target: IpAddr) -> Vec<u8> {
    match target {
        IpAddr::V4(target) => {
            let own = match own {
                Some(IpAddr::V4(own)) => own,
                _ => Ipv4Addr::UNSPECIFIED,
            };
            arp(mac, own, target)
        }
        IpAddr::V6(target) => {
            let own = match own {
                Some(IpAddr::V6(own)) => own,
                _ => Ipv6Addr::UNSPECIFIED,
            };
            solicitation(mac, own, target)
        }
    }
}

fn arp(mac: EthernetAddress, own: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let words = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: mac,
        source_protocol_addr: own,
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: target,
    };
    let head = EthernetRepr {
        src_addr: mac,
        dst_addr: EthernetAddress::BROADCAST,
        ethertype: EthernetProtocol::Arp,
    };
    let mut bytes = vec![0; head.buffer_len() + words.buffer_len()];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
    head.emit(&mut frame);
    words.emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
    bytes
}

fn solicitation(mac: EthernetAddress, own: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    let [.., a, b, c] = target.octets();
    let group = Ipv6Addr::new(
        0xff02,
        0,
        0,
        0,
        0,
        1,
        0xff00 | u16::from(a),
        u16::from_be_bytes([b, c]),
    );
    let words = NdiscRepr::NeighborSolicit {
        target_addr: target,
        lladdr: (!own.is_unspecified()).then(|| mac.into()),
    };
    neighbour(mac, own, group, [0x33, 0x33, 0xff, a, b, c], words)
}

/// Says to everybody that `own` is at `mac`, so that whoever remembers it elsewhere does not go on.
#[must_use]
pub fn announcement(mac: EthernetAddress, own: IpAddr) -> Vec<u8> {
    match own {
        IpAddr::V4(own) => arp(mac, own, own),
        IpAddr::V6(own) => {
            let words = NdiscRepr::NeighborAdvert {
                flags: NdiscNeighborFlags::OVERRIDE,
                target_addr: own,
                lladdr: Some(mac.into()),
            };
            let all = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
            neighbour(mac, own, all, [0x33, 0x33, 0, 0, 0, 1], words)
        }
    }
}

fn neighbour(
    mac: EthernetAddress,
    own: Ipv6Addr,
    group: Ipv6Addr,
    to: [u8; 6],
    words: NdiscRepr<'_>,
) -> Vec<u8> {
    let words = Icmpv6Repr::Ndisc(words);
    let ip = Ipv6Repr {
        src_addr: own,
        dst_addr: group,
        next_header: IpProtocol::Icmpv6,
        payload_len: words.buffer_len(),
        hop_limit: 255,
    };
    let head = EthernetRepr {
        src_addr: mac,
        dst_addr: EthernetAddress(to),
        ethertype: EthernetProtocol::Ipv6,
    };
    let mut bytes = vec![0; head.buffer_len() + ip.buffer_len() + words.buffer_len()];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
    head.emit(&mut frame);
    let mut packet = Ipv6Packet::new_unchecked(frame.payload_mut());
    ip.emit(&mut packet);
    words.emit(
        &own,
        &group,
        &mut Icmpv6Packet::new_unchecked(packet.payload_mut()),
        &ChecksumCapabilities::default(),
    );
    bytes
}

/// Whether a frame asks for `own` without an address of its own: its sender wants to know whether it is free.
#[must_use]
pub fn is_probe(frame: &[u8], own: IpAddr) -> Option<EthernetAddress> {
    let frame = EthernetFrame::new_checked(frame).ok()?;
    let asks = match (frame.ethertype(), own) {
        (EthernetProtocol::Arp, IpAddr::V4(own)) => {
            let packet = ArpPacket::new_checked(frame.payload()).ok()?;
            let ArpRepr::EthernetIpv4 {
                operation,
                source_protocol_addr,
                target_protocol_addr,
                ..
            } = ArpRepr::parse(&packet).ok()?
            else {
                return None;
            };
            operation == ArpOperation::Request
                && source_protocol_addr.is_unspecified()
                && target_protocol_addr == own
        }
        (EthernetProtocol::Ipv6, IpAddr::V6(own)) => {
            matches!(neighbours(frame.payload())?, (from, NdiscRepr::NeighborSolicit { target_addr, .. })
                if from.is_unspecified() && target_addr == own)
        }
        _ => false,
    };
    asks.then(|| frame.src_addr())
}

/// The Ethernet address that speaks as `address`, be it in an answer or of its own accord.
#[must_use]
pub fn speaks_as(frame: &[u8], address: IpAddr) -> Option<EthernetAddress> {
    let of_arp = || {
        let frame = EthernetFrame::new_checked(frame).ok()?;
        if frame.ethertype() != EthernetProtocol::Arp {
            return None;
        }
        let packet = ArpPacket::new_checked(frame.payload()).ok()?;
        match ArpRepr::parse(&packet).ok()? {
            ArpRepr::EthernetIpv4 {
                source_hardware_addr,
                source_protocol_addr,
                ..
            } if address == IpAddr::V4(source_protocol_addr) => Some(source_hardware_addr),
            _ => None,
        }
    };
    answer(frame, address).or_else(of_arp)
}

/// What a packet says of neighbours, and from whom.
fn neighbours(packet: &[u8]) -> Option<(Ipv6Addr, NdiscRepr<'_>)> {
    let packet = Ipv6Packet::new_checked(packet).ok()?;
    let ip = Ipv6Repr::parse(&packet).ok()?;
    if ip.next_header != IpProtocol::Icmpv6 || ip.hop_limit != 255 {
        return None;
    }
    let words = Icmpv6Packet::new_checked(packet.payload()).ok()?;
    let caps = ChecksumCapabilities::default();
    match Icmpv6Repr::parse(&ip.src_addr, &ip.dst_addr, &words, &caps).ok()? {
        Icmpv6Repr::Ndisc(words) => Some((ip.src_addr, words)),
        _ => None,
    }
}

/// The Ethernet address that a frame says has `target`; nothing where it says nothing of it.
#[must_use]
pub fn answer(frame: &[u8], target: IpAddr) -> Option<EthernetAddress> {
    let frame = EthernetFrame::new_checked(frame).ok()?;
    match (frame.ethertype(), target) {
        (EthernetProtocol::Arp, IpAddr::V4(target)) => {
            let packet = ArpPacket::new_checked(frame.payload()).ok()?;
            let ArpRepr::EthernetIpv4 {
                operation,
                source_hardware_addr,
                source_protocol_addr,
                ..
            } = ArpRepr::parse(&packet).ok()?
            else {
                return None;
            };
            (operation == ArpOperation::Reply && source_protocol_addr == target)
                .then_some(source_hardware_addr)
        }
        (EthernetProtocol::Ipv6, IpAddr::V6(target)) => match neighbours(frame.payload())?.1 {
            NdiscRepr::NeighborAdvert {
                target_addr,
                lladdr,
                ..
            } if target_addr == target => {
                let bytes = lladdr?;
                <[u8; 6]>::try_from(bytes.as_bytes())
                    .ok()
                    .map(EthernetAddress)
            }
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 9]);
    const OTHER: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 7]);

    #[test]
    fn a_question_by_arp_is_byte_for_byte_what_rfc_826_has() {
        let frame = question(
            MAC,
            Some("192.0.2.9".parse().unwrap()),
            "192.0.2.1".parse().unwrap(),
        );
        let expected = [
            &[0xff; 6][..],
            &MAC.0,
            &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
            &MAC.0,
            &[192, 0, 2, 9],
            &[0; 6],
            &[192, 0, 2, 1],
        ]
        .concat();
        assert_eq!(frame, expected);
    }

    #[test]
    fn a_question_is_no_answer_and_an_answer_about_another_address_none_either() {
        let target: IpAddr = "192.0.2.1".parse().unwrap();
        assert_eq!(answer(&question(MAC, Some(target), target), target), None);
        // Operation 2: a reply.
        let mut reply = question(OTHER, Some(target), "192.0.2.9".parse().unwrap());
        reply[21] = 2;
        assert_eq!(answer(&reply, target), Some(OTHER));
        assert_eq!(answer(&reply, "192.0.2.2".parse().unwrap()), None);
        for cut in 0..reply.len() {
            assert_eq!(answer(&reply[..cut], target), None);
        }
    }

    #[test]
    fn a_solicitation_goes_to_the_group_of_its_target_and_who_only_asks_names_no_address() {
        let target: IpAddr = "2001:db8::12:3456".parse().unwrap();
        let asks = question(MAC, None, target);
        assert_eq!(asks[..6], [0x33, 0x33, 0xff, 0x12, 0x34, 0x56]);
        let named = question(MAC, Some("2001:db8::9".parse().unwrap()), target);
        assert_eq!(named.len(), asks.len() + 8);
        assert!(named.ends_with(&[&[1, 1][..], &MAC.0].concat()));
    }

    #[test]
    fn who_only_asks_is_known_by_it_and_who_speaks_as_an_address_by_any_word() {
        for address in ["192.0.2.9", "2001:db8::9"] {
            let address: IpAddr = address.parse().unwrap();
            let asks = question(OTHER, None, address);
            assert_eq!(is_probe(&asks, address), Some(OTHER));
            assert_eq!(speaks_as(&asks, address), None);
            let named = question(OTHER, Some(address), address);
            assert_eq!(is_probe(&named, address), None);
            assert_eq!(
                speaks_as(&announcement(OTHER, address), address),
                Some(OTHER)
            );
        }
    }

    #[test]
    fn an_announcement_by_ndp_says_where_its_sender_is_and_one_by_arp_is_no_answer() {
        let six: IpAddr = "2001:db8::9".parse().unwrap();
        assert_eq!(answer(&announcement(MAC, six), six), Some(MAC));
        let four: IpAddr = "192.0.2.9".parse().unwrap();
        let frame = announcement(MAC, four);
        assert_eq!(answer(&frame, four), None);
        assert_eq!(
            (&frame[28..32], &frame[38..42]),
            (&[192, 0, 2, 9][..], &[192, 0, 2, 9][..])
        );
    }

    #[test]
    fn an_advertisement_is_an_answer_as_long_as_its_checksum_holds() {
        let (target, asker): (Ipv6Addr, Ipv6Addr) = (
            "2001:db8::1".parse().unwrap(),
            "2001:db8::9".parse().unwrap(),
        );
        let words = Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert {
            flags: NdiscNeighborFlags::SOLICITED | NdiscNeighborFlags::OVERRIDE,
            target_addr: target,
            lladdr: Some(OTHER.into()),
        });
        let ip = Ipv6Repr {
            src_addr: target,
            dst_addr: asker,
            next_header: IpProtocol::Icmpv6,
            payload_len: words.buffer_len(),
            hop_limit: 255,
        };
        let mut bytes = vec![0; 14 + 40 + words.buffer_len()];
        let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
        EthernetRepr {
            src_addr: OTHER,
            dst_addr: MAC,
            ethertype: EthernetProtocol::Ipv6,
        }
        .emit(&mut frame);
        let mut packet = Ipv6Packet::new_unchecked(frame.payload_mut());
        ip.emit(&mut packet);
        words.emit(
            &target,
            &asker,
            &mut Icmpv6Packet::new_unchecked(packet.payload_mut()),
            &ChecksumCapabilities::default(),
        );
        assert_eq!(answer(&bytes, target.into()), Some(OTHER));
        assert_eq!(answer(&bytes, asker.into()), None);
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        assert_eq!(answer(&bytes, target.into()), None);
    }
}
