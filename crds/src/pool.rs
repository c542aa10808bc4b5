//! `LoadBalancerIPPool`: where addresses come from.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// Addresses that Services and Gateways may be given.
#[derive(Clone, Debug, PartialEq, CustomResource, Deserialize, Serialize, KubeSchema)]
#[kube(
    group = "landfall.dev",
    version = "v1alpha1",
    kind = "LoadBalancerIPPool",
    plural = "loadbalancerippools",
    shortname = "lbpool",
    category = "landfall",
    status = "LoadBalancerIPPoolStatus",
    derive = "PartialEq",
    doc = "A pool of addresses that LoadBalancer Services and Gateways may be given.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Accepted")].status"#
    ),
    printcolumn(
        name = "Blocks",
        type_ = "string",
        json_path = ".status.summary.blocks"
    ),
    printcolumn(name = "Total", type_ = "string", json_path = ".status.summary.total"),
    printcolumn(
        name = "Assigned",
        type_ = "string",
        json_path = ".status.summary.assigned"
    ),
    printcolumn(
        name = "Reserved",
        type_ = "string",
        json_path = ".status.summary.reserved"
    ),
    printcolumn(
        name = "Free",
        type_ = "string",
        json_path = ".status.summary.available"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct LoadBalancerIPPoolSpec {
    /// Address ranges. IPv4 and IPv6 may mix in a pool, not in a block.
    #[schemars(length(min = 1, max = 256))]
    pub blocks: Vec<Block>,

    /// Ranges inside the blocks that are never handed out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub excludes: Vec<Block>,

    /// Whether the first and last address of a CIDR block wider than two addresses are handed out.
    #[serde(default, rename = "allowFirstLastIPs")]
    pub allow_first_last_ips: FirstLastIPs,

    /// Services that may use the pool, by label; `io.kubernetes.service.name` and
    /// `io.kubernetes.service.namespace` stand for a Service's own name and namespace. Absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::label_selector")]
    pub service_selector: Option<LabelSelector>,

    /// Namespaces that may use the pool, by label; both selectors must match. Absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::label_selector")]
    pub namespace_selector: Option<LabelSelector>,

    /// Only Gateways of these classes, and the Services made for them, may use the pool. Empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 253)))]
    pub gateway_classes: Vec<String>,

    /// Pools with a higher priority are used first.
    #[serde(default)]
    pub priority: i32,

    /// Whether addresses are assigned without being asked for. False: only when the pool is named,
    /// or one of its addresses is asked for.
    #[serde(default = "yes")]
    pub auto_assign: bool,

    /// Makes no new assignments; those made stay.
    #[serde(default)]
    pub disabled: bool,

    /// Whether an address that stands in `spec.externalIPs` of a Service which the pool admits is
    /// kept from everybody else. `Ignore`: the pool hands it out all the same.
    #[serde(default, rename = "externalIPs")]
    pub external_ips: ExternalIPs,

    /// At most so many addresses of the pool for the Services of one namespace together; shared
    /// ones count once. Absent: no limit. Assignments made before stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_per_namespace: Option<i32>,

    /// At most so many addresses of the pool for one Service. Absent: no limit. Assignments made
    /// before stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_per_service: Option<i32>,
}

/// What becomes of addresses that Services name as external ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum ExternalIPs {
    /// They are kept from everybody else, where the pool would admit the Service.
    #[default]
    Respect,
    /// They are handed out.
    Ignore,
}

const fn yes() -> bool {
    true
}

impl LoadBalancerIPPoolSpec {
    /// A pool of these blocks, everything else as the API server would default it.
    #[must_use]
    pub fn of(blocks: Vec<Block>) -> Self {
        Self {
            blocks,
            excludes: Vec::new(),
            allow_first_last_ips: FirstLastIPs::default(),
            service_selector: None,
            namespace_selector: None,
            gateway_classes: Vec::new(),
            priority: 0,
            auto_assign: true,
            disabled: false,
            external_ips: ExternalIPs::default(),
            max_per_namespace: None,
            max_per_service: None,
        }
    }
}

/// One range: a CIDR, or a first and optionally a last address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.cidr) != has(self.start)")
        .message("a block has either cidr or start: set exactly one of them"),
    validation = Rule::new("!has(self.stop) || has(self.start)")
        .message("stop is the end of a range: set start too, or use cidr alone"),
    validation = Rule::new("!has(self.start) || !isIP(self.start) || !has(self.stop) || !isIP(self.stop) || ip(self.start).family() == ip(self.stop).family()")
        .message("start and stop are of different families: use one block for IPv4 and one for IPv6")
)]
pub struct Block {
    /// A network in CIDR form, without host bits: `192.0.2.0/24`, `2001:db8::/64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(
        validation = Rule::new("isCIDR(self)")
            .message("not a CIDR: write it like 192.0.2.0/24 or 2001:db8::/64 (IPv4-mapped IPv6 is not accepted); a range or a single address goes into start and stop"),
        validation = Rule::new("!isCIDR(self) || cidr(self).masked() == cidr(self)")
            .message("host bits are set: write the network address, e.g. 192.0.2.192/28 instead of 192.0.2.200/28, or use start and stop"),
        validation = Rule::new("!isCIDR(self) || cidr(self).ip().isGlobalUnicast() || cidr(self).ip().isLinkLocalUnicast()")
            .message("no Service can live here: loopback, multicast and unspecified addresses are refused")
    )]
    pub cidr: Option<String>,

    /// First address of a range; without `stop`, the only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(
        validation = Rule::new("isIP(self)")
            .message("not an IP address: write it like 192.0.2.10 or 2001:db8::10 (IPv4-mapped IPv6 is not accepted)"),
        validation = Rule::new("!isIP(self) || ip(self).isGlobalUnicast() || ip(self).isLinkLocalUnicast()")
            .message("no Service can live here: loopback, multicast and unspecified addresses are refused")
    )]
    pub start: Option<String>,

    /// Last address of a range, included; of the same family as `start`, and not before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(
        validation = Rule::new("isIP(self)")
            .message("not an IP address: write it like 192.0.2.10 or 2001:db8::10 (IPv4-mapped IPv6 is not accepted)"),
        validation = Rule::new("!isIP(self) || ip(self).isGlobalUnicast() || ip(self).isLinkLocalUnicast()")
            .message("no Service can live here: loopback, multicast and unspecified addresses are refused")
    )]
    pub stop: Option<String>,
}

/// Whether the first and last address of a CIDR block are handed out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum FirstLastIPs {
    /// They are handed out.
    #[default]
    Yes,
    /// They are kept, in blocks wider than two addresses.
    No,
}

/// What became of a pool.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LoadBalancerIPPoolStatus {
    /// The `metadata.generation` these counts and conditions are of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Counts of IPv4 addresses; absent when the pool has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<FamilyCounts>,

    /// Counts of IPv6 addresses; absent when the pool has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<FamilyCounts>,

    /// The same as a person reads it in a table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<PoolSummary>,

    /// `Accepted`, `Overlap`, `Exhausted`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// Counts of one address family, as decimal strings: a /64 does not fit a JSON number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FamilyCounts {
    /// Addresses the pool covers, without excludes and node addresses.
    #[schemars(length(max = 39))]
    pub total: String,
    /// Addresses that have a holder.
    #[schemars(length(max = 39))]
    pub assigned: String,
    /// Addresses that a new Service could be given.
    #[schemars(length(max = 39))]
    pub available: String,
    /// Addresses kept for a holder to come.
    #[schemars(length(max = 39))]
    pub reserved: String,
}

/// The printer columns; `IPv4 + IPv6` where a pool has both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolSummary {
    /// The first blocks, and how many more there are.
    #[schemars(length(max = 256))]
    pub blocks: String,
    /// Addresses the pool covers.
    #[schemars(length(max = 96))]
    pub total: String,
    /// Addresses that have a holder.
    #[schemars(length(max = 96))]
    pub assigned: String,
    /// Addresses kept for a holder to come.
    #[serde(default)]
    #[schemars(length(max = 96))]
    pub reserved: String,
    /// Addresses that a new Service could be given.
    #[schemars(length(max = 96))]
    pub available: String,
}
