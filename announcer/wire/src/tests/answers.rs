//! What is answered, with the exact bytes, and what is a claim.

use super::*;
use crate::Answer;
use crate::announce::{Unasked, announcement, question};

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn claim(text: &str, mac: Mac, interest: Interest) -> Decision {
    Decision::Claim {
        address: address(text),
        mac,
        interest,
    }
}

#[test]
fn a_padded_broadcast_request_is_answered_to_its_sender() {
    assert_eq!(answer(&bytes(ARP_REQUEST), &[V4]), bytes(ARP_REPLY));
}

#[test]
fn a_unicast_request_is_answered_likewise() {
    let mut frame = bytes(ARP_REQUEST);
    frame[..6].copy_from_slice(&ME.0);
    assert_eq!(answer(&frame, &[V4]), bytes(ARP_REPLY));
}

#[test]
fn an_arp_probe_is_defended() {
    let mut expected = bytes(ARP_REPLY);
    expected[38..42].fill(0);
    assert_eq!(answer(&from(ARP_PROBE, ME, CLIENT), &[V4]), expected);
}

#[test]
fn multicast_and_unicast_solicitations_are_answered_alike() {
    for question in [SOLICITATION, UNICAST_SOLICITATION] {
        assert_eq!(answer(&bytes(question), &[V6]), bytes(ADVERTISEMENT));
    }
}

#[test]
fn a_duplicate_address_probe_is_answered_to_all_nodes_without_the_solicited_flag() {
    assert_eq!(answer(&bytes(DAD), &[V6]), bytes(ADVERTISEMENT_TO_ALL));
}

#[test]
fn an_answer_names_the_address_and_the_asker() {
    let (decision, _) = meet(&bytes(ARP_REQUEST), &[V4], Interest::Owned);
    assert_eq!(
        decision,
        Decision::Answer(Answer {
            length: 42,
            address: address(V4),
            asker: CLIENT,
            source: CLIENT,
        })
    );
}

#[test]
fn a_question_about_another_address_is_not_answered() {
    for frame in [ARP_REQUEST, SOLICITATION, UNICAST_SOLICITATION, DAD] {
        let (decision, _) = meet(
            &bytes(frame),
            &["192.0.2.101", "2001:db8::65"],
            Interest::Owned,
        );
        assert_eq!(decision, Decision::Ignored(Reason::NotOwned));
    }
}

#[test]
fn what_a_foreign_host_says_of_an_owned_address_is_a_claim() {
    for (frame, text) in [
        (GRATUITOUS_REQUEST, V4),
        (GRATUITOUS_REPLY, V4),
        (ADVERTISEMENT_TO_ALL, V6),
    ] {
        let (decision, _) = meet(&from(frame, ME, CLIENT), &[text], Interest::Owned);
        assert_eq!(decision, claim(text, CLIENT, Interest::Owned));
    }
}

#[test]
fn a_question_sent_from_an_owned_address_is_a_claim() {
    let (decision, _) = meet(&bytes(ARP_REQUEST), &["192.0.2.200"], Interest::Owned);
    assert_eq!(decision, claim("192.0.2.200", CLIENT, Interest::Owned));
    let (decision, _) = meet(&bytes(SOLICITATION), &[V6, "2001:db8::c1"], Interest::Owned);
    assert_eq!(decision, claim("2001:db8::c1", CLIENT, Interest::Owned));
}

#[test]
fn what_a_peer_says_of_an_owned_address_is_no_claim() {
    for (frame, text) in [
        (GRATUITOUS_REQUEST, V4),
        (GRATUITOUS_REPLY, V4),
        (ADVERTISEMENT_TO_ALL, V6),
    ] {
        for interest in [Interest::Owned, Interest::Probing] {
            assert_eq!(
                meet(&from(frame, ME, PEER), &[text], interest).0,
                Decision::Ignored(Reason::Peer)
            );
        }
    }
}

#[test]
fn every_form_of_an_answer_is_a_claim_of_whoever_sends_it() {
    for (frame, text) in [
        (ARP_REPLY, V4),
        (GRATUITOUS_REQUEST, V4),
        (GRATUITOUS_REPLY, V4),
        (ADVERTISEMENT, V6),
        (ADVERTISEMENT_TO_ALL, V6),
    ] {
        for (who, expected) in [
            (FOREIGN, claim(text, FOREIGN, Interest::Owned)),
            (PEER, Decision::Ignored(Reason::Peer)),
            (SISTER, Decision::Ignored(Reason::OwnFrame)),
        ] {
            // To this node, or to all: what was answered to somebody else it does not see.
            let mut frame = from(frame, ME, who);
            if frame[0] & 1 == 0 {
                frame[..6].copy_from_slice(&ME.0);
            }
            let (decision, _) = meet(&frame, &[text], Interest::Owned);
            assert_eq!(decision, expected, "{text} of {who}");
        }
    }
}

#[test]
fn own_frames_that_come_back_are_ignored() {
    for frame in [
        GRATUITOUS_REQUEST,
        GRATUITOUS_REPLY,
        ARP_PROBE,
        ADVERTISEMENT_TO_ALL,
    ] {
        for interest in [Interest::Owned, Interest::Probing] {
            assert_eq!(
                meet(&bytes(frame), &[V4, V6], interest).0,
                Decision::Ignored(Reason::OwnFrame)
            );
        }
    }
}

#[test]
fn an_answer_to_a_probe_is_a_claim_and_so_is_a_probe_at_the_same_time() {
    let (mut reply, mut advertisement) = (
        from(ARP_REPLY, ME, PEER),
        from(ADVERTISEMENT_TO_ALL, ME, CLIENT),
    );
    reply[..6].copy_from_slice(&ME.0);
    reply[6..12].copy_from_slice(&CLIENT.0);
    reply[22..28].copy_from_slice(&CLIENT.0);
    advertisement[6..12].copy_from_slice(&CLIENT.0);
    for (frame, text) in [
        (reply, V4),
        (from(ARP_PROBE, ME, CLIENT), V4),
        (advertisement, V6),
        (bytes(DAD), V6),
    ] {
        assert_eq!(
            meet(&frame, &[text], Interest::Probing).0,
            claim(text, CLIENT, Interest::Probing)
        );
    }
}

#[test]
fn an_address_that_is_only_probed_is_not_answered() {
    for frame in [ARP_REQUEST, SOLICITATION, UNICAST_SOLICITATION] {
        assert_eq!(
            meet(&bytes(frame), &[V4, V6], Interest::Probing).0,
            Decision::Ignored(Reason::NotOwned)
        );
    }
}

#[test]
fn announcements_and_questions_have_these_bytes() {
    let frames = |address: &str| -> Vec<Unasked> {
        announcement(address.parse().unwrap())
            .0
            .into_iter()
            .flatten()
            .collect()
    };
    let sent = |unasked: Unasked| {
        let mut out = buffer();
        let length = unasked.emit(ME, &mut out);
        out[..length].to_vec()
    };
    assert_eq!(
        frames(V4).into_iter().map(sent).collect::<Vec<_>>(),
        [bytes(GRATUITOUS_REQUEST), bytes(GRATUITOUS_REPLY)]
    );
    assert_eq!(
        frames(V6).into_iter().map(sent).collect::<Vec<_>>(),
        [bytes(ADVERTISEMENT_TO_ALL)]
    );
    assert_eq!(sent(question(address(V4))), bytes(ARP_PROBE));
    assert_eq!(sent(question(address(V6))), from(DAD, CLIENT, ME));
}
