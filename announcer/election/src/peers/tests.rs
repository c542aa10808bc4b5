//! What the fast half does in single situations, and what no sequence of events makes it do.

mod concession;
mod pace;
mod proofs;
mod reach;

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::ring::partners;
use super::*;

const SEGMENT: SegmentId = 3;

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn node(name: &str) -> NodeName {
    NodeName::new(name)
}

fn session(name: &str) -> SessionId {
    SessionId::new(name)
}

fn beat(sequence: u64, heard: &[(&str, u64)], ended: &[&str]) -> Body {
    Body::Beat(Beat {
        sequence,
        interval: millis(50),
        window: millis(150),
        kind: Kind::Watch,
        flags: Flags::default(),
        heard: heard
            .iter()
            .map(|(name, sequence)| Heard {
                session: session(name),
                sequence: *sequence,
            })
            .collect(),
        ended: ended.iter().map(|name| session(name)).collect(),
    })
}

/// One node, and what it said last.
struct Lone {
    peers: Peers,
    now: Now,
    out: Vec<Action>,
}

impl Lone {
    fn new() -> Self {
        let peers = Peers::new(node("a"), Settings::default());
        let mut lone = Self {
            peers,
            now: Duration::from_secs(5),
            out: Vec::new(),
        };
        lone.tell(Event::Segments(vec![SEGMENT]));
        lone.tell(Event::Began(session("a1"), lone.now));
        lone.turn();
        lone
    }

    fn tell(&mut self, event: Event) {
        self.peers.observe(event, self.now, &mut self.out);
    }

    fn hear(&mut self, name: &str, body: Body) {
        let frame = Frame {
            node: node(&name[..1]),
            session: session(name),
            body,
        };
        self.tell(Event::Heard(SEGMENT, frame));
    }

    /// A turn with everything in order.
    fn turn(&mut self) {
        self.now = self.now.max(self.peers.wake_at());
        self.tell(Event::Progress(self.now));
        self.tell(Event::Allowed(self.now + Duration::from_secs(1)));
        self.tell(Event::Tick);
    }

    /// The next moment something is due, without anything heard.
    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while self.peers.wake_at() <= end {
            self.turn();
        }
        self.now = end;
    }

    /// The peer beats as if it heard all.
    fn hears(&mut self, name: &str, sequence: u64) {
        let own = self.peers.sequence;
        self.hear(name, beat(sequence, &[("a1", own)], &[]));
    }

    fn may_answer(&self) -> bool {
        self.now < self.peers.permit()
    }

    fn fences(&self) -> usize {
        self.out
            .iter()
            .filter(|action| matches!(action, Action::Fence { .. }))
            .count()
    }

    fn reported(&self, wanted: impl Fn(&Report) -> bool) -> bool {
        self.out
            .iter()
            .any(|action| matches!(action, Action::Report(report) if wanted(report)))
    }

    /// The last beat it sent.
    fn last_beat(&self) -> Beat {
        let beats = self.out.iter().rev().find_map(|action| match action {
            Action::Send(
                _,
                _,
                Frame {
                    body: Body::Beat(beat),
                    ..
                },
            ) => Some(beat.clone()),
            _ => None,
        });
        beats.unwrap()
    }
}

#[test]
fn a_node_alone_may_answer_as_long_as_it_beats() {
    let mut lone = Lone::new();
    lone.wait(Duration::from_secs(30));
    assert!(lone.may_answer());
    lone.now += millis(200);
    assert!(!lone.may_answer(), "the permit ends by itself");
}

#[test]
fn a_peer_that_was_never_heard_both_ways_cannot_fall_silent() {
    let mut lone = Lone::new();
    for sequence in 1..10 {
        lone.hear("b1", beat(sequence, &[], &[]));
        lone.wait(millis(50));
    }
    lone.wait(Duration::from_secs(5));
    assert_eq!(lone.fences(), 0);
    assert!(!lone.reported(|report| matches!(report, Report::Up { .. })));
}

#[test]
fn a_silent_peer_of_two_is_fenced_only_if_a_witness_answers() {
    for witness in [false, true] {
        let mut lone = Lone::new();
        lone.hears("b1", 1);
        assert!(lone.reported(|report| matches!(report, Report::Up { .. })));
        while !lone
            .out
            .iter()
            .any(|action| matches!(action, Action::AskWitness(_)))
        {
            lone.turn();
        }
        if witness {
            lone.tell(Event::Witnessed(SEGMENT));
        }
        lone.wait(millis(400));
        assert_eq!(lone.fences(), usize::from(witness));
    }
}

#[test]
fn a_fence_that_takes_too_long_is_agreed_and_said_three_times() {
    let mut lone = Lone::new();
    lone.hears("b1", 1);
    lone.hears("c1", 1);
    let mut sequence = 1;
    while lone.fences() == 0 {
        sequence += 1;
        lone.hears("c1", sequence);
        lone.wait(millis(10));
    }
    lone.hears("c1", sequence + 1);
    lone.wait(millis(60));
    let ended = |report: &Report| matches!(report, Report::Ended(Fenced { written: false, .. }, _));
    assert!(lone.reported(ended));
    lone.wait(millis(120));
    let said = |action: &&Action| {
        matches!(
            action,
            Action::Send(
                _,
                To::All,
                Frame {
                    body: Body::Fenced(_),
                    ..
                }
            )
        )
    };
    assert_eq!(lone.out.iter().filter(said).count(), 3);
    assert_eq!(lone.last_beat().ended, [session("b1")]);
}

#[test]
fn a_session_that_ended_is_told_so_and_never_acknowledged() {
    let mut lone = Lone::new();
    lone.hears("b1", 1);
    let fenced = Fenced {
        node: node("b"),
        session: session("b1"),
        by: node("c"),
        written: true,
    };
    lone.tell(Event::Ended(fenced));
    lone.out.clear();
    lone.hears("b1", 2);
    let told = |action: &Action| matches!(action, Action::Send(_, To::Node(to), Frame { body: Body::Fenced(_), .. }) if *to == node("b"));
    assert!(lone.out.iter().any(told));
    lone.wait(millis(60));
    assert!(lone.last_beat().heard.is_empty());
}

#[test]
fn who_reads_its_own_session_among_the_ended_is_silent_at_once() {
    let mut lone = Lone::new();
    lone.hears("b1", 1);
    lone.turn();
    assert!(lone.may_answer());
    lone.hear("b1", beat(2, &[], &["a1"]));
    assert!(!lone.may_answer());
    assert!(lone.reported(|report| matches!(report, Report::OwnEnded(OwnEnd::Fenced { .. }))));
}

#[test]
fn who_is_acknowledged_further_than_it_counted_is_a_copy() {
    let mut lone = Lone::new();
    lone.hear("b1", beat(1, &[("a1", 5000)], &[]));
    assert!(!lone.may_answer());
    assert!(lone.reported(|report| matches!(report, Report::OwnEnded(OwnEnd::Copy))));
}

#[test]
fn a_jump_in_a_peers_sequence_means_that_this_node_slept() {
    let mut lone = Lone::new();
    lone.hears("b1", 1);
    lone.turn();
    assert!(lone.may_answer());
    lone.hears("b1", 60);
    assert!(!lone.may_answer());
    assert!(
        lone.out
            .iter()
            .any(|action| matches!(action, Action::Confirm(_)))
    );
    lone.now += millis(5);
    lone.tell(Event::Confirmed(session("a1"), lone.now));
    assert!(
        lone.may_answer(),
        "a look at its own session gives the permit back"
    );
}

#[test]
fn a_permit_that_ran_out_comes_back_only_after_a_look_that_began_later() {
    let mut lone = Lone::new();
    lone.hears("b1", 1);
    lone.turn();
    let before = lone.now;
    lone.now += millis(400);
    lone.turn();
    assert!(!lone.may_answer(), "it slept longer than its window");
    lone.tell(Event::Confirmed(session("a1"), before));
    assert!(!lone.may_answer(), "asked before it slept");
    lone.tell(Event::Confirmed(session("a1"), lone.now));
    lone.turn();
    assert!(lone.may_answer());
}

#[test]
fn a_brain_or_responder_that_stands_still_ends_the_permit() {
    for brain in [true, false] {
        let mut lone = Lone::new();
        lone.hears("b1", 1);
        let allowed = lone.now + Duration::from_secs(1);
        for sequence in 2..60 {
            lone.now += millis(50);
            if brain {
                lone.tell(Event::Progress(lone.now));
                lone.tell(Event::Allowed(allowed));
            } else {
                lone.tell(Event::Allowed(lone.now + Duration::from_secs(1)));
            }
            lone.tell(Event::Tick);
            lone.hears("b1", sequence);
        }
        assert!(!lone.may_answer());
    }
}

/// How often it was said that another machine speaks by this node's name, which is heard with these sessions and sequences.
fn said_of(lone: &mut Lone, beats: impl IntoIterator<Item = (String, u64)>) -> usize {
    for (name, sequence) in beats {
        let frame = Frame {
            node: node("a"),
            session: session(&name),
            body: beat(sequence, &[], &[]),
        };
        lone.tell(Event::Heard(SEGMENT, frame));
    }
    let said =
        |action: &&Action| matches!(action, Action::Report(Report::SameName { lives: true, .. }));
    lone.out.iter().filter(said).count()
}

#[test]
fn another_machine_of_the_same_name_is_said_once() {
    let beats = (1..5).map(|sequence| ("a9".to_owned(), sequence));
    assert_eq!(said_of(&mut Lone::new(), beats), 1);
}

#[test]
fn a_frame_of_another_machine_of_the_same_name_that_comes_again_and_again_is_a_copy() {
    let mut lone = Lone::new();
    let beats = [9, 9, 8, 9].map(|sequence| ("a9".to_owned(), sequence));
    assert_eq!(said_of(&mut lone, beats), 0);
}

#[test]
fn what_comes_back_of_an_own_session_that_is_over_is_no_other_machine() {
    let mut lone = Lone::new();
    lone.tell(Event::Lost);
    let beats = (1..9).map(|sequence| ("a1".to_owned(), sequence));
    assert_eq!(said_of(&mut lone, beats), 0);
}

fn names(count: usize) -> Vec<NodeName> {
    (0..count).map(|n| node(&format!("node-{n}"))).collect()
}

/// Some event, of few peers and sequences, so that they meet.
fn events() -> impl Strategy<Value = Event> {
    let peer = prop_oneof![Just("b1"), Just("b2"), Just("c1"), Just("a9")];
    let body = prop_oneof![
        (1..40_u64, 0..40_u64, any::<bool>()).prop_map(|(sequence, acked, dead)| {
            beat(sequence, &[("a1", acked)], if dead { &["c1"] } else { &[] })
        }),
        (0..9_u64).prop_map(|sequence| {
            Body::Suspect(vec![Suspect {
                node: node("c"),
                session: session("c1"),
                sequence,
            }])
        }),
        (0..9_u64).prop_map(|sequence| {
            Body::Veto(vec![Suspect {
                node: node("b"),
                session: session("b1"),
                sequence,
            }])
        }),
        any::<bool>().prop_map(|written| {
            Body::Fenced(Fenced {
                node: node("c"),
                session: session("c1"),
                by: node("b"),
                written,
            })
        }),
    ];
    prop_oneof![
        4 => Just(Event::Tick),
        6 => (peer, body).prop_map(|(name, body)| {
            Event::Heard(SEGMENT, Frame { node: node(&name[..1]), session: session(name), body })
        }),
        1 => Just(Event::Answered(SEGMENT, node("b"))),
        1 => Just(Event::Witnessed(SEGMENT)),
        1 => Just(Event::Segments(vec![])),
        1 => Just(Event::Segments(vec![SEGMENT, 4])),
    ]
}

proptest! {
    #[test]
    fn the_permit_never_outlives_its_last_beat_by_more_than_the_longest_window(
        history in prop::collection::vec((events(), 0..300_u64), 1..120),
    ) {
        let mut lone = Lone::new();
        let mut ticked = lone.now;
        for (event, pause) in history {
            lone.now += millis(pause);
            if event == Event::Tick {
                ticked = lone.now;
            }
            lone.tell(event);
            prop_assert!(lone.peers.permit() <= ticked + Settings::default().longest_window);
            prop_assert!(lone.peers.permit() <= lone.peers.permit.allowed);
        }
    }

    #[test]
    fn it_never_fences_itself_nor_a_session_that_is_over_and_always_wakes_again(
        history in prop::collection::vec((events(), 0..120_u64), 1..150),
    ) {
        let mut lone = Lone::new();
        let mut over = BTreeSet::new();
        for (event, pause) in history {
            lone.now += millis(pause);
            lone.out.clear();
            lone.tell(event);
            for action in &lone.out {
                match action {
                    Action::Fence { node: suspect, session } => {
                        prop_assert!(*suspect != node("a") && !over.contains(session));
                    }
                    Action::Report(Report::Ended(fenced, _)) => { over.insert(fenced.session.clone()); }
                    _ => {}
                }
            }
            lone.turn();
            prop_assert!(lone.peers.wake_at() > lone.now, "it would spin");
            prop_assert!(lone.peers.wake_at() <= lone.now + Duration::from_secs(1));
        }
    }

    #[test]
    fn partners_in_the_rings_are_mutual_and_few(count in 2..120_usize) {
        let names = names(count);
        for me in names.iter().take(20) {
            let mine = partners(me, names.iter());
            prop_assert!(!mine.is_empty() && mine.len() <= 4 && !mine.contains(me));
            for partner in &mine {
                prop_assert!(partners(partner, names.iter()).contains(me));
            }
        }
    }

    #[test]
    fn of_two_titles_exactly_one_is_higher(a in (0..4_u64, any::<bool>()), b in (0..4_u64, any::<bool>())) {
        let title = |(transitions, written)| Title { address: [192, 0, 2, 1].into(), transitions, written };
        let (a, b) = (title(a), title(b));
        prop_assert!(a.beats(&node("x"), &b, &node("y")) != b.beats(&node("y"), &a, &node("x")));
        prop_assert!(!a.beats(&node("x"), &a, &node("x")));
    }
}

/// Node a after two seconds in which b and c heard it, or only so many of them.
fn heard_for_two_seconds(by: &[&str]) -> Lone {
    let mut lone = Lone::new();
    for sequence in 1..40 {
        for name in ["b1", "c1"] {
            // All are heard; those named hear.
            if sequence < 8 || by.contains(&name) {
                lone.hears(name, sequence);
            } else {
                lone.hear(name, beat(sequence, &[], &[]));
                // It lives, and answers for its addresses.
                lone.tell(Event::Answered(SEGMENT, node(&name[..1])));
            }
        }
        lone.turn();
    }
    lone
}

/// What `by` would have written of a's session.
fn ended_by(by: &str, name: &str) -> Event {
    Event::Ended(Fenced {
        node: node("a"),
        session: session(name),
        by: node(by),
        written: true,
    })
}

fn was_wrong(lone: &Lone) -> Option<bool> {
    lone.out.iter().rev().find_map(|action| match action {
        Action::Report(Report::OwnEnded(OwnEnd::Fenced { wrongly, .. })) => Some(*wrongly),
        _ => None,
    })
}

#[test]
fn who_is_ended_while_most_hear_it_says_so_and_is_not_ended_by_the_same_node_again() {
    let mut lone = heard_for_two_seconds(&["b1", "c1"]);
    lone.tell(ended_by("c", "a1"));
    assert_eq!(was_wrong(&lone), Some(true));
    lone.tell(Event::Began(session("a2"), lone.now));
    lone.turn();
    lone.tell(ended_by("c", "a2"));
    assert_eq!(lone.peers.session(), Some(&session("a2")));
    lone.hear("c1", beat(41, &[], &["a2"]));
    assert_eq!(lone.peers.session(), Some(&session("a2")));
    // Others may, and after a minute c again.
    let mut later = Lone { ..lone };
    later.now += Duration::from_secs(61);
    later.tell(ended_by("c", "a2"));
    assert_eq!(later.peers.session(), None);
}

#[test]
fn another_node_may_end_what_one_was_wrong_about() {
    let mut lone = heard_for_two_seconds(&["b1", "c1"]);
    lone.tell(ended_by("c", "a1"));
    lone.tell(Event::Began(session("a2"), lone.now));
    lone.tell(ended_by("b", "a2"));
    assert_eq!(lone.peers.session(), None);
}

#[test]
fn a_lease_that_was_emptied_while_peers_heard_its_node_was_emptied_wrongly() {
    let mut lone = heard_for_two_seconds(&["b1", "c1"]);
    let since = lone.now - millis(900);
    let by = node("c");
    lone.tell(Event::Taken { by, since });
    assert_eq!(was_wrong(&lone), Some(true));
    assert_eq!(lone.peers.session(), None);
}

#[test]
fn who_is_not_heard_by_most_was_rightly_ended() {
    let mut lone = heard_for_two_seconds(&["b1"]);
    lone.tell(ended_by("c", "a1"));
    assert_eq!(was_wrong(&lone), Some(false));
}

#[test]
fn who_slept_was_rightly_ended_also_when_it_learns_of_it_late() {
    let mut lone = heard_for_two_seconds(&["b1", "c1"]);
    lone.now += Duration::from_secs(2);
    let since = lone.now - Duration::from_secs(3);
    let by = node("c");
    lone.tell(Event::Taken { by, since });
    assert_eq!(was_wrong(&lone), Some(false));
}

#[test]
fn what_a_node_said_that_was_wrong_about_another_is_not_believed_about_that_one() {
    let mut lone = heard_for_two_seconds(&["b1", "c1"]);
    let wronged = Event::Wronged {
        node: node("b"),
        by: node("c"),
    };
    lone.tell(wronged);
    let fenced = |by: &str| Fenced {
        node: node("b"),
        session: session("b1"),
        by: node(by),
        written: false,
    };
    let ended = |report: &Report| matches!(report, Report::Ended(..));
    lone.hear("c1", Body::Fenced(fenced("c")));
    assert!(!lone.reported(ended));
    lone.hear("d1", Body::Fenced(fenced("d")));
    assert!(lone.reported(ended));
}

#[test]
fn whoever_was_heard_on_a_segment_that_is_no_more_is_left_to_its_lease() {
    let mut lone = heard_for_two_seconds(&["b1"]);
    let unwatched = |report: &Report| matches!(report, Report::Unwatched { node: who, .. } if *who == node("b"));
    lone.tell(Event::Segments(vec![SEGMENT, SEGMENT + 1]));
    assert!(!lone.reported(unwatched));
    lone.tell(Event::Segments(vec![SEGMENT + 1]));
    assert!(
        lone.reported(unwatched),
        "nothing else would ever say that it is not heard any more"
    );
}
