//! Answers on a real segment, asked for by the tools and kernels that will ask for them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may end here"
)]

mod segment;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use landfall_announcer::clock;
use landfall_wire::Reason;
use segment::{Node, beside_xdp, eventually, mac, on_a_segment, text};

const V4: &str = "192.0.2.100";
const V6: &str = "2001:db8::1:64";

beside_xdp!(
    arping_is_answered_by_broadcast_and_by_unicast,
    async |segment, node, eth0| {
        node.own_quietly(eth0, &[V4]).await;
        for command in ["arping -b -c 2 -w 5 -I eth0", "arping -c 3 -w 5 -I eth0"] {
            let said = segment.answered("client", &format!("{command} {V4}")).await;
            assert!(said.contains(&mac(11).to_string()), "{said}");
        }
        let other = segment
            .exec("client", "arping -c 1 -w 1 -I eth0 192.0.2.101")
            .await;
        assert!(
            !other.status.success(),
            "an address that is not owned: {}",
            text(&other)
        );
    }
);

beside_xdp!(an_arp_probe_is_defended, async |segment, node, eth0| {
    node.own_quietly(eth0, &[V4]).await;
    // Ends with 1 when the address is taken, with 0 when nobody answers.
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let output = segment
            .exec("client", &format!("arping -D -c 2 -w 3 -I eth0 {V4}"))
            .await;
        if output.status.code() == Some(1) {
            break;
        }
        assert!(Instant::now() < deadline, "{}", text(&output));
    }
});

beside_xdp!(ndisc6_is_answered, async |segment, node, eth0| {
    node.own_quietly(eth0, &[V6]).await;
    let said = segment
        .answered("client", &format!("ndisc6 -1 -w 2000 {V6} eth0"))
        .await;
    assert!(said.contains(&mac(11).to_string()), "{said}");
});

beside_xdp!(
    a_linux_client_resolves_and_confirms_by_unicast,
    async |segment, node, eth0| {
        node.own_quietly(eth0, &[V4, V6]).await;
        for address in [V4, V6] {
            segment
                .exec("client", &format!("ping -c 1 -W 1 {address}"))
                .await;
            let resolved = || {
                segment
                    .neighbour("client", address)
                    .contains(&mac(11).to_string())
            };
            eventually("the client has resolved the address", resolved).await;
            // A probe goes to the known Ethernet address only, and only an answer makes the entry reachable again.
            let known = format!("{address} dev eth0 lladdr {}", mac(11));
            segment.ip("client", &format!("neighbour change {known} nud probe"));
            let reachable = || segment.neighbour("client", address).contains("REACHABLE");
            eventually("the unicast probe is answered", reachable).await;
        }
    }
);

beside_xdp!(
    a_host_that_takes_the_same_ipv6_address_fails_its_duplicate_address_detection,
    async |segment, node, eth0| {
        node.own_quietly(eth0, &[V6]).await;
        segment
            .exec("client", "sysctl -qw net.ipv6.conf.eth0.accept_dad=1")
            .await;
        segment.ip("client", &format!("address add {V6}/64 dev eth0"));
        let failed = || {
            segment
                .ip("client", "-6 address show dev eth0")
                .contains("dadfailed")
        };
        eventually("the kernel finds the duplicate", failed).await;
    }
);

beside_xdp!(
    a_move_is_seen_in_the_neighbour_tables_of_clients_at_once,
    async |segment, node, eth0| {
        let known = [
            (V4, "stale"),
            (V6, "stale"),
            ("192.0.2.101", "reachable"),
            ("2001:db8::1:65", "reachable"),
        ];
        for (address, state) in known {
            let entry = format!("{address} dev eth0 lladdr {} nud {state}", mac(77));
            segment.ip("client", &format!("neighbour replace {entry}"));
        }
        node.own(eth0, &known.map(|(address, _)| address)).await;
        for (address, _) in known {
            let moved = || {
                segment
                    .neighbour("client", address)
                    .contains(&mac(11).to_string())
            };
            eventually("the client has the new Ethernet address", moved).await;
        }
    }
);

#[test]
fn the_deadline_silences_and_a_new_one_gives_the_voice_back() {
    on_a_segment(
        "the_deadline_silences_and_a_new_one_gives_the_voice_back",
        async |segment| {
            let mut node = Node::start().await;
            let eth0 = node.link("eth0").await;
            node.own(eth0, &[V4]).await;
            let ask = format!("arping -c 1 -w 1 -I eth0 {V4}");
            segment.answered("client", &ask).await;
            node.responder.set_deadline(clock::now());
            assert!(
                !segment.exec("client", &ask).await.status.success(),
                "answered after the deadline"
            );
            node.live();
            segment.answered("client", &ask).await;
        },
    );
}

#[test]
fn what_is_given_up_is_not_answered_any_more() {
    on_a_segment(
        "what_is_given_up_is_not_answered_any_more",
        async |segment| {
            let mut node = Node::start().await;
            let eth0 = node.link("eth0").await;
            node.own(eth0, &[V4, "192.0.2.101"]).await;
            node.own(eth0, &["192.0.2.101"]).await;
            let given_up = segment
                .exec("client", &format!("arping -c 1 -w 1 -I eth0 {V4}"))
                .await;
            assert!(!given_up.status.success(), "{}", text(&given_up));
            segment
                .answered("client", "arping -c 1 -w 3 -I eth0 192.0.2.101")
                .await;
        },
    );
}

#[test]
fn the_frames_left_out_are_counted_by_reason() {
    on_a_segment(
        "the_frames_left_out_are_counted_by_reason",
        async |segment| {
            let mut node = Node::start().await;
            let eth0 = node.link("eth0").await;
            node.own(eth0, &[V4]).await;
            let mut frame = vec![0xff; 6];
            frame.extend(mac(200).0);
            // A question as it should be, but for the length of its hardware addresses.
            frame.extend([0x08, 0x06, 0, 1, 8, 0, 5, 4, 0, 1]);
            frame.extend(mac(200).0);
            frame.extend([192, 0, 2, 200, 0, 0, 0, 0, 0, 0, 192, 0, 2, 100]);
            segment.inject("client", vec![frame]).await;
            segment
                .answered("client", &format!("arping -c 1 -w 3 -I eth0 {V4}"))
                .await;
            let counters = || node.responder.counters();
            eventually("both are counted", || {
                let seen = &counters().interfaces[0];
                seen.ignored(Reason::ArpLengths) >= 1 && seen.answered_arp >= 1
            })
            .await;
            assert_eq!(counters().interfaces[0].interface, "eth0");
            assert_eq!((counters().owned, counters().ports), (1, 1));
        },
    );
}

#[test]
fn five_announcements_leave_over_four_seconds_and_a_period_goes_on() {
    on_a_segment(
        "five_announcements_leave_over_four_seconds_and_a_period_goes_on",
        async |segment| {
            let mut node = Node::start().await;
            let eth0 = node.link("eth0").await;
            let announced = || {
                node.responder
                    .counters()
                    .interfaces
                    .iter()
                    .map(|interface| interface.announced)
                    .sum::<u64>()
            };
            let began = Instant::now();
            node.own(eth0, &[V4, V6]).await;
            // Two frames for IPv4, one for IPv6, five times.
            eventually("all have left", || announced() >= 15).await;
            assert!(
                began.elapsed() >= Duration::from_secs(4),
                "{:?}",
                began.elapsed()
            );
            segment::settled("and no more", Duration::from_millis(1_500), || {
                announced() == 15
            })
            .await;
            node.responder.set_periods(BTreeMap::from([(
                V6.parse().unwrap(),
                Duration::from_millis(50),
            )]));
            eventually("the period goes on", || announced() >= 18).await;
            drop(segment);
        },
    );
}
