//! The Ethernet addresses of other nodes.

use landfall_announcer::link::Neighbours;

use super::*;

#[test]
fn tracked_neighbours_are_resolved_and_follow_a_change_of_mac() {
    on_a_segment(
        "tracked_neighbours_are_resolved_and_follow_a_change_of_mac",
        async |segment| {
            let mut node = Node::start().await;
            let eth0 = node.link("eth0").await;
            let (neighbours, _) = Neighbours::start(node.token.clone());
            let table = neighbours.watch();
            let keys: BTreeSet<(IpAddr, IfIndex)> = ["192.0.2.200", "2001:db8::200", "192.0.2.201"]
                .iter()
                .map(|text| (address(text), eth0))
                .collect();
            neighbours.track(keys);
            let at = |mac: Mac| {
                let table = table.borrow();
                ["192.0.2.200", "2001:db8::200"]
                    .iter()
                    .all(|text| table.get(&address(text)) == Some(&(mac, eth0)))
            };
            eventually("both families are resolved", || at(mac(200))).await;
            assert!(
                !table.borrow().contains_key(&address("192.0.2.201")),
                "nobody is there"
            );
            segment.ip("client", &format!("link set eth0 address {}", mac(201)));
            // An entry goes stale when its time is over; that is when the kernel is asked to confirm it.
            for text in ["192.0.2.200", "2001:db8::200"] {
                segment.ip(
                    "node",
                    &format!(
                        "neighbour change {text} dev eth0 nud stale lladdr {}",
                        mac(200)
                    ),
                );
            }
            eventually("the new Ethernet address is known", || at(mac(201))).await;
            neighbours.track(BTreeSet::new());
            eventually("what is not tracked is not published", || {
                table.borrow().is_empty()
            })
            .await;
        },
    );
}

#[test]
fn a_neighbour_that_failed_and_appears_later_is_found() {
    on_a_segment(
        "a_neighbour_that_failed_and_appears_later_is_found",
        async |segment| {
            let mut node = Node::start().await;
            let eth0 = node.link("eth0").await;
            let (neighbours, _) = Neighbours::start(node.token.clone());
            let table = neighbours.watch();
            let late = ["192.0.2.77", "2001:db8::77"];
            neighbours.track(late.iter().map(|text| (address(text), eth0)).collect());
            for text in late {
                eventually("the kernel has given up", || {
                    segment.neighbour("node", text).contains("FAILED")
                })
                .await;
            }
            assert!(table.borrow().is_empty());
            segment.host("late", 77);
            eventually("it is found", || {
                let table = table.borrow();
                let found = |text: &&str| table.get(&address(text)) == Some(&(mac(77), eth0));
                late.iter().all(found)
            })
            .await;
        },
    );
}
