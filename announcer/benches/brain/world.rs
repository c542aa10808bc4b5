//! A node that stands by for all addresses of another: one Service each, three nodes, a policy for all of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use landfall_announcer::brain::{Brain, Input};
use landfall_announcer::election::SeenLease;
use landfall_announcer::election::owners::{Event, Settings};
use landfall_announcer::election::peers::{Fenced, Flags, Report};
use landfall_announcer::link::{Link, LinkTable};
use landfall_announcer::model::{
    Interface, InterfacePatterns, Kind, Lbip, Namespace, Node, Object, Peer, Policy, Service,
    XdpState,
};
use landfall_announcer::names::{NodeName, PolicyName, ServiceKey, SessionId, Version};
use landfall_announcer::policy::Announcement;
use landfall_announcer::report::status_of;
use landfall_crds::{L2AnnouncementPolicySpec, LoadBalancerIPStatus, Owner};
use landfall_wire::Mac;

pub(crate) const SECOND: Duration = Duration::from_secs(1);
/// This node, the one that owns everything, and another.
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

/// The record of an address that the second node owns.
fn record(number: u32, version: u64) -> Lbip {
    let address = IpAddr::V4(Ipv4Addr::from(0xc613_0000 + number));
    let lbip = Lbip {
        address,
        name: landfall_crds::ip_name(address),
        uid: format!("00000000-0000-0000-0000-{number:012}"),
        version: Version::new(version.to_string()),
        generation: Some(1),
        holders: vec![(service(number), "uid".into())],
        gateways: Vec::new(),
        frontends: Vec::new(),
        overruled: BTreeSet::new(),
        status: LoadBalancerIPStatus::default(),
    };
    let owner = Owner {
        node: NODES[1].into(),
        session: session(NODES[1]).to_string(),
        standby: Some(NODES[0].into()),
        transitions: i64::try_from(version).unwrap(),
        since: Some(wall()),
        ..Owner::default()
    };
    let plan = Announcement {
        interfaces: ["eth0".to_owned()].into(),
        ..Announcement::default()
    };
    let status = status_of(&lbip, Some(owner), &plan, &BTreeMap::new(), None, &wall());
    Lbip { status, ..lbip }
}

fn service(number: u32) -> ServiceKey {
    ServiceKey::new("shop", format!("web-{number}"))
}

fn policy() -> Policy {
    let spec = L2AnnouncementPolicySpec::default();
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

fn peer(number: usize) -> Peer {
    let interface = Interface {
        name: "eth0".into(),
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
        xdp: XdpState::Off,
        leaving: false,
        keys: Vec::new(),
        fenced_by: None,
        wronged_by: None,
        fenced_at: Vec::new(),
        unsteady: false,
        carries: BTreeSet::new(),
    }
}

fn links() -> LinkTable {
    let eth0 = Link {
        index: 2,
        name: "eth0".into(),
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
    LinkTable {
        links: [(2, eth0)].into(),
    }
}

/// The first node's brain, which knows all of it and has nothing to do.
pub(crate) fn brain(addresses: u32) -> Brain {
    let mut brain = Brain::new(NodeName::new(NODES[0]), Settings::for_duration(SECOND * 15));
    let now = SECOND * 100;
    brain.take(Input::Links(Arc::new(links())), now);
    let lists = [
        (
            Kind::Address,
            (1..=addresses)
                .map(|number| Object::Address(record(number, 5)))
                .collect(),
        ),
        (
            Kind::Policy,
            vec![Object::Policy(PolicyName::new("all"), policy())],
        ),
        (
            Kind::Service,
            (1..=addresses)
                .map(|number| {
                    let held = Service {
                        uid: "uid".into(),
                        ..Service::default()
                    };
                    Object::Service(service(number), held)
                })
                .collect(),
        ),
        (Kind::Slice, Vec::new()),
        (
            Kind::Node,
            NODES
                .map(|node| Object::Node(NodeName::new(node), Node::default()))
                .into(),
        ),
        (
            Kind::Namespace,
            vec![Object::Namespace("shop".into(), Namespace::default())],
        ),
        (
            Kind::Session,
            (0..NODES.len())
                .map(|number| Object::Session(NodeName::new(NODES[number]), peer(number)))
                .collect(),
        ),
    ];
    let started = Event::SessionStarted(session(NODES[0]), now);
    brain.take(Input::Session(started), now);
    for (kind, objects) in lists {
        let objects: Vec<Object> = objects;
        let keys = objects.iter().map(Object::key).collect();
        for object in objects {
            brain.take(Input::Applied(object), now);
        }
        brain.take(Input::Listed(kind, keys), now);
    }
    for node in &NODES[1..] {
        let (node, session) = (NodeName::new(*node), session(node));
        let up = Report::Up {
            node: node.clone(),
            session,
            merged: false,
        };
        let flags = Flags {
            has_api: true,
            programmed: true,
            ..Flags::default()
        };
        brain.take(Input::Peers(up), now);
        brain.take(Input::Peers(Report::Flags(node, flags)), now);
    }
    for second in [100, 101, 102] {
        drop(brain.step(SECOND * second, &wall()));
    }
    brain
}

/// One record is another: of another owner's count.
pub(crate) fn change(addresses: u32) -> Input {
    Input::Applied(Object::Address(record(addresses / 2, 6)))
}

/// The peers have ended the session of the node that owns everything.
pub(crate) fn death() -> Input {
    let fenced = Fenced {
        node: NodeName::new(NODES[1]),
        session: session(NODES[1]),
        by: NodeName::new(NODES[2]),
        written: true,
    };
    Input::Peers(Report::Ended(fenced, Some(SECOND * 102)))
}
