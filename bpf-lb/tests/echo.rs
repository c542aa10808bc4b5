//! Echo requests to an address that is served are answered by whoever was asked, and by nobody else.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

#[macro_use]
mod support;

use std::net::IpAddr;

use landfall_bpf_lb::desired::{BackendState, Desired, Protocol};
use landfall_bpf_lb::{Director, Verdict};
use support::frames::Shape;
use support::icmp::echo;
use support::run::{PASS, TX, receive};
use support::scene::{Family, HOPS, PROTOCOLS, families};
use support::{Node, maps, on};

/// What the client asks the VIP.
fn asked(family: Family, shape: &Shape) -> Vec<u8> {
    echo(family.client.ip(), family.vip.ip(), false, shape)
}

/// And what a host would answer to that.
fn answer(family: Family, shape: &Shape) -> Vec<u8> {
    let back = Shape {
        source: shape.destination,
        destination: shape.source,
        hop_limit: 64,
        ..shape.clone()
    };
    echo(family.vip.ip(), family.client.ip(), true, &back)
}

/// The plainest question, and what is answered to it.
fn plain(family: Family) -> [Vec<u8>; 2] {
    let shape = Shape::default();
    [asked(family, &shape), answer(family, &shape)]
}

fn answered(director: &mut Director, ifindex: u32, family: Family, shape: &Shape) {
    let ran = receive(director, ifindex, &asked(family, shape));
    assert_eq!((ran.action, ran.verdict()), (TX, Verdict::Echoed));
    assert_eq!(ran.frame, answer(family, shape));
}

fn untouched(director: &mut Director, ifindex: u32, sent: &[u8], verdict: Verdict) {
    let ran = receive(director, ifindex, sent);
    assert_eq!((ran.action, ran.verdict()), (PASS, verdict));
    assert_eq!(ran.frame, sent);
}

/// A frontend of each protocol, with its pod here or elsewhere.
fn each(node: &Node, mut check: impl FnMut(&mut Director, Family)) {
    let mut director = node.director();
    for family in families() {
        for protocol in PROTOCOLS {
            for at in [None, Some(0)] {
                let backends = [(0, at, BackendState::Active)];
                let desired = family.desired(protocol, node.ifindex, &backends);
                director.apply(&desired).unwrap();
                check(&mut director, family);
            }
        }
    }
}

#[test]
fn an_echo_request_to_an_address_that_is_served_is_answered_as_a_host_does() {
    needs_root!("an_echo_request_to_an_address_that_is_served_is_answered_as_a_host_does");
    let node = Node::new();
    each(&node, |director, family| {
        let long = (0..=255).cycle().take(1400).collect();
        for (hop_limit, payload, tags) in [
            (64, b"odd".to_vec(), vec![]),
            (1, vec![], vec![]),
            (255, long, vec![]),
            (7, b"tagged".to_vec(), vec![7]),
            (6, b"tagged twice".to_vec(), vec![7, 8]),
        ] {
            let shape = Shape {
                hop_limit,
                payload,
                tags,
                ..Shape::default()
            };
            answered(director, node.ifindex, family, &shape);
        }
        // Another node, or a pod of it, asks like anybody else, whatever is left of its hop limit.
        for hop_limit in 4..=7 {
            let shape = Shape {
                source: HOPS[0],
                hop_limit,
                ..Shape::default()
            };
            answered(director, node.ifindex, family, &shape);
        }
    });
}

#[test]
fn padding_behind_an_echo_request_comes_back_as_it_is() {
    needs_root!("padding_behind_an_echo_request_comes_back_as_it_is");
    let node = Node::new();
    each(&node, |director, family| {
        let [mut sent, mut expected] = plain(family);
        for frame in [&mut sent, &mut expected] {
            frame.resize(80, 0x55);
        }
        let ran = receive(director, node.ifindex, &sent);
        assert_eq!((ran.action, ran.verdict()), (TX, Verdict::Echoed));
        assert_eq!(ran.frame, expected);
    });
}

#[test]
fn a_checksum_that_is_wrong_stays_wrong() {
    needs_root!("a_checksum_that_is_wrong_stays_wrong");
    let node = Node::new();
    each(&node, |director, family| {
        let [mut sent, mut expected] = plain(family);
        let at = sent.len() - 1;
        sent[at] ^= 1;
        expected[at] ^= 1;
        assert_eq!(receive(director, node.ifindex, &sent).frame, expected);
    });
}

#[test]
fn an_address_that_is_not_served_is_not_answered_for() {
    needs_root!("an_address_that_is_not_served_is_not_answered_for");
    let node = Node::new();
    each(&node, |director, family| {
        let [client, other] = [family.client.ip(), family.nodes[0]];
        let sent = echo(client, other, false, &Shape::default());
        untouched(director, node.ifindex, &sent, Verdict::OtherProtocol);
    });
}

#[test]
fn what_was_sent_to_another_ethernet_address_is_not_answered() {
    needs_root!("what_was_sent_to_another_ethernet_address_is_not_answered");
    let node = Node::new();
    each(&node, |director, family| {
        for destination in [HOPS[1], [0xff; 6], [0x01, 0, 0x5e, 0, 0, 1]] {
            let shape = Shape {
                destination,
                ..Shape::default()
            };
            let sent = asked(family, &shape);
            untouched(director, node.ifindex, &sent, Verdict::NotOurMac);
        }
        // An interface that nothing was said of.
        let sent = asked(family, &Shape::default());
        untouched(director, node.other, &sent, Verdict::NotOurMac);
    });
}

#[test]
fn what_no_single_host_asks_is_not_answered() {
    needs_root!("what_no_single_host_asks_is_not_answered");
    let node = Node::new();
    each(&node, |director, family| {
        let vip = family.vip.ip();
        let from: &[&str] = if vip.is_ipv4() {
            &["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255"]
        } else {
            &["::", "::1", "ff02::1", "::ffff:192.0.2.1"]
        };
        let from = from.iter().map(|from| from.parse().unwrap());
        for from in from.chain([vip]) {
            let sent = echo(from, vip, false, &Shape::default());
            untouched(director, node.ifindex, &sent, Verdict::OtherProtocol);
        }
        for source in [[0xff; 6], [0x33, 0x33, 0, 0, 0, 1]] {
            let shape = Shape {
                source,
                ..Shape::default()
            };
            let sent = asked(family, &shape);
            untouched(director, node.ifindex, &sent, Verdict::OtherProtocol);
        }
    });
}

#[test]
fn what_is_not_plain_is_the_kernels() {
    needs_root!("what_is_not_plain_is_the_kernels");
    let node = Node::new();
    each(&node, |director, family| {
        let ipv4 = family.vip.is_ipv4();
        let mut passes = |sent: &[u8], verdict| untouched(director, node.ifindex, sent, verdict);
        let odd = Shape {
            options: if ipv4 { vec![1; 4] } else { vec![] },
            extensions: if ipv4 { vec![] } else { vec![60] },
            ..Shape::default()
        };
        passes(&asked(family, &odd), Verdict::OtherProtocol);
        let plain = asked(family, &Shape::default());
        let message = if ipv4 { 34 } else { 54 };
        // Its answer, another code, a length that the frame does not have or that holds no message.
        let answer = if ipv4 { 0 } else { 129 };
        let (low, none) = if ipv4 { (17, 27) } else { (19, 7) };
        for (at, byte, verdict) in [
            (message, answer, Verdict::OtherProtocol),
            (message + 1, 1, Verdict::OtherProtocol),
            (low, 200, Verdict::Malformed),
            (low, none, Verdict::Malformed),
        ] {
            let mut changed = plain.clone();
            changed[at] = byte;
            passes(&changed, verdict);
        }
        // The kernel runs nothing at TC on less than an IP header.
        for cut in message..message + 8 {
            passes(&plain[..cut], Verdict::Malformed);
        }
        if ipv4 {
            for (at, byte) in [(20, 0x20), (20, 0x01), (21, 1)] {
                let mut fragment = plain.clone();
                fragment[at] = byte;
                passes(&fragment, Verdict::Fragment);
            }
        } else {
            let mut fragment = plain;
            fragment.splice(54..54, [58, 0, 0, 1, 0, 0, 0, 1]);
            fragment[20] = 44;
            fragment[19] += 8;
            passes(&fragment, Verdict::Fragment);
        }
    });
}

/// Both protocols of a family at one address, without a backend: a frontend goes at once.
fn frontends(node: &Node, wanted: &[(Family, Protocol)]) -> Desired {
    let mut desired = on(&[node.ifindex]);
    for (family, protocol) in wanted {
        desired
            .frontends
            .extend(family.desired(*protocol, node.ifindex, &[]).frontends);
    }
    desired
}

#[test]
fn an_address_is_answered_for_from_its_first_frontend_to_its_last() {
    needs_root!("an_address_is_answered_for_from_its_first_frontend_to_its_last");
    let node = Node::new();
    let mut director = node.director();
    let [four, six] = families();
    let (tcp, udp) = (Protocol::Tcp, Protocol::Udp);
    let steps = [
        (vec![], [false, false]),
        (vec![(four, tcp)], [true, false]),
        (vec![(four, tcp), (four, udp), (six, udp)], [true, true]),
        (vec![(four, udp), (six, tcp), (six, udp)], [true, true]),
        (vec![(six, tcp)], [false, true]),
        (vec![(four, udp)], [true, false]),
        (vec![], [false, false]),
    ];
    for (wanted, expected) in steps {
        director.apply(&frontends(&node, &wanted)).unwrap();
        for (family, is_answered) in [four, six].into_iter().zip(expected) {
            if is_answered {
                answered(&mut director, node.ifindex, family, &Shape::default());
            } else {
                let sent = asked(family, &Shape::default());
                untouched(&mut director, node.ifindex, &sent, Verdict::OtherProtocol);
            }
        }
        let again = director.apply(&frontends(&node, &wanted)).unwrap();
        assert_eq!(again.operations, 0);
    }
}

#[test]
fn after_a_restart_those_are_answered_for_that_have_a_frontend() {
    needs_root!("after_a_restart_those_are_answered_for_that_have_a_frontend");
    let node = Node::new();
    let [four, six] = families();
    let both = frontends(&node, &[(four, Protocol::Tcp), (six, Protocol::Tcp)]);
    node.director().apply(&both).unwrap();
    let mut director = Director::load(&node.settings).unwrap();
    for family in [four, six] {
        answered(&mut director, node.ifindex, family, &Shape::default());
    }
    drop(director);
    // One that wrote no more than the frontends, and one that ended in between.
    maps::remove_echo(&node.settings, four.vip);
    maps::remove_frontend(&node.settings, six.vip);
    let mut director = Director::load(&node.settings).unwrap();
    answered(&mut director, node.ifindex, four, &Shape::default());
    let sent = asked(six, &Shape::default());
    untouched(&mut director, node.ifindex, &sent, Verdict::OtherProtocol);
}

#[test]
fn as_many_addresses_are_answered_for_as_frontends_are_served() {
    needs_root!("as_many_addresses_are_answered_for_as_frontends_are_served");
    let node = Node::new();
    let mut director = node.director();
    for family in families() {
        let at = |number: u32| {
            let mut other = family;
            let number = u8::try_from(number).unwrap();
            other.vip.set_ip(match family.vip.ip() {
                IpAddr::V4(_) => [192, 0, 2, 100 + number].into(),
                IpAddr::V6(_) => [0x2001, 0xdb8, 0, 0, 0, 0, 2, number.into()].into(),
            });
            (other, Protocol::Tcp)
        };
        let count = node.settings.frontends;
        // All of them others than before, which go only afterwards.
        for from in [0, count, 2 * count] {
            let wanted: Vec<_> = (from..from + count).map(at).collect();
            let applied = director.apply(&frontends(&node, &wanted)).unwrap();
            assert_eq!(applied.refused, []);
            for (family, _) in wanted {
                answered(&mut director, node.ifindex, family, &Shape::default());
            }
        }
        director.apply(&on(&[node.ifindex])).unwrap();
    }
}
