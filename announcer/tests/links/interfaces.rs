//! Interfaces that come, go and change.

use std::collections::BTreeMap;

use landfall_announcer::model::Interface;
use landfall_wire::link::Refusal;

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

#[test]
fn a_macvlan_and_a_bridge_answer_and_ports_and_interfaces_without_arp_do_not() {
    on_a_segment(
        "a_macvlan_and_a_bridge_answer_and_ports_and_interfaces_without_arp_do_not",
        async |segment| {
            let mut node = Node::start().await;
            for arguments in [
                format!(
                    "link add shim0 link eth0 address {} type macvlan mode bridge",
                    mac(21)
                ),
                "link set shim0 up".to_owned(),
                format!(
                    "link add lan0 address {} type bridge mcast_snooping 0",
                    mac(22)
                ),
                "link set lan0 up".to_owned(),
            ] {
                segment.ip("node", &arguments);
            }
            segment.plug("node", "eth1", "p-node1", 12);
            segment.ip("node", "link set eth1 master lan0");
            segment.plug("node", "eth2", "p-node2", 13);
            segment.ip("node", "link set eth2 arp off");
            let (shim0, lan0) = (node.link("shim0").await, node.link("lan0").await);
            for (name, refusal) in [
                ("lo", Refusal::Loopback),
                ("eth1", Refusal::Enslaved),
                ("eth2", Refusal::NoArp),
            ] {
                let links = node.links.clone();
                eventually("it can carry nothing, whatever a policy names", || {
                    let table = links.borrow();
                    let mut links = table.links.values();
                    links.any(|link| link.name == name && Interface::of(link) == Err(refusal))
                })
                .await;
            }
            let index = |name: &str| {
                let table = node.links.borrow();
                let found = table.links.values().find(|link| link.name == name);
                found.unwrap().index
            };
            let refused = [index("lo"), index("eth1"), index("eth2")];
            let on = |ifindex| BTreeSet::from([ifindex]);
            let mut owned: BTreeMap<IpAddr, BTreeSet<IfIndex>> = [
                (V4, shim0),
                ("2001:db8::1:64", shim0),
                ("192.0.2.101", lan0),
                ("2001:db8::1:65", lan0),
            ]
            .map(|(text, ifindex)| (address(text), on(ifindex)))
            .into();
            owned.insert(address("192.0.2.102"), BTreeSet::from(refused));
            node.responder.set_owned(owned);
            for (command, last) in [
                (format!("arping -c 1 -w 3 -I eth0 {V4}"), 21),
                (format!("ndisc6 -1 -w 2000 {V6} eth0"), 21),
                ("arping -c 1 -w 3 -I eth0 192.0.2.101".to_owned(), 22),
                ("ndisc6 -1 -w 2000 2001:db8::1:65 eth0".to_owned(), 22),
            ] {
                let said = segment.answered("client", &command).await;
                assert!(said.contains(&mac(last).to_string()), "{said}");
            }
            let listening = node.responder.listening();
            assert_eq!(listening, BTreeSet::from([shim0, lan0]));
        },
    );
}
