//! What is not answered, and the reason for it.

use super::*;
use crate::Reason;

/// The reason a frame about owned addresses is ignored for.
fn reason(frame: &[u8]) -> Reason {
    match meet(frame, &[V4, V6], Interest::Owned).0 {
        Decision::Ignored(reason) => reason,
        other => panic!("not ignored: {other:?}"),
    }
}

fn spoiled(hex: &str, at: usize, value: u8) -> Vec<u8> {
    let mut frame = bytes(hex);
    frame[at] = value;
    frame
}

/// The same, for a field the ICMPv6 checksum covers.
fn changed(hex: &str, at: usize, value: u8) -> Vec<u8> {
    with_checksum(spoiled(hex, at, value))
}

#[test]
fn every_field_of_arp_is_checked() {
    for (at, value, expected) in [
        (15, 6, Reason::ArpHardware),
        (17, 6, Reason::ArpProtocol),
        (18, 8, Reason::ArpLengths),
        (18, 0, Reason::ArpLengths),
        (18, 255, Reason::ArpLengths),
        (19, 16, Reason::ArpLengths),
        (21, 3, Reason::ArpOperation),
        (21, 0, Reason::ArpOperation),
        (22, 0x03, Reason::BadSender),
        (28, 224, Reason::BadSender),
        (21, 2, Reason::NotAsked),
    ] {
        assert_eq!(
            reason(&spoiled(ARP_REQUEST, at, value)),
            expected,
            "byte {at} = {value}"
        );
    }
    let mut zero = bytes(ARP_REQUEST);
    zero[22..28].fill(0);
    assert_eq!(reason(&zero), Reason::BadSender);
}

#[test]
fn every_field_of_a_solicitation_is_checked() {
    for (at, value, expected) in [
        (14, 0x40, Reason::Ipv6Header),
        (20, 17, Reason::NotNeighbour),
        (21, 254, Reason::HopLimit),
        (21, 1, Reason::HopLimit),
        (57, 0xe4, Reason::Checksum),
        (19, 0x18, Reason::Checksum),
        (19, 0x10, Reason::Truncated),
        (19, 0x21, Reason::Truncated),
        (18, 0xff, Reason::Truncated),
    ] {
        assert_eq!(
            reason(&spoiled(SOLICITATION, at, value)),
            expected,
            "byte {at} = {value}"
        );
    }
    for (at, value, expected) in [
        (54, 128, Reason::NotNeighbour),
        (55, 1, Reason::IcmpCode),
        (62, 0xff, Reason::MulticastTarget),
        (22, 0xff, Reason::BadSender),
        (79, 0, Reason::BadOption),
        (79, 2, Reason::BadOption),
        (80, 0x03, Reason::BadSender),
    ] {
        assert_eq!(
            reason(&changed(SOLICITATION, at, value)),
            expected,
            "byte {at} = {value}"
        );
    }
}

#[test]
fn a_probe_without_source_must_go_to_a_solicited_node_group_and_carry_no_source_option() {
    assert_eq!(reason(&changed(DAD, 50, 0)), Reason::Inconsistent);
    let mut with_option = bytes(SOLICITATION);
    with_option[22..38].fill(0);
    assert_eq!(reason(&with_checksum(with_option)), Reason::Inconsistent);
}

#[test]
fn an_advertisement_to_a_group_cannot_be_solicited() {
    let mut frame = from(ADVERTISEMENT_TO_ALL, ME, CLIENT);
    frame[58] = 0x60;
    assert_eq!(reason(&with_checksum(frame)), Reason::Inconsistent);
}

#[test]
fn an_unknown_option_is_skipped() {
    let mut frame = bytes(UNICAST_SOLICITATION);
    frame[19] += 8;
    // A nonce (RFC 7527).
    frame.extend([14, 1, 1, 2, 3, 4, 5, 6]);
    assert_eq!(answer(&with_checksum(frame), &[V6]), bytes(ADVERTISEMENT));
}

#[test]
fn extension_headers_are_walked_and_fragments_refused() {
    let with = |kind: u8, extension: &[u8]| {
        let mut frame = bytes(SOLICITATION);
        frame[20] = kind;
        frame[19] += u8::try_from(extension.len()).unwrap();
        frame.splice(54..54, extension.iter().copied());
        frame
    };
    for kind in [0, 43, 60] {
        assert_eq!(
            answer(&with(kind, &[58, 0, 1, 4, 0, 0, 0, 0]), &[V6]),
            bytes(ADVERTISEMENT),
            "header {kind}"
        );
    }
    assert_eq!(
        reason(&with(44, &[58, 0, 0, 0, 0, 0, 0, 1])),
        Reason::Fragmented
    );
    assert_eq!(
        reason(&with(60, &[44, 0, 1, 4, 0, 0, 0, 0])),
        Reason::Fragmented
    );
    assert_eq!(
        reason(&with(0, &[58, 255, 1, 4, 0, 0, 0, 0])),
        Reason::ExtensionHeaders
    );
    assert_eq!(
        reason(&with(60, &[60, 0, 1, 4, 0, 0, 0, 0].repeat(9))),
        Reason::ExtensionHeaders
    );
    assert_eq!(
        reason(&with(51, &[58, 4, 0, 0, 0, 0, 0, 0])),
        Reason::NotNeighbour
    );
}

#[test]
fn a_jumbogram_is_refused() {
    let mut frame = spoiled(SOLICITATION, 19, 0);
    frame[20] = 0;
    assert_eq!(reason(&frame), Reason::Jumbogram);
}

#[test]
fn padding_behind_the_payload_is_not_part_of_it() {
    let mut frame = bytes(SOLICITATION);
    frame.extend([0xa5; 40]);
    assert_eq!(answer(&frame, &[V6]), bytes(ADVERTISEMENT));
}

#[test]
fn a_frame_cut_off_anywhere_is_truncated() {
    for (hex, whole) in [(ARP_REQUEST, 42), (SOLICITATION, 86), (DAD, 78)] {
        for length in 0..whole {
            assert_eq!(
                reason(&bytes(hex)[..length]),
                Reason::Truncated,
                "{length} bytes"
            );
        }
    }
}

#[test]
fn tagged_frames_are_another_network_s() {
    for tags in [
        &[0x8100_u16][..],
        &[0x88a8, 0x8100],
        &[0x9100, 0x88a8, 0x8100],
    ] {
        for hex in [ARP_REQUEST, SOLICITATION] {
            let mut frame = bytes(hex);
            for tag in tags.iter().rev() {
                let [a, b] = tag.to_be_bytes();
                frame.splice(12..12, [a, b, 0, 100]);
            }
            assert_eq!(reason(&frame), Reason::VlanTagged, "{tags:?}");
        }
    }
}

#[test]
fn frames_for_other_hosts_and_of_other_protocols_are_ignored() {
    let mut frame = bytes(ARP_REQUEST);
    frame[..6].copy_from_slice(&PEER.0);
    assert_eq!(reason(&frame), Reason::NotForUs);
    assert_eq!(reason(&spoiled(ARP_REQUEST, 13, 0)), Reason::EtherType);
}
