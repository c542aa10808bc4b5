//! What a listener refuses, and what a flood costs.

use std::time::Duration;

use super::super::*;
use super::{ME, NOW, PEER, cluster, key, listener, one, ring, said};

fn frame(session: &str) -> Frame<'_> {
    let moves = vec![Move {
        address: "192.0.2.10".parse().unwrap(),
        transitions: 1,
    }];
    Frame {
        node: "n1",
        session,
        body: Body::Moves(moves),
    }
}

fn refused(bytes: &[u8]) -> Option<Refusal> {
    listener().hear(1, PEER, bytes, NOW).err()
}

fn changed(at: usize, byte: u8) -> Vec<u8> {
    let mut bytes = one(&mut Speaker::new(cluster()), &frame("s"));
    bytes[at] = byte;
    bytes
}

/// An authentic frame of this kind with this body.
fn authentic(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![1, kind, 0, 0];
    message.extend(cluster().0);
    message.extend(key(0).id().0);
    message.extend([0, 0, 0, 0, 0, 0, 0, 1, 1, b'n', 1, b's']);
    message.extend(body);
    let length = u16::try_from(message.len() + 32).unwrap();
    message[2..4].copy_from_slice(&length.to_be_bytes());
    let code = ring::hmac::sign(key(0).hmac(), &[&GROUP.0[..], &message].concat());
    [&GROUP.0[..], &ME.0, &[0x88, 0xb5], &message, code.as_ref()].concat()
}

#[test]
fn every_reason_is_given_for_what_it_says() {
    let foreign = one(&mut Speaker::new(ClusterId::of("another")), &frame("s"));
    let mut speaker = Speaker::new(cluster());
    let rotated = said(&mut speaker, &frame("s"), GROUP, &key(9)).remove(0);
    let elsewhere = said(&mut speaker, &frame("s"), ME, &key(0)).remove(0);
    for (bytes, reason) in [
        (Vec::new(), Refusal::Truncated),
        (changed(12, 8), Refusal::EtherType),
        (elsewhere, Refusal::NotForUs),
        (changed(14, 2), Refusal::Version),
        (changed(16, 5), Refusal::TooLong),
        (foreign, Refusal::ForeignCluster),
        (rotated, Refusal::UnknownKey),
        (changed(38, 0), Refusal::Header),
        (changed(38, 200), Refusal::Header),
        (changed(39, 0xff), Refusal::Header),
        (changed(30, 1), Refusal::WrongCode),
        (authentic(8, &[]), Refusal::UnknownKind),
        (authentic(0, &[]), Refusal::UnknownKind),
        (authentic(5, &[]), Refusal::Malformed),
        (authentic(5, &[1, 5, 0]), Refusal::Malformed),
        (authentic(2, &[33]), Refusal::Malformed),
    ] {
        assert_eq!(refused(&bytes), Some(reason), "{bytes:02x?}");
    }
    assert_eq!(refused(&authentic(5, &[0])), None);
}

#[test]
fn a_frame_to_one_node_is_not_believed_by_another() {
    let to_me = said(&mut Speaker::new(cluster()), &frame("s"), ME, &key(0)).remove(0);
    let mut redirected = to_me.clone();
    redirected[..6].copy_from_slice(&PEER.0);
    assert_eq!(refused(&redirected), Some(Refusal::WrongCode));
    assert!(listener().hear(1, ME, &to_me, NOW).is_ok());
}

#[test]
fn a_frame_is_believed_once_on_a_segment_and_none_before_it_afterwards() {
    let mut speaker = Speaker::new(cluster());
    let [first, second] = [(); 2].map(|()| one(&mut speaker, &frame("s")));
    let mut listener = listener();
    assert!(listener.hear(1, PEER, &second, NOW).is_ok());
    for bytes in [&first, &second] {
        assert_eq!(listener.hear(1, PEER, bytes, NOW), Err(Refusal::Replayed));
    }
    assert!(
        listener.hear(2, PEER, &second, NOW).is_ok(),
        "another segment"
    );
    listener.retain(|segment| segment == 1);
    assert_eq!(listener.hear(1, PEER, &second, NOW), Err(Refusal::Replayed));
    assert!(
        listener.hear(2, PEER, &second, NOW).is_ok(),
        "a new one of its name"
    );
}

#[test]
fn a_forged_frame_does_not_raise_the_counter() {
    let mut speaker = Speaker::new(cluster());
    let genuine = one(&mut speaker, &frame("s"));
    let mut forged = genuine.clone();
    forged[30] = 0xff;
    let mut listener = listener();
    assert_eq!(
        listener.hear(1, PEER, &forged, NOW),
        Err(Refusal::WrongCode)
    );
    assert!(listener.hear(1, PEER, &genuine, NOW).is_ok());
}

#[test]
fn the_memory_of_sessions_is_bounded_and_forgets_the_one_heard_longest_ago() {
    let mut replay = replay::Replay::default();
    let most = replay::MOST_SESSIONS;
    for number in 0..most {
        assert!(replay.rises(1, &number.to_string(), 5));
    }
    assert!(replay.rises(1, "0", 6), "heard again");
    assert!(replay.rises(1, "one more", 5));
    assert!(!replay.rises(1, "0", 6));
    assert!(!replay.rises(1, "one more", 5));
    assert!(replay.rises(1, "1", 5), "forgotten");
}

#[test]
fn keys_can_change_while_sessions_are_remembered() {
    let mut speaker = Speaker::new(cluster());
    let old = one(&mut speaker, &frame("s"));
    let new = said(&mut speaker, &frame("s"), GROUP, &key(1)).remove(0);
    let mut listener = listener();
    assert!(listener.hear(1, PEER, &old, NOW).is_ok());
    listener.set_keys(ring(&[1]));
    assert_eq!(listener.hear(1, PEER, &old, NOW), Err(Refusal::UnknownKey));
    assert!(listener.hear(1, PEER, &new, NOW).is_ok());
}

#[test]
fn a_flood_from_strangers_is_cut_off_and_takes_nothing_from_a_peer() {
    let mut speaker = Speaker::new(cluster());
    let mut listener = listener();
    let beat = one(&mut speaker, &frame("s"));
    assert!(listener.hear(1, PEER, &beat, NOW).is_ok());
    let mut checked = 0_u32;
    for number in 0..20_000_u32 {
        // Two seconds of it, every frame from elsewhere.
        let now = NOW + Duration::from_micros(100) * number;
        let mut forged = beat.clone();
        forged[7..11].copy_from_slice(&(number + 1).to_be_bytes());
        forged[30] = 0xff;
        match listener.hear(1, PEER, &forged, now) {
            Err(Refusal::WrongCode) => checked += 1,
            Err(Refusal::Flood) => {}
            other => panic!("{other:?}"),
        }
        if number % 500 == 0 {
            let beat = one(&mut speaker, &frame("s"));
            assert!(listener.hear(1, PEER, &beat, now).is_ok());
        }
    }
    // The peer's first frame was a stranger's too, and the last of the two seconds is not over.
    assert_eq!(checked, budget::BURST + 2 * budget::RATE - 2);
}

#[test]
fn senders_with_an_allowance_of_their_own_are_bounded() {
    let mut budget = budget::Budget::default();
    let mac = |number: usize| {
        let [high, low] = u16::try_from(number).unwrap().to_be_bytes();
        Mac([2, 0, 0, 0, high, low])
    };
    for number in 0..=budget::MOST_SENDERS {
        budget.welcome(mac(number));
        assert!(budget.admits(mac(number), NOW + Duration::from_millis(number as u64)));
    }
    // The first made room for the last, and shares with the strangers, who have used up theirs.
    let stranger = Mac([4, 0, 0, 0, 0, 0]);
    while budget.admits(stranger, NOW) {}
    assert!(!budget.admits(mac(0), NOW));
    assert!(budget.admits(mac(1), NOW));
}
