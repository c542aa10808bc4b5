//! Announcements on a real segment: how fast they come.

use crate::segment::Capture;

use super::*;

/// The most frames in any time so long, of frames seen at these times.
fn densest(times: &[Duration], window: Duration) -> usize {
    let mut first = 0;
    let mut most = 0;
    for (last, time) in times.iter().enumerate() {
        while *time - times[first] >= window {
            first += 1;
        }
        most = most.max(last + 1 - first);
    }
    most
}

#[test]
fn a_thousand_addresses_at_once_are_announced_no_faster_than_the_stated_rate() {
    on_a_segment(
        "a_thousand_addresses_at_once_are_announced_no_faster_than_the_stated_rate",
        async |segment| {
            let mut node = Node::with(Settings {
                pace: said_once(),
                ..Settings::default()
            })
            .await;
            let eth0 = node.link("eth0").await;
            let mut capture = Capture::start(&segment, "client");
            let addresses: Vec<String> = (0..1_000)
                .map(|number| format!("10.64.{}.{}", number / 250, number % 250))
                .collect();
            let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
            node.own_quietly(eth0, &addresses).await;
            let is_arp =
                |(time, frame): (Duration, Vec<u8>)| (frame[12..14] == [8, 6]).then_some(time);
            let mut times = Vec::new();
            eventually("all have arrived", || {
                times.extend(capture.sent_by(mac(11)).into_iter().filter_map(is_arp));
                times.len() >= 2_000
            })
            .await;
            // What was held up in one moment may arrive with what is due in the next.
            let pace = said_once();
            let held_up = 2 * (pace.burst as usize + 2);
            for window in [100, 250, 500].map(Duration::from_millis) {
                let due = f64::from(pace.frames_per_second) * window.as_secs_f64();
                let most = densest(&times, window);
                assert!(
                    most as f64 <= due + held_up as f64,
                    "{most} frames in {window:?}"
                );
            }
        },
    );
}
