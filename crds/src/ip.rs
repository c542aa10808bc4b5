//! `LoadBalancerIP`: one object per address in use, the durable record of who holds it.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// How many holders a record takes.
pub const MAX_HOLDERS: usize = 128;
/// How many frontends a record takes.
pub const MAX_FRONTENDS: usize = 256;
/// How many backends a frontend takes.
pub const MAX_BACKENDS: usize = 16;
/// How many characters a sharing key has at most.
pub const MAX_SHARING_KEY: usize = 253;

/// The sharing key of holders that share no key: all of them name the address in `spec.externalIPs`.
pub const SHARED_AS_EXTERNAL: &str = "spec.externalIPs";

/// One address: who holds it (spec, written by the controller) and which node answers for it
/// (status, written by the announcers). Creating the object is the allocation.
#[derive(Clone, Debug, Default, PartialEq, CustomResource, Deserialize, Serialize, KubeSchema)]
#[kube(
    group = "landfall.dev",
    version = "v1alpha1",
    kind = "LoadBalancerIP",
    plural = "loadbalancerips",
    shortname = "lbip",
    category = "landfall",
    status = "LoadBalancerIPStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "One address: who holds it, and which node answers for it.",
    validation = Rule::new("!isIP(self.spec.address) || (ip(self.spec.address).family() == 4 ? self.metadata.name == self.spec.address.replace('.', '-') : size(self.metadata.name) == 39 && isIP(self.metadata.name.replace('-', ':')) && ip(self.metadata.name.replace('-', ':')) == ip(self.spec.address))")
        .message("metadata.name must be the address with dashes: 192-0-2-10, or 2001-0db8-0000-0000-0000-0000-0000-0010 with all eight groups in full"),
    printcolumn(name = "Address", type_ = "string", json_path = ".spec.address"),
    printcolumn(name = "Namespace", type_ = "string", json_path = ".spec.holders[0].namespace"),
    printcolumn(name = "Holder", type_ = "string", json_path = ".spec.holders[0].name"),
    printcolumn(name = "Shared with", type_ = "string", json_path = ".spec.holders[1].name"),
    printcolumn(name = "Kept for", type_ = "string", json_path = ".spec.reservedFor.name"),
    printcolumn(name = "Pool", type_ = "string", json_path = ".spec.poolRef.name"),
    printcolumn(name = "Node", type_ = "string", json_path = ".status.owner.node"),
    printcolumn(name = "Interface", type_ = "string", json_path = ".status.interfaces[0]"),
    printcolumn(name = "Since", type_ = "date", json_path = ".status.owner.since"),
    printcolumn(name = "Holders", type_ = "string", json_path = ".spec.holders", priority = 1)
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.address == oldSelf.address")
        .message("address cannot be changed: an object stands for one address; create another one"),
    validation = Rule::new("!has(self.holders) || size(self.holders) <= 1 || (has(self.sharingKey) && self.sharingKey != '')")
        .message("several holders need a sharingKey")
)]
pub struct LoadBalancerIPSpec {
    /// The address, in canonical form.
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(
        validation = Rule::new("isIP(self) && ip.isCanonical(self)")
            .message("not an IP address in canonical form: write it like 192.0.2.10 or 2001:db8::10"),
        validation = Rule::new("!isIP(self) || ip(self).isGlobalUnicast() || ip(self).isLinkLocalUnicast()")
            .message("no Service can live here: loopback, multicast and unspecified addresses are refused")
    )]
    pub address: String,

    /// The pool the address was taken from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool_ref: Option<PoolRef>,

    /// Who holds the address; several only with a sharing key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_HOLDERS))]
    pub holders: Vec<Holder>,

    /// What is served on the address for Gateways: made of their listeners and routes by the controller, so that the
    /// announcers need nothing of the Gateway API. Services serve themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_FRONTENDS))]
    pub frontends: Vec<Frontend>,

    /// The key its holders share it by; `spec.externalIPs` where all of them name the address there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_SHARING_KEY))]
    pub sharing_key: Option<String>,

    /// Keeps the address for a holder to come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved_for: Option<ObjectRef>,

    /// What becomes of the record when its last holder goes.
    #[serde(default)]
    pub reclaim_policy: ReclaimPolicy,
}

/// A pool by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct PoolRef {
    /// Name of a LoadBalancerIPPool.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// An object that holds an address.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub struct Holder {
    /// `Service` or `Gateway`.
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// Namespace of the holder.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,
    /// Name of the holder.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Uid of the holder: an object of the same name made later is another one.
    #[schemars(length(min = 1, max = 63))]
    pub uid: String,
    /// Of a Gateway its class, by which policies choose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub gateway_class: Option<String>,
    /// Of a Gateway its labels, by which policies choose; announcers read a Service's own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// A port of an address that is served for a Gateway.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
pub struct Frontend {
    /// The port clients connect to.
    #[schemars(range(min = 1, max = 65_535))]
    pub port: u16,
    /// `TCP` or `UDP`.
    pub protocol: FrontendProtocol,
    /// Where new connections go, by weight; what goes nowhere is refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_BACKENDS))]
    pub backends: Vec<Backend>,
}

/// The protocol of a frontend.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema,
)]
#[serde(rename_all = "UPPERCASE")]
pub enum FrontendProtocol {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

/// A backend of a frontend: a port of a Service, and its share.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
pub struct Backend {
    /// Namespace of the Service.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,
    /// Name of the Service.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// A port of the Service.
    #[schemars(range(max = 65_535))]
    pub port: u16,
    /// Its share of new connections, against the sum of all.
    #[schemars(range(max = 1_000_000))]
    pub weight: u32,
    /// Its share is refused: what the route refers to is not there, or may not be referred to.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refused: bool,
}

/// An object by kind, namespace and name; it need not exist yet.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema,
)]
pub struct ObjectRef {
    /// `Service` or `Gateway`.
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// Namespace of the object.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,
    /// Name of the object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// What becomes of a record when its last holder goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum ReclaimPolicy {
    /// It is deleted, and the address is free.
    #[default]
    Delete,
    /// It stays, and keeps the address for the holder it had.
    Retain,
}

/// Which node answers for an address.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LoadBalancerIPStatus {
    /// The node that answers; written by compare-and-swap on `metadata.resourceVersion`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,

    /// Interfaces of the owner that answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(max = 15)))]
    pub interfaces: Vec<String>,

    /// `Announced`, `GatewaysServed`, `AddressConflict`, `OutOfPool`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// A claim on an address: good while the session that made it lives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// Name of the Node.
    #[schemars(length(min = 1, max = 253))]
    pub node: String,
    /// The announcer session of that node that made the claim.
    #[schemars(length(min = 1, max = 63))]
    pub session: String,
    /// When the claim was made, by the claimant's clock; for people only, nothing decides by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub since: Option<Time>,
    /// Who answers from the moment this session is ended by its peers; named by the owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub standby: Option<String>,
    /// How often the address has changed its owner.
    #[serde(default)]
    pub transitions: i64,
    /// The node that is to take over next, in a planned move.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub handover_to: Option<String>,
}
