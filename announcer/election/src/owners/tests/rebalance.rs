//! Giving addresses to nodes that have fewer, where that is asked for.

use super::*;

const PERIOD: Duration = Duration::from_secs(60);

/// Node `me` has all of twenty addresses, and two others none.
fn full(me: &str, period: Option<Duration>) -> Trio {
    let mut trio = Trio::new(None).heard();
    trio.owners.me = node(me);
    trio.owners.settings.rebalance = period;
    let candidates = [me, "b", "c"].map(|name| Candidate::plain(node(name)));
    trio.records.clear();
    for last in 1..=20 {
        let address = IpAddr::from([192, 0, 2, last]);
        let record = Record {
            version: Version::new("5"),
            uid: "u".into(),
            owner: Some(Owner {
                node: node(me),
                ..owner("a1", Some("b"), 1)
            }),
        };
        trio.records.insert(address, record);
        trio.candidates.insert(address, candidates.to_vec());
    }
    trio
}

impl Trio {
    /// Time passes, and this node renews.
    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.tell(Event::Renewed(session("a1"), self.now));
    }

    /// When it gives an address away next, if it does within that time.
    fn moves_within(&mut self, time: Duration) -> Option<Now> {
        let end = self.now + time;
        while self.now < end {
            if gives_away(&self.decide()) {
                return Some(self.now);
            }
            self.pass(Duration::from_millis(500));
        }
        None
    }
}

/// Whether it gives an address away: never more than one.
fn gives_away(decision: &Decision) -> bool {
    let given = decision
        .writes
        .iter()
        .filter(|write| matches!(write, Write::Amend { owner, .. } if owner.handover_to.is_some()));
    let given = given.count();
    assert!(given <= 1, "{given} at once");
    given == 1
}

#[test]
fn rebalancing_is_off_unless_asked_for_and_gives_one_address_at_a_time() {
    for period in [None, Some(PERIOD)] {
        let mut trio = full("a", period);
        let moved = trio.moves_within(PERIOD * 2 + secs(1));
        assert_eq!(moved.is_some(), period.is_some());
        assert!(
            !gives_away(&trio.decide()),
            "the next one when this one is done"
        );
    }
}

#[test]
fn nodes_that_start_together_rebalance_one_after_the_other_and_not_before_a_whole_period() {
    let nodes = ["a", "x", "y", "z", "node-1", "node-2", "node-3"];
    let mut moves: Vec<Now> = nodes
        .iter()
        .map(|me| {
            let mut trio = full(me, Some(PERIOD));
            let began = trio.now;
            trio.moves_within(PERIOD * 3).unwrap() - began
        })
        .collect();
    moves.sort_unstable();
    assert!(moves[0] >= PERIOD, "{moves:?}");
    assert!(moves[nodes.len() - 1] <= PERIOD * 2, "{moves:?}");
    let together = moves.windows(2).filter(|two| two[1] - two[0] < secs(1));
    assert!(together.count() <= 1, "{moves:?}");
}

#[test]
fn nothing_is_rebalanced_without_the_api_server_nor_as_soon_as_it_is_back() {
    let mut trio = full("a", Some(PERIOD));
    trio.decide();
    for _ in 0..PERIOD.as_secs() * 3 {
        trio.now += secs(1);
        let decision = trio.decide();
        assert!(decision.writes.is_empty() && decision.say.is_empty());
    }
    trio.pass(secs(1));
    assert_eq!(trio.moves_within(secs(2)), None);
    assert!(trio.moves_within(PERIOD).is_some());
}
