//! Where frontends and interfaces are looked for first, and what becomes of those whose place another one has.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

#[macro_use]
mod support;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use landfall_bpf_lb::desired::{BackendState, Desired, Frontend, Protocol};
use landfall_bpf_lb::{Director, Settings, Verdict};
use landfall_bpf_lb_common::names;
use landfall_bpf_lb_common::places::{places4, places6};
use support::frames::{Flow, SYN};
use support::scene::{Family, families};
use support::talk::says;
use support::{Node, ip, maps, on};

/// The places of an address and port.
fn places(of: SocketAddr) -> [u32; 2] {
    let [a, b] = of.port().to_be_bytes();
    let service = [a, b, Protocol::Tcp as u8, 0];
    let word = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().unwrap());
    match of.ip() {
        IpAddr::V4(address) => places4(word(&[address.octets(), service].concat())),
        IpAddr::V6(address) => {
            let bytes = address.octets();
            let (high, low) = bytes.split_at(8);
            places6([word(high), word(low)], u32::from_ne_bytes(service))
        }
    }
}

/// Three VIPs of a family, of which the first two have both places of the third.
fn crowded(family: Family) -> [SocketAddr; 3] {
    let port = |port| SocketAddr::new(family.vip.ip(), port);
    let third = port(80);
    let [home, other] = places(third);
    let at = |place| {
        let next = |last: u8| match family.vip.ip() {
            IpAddr::V4(_) => IpAddr::from([192, 0, 2, last]),
            IpAddr::V6(_) => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 1, last.into()]),
        };
        let all = (1..=u16::MAX).flat_map(|port| (0..=u8::MAX).map(move |last| (port, last)));
        let all = all.map(|(port, last)| SocketAddr::new(next(last), port));
        all.filter(|vip| *vip != third)
            .find(|vip| places(*vip)[0] == place)
            .unwrap()
    };
    [at(home), at(other), third]
}

fn named(vip: SocketAddr) -> Frontend {
    Frontend {
        address: vip.ip(),
        port: vip.port(),
        protocol: Protocol::Tcp,
    }
}

/// These VIPs of the family, each with one backend elsewhere.
fn serving(node: &Node, family: Family, vips: &[SocketAddr]) -> Desired {
    let remote = [(0, Some(0), BackendState::Active)];
    let mut desired = family.desired(Protocol::Tcp, node.ifindex, &remote);
    let (_, of) = desired.frontends.pop_first().unwrap();
    desired.frontends = vips.iter().map(|vip| (named(*vip), of.clone())).collect();
    desired
}

/// Which of them the programs know.
fn known(director: &mut Director, node: &Node, family: Family, vips: &[SocketAddr]) -> Vec<bool> {
    let mut knows = |to: &SocketAddr| {
        let flow = Flow {
            to: *to,
            ..family.flow(Protocol::Tcp)
        };
        match says(director, node.ifindex, flow, SYN).verdict() {
            Verdict::NotFrontend => false,
            Verdict::Directed | Verdict::NoBackend => true,
            other => panic!("{to}: {other:?}"),
        }
    };
    vips.iter().map(&mut knows).collect()
}

#[test]
fn frontends_are_found_whoever_has_their_places_and_gone_when_they_are() {
    needs_root!("frontends_are_found_whoever_has_their_places_and_gone_when_they_are");
    let node = Node::new();
    let mut director = node.director();
    for family in families() {
        let vips = crowded(family);
        let [first, second, third] = vips;
        let mut check = |wanted: &[SocketAddr]| {
            // Those without a backend go at once.
            let mut desired = serving(&node, family, wanted);
            for vip in desired.frontends.values_mut() {
                *vip = Arc::default();
            }
            director.apply(&desired).unwrap();
            let found = known(&mut director, &node, family, &vips);
            assert_eq!(found, vips.map(|vip| wanted.contains(&vip)), "{wanted:?}");
        };
        check(&[first]);
        check(&[first, second]);
        check(&[first, second, third]);
        // The place that says where it is stays, though nobody has it any more.
        check(&[second, third]);
        check(&[third]);
        check(&[first, third]);
        check(&[first, second]);
        check(&[third]);
        check(&[]);
    }
}

fn forget(settings: &Settings, name: &str) {
    std::fs::remove_file(settings.pin_dir.join("maps").join(name)).unwrap();
}

#[test]
fn what_was_written_without_places_is_found_after_a_restart() {
    needs_root!("what_was_written_without_places_is_found_after_a_restart");
    let node = Node::new();
    let [family, six] = families();
    for (family, of) in [(family, names::PLACES4), (six, names::PLACES6)] {
        let vips = crowded(family);
        let mut director = node.director();
        director.apply(&serving(&node, family, &vips)).unwrap();
        drop(director);
        for name in [of, names::INTERFACE_PLACES] {
            forget(&node.settings, name);
        }
        let mut director = Director::load(&node.settings).unwrap();
        let found = known(&mut director, &node, family, &vips);
        assert_eq!(found, [true; 3]);
    }
}

#[test]
fn a_restart_clears_the_places_of_what_is_not_there_and_keeps_all_others() {
    needs_root!("a_restart_clears_the_places_of_what_is_not_there_and_keeps_all_others");
    let node = Node::new();
    for family in families() {
        let vips = crowded(family);
        let mut director = node.director();
        director.apply(&serving(&node, family, &vips)).unwrap();
        drop(director);
        // A process that ended between its two writes.
        let [first, ..] = vips;
        maps::remove_frontend(&node.settings, first);
        let mut director = Director::load(&node.settings).unwrap();
        let found = known(&mut director, &node, family, &vips);
        assert_eq!(found, [false, true, true]);
        director.apply(&on(&[node.ifindex])).unwrap();
    }
}

#[test]
fn interfaces_whose_indexes_end_alike_are_both_known() {
    needs_root!("interfaces_whose_indexes_end_alike_are_both_known");
    let node = Node::new();
    let alike = (node.ifindex + 256).to_string();
    let mac = support::OWN.map(|byte| format!("{byte:02x}")).join(":");
    ip(&[
        "link", "add", "seg2", "index", &alike, "address", &mac, "type", "veth", "peer", "name",
        "seg2p",
    ]);
    let mut director = node.director();
    let [family, _] = families();
    let both = [node.ifindex, node.ifindex + 256];
    let here = [(0, None, BackendState::Active)];
    let wanted = |interfaces: &[u32]| Desired {
        interfaces: on(interfaces).interfaces,
        ..family.desired(Protocol::Tcp, node.ifindex, &here)
    };
    director.apply(&wanted(&both)).unwrap();
    let from = |director: &mut Director, ifindex| {
        let flow = family.flow(Protocol::Tcp);
        says(director, ifindex, flow, SYN).verdict()
    };
    for ifindex in both {
        assert_eq!(from(&mut director, ifindex), Verdict::Delivered);
    }
    // The one that had the place goes, and the other comes back without it.
    director.apply(&wanted(&both[1..])).unwrap();
    assert_eq!(from(&mut director, both[1]), Verdict::Delivered);
    assert_eq!(from(&mut director, both[0]), Verdict::NotOurMac);
}
