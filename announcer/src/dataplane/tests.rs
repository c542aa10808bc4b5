//! What a small world assembles to.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use landfall_bpf_lb::desired::{
    BackendState, Endpoint as Target, Frontend, Hop, Interface, Placement, PodId, Protocol,
};

use super::*;
use crate::election::owners::Candidate;
use crate::link::{Link, NeighbourTable};
use crate::model::*;
use crate::names::NodeName;
use crate::policy::{Announcement, Announcements};
use crate::testing::{interface, ip, key, lbip, links, mac, peer, service};

fn endpoint(address: &str, node: &str, readiness: Readiness) -> Endpoint {
    Endpoint {
        address: ip(address),
        node: Some(NodeName::new(node)),
        readiness,
        pod: PodId::default(),
    }
}

fn world() -> (World, Announcements) {
    let mut world = World::default();
    for (name, addresses) in [
        ("n1", vec!["192.0.2.1", "2001:db8::1"]),
        ("n2", vec!["198.51.100.2", "192.0.2.2", "2001:db8::2"]),
        ("far", vec!["203.0.113.9"]),
    ] {
        let addresses = addresses.into_iter().map(ip).collect();
        world.nodes.insert(
            NodeName::new(name),
            Node {
                addresses,
                ..Node::default()
            },
        );
        let peer = Peer {
            xdp: XdpState::Ready,
            ..peer(name, 1, Vec::new())
        };
        world.peers.insert(NodeName::new(name), peer);
    }
    let port = |name: &str, port, protocol| ServicePort {
        name: name.into(),
        port,
        protocol,
    };
    let service = Service {
        client_ip_affinity: true,
        ports: vec![
            port("http", 80, Protocol::Tcp),
            port("dns", 53, Protocol::Udp),
        ],
        ..service()
    };
    world.services.insert(key(), service);
    let target = |name: &str, port, protocol| SlicePort {
        name: name.into(),
        port,
        protocol,
    };
    let v4 = Slice {
        ports: vec![
            target("http", 8080, Protocol::Tcp),
            target("dns", 5353, Protocol::Udp),
        ],
        endpoints: vec![
            endpoint("10.244.1.5", "n1", Readiness::Ready),
            endpoint("10.244.2.5", "n2", Readiness::Ready),
            endpoint("10.244.2.6", "n2", Readiness::Draining),
            endpoint("10.244.2.7", "n2", Readiness::Unready),
            endpoint("10.244.9.5", "far", Readiness::Ready),
        ],
    };
    let v6 = Slice {
        ports: vec![target("http", 8080, Protocol::Tcp)],
        endpoints: vec![endpoint("fd00:10:244:2::5", "n2", Readiness::Ready)],
    };
    world
        .slices
        .insert(key(), [("a".to_owned(), v4), ("b".to_owned(), v6)].into());
    let address_plan = Announcement {
        holders: vec![key()],
        xdp: true,
        directs_services: true,
        ..Announcement::default()
    };
    let plan = Announcements {
        addresses: [
            (ip("192.0.2.10"), address_plan.clone()),
            (ip("2001:db8::10"), address_plan),
        ]
        .into(),
        director: BTreeSet::from(["eth0".to_owned()]),
        ..Announcements::default()
    };
    (world, plan)
}

fn assembled(world: &World, plan: &Announcements, neighbours: &NeighbourTable) -> Assembled {
    let me = NodeName::new("n1");
    let director = DirectorNews::of(XdpState::Ready);
    assemble(world, plan, &me, &links(true), neighbours, &director)
}

fn frontend(address: &str, port: u16, protocol: Protocol) -> Frontend {
    Frontend {
        address: ip(address),
        port,
        protocol,
    }
}

#[test]
fn backends_are_of_the_frontends_family_and_at_the_named_target_port() {
    let (world, plan) = world();
    let out = assembled(&world, &plan, &NeighbourTable::new());
    let http = &out.path.desired.frontends[&frontend("192.0.2.10", 80, Protocol::Tcp)];
    let at = |address: &str, port| Target {
        address: ip(address),
        port,
    };
    let got: Vec<_> = http
        .backends
        .iter()
        .map(|(t, b)| (*t, b.placement, b.state))
        .collect();
    assert_eq!(
        got,
        [
            (
                at("10.244.1.5", 8080),
                Placement::Local,
                BackendState::Active
            ),
            (
                at("10.244.2.5", 8080),
                Placement::Remote(ip("192.0.2.2")),
                BackendState::Active
            ),
            (
                at("10.244.2.6", 8080),
                Placement::Remote(ip("192.0.2.2")),
                BackendState::Draining
            ),
            (
                at("10.244.2.7", 8080),
                Placement::Remote(ip("192.0.2.2")),
                BackendState::Unready
            ),
            (
                at("10.244.9.5", 8080),
                Placement::Unknown,
                BackendState::Active
            ),
        ]
    );
    assert!(http.client_ip_affinity);
    let dns = &out.path.desired.frontends[&frontend("192.0.2.10", 53, Protocol::Udp)];
    assert!(dns.backends.keys().all(|target| target.port == 5353));
    let v6 = &out.path.desired.frontends[&frontend("2001:db8::10", 80, Protocol::Tcp)];
    assert_eq!(v6.backends.len(), 1);
    assert_eq!(
        v6.backends[&at("fd00:10:244:2::5", 8080)].placement,
        Placement::Remote(ip("2001:db8::2"))
    );
}

#[test]
fn an_endpoint_on_a_node_off_the_segment_keeps_its_share_and_is_counted() {
    let (world, plan) = world();
    let out = assembled(&world, &plan, &NeighbourTable::new());
    assert_eq!(out.unplaced, 2, "once a port");
}

#[test]
fn where_addresses_are_announced_on_another_network_nodes_are_found_by_what_they_say_of_themselves()
{
    let (mut world, plan) = world();
    for (name, own) in [
        ("n1", "192.0.2.1"),
        ("n2", "192.0.2.2"),
        ("far", "203.0.113.9"),
    ] {
        let name = NodeName::new(name);
        world.nodes.get_mut(&name).unwrap().addresses = vec![ip("198.51.100.2")];
        let mut eth0 = interface("eth0");
        // What is announced is nobody's place, whoever has put it on an interface.
        eth0.addresses = vec![ip("192.0.2.10"), ip(own)];
        world.lbips.insert(
            ip("192.0.2.10"),
            lbip(ip("192.0.2.10"), 1, Default::default()),
        );
        world.peers.get_mut(&name).unwrap().interfaces = vec![interface("eth1"), eth0];
    }
    let out = assembled(&world, &plan, &NeighbourTable::new());
    assert_eq!(out.unplaced, 2, "the far one's, once a port");
    let http = &out.path.desired.frontends[&frontend("192.0.2.10", 80, Protocol::Tcp)];
    let placements = http.backends.values().map(|one| one.placement);
    let near = placements.filter(|placement| *placement == Placement::Remote(ip("192.0.2.2")));
    assert_eq!(near.count(), 3);
    assert_eq!(out.path.track, [(ip("192.0.2.2"), 2)].into());
    assert_eq!(out.path.own, [ip("192.0.2.1")].into());
    assert_eq!(out.path.nodes, [(ip("192.0.2.2"), ip("192.0.2.2"))].into());
}

#[test]
fn other_nodes_on_the_segment_are_tracked_and_resolved_ones_become_hops() {
    let (world, plan) = world();
    let mac = mac(2);
    let neighbours = NeighbourTable::from([
        (ip("192.0.2.2"), (mac, 2)),
        (ip("2001:db8::2"), (mac, 7)),
        (ip("192.0.2.77"), (mac, 2)),
    ]);
    let out = assembled(&world, &plan, &neighbours);
    assert_eq!(
        out.path.track,
        [(ip("192.0.2.2"), 2), (ip("2001:db8::2"), 2)].into()
    );
    let hop = Hop {
        mac: mac.0,
        ifindex: 2,
    };
    // The other one is not known on its interface yet, and says so.
    assert_eq!(
        out.path.desired.hops,
        [(ip("192.0.2.2"), Some(hop)), (ip("2001:db8::2"), None)].into()
    );
}

#[test]
fn the_interfaces_of_the_plan_get_the_programs() {
    let (world, plan) = world();
    let out = assembled(&world, &plan, &NeighbourTable::new());
    let eth0 = Interface {
        name: "eth0".into(),
        mac: [2, 0, 0, 0, 0, 1],
        members: BTreeSet::new(),
        is_trunk: false,
    };
    assert_eq!(out.path.desired.interfaces, [(2, eth0)].into());
}

#[test]
fn a_bond_is_known_by_its_members_and_a_bridge_is_not() {
    let (world, plan) = world();
    for (kind, members) in [("bond", vec![7, 8]), ("bridge", vec![])] {
        let mut links = links(true);
        let eth0 = links.links.get_mut(&2).unwrap();
        eth0.kind = Some(kind.into());
        let member = |index| Link {
            index,
            name: format!("eth{index}"),
            master: Some(2),
            kind: None,
            ..eth0.clone()
        };
        let more: Vec<Link> = [7, 8].map(member).into();
        links
            .links
            .extend(more.into_iter().map(|link| (link.index, link)));
        let out = assemble(
            &world,
            &plan,
            &NodeName::new("n1"),
            &links,
            &NeighbourTable::new(),
            &DirectorNews::of(XdpState::Ready),
        );
        let found: Vec<u32> = out.path.desired.interfaces[&2]
            .members
            .iter()
            .copied()
            .collect();
        assert_eq!(found, members, "{kind}");
    }
}

#[test]
fn an_interface_that_vlan_devices_stand_on_is_a_trunk() {
    let (world, plan) = world();
    for (kind, lower, is_trunk) in [("vlan", 2, true), ("vlan", 9, false), ("macvlan", 2, false)] {
        let mut links = links(true);
        let above = Link {
            index: 7,
            name: "above".into(),
            kind: Some(kind.into()),
            lower: Some(lower),
            ..links.links[&2].clone()
        };
        links.links.insert(7, above);
        let (me, neighbours) = (NodeName::new("n1"), NeighbourTable::new());
        let director = DirectorNews::of(XdpState::Ready);
        let out = assemble(&world, &plan, &me, &links, &neighbours, &director);
        let found = &out.path.desired.interfaces[&2];
        assert_eq!(found.is_trunk, is_trunk, "{kind} on {lower}");
    }
}

#[test]
fn a_service_without_endpoints_keeps_its_frontend_without_backends() {
    let (mut world, plan) = world();
    world.slices.clear();
    let out = assembled(&world, &plan, &NeighbourTable::new());
    assert!(
        out.path
            .desired
            .frontends
            .values()
            .all(|vip| vip.backends.is_empty())
    );
    assert_eq!(out.path.desired.frontends.len(), 4);
}

#[test]
fn source_ranges_and_kernel_policies_are_left_to_the_kernel() {
    let (mut world, mut plan) = world();
    plan.addresses.get_mut(&ip("2001:db8::10")).unwrap().xdp = false;
    assert_eq!(
        assembled(&world, &plan, &NeighbourTable::new())
            .path
            .desired
            .frontends
            .len(),
        2
    );
    world.services.get_mut(&key()).unwrap().source_ranges = true;
    let mut out = assembled(&world, &plan, &NeighbourTable::new());
    let interfaces = std::mem::take(&mut out.path.desired.interfaces);
    assert_eq!(
        interfaces.len(),
        1,
        "a policy wants the director there all the same"
    );
    let pods = std::mem::take(&mut out.path.desired.pods);
    assert!(
        !pods.is_empty(),
        "connections of before, also idle ones, are those of pods that live"
    );
    assert_eq!(out, Assembled::default());
}

#[test]
fn without_an_interface_for_the_director_nothing_is_assembled() {
    let (world, mut plan) = world();
    plan.director.clear();
    assert_eq!(
        assembled(&world, &plan, &NeighbourTable::new()),
        Assembled::default()
    );
}

#[test]
fn a_node_whose_director_does_not_run_is_sent_nothing() {
    let (mut world, plan) = world();
    let n2 = NodeName::new("n2");
    for not_ready in [XdpState::Off, XdpState::Disabled, XdpState::Failed] {
        world.peers.get_mut(&n2).unwrap().xdp = not_ready;
        let out = assembled(&world, &plan, &NeighbourTable::new());
        let backends = out
            .path
            .desired
            .frontends
            .values()
            .flat_map(|vip| &vip.backends);
        let remote = backends.filter(|(_, one)| matches!(one.placement, Placement::Remote(_)));
        assert_eq!(remote.count(), 0, "{not_ready:?}");
        // Frames of it are known as a node's all the same.
        assert!(out.path.nodes.contains_key(&ip("192.0.2.2")));
    }
    world.peers.remove(&n2);
    let out = assembled(&world, &plan, &NeighbourTable::new());
    assert_eq!(out.unplaced, 2 + 7, "the far one, and those of n2");
}

#[test]
fn a_node_whose_director_is_going_is_placed_as_one_that_leaves_and_asks_the_others() {
    let (mut world, plan) = world();
    let asked = |world: &World| {
        let out = assembled(world, &plan, &NeighbourTable::new());
        (out.path.desired.is_asked, out)
    };
    assert!(!asked(&world).0);
    let n2 = world.peers.get_mut(&NodeName::new("n2")).unwrap();
    n2.xdp = XdpState::Draining;
    let (is_asked, out) = asked(&world);
    assert!(is_asked);
    let http = &out.path.desired.frontends[&frontend("192.0.2.10", 80, Protocol::Tcp)];
    let leaving = http.backends.values();
    let leaving = leaving.filter(|one| one.placement == Placement::Leaving(ip("192.0.2.2")));
    assert_eq!(leaving.count(), 3);
    assert_eq!(out.unplaced, 2, "the far one");
    // Its own state is nobody's question.
    for (node, state) in [("n1", XdpState::Draining), ("n2", XdpState::Ready)] {
        world.peers.get_mut(&NodeName::new(node)).unwrap().xdp = state;
    }
    assert!(!asked(&world).0);
}

/// The segment's interface as the director is on it, while it drains.
fn draining() -> DirectorNews {
    DirectorNews {
        drains_on: [2].into(),
        ..DirectorNews::of(XdpState::Draining)
    }
}

#[test]
fn where_no_policy_wants_the_director_any_more_what_other_nodes_serve_is_left_out() {
    let (world, mut plan) = world();
    plan.director.clear();
    let (me, neighbours) = (NodeName::new("n1"), NeighbourTable::new());
    let out = assemble(&world, &plan, &me, &links(true), &neighbours, &draining());
    let desired = &out.path.desired;
    assert!(desired.interfaces.is_empty() && desired.frontends.is_empty());
    assert!(desired.hops.contains_key(&ip("192.0.2.2")));
}

#[test]
fn what_others_have_of_an_address_does_not_come_by_a_node_that_may_not_own_it() {
    let (mut world, mut plan) = world();
    let address = ip("192.0.2.10");
    let n2 = world.peers.get_mut(&NodeName::new("n2")).unwrap();
    n2.carries = [address].into();
    let (me, neighbours) = (NodeName::new("n1"), NeighbourTable::new());
    let carried = |plan: &Announcements| {
        let out = assemble(&world, plan, &me, &links(true), &neighbours, &draining());
        out.path.desired.carried.contains(&address)
    };
    assert!(carried(&plan), "nobody may own it yet");
    let candidate = |name: &str| Candidate::plain(NodeName::new(name));
    for (nodes, comes_by_here) in [(&["n2"][..], false), (&["n1", "n2"], true)] {
        let planned = plan.addresses.get_mut(&address).unwrap();
        planned.candidates = nodes.iter().map(|name| candidate(name)).collect();
        assert_eq!(carried(&plan), comes_by_here, "{nodes:?}");
    }
    // Where nobody serves it by XDP any more, clients' segments come to whoever owns it.
    let planned = plan.addresses.get_mut(&address).unwrap();
    planned.candidates = vec![candidate("n2")];
    planned.xdp = false;
    assert!(carried(&plan));
}

#[test]
fn a_node_whose_announcer_has_gone_is_known_to_be_away() {
    let (mut world, plan) = world();
    let neighbours = NeighbourTable::new();
    let away = |world: &World| assembled(world, &plan, &neighbours).path.desired.away;
    assert_eq!(away(&world), BTreeSet::new());
    for node in ["n1", "n2", "far"] {
        let peer = world.peers.get_mut(&NodeName::new(node)).unwrap();
        peer.lease.session = None;
    }
    assert_eq!(away(&world), [ip("192.0.2.2"), ip("2001:db8::2")].into());
}

#[test]
fn a_node_whose_lease_was_deleted_a_moment_ago_stays_where_it_was_and_is_away() {
    let (mut world, plan) = world();
    let n2 = NodeName::new("n2");
    for xdp in [XdpState::Ready, XdpState::Draining, XdpState::Failed] {
        world.peers.get_mut(&n2).unwrap().xdp = xdp;
        world.peers.get_mut(&n2).unwrap().carries = [ip("192.0.2.99")].into();
        let before = assembled(&world, &plan, &NeighbourTable::new());
        let mut deleted = world.clone();
        let peer = deleted.peers.remove(&n2).unwrap();
        deleted.departed.insert(n2.clone(), (peer, Duration::ZERO));
        let mut after = assembled(&deleted, &plan, &NeighbourTable::new());
        let away = std::mem::take(&mut after.path.desired.away);
        assert_eq!(after, before, "{xdp:?}");
        assert_eq!(away, [ip("192.0.2.2"), ip("2001:db8::2")].into());
    }
}

#[test]
fn while_frontends_drain_the_nodes_of_the_segment_stay_known() {
    let (mut world, mut plan) = world();
    plan.director.clear();
    let carried = ip("192.0.2.10");
    for (node, address) in [("n1", ip("2001:db8::10")), ("n2", carried)] {
        let peer = world.peers.get_mut(&NodeName::new(node)).unwrap();
        peer.carries = [address].into();
    }
    plan.addresses
        .values_mut()
        .for_each(|plan| plan.xdp = false);
    let draining = DirectorNews {
        drains_on: [2].into(),
        ..DirectorNews::of(XdpState::Off)
    };
    let me = NodeName::new("n1");
    let out = assemble(
        &world,
        &plan,
        &me,
        &links(true),
        &NeighbourTable::new(),
        &draining,
    );
    let desired = &out.path.desired;
    assert!(desired.interfaces.is_empty() && desired.frontends.is_empty());
    assert!(desired.hops.contains_key(&ip("192.0.2.2")));
    assert!(out.path.own.contains(&ip("192.0.2.1")));
    assert_eq!(
        desired.carried,
        [carried].into(),
        "its own word is not hearsay"
    );
    assert_eq!(desired.pods, [ip("10.244.1.5")].into());
}

/// The backends of port 80 whose nodes are silent, and the nodes that are away.
fn silent(world: &World, plan: &Announcements) -> (Vec<String>, BTreeSet<IpAddr>) {
    let desired = assembled(world, plan, &NeighbourTable::new()).path.desired;
    let http = &desired.frontends[&frontend("192.0.2.10", 80, Protocol::Tcp)];
    let silent = http.silent.iter().map(|target| target.address.to_string());
    (silent.collect(), desired.away)
}

/// Peers ended the session of this node: by word, or as its Lease says.
fn silence(world: &mut World, node: &str, by_word: bool) {
    let peer = world.peers.get_mut(&NodeName::new(node)).unwrap();
    if by_word {
        let session = peer.lease.session.clone().unwrap();
        let ended = crate::model::Ended {
            session,
            conceded: false,
        };
        world.ended.insert(NodeName::new(node), ended);
    } else {
        peer.lease.session = None;
        peer.fenced_by = Some(NodeName::new("n1"));
    }
}

#[test]
fn what_is_on_a_silent_node_is_known_to_be_wherever_that_is() {
    for by_word in [true, false] {
        let (mut world, plan) = world();
        silence(&mut world, "n2", by_word);
        silence(&mut world, "far", by_word);
        let (silent, away) = silent(&world, &plan);
        let pods = ["10.244.2.5", "10.244.2.6", "10.244.2.7", "10.244.9.5"];
        assert_eq!(silent, pods);
        // The far one is on no segment of this node.
        assert_eq!(away, [ip("192.0.2.2"), ip("2001:db8::2")].into());
    }
}

#[test]
fn a_node_that_begins_another_session_or_gave_up_its_last_one_is_not_silent() {
    let (mut world, plan) = world();
    let before = silent(&world, &plan);
    silence(&mut world, "n2", true);
    assert_ne!(silent(&world, &plan), before);
    let peer = world.peers.get_mut(&NodeName::new("n2")).unwrap();
    peer.lease.session = Some(crate::names::SessionId::new("n2-s2"));
    assert_eq!(silent(&world, &plan), before);
    let peer = world.peers.get_mut(&NodeName::new("n2")).unwrap();
    peer.lease.session = None;
    assert_eq!(silent(&world, &plan).0, before.0);
}

#[test]
fn a_node_that_says_itself_that_its_session_is_over_is_not_silent() {
    for in_writing in [false, true] {
        let (mut world, plan) = world();
        let before = silent(&world, &plan);
        silence(&mut world, "n2", true);
        if in_writing {
            silence(&mut world, "n2", false);
        }
        assert_ne!(silent(&world, &plan).0, before.0);
        let ended = world.ended.get_mut(&NodeName::new("n2")).unwrap();
        ended.conceded = true;
        assert_eq!(silent(&world, &plan).0, before.0);
    }
}
