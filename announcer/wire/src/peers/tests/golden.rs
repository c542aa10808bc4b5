//! The examples, words and limits of `docs/reference/heartbeat.md`.

use std::time::Duration;

use super::super::*;
use super::{DOCUMENTATION, ME, NOW, PEER, cluster, key, listener};

const SECOND: &str = "a04be1770c35d982-1";

/// The frames of the documentation's examples, by what they say: counter, destination, body.
fn examples() -> Vec<(u64, Mac, Body<'static>)> {
    let suspect = |sequence| Suspect {
        node: "n2",
        session: SECOND,
        sequence,
    };
    let beat = Beat {
        sequence: 1_000,
        interval: Duration::from_millis(50),
        window: Duration::from_millis(150),
        kind: Kind::Watch,
        flags: Flags {
            has_api: true,
            renewals: 77,
            programmed: true,
            ..Flags::default()
        },
        heard: vec![Heard {
            session: SECOND,
            sequence: 998,
        }],
        ended: vec!["51d0c8e4b2f6a973-4"],
    };
    let fenced = Fenced {
        node: "n2",
        session: SECOND,
        by: "n1",
        written: true,
    };
    let title = |address: &str, transitions, written| Title {
        address: address.parse().unwrap(),
        transitions,
        written,
    };
    let claims = vec![
        title("192.0.2.10", 5, true),
        title("2001:db8::10", 2, false),
    ];
    let moves = vec![Move {
        address: "192.0.2.10".parse().unwrap(),
        transitions: 5,
    }];
    vec![
        (7, GROUP, Body::Beat(beat)),
        (8, GROUP, Body::Suspect(vec![suspect(998)])),
        (9, GROUP, Body::Veto(vec![suspect(1_001)])),
        (10, GROUP, Body::Fenced(fenced)),
        (11, GROUP, Body::Claims(claims)),
        (12, PEER, Body::Moves(moves.clone())),
        (13, PEER, Body::Ceded(moves)),
    ]
}

/// The bytes of the documentation's examples, in its order.
fn documented() -> Vec<Vec<u8>> {
    DOCUMENTATION
        .split("```hex\n")
        .skip(1)
        .map(|rest| {
            let block = rest.split("```").next().unwrap();
            let digits: Vec<_> = block.chars().filter(char::is_ascii_hexdigit).collect();
            digits
                .chunks(2)
                .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap())
                .collect()
        })
        .collect()
}

fn frame(body: Body<'_>) -> Frame<'_> {
    Frame {
        node: "n1",
        session: "6f1c2a9b00d4e7f3-1",
        body,
    }
}

#[test]
fn the_documented_frames_are_what_is_sent() {
    let documented = documented();
    assert_eq!(documented.len(), examples().len());
    for ((counter, to, body), bytes) in examples().into_iter().zip(documented) {
        let mut out = buffer();
        let frame = frame(body);
        let length = envelope::seal(&frame, (to, ME), cluster(), counter, &key(0), &mut out);
        assert_eq!(out[..length.unwrap()], bytes, "{frame:?}");
    }
}

#[test]
fn the_documented_frames_are_understood() {
    let mut listener = listener();
    for ((_, _, body), bytes) in examples().into_iter().zip(documented()) {
        assert_eq!(listener.hear(1, PEER, &bytes, NOW), Ok(frame(body)));
    }
}

#[test]
fn the_documented_reasons_are_all_there_are_in_their_order() {
    let table = DOCUMENTATION.split("## Refusals").nth(1).unwrap();
    let table = table.split("## ").next().unwrap();
    let words: Vec<_> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    let labels: Vec<_> = Refusal::ALL.iter().map(|reason| reason.label()).collect();
    assert_eq!(words, labels);
    for (position, reason) in Refusal::ALL.iter().enumerate() {
        assert_eq!(reason.index(), position);
        let lives = format!("`{}`", reason.label());
        let sentence = DOCUMENTATION
            .split(" say that something lives")
            .next()
            .unwrap();
        let sentence = sentence.rsplit("\n\n").next().unwrap();
        assert_eq!(sentence.contains(&lives), reason.shows_life(), "{lives}");
    }
}

#[test]
fn the_documented_limits_are_those_of_the_code() {
    for words in [
        format!("the end of the code, at most {LONGEST_MESSAGE}"),
        format!("node, at most {LONGEST_NODE} bytes"),
        format!("session, at most {LONGEST_SESSION} bytes"),
        format!("heard | how many follow, at most {LONGEST_LIST}"),
        format!("ended | how many follow, at most {LONGEST_LIST}"),
        format!("count | at most {MOST_ITEMS}"),
        format!("group `{GROUP}`"),
        format!("EtherType `{ETHER_TYPE:#06x}`"),
        format!(
            "{} frames at once and {} a second",
            budget::BURST,
            budget::RATE
        ),
    ] {
        assert!(DOCUMENTATION.contains(&words), "{words}");
    }
}
