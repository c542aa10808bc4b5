//! Who is heard by few: a link that carries nothing one way, beside one that works.

use super::*;

const OTHER: SegmentId = 4;
const PEERS: [&str; 3] = ["b", "c", "d"];

/// One node on two segments, with three peers on both.
struct Twice {
    lone: Lone,
    sequence: u64,
}

impl Twice {
    fn new() -> Self {
        let mut lone = Lone::new();
        lone.tell(Event::Segments(vec![SEGMENT, OTHER]));
        let mut twice = Self { lone, sequence: 0 };
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
                let frame = Frame {
                    node: node(peer),
                    session: session(&format!("{peer}1")),
                    body: beat(self.sequence, heard, &[]),
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
fn a_node_whose_link_receives_nothing_says_so_within_three_more_beats_if_another_link_works() {
    let after = Twice::new().says_after(&[OTHER], &[OTHER]);
    assert!(after.is_some_and(|after| after <= millis(400)), "{after:?}");
}

#[test]
fn a_node_whose_link_sends_nothing_says_so_once_nobody_names_it_there() {
    let after = Twice::new().says_after(&[SEGMENT, OTHER], &[OTHER]);
    assert!(after.is_some_and(|after| after <= millis(250)), "{after:?}");
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
