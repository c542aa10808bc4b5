//! `L2AnnouncementPolicy`: what is announced, and from where.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// Which Services' addresses are announced at layer 2, from which nodes and interfaces.
#[derive(Clone, Debug, PartialEq, CustomResource, Deserialize, Serialize, KubeSchema)]
#[kube(
    group = "landfall.dev",
    version = "v1alpha1",
    kind = "L2AnnouncementPolicy",
    plural = "l2announcementpolicies",
    shortname = "l2policy",
    category = "landfall",
    status = "L2AnnouncementPolicyStatus",
    derive = "PartialEq",
    doc = "Which addresses are announced at layer 2, and from where.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Accepted")].status"#
    ),
    printcolumn(
        name = "Forwarding",
        type_ = "string",
        json_path = ".spec.loadBalancing"
    ),
    printcolumn(name = "Addresses", type_ = "integer", json_path = ".status.addresses"),
    printcolumn(name = "Nodes", type_ = "integer", json_path = ".status.nodes"),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct L2AnnouncementPolicySpec {
    /// Services the policy is for, by label; `io.kubernetes.service.name` and
    /// `io.kubernetes.service.namespace` stand for a Service's own name and namespace. Absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::label_selector")]
    pub service_selector: Option<LabelSelector>,

    /// Namespaces the policy is for, by label; both selectors must match. Absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::label_selector")]
    pub namespace_selector: Option<LabelSelector>,

    /// Nodes that may announce, by label. Absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::label_selector")]
    pub node_selector: Option<LabelSelector>,

    /// Interfaces that may announce: regular expressions over the whole name. Empty: every eligible one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 256)))]
    pub interfaces: Vec<String>,

    /// Announce the addresses in `status.loadBalancer`.
    #[serde(default = "yes", rename = "loadBalancerIPs")]
    pub load_balancer_ips: bool,

    /// Announce the addresses in `spec.externalIPs`.
    #[serde(default, rename = "externalIPs")]
    pub external_ips: bool,

    /// Nodes that announce rather than others, while they can.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub preferred_nodes: Vec<PreferredNode>,

    /// Who carries the traffic from the announcing node to the backends.
    #[serde(default)]
    pub load_balancing: LoadBalancing,

    /// How often to repeat announcements while nothing changes; `0s` is never.
    #[serde(default = "never")]
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(
        validation = Rule::new(r"self.matches('^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$')")
            .message("not a duration: write it like 30s or 5m; 0s is never"),
        validation = Rule::new(r"!self.matches('^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$') || duration(self) == duration('0s') || duration(self) >= duration('1s')")
            .message("too often: repeat at most once a second, or 0s for never")
    )]
    pub periodic_announcement: String,
}

const fn yes() -> bool {
    true
}

fn never() -> String {
    "0s".to_owned()
}

impl Default for L2AnnouncementPolicySpec {
    /// Every Service on every node, as the API server would default an empty spec.
    fn default() -> Self {
        Self {
            service_selector: None,
            namespace_selector: None,
            node_selector: None,
            interfaces: Vec::new(),
            load_balancer_ips: true,
            external_ips: false,
            preferred_nodes: Vec::new(),
            load_balancing: LoadBalancing::default(),
            periodic_announcement: never(),
        }
    }
}

/// Nodes to prefer, and how much.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreferredNode {
    /// Added to the preference of the nodes that match.
    #[schemars(range(min = 1, max = 100))]
    pub weight: i32,

    /// Nodes by label.
    #[schemars(schema_with = "schema::label_selector")]
    pub node_selector: LabelSelector,
}

/// Who carries the traffic from the announcing node to the backends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum LoadBalancing {
    /// kube-proxy or the CNI of the announcing node.
    #[default]
    Kernel,
    /// Landfall's XDP director.
    #[serde(rename = "XDP")]
    Xdp,
}

/// What became of a policy.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct L2AnnouncementPolicyStatus {
    /// The `metadata.generation` this is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Addresses the policy announces.
    #[serde(default)]
    pub addresses: i32,

    /// Nodes that may announce them.
    #[serde(default)]
    pub nodes: i32,

    /// `Accepted`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}
