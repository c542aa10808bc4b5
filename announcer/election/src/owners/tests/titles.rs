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
