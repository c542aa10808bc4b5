//! What the election does in single situations.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use proptest::prelude::*;

use super::order::cap;
use super::*;

const VIP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 10));

fn secs(seconds: u64) -> Now {
    Duration::from_secs(seconds)
}

fn node(name: &str) -> NodeName {
    NodeName::new(name)
}

fn lease(session: &str, version: u64) -> SeenLease {
    SeenLease {
        session: (!session.is_empty()).then(|| SessionId::new(session)),
        version: Version::new(version.to_string()),
        duration: secs(15),
    }
}

fn record(version: u64, owner: Option<Owner>) -> Record {
    Record {
        version: Version::new(version.to_string()),
        uid: "u".into(),
        owner,
    }
}

fn owner(name: &str, session: &str) -> Owner {
    Owner {
        node: node(name),
        session: SessionId::new(session),
        transitions: 3,
        handover_to: None,
    }
}

fn contest(nodes: &[&str]) -> Event {
    let candidates = nodes
        .iter()
        .map(|name| Candidate {
            node: node(name),
            weight: 0,
        })
        .collect();
    Event::Contests(vec![Contest {
        address: VIP,
        candidates,
    }])
}

/// `a` with a session since 100 s, and `b` seen at the same time.
fn a_and_b() -> Election {
    let mut election = Election::new(node("a"), Settings::for_duration(secs(15)));
    election.observe(
        Event::SessionStarted(SessionId::new("a1"), secs(100)),
        secs(100),
    );
    election.observe(Event::LeaseSeen(node("a"), lease("a1", 1)), secs(100));
    election.observe(Event::LeaseSeen(node("b"), lease("b1", 2)), secs(100));
    election.observe(contest(&["a", "b"]), secs(100));
    election
}

fn renew(election: &mut Election, at: u64) {
    election.observe(Event::Renewed(SessionId::new("a1"), secs(at)), secs(at));
}

#[test]
fn of_a_node_that_no_record_names_any_more_nothing_is_remembered() {
    let mut election = a_and_b();
    let foreign = || Event::RecordSeen(VIP, record(5, Some(owner("c", "c1"))));
    let inquires = |election: &mut Election, at: u64| {
        let writes = election.decide(secs(at)).writes;
        matches!(writes.as_slice(), [Write::Inquire { .. }])
    };
    election.observe(foreign(), secs(100));
    assert!(inquires(&mut election, 100));
    election.observe(Event::InquiryEnded(node("c")), secs(100));
    assert!(
        !inquires(&mut election, 100),
        "it is waited after a failure"
    );
    election.observe(Event::RecordGone(VIP), secs(100));
    election.decide(secs(100));
    election.observe(foreign(), secs(100));
    assert!(
        inquires(&mut election, 100),
        "a name that returns is a new one"
    );
}

#[test]
fn an_address_nobody_owned_is_probed_before_it_is_claimed() {
    let mut election = a_and_b();
    election.observe(contest(&["a"]), secs(100));
    election.observe(Event::RecordSeen(VIP, record(5, None)), secs(100));
    let decision = election.decide(secs(100));
    assert_eq!((decision.probes, decision.writes), (vec![VIP], vec![]));
    election.observe(Event::Probed(VIP, Probed::Clear), secs(101));
    let decision = election.decide(secs(101));
    assert!(matches!(
        decision.writes.as_slice(),
        [Write::Claim {
            reason: ClaimReason::First,
            ..
        }]
    ));
    assert!(
        decision.answering.is_empty(),
        "not before the claim is acknowledged"
    );
    let mine = Owner {
        transitions: 1,
        ..owner("a", "a1")
    };
    election.observe(Event::Wrote(VIP, record(6, Some(mine))), secs(101));
    assert_eq!(
        election
            .decide(secs(101))
            .answering
            .into_iter()
            .collect::<Vec<_>>(),
        [VIP]
    );
}

#[test]
fn a_taken_address_is_not_claimed_and_probed_again_later() {
    let mut election = a_and_b();
    election.observe(contest(&["a"]), secs(100));
    election.observe(Event::RecordSeen(VIP, record(5, None)), secs(100));
    election.decide(secs(100));
    election.observe(Event::Probed(VIP, Probed::Taken), secs(101));
    let decision = election.decide(secs(101));
    assert_eq!((decision.probes, decision.writes), (vec![], vec![]));
    assert_eq!(decision.wake_at, Some(secs(102)));
    assert_eq!(election.decide(secs(102)).probes, [VIP]);
}

#[test]
fn a_live_owner_keeps_the_address_whoever_would_be_better() {
    let mut election = a_and_b();
    election.observe(
        Event::RecordSeen(VIP, record(5, Some(owner("b", "b1")))),
        secs(100),
    );
    assert!(election.decide(secs(101)).writes.is_empty());
}

#[test]
fn a_silent_session_is_expired_before_its_address_is_claimed() {
    let mut election = a_and_b();
    election.observe(contest(&["a"]), secs(100));
    election.observe(
        Event::RecordSeen(VIP, record(5, Some(owner("b", "b1")))),
        secs(100),
    );
    renew(&mut election, 110);
    assert_eq!(election.decide(secs(114)).wake_at, Some(secs(115)));
    let decision = election.decide(secs(115));
    let expire = Write::Expire {
        node: node("b"),
        version: Version::new("2"),
    };
    assert_eq!(decision.writes, [expire]);
    assert!(election.decide(secs(115)).writes.is_empty(), "once");
    election.observe(Event::LeaseSeen(node("b"), lease("", 9)), secs(115));
    election.observe(Event::InquiryEnded(node("b")), secs(115));
    let decision = election.decide(secs(115));
    let [
        Write::Claim {
            owner,
            reason: ClaimReason::OwnerDied,
            ..
        },
    ] = decision.writes.as_slice()
    else {
        panic!("{decision:?}")
    };
    assert_eq!((owner.transitions, &owner.node), (4, &node("a")));
}

#[test]
fn a_renewal_seen_in_time_keeps_the_owner() {
    let mut election = a_and_b();
    election.observe(
        Event::RecordSeen(VIP, record(5, Some(owner("b", "b1")))),
        secs(100),
    );
    renew(&mut election, 110);
    election.observe(Event::LeaseSeen(node("b"), lease("b1", 7)), secs(112));
    assert!(election.decide(secs(118)).writes.is_empty());
}

#[test]
fn the_same_lease_listed_again_is_no_renewal() {
    let mut election = a_and_b();
    election.observe(
        Event::RecordSeen(VIP, record(5, Some(owner("b", "b1")))),
        secs(100),
    );
    renew(&mut election, 110);
    election.observe(Event::LeaseSeen(node("b"), lease("b1", 2)), secs(114));
    assert_eq!(election.decide(secs(116)).writes.len(), 1);
}

#[test]
fn a_deleted_lease_does_not_end_the_session_before_its_time() {
    let mut election = a_and_b();
    election.observe(contest(&["a"]), secs(100));
    election.observe(
        Event::RecordSeen(VIP, record(5, Some(owner("b", "b1")))),
        secs(100),
    );
    renew(&mut election, 112);
    election.observe(Event::LeaseGone(node("b")), secs(105));
    assert!(election.decide(secs(119)).writes.is_empty());
    renew(&mut election, 119);
    assert_eq!(election.decide(secs(120)).writes.len(), 1);
}

#[test]
fn without_renewal_answering_ends_before_the_session_does() {
    let mut election = a_and_b();
    election.observe(
        Event::RecordSeen(VIP, record(5, Some(owner("a", "a1")))),
        secs(100),
    );
    assert_eq!(election.decide(secs(114)).answering.len(), 1);
    let decision = election.decide(Duration::from_millis(114_700));
    assert!(decision.answering.is_empty() && decision.writes.is_empty());
}

#[test]
fn an_owner_is_quiet_from_the_moment_it_offers_the_address() {
    let mut election = a_and_b();
    election.observe(
        Event::RecordSeen(VIP, record(5, Some(owner("a", "a1")))),
        secs(100),
    );
    election.observe(contest(&["b"]), secs(101));
    let decision = election.decide(secs(101));
    assert!(decision.answering.is_empty());
    let [Write::HandOver { owner: asked, .. }] = decision.writes.as_slice() else {
        panic!("{decision:?}")
    };
    assert_eq!(asked.handover_to, Some(node("b")));
}

#[test]
fn a_doubtful_offer_keeps_the_owner_quiet_until_the_record_moved() {
    let mut election = a_and_b();
    election.observe(
        Event::RecordSeen(VIP, record(5, Some(owner("a", "a1")))),
        secs(100),
    );
    election.observe(contest(&["b"]), secs(101));
    election.decide(secs(101));
    election.observe(Event::Failed(VIP), secs(102));
    election.observe(contest(&["a", "b"]), secs(102));
    assert!(election.decide(secs(102)).answering.is_empty());
    let decision = election.decide(secs(104));
    assert!(decision.answering.is_empty());
    assert!(matches!(
        decision.writes.as_slice(),
        [Write::Claim {
            reason: ClaimReason::Kept,
            ..
        }]
    ));
    election.observe(
        Event::Wrote(VIP, record(6, Some(owner("a", "a1")))),
        secs(104),
    );
    assert_eq!(election.decide(secs(104)).answering.len(), 1);
}

#[test]
fn a_successor_that_does_not_come_is_passed_over() {
    let mut election = a_and_b();
    election.observe(
        Event::RecordSeen(VIP, record(5, Some(owner("a", "a1")))),
        secs(100),
    );
    election.observe(Event::Leaving, secs(101));
    election.decide(secs(101));
    let offered = Owner {
        handover_to: Some(node("b")),
        ..owner("a", "a1")
    };
    election.observe(Event::Wrote(VIP, record(6, Some(offered))), secs(101));
    assert!(election.decide(secs(102)).writes.is_empty());
    let decision = election.decide(secs(103));
    assert!(
        matches!(decision.writes.as_slice(), [Write::Release { .. }]),
        "{decision:?}"
    );
    assert!(!election.has_left());
    election.observe(Event::Wrote(VIP, record(7, None)), secs(103));
    assert!(election.has_left());
}

#[test]
fn the_invited_node_claims_although_the_owner_lives() {
    let mut election = a_and_b();
    let offered = Owner {
        handover_to: Some(node("a")),
        ..owner("b", "b1")
    };
    election.observe(Event::RecordSeen(VIP, record(5, Some(offered))), secs(100));
    let decision = election.decide(secs(100));
    assert!(matches!(
        decision.writes.as_slice(),
        [Write::Claim {
            reason: ClaimReason::HandedOver,
            ..
        }]
    ));
}

#[test]
fn old_news_of_a_record_is_ignored() {
    let mut election = a_and_b();
    election.observe(
        Event::RecordSeen(VIP, record(9, Some(owner("b", "b1")))),
        secs(100),
    );
    election.observe(
        Event::RecordSeen(VIP, record(8, Some(owner("a", "a1")))),
        secs(100),
    );
    assert!(election.decide(secs(100)).answering.is_empty());
}

#[test]
fn a_heavier_candidate_comes_first_whatever_its_load() {
    let a = Candidate {
        node: node("a"),
        weight: 0,
    };
    let b = Candidate {
        node: node("b"),
        weight: 10,
    };
    let load = BTreeMap::from([(node("b"), 100)]);
    assert_eq!(order(VIP, &[&a, &b], &load), [&node("b"), &node("a")]);
}

proptest! {
    #[test]
    fn placing_one_by_one_never_exceeds_the_bound(nodes in 1..12_usize, addresses in 1..200_u32) {
        let candidates: Vec<_> = (0..nodes)
            .map(|n| Candidate { node: node(&format!("n{n}")), weight: 0 })
            .collect();
        let candidates: Vec<_> = candidates.iter().collect();
        let mut load = BTreeMap::new();
        for address in 0..addresses {
            let best = order(IpAddr::from(address.to_be_bytes()), &candidates, &load)[0].clone();
            *load.entry(best).or_default() += 1;
        }
        let total: usize = load.values().sum();
        prop_assert!(load.values().all(|held| *held <= cap(total, nodes)), "{:?}", load);
    }

    #[test]
    fn the_order_does_not_depend_on_who_asks(seed: u32, n in 1..8_usize) {
        let candidates: Vec<_> = (0..n)
            .map(|n| Candidate { node: node(&format!("n{n}")), weight: 0 })
            .collect();
        let forward: Vec<_> = candidates.iter().collect();
        let backward: Vec<_> = candidates.iter().rev().collect();
        let address = IpAddr::from(seed.to_be_bytes());
        let load = BTreeMap::new();
        prop_assert_eq!(order(address, &forward, &load), order(address, &backward, &load));
    }
}

#[test]
fn a_silent_session_that_cannot_be_expired_is_tried_less_and_less_often() {
    let mut election = Election::new(node("n1"), Settings::for_duration(secs(15)));
    let me = SessionId::new("s1");
    election.observe(Event::SessionStarted(me.clone(), secs(0)), secs(0));
    election.observe(Event::LeaseSeen(node("n2"), lease("s2", 1)), secs(0));
    let seen = Event::RecordSeen(VIP, record(1, Some(owner("n2", "s2"))));
    election.observe(seen, secs(0));
    election.observe(contest(&["n1", "n2"]), secs(0));
    let mut attempts = Vec::new();
    for tick in 0..6_000_u64 {
        let now = Duration::from_millis(tick * 100);
        election.observe(Event::Renewed(me.clone(), now), now);
        let decision = election.decide(now);
        if decision
            .writes
            .iter()
            .any(|w| matches!(w, Write::Expire { .. }))
        {
            attempts.push(now);
            election.observe(Event::InquiryEnded(node("n2")), now);
        }
    }
    assert!((5..20).contains(&attempts.len()), "{attempts:?}");
    // And once the Lease says something new, the next time is a first time.
    let later = secs(600);
    election.observe(Event::LeaseSeen(node("n2"), lease("s2", 2)), later);
    let until = later + secs(17) + Settings::for_duration(secs(15)).retry_max;
    election.observe(Event::Renewed(me, until), until);
    let again = election.decide(until);
    assert!(
        again
            .writes
            .iter()
            .any(|w| matches!(w, Write::Expire { .. }))
    );
}

/// `a` sees an address of `b`, whose peers found it silent.
fn b_was_ended() -> Election {
    let mut election = a_and_b();
    election.observe(
        Event::RecordSeen(VIP, record(5, Some(owner("b", "b1")))),
        secs(100),
    );
    assert!(election.decide(secs(101)).writes.is_empty());
    election.observe(
        Event::SessionEnded(node("b"), SessionId::new("b1")),
        secs(102),
    );
    election
}

#[test]
fn the_addresses_of_a_session_that_peers_ended_are_claimed_at_once() {
    let mut election = b_was_ended();
    assert_eq!(election.live_nodes(secs(102)), [node("a")].into());
    let writes = election.decide(secs(102)).writes;
    assert!(
        matches!(
            writes.as_slice(),
            [Write::Claim {
                reason: ClaimReason::OwnerDied,
                ..
            }]
        ),
        "{writes:?}"
    );
}

#[test]
fn a_renewal_seen_late_does_not_bring_a_session_back_that_peers_ended() {
    let mut election = b_was_ended();
    election.observe(Event::LeaseSeen(node("b"), lease("b1", 9)), secs(103));
    assert_eq!(election.live_nodes(secs(103)), [node("a")].into());
    election.observe(Event::LeaseSeen(node("b"), lease("b2", 10)), secs(104));
    assert_eq!(
        election.live_nodes(secs(104)),
        [node("a"), node("b")].into(),
        "its next one lives"
    );
}
