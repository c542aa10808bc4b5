//! Without the API server: alone, or all of them.

use super::*;

impl Trio {
    /// `b` says that it has the API server, or not, and how often it has renewed its Lease.
    fn b_says(&mut self, has_api: bool, renewals: u8) {
        self.says("b", has_api, renewals);
    }

    fn says(&mut self, who: &str, has_api: bool, renewals: u8) {
        let flags = Flags {
            has_api,
            renewals,
            programmed: true,
            ..Flags::default()
        };
        self.report(Report::Flags(node(who), flags));
    }

    fn is_up(&mut self, who: &str, its: &str) {
        self.report(Report::Up {
            node: node(who),
            session: session(its),
            merged: false,
        });
    }

    /// Decides every second, and says when `a` first gave the address away, and whether it answered all the time.
    fn live(&mut self, seconds: u64) -> (Option<u64>, bool) {
        let (mut given, mut answered) = (None, true);
        for second in 1..=seconds {
            self.now += secs(1);
            let decision = self.decide();
            answered &= decision.answering.contains(&VIP);
            let told = |(_, body): &(To, Body)| matches!(body, Body::Moves(_));
            if decision.say.iter().any(told) {
                given.get_or_insert(second);
            }
        }
        (given, answered)
    }
}

#[test]
fn a_session_heard_both_ways_is_not_ended_for_its_leases_age() {
    let mut trio = Trio::new(Some(owner("b1", Some("a"), 4))).heard();
    for _ in 0..10 {
        trio.now += secs(5);
        trio.tell(Event::Renewed(session("a1"), trio.now));
        let decision = trio.decide();
        assert!(decision.writes.is_empty(), "{:?}", decision.writes);
    }
    let alone = Flags {
        alone: secs(15),
        programmed: true,
        ..Flags::default()
    };
    trio.report(Report::Flags(node("b"), alone));
    trio.now += secs(1);
    let ends = |write: &Write| matches!(write, Write::Expire { .. });
    assert!(
        trio.decide().writes.iter().any(ends),
        "it says that it alone lost the API server for too long"
    );
}

#[test]
fn with_nobody_to_yield_to_an_owner_goes_on_past_the_end_of_its_session() {
    let mut owners = Owners::new(node("a"), Settings::for_duration(secs(15)));
    owners.observe(Event::SessionStarted(session("a1"), secs(1)), secs(1));
    owners.observe(Event::LeaseSeen(node("a"), lease("a1", 1)), secs(1));
    let record = Record {
        version: Version::new("5"),
        uid: "u".into(),
        owner: Some(owner("a1", None, 1)),
    };
    let records = BTreeMap::from([(VIP, record)]);
    let candidates = BTreeMap::from([(VIP, vec![Candidate::plain(node("a"))])]);
    let world = World {
        records: &records,
        candidates: &candidates,
        without_interface: &BTreeSet::new(),
    };
    assert!(owners.decide(&world, secs(60)).answering.contains(&VIP));
    owners.observe(Event::LeaseSeen(node("b"), lease("b1", 2)), secs(61));
    assert!(
        owners.decide(&world, secs(62)).answering.is_empty(),
        "somebody may have taken it"
    );
}

#[test]
fn a_peer_that_had_the_api_server_a_while_ago_proves_nothing() {
    let mut trio = Trio::new(Some(owner("a1", Some("b"), 4))).heard();
    trio.b_says(true, 7);
    // Then it is away for all: `b` renewed just before, by a clock that goes slower.
    trio.now += secs(5);
    trio.b_says(true, 8);
    let outcome = trio.live(12);
    trio.b_says(false, 8);
    assert_eq!((outcome, trio.live(60)), ((None, true), (None, true)));
}

#[test]
fn a_peer_that_goes_on_renewing_proves_that_this_node_is_alone() {
    let mut trio = Trio::new(Some(owner("a1", Some("b"), 4))).heard();
    let mut given = None;
    for renewals in 0..3 {
        trio.b_says(true, renewals);
        given = given.or(trio
            .live(5)
            .0
            .map(|second| second + u64::from(renewals) * 5));
    }
    trio.b_says(true, 3);
    let (at_last, answered) = trio.live(1);
    assert_eq!((given, at_last, answered), (None, Some(1), true));
}

#[test]
fn a_renewal_that_was_counted_before_the_peer_was_heard_proves_nothing() {
    let mut trio = Trio::new(Some(owner("a1", Some("b"), 4)));
    // Another has the API server all the while, and was heard to renew before that said anything of this node.
    trio.is_up("c", "c1");
    for (renewals, seconds) in [(0, 3), (1, 5), (2, 4)] {
        trio.says("c", true, renewals);
        assert_eq!(trio.live(seconds).0, None);
    }
    trio.is_up("b", "b1");
    trio.b_says(true, 90);
    trio.live(1);
    assert!(!trio.owners.is_losing());
    trio.b_says(true, 91);
    trio.live(1);
    assert!(trio.owners.is_losing(), "now it was heard to renew");
}

/// `b` is not heard, as in a crowd; its session's Lease was last renewed before an outage of a minute.
fn after_an_outage() -> Trio {
    let mut trio = Trio::new(Some(owner("b1", Some("a"), 4)));
    trio.is_up("c", "c1");
    for _ in 0..60 {
        trio.now += secs(1);
        assert_eq!(ends(&trio.decide()), 0);
    }
    trio.tell(Event::Renewed(session("a1"), trio.now));
    trio
}

fn ends(decision: &Decision) -> usize {
    let ends = |write: &&Write| matches!(write, Write::Expire { .. });
    decision.writes.iter().filter(ends).count()
}

#[test]
fn a_lease_that_could_not_be_renewed_is_not_too_old_when_the_outage_ends() {
    let mut trio = after_an_outage();
    for _ in 0..9 {
        assert_eq!(ends(&trio.decide()), 0);
        trio.now += secs(1);
    }
    trio.tell(Event::LeaseSeen(node("b"), lease("b1", 20)));
    trio.tell(Event::Renewed(session("a1"), trio.now));
    trio.now += secs(5);
    assert_eq!(ends(&trio.decide()), 0);
}

#[test]
fn a_lease_that_is_not_renewed_after_the_outage_either_is_ended() {
    let mut trio = after_an_outage();
    let mut ended = 0;
    for _ in 0..6 {
        trio.now += secs(5);
        trio.tell(Event::Renewed(session("a1"), trio.now));
        ended += ends(&trio.decide());
    }
    assert_eq!(ended, 1);
}

/// `a` renews every five seconds, without heartbeats, and the others do not.
fn renewing(rounds: u32) -> Trio {
    let mut trio = Trio::new(Some(owner("b1", Some("a"), 4)));
    for _ in 0..rounds {
        trio.now += secs(5);
        trio.tell(Event::Renewed(session("a1"), trio.now));
        trio.decide();
    }
    trio
}

#[test]
fn a_node_that_was_dead_before_an_outage_does_not_come_back_by_it() {
    let mut trio = renewing(4);
    assert!(!trio.owners.live_nodes(trio.now).contains(&node("b")));
    trio.tell(Event::NotRenewed);
    for _ in 0..12 {
        trio.now += secs(1);
        trio.decide();
        assert!(!trio.owners.live_nodes(trio.now).contains(&node("b")));
    }
    trio.tell(Event::Renewed(session("a1"), trio.now));
    trio.decide();
    assert!(!trio.owners.live_nodes(trio.now).contains(&node("b")));
}

#[test]
fn a_renewal_that_takes_long_is_no_outage() {
    let mut trio = renewing(2);
    // The next one is under way for three seconds.
    trio.now += secs(8);
    assert_eq!(ends(&trio.decide()), 2, "those of b and c are too old");
}

#[test]
fn a_renewal_that_failed_may_be_the_beginning_of_an_outage() {
    let mut trio = renewing(2);
    trio.now += secs(4);
    trio.tell(Event::NotRenewed);
    trio.decide();
    trio.now += secs(4);
    assert_eq!(ends(&trio.decide()), 0);
}

#[test]
fn renewals_that_fail_now_and_then_do_not_keep_who_is_dead() {
    let mut trio = renewing(2);
    // One of four fails, and is made good a second later; b and c are dead.
    let mut ended = 0;
    for round in 0..12 {
        if round % 4 == 0 {
            trio.now += secs(4);
            trio.tell(Event::NotRenewed);
            ended += ends(&trio.decide());
            trio.now += secs(1);
        } else {
            trio.now += secs(5);
        }
        trio.tell(Event::Renewed(session("a1"), trio.now));
        ended += ends(&trio.decide());
    }
    assert!(ended >= 1, "b is still taken for alive after a minute");
}

#[test]
fn whoever_has_the_api_server_again_last_keeps_what_it_has() {
    let mut trio = Trio::new(Some(owner("a1", Some("b"), 4))).heard();
    trio.b_says(true, 7);
    assert_eq!(trio.live(12), (None, true));
    trio.b_says(false, 7);
    assert_eq!(trio.live(30), (None, true));
    for renewals in 8..12 {
        trio.b_says(true, renewals);
        assert_eq!(trio.live(5), (None, true));
    }
}
