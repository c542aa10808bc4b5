//! The API group `landfall.dev/v1alpha1`: what people apply and what the parts of Landfall tell
//! each other through the API server.
//!
//! ```text
//! LoadBalancerIPPool ── where addresses come from         (written by people)
//! LoadBalancerIP     ── one object per address in use      (spec: controller, status: announcer)
//! L2AnnouncementPolicy ─ what is announced, and from where (written by people)
//! L2Node ────────────── one object per announcing node     (written by its announcer)
//! ```
//!
//! Beside it stands what is read of the Gateway API, in [`gateway_api`].
//!
//! This crate holds types, names and pure functions over them: [`names`] and [`version`] are how
//! objects are told apart and states of one are ordered, [`text`] is how what others wrote gets into
//! a sentence, [`conditions`] is what is said. It knows no client and no clock. The schemas it prints
//! (`landfall-crdgen`) are committed below `config/crd`.

#![warn(missing_docs)]
#![expect(
    clippy::duplicated_attributes,
    reason = "each printer column has a type of its own"
)]
#![expect(
    unreachable_pub,
    reason = "KubeSchema copies each struct, with its visibility, into a function"
)]

pub mod annotations;
pub mod conditions;
pub mod gateway_api;
mod ip;
mod ip_name;
pub mod names;
mod node;
mod policy;
mod pool;
mod schema;
pub mod selector;
pub mod text;
pub mod version;

pub use ip::{
    Backend, Frontend, FrontendProtocol, Holder, LoadBalancerIP, LoadBalancerIPSpec,
    LoadBalancerIPStatus, MAX_BACKENDS, MAX_FRONTENDS, MAX_HOLDERS, MAX_SHARING_KEY, ObjectRef,
    Owner, PoolRef, ReclaimPolicy, SHARED_AS_EXTERNAL,
};
pub use ip_name::{NameError, ip_name, parse_ip_name};
pub use names::{HolderKey, HolderKind, NodeName, PolicyName, PoolName, ServiceKey, SessionId};
pub use node::{
    L2Node, L2NodeInterface, L2NodeSpec, L2NodeStatus, L2NodeSummary, MAX_NODE_INTERFACES,
    MAX_NODE_REASON, MAX_NODES_HEARD, NodeXdp,
};
pub use policy::{
    L2AnnouncementPolicy, L2AnnouncementPolicySpec, L2AnnouncementPolicyStatus, LoadBalancing,
    PeriodError, PreferredNode,
};
pub use pool::{
    Block, ExternalIPs, FamilyCounts, FirstLastIPs, LoadBalancerIPPool, LoadBalancerIPPoolSpec,
    LoadBalancerIPPoolStatus, PoolSummary,
};
pub use version::{Known, Version};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;

/// The API group.
pub const GROUP: &str = "landfall.dev";

/// The `loadBalancerClass` that asks for Landfall by name.
pub const LOAD_BALANCER_CLASS: &str = "landfall.dev/l2";

/// Keeps a pool in use until its last address is released.
pub const DRAIN_FINALIZER: &str = "landfall.dev/drain";

/// All definitions of the group, in the order they are installed.
#[must_use]
pub fn all() -> [CustomResourceDefinition; 4] {
    [
        L2AnnouncementPolicy::crd(),
        L2Node::crd(),
        LoadBalancerIP::crd(),
        LoadBalancerIPPool::crd(),
    ]
}
