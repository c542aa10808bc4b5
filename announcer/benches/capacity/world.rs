//! A node of three that serves 10,000 Services by XDP: 1,000 with 32 endpoints, the others with 3, no pod behind two.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use landfall_announcer::brain::{Brain, Input};
use landfall_announcer::dataplane::DirectorNews;
use landfall_announcer::election::SeenLease;
use landfall_announcer::election::owners::{Event, Settings};
use landfall_announcer::link::{Link, LinkTable, NeighbourTable};
use landfall_announcer::model::{
    Endpoint, Interface, InterfacePatterns, Kind, Lbip, Namespace, Node, Object, Peer, Policy,
    Readiness, Service, ServicePort, Slice, SlicePort, XdpState,
};
use landfall_announcer::names::{NodeName, PolicyName, ServiceKey, SessionId, Version};
use landfall_bpf_lb::desired::{PodId, Protocol};
use landfall_crds::{L2AnnouncementPolicySpec, LoadBalancerIPStatus, LoadBalancing};
use landfall_wire::Mac;

pub(crate) const SERVICES: u32 = 10_000;
/// So many of them are large.
const LARGE: u32 = 1_000;
pub(crate) const SECOND: Duration = Duration::from_secs(1);
const NODES: [&str; 3] = ["node-1", "node-2", "node-3"];

pub(crate) fn wall() -> Time {
    Time(Timestamp::from_second(1_700_000_000).unwrap())
}

fn session(node: &str) -> SessionId {
    SessionId::new(format!("{node}-session"))
}

fn mac(number: usize) -> Mac {
    Mac([2, 0, 0, 0, 0, u8::try_from(number).unwrap()])
}

fn address_of(node: usize) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, u8::try_from(node + 1).unwrap()).into()
}

fn key(number: u32) -> ServiceKey {
    ServiceKey::new("shop", format!("web-{number}"))
}

fn record(number: u32) -> Lbip {
    let address = IpAddr::V4(Ipv4Addr::from(0xc613_0000 + number));
    Lbip {
        address,
        name: landfall_crds::ip_name(address),
        uid: format!("00000000-0000-0000-0000-{number:012}"),
        version: Version::new("1"),
        generation: Some(1),
        holders: vec![(key(number), "uid".into())],
        gateways: Vec::new(),
        frontends: Vec::new(),
        overruled: BTreeSet::new(),
        status: LoadBalancerIPStatus::default(),
    }
}

fn service() -> Service {
    Service {
        uid: "uid".into(),
        ports: vec![ServicePort {
            name: String::new(),
            port: 80,
            protocol: Protocol::Tcp,
        }],
        ..Service::default()
    }
}

/// The slice of a Service, whose first endpoint is ready or not.
pub(crate) fn slice(number: u32, is_ready: bool) -> Object {
    let count = if number <= LARGE { 32 } else { 3 };
    let endpoint = |index: u32| {
        let pod = number * 32 + index;
        Endpoint {
            address: Ipv4Addr::from(0x0a00_0000 + pod).into(),
            node: Some(NodeName::new(NODES[(pod % 3) as usize])),
            readiness: if index > 0 || is_ready {
                Readiness::Ready
            } else {
                Readiness::Unready
            },
            pod: PodId::of(&format!("pod-{pod}")),
        }
    };
    let slice = Slice {
        ports: vec![SlicePort {
            name: String::new(),
            port: 8080,
            protocol: Protocol::Tcp,
        }],
        endpoints: (0..count).map(endpoint).collect(),
    };
    Object::Slice(key(number), format!("web-{number}-abcde"), slice)
}

fn policy() -> Policy {
    let spec = L2AnnouncementPolicySpec {
        load_balancing: LoadBalancing::Xdp,
        ..L2AnnouncementPolicySpec::default()
    };
    let (interfaces, pattern_errors) = InterfacePatterns::compile(&spec.interfaces);
    Policy {
        uid: "policy".into(),
        generation: Some(1),
        spec,
        interfaces,
        pattern_errors,
        status: Default::default(),
    }
}

fn peer(number: usize, interface: &str) -> Peer {
    let interface = Interface {
        name: interface.into(),
        mac: mac(number),
        container: false,
        addresses: Vec::new(),
    };
    Peer {
        lease: SeenLease {
            session: Some(session(NODES[number])),
            version: Version::new("1"),
            duration: SECOND * 15,
        },
        interfaces: vec![interface],
        xdp: XdpState::Ready,
        leaving: false,
        keys: Vec::new(),
        fenced_by: None,
        wronged_by: None,
        fenced_at: Vec::new(),
        unsteady: false,
        carries: BTreeSet::new(),
    }
}

/// The first node's brain, which knows all of it; `segment` is its interface.
pub(crate) fn brain(segment: (u32, &str)) -> Brain {
    let (index, name) = segment;
    let mut brain = Brain::new(NodeName::new(NODES[0]), Settings::for_duration(SECOND * 15));
    let now = SECOND * 100;
    let link = Link {
        index,
        name: name.into(),
        mac: Some(mac(0)),
        up: true,
        carrier: true,
        loopback: false,
        noarp: false,
        master: None,
        lower: None,
        kind: None,
        addresses: vec!["192.0.2.1/24".parse().unwrap()],
        passing: BTreeSet::new(),
    };
    let links = LinkTable {
        links: [(index, link)].into(),
    };
    let neighbours: NeighbourTable = (1..NODES.len())
        .map(|node| (address_of(node), (mac(node), index)))
        .collect();
    brain.take(Input::Links(Arc::new(links)), now);
    brain.take(Input::Neighbours(Arc::new(neighbours)), now);
    brain.take(Input::Director(DirectorNews::of(XdpState::Ready)), now);
    let numbers = 1..=SERVICES;
    let node = |number: usize| Node {
        addresses: vec![address_of(number)],
        ..Node::default()
    };
    let nodes = NODES.iter().enumerate();
    let objects = |kind| -> Vec<Object> {
        match kind {
            Kind::Address => numbers
                .clone()
                .map(|n| Object::Address(record(n)))
                .collect(),
            Kind::Policy => vec![Object::Policy(PolicyName::new("all"), policy())],
            Kind::Service => numbers
                .clone()
                .map(|number| Object::Service(key(number), service()))
                .collect(),
            Kind::Slice => numbers.clone().map(|number| slice(number, true)).collect(),
            Kind::Node => nodes
                .clone()
                .map(|(number, name)| Object::Node(NodeName::new(*name), node(number)))
                .collect(),
            Kind::Renewal => Vec::new(),
            Kind::Namespace => vec![Object::Namespace("shop".into(), Namespace::default())],
            Kind::Session => nodes
                .clone()
                .map(|(number, node)| Object::Session(NodeName::new(*node), peer(number, name)))
                .collect(),
        }
    };
    let started = Event::SessionStarted(session(NODES[0]), now);
    brain.take(Input::Session(started), now);
    for kind in [
        Kind::Address,
        Kind::Policy,
        Kind::Service,
        Kind::Slice,
        Kind::Node,
        Kind::Namespace,
        Kind::Session,
    ] {
        let objects = objects(kind);
        let keys = objects.iter().map(Object::key).collect();
        for object in objects {
            brain.take(Input::Applied(object), now);
        }
        brain.take(Input::Listed(kind, keys), now);
    }
    brain
}
