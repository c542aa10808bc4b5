//! Interfaces that come, go and change.

use super::*;
use crate::segment::beside_xdp;

#[test]
fn an_interface_added_later_and_renamed_answers_under_its_new_name() {
    on_a_segment(
        "an_interface_added_later_and_renamed_answers_under_its_new_name",
        async |segment| {
            let mut node = Node::start().await;
            segment.plug("node", "late0", "p-late", 12);
            let late = node.link("late0").await;
            node.own(late, &[V4, V6]).await;
            segment.ip("node", "link set late0 name lan7");
            assert_eq!(node.link("lan7").await, late);
            for command in [
                format!("arping -c 1 -w 3 -I eth0 {V4}"),
                format!("ndisc6 -1 -w 2000 {V6} eth0"),
            ] {
                let said = segment.answered("client", &command).await;
                assert!(said.contains(&mac(12).to_string()), "{said}");
            }
            assert_eq!(node.responder.counters().interfaces[0].interface, "lan7");
        },
    );
}

beside_xdp!(
    a_link_that_returns_or_changes_its_mac_is_announced_anew,
    async |segment, node, eth0| {
        node.own(eth0, &[V4, V6]).await;
        segment.ip("switch", "link set p-node down");
        eventually("the port is closed", || {
            node.responder.listening().is_empty()
        })
        .await;
        for address in [V4, V6] {
            segment.ip(
                "client",
                &format!(
                    "neighbour replace {address} dev eth0 lladdr {} nud stale",
                    mac(77)
                ),
            );
        }
        segment.ip("switch", "link set p-node up");
        for address in [V4, V6] {
            eventually("announced after the flap", || {
                segment
                    .neighbour("client", address)
                    .contains(&mac(11).to_string())
            })
            .await;
        }
        segment.ip("node", &format!("link set eth0 address {}", mac(42)));
        for address in [V4, V6] {
            eventually("announced with the new MAC", || {
                segment
                    .neighbour("client", address)
                    .contains(&mac(42).to_string())
            })
            .await;
        }
        segment
            .answered("client", &format!("ndisc6 -1 -w 2000 {V6} eth0"))
            .await;
    }
);

#[test]
fn ndp_is_answered_where_the_kernel_has_no_ipv6() {
    on_a_segment(
        "ndp_is_answered_where_the_kernel_has_no_ipv6",
        async |segment| {
            segment
                .exec("node", "sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1")
                .await;
            let mut node = Node::start().await;
            let eth0 = node.link("eth0").await;
            node.own(eth0, &[V6]).await;
            segment
                .answered("client", &format!("ndisc6 -1 -w 2000 {V6} eth0"))
                .await;
        },
    );
}
