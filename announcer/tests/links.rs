//! What happens when links, neighbours and other hosts change under the responder.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_precision_loss,
    reason = "a test may end here"
)]

mod segment;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use landfall_announcer::link::{IfIndex, Mac, Neighbours};
use landfall_announcer::responder::{Event, Filter, ProbeOutcome, Rate, Settings};
use landfall_announcer::wire::Reason;
use landfall_announcer::wire::probe::Timing;
use landfall_announcer::wire::schedule::Pace;
use segment::{Capture, Node, Segment, eventually, mac, on_a_segment, text};

const V4: &str = "192.0.2.100";
const V6: &str = "2001:db8::1:64";

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn foreign(name: &str) -> Mac {
    mac(if name == "other" { 99 } else { 200 })
}

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
                let output = segment.exec("client", &command).await;
                assert!(
                    output.status.success()
                        && text(&output).to_lowercase().contains(&mac(12).to_string()),
                    "{}",
                    text(&output)
                );
            }
            assert_eq!(node.responder.counters().interfaces[0].interface, "lan7");
        },
    );
}

#[test]
fn a_link_that_returns_or_changes_its_mac_is_announced_anew() {
    on_a_segment(
        "a_link_that_returns_or_changes_its_mac_is_announced_anew",
        async |segment| {
            let mut node = Node::start().await;
            let eth0 = node.link("eth0").await;
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
            assert!(
                segment
                    .exec("client", &format!("ndisc6 -1 -w 2000 {V6} eth0"))
                    .await
                    .status
                    .success()
            );
        },
    );
}

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
            let output = segment
                .exec("client", &format!("ndisc6 -r 3 -1 -w 2000 {V6} eth0"))
                .await;
            assert!(output.status.success(), "{}", text(&output));
        },
    );
}

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
            let output = segment
                .exec("client", &format!("ndisc6 -1 -w 2000 {V6} eth0"))
                .await;
            assert!(output.status.success(), "{}", text(&output));
        },
    );
}

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
fn a_foreign_host_with_an_owned_address_is_a_conflict_and_a_peer_is_not() {
    on_a_segment(
        "a_foreign_host_with_an_owned_address_is_a_conflict_and_a_peer_is_not",
        async |mut segment| {
            segment.host("other", 99);
            let mut node = Node::start().await;
            let eth0 = node.link("eth0").await;
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
                    } = events.recv().await.unwrap()
                    else {
                        continue;
                    };
                    assert_eq!((ifindex, mac), (eth0, expected));
                    seen.insert(address);
                }
                assert_eq!(seen, BTreeSet::from([address(V4), address(V6)]));
            }
        },
    );
}

#[test]
fn a_flood_of_garbage_stops_nothing() {
    on_a_segment("a_flood_of_garbage_stops_nothing", async |segment| {
        let mut node = Node::start().await;
        let eth0 = node.link("eth0").await;
        node.own(eth0, &[V4, V6]).await;
        segment.inject("client", garbage(20_000)).await;
        for command in [
            format!("arping -c 1 -w 5 -I eth0 {V4}"),
            format!("ndisc6 -r 5 -1 -w 1000 {V6} eth0"),
        ] {
            let output = segment.exec("client", &command).await;
            assert!(output.status.success(), "{}", text(&output));
        }
        let counters = node.responder.counters();
        let ignored: u64 = counters.interfaces[0]
            .ignored
            .iter()
            .map(|(_, count)| count)
            .sum();
        assert!(ignored > 1_000, "the garbage was looked at: {counters:?}");
    });
}

/// Time this thread, which is the responder's, has spent on a processor.
fn thread_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
}

#[test]
fn a_flood_takes_no_more_than_its_share_of_a_core_even_from_invented_sources() {
    on_a_segment(
        "a_flood_takes_no_more_than_its_share_of_a_core_even_from_invented_sources",
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
                let (before, cpu, began) = (handled(), thread_cpu(), Instant::now());
                segment.inject("client", flood).await;
                let mut last = 0;
                segment::settled(
                    "all of it is handled or dropped",
                    Duration::from_millis(300),
                    || std::mem::replace(&mut last, handled()) == handled(),
                )
                .await;
                let (frames, cpu) = (handled() - before, thread_cpu() - cpu);
                let most = f64::from(limit.burst)
                    + began.elapsed().as_secs_f64() * f64::from(limit.per_second / 2);
                assert!(
                    frames > 1_000 && frames as f64 <= most + 1.0,
                    "{frames} {most}"
                );
                // What docs/concepts.md says: a quarter of a core at 8,000 frames a second.
                let share = cpu.as_secs_f64() / frames as f64 * f64::from(limit.per_second);
                assert!(
                    share <= 0.25,
                    "{share} of a core: {cpu:?} for {frames} frames"
                );
            }
        },
    );
}

/// Nothing is said again.
fn said_once() -> Pace {
    Pace {
        repeats: 0,
        ..Pace::default()
    }
}

#[test]
fn what_the_filter_keeps_away_is_counted_by_reason() {
    on_a_segment(
        "what_the_filter_keeps_away_is_counted_by_reason",
        async |segment| {
            let mut node = Node::start().await;
            let eth0 = node.link("eth0").await;
            node.own(eth0, &[V4]).await;
            if !node.responder.counters().by_map {
                landfall_e2e::skipped("what_the_filter_keeps_away_is_counted_by_reason", "eBPF");
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

fn answered(node: &Node) -> u64 {
    node.responder
        .counters()
        .interfaces
        .iter()
        .map(|interface| interface.answered_arp)
        .sum()
}

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
        async |mut segment| {
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

fn arp(source: Mac, sender: [u8; 4]) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend(source.0);
    frame.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(source.0);
    frame.extend(sender);
    frame.extend([0; 6]);
    frame.extend([192, 0, 2, 100]);
    frame
}

fn arp_request(source: Mac) -> Vec<u8> {
    arp(source, [192, 0, 2, 200])
}

fn gratuitous_arp(source: Mac) -> Vec<u8> {
    arp(source, [192, 0, 2, 100])
}

fn unsolicited_advertisement(source: Mac) -> Vec<u8> {
    let IpAddr::V6(target) = address(V6) else {
        unreachable!()
    };
    let mut out = landfall_announcer::wire::buffer();
    let length =
        landfall_announcer::wire::announce::Unasked::Advertisement(target).emit(source, &mut out);
    out[..length].to_vec()
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
            let output = segment
                .exec(
                    "client",
                    &format!("ndisc6 -r 3 -1 -w 1000 {} eth0", addresses[5_999]),
                )
                .await;
            assert!(output.status.success(), "{}", text(&output));
        },
    );
}

#[test]
fn a_source_that_asks_too_often_is_answered_at_the_allowed_rate_and_others_as_ever() {
    on_a_segment(
        "a_source_that_asks_too_often_is_answered_at_the_allowed_rate",
        async |mut segment| {
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
            let output = segment
                .exec("other", &format!("arping -c 1 -w 3 -I eth0 {V4}"))
                .await;
            assert!(output.status.success(), "{}", text(&output));
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
    segment.inject("client", frames).await;
    eventually("the last question is answered", || answered(node) == 1).await;
    let seen = node.responder.counters().interfaces[0].clone();
    (
        seen.ignored(Reason::NotOwned),
        seen.ignored(Reason::Checksum),
    )
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
                let output = segment
                    .exec("client", &format!("arping -c 1 -w 3 -I eth0 {owned}"))
                    .await;
                assert!(output.status.success(), "{}", text(&output));
                let output = segment
                    .exec("client", &format!("arping -c 1 -w 1 -I eth0 {silent}"))
                    .await;
                assert!(!output.status.success(), "{}", text(&output));
            }
        },
    );
}

#[test]
fn an_address_that_a_foreign_host_claims_is_defended_once_in_ten_seconds() {
    on_a_segment(
        "an_address_that_a_foreign_host_claims_is_defended_once_in_ten_seconds",
        async |mut segment| {
            segment.host("other", 99);
            // Nothing is said again but in defence.
            let mut node = Node::with(Settings {
                pace: said_once(),
                ..Settings::default()
            })
            .await;
            let eth0 = node.link("eth0").await;
            node.own(eth0, &[V4, V6]).await;
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
        },
    );
}
