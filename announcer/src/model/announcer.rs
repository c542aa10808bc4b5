//! What an announcer says of itself with its session.

use serde::{Deserialize, Serialize};

/// An interface that can announce: up, with carrier and an Ethernet address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Kernel name.
    pub name: String,
    /// Ethernet address.
    pub mac: String,
    /// Looks like a container's: only a policy that names it may use it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub container: bool,
}

/// Whether a node's director works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum XdpState {
    /// Not asked for.
    #[default]
    Off,
    /// Loaded.
    Ready,
    /// Could not be loaded: traffic takes the kernel's path.
    Failed,
}
