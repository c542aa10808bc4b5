//! Properties of the format: what is said is heard, and nothing else is.

use std::net::IpAddr;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::bytes::Writer;
use super::super::*;
use super::{ME, NOW, PEER, key, listener, one, said};

/// A frame with names of its own, from which a borrowing one is made.
#[derive(Clone, Debug)]
struct Spoken {
    node: String,
    session: String,
    kind: u8,
    names: Vec<(String, String, u64)>,
    ended: Vec<String>,
    addresses: Vec<(IpAddr, u64, bool)>,
    numbers: (u64, u32, u32, u32),
    bits: u8,
}

impl Spoken {
    fn frame(&self) -> Frame<'_> {
        let suspects = || {
            self.names
                .iter()
                .map(|(node, session, sequence)| Suspect {
                    node,
                    session,
                    sequence: *sequence,
                })
                .collect()
        };
        let bit = |bit: u8| self.bits & (1 << bit) != 0;
        let body = match self.kind {
            0 => Body::Beat(Beat {
                sequence: self.numbers.0,
                interval: Duration::from_micros(self.numbers.1.into()),
                window: Duration::from_micros(self.numbers.2.into()),
                kind: [
                    Kind::Watch,
                    Kind::Discovery,
                    Kind::Poll,
                    Kind::Final,
                    Kind::End,
                ][usize::from(self.bits) % 5],
                flags: Flags {
                    has_api: bit(0),
                    alone: Duration::from_millis(self.numbers.3.into()),
                    renewals: self.bits,
                    draining: bit(1),
                    leaving: bit(2),
                    programmed: bit(3),
                    few_hear: bit(4),
                },
                heard: self
                    .names
                    .iter()
                    .take(LONGEST_LIST)
                    .map(|(_, session, sequence)| Heard {
                        session,
                        sequence: *sequence,
                    })
                    .collect(),
                ended: self.ended.iter().map(String::as_str).collect(),
            }),
            1 => Body::Suspect(suspects()),
            2 => Body::Veto(suspects()),
            3 => Body::Fenced(Fenced {
                node: &self.names[0].0,
                session: &self.names[0].1,
                by: &self.node,
                written: bit(0),
            }),
            4 => Body::Claims(
                self.addresses
                    .iter()
                    .map(|(address, transitions, written)| Title {
                        address: *address,
                        transitions: *transitions,
                        written: *written,
                    })
                    .collect(),
            ),
            kind => {
                let moves = self.addresses.iter();
                let moves = moves.map(|(address, transitions, _)| Move {
                    address: *address,
                    transitions: *transitions,
                });
                let moves = moves.collect();
                match kind {
                    5 => Body::Moves(moves),
                    _ => Body::Ceded(moves),
                }
            }
        };
        Frame {
            node: &self.node,
            session: &self.session,
            body,
        }
    }
}

/// A name of at most so many bytes.
fn name(longest: usize) -> impl Strategy<Value = String> {
    (1..=longest, proptest::char::range('a', 'z'))
        .prop_map(|(length, letter)| letter.to_string().repeat(length))
}

fn spoken(node: usize, session: usize, most: usize) -> impl Strategy<Value = Spoken> {
    (
        name(node),
        name(session),
        0..7_u8,
        vec((name(node), name(session), any::<u64>()), 1..=most),
        vec(name(session), 0..=LONGEST_LIST),
        vec(any::<(IpAddr, u64, bool)>(), 1..=most),
        any::<(u64, u32, u32, u32)>(),
        any::<u8>(),
    )
        .prop_map(
            |(node, session, kind, names, ended, addresses, numbers, bits)| Spoken {
                node,
                session,
                kind,
                names,
                ended,
                addresses,
                numbers,
                bits,
            },
        )
}

/// As it is on most clusters: everything fits one frame.
fn ordinary() -> impl Strategy<Value = Spoken> {
    spoken(8, 10, 16)
}

/// With the longest names there are, and more of everything than fits.
fn long() -> impl Strategy<Value = Spoken> {
    spoken(LONGEST_NODE, LONGEST_SESSION, 100)
}

/// What the frames say together. A beat says the most.
fn joined(frames: &[Vec<u8>]) -> Vec<String> {
    let mut listener = listener();
    let mut items = Vec::new();
    for bytes in frames {
        assert!(bytes.len() <= crate::ethernet::HEADER + LONGEST_MESSAGE);
        let heard = listener.hear(1, PEER, bytes, NOW).unwrap();
        items.extend(taken_apart(&heard.body));
    }
    items
}

fn taken_apart(body: &Body<'_>) -> Vec<String> {
    match body {
        Body::Beat(beat) => vec![format!("{beat:?}")],
        Body::Fenced(fenced) => vec![format!("{fenced:?}")],
        Body::Suspect(items) | Body::Veto(items) => {
            items.iter().map(|item| format!("{item:?}")).collect()
        }
        Body::Claims(items) => items.iter().map(|item| format!("{item:?}")).collect(),
        Body::Moves(items) | Body::Ceded(items) => {
            items.iter().map(|item| format!("{item:?}")).collect()
        }
    }
}

proptest! {
    #[test]
    fn what_is_said_is_heard(spoken in ordinary()) {
        let frame = spoken.frame();
        let bytes = one(&mut Speaker::new(super::cluster()), &frame);
        prop_assert_eq!(listener().hear(1, PEER, &bytes, NOW), Ok(frame));
    }

    #[test]
    fn padding_changes_nothing(spoken in ordinary(), padding in vec(any::<u8>(), 1..60)) {
        let frame = spoken.frame();
        let mut bytes = one(&mut Speaker::new(super::cluster()), &frame);
        bytes.extend(padding);
        prop_assert_eq!(listener().hear(1, PEER, &bytes, NOW), Ok(frame));
    }

    #[test]
    fn a_list_that_does_not_fit_is_said_in_frames_that_do_whole_and_in_order(spoken in long()) {
        let frame = spoken.frame();
        let frames = said(&mut Speaker::new(super::cluster()), &frame, PEER, &key(0));
        if !matches!(frame.body, Body::Beat(_)) {
            prop_assert_eq!(joined(&frames), taken_apart(&frame.body));
        }
    }

    #[test]
    fn a_beat_without_room_leaves_out_the_eldest_of_its_ended_sessions_alone(mut spoken in long()) {
        spoken.kind = 0;
        let frame = spoken.frame();
        let Body::Beat(beat) = &frame.body else { unreachable!() };
        let frames = said(&mut Speaker::new(super::cluster()), &frame, GROUP, &key(0));
        prop_assert_eq!(frames.len(), 1);
        let mut listener = listener();
        let Body::Beat(heard) = listener.hear(1, PEER, &frames[0], NOW).unwrap().body else { unreachable!() };
        prop_assert!(beat.ended.starts_with(&heard.ended));
        if let Some(left_out) = beat.ended.get(heard.ended.len()) {
            prop_assert!(frames[0].len() + 1 + left_out.len() > crate::ethernet::HEADER + LONGEST_MESSAGE);
        }
        prop_assert_eq!(&heard, &Beat { ended: heard.ended.clone(), ..beat.clone() });
    }

    #[test]
    fn a_frame_with_any_bit_turned_is_refused_but_for_its_source(spoken in ordinary()) {
        let bytes = one(&mut Speaker::new(super::cluster()), &spoken.frame());
        // One that heard nothing, and has an allowance for as many: a bit turned in the source makes a stranger.
        let mut listener = listener();
        let mut now = NOW;
        for bit in 0..bytes.len() * 8 {
            if (6 * 8..12 * 8).contains(&bit) {
                continue;
            }
            let mut turned = bytes.clone();
            turned[bit / 8] ^= 1 << (bit % 8);
            now += Duration::from_millis(5);
            prop_assert!(listener.hear(1, PEER, &turned, now).is_err(), "bit {}", bit);
        }
        prop_assert!(listener.hear(1, PEER, &bytes, now).is_ok(), "the refused ones left no trace");
    }

    #[test]
    fn a_frame_cut_at_any_byte_is_truncated(spoken in ordinary()) {
        let bytes = one(&mut Speaker::new(super::cluster()), &spoken.frame());
        for end in 0..bytes.len() {
            prop_assert_eq!(listener().hear(1, PEER, &bytes[..end], NOW), Err(Refusal::Truncated));
        }
    }

    #[test]
    fn no_authentic_body_makes_a_reader_panic(kind in any::<u8>(), body in vec(any::<u8>(), 0..200)) {
        let _ = Body::parse(kind, &body);
    }

    #[test]
    fn no_frame_makes_a_reader_panic(mut bytes in vec(any::<u8>(), 0..200)) {
        let _ = listener().hear(1, PEER, &bytes, NOW);
        if bytes.len() > 30 {
            bytes[..6].copy_from_slice(&GROUP.0);
            bytes[12..15].copy_from_slice(&[0x88, 0xb5, 1]);
            bytes[16] = 0;
            bytes[18..26].copy_from_slice(&super::cluster().0);
            bytes[26..30].copy_from_slice(&key(0).id().0);
            prop_assert!(listener().hear(1, PEER, &bytes, NOW).is_err());
        }
    }
}

#[test]
fn names_no_frame_takes_are_refused_with_their_field() {
    let mut speaker = Speaker::new(super::cluster());
    let mut say = |node: &str, session: &str| {
        let body = Body::Moves(Vec::new());
        let frame = Frame {
            node,
            session,
            body,
        };
        speaker
            .say(&frame, GROUP, ME, &key(0), |_| panic!("nothing to be sent"))
            .map_err(|error| error.to_string())
    };
    assert_eq!(say("n1", "s"), Ok(()), "of no moves there is no frame");
    assert_eq!(
        say("", "s"),
        Err(r#"node "" has 0 bytes; a frame takes 1 to 253"#.to_owned())
    );
    let long = "s".repeat(41);
    let refused = say("n1", &long).unwrap_err();
    assert!(
        refused.ends_with("has 41 bytes; a frame takes 1 to 40"),
        "{refused}"
    );
}

#[test]
fn a_beat_of_the_first_revision_ends_before_its_renewals() {
    let beat = Beat {
        sequence: 7,
        interval: Duration::from_millis(50),
        window: Duration::from_millis(150),
        kind: Kind::Watch,
        flags: Flags {
            has_api: true,
            renewals: 9,
            ..Flags::default()
        },
        heard: vec![Heard {
            session: "s",
            sequence: 6,
        }],
        ended: vec!["t"],
    };
    let mut room = [0; 64];
    let mut out = Writer::new(&mut room);
    Body::Beat(beat.clone()).emit(&mut out).unwrap();
    let length = out.written();
    let read = |bytes: &[u8]| match Body::parse(1, bytes).unwrap() {
        Body::Beat(read) => (
            read.flags.renewals,
            read.heard == beat.heard && read.ended == beat.ended,
        ),
        other => panic!("{other:?}"),
    };
    assert_eq!(read(&room[..length]), (9, true));
    assert_eq!(read(&room[..length - 1]), (0, true));
}

#[test]
fn what_a_later_revision_adds_to_a_body_is_ignored() {
    let suspect = [1, 1, b'n', 1, b's', 0, 0, 0, 0, 0, 0, 0, 7];
    let mut longer = suspect.to_vec();
    longer.push(99);
    assert!(matches!(Body::parse(2, &suspect), Ok(Body::Suspect(_))));
    assert_eq!(Body::parse(2, &longer), Body::parse(2, &suspect));
}
