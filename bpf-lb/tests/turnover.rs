//! How many half-open connections come, and how many are evicted by others.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

#[macro_use]
mod support;

use landfall_bpf_lb::Director;
use landfall_bpf_lb::desired::{BackendState, Protocol};
use support::frames::{SEGMENT, SYN, SYN_ACK};
use support::scene::families;
use support::talk::{answers, establish, reached, says};
use support::{Node, maps};

/// Entries that came, entries that were evicted, and half-open connections that are there.
fn counted(director: &mut Director) -> (u64, u64, usize) {
    let swept = director.sweep().unwrap();
    (
        swept.half_open_inserted,
        swept.half_open_evicted,
        swept.half_open,
    )
}

#[test]
fn half_open_connections_that_come_are_counted_and_none_is_evicted_by_what_ends_otherwise() {
    needs_root!(
        "half_open_connections_that_come_are_counted_and_none_is_evicted_by_what_ends_otherwise"
    );
    for family in families() {
        let node = Node::new();
        let mut director = node.director();
        let here = [(0, None, BackendState::Active)];
        director
            .apply(&family.desired(Protocol::Tcp, node.ifindex, &here))
            .unwrap();
        assert_eq!(counted(&mut director), (0, 0, 0));
        // One that goes on, one that is asked for twice, and one that nobody answers.
        let flow = |port: u16| family.from(Protocol::Tcp, 51_000 + port);
        establish(&mut director, node.ifindex, flow(0));
        assert_eq!(counted(&mut director), (2, 0, 0));
        for port in [1, 1, 2] {
            reached(&says(&mut director, node.ifindex, flow(port), SYN));
        }
        assert_eq!(counted(&mut director), (6, 0, 2));
        // A SYN that comes after long takes its own place.
        maps::age(&node.settings, 20);
        let pod = reached(&says(&mut director, node.ifindex, flow(1), SYN));
        assert_eq!(counted(&mut director), (6, 0, 2));
        answers(&mut director, flow(1), pod, SYN_ACK);
        reached(&says(&mut director, node.ifindex, flow(1), SEGMENT));
        assert_eq!(counted(&mut director), (6, 0, 1));
        maps::age(&node.settings, 20);
        assert_eq!(counted(&mut director), (6, 0, 0));
    }
}

#[test]
fn what_a_flood_evicts_is_counted_also_after_a_restart() {
    needs_root!("what_a_flood_evicts_is_counted_also_after_a_restart");
    for family in families() {
        let node = Node::new();
        let mut director = node.director();
        let here = [(0, None, BackendState::Active)];
        let wanted = family.desired(Protocol::Tcp, node.ifindex, &here);
        director.apply(&wanted).unwrap();
        counted(&mut director);
        let flood = |director: &mut Director, ports: std::ops::Range<u16>| {
            for port in ports {
                says(
                    director,
                    node.ifindex,
                    family.from(Protocol::Tcp, port),
                    SYN,
                );
            }
        };
        flood(&mut director, 10_000..15_000);
        let (inserted, evicted, there) = counted(&mut director);
        assert_eq!(inserted, 10_000);
        assert!(there <= 1_024, "{there}");
        // Of some the one entry of two is there.
        assert!(
            (10_000 - 2 * 1_024..=10_000).contains(&evicted),
            "{evicted}"
        );
        let mut director = Director::load(&node.settings).unwrap();
        director.apply(&wanted).unwrap();
        assert_eq!((counted(&mut director).0, counted(&mut director).1), (0, 0));
        flood(&mut director, 20_000..21_000);
        let (inserted, evicted, _) = counted(&mut director);
        assert_eq!(inserted, 2_000);
        // Of those before them as well, and the kernel makes room for more than one at once.
        assert!((1..=2_000 + 2 * 1_024).contains(&evicted), "{evicted}");
    }
}
