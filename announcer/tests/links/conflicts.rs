//! Other hosts with our addresses, found before the first claim and later.

use landfall_announcer::responder::Event;
use landfall_wire::probe::Timing;

use super::*;
use crate::segment::{beside_xdp, within};

#[test]
fn an_address_nobody_has_is_clear_and_one_in_use_names_its_user() {
    on_a_segment(
        "an_address_nobody_has_is_clear_and_one_in_use_names_its_user",
        async |segment| {
            let mut node = Node::start().await;
            let eth0 = BTreeSet::from([node.link("eth0").await]);
            for free in [V4, V6] {
                assert_eq!(
                    node.responder.probe(address(free), eth0.clone()).await,
                    ProbeOutcome::Clear
                );
            }
            for taken in ["192.0.2.200", "2001:db8::200"] {
                let outcome = node.responder.probe(address(taken), eth0.clone()).await;
                assert!(
                    matches!(outcome, ProbeOutcome::Conflict { mac, .. } if mac == foreign("client")),
                    "{outcome:?}"
                );
            }
            assert!(
                !segment
                    .exec("client", &format!("arping -c 1 -w 1 -I eth0 {V4}"))
                    .await
                    .status
                    .success(),
                "probing is not owning"
            );
            node.responder
                .set_peers(BTreeSet::from([foreign("client")]));
            assert_eq!(
                node.responder.probe(address("192.0.2.200"), eth0).await,
                ProbeOutcome::Clear,
                "a peer is no conflict"
            );
            assert_eq!(
                node.responder
                    .probe(address(V4), BTreeSet::from([4_000]))
                    .await,
                ProbeOutcome::NotAsked
            );
        },
    );
}

#[test]
fn one_question_on_an_open_port_is_enough_to_find_the_user_of_an_address() {
    on_a_segment(
        "one_question_on_an_open_port_is_enough_to_find_the_user_of_an_address",
        async |segment| {
            // A bridge and the kernel behind it answer before the question's own call has returned.
            for filter in [Filter::Best, Filter::Classic] {
                let mut node = Node::with(Settings {
                    filter,
                    probe: Timing {
                        questions: 1,
                        interval: Duration::ZERO,
                        wait: Duration::from_secs(1),
                    },
                    ..Settings::default()
                })
                .await;
                let eth0 = node.link("eth0").await;
                node.own(eth0, &[V4]).await;
                for taken in ["192.0.2.200", "2001:db8::200"] {
                    let interfaces = BTreeSet::from([eth0]);
                    let outcome = node.responder.probe(address(taken), interfaces).await;
                    assert!(
                        matches!(outcome, ProbeOutcome::Conflict { .. }),
                        "{filter:?}: {outcome:?}"
                    );
                }
                node.token.cancel();
            }
            drop(segment);
        },
    );
}

#[test]
fn an_address_is_not_clear_unless_every_interface_could_be_asked() {
    on_a_segment(
        "an_address_is_not_clear_unless_every_interface_could_be_asked",
        async |segment| {
            let mut node = Node::start().await;
            let eth0 = node.link("eth0").await;
            segment.plug("node", "eth1", "p-node1", 12);
            let eth1 = node.link("eth1").await;
            let both = BTreeSet::from([eth0, eth1]);
            for free in [V4, V6] {
                let free = address(free);
                let one_missing = BTreeSet::from([eth0, 4_000]);
                let outcome = node.responder.probe(free, one_missing).await;
                assert_eq!(outcome, ProbeOutcome::NotAsked);
                let outcome = node.responder.probe(free, BTreeSet::new()).await;
                assert_eq!(outcome, ProbeOutcome::NotAsked);
                let outcome = node.responder.probe(free, both.clone()).await;
                assert_eq!(outcome, ProbeOutcome::Clear);
            }
            // A queue without room: the kernel takes no frame.
            let full = "tc qdisc replace dev eth1 root pfifo limit 0";
            assert!(segment.exec("node", full).await.status.success());
            for free in [V4, V6] {
                let outcome = node.responder.probe(address(free), both.clone()).await;
                assert_eq!(outcome, ProbeOutcome::NotAsked);
            }
        },
    );
}

#[test]
fn claims_on_a_probed_address_are_counted() {
    on_a_segment("claims_on_a_probed_address_are_counted", async |segment| {
        let mut node = Node::start().await;
        let eth0 = node.link("eth0").await;
        let taken = address("192.0.2.200");
        let outcome = node.responder.probe(taken, BTreeSet::from([eth0])).await;
        assert!(matches!(outcome, ProbeOutcome::Conflict { .. }));
        let seen = node.responder.counters().interfaces[0].clone();
        assert!(seen.contested >= 1, "{seen:?}");
        assert_eq!(seen.conflicts, 0, "it is not owned");
        drop(segment);
    });
}

beside_xdp!(
    a_foreign_host_with_an_owned_address_is_a_conflict_and_a_peer_is_not,
    async |segment, node, eth0| {
        segment.host("other", 99);
        node.own(eth0, &[V4, V6]).await;
        let mut events = node.responder.events();
        // The bridge hands frames on in order: what the peer says arrives before what the foreign host says.
        node.responder
            .set_peers(BTreeSet::from([foreign("client")]));
        for (host, expected) in [("client", None), ("other", Some(foreign("other")))] {
            segment
                .inject(
                    host,
                    vec![
                        gratuitous_arp(foreign(host)),
                        unsolicited_advertisement(foreign(host)),
                    ],
                )
                .await;
            let Some(expected) = expected else { continue };
            let mut seen = BTreeSet::new();
            while seen.len() < 2 {
                let Event::Conflict {
                    address,
                    ifindex,
                    mac,
                } = within(events.recv()).await.unwrap()
                else {
                    continue;
                };
                assert_eq!((ifindex, mac), (eth0, expected));
                seen.insert(address);
            }
            assert_eq!(seen, BTreeSet::from([address(V4), address(V6)]));
        }
        let seen = node.responder.counters().interfaces[0].clone();
        let claims = (seen.ignored(Reason::Peer), seen.conflicts);
        assert_eq!(claims, (2, 2), "both are counted: {seen:?}");
    }
);

beside_xdp!(
    an_address_that_a_foreign_host_claims_is_defended_once_in_ten_seconds,
    async |segment, node, eth0| {
        segment.host("other", 99);
        node.own_quietly(eth0, &[V4, V6]).await;
        for address in [V4, V6] {
            segment.ip(
                "client",
                &format!(
                    "neighbour replace {address} dev eth0 lladdr {} nud stale",
                    mac(11)
                ),
            );
        }
        let claims = vec![
            gratuitous_arp(foreign("other")),
            unsolicited_advertisement(foreign("other")),
        ];
        for (round, whom) in [(1, mac(11)), (2, foreign("other"))] {
            segment.inject("other", claims.clone()).await;
            eventually("both claims are seen", || {
                node.responder.counters().interfaces[0].conflicts == 2 * round
            })
            .await;
            for address in [V4, V6] {
                let believed = || {
                    segment
                        .neighbour("client", address)
                        .contains(&whom.to_string())
                };
                eventually("the client believes who spoke last", believed).await;
            }
        }
        let seen = node.responder.counters().interfaces[0].clone();
        assert_eq!(seen.defended, 2, "once for each address: {seen:?}");
    }
);
