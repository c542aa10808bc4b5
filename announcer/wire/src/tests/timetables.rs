//! When announcements and probes leave, on an imagined clock.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::probe::{Probe, Step, Timing};
use crate::schedule::{Pace, Schedule, Turn};

/// Runs the timetable to its end; every announcement with its time since the start.
fn play(schedule: &mut Schedule<u32>, start: Instant) -> Vec<(Duration, u32)> {
    let (mut now, mut sent) = (start, Vec::new());
    loop {
        match schedule.turn(now) {
            Turn::Announce(key) => sent.push((now - start, key)),
            Turn::Wait(time) => {
                assert!(time > now, "a timetable that does not move");
                now = time;
            }
            Turn::Idle => return sent,
        }
    }
}

#[test]
fn one_at_once_and_four_more_over_four_seconds() {
    let start = Instant::now();
    let mut schedule = Schedule::new(Pace::default());
    schedule.arm(start, 7, 2, None);
    let expected: Vec<_> = (0..5)
        .map(|second| (Duration::from_secs(second), 7))
        .collect();
    assert_eq!(play(&mut schedule, start), expected);
    assert!(schedule.is_empty());
}

#[test]
fn a_thousand_addresses_take_turns_and_keep_below_the_rate() {
    let (start, pace) = (Instant::now(), Pace::default());
    let mut schedule = Schedule::new(pace);
    for key in 0..1_000 {
        schedule.arm(start, key, 2, None);
    }
    let sent = play(&mut schedule, start);
    assert_eq!(sent.len(), 5_000);
    let firsts: Vec<_> = sent[..1_000].iter().map(|(_, key)| *key).collect();
    assert_eq!(
        firsts,
        (0..1_000).collect::<Vec<_>>(),
        "every first announcement comes before any second"
    );
    let mut by_window: BTreeMap<u128, u32> = BTreeMap::new();
    for (time, _) in &sent {
        *by_window.entry(time.as_millis() / 100).or_default() += 2;
    }
    let most = pace.frames_per_second / 10 + pace.burst + 2;
    assert!(
        by_window.values().all(|frames| *frames <= most),
        "{by_window:?}"
    );
    assert!(
        sent[999].0 < Duration::from_millis(1_050),
        "a thousand first announcements within a second: {:?}",
        sent[999]
    );
}

#[test]
fn what_is_disarmed_is_announced_no_more_and_what_is_armed_again_begins_anew() {
    let start = Instant::now();
    let mut schedule = Schedule::new(Pace::default());
    schedule.arm(start, 1, 1, None);
    schedule.arm(start, 2, 1, None);
    assert_eq!(schedule.turn(start), Turn::Announce(1));
    assert_eq!(schedule.turn(start), Turn::Announce(2));
    schedule.disarm(1);
    schedule.arm(start + Duration::from_millis(500), 2, 1, None);
    assert_eq!(schedule.len(), 1);
    let sent = play(&mut schedule, start + Duration::from_millis(500));
    assert_eq!(sent.len(), 5);
    assert!(sent.iter().all(|(_, key)| *key == 2));
}

#[test]
fn a_period_goes_on_after_the_repeats_until_it_is_taken_back() {
    let (start, seconds) = (Instant::now(), Duration::from_secs);
    let mut schedule = Schedule::new(Pace::default());
    schedule.arm(start, 1, 1, Some(seconds(10)));
    let (mut now, mut sent) = (start, Vec::new());
    while sent.len() < 7 {
        match schedule.turn(now) {
            Turn::Announce(_) => sent.push((now - start).as_secs()),
            Turn::Wait(time) => now = time,
            Turn::Idle => panic!("idle after {sent:?}"),
        }
    }
    assert_eq!(sent, [0, 1, 2, 3, 4, 14, 24]);
    schedule.set_period(now, 1, 1, None);
    assert_eq!(schedule.turn(now + seconds(60)), Turn::Idle);
    schedule.set_period(now, 1, 1, Some(seconds(5)));
    assert_eq!(schedule.turn(now), Turn::Wait(now + seconds(5)));
}

/// Every question's time, and when the probing is over.
fn probing(timing: Timing) -> (Vec<Duration>, Duration) {
    let start = Instant::now();
    let (mut now, mut asked, mut probe) = (start, Vec::new(), Probe::new(timing, start));
    loop {
        match probe.step(now) {
            Step::Ask => asked.push(now - start),
            Step::Wait(time) => now = time,
            Step::Clear => return (asked, now - start),
        }
    }
}

#[test]
fn a_probe_asks_three_times_and_waits_for_the_last_answer() {
    let ms = Duration::from_millis;
    let timing = Timing {
        questions: 3,
        interval: ms(150),
        wait: ms(300),
    };
    assert_eq!(probing(timing), (vec![ms(0), ms(150), ms(300)], ms(600)));
}
