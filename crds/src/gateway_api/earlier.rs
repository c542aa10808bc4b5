//! The kinds that releases before 1.6 serve in another version alone, with the same content.

use kube::CustomResource;
use serde::{Deserialize, Serialize};

use super::{GrantFrom, GrantTo, RouteSpec, RouteStatus};

/// Where the connections of TCP listeners go.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[kube(
    group = "gateway.networking.k8s.io",
    version = "v1alpha2",
    kind = "TCPRoute",
    plural = "tcproutes",
    namespaced,
    status = "RouteStatus",
    schema = "disabled",
    derive = "PartialEq"
)]
pub struct TCPRouteSpec {
    /// What is the same for both kinds.
    #[serde(flatten)]
    pub route: RouteSpec,
}

/// Where the datagrams of UDP listeners go.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[kube(
    group = "gateway.networking.k8s.io",
    version = "v1alpha2",
    kind = "UDPRoute",
    plural = "udproutes",
    namespaced,
    status = "RouteStatus",
    schema = "disabled",
    derive = "PartialEq"
)]
pub struct UDPRouteSpec {
    /// What is the same for both kinds.
    #[serde(flatten)]
    pub route: RouteSpec,
}

/// Which references into its namespace are allowed.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[kube(
    group = "gateway.networking.k8s.io",
    version = "v1beta1",
    kind = "ReferenceGrant",
    namespaced,
    schema = "disabled",
    derive = "PartialEq"
)]
pub struct ReferenceGrantSpec {
    /// Who may refer.
    #[serde(default)]
    pub from: Vec<GrantFrom>,
    /// To what.
    #[serde(default)]
    pub to: Vec<GrantTo>,
}

impl From<TCPRoute> for super::TCPRoute {
    fn from(earlier: TCPRoute) -> Self {
        Self {
            metadata: earlier.metadata,
            spec: super::TCPRouteSpec {
                route: earlier.spec.route,
            },
            status: earlier.status,
        }
    }
}

impl From<UDPRoute> for super::UDPRoute {
    fn from(earlier: UDPRoute) -> Self {
        Self {
            metadata: earlier.metadata,
            spec: super::UDPRouteSpec {
                route: earlier.spec.route,
            },
            status: earlier.status,
        }
    }
}

impl From<ReferenceGrant> for super::ReferenceGrant {
    fn from(earlier: ReferenceGrant) -> Self {
        let ReferenceGrantSpec { from, to } = earlier.spec;
        Self {
            metadata: earlier.metadata,
            spec: super::ReferenceGrantSpec { from, to },
        }
    }
}
