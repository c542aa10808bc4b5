//! Solicited-node groups on a real switch.

use std::net::Ipv6Addr;

use super::*;
use crate::segment::Capture;

#[test]
fn a_solicited_node_group_is_joined_once_and_left_with_the_last_address() {
    on_a_segment(
        "a_solicited_node_group_is_joined_once_and_left_with_the_last_address",
        async |segment| {
            let mut node = Node::start().await;
            let eth0 = node.link("eth0").await;
            let joined = || {
                segment
                    .ip("node", "-6 maddress show dev eth0")
                    .contains("ff02::1:ffbb:ccdd")
            };
            node.own(eth0, &["2001:db8::1:aabb:ccdd", "2001:db8::2:aabb:ccdd"])
                .await;
            eventually("joined", joined).await;
            node.own(eth0, &["2001:db8::2:aabb:ccdd", V6]).await;
            eventually("the other address has its group", || {
                segment
                    .ip("node", "-6 maddress show dev eth0")
                    .contains("ff02::1:ff01:64")
            })
            .await;
            assert!(joined(), "left although an address is still there");
            assert_eq!(node.responder.counters().groups, 2);
            node.own(eth0, &[V6]).await;
            eventually("left", || !joined()).await;
        },
    );
}

/// Whether a frame is a listener report (RFC 3810 §5.2) that takes a group in.
fn reports(frame: &[u8], group: Ipv6Addr) -> bool {
    // Behind the hop-by-hop header with the router alert; hop limit 1.
    let is_report = frame.len() > 70 && frame[12..14] == [0x86, 0xdd] && frame[62] == 143;
    // Records: changed to exclude nothing, or is so.
    let takes_in = |record: &[u8]| matches!(record[0], 2 | 4) && record[4..20] == group.octets();
    is_report && frame[20..22] == [0, 1] && frame[70..].chunks_exact(20).any(takes_in)
}

#[test]
fn the_switch_is_told_of_a_group_again_after_the_link_was_away_and_after_ipv6_was() {
    on_a_segment(
        "the_switch_is_told_of_a_group_again_after_the_link_was_away_and_after_ipv6_was",
        async |segment| {
            let group: Ipv6Addr = "ff02::1:ff01:64".parse().unwrap();
            let mut capture = Capture::start(&segment, "client");
            let mut node = Node::start().await;
            let eth0 = node.link("eth0").await;
            node.own(eth0, &[V6]).await;
            let mut reported = || {
                let sent = capture.sent_by(mac(11));
                sent.iter().any(|(_, frame)| reports(frame, group))
            };
            eventually("the listener report of the group", &mut reported).await;
            segment.ip("switch", "link set p-node down");
            eventually("the port is closed", || {
                node.responder.listening().is_empty()
            })
            .await;
            segment.ip("switch", "link set p-node up");
            eventually("the report after the link was away", &mut reported).await;
            // Below the least MTU of IPv6 the kernel has none, and forgets its groups.
            let joined = || {
                segment
                    .ip("node", "-6 maddress show dev eth0")
                    .contains(&group.to_string())
            };
            segment.ip("node", "link set eth0 mtu 1200");
            eventually("the kernel has forgotten it", || !joined()).await;
            segment.ip("node", "link set eth0 mtu 1500");
            eventually("the group is joined again", joined).await;
            eventually("the report after IPv6 was away", &mut reported).await;
        },
    );
}

#[test]
fn a_group_that_could_not_be_joined_is_joined_when_ipv6_comes_to_the_interface() {
    on_a_segment(
        "a_group_that_could_not_be_joined_is_joined_when_ipv6_comes_to_the_interface",
        async |segment| {
            segment.ip("node", "link set eth0 mtu 1200");
            let mut node = Node::start().await;
            let eth0 = node.link("eth0").await;
            node.own(eth0, &[V6]).await;
            let output = segment
                .exec("client", &format!("ndisc6 -r 3 -1 -w 2000 {V6} eth0"))
                .await;
            assert!(
                output.status.success(),
                "not joined, but heard: {}",
                text(&output)
            );
            segment.ip("node", "link set eth0 mtu 1500");
            eventually("joined", || {
                segment
                    .ip("node", "-6 maddress show dev eth0")
                    .contains("ff02::1:ff01:64")
            })
            .await;
        },
    );
}

#[test]
fn behind_a_switch_that_snoops_questions_arrive() {
    on_a_segment(
        "behind_a_switch_that_snoops_questions_arrive",
        async |segment| {
            segment.ip(
                "switch",
                "link set br0 type bridge mcast_snooping 1 mcast_querier 1 mcast_mld_version 2",
            );
            let mut node = Node::start().await;
            let eth0 = node.link("eth0").await;
            node.own(eth0, &[V6]).await;
            eventually("the switch knows who listens", || {
                let known = segment.bridge("switch", "mdb show dev br0");
                known
                    .lines()
                    .any(|line| line.contains("p-node") && line.contains("ff02::1:ff01:64"))
            })
            .await;
            segment
                .answered("client", &format!("ndisc6 -r 3 -1 -w 2000 {V6} eth0"))
                .await;
        },
    );
}

#[test]
fn more_groups_than_one_socket_may_hold_are_joined() {
    on_a_segment(
        "more_groups_than_one_socket_may_hold_are_joined",
        async |segment| {
            let mut node = Node::start().await;
            let eth0 = node.link("eth0").await;
            let addresses: Vec<String> = (0..6_000)
                .map(|number| format!("2001:db8::2:{number:x}"))
                .collect();
            node.own(
                eth0,
                &addresses.iter().map(String::as_str).collect::<Vec<_>>(),
            )
            .await;
            eventually("every group is joined", || {
                node.responder.counters().groups == 6_000
            })
            .await;
            segment
                .answered(
                    "client",
                    &format!("ndisc6 -r 3 -1 -w 1000 {} eth0", addresses[5_999]),
                )
                .await;
        },
    );
}
