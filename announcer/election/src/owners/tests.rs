//! What the record half does in single situations.

mod hand_over;
mod outages;
mod rebalance;
mod titles;
mod watchers;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::peers::{Body, Fenced, Flags, Move, Report, To};
use crate::sessions::SeenLease;

const VIP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 10));

fn secs(seconds: u64) -> Now {
    Duration::from_secs(seconds)
}

fn node(name: &str) -> NodeName {
    NodeName::new(name)
}

fn session(name: &str) -> SessionId {
    SessionId::new(name)
}

fn lease(name: &str, version: u64) -> SeenLease {
    SeenLease {
        session: (!name.is_empty()).then(|| session(name)),
        version: Version::new(version.to_string()),
        duration: secs(15),
    }
}

fn owner(session_name: &str, standby: Option<&str>, transitions: u64) -> Owner {
    Owner {
        node: node(&session_name[..1]),
        session: session(session_name),
        standby: standby.map(node),
        transitions,
        handover_to: None,
    }
}

/// Node `a` among `b` and `c`, all with live sessions and one address.
struct Trio {
    owners: Owners,
    records: BTreeMap<IpAddr, Record>,
    candidates: BTreeMap<IpAddr, Vec<Candidate>>,
    without_interface: BTreeSet<IpAddr>,
    now: Now,
}

impl Trio {
    fn new(owner: Option<Owner>) -> Self {
        let mut trio = Self {
            owners: Owners::new(node("a"), Settings::for_duration(secs(15))),
            records: BTreeMap::new(),
            candidates: BTreeMap::from([(
                VIP,
                ["a", "b", "c"]
                    .map(|name| Candidate::plain(node(name)))
                    .to_vec(),
            )]),
            without_interface: BTreeSet::new(),
            now: secs(100),
        };
        trio.tell(Event::Programmed(true));
        trio.tell(Event::SessionStarted(session("a1"), trio.now));
        for (name, version) in [("a1", 1), ("b1", 2), ("c1", 3)] {
            trio.tell(Event::LeaseSeen(node(&name[..1]), lease(name, version)));
        }
        trio.record(10, owner);
        trio
    }

    /// Heartbeats run: the others are heard, and have the API server.
    fn heard(mut self) -> Self {
        for name in ["b", "c"] {
            let (node, session) = (node(name), session(&format!("{name}1")));
            self.report(Report::Up {
                node: node.clone(),
                session,
                merged: false,
            });
            self.report(Report::Flags(
                node,
                Flags {
                    has_api: true,
                    programmed: true,
                    ..Flags::default()
                },
            ));
        }
        self
    }

    fn record(&mut self, version: u64, owner: Option<Owner>) {
        let record = Record {
            version: Version::new(version.to_string()),
            uid: "u".into(),
            owner,
        };
        self.records.insert(VIP, record);
    }

    fn tell(&mut self, event: Event) {
        self.owners.observe(event, self.now);
    }

    fn report(&mut self, report: Report) {
        self.tell(Event::Report(report));
    }

    fn end(&mut self, name: &str, written: bool) {
        let fenced = Fenced {
            node: node(&name[..1]),
            session: session(name),
            by: node("c"),
            written,
        };
        self.report(Report::Ended(fenced, None));
    }

    fn decide(&mut self) -> Decision {
        let world = World {
            records: &self.records,
            candidates: &self.candidates,
            without_interface: &self.without_interface,
        };
        self.owners.decide(&world, self.now)
    }
}

fn claims(decision: &Decision) -> usize {
    decision
        .writes
        .iter()
        .filter(|write| matches!(write, Write::Claim { .. }))
        .count()
}

#[test]
fn a_standby_answers_on_the_word_that_the_session_ended_and_writes_behind() {
    for written in [false, true] {
        let mut trio = Trio::new(Some(owner("b1", Some("a"), 4))).heard();
        assert!(trio.decide().answering.is_empty());
        trio.end("b1", written);
        let decision = trio.decide();
        assert!(decision.answering.contains(&VIP));
        assert_eq!(claims(&decision), 1);
        let title = Title {
            address: VIP,
            transitions: 5,
            written: false,
        };
        assert!(
            decision.say.contains(&(To::All, Body::Claims(vec![title]))),
            "peers are told"
        );
    }
}

#[test]
fn a_standby_of_many_answers_for_all_at_once_and_claims_some_at_a_time() {
    let mut trio = Trio::new(None).heard();
    let at_a_time = trio.owners.settings.claims;
    let many = u32::try_from(at_a_time * 2).unwrap();
    let record = |version: &str, owner| Record {
        version: Version::new(version),
        uid: "u".into(),
        owner: Some(owner),
    };
    trio.records = (0..many)
        .map(|number| IpAddr::V4((0xc613_0000 + number).into()))
        .map(|address| (address, record("1", owner("b1", Some("a"), 4))))
        .collect();
    let candidates = trio.candidates[&VIP].clone();
    let addresses = trio.records.keys();
    trio.candidates = addresses
        .map(|address| (*address, candidates.clone()))
        .collect();
    trio.end("b1", true);
    let decision = trio.decide();
    assert_eq!(decision.answering.len(), trio.records.len());
    assert_eq!(claims(&decision), at_a_time);
    assert_eq!(claims(&trio.decide()), 0, "they are under way");
    // One is written: the next one goes.
    let Some(Write::Claim { address, .. }) = decision.writes.first() else {
        panic!("no claim in {:?}", decision.writes.first());
    };
    let written = record("2", owner("a1", Some("c"), 5));
    trio.records.insert(*address, written);
    trio.tell(Event::Settled(*address, Outcome::Done));
    assert_eq!(claims(&trio.decide()), 1);
}

#[test]
fn a_node_that_is_not_the_standby_leaves_it_half_a_second() {
    let mut trio = Trio::new(Some(owner("b1", Some("c"), 4))).heard();
    trio.end("b1", true);
    assert_eq!(claims(&trio.decide()), 0);
    trio.now += Duration::from_millis(450);
    assert_eq!(claims(&trio.decide()), 0);
    trio.now += Duration::from_millis(250);
    let decision = trio.decide();
    assert_eq!(claims(&decision), 1);
    assert!(
        decision.answering.is_empty(),
        "it answers only once its claim is acknowledged"
    );
}

#[test]
fn without_heartbeats_a_standby_writes_before_it_answers() {
    let mut trio = Trio::new(Some(owner("b1", Some("a"), 4)));
    trio.tell(Event::LeaseSeen(node("b"), lease("", 20)));
    let decision = trio.decide();
    assert!(decision.answering.is_empty());
    assert_eq!(claims(&decision), 1);
}

#[test]
fn a_higher_title_of_a_peer_silences_an_owner_whose_watch_is_deaf() {
    let mut trio = Trio::new(Some(owner("a1", Some("b"), 4))).heard();
    assert!(trio.decide().answering.contains(&VIP));
    let title = Title {
        address: VIP,
        transitions: 5,
        written: true,
    };
    trio.report(Report::Claims(node("b"), session("b1"), vec![title]));
    assert!(trio.decide().answering.is_empty());
}

#[test]
fn a_lower_title_is_answered_with_the_higher_and_the_network_is_told_again() {
    let mut trio = Trio::new(Some(owner("a1", Some("b"), 4))).heard();
    trio.decide();
    let title = Title {
        address: VIP,
        transitions: 3,
        written: true,
    };
    trio.report(Report::Claims(node("b"), session("b1"), vec![title]));
    let decision = trio.decide();
    assert!(decision.answering.contains(&VIP) && decision.announce.contains(&VIP));
    let mine = Title {
        address: VIP,
        transitions: 4,
        written: true,
    };
    assert!(decision.say.contains(&(To::All, Body::Claims(vec![mine]))));
}

#[test]
fn a_fenced_node_is_not_first_for_what_it_had_and_a_restarted_one_is() {
    for fenced in [false, true] {
        let mut trio = Trio::new(Some(owner("a0", None, 4))).heard();
        // The Lease was asked for: another session holds it now.
        trio.tell(Event::Inquired(
            node("a"),
            session("a0"),
            Some(lease("a1", 1)),
        ));
        if fenced {
            trio.end("a0", true);
        }
        // Whoever else is better by rank is live: without the right of the restarted it would wait.
        trio.candidates.get_mut(&VIP).unwrap()[0].cordoned = true;
        assert_eq!(claims(&trio.decide()), usize::from(!fenced));
    }
}

proptest! {
    #[test]
    fn placing_one_by_one_never_exceeds_the_bound(nodes in 1..12_usize, addresses in 1..120_u8) {
        let candidates: Vec<Candidate> = (0..nodes).map(|n| Candidate::plain(node(&format!("n{n}")))).collect();
        let candidates: Vec<&Candidate> = candidates.iter().collect();
        let mut load = Load::new();
        for last in 0..addresses {
            let best = rank(IpAddr::from([10, 0, 0, last]), &candidates, &load)[0].clone();
            *load.entry(best).or_default() += 1;
        }
        let most = load.values().max().copied().unwrap_or(0);
        prop_assert!(most <= crate::order::cap(usize::from(addresses), nodes));
    }

    #[test]
    fn the_order_does_not_depend_on_who_asks_and_the_cordoned_come_last(
        weights in prop::collection::vec((0..3_i64, any::<bool>()), 1..9),
    ) {
        let candidates: Vec<Candidate> = weights
            .iter()
            .enumerate()
            .map(|(n, (weight, cordoned))| Candidate {
                weight: *weight,
                cordoned: *cordoned,
                ..Candidate::plain(node(&format!("n{n}")))
            })
            .collect();
        let forth: Vec<&Candidate> = candidates.iter().collect();
        let back: Vec<&Candidate> = candidates.iter().rev().collect();
        let ranked = rank(VIP, &forth, &Load::new());
        prop_assert_eq!(&ranked, &rank(VIP, &back, &Load::new()));
        let cordoned: Vec<bool> = ranked
            .iter()
            .map(|name| candidates.iter().any(|candidate| candidate.node == **name && candidate.cordoned))
            .collect();
        prop_assert!(cordoned.is_sorted());
    }
}

#[test]
fn a_node_fenced_often_of_late_is_asked_after_all_others_that_serve() {
    let named = |name: &str| Candidate::plain(node(name));
    let unsteady = Candidate {
        weight: 9,
        unsteady: true,
        ..named("a")
    };
    let cordoned = Candidate {
        cordoned: true,
        ..named("b")
    };
    let unready = Candidate {
        ready: false,
        ..named("c")
    };
    let plain = named("d");
    let full = Load::from([(node("d"), 100)]);
    let order = rank(VIP, &[&unsteady, &cordoned, &unready, &plain], &full);
    assert_eq!(order, [&node("d"), &node("a"), &node("c"), &node("b")]);
    assert_eq!(
        rank(VIP, &[&unsteady], &full),
        [&node("a")],
        "better than nobody"
    );
}

#[test]
fn of_a_node_that_no_record_names_any_more_nothing_is_remembered() {
    let mut trio = Trio::new(Some(owner("d1", None, 3)));
    let inquires = |trio: &mut Trio| {
        let writes = trio.decide().writes;
        writes
            .iter()
            .any(|write| matches!(write, Write::Inquire { .. }))
    };
    assert!(inquires(&mut trio));
    trio.tell(Event::InquiryEnded(node("d")));
    assert!(!inquires(&mut trio), "it is waited after a failure");
    trio.records.clear();
    trio.decide();
    trio.record(11, Some(owner("d1", None, 3)));
    assert!(inquires(&mut trio), "a name that returns is a new one");
}

#[test]
fn what_a_peer_claimed_and_gave_up_is_taken_by_another() {
    let mut trio = Trio::new(Some(owner("b1", Some("c"), 4))).heard();
    trio.end("b1", false);
    let title = Title {
        address: VIP,
        transitions: 5,
        written: false,
    };
    trio.report(Report::Claims(node("c"), session("c1"), vec![title]));
    trio.now += secs(2);
    assert_eq!(claims(&trio.decide()), 0, "c has it");
    // It lives, is heard, and has lost its link; nobody hears the claim again.
    trio.now += secs(9);
    trio.tell(Event::Renewed(session("a1"), trio.now));
    trio.tell(Event::LeaseSeen(node("c"), lease("c1", 20)));
    trio.decide();
    trio.now += secs(1);
    assert_eq!(claims(&trio.decide()), 1);
}

#[test]
fn a_standby_that_cannot_write_says_again_and_again_that_it_answers() {
    let mut trio = Trio::new(Some(owner("b1", Some("a"), 4))).heard();
    trio.end("b1", false);
    let mut said = 0;
    for _ in 0..100 {
        let decision = trio.decide();
        said += decision.say.len();
        assert!(decision.answering.contains(&VIP));
        trio.now += Duration::from_millis(100);
    }
    assert!((4..8).contains(&said), "{said} times in ten seconds");
}

#[test]
fn a_process_that_starts_after_a_fence_does_not_take_back_what_the_standby_has() {
    for was_fenced in [false, true] {
        let mut trio = Trio::new(Some(owner("a0", Some("b"), 4))).heard();
        if was_fenced {
            trio.tell(Event::WasFenced);
        }
        let inquired = Event::Inquired(node("a"), session("a0"), Some(lease("a1", 5)));
        trio.tell(inquired);
        assert_eq!(claims(&trio.decide()), usize::from(!was_fenced));
    }
}
