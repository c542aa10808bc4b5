//! What the kernel keeps away from the responder.

use std::net::Ipv4Addr;
use std::time::Instant;

use super::*;
use crate::segment::Segment;

#[test]
fn what_the_filter_keeps_away_is_counted_by_reason() {
    on_a_segment(
        "what_the_filter_keeps_away_is_counted_by_reason",
        async |segment| {
            let mut node = Node::start().await;
            let eth0 = node.link("eth0").await;
            node.own(eth0, &[V4]).await;
            if !node.responder.counters().by_map {
                landfall_testbed::skipped(
                    "what_the_filter_keeps_away_is_counted_by_reason",
                    "eBPF",
                );
                return;
            }
            let kept = |reason| {
                let filtered = node.responder.counters().filtered;
                let found = filtered.iter().find(|(known, _)| *known == reason);
                found.map_or(0, |(_, count)| *count)
            };
            let plain = arp_request(foreign("client"));
            let (mut tagged, mut to_another, mut not_owned) =
                (plain.clone(), plain.clone(), plain.clone());
            tagged.splice(12..12, [0x81, 0x00, 0x00, 0x64]);
            to_another[..6].copy_from_slice(&mac(77).0);
            not_owned[38..42].copy_from_slice(&[10, 65, 0, 1]);
            let reasons = [Reason::VlanTagged, Reason::NotForUs, Reason::NotOwned];
            let before = reasons.map(kept);
            let frames = [tagged, to_another, not_owned, plain].map(|frame| vec![frame; 10]);
            segment.inject("client", frames.concat()).await;
            eventually("the plain questions are answered", || answered(&node) == 10).await;
            for (reason, before) in reasons.into_iter().zip(before) {
                // Whatever else there is on a segment is left out as well.
                assert!(kept(reason) >= before + 10, "{reason:?}");
            }
        },
    );
}

#[test]
fn a_question_with_a_vlan_tag_is_not_answered() {
    on_a_segment(
        "a_question_with_a_vlan_tag_is_not_answered",
        async |segment| {
            let mut node = Node::start().await;
            let eth0 = node.link("eth0").await;
            node.own(eth0, &[V4]).await;
            let plain = arp_request(foreign("client"));
            let mut tagged = plain.clone();
            tagged.splice(12..12, [0x81, 0x00, 0x00, 0x64]);
            segment
                .inject("client", vec![tagged.clone(), tagged, plain])
                .await;
            eventually("the plain question is answered", || answered(&node) >= 1).await;
            assert_eq!(answered(&node), 1);
        },
    );
}

/// Asks many times about an address of somebody else in both families, then about one of ours: how many of the foreign
/// questions, and how many of the foreign messages, were looked at.
async fn foreign_frames_looked_at(segment: &Segment, node: &Node) -> (u64, u64) {
    let mut foreign_question = arp_request(foreign("client"));
    foreign_question[38..42].copy_from_slice(&[10, 65, 0, 1]);
    let mut foreign_solicitation = unsolicited_advertisement(foreign("client"));
    // The last byte of the target; the checksum is wrong then, which is seen only by who looks.
    foreign_solicitation[77] ^= 0xff;
    foreign_solicitation[37] ^= 0xff;
    let mut frames = vec![foreign_question; 200];
    frames.extend(vec![foreign_solicitation; 200]);
    frames.push(arp_request(foreign("client")));
    let looked_at = || {
        let seen = node.responder.counters().interfaces[0].clone();
        (
            seen.ignored(Reason::NotOwned),
            seen.ignored(Reason::Checksum),
        )
    };
    let start = answered(node);
    // What came before the filter was in place is read before the answer to this.
    let plain = vec![arp_request(foreign("client"))];
    segment.inject("client", plain).await;
    eventually("the first question is answered", || {
        answered(node) == start + 1
    })
    .await;
    let before = looked_at();
    segment.inject("client", frames).await;
    eventually("the last question is answered", || {
        answered(node) == start + 2
    })
    .await;
    // The messages wait in a queue of their own.
    let (mut last, long) = (before, Duration::from_millis(200));
    crate::segment::settled("all is looked at", long, || {
        std::mem::replace(&mut last, looked_at()) == looked_at()
    })
    .await;
    let after = looked_at();
    (after.0 - before.0, after.1 - before.1)
}

async fn node_of_many(filter: Filter, many: u32) -> Node {
    let mut node = Node::with(Settings {
        filter,
        ..Settings::default()
    })
    .await;
    let eth0 = node.link("eth0").await;
    let addresses: Vec<String> = (0..many)
        .map(|number| format!("10.64.{}.{}", number / 250, number % 250))
        .collect();
    let mut addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    addresses.push(V4);
    node.own(eth0, &addresses).await;
    node
}

#[test]
fn questions_about_others_do_not_reach_the_responder_of_ten_thousand_addresses() {
    on_a_segment(
        "questions_about_others_do_not_reach_the_responder_of_ten_thousand_addresses",
        async |segment| {
            let node = node_of_many(Filter::Best, 10_000).await;
            assert_eq!(foreign_frames_looked_at(&segment, &node).await, (0, 0));
        },
    );
}

#[test]
fn without_ebpf_the_classic_filter_keeps_questions_about_others_away() {
    on_a_segment(
        "without_ebpf_the_classic_filter_keeps_questions_about_others_away",
        async |segment| {
            let node = node_of_many(Filter::Classic, 1_500).await;
            // It knows no IPv6 addresses.
            let (questions, messages) = foreign_frames_looked_at(&segment, &node).await;
            assert!(questions < 200, "{questions}");
            assert_eq!(messages, 200);
        },
    );
}

#[test]
fn the_filter_follows_what_is_owned_and_what_is_probed() {
    on_a_segment(
        "the_filter_follows_what_is_owned_and_what_is_probed",
        async |segment| {
            let mut node = Node::start().await;
            let eth0 = node.link("eth0").await;
            node.own(eth0, &["192.0.2.101"]).await;
            // The port is open already, and the probed address new to its filter.
            for taken in ["192.0.2.200", "2001:db8::200"] {
                let outcome = node
                    .responder
                    .probe(address(taken), BTreeSet::from([eth0]))
                    .await;
                assert!(
                    matches!(outcome, ProbeOutcome::Conflict { .. }),
                    "{outcome:?}"
                );
            }
            for (owned, silent) in [(V4, "192.0.2.101"), ("192.0.2.101", V4)] {
                node.own(eth0, &[owned]).await;
                segment
                    .answered("client", &format!("arping -c 1 -w 3 -I eth0 {owned}"))
                    .await;
                let output = segment
                    .exec("client", &format!("arping -c 1 -w 1 -I eth0 {silent}"))
                    .await;
                assert!(!output.status.success(), "{}", text(&output));
            }
        },
    );
}

#[test]
fn more_addresses_than_the_map_holds_are_answered_behind_the_classic_filter() {
    on_a_segment(
        "more_addresses_than_the_map_holds_are_answered_behind_the_classic_filter",
        async |segment| {
            let mut node = Node::start().await;
            let eth0 = node.link("eth0").await;
            node.own(eth0, &[V4]).await;
            if !node.responder.counters().by_map {
                landfall_testbed::skipped(
                    "more_addresses_than_the_map_holds_are_answered_behind_the_classic_filter",
                    "eBPF",
                );
                return;
            }
            let first = u32::from(Ipv4Addr::new(10, 64, 0, 0));
            let many = (first..=first + 131_072).map(|number| IpAddr::V4(number.into()));
            let owned = many.chain([address(V4)]);
            let owned = owned.map(|address| (address, BTreeSet::from([eth0])));
            node.responder.set_owned(owned.collect());
            eventually("the map is full", || !node.responder.counters().by_map).await;
            segment
                .answered("client", &format!("arping -c 1 -w 3 -I eth0 {V4}"))
                .await;
            // Few enough again: the classic filter knows them.
            node.own(eth0, &[V4]).await;
            let deadline = Instant::now() + Duration::from_secs(20);
            loop {
                let (questions, messages) = foreign_frames_looked_at(&segment, &node).await;
                assert_eq!(messages, 200, "it knows no IPv6 addresses");
                if questions < 200 {
                    break;
                }
                assert!(Instant::now() < deadline, "{questions}");
            }
        },
    );
}
