//! Whom a node believes that it answers for an address, and until when.

use super::*;

impl Trio {
    fn claims(&mut self, who: &str, transitions: u64, written: bool) {
        let title = Title {
            address: VIP,
            transitions,
            written,
        };
        self.report(Report::Claims(node(&who[..1]), session(who), vec![title]));
    }

    fn hears(&mut self, who: &str) {
        let (node, session) = (node(&who[..1]), session(who));
        let merged = false;
        self.report(Report::Up {
            node,
            session,
            merged,
        });
    }

    fn answers(&mut self) -> bool {
        self.decide().answering.contains(&VIP)
    }
}

#[test]
fn a_claim_counts_although_one_of_a_session_that_is_over_was_higher() {
    let mut trio = Trio::new(Some(owner("b1", Some("c"), 4))).heard();
    // There is no API server.
    trio.now += secs(11);
    trio.end("b1", false);
    trio.claims("c1", 5, false);
    trio.decide();
    trio.end("c1", false);
    trio.hears("b2");
    // Its name is the lower one.
    trio.claims("b2", 5, false);
    for _ in 0..20 {
        assert!(!trio.answers(), "another does");
        trio.now += Duration::from_millis(50);
    }
}

#[test]
fn a_turn_is_waited_for_since_the_address_has_nobody_and_not_since_it_last_had() {
    let mut trio = Trio::new(Some(owner("b1", Some("c"), 4))).heard();
    // There is no API server, and this node is second of those that are left.
    trio.now += secs(11);
    let candidates = trio.candidates.get_mut(&VIP).unwrap();
    candidates[0].cordoned = true;
    candidates.push(Candidate::plain(node("d")));
    trio.hears("d1");
    trio.end("b1", false);
    trio.decide();
    trio.claims("c1", 5, false);
    trio.now += secs(1);
    assert!(!trio.answers(), "c does");
    trio.end("c1", false);
    assert!(!trio.answers());
    assert!(!trio.answers(), "it is the turn of d");
    trio.now += Duration::from_millis(31);
    trio.decide();
    assert!(trio.answers(), "which has let it pass");
}

#[test]
fn what_was_said_of_a_history_that_is_gone_silences_nobody() {
    // The record that says so was read, or the history was gone before.
    for was_read in [true, false] {
        let mut trio = Trio::new(Some(owner("a1", Some("b"), 4))).heard();
        trio.claims("b1", 5, true);
        assert!(!trio.answers());
        if was_read {
            trio.record(12, Some(owner("b1", Some("a"), 5)));
            trio.decide();
        }
        trio.claims("b1", 5, true);
        trio.now += secs(20);
        trio.tell(Event::Renewed(session("a1"), trio.now));
        trio.tell(Event::WentBack);
        trio.record(10, Some(owner("a1", Some("b"), 4)));
        assert!(trio.answers(), "was read: {was_read}");
    }
}

#[test]
fn who_has_not_noticed_yet_that_a_history_is_gone_silences_nobody_for_long() {
    let mut trio = Trio::new(Some(owner("a1", Some("b"), 4))).heard();
    trio.tell(Event::WentBack);
    trio.now += secs(4);
    trio.claims("b1", 5, true);
    assert!(!trio.answers());
    trio.now += secs(10);
    trio.tell(Event::Renewed(session("a1"), trio.now));
    assert!(trio.answers());
    // What is said of the history that there is counts until it is read.
    trio.claims("b1", 5, true);
    trio.now += secs(14);
    trio.tell(Event::Renewed(session("a1"), trio.now));
    assert!(!trio.answers());
}

#[test]
fn a_claim_of_a_session_that_nobody_knows_silences_nobody() {
    let mut trio = Trio::new(Some(owner("a1", Some("b"), 1))).heard();
    // Recorded before the record was made anew, and repeated after the announcer's memory of it was gone.
    trio.claims("b0", 7, true);
    assert!(trio.answers());
    trio.claims("b1", 2, true);
    assert!(!trio.answers());
}

#[test]
fn a_claim_counts_that_comes_of_a_session_on_record_or_heard() {
    let mut trio = Trio::new(Some(owner("a1", Some("b"), 4)));
    trio.claims("b1", 5, true);
    assert!(
        !trio.answers(),
        "not heard, as in a crowd: its Lease names it"
    );
    let mut trio = Trio::new(Some(owner("a1", Some("b"), 4)));
    trio.hears("b2");
    trio.claims("b2", 5, true);
    assert!(!trio.answers(), "heard, and its Lease is not known yet");
}

#[test]
fn a_title_of_before_the_address_had_nobody_silences_no_owner_of_after() {
    // What was read last before the watch hung, and what comes of it afterwards.
    let nobody = [None, Some(owner("a1", Some("b"), 1))];
    let another = [Some(owner("c1", None, 1)), Some(owner("a1", Some("b"), 2))];
    for (before, after) in [(4, nobody.clone()), (1, nobody), (4, another)] {
        let mut trio = Trio::new(Some(owner("a1", Some("b"), before))).heard();
        trio.claims("b1", before + 1, true);
        assert!(!trio.answers());
        // Then b gave the address back to nobody, of which this node reads nothing for a while.
        trio.now += secs(20);
        trio.tell(Event::Renewed(session("a1"), trio.now));
        assert!(!trio.answers());
        for (version, owner) in (20..).zip(&after) {
            trio.record(version, owner.clone());
            trio.decide();
        }
        assert!(trio.answers(), "{after:?} after {before} owners");
    }
}

#[test]
fn who_has_an_address_that_had_nobody_is_not_silenced_by_what_was_said_while_it_had() {
    let mut trio = Trio::new(None).heard();
    trio.decide();
    // Of all that b and c had, and gave back to nobody, this node reads nothing but the end.
    trio.claims("b1", 1, true);
    trio.claims("c1", 2, true);
    trio.record(20, None);
    trio.decide();
    trio.record(21, Some(owner("a1", Some("b"), 1)));
    assert!(trio.answers());
}

#[test]
fn a_claim_of_a_session_that_was_ended_silences_nobody_though_its_lease_still_names_it() {
    for written in [false, true] {
        let mut trio = Trio::new(Some(owner("a1", Some("b"), 4))).heard();
        trio.end("b1", true);
        trio.claims("b1", 5, written);
        assert!(trio.answers());
        trio.claims("c1", 5, false);
        trio.claims("b1", 6, written);
        assert!(!trio.answers(), "nor does it hide the claim of another");
    }
}

#[test]
fn nobody_is_about_to_write_whose_session_was_ended() {
    let mut trio = Trio::new(Some(owner("c1", Some("b"), 4))).heard();
    trio.claims("b1", 5, false);
    assert!(trio.owners.is_ceding(&VIP, trio.now));
    assert!(trio.owners.is_ceding_any(trio.now));
    trio.end("b1", true);
    assert!(!trio.owners.is_ceding(&VIP, trio.now));
    assert!(!trio.owners.is_ceding_any(trio.now));
}
