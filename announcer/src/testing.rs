//! One small world for the tests: Service shop/web and its addresses, nodes whose announcers have sessions, eth0.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use landfall_crds::{L2AnnouncementPolicySpec, LoadBalancerIPStatus};
use landfall_wire::Mac;

use crate::election::{Now, SeenLease};
use crate::link::{Link, LinkTable};
use crate::model::{Interface, InterfacePatterns, Lbip, Peer, Policy, Service, XdpState};
use crate::names::{ServiceKey, SessionId, Version};

/// The address most tests are about.
pub(crate) const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10));

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn secs(seconds: u64) -> Now {
    Duration::from_secs(seconds)
}

pub(crate) fn mac(last: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, last])
}

pub(crate) fn key() -> ServiceKey {
    ServiceKey::new("shop", "web")
}

pub(crate) fn service() -> Service {
    Service {
        uid: "u".into(),
        ..Service::default()
    }
}

/// The record of an address that shop/web holds.
pub(crate) fn lbip(address: IpAddr, version: u64, status: LoadBalancerIPStatus) -> Lbip {
    Lbip {
        address,
        name: landfall_crds::ip_name(address),
        uid: "r".into(),
        version: Version::new(version.to_string()),
        generation: Some(1),
        holders: vec![(key(), "u".into())],
        gateways: Vec::new(),
        frontends: Vec::new(),
        overruled: BTreeSet::new(),
        status,
    }
}

pub(crate) fn policy(spec: L2AnnouncementPolicySpec) -> Policy {
    let (interfaces, pattern_errors) = InterfacePatterns::compile(&spec.interfaces);
    Policy {
        uid: "p".into(),
        generation: Some(1),
        spec,
        interfaces,
        pattern_errors,
        status: Default::default(),
    }
}

pub(crate) fn interface(name: &str) -> Interface {
    Interface {
        name: name.into(),
        mac: mac(1),
        container: false,
        addresses: Vec::new(),
    }
}

/// The announcer of a node: its session is called like it, with `-s`.
pub(crate) fn peer(node: &str, version: u64, interfaces: Vec<Interface>) -> Peer {
    let lease = SeenLease {
        session: Some(SessionId::new(format!("{node}-s"))),
        version: Version::new(version.to_string()),
        duration: secs(15),
    };
    Peer {
        lease,
        interfaces,
        xdp: XdpState::Off,
        leaving: false,
        keys: Vec::new(),
        fenced_by: None,
        wronged_by: None,
        fenced_at: Vec::new(),
        unsteady: false,
        carries: Default::default(),
    }
}

/// eth0 of this node, the only link there is.
pub(crate) fn links(carrier: bool) -> LinkTable {
    let eth0 = Link {
        index: 2,
        name: "eth0".into(),
        mac: Some(mac(1)),
        up: true,
        carrier,
        loopback: false,
        noarp: false,
        master: None,
        lower: None,
        kind: None,
        addresses: vec![
            "192.0.2.1/24".parse().unwrap(),
            "2001:db8::1/64".parse().unwrap(),
        ],
        passing: Default::default(),
    };
    LinkTable {
        links: [(2, eth0)].into(),
    }
}
