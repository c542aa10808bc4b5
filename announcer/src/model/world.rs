//! Everything the announcer knows of the cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use landfall_bpf_lb::desired::{PodId, Protocol};
use landfall_crds::selector::Labels;
use landfall_crds::version::Stamped;
use landfall_crds::{L2AnnouncementPolicySpec, L2AnnouncementPolicyStatus, LoadBalancerIPStatus};

use landfall_wire::Mac;
use landfall_wire::peers::KeyId;

use super::{Interface, InterfacePatterns, PatternError, XdpState};
use crate::election::{Now, SeenLease};
use crate::names::{NodeName, PolicyName, ServiceKey, SessionId, Version};

/// All objects by their keys.
#[derive(Clone, Debug, Default)]
pub struct World {
    pub lbips: BTreeMap<IpAddr, Lbip>,
    pub policies: BTreeMap<PolicyName, Policy>,
    /// Services that hold or may hold addresses.
    pub services: BTreeMap<ServiceKey, Service>,
    /// EndpointSlices by Service, then by name.
    pub slices: BTreeMap<ServiceKey, BTreeMap<String, Slice>>,
    pub nodes: BTreeMap<NodeName, Node>,
    pub namespaces: BTreeMap<String, Namespace>,
    /// What the announcers publish with their sessions.
    pub peers: BTreeMap<NodeName, Peer>,
    /// What was last known of those whose Lease was deleted a moment ago, and when: whoever lives has another one soon.
    pub departed: BTreeMap<NodeName, (Peer, Now)>,
    /// Sessions that the peers ended last, by node; a Lease says so only later.
    pub ended: BTreeMap<NodeName, Ended>,
}

/// The end of a session by the peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    pub session: SessionId,
    /// Its node says so itself since: it lives, and is without a session until the API server gives it one.
    pub conceded: bool,
}

impl World {
    /// What is known of an announcer, or was until a moment ago.
    #[must_use]
    pub fn last_known(&self, node: &NodeName) -> Option<&Peer> {
        let departed = || self.departed.get(node).map(|(peer, _)| peer);
        self.peers.get(node).or_else(departed)
    }

    /// The same of all of them.
    pub fn all_last_known(&self) -> impl Iterator<Item = (&NodeName, &Peer)> {
        let departed = self.departed.iter().map(|(node, (peer, _))| (node, peer));
        self.peers.iter().chain(departed)
    }

    /// Whether others have ended the session of this node for its silence, it has not begun another, and was not heard to
    /// know it. One that gave it up by its own word is not silenced: its pods serve on.
    #[must_use]
    pub fn is_silenced(&self, node: &NodeName) -> bool {
        let ended = self.ended.get(node);
        let conceded = ended.is_some_and(|ended| ended.conceded);
        self.peers
            .get(node)
            .is_some_and(|peer| match &peer.lease.session {
                Some(session) => ended.is_some_and(|ended| ended.session == *session),
                None => peer.fenced_by.is_some(),
            })
            && !conceded
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Lbip {
    pub address: IpAddr,
    pub name: String,
    pub uid: String,
    pub version: Version,
    pub generation: Option<i64>,
    /// Services that hold the address.
    pub holders: Vec<(ServiceKey, String)>,
    /// Gateways that hold it.
    pub gateways: Vec<Gateway>,
    /// What is served on it for them.
    pub frontends: Vec<landfall_crds::Frontend>,
    /// Hosts whose answers to a probe do not count: an administrator said so.
    pub overruled: BTreeSet<Mac>,
    /// Status as read: the base of every write.
    pub status: LoadBalancerIPStatus,
}

/// As much of a Gateway as its address's record tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    pub namespace: String,
    pub name: String,
    pub class: Option<String>,
    pub labels: Labels,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    pub uid: String,
    pub generation: Option<i64>,
    pub spec: L2AnnouncementPolicySpec,
    pub interfaces: InterfacePatterns,
    /// What is wrong with them.
    pub pattern_errors: Vec<PatternError>,
    /// What was said of it.
    pub status: L2AnnouncementPolicyStatus,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Service {
    pub uid: String,
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
    pub generation: Option<i64>,
    /// Conditions as read.
    pub conditions: Vec<Condition>,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name; empty for the only port of a Service.
    pub name: String,
    pub port: u16,
    pub protocol: Protocol,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Ports by name, already resolved to numbers.
    pub ports: Vec<SlicePort>,
    pub endpoints: Vec<Endpoint>,
}

/// A port of an EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlicePort {
    /// The Service port's name.
    pub name: String,
    pub port: u16,
    pub protocol: Protocol,
}

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

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    pub uid: String,
    pub labels: Labels,
    /// InternalIPs.
    pub addresses: Vec<IpAddr>,
    /// Tainted `node.kubernetes.io/out-of-service`.
    pub out_of_service: bool,
    /// Cordoned: `spec.unschedulable`.
    pub cordoned: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    pub labels: Labels,
}

/// An announcer's session and what it publishes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub lease: SeenLease,
    /// Interfaces that may announce now.
    pub interfaces: Vec<Interface>,
    /// State of its XDP director.
    pub xdp: XdpState,
    /// It is about to stop.
    pub leaving: bool,
    /// The keys of heartbeats it believes.
    pub keys: Vec<KeyId>,
    /// Who has ended its session.
    pub fenced_by: Option<NodeName>,
    /// Who has lately ended its session wrongly, as it says.
    pub wronged_by: Option<NodeName>,
    /// When its sessions were ended, by its own clock, and whether too often of late.
    pub fenced_at: Vec<u64>,
    pub unsteady: bool,
    /// Addresses of which its pods have open connections, as far as others must know.
    pub carries: BTreeSet<IpAddr>,
}

impl Lbip {
    /// Whether both say the same but for what becomes of the address.
    pub(super) fn differs_in_status_alone(&self, other: &Self) -> bool {
        let Self {
            address,
            name,
            uid,
            version: _,
            generation,
            holders,
            gateways,
            frontends,
            overruled,
            status: _,
        } = self;
        *address == other.address
            && *name == other.name
            && *uid == other.uid
            && *generation == other.generation
            && *holders == other.holders
            && *gateways == other.gateways
            && *frontends == other.frontends
            && *overruled == other.overruled
    }
}

impl Service {
    /// Whether both say the same but for conditions.
    pub(super) fn differs_in_status_alone(&self, other: &Self) -> bool {
        let Self {
            uid,
            labels,
            external_ips,
            local,
            client_ip_affinity,
            source_ranges,
            ports,
            generation,
            conditions: _,
        } = self;
        *uid == other.uid
            && *labels == other.labels
            && *external_ips == other.external_ips
            && *local == other.local
            && *client_ip_affinity == other.client_ip_affinity
            && *source_ranges == other.source_ranges
            && *ports == other.ports
            && *generation == other.generation
    }
}

impl Policy {
    /// Whether both ask for the same.
    pub(super) fn differs_in_status_alone(&self, other: &Self) -> bool {
        let Self {
            uid,
            generation,
            spec,
            interfaces,
            pattern_errors,
            status: _,
        } = self;
        *uid == other.uid
            && *generation == other.generation
            && *spec == other.spec
            && *interfaces == other.interfaces
            && *pattern_errors == other.pattern_errors
    }
}

impl Stamped for Lbip {
    fn uid(&self) -> &str {
        &self.uid
    }

    fn version(&self) -> &str {
        self.version.as_str()
    }
}

/// A session Lease is told by its name alone: one made anew goes on counting versions.
impl Stamped for Peer {
    fn uid(&self) -> &str {
        ""
    }

    fn version(&self) -> &str {
        self.lease.version.as_str()
    }
}
