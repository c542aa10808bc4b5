//! Everything the announcer knows of the cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use landfall_bpf_lb::desired::{PodId, Protocol};
use landfall_crds::selector::Labels;
use landfall_crds::{L2AnnouncementPolicySpec, L2AnnouncementPolicyStatus, LoadBalancerIPStatus};

use super::{Interface, XdpState};
use crate::election::SeenLease;
use crate::names::{NodeName, PolicyName, ServiceKey, Version};

/// All objects by their keys.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Records of addresses.
    pub lbips: BTreeMap<IpAddr, Lbip>,
    /// Announcement policies.
    pub policies: BTreeMap<PolicyName, Policy>,
    /// Services that hold or may hold addresses.
    pub services: BTreeMap<ServiceKey, Service>,
    /// EndpointSlices by Service, then by name.
    pub slices: BTreeMap<ServiceKey, BTreeMap<String, Slice>>,
    /// Nodes.
    pub nodes: BTreeMap<NodeName, Node>,
    /// Labels of namespaces.
    pub namespaces: BTreeMap<String, Namespace>,
    /// What the announcers publish with their sessions.
    pub peers: BTreeMap<NodeName, Peer>,
}

/// A LoadBalancerIP.
#[derive(Clone, Debug, PartialEq)]
pub struct Lbip {
    /// The address.
    pub address: IpAddr,
    /// Object name.
    pub name: String,
    /// Object uid.
    pub uid: String,
    /// Object version.
    pub version: Version,
    /// Object generation.
    pub generation: Option<i64>,
    /// Services that hold the address.
    pub holders: Vec<(ServiceKey, String)>,
    /// Status as read: the base of every write.
    pub status: LoadBalancerIPStatus,
}

/// An L2AnnouncementPolicy.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Object uid.
    pub uid: String,
    /// Object generation.
    pub generation: Option<i64>,
    /// What it says.
    pub spec: L2AnnouncementPolicySpec,
    /// What was said of it.
    pub status: L2AnnouncementPolicyStatus,
}

/// A Service.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Object uid.
    pub uid: String,
    /// Its own labels.
    pub labels: Labels,
    /// `spec.externalIPs`.
    pub external_ips: BTreeSet<IpAddr>,
    /// `externalTrafficPolicy: Local`.
    pub local: bool,
    /// `sessionAffinity: ClientIP`.
    pub client_ip_affinity: bool,
    /// `spec.loadBalancerSourceRanges` is set: the kernel path filters, the director does not yet.
    pub source_ranges: bool,
    /// Ports the director can balance.
    pub ports: Vec<ServicePort>,
    /// Object generation.
    pub generation: Option<i64>,
    /// Conditions as read.
    pub conditions: Vec<Condition>,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name; empty for the only port of a Service.
    pub name: String,
    /// Its number.
    pub port: u16,
    /// Its protocol.
    pub protocol: Protocol,
}

/// An EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Ports by name, already resolved to numbers.
    pub ports: Vec<SlicePort>,
    /// Endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// A port of an EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlicePort {
    /// The Service port's name.
    pub name: String,
    /// The target's number.
    pub port: u16,
    /// Its protocol.
    pub protocol: Protocol,
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its address (the first: the others are not to be used, by the API's own word).
    pub address: IpAddr,
    /// The node it runs on.
    pub node: Option<NodeName>,
    /// What traffic it takes.
    pub readiness: Readiness,
    /// Which pod is behind the address.
    pub pod: PodId,
}

/// What traffic an endpoint takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// New connections.
    Ready,
    /// It is going, and still serves the connections it has.
    Draining,
    /// None.
    Unready,
}

/// A Node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Object uid.
    pub uid: String,
    /// Labels.
    pub labels: Labels,
    /// InternalIPs.
    pub addresses: Vec<IpAddr>,
    /// Tainted `node.kubernetes.io/out-of-service`.
    pub out_of_service: bool,
}

/// A namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    /// Labels.
    pub labels: Labels,
}

/// An announcer's session and what it publishes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The session Lease.
    pub lease: SeenLease,
    /// Interfaces that may announce now.
    pub interfaces: Vec<Interface>,
    /// State of its XDP director.
    pub xdp: XdpState,
    /// It is about to stop.
    pub leaving: bool,
}
