//! What a small world assembles to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use landfall_bpf_lb::desired::{
    BackendState, Endpoint as Target, Frontend, Hop, Interface, Placement, PodId, Protocol,
};

use super::*;
use crate::link::{Link, LinkTable, Mac, NeighbourTable};
use crate::model::*;
use crate::names::{NodeName, ServiceKey};
use crate::policy::{AddressPlan, Plan};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn key() -> ServiceKey {
    ServiceKey {
        namespace: "shop".into(),
        name: "web".into(),
    }
}

fn endpoint(address: &str, node: &str, readiness: Readiness) -> Endpoint {
    Endpoint {
        address: ip(address),
        node: Some(NodeName::new(node)),
        readiness,
        pod: PodId::default(),
    }
}

fn links() -> LinkTable {
    let eth0 = Link {
        index: 2,
        name: "eth0".into(),
        mac: Some(Mac([2, 0, 0, 0, 0, 1])),
        up: true,
        carrier: true,
        loopback: false,
        noarp: false,
        master: None,
        kind: None,
        addresses: vec![
            "192.0.2.1/24".parse().unwrap(),
            "2001:db8::1/64".parse().unwrap(),
        ],
    };
    LinkTable {
        links: [(2, eth0)].into(),
    }
}

fn world() -> (World, Plan) {
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
    }
    let port = |name: &str, port, protocol| ServicePort {
        name: name.into(),
        port,
        protocol,
    };
    let service = Service {
        uid: "u".into(),
        labels: BTreeMap::new(),
        external_ips: BTreeSet::new(),
        local: false,
        client_ip_affinity: true,
        source_ranges: false,
        ports: vec![
            port("http", 80, Protocol::Tcp),
            port("dns", 53, Protocol::Udp),
        ],
        generation: None,
        conditions: vec![],
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
    let address_plan = AddressPlan {
        holders: vec![key()],
        xdp: true,
        ..AddressPlan::default()
    };
    let plan = Plan {
        addresses: [
            (ip("192.0.2.10"), address_plan.clone()),
            (ip("2001:db8::10"), address_plan),
        ]
        .into(),
        director: BTreeSet::from(["eth0".to_owned()]),
        ..Plan::default()
    };
    (world, plan)
}

fn assembled(world: &World, plan: &Plan, neighbours: &NeighbourTable) -> Assembled {
    assemble(world, plan, &NodeName::new("n1"), &links(), neighbours)
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
    let http = &out.desired.frontends[&frontend("192.0.2.10", 80, Protocol::Tcp)];
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
    let dns = &out.desired.frontends[&frontend("192.0.2.10", 53, Protocol::Udp)];
    assert!(dns.backends.keys().all(|target| target.port == 5353));
    let v6 = &out.desired.frontends[&frontend("2001:db8::10", 80, Protocol::Tcp)];
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
fn other_nodes_on_the_segment_are_tracked_and_resolved_ones_become_hops() {
    let (world, plan) = world();
    let mac = Mac([2, 0, 0, 0, 0, 2]);
    let neighbours = NeighbourTable::from([
        (ip("192.0.2.2"), (mac, 2)),
        (ip("2001:db8::2"), (mac, 7)),
        (ip("192.0.2.77"), (mac, 2)),
    ]);
    let out = assembled(&world, &plan, &neighbours);
    assert_eq!(
        out.track,
        [(ip("192.0.2.2"), 2), (ip("2001:db8::2"), 2)].into()
    );
    let hop = Hop {
        mac: mac.0,
        ifindex: 2,
    };
    // The other one is not known on its interface yet, and says so.
    assert_eq!(
        out.desired.hops,
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
    };
    assert_eq!(out.desired.interfaces, [(2, eth0)].into());
}

#[test]
fn a_bond_is_known_by_its_members_and_a_bridge_is_not() {
    let (world, plan) = world();
    for (kind, members) in [("bond", vec![7, 8]), ("bridge", vec![])] {
        let mut links = links();
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
        );
        let found: Vec<u32> = out.desired.interfaces[&2].members.iter().copied().collect();
        assert_eq!(found, members, "{kind}");
    }
}

#[test]
fn a_service_without_endpoints_keeps_its_frontend_without_backends() {
    let (mut world, plan) = world();
    world.slices.clear();
    let out = assembled(&world, &plan, &NeighbourTable::new());
    assert!(
        out.desired
            .frontends
            .values()
            .all(|vip| vip.backends.is_empty())
    );
    assert_eq!(out.desired.frontends.len(), 4);
}

#[test]
fn source_ranges_and_kernel_policies_are_left_to_the_kernel() {
    let (mut world, mut plan) = world();
    plan.addresses.get_mut(&ip("2001:db8::10")).unwrap().xdp = false;
    assert_eq!(
        assembled(&world, &plan, &NeighbourTable::new())
            .desired
            .frontends
            .len(),
        2
    );
    world.services.get_mut(&key()).unwrap().source_ranges = true;
    let out = assembled(&world, &plan, &NeighbourTable::new());
    assert!(out.desired.frontends.is_empty());
    assert!(out.track.is_empty());
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
