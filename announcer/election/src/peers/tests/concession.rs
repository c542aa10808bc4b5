//! A session that is over, and whether its own node knows.

use super::*;

/// Words of a node that its own session is over, since they were counted last.
fn concessions(lone: &mut Lone) -> usize {
    let own = |frame: &Frame| matches!(&frame.body, Body::Fenced(fenced) if fenced.session == frame.session);
    let said = |action: &Action| matches!(action, Action::Send(_, To::All, frame) if own(frame));
    std::mem::take(&mut lone.out)
        .iter()
        .filter(|action| said(action))
        .count()
}

#[test]
fn who_hears_that_its_session_is_over_says_so_while_it_has_no_other() {
    let mut lone = Lone::new();
    lone.hears("b1", 1);
    lone.hear("b1", beat(2, &[], &["a1"]));
    assert_eq!(concessions(&mut lone), 1);
    for sequence in 3..20 {
        lone.now += millis(50);
        lone.hear("b1", beat(sequence, &[], &["a1"]));
    }
    assert_eq!(concessions(&mut lone), 2, "it may have been lost");
}

#[test]
fn who_has_it_from_the_api_server_alone_may_be_deaf_and_says_nothing() {
    let mut lone = Lone::new();
    lone.hears("b1", 1);
    let (by, since) = (node("b"), lone.now);
    lone.tell(Event::Taken { by, since });
    assert!(lone.peers.session().is_none());
    assert_eq!(concessions(&mut lone), 0);
}

#[test]
fn a_node_that_says_itself_that_its_session_is_over_is_known_to_live() {
    let mut lone = Lone::new();
    lone.hears("b1", 1);
    let over = |by: &str| Fenced {
        node: node("b"),
        session: session("b1"),
        by: node(by),
        written: false,
    };
    let conceded = |report: &Report| matches!(report, Report::Conceded(..));
    lone.hear("c1", Body::Fenced(over("c")));
    assert!(!lone.reported(conceded), "another says so");
    lone.hear("b1", beat(2, &[("a1", 1)], &[]));
    assert!(!lone.reported(conceded), "it speaks, and may be deaf");
    lone.hear("b1", Body::Fenced(over("b")));
    assert!(lone.reported(conceded));
    lone.out.clear();
    lone.hear("b1", Body::Fenced(over("b")));
    assert!(!lone.reported(conceded), "once");
}
