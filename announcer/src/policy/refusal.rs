//! Why an address is not announced, in words.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::compiled::Impediment;
use crate::names::ServiceKey;

/// Why an address has no candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unannounced {
    /// Nobody holds it.
    Unheld,
    /// Its holder is not there (yet, or any more).
    HolderGone(ServiceKey),
    /// No policy selects its holder.
    NoPolicy {
        service: ServiceKey,
        /// It is one of the Service's `externalIPs`.
        external: bool,
        /// How many policies there are.
        policies: usize,
    },
    /// A Gateway holds it, and no policy that selects the Gateway forwards by XDP.
    NoDirector {
        gateway: String,
        /// Policies that select it and forward by the kernel.
        kernel: Vec<String>,
        /// How many policies there are.
        policies: usize,
    },
    /// Policies select it, and none of their nodes can announce.
    NoNode {
        policies: Vec<String>,
        /// What is in the way.
        impeded: BTreeMap<Impediment, usize>,
    },
    /// `externalTrafficPolicy: Local`, and no node that could announce runs an endpoint that serves.
    NoLocalEndpoint(ServiceKey),
}

impl Unannounced {
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Unheld => "NoHolder",
            Self::HolderGone(_) => "HolderGone",
            Self::NoPolicy { .. } | Self::NoDirector { .. } => "NoMatchingPolicy",
            Self::NoNode { .. } => "NoCandidateNode",
            Self::NoLocalEndpoint(_) => "NoLocalEndpoint",
        }
    }

    #[must_use]
    pub fn message(&self, address: IpAddr) -> String {
        match self {
            Self::Unheld => format!("nobody holds {address}"),
            Self::HolderGone(service) => {
                format!("{address} is held by Service {service}, which does not exist")
            }
            Self::NoPolicy {
                service,
                external: true,
                policies,
            } => format!(
                "no L2AnnouncementPolicy announces {address}, an external IP of Service {service} \
                 ({policies} looked at); set externalIPs: true in a policy that selects it"
            ),
            Self::NoPolicy {
                service,
                external: false,
                policies,
            } => format!(
                "no L2AnnouncementPolicy selects Service {service} for {address} ({policies} \
                 looked at); create one, or widen its serviceSelector or namespaceSelector"
            ),
            Self::NoDirector {
                gateway,
                kernel,
                policies,
            } if kernel.is_empty() => format!(
                "no L2AnnouncementPolicy selects Gateway {gateway} for {address} ({policies} \
                 looked at); create one with loadBalancing: XDP, or widen its gatewaySelector, \
                 gatewayClasses or namespaceSelector"
            ),
            Self::NoDirector {
                gateway, kernel, ..
            } => format!(
                "{address} is Gateway {gateway}'s, which the XDP director alone can serve, and policy {} \
                 forwards by the kernel; set loadBalancing: XDP there, or in another policy for it",
                kernel.join(", ")
            ),
            Self::NoNode { policies, impeded } if impeded.is_empty() => format!(
                "{address} is selected by policy {}, whose nodeSelector matches no node",
                policies.join(", ")
            ),
            Self::NoNode { policies, impeded } => {
                let parts: Vec<_> = impeded
                    .iter()
                    .map(|(impediment, nodes)| {
                        let s = if *nodes == 1 { "" } else { "s" };
                        format!("{nodes} node{s} {}", impediment.explain())
                    })
                    .collect();
                format!(
                    "no node can announce {address} under policy {}: {}",
                    policies.join(", "),
                    parts.join(", ")
                )
            }
            Self::NoLocalEndpoint(service) => format!(
                "Service {service} has externalTrafficPolicy: Local, and no node that may \
                 announce {address} runs an endpoint of it that serves"
            ),
        }
    }
}
