//! Planned moves: from the word of the owner to the voice of the successor.

use super::*;

#[test]
fn a_leaving_owner_answers_until_its_successor_is_heard() {
    let mut trio = Trio::new(Some(owner("a1", Some("b"), 4))).heard();
    trio.tell(Event::Leaving);
    let decision = trio.decide();
    assert!(decision.answering.contains(&VIP), "make before break");
    let [Write::Amend { owner: written, .. }] = decision.writes.as_slice() else {
        panic!("one hand-over: {:?}", decision.writes);
    };
    let to = written.handover_to.clone().unwrap();
    trio.record(11, Some(written.clone()));
    trio.tell(Event::Settled(VIP, Outcome::Done));
    let told = trio.decide().say;
    assert!(
        told.iter()
            .any(|(whom, body)| *whom == To::Node(to.clone()) && matches!(body, Body::Moves(_)))
    );
    let title = Title {
        address: VIP,
        transitions: 5,
        written: true,
    };
    trio.report(Report::Claims(
        to.clone(),
        session(&format!("{to}1")),
        vec![title],
    ));
    let decision = trio.decide();
    assert!(decision.answering.is_empty());
}

/// `a` leaves, and has asked another: its name, and what that one writes.
fn handing_over(heard: bool) -> (Trio, NodeName, Owner) {
    let mut trio = Trio::new(Some(owner("a1", Some("b"), 4)));
    if heard {
        trio = trio.heard();
    }
    trio.tell(Event::Leaving);
    let decision = trio.decide();
    let [Write::Amend { owner: written, .. }] = decision.writes.as_slice() else {
        panic!("one hand-over: {:?}", decision.writes);
    };
    let to = written.handover_to.clone().unwrap();
    trio.record(11, Some(written.clone()));
    trio.tell(Event::Settled(VIP, Outcome::Done));
    trio.decide();
    let claimed = owner(&format!("{to}1"), None, 5);
    (trio, to, claimed)
}

fn has_left(trio: &Trio) -> bool {
    trio.owners.has_left(&World {
        records: &trio.records,
        candidates: &trio.candidates,
        without_interface: &trio.without_interface,
    })
}

#[test]
fn an_owner_that_reads_of_the_claim_before_it_hears_it_answers_on() {
    let (mut trio, to, claimed) = handing_over(true);
    trio.record(12, Some(claimed.clone()));
    let decision = trio.decide();
    assert!(
        decision.answering.contains(&VIP),
        "the successor may not know yet that its claim was written"
    );
    assert!(!has_left(&trio));
    let title = Title {
        address: VIP,
        transitions: 5,
        written: true,
    };
    trio.report(Report::Claims(to, claimed.session, vec![title]));
    assert!(trio.decide().answering.is_empty());
    assert!(has_left(&trio));
}

#[test]
fn a_claim_that_is_heard_and_read_in_the_same_moment_counts_as_heard() {
    let (mut trio, to, claimed) = handing_over(true);
    let title = Title {
        address: VIP,
        transitions: 5,
        written: true,
    };
    trio.report(Report::Claims(to, claimed.session.clone(), vec![title]));
    trio.record(12, Some(claimed));
    assert!(trio.decide().answering.is_empty());
}

#[test]
fn a_claim_that_is_not_heard_is_believed_in_time_and_sooner_where_nothing_is() {
    for (heard, overlap) in [(false, Duration::from_millis(250)), (true, secs(2))] {
        let (mut trio, _, claimed) = handing_over(heard);
        trio.record(12, Some(claimed));
        assert!(trio.decide().answering.contains(&VIP));
        trio.now += overlap - Duration::from_millis(1);
        let decision = trio.decide();
        assert!(decision.answering.contains(&VIP));
        assert!(decision.wake_at <= trio.now + Duration::from_millis(1));
        trio.now += Duration::from_millis(1);
        assert!(trio.decide().answering.is_empty());
        assert!(has_left(&trio));
    }
}

#[test]
fn an_address_that_another_took_unasked_is_not_answered_for_a_moment_longer() {
    let (mut trio, to, _) = handing_over(true);
    let other = if to.as_str() == "b" { "c1" } else { "b1" };
    trio.record(12, Some(owner(other, None, 5)));
    assert!(trio.decide().answering.is_empty());
}

#[test]
fn a_draining_owner_gives_to_whom_is_not_cordoned_and_keeps_what_nobody_else_can_have() {
    let mut trio = Trio::new(Some(owner("a1", Some("b"), 4))).heard();
    for candidate in trio.candidates.get_mut(&VIP).unwrap() {
        candidate.cordoned = true;
    }
    trio.tell(Event::Draining(true));
    let decision = trio.decide();
    assert!(decision.answering.contains(&VIP) && decision.writes.is_empty());
    trio.candidates.get_mut(&VIP).unwrap()[2].cordoned = false;
    let decision = trio.decide();
    let [Write::Amend { owner: written, .. }] = decision.writes.as_slice() else {
        panic!("one hand-over: {:?}", decision.writes);
    };
    assert_eq!(written.handover_to, Some(node("c")));
}

#[test]
fn a_leaving_owner_asks_again_rather_than_leave_an_address_to_nobody() {
    let (mut trio, _, _) = handing_over(true);
    let mut asked = std::collections::BTreeSet::new();
    for version in 12..16 {
        trio.now += secs(2);
        trio.tell(Event::Renewed(session("a1"), trio.now));
        let decision = trio.decide();
        assert!(decision.answering.contains(&VIP));
        let [Write::Amend { owner: written, .. }] = decision.writes.as_slice() else {
            panic!("another hand-over: {:?}", decision.writes);
        };
        asked.insert(written.handover_to.clone());
        trio.record(version, Some(written.clone()));
        trio.tell(Event::Settled(VIP, Outcome::Done));
        trio.decide();
    }
    assert_eq!(asked.len(), 2, "both, in turn");
}

#[test]
fn a_successor_that_does_not_come_is_passed_over() {
    let mut trio = Trio::new(Some(owner("a1", Some("b"), 4))).heard();
    trio.tell(Event::Draining(true));
    let asked = |decision: &Decision| match decision.writes.as_slice() {
        [Write::Amend { owner, .. }] => owner.handover_to.clone(),
        _ => None,
    };
    let decision = trio.decide();
    let first = asked(&decision).unwrap();
    trio.record(
        11,
        Some(Owner {
            handover_to: Some(first.clone()),
            ..owner("a1", Some("b"), 4)
        }),
    );
    trio.tell(Event::Settled(VIP, Outcome::Done));
    trio.now += secs(2);
    let decision = trio.decide();
    assert!(decision.answering.contains(&VIP));
    assert!(asked(&decision).is_some_and(|second| second != first));
}

#[test]
fn a_claim_that_is_read_before_its_write_is_answered_is_told_at_once() {
    let mut trio = Trio::new(Some(owner("b1", Some("c"), 4))).heard();
    let moves = vec![Move {
        address: VIP,
        transitions: 4,
    }];
    trio.report(Report::Moves(node("b"), session("b1"), moves));
    let [Write::Claim { owner: written, .. }] = &trio.decide().writes[..] else {
        panic!("a claim");
    };
    trio.record(11, Some(written.clone()));
    let decision = trio.decide();
    assert!(decision.answering.contains(&VIP));
    let told = |(to, body): &(To, Body)| *to == To::All && matches!(body, Body::Claims(_));
    assert!(decision.say.iter().any(told), "{:?}", decision.say);
}

#[test]
fn an_invited_standby_whose_owner_dies_answers_before_its_claim_is_written() {
    let invitation = Owner {
        handover_to: Some(node("a")),
        ..owner("b1", Some("a"), 4)
    };
    let mut trio = Trio::new(Some(invitation)).heard();
    let decision = trio.decide();
    assert!(
        matches!(decision.writes.as_slice(), [Write::Claim { .. }]),
        "asked by the owner, it claims: {:?}",
        decision.writes
    );
    assert!(decision.answering.is_empty(), "the owner still does");
    trio.end("b1", true);
    assert!(
        trio.decide().answering.contains(&VIP),
        "nobody else would while the write is under way"
    );
}

#[test]
fn an_invited_node_claims_and_a_stranger_is_not_believed() {
    let mut trio = Trio::new(Some(owner("b1", Some("c"), 4))).heard();
    let moves = vec![Move {
        address: VIP,
        transitions: 4,
    }];
    trio.report(Report::Moves(node("c"), session("c1"), moves.clone()));
    assert_eq!(claims(&trio.decide()), 0, "it is not the owner's to give");
    trio.report(Report::Moves(node("b"), session("b1"), moves));
    assert_eq!(claims(&trio.decide()), 1);
}

/// `a` owns the address, `c` stands by, and `a` has just lost its interface.
fn unplugged() -> Trio {
    let mut trio = Trio::new(Some(owner("a1", Some("c"), 4))).heard();
    let candidates = ["b", "c"].map(|name| Candidate::plain(node(name)));
    trio.candidates.insert(VIP, candidates.to_vec());
    trio.without_interface.insert(VIP);
    trio
}

fn ceded() -> Vec<Move> {
    vec![Move {
        address: VIP,
        transitions: 4,
    }]
}

#[test]
fn an_owner_without_an_interface_has_its_standby_answer_by_a_frame_alone() {
    let mut trio = unplugged();
    let decision = trio.decide();
    assert!(decision.answering.is_empty());
    assert_eq!(
        decision.writes,
        [],
        "the successor's claim is the only write"
    );
    let told = (To::Node(node("c")), Body::Ceded(ceded()));
    assert_eq!(decision.say, std::slice::from_ref(&told));
    trio.now += Duration::from_millis(10);
    assert_eq!(trio.decide().say, [], "not at every turn");
    trio.now += Duration::from_millis(90);
    assert_eq!(trio.decide().say, [told], "a frame may be lost");
    let title = Title {
        address: VIP,
        transitions: 5,
        written: false,
    };
    trio.report(Report::Claims(node("c"), session("c1"), vec![title]));
    let decision = trio.decide();
    assert_eq!((decision.say, decision.writes), (Vec::new(), Vec::new()));
}

#[test]
fn a_successor_that_was_not_heard_is_asked_by_the_record() {
    let mut trio = unplugged();
    trio.decide();
    trio.now += Duration::from_millis(200);
    let decision = trio.decide();
    let [Write::Amend { owner: written, .. }] = decision.writes.as_slice() else {
        panic!("one hand-over: {:?}", decision.writes);
    };
    assert_eq!(written.handover_to, Some(node("c")));
}

#[test]
fn without_the_api_server_an_address_is_ceded_to_one_after_the_other() {
    let mut trio = unplugged();
    for name in ["b", "c"] {
        let flags = Flags {
            programmed: true,
            ..Flags::default()
        };
        trio.report(Report::Flags(node(name), flags));
    }
    trio.now += secs(12);
    let mut told = Vec::new();
    for _ in 0..3 {
        for (to, body) in trio.decide().say {
            assert_eq!(body, Body::Ceded(ceded()));
            told.push(to);
        }
        trio.now += Duration::from_millis(200);
    }
    assert_eq!(told, ["c", "b", "c"].map(|name| To::Node(node(name))));
}

#[test]
fn what_its_owner_cedes_is_answered_for_before_it_is_written() {
    let mut trio = Trio::new(Some(owner("b1", Some("a"), 4))).heard();
    trio.report(Report::Ceded(node("b"), session("b1"), ceded()));
    let decision = trio.decide();
    assert!(decision.answering.contains(&VIP));
    let [Write::Claim { reason, .. }] = decision.writes.as_slice() else {
        panic!("one claim: {:?}", decision.writes);
    };
    assert_eq!(*reason, ClaimReason::HandedOver);
    // The same is asked by the record, because this node was not heard: it answers on.
    trio.report(Report::Moves(node("b"), session("b1"), ceded()));
    assert!(trio.decide().answering.contains(&VIP));
}

#[test]
fn what_was_ceded_to_a_node_that_could_not_answer_then_is_not_taken_later() {
    let mut trio = Trio::new(Some(owner("b1", Some("a"), 4))).heard();
    let all = trio.candidates.remove(&VIP).unwrap();
    trio.report(Report::Ceded(node("b"), session("b1"), ceded()));
    assert!(trio.decide().answering.is_empty());
    trio.now += secs(3);
    trio.decide();
    trio.candidates.insert(VIP, all);
    let decision = trio.decide();
    assert_eq!(
        (decision.answering, decision.writes),
        (BTreeSet::new(), Vec::new())
    );
}

#[test]
fn a_stranger_to_the_record_cedes_nothing() {
    let mut trio = Trio::new(Some(owner("b1", Some("a"), 4))).heard();
    trio.report(Report::Ceded(node("c"), session("c1"), ceded()));
    let mut late = ceded();
    late[0].transitions = 3;
    trio.report(Report::Ceded(node("b"), session("b1"), late));
    assert!(trio.decide().answering.is_empty());
}

#[test]
fn a_leaving_owner_asks_its_standby_first() {
    for standby in ["b", "c"] {
        let mut trio = Trio::new(Some(owner("a1", Some(standby), 4))).heard();
        trio.tell(Event::Leaving);
        let decision = trio.decide();
        let [Write::Amend { owner: written, .. }] = decision.writes.as_slice() else {
            panic!("one hand-over: {:?}", decision.writes);
        };
        assert_eq!(written.handover_to, Some(node(standby)));
    }
}

/// The interface is there again.
fn plug(trio: &mut Trio) {
    let candidates = ["a", "b", "c"].map(|name| Candidate::plain(node(name)));
    trio.candidates.insert(VIP, candidates.to_vec());
    trio.without_interface.clear();
}

#[test]
fn an_owner_whose_interface_is_back_before_anybody_was_heard_answers_at_once() {
    let mut trio = unplugged();
    trio.decide();
    plug(&mut trio);
    trio.now += Duration::from_millis(60);
    assert_eq!(trio.decide().wake_at, trio.now);
    let decision = trio.decide();
    assert!(decision.answering.contains(&VIP));
    assert_eq!((decision.say, decision.writes), (Vec::new(), Vec::new()));
}

#[test]
fn an_interface_that_fails_again_has_its_addresses_ceded_again() {
    let mut trio = unplugged();
    trio.decide();
    trio.now += Duration::from_millis(200);
    trio.decide();
    trio.tell(Event::Settled(VIP, Outcome::Refused));
    plug(&mut trio);
    trio.now += secs(3);
    for _ in 0..2 {
        trio.tell(Event::Renewed(session("a1"), trio.now));
        trio.decide();
        trio.tell(Event::Settled(VIP, Outcome::Refused));
    }
    let candidates = ["b", "c"].map(|name| Candidate::plain(node(name)));
    trio.candidates.insert(VIP, candidates.to_vec());
    trio.without_interface.insert(VIP);
    let decision = trio.decide();
    assert!(
        matches!(&decision.say[..], [(_, Body::Ceded(_))]),
        "{decision:?}"
    );
    assert_eq!(decision.writes, []);
}

#[test]
fn a_successor_that_is_no_candidate_any_more_is_not_waited_for() {
    let mut trio = unplugged();
    trio.decide();
    trio.candidates
        .insert(VIP, vec![Candidate::plain(node("b"))]);
    trio.now += Duration::from_millis(20);
    let told = (To::Node(node("b")), Body::Ceded(ceded()));
    assert_eq!(trio.decide().say, [told]);
}

#[test]
fn a_hand_over_becomes_a_cession_when_the_interface_goes() {
    let (mut trio, to, _) = handing_over(true);
    let candidates = ["b", "c"].map(|name| Candidate::plain(node(name)));
    trio.candidates.insert(VIP, candidates.to_vec());
    trio.without_interface.insert(VIP);
    let decision = trio.decide();
    assert!(decision.answering.is_empty());
    assert_eq!(decision.say, [(To::Node(to), Body::Ceded(ceded()))]);
}

#[test]
fn an_owner_that_has_the_api_server_cedes_to_one_that_has_it_too() {
    let mut trio = unplugged();
    let alone = Flags {
        programmed: true,
        ..Flags::default()
    };
    trio.report(Report::Flags(node("c"), alone));
    let told = (To::Node(node("b")), Body::Ceded(ceded()));
    assert_eq!(trio.decide().say, [told]);
}

#[test]
fn a_cession_that_is_not_repeated_lapses_unless_it_was_acted_on() {
    for acts in [false, true] {
        let mut trio = Trio::new(Some(owner("b1", Some("a"), 4))).heard();
        let all = trio.candidates[&VIP].clone();
        trio.report(Report::Ceded(node("b"), session("b1"), ceded()));
        if !acts {
            trio.candidates.remove(&VIP);
        }
        for _ in 0..10 {
            trio.decide();
            trio.now += Duration::from_millis(100);
        }
        trio.candidates.insert(VIP, all);
        assert_eq!(trio.decide().answering.contains(&VIP), acts);
    }
}

#[test]
fn a_standby_that_may_not_have_the_address_is_replaced() {
    let mut trio = Trio::new(Some(owner("a1", Some("c"), 4))).heard();
    assert_eq!(trio.decide().writes, []);
    let candidates = ["a", "b"].map(|name| Candidate::plain(node(name)));
    trio.candidates.insert(VIP, candidates.to_vec());
    let decision = trio.decide();
    let [Write::Amend { owner: written, .. }] = decision.writes.as_slice() else {
        panic!("another standby: {:?}", decision.writes);
    };
    assert_eq!(written.standby, Some(node("b")));
}

#[test]
fn an_heir_that_may_not_have_the_address_any_more_has_given_it_up() {
    let mut trio = Trio::new(Some(owner("a1", Some("c"), 4))).heard();
    let title = Title {
        address: VIP,
        transitions: 5,
        written: false,
    };
    trio.report(Report::Claims(node("c"), session("c1"), vec![title]));
    assert!(trio.decide().answering.is_empty());
    let all = trio.candidates[&VIP].clone();
    let candidates = ["a", "b"].map(|name| Candidate::plain(node(name)));
    trio.candidates.insert(VIP, candidates.to_vec());
    assert!(trio.decide().answering.contains(&VIP));
    trio.candidates.insert(VIP, all);
    assert!(
        trio.decide().answering.contains(&VIP),
        "nor when it may again"
    );
}

#[test]
fn a_write_under_way_keeps_no_address_from_being_ceded() {
    let mut trio = Trio::new(Some(owner("a1", None, 4))).heard();
    assert!(matches!(trio.decide().writes[..], [Write::Amend { .. }]));
    let candidates = ["b", "c"].map(|name| Candidate::plain(node(name)));
    trio.candidates.insert(VIP, candidates.to_vec());
    trio.without_interface.insert(VIP);
    let decision = trio.decide();
    assert!(
        matches!(&decision.say[..], [(_, Body::Ceded(_))]),
        "{decision:?}"
    );
    trio.now += Duration::from_millis(200);
    assert_eq!(trio.decide().writes, [], "one write at a time");
}

#[test]
fn a_successor_that_nobody_hears_is_passed_over_without_an_interface_too() {
    let (mut trio, to, _) = handing_over(false);
    let candidates = ["b", "c"].map(|name| Candidate::plain(node(name)));
    trio.candidates.insert(VIP, candidates.to_vec());
    trio.without_interface.insert(VIP);
    trio.now += secs(3);
    let decision = trio.decide();
    let [Write::Amend { owner: written, .. }] = decision.writes.as_slice() else {
        panic!("another hand-over: {:?}", decision.writes);
    };
    assert_ne!(written.handover_to, Some(to));
}

#[test]
fn an_old_owner_that_answers_on_claims_nothing_when_a_split_ends() {
    let (mut trio, to, claimed) = handing_over(true);
    trio.record(12, Some(claimed));
    assert!(
        trio.decide().answering.contains(&VIP),
        "until the other is heard"
    );
    trio.report(Report::Up {
        session: session(&format!("{to}1")),
        node: to,
        merged: true,
    });
    let decision = trio.decide();
    assert!(decision.answering.contains(&VIP));
    assert!(
        !decision
            .say
            .iter()
            .any(|(_, body)| matches!(body, Body::Claims(_))),
        "by a title that nobody gave it the new owner would stop: {:?}",
        decision.say
    );
}
