//! Answers to hand-made frames, made and judged by scapy.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may end here"
)]

mod segment;

use std::path::{Path, PathBuf};

use landfall_announcer::responder::{Filter, Settings};
use segment::{Attached, Node, Xdp, mac, on_a_segment, said_once, text};

/// Where `hack/scapy.sh` leaves it.
fn scapy() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("LANDFALL_SCAPY") {
        return Some(path.into());
    }
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))?;
    let wheel = cache.join("landfall/scapy-2.8.0/scapy.whl");
    wheel.exists().then_some(wheel)
}

fn are_answered(test: &str, filter: Filter, xdp: Xdp) {
    let Some(scapy) = scapy() else {
        landfall_testbed::skipped(test, "scapy: hack/scapy.sh");
        return;
    };
    on_a_segment(test, async |segment| {
        let mut node = Node::with(Settings {
            filter,
            pace: said_once(),
            ..Settings::default()
        })
        .await;
        let eth0 = node.link("eth0").await;
        let _attached = Attached::to(eth0, xdp);
        // What is said unasked on arrival would pass for an answer.
        node.own_quietly(eth0, &["192.0.2.100", "2001:db8::1:64"])
            .await;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/solicit.py");
        let command = format!(
            "env PYTHONPATH={} PYTHONDONTWRITEBYTECODE=1 python3 {} {} 192.0.2.100 2001:db8::1:64",
            scapy.display(),
            script.display(),
            mac(11)
        );
        let output = segment.exec("client", &command).await;
        assert!(output.status.success(), "{}", text(&output));
        assert_eq!(
            text(&output).matches(": answered").count(),
            9,
            "{}",
            text(&output)
        );
    });
}

#[test]
fn hand_made_questions_are_answered_as_the_rfcs_say_and_spoiled_ones_are_not() {
    let test = "hand_made_questions_are_answered_as_the_rfcs_say_and_spoiled_ones_are_not";
    are_answered(test, Filter::Best, Xdp::Absent);
}

#[test]
fn hand_made_questions_are_answered_behind_the_classic_filter_too() {
    let test = "hand_made_questions_are_answered_behind_the_classic_filter_too";
    are_answered(test, Filter::Classic, Xdp::Absent);
}

#[test]
fn hand_made_questions_are_answered_with_xdp_in_the_driver_of_the_interface() {
    let test = "hand_made_questions_are_answered_with_xdp_in_the_driver_of_the_interface";
    are_answered(test, Filter::Best, Xdp::Native);
}

#[test]
fn hand_made_questions_are_answered_with_generic_xdp_on_the_interface() {
    let test = "hand_made_questions_are_answered_with_generic_xdp_on_the_interface";
    are_answered(test, Filter::Best, Xdp::Generic);
}
