//! Who is heard by few: a link that carries nothing one way, beside one that works.

use super::*;

const OTHER: SegmentId = 4;
const PEERS: [&str; 3] = ["b", "c", "d"];

/// One node on two segments, with three peers on both.
struct Twice {
    lone: Lone,
    sequence: u64,
    /// Who says that few hear it.
    lost: BTreeSet<&'static str>,
}

impl Twice {
    fn new() -> Self {
        let mut lone = Lone::new();
        lone.tell(Event::Segments(vec![SEGMENT, OTHER]));
        let mut twice = Self {
            lone,
            sequence: 0,
            lost: BTreeSet::new(),
        };
        for _ in 0..4 {
            twice.beat(&[SEGMENT, OTHER], &[SEGMENT, OTHER]);
        }
        assert_eq!(twice.lone.peers.heard()[&SEGMENT].len(), PEERS.len());
        twice
    }

    /// An interval, in which peers beat on some segments, and hear this node on some of them.
    fn beat(&mut self, beats: &[SegmentId], hear: &[SegmentId]) {
        self.sequence += 1;
        let own = self.lone.peers.sequence;
        for segment in beats {
            for peer in PEERS {
                let heard: &[(&str, u64)] = match hear.contains(segment) {
                    true => &[("a1", own)],
                    false => &[],
                };
                let mut body = beat(self.sequence, heard, &[]);
                if let Body::Beat(beat) = &mut body {
                    beat.flags.few_hear = self.lost.contains(peer);
                }
                let frame = Frame {
                    node: node(peer),
                    session: session(&format!("{peer}1")),
                    body,
                };
                self.lone.tell(Event::Heard(*segment, frame));
            }
        }
        self.lone.wait(millis(50));
    }

    /// After how long this node says that few hear it.
    fn says_after(&mut self, beats: &[SegmentId], hear: &[SegmentId]) -> Option<Duration> {
        let since = self.lone.now;
        let says = |lone: &Lone| lone.reported(|report| matches!(report, Report::FewHear(true)));
        for _ in 0..60 {
            if says(&self.lone) {
                return Some(self.lone.now - since);
            }
            self.beat(beats, hear);
        }
        None
    }
}

#[test]
fn a_node_whose_link_receives_nothing_is_lost_after_six_more_beats_if_another_link_works() {
    let after = Twice::new().says_after(&[OTHER], &[OTHER]);
    assert!(after.is_some_and(|after| after <= millis(550)), "{after:?}");
}

#[test]
fn a_node_whose_link_sends_nothing_is_lost_once_nobody_has_named_it_there_for_six_beats() {
    let after = Twice::new().says_after(&[SEGMENT, OTHER], &[OTHER]);
    assert!(after.is_some_and(|after| after <= millis(450)), "{after:?}");
}

#[test]
fn where_no_other_link_tells_whose_fault_it_is_a_node_waits_for_a_second() {
    let after = Twice::new().says_after(&[], &[]);
    assert!(
        after.is_some_and(|after| after >= millis(1_000)),
        "{after:?}"
    );
}

#[test]
fn a_lost_node_says_so_before_it_does_anything_about_it() {
    let mut twice = Twice::new();
    let acts = |lone: &Lone| lone.reported(|report| matches!(report, Report::FewHear(true)));
    while !twice.lone.peers.flags.few_hear {
        assert!(!acts(&twice.lone));
        twice.beat(&[OTHER], &[OTHER]);
    }
    twice.beat(&[OTHER], &[OTHER]);
    assert!(!acts(&twice.lone), "the others hear of it first");
}

#[test]
fn where_everybody_has_lost_a_segment_nobody_is_in_a_hurry() {
    let mut twice = Twice::new();
    for _ in 0..5 {
        twice.beat(&[OTHER], &[OTHER]);
    }
    twice.lost = PEERS.into();
    let after = twice.says_after(&[OTHER], &[OTHER]);
    assert!(after.is_some_and(|after| after >= millis(700)), "{after:?}");
}

#[test]
fn a_node_that_was_late_itself_begins_to_count_anew() {
    let mut twice = Twice::new();
    for _ in 0..7 {
        twice.beat(&[OTHER], &[OTHER]);
    }
    twice.lone.now += millis(120);
    twice.beat(&[OTHER], &[OTHER]);
    let after = twice.says_after(&[OTHER], &[OTHER]);
    assert!(after.is_some_and(|after| after >= millis(200)), "{after:?}");
}

#[test]
fn of_two_the_one_that_a_router_answers_is_not_lost() {
    for router in [false, true] {
        let mut twice = Twice::new();
        for _ in 0..60 {
            // b alone is left; it is heard on both, and hears on one.
            let own = twice.lone.peers.sequence;
            twice.sequence += 1;
            for (segment, heard) in [(SEGMENT, &[][..]), (OTHER, &[("a1", own)][..])] {
                let frame = Frame {
                    node: node("b"),
                    session: session("b1"),
                    body: beat(twice.sequence, heard, &[]),
                };
                twice.lone.tell(Event::Heard(segment, frame));
            }
            let asked = twice
                .lone
                .out
                .drain(..)
                .filter(|action| matches!(action, Action::AskWitness(_)));
            if asked.count() > 0 && router {
                twice.lone.tell(Event::Witnessed(SEGMENT));
            }
            for peer in ["c1", "d1"] {
                // They have said that they go.
                for segment in [SEGMENT, OTHER] {
                    let mut body = beat(1_000 + twice.sequence, &[], &[]);
                    if let Body::Beat(beat) = &mut body {
                        beat.kind = Kind::End;
                    }
                    let frame = Frame {
                        node: node(&peer[..1]),
                        session: session(peer),
                        body,
                    };
                    twice.lone.tell(Event::Heard(segment, frame));
                }
            }
            twice.lone.wait(millis(50));
        }
        assert_eq!(twice.lone.peers.lost, !router);
    }
}

#[test]
fn one_that_is_not_named_for_a_moment_and_then_again_is_heard_by_all() {
    let mut twice = Twice::new();
    for _ in 0..10 {
        twice.beat(&[SEGMENT, OTHER], &[OTHER]);
        twice.beat(&[SEGMENT, OTHER], &[SEGMENT, OTHER]);
    }
    let says = |report: &Report| matches!(report, Report::FewHear(true));
    assert!(!twice.lone.reported(says));
    assert_eq!(twice.lone.peers.heard()[&SEGMENT].len(), PEERS.len());
}
