//! Floods: what they cost, and whom they hurt.

use std::time::Instant;

use landfall_announcer::responder::Rate;

use super::*;

#[test]
fn a_flood_of_garbage_stops_nothing() {
    on_a_segment("a_flood_of_garbage_stops_nothing", async |segment| {
        let mut node = Node::start().await;
        let eth0 = node.link("eth0").await;
        node.own(eth0, &[V4, V6]).await;
        for batch in garbage(20_000).chunks(1_000) {
            segment.inject("client", batch.to_vec()).await;
        }
        eventually("the garbage is looked at", || {
            let counters = node.responder.counters();
            let ignored = counters.interfaces[0].ignored.iter();
            ignored.map(|(_, count)| count).sum::<u64>() > 1_000
        })
        .await;
        for command in [
            format!("arping -c 1 -w 5 -I eth0 {V4}"),
            format!("ndisc6 -r 5 -1 -w 1000 {V6} eth0"),
        ] {
            segment.answered("client", &command).await;
        }
    });
}

/// Frames that begin like the real ones and go wrong somewhere, from a fixed seed.
fn garbage(count: usize) -> Vec<Vec<u8>> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap()
    };
    let models = [
        arp_request(foreign("client")),
        unsolicited_advertisement(foreign("client")),
    ];
    let mut frame = move |number: usize| {
        let mut frame = models[number % 2].clone();
        for _ in 0..=random() % 6 {
            let at = 14 + random() % (frame.len() - 14);
            frame[at] = u8::try_from(random() % 256).unwrap();
        }
        frame.truncate(14 + random() % (frame.len() - 13));
        frame.resize(frame.len() + (random() % 4) * 300, 0xa5);
        frame
    };
    (0..count).map(&mut frame).collect()
}

#[test]
fn no_more_of_a_flood_is_looked_at_than_half_of_the_rate_even_from_invented_sources() {
    on_a_segment(
        "no_more_of_a_flood_is_looked_at_than_half_of_the_rate_even_from_invented_sources",
        async |segment| {
            let mut node = Node::with(Settings {
                pace: said_once(),
                ..Settings::default()
            })
            .await;
            let eth0 = node.link("eth0").await;
            node.own(eth0, &[V4, V6]).await;
            let handled = || {
                let seen = &node.responder.counters().interfaces[0];
                let ignored: u64 = seen.ignored.iter().map(|(_, count)| count).sum();
                seen.answered_arp + seen.answered_ndp + ignored
            };
            let (count, limit) = (60_000_u32, Settings::default().frames);
            let one = vec![arp_request(foreign("client")); count as usize];
            let invented = |number: u32| {
                let [_, a, b, c] = number.to_be_bytes();
                arp_request(Mac([2, 1, 1, a, b, c]))
            };
            for flood in [one, (0..count).map(invented).collect()] {
                let (before, began) = (handled(), Instant::now());
                segment.inject("client", flood).await;
                let mut last = 0;
                crate::segment::settled(
                    "all of it is handled or dropped",
                    Duration::from_millis(300),
                    || std::mem::replace(&mut last, handled()) == handled(),
                )
                .await;
                let frames = handled() - before;
                let most = f64::from(limit.burst)
                    + began.elapsed().as_secs_f64() * f64::from(limit.per_second / 2);
                assert!(
                    frames > 1_000 && frames as f64 <= most + 1.0,
                    "{frames} {most}"
                );
            }
        },
    );
}

#[test]
fn a_source_that_asks_too_often_is_answered_at_the_allowed_rate_and_others_as_ever() {
    on_a_segment(
        "a_source_that_asks_too_often_is_answered_at_the_allowed_rate",
        async |segment| {
            segment.host("other", 99);
            let answers = Rate {
                per_second: 1,
                burst: 20,
            };
            let mut node = Node::with(Settings {
                answers,
                ..Settings::default()
            })
            .await;
            let eth0 = node.link("eth0").await;
            node.own(eth0, &[V4]).await;
            segment
                .inject("client", vec![arp_request(foreign("client")); 500])
                .await;
            let seen = || node.responder.counters().interfaces[0].clone();
            eventually("all questions are read", || {
                seen().answered_arp + seen().ignored(Reason::RateLimited) >= 500
            })
            .await;
            assert!((20..=40).contains(&seen().answered_arp), "{:?}", seen());
            segment
                .answered("other", &format!("arping -c 1 -w 3 -I eth0 {V4}"))
                .await;
        },
    );
}
