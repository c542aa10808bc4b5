//! How often a node beats.

use super::*;

#[test]
fn the_more_are_watched_the_further_apart_beats_are_and_no_watch_falls_silent_for_it() {
    let mut lone = Lone::new();
    let segments: Vec<SegmentId> = (1..=40).collect();
    lone.tell(Event::Segments(segments.clone()));
    let all_beat = |lone: &mut Lone, sequence| {
        let own = lone.peers.sequence;
        for segment in &segments {
            for name in ["b", "c"] {
                // As on a node like this one.
                let mut body = beat(sequence, &[("a1", own)], &[]);
                if let Body::Beat(beat) = &mut body {
                    (beat.interval, beat.window) =
                        (lone.peers.interval(), lone.peers.interval() * 3);
                }
                let frame = Frame {
                    node: node(name),
                    session: session(&format!("{name}1")),
                    body,
                };
                lone.tell(Event::Heard(*segment, frame));
            }
        }
    };
    all_beat(&mut lone, 1);
    assert_eq!(
        lone.peers.interval(),
        millis(445),
        "80 in 0.445 s are 180 in one"
    );
    // Each of them loses every other beat.
    for sequence in 2..30 {
        lone.wait(lone.peers.interval() * 2);
        all_beat(&mut lone, sequence * 2);
    }
    assert_eq!(lone.peers.heard().values().map(Vec::len).sum::<usize>(), 80);
    assert_eq!(lone.fences(), 0);
}
