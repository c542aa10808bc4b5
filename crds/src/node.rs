//! `L2Node`: one object per node with an announcer, what it is and what it does now.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// How many interfaces a node names at most.
pub const MAX_NODE_INTERFACES: usize = 64;
/// Characters of a reason why XDP runs where it does.
pub const MAX_NODE_REASON: usize = 256;
/// How many nodes a node names at most that it hears.
pub const MAX_NODES_HEARD: usize = 64;

/// One node with an announcer. Its announcer writes it, and says nothing while nothing changes: that it lives is the
/// business of its Lease and its heartbeats. It goes with its Node.
#[derive(Clone, Debug, Default, PartialEq, CustomResource, Deserialize, Serialize, KubeSchema)]
#[kube(
    group = "landfall.dev",
    version = "v1alpha1",
    kind = "L2Node",
    plural = "l2nodes",
    shortname = "l2node",
    category = "landfall",
    status = "L2NodeStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "One node with an announcer: its session, where it answers, how it forwards, and whom it hears. Written by that announcer.",
    validation = Rule::new("self.metadata.name == self.spec.nodeName")
        .message("metadata.name must be spec.nodeName: an object stands for one node"),
    printcolumn(name = "Session", type_ = "string", json_path = ".status.session"),
    printcolumn(name = "Interfaces", type_ = "string", json_path = ".status.summary.interfaces"),
    printcolumn(name = "XDP", type_ = "string", json_path = ".status.xdp"),
    printcolumn(name = "Addresses", type_ = "integer", json_path = ".status.addresses"),
    printcolumn(name = "Hears", type_ = "string", json_path = ".status.summary.hears"),
    printcolumn(name = "Since", type_ = "date", json_path = ".status.sessionSince")
)]
#[serde(rename_all = "camelCase")]
pub struct L2NodeSpec {
    /// The node.
    #[schemars(length(min = 1, max = 253))]
    pub node_name: String,
}

/// What an announcer says of itself.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct L2NodeStatus {
    /// The session of its announcer that began last. Whether it goes on, its Lease says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40))]
    pub session: Option<String>,

    /// When that began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub session_since: Option<Time>,

    /// Interfaces that can announce now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_NODE_INTERFACES))]
    pub interfaces: Vec<L2NodeInterface>,

    /// Whether its XDP director runs.
    #[serde(default)]
    pub xdp: NodeXdp,

    /// How many addresses it owns.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub addresses: i64,

    /// Nodes whose heartbeats it hears, and that hear its own; the first ones of many.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_NODES_HEARD), inner(length(max = 253)))]
    pub hears: Vec<String>,

    /// `NodeNameConflict`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,

    /// The same as a person reads it in a table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<L2NodeSummary>,
}

/// An interface that can announce.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct L2NodeInterface {
    /// Its name.
    #[schemars(length(min = 1, max = 15))]
    pub name: String,
    /// Its Ethernet address.
    #[schemars(length(min = 17, max = 17))]
    pub mac: String,
    /// Where the programs of the XDP director run on it: `native`, `native-frags`, `tc` or `generic`; without them, nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub xdp: Option<String>,
    /// Why they do not run in the driver, unless nobody wanted that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_NODE_REASON))]
    pub why_generic: Option<String>,
}

/// Whether a node's XDP director runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum NodeXdp {
    /// No policy asks for it.
    #[default]
    Off,
    /// It runs.
    Ready,
    /// It is going: it serves the connections that it has, and new ones take the kernel's path.
    Draining,
    /// It must not run on this node: traffic takes the kernel's path.
    Disabled,
    /// It could not be started: traffic takes the kernel's path.
    Failed,
}

/// The printer columns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct L2NodeSummary {
    /// The names of the first interfaces, and how many more there are.
    #[schemars(length(max = 128))]
    pub interfaces: String,
    /// The first nodes heard, and how many more there are.
    #[schemars(length(max = 1024))]
    pub hears: String,
}
