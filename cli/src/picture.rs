//! What was read of a cluster, and what could not be. Values alone.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::core::PartialObjectMeta;
use landfall_controller::gateway::Gateway;
use landfall_controller::survey::Objects;
use landfall_crds::gateway_api::{GatewayClass, ListenerSet, ReferenceGrant, TCPRoute, UDPRoute};
use landfall_crds::{L2AnnouncementPolicy, L2Node, LoadBalancerIP, LoadBalancerIPPool};
use serde::Deserialize;

/// Where Landfall runs.
pub(crate) const NAMESPACE: &str = "landfall-system";
/// The Deployment, its Lease and its container image.
pub(crate) const CONTROLLER: &str = "landfall-controller";
/// The DaemonSet and its container image.
pub(crate) const ANNOUNCER: &str = "landfall-announcer";

/// Why objects of a kind could not be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hidden {
    /// Whoever asks may not.
    Forbidden,
    /// The kind is not served.
    Absent,
}

impl fmt::Display for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Forbidden => "you may not list them",
            Self::Absent => "the cluster does not know the kind",
        })
    }
}

/// Objects of one kind, or why there are none to be seen.
#[derive(Clone, Debug)]
pub(crate) enum Sight<T> {
    Seen(Vec<T>),
    Hidden(Hidden),
}

impl<T> Default for Sight<T> {
    fn default() -> Self {
        Self::Seen(Vec::new())
    }
}

impl<T> Sight<T> {
    /// What is seen; nothing where nothing can be.
    pub(crate) fn all(&self) -> &[T] {
        match self {
            Self::Seen(all) => all,
            Self::Hidden(_) => &[],
        }
    }

    pub(crate) fn hidden(&self) -> Option<Hidden> {
        match self {
            Self::Seen(_) => None,
            Self::Hidden(why) => Some(*why),
        }
    }

    pub(crate) fn is_seen(&self) -> bool {
        self.hidden().is_none()
    }
}

/// The cluster as far as it could be read at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Picture {
    pub(crate) deployments: Sight<Deployment>,
    pub(crate) daemon_sets: Sight<DaemonSet>,
    /// Landfall's own.
    pub(crate) pods: Sight<Pod>,
    /// Those of Landfall's namespace.
    pub(crate) leases: Sight<Lease>,
    /// What announcers say of their nodes.
    pub(crate) l2_nodes: Sight<L2Node>,
    pub(crate) pools: Sight<LoadBalancerIPPool>,
    pub(crate) records: Sight<LoadBalancerIP>,
    pub(crate) policies: Sight<L2AnnouncementPolicy>,
    pub(crate) services: Sight<Service>,
    /// The only namespace whose Services could be read.
    pub(crate) services_of: Option<String>,
    pub(crate) namespaces: Sight<PartialObjectMeta<Namespace>>,
    pub(crate) nodes: Sight<Node>,
    pub(crate) service_cidrs: Sight<ServiceCIDR>,
    pub(crate) gateways: Sight<Gateway>,
    pub(crate) gateway_classes: Sight<GatewayClass>,
    pub(crate) listener_sets: Sight<ListenerSet>,
    pub(crate) tcp_routes: Sight<TCPRoute>,
    pub(crate) udp_routes: Sight<UDPRoute>,
    pub(crate) grants: Sight<ReferenceGrant>,
    /// Events about the object that is asked about.
    pub(crate) events: Sight<Event>,
}

impl Picture {
    pub(crate) fn controller(&self) -> Option<&Deployment> {
        let mut all = self.deployments.all().iter();
        all.find(|found| found.metadata.name.as_deref() == Some(CONTROLLER))
    }

    pub(crate) fn announcer(&self) -> Option<&DaemonSet> {
        let mut all = self.daemon_sets.all().iter();
        all.find(|found| found.metadata.name.as_deref() == Some(ANNOUNCER))
    }

    /// What the controller looks at.
    pub(crate) fn objects(&self) -> Objects {
        Objects {
            pools: self.pools.all().to_vec(),
            records: self.records.all().to_vec(),
            services: self.services.all().to_vec(),
            namespaces: self.namespaces.all().to_vec(),
            nodes: self.nodes.all().to_vec(),
            service_cidrs: self.service_cidrs.all().to_vec(),
            gateways: self.gateways.all().to_vec(),
            classes: self.gateway_classes.all().to_vec(),
            listener_sets: self.listener_sets.all().to_vec(),
            tcp_routes: self.tcp_routes.all().to_vec(),
            udp_routes: self.udp_routes.all().to_vec(),
            grants: self.grants.all().to_vec(),
        }
    }

    /// The kinds that could not be read for want of rights.
    pub(crate) fn forbidden(&self) -> Vec<&'static str> {
        let all = [
            ("Deployments of landfall-system", self.deployments.hidden()),
            ("DaemonSets of landfall-system", self.daemon_sets.hidden()),
            ("Pods of landfall-system", self.pods.hidden()),
            ("Leases of landfall-system", self.leases.hidden()),
            ("L2Nodes", self.l2_nodes.hidden()),
            ("LoadBalancerIPPools", self.pools.hidden()),
            ("LoadBalancerIPs", self.records.hidden()),
            ("L2AnnouncementPolicies", self.policies.hidden()),
            ("Services", self.services.hidden()),
            ("Namespaces", self.namespaces.hidden()),
            ("Nodes", self.nodes.hidden()),
        ];
        let forbidden = all
            .into_iter()
            .filter(|(_, why)| *why == Some(Hidden::Forbidden));
        forbidden.map(|(kind, _)| kind).collect()
    }
}

/// Session Leases are called this, followed by the node's name.
const SESSION: &str = "announcer-";
/// And those they are renewed in, this.
const RENEWAL: &str = "renewal-";
/// What an announcer publishes with its session.
const PUBLISHED: &str = "landfall.dev/announcer";

/// As much of what an announcer publishes as people ask about. What a later version may say besides is let be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Published {
    pub(crate) interfaces: Vec<Interface>,
    pub(crate) xdp: String,
    pub(crate) leaving: bool,
    /// The node that lately ended its session although others heard it.
    pub(crate) wronged_by: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Interface {
    pub(crate) name: String,
}

/// One announcer's session, as its Leases have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    /// Nobody has ended it. Whether it is still renewed, the time of the last renewal says.
    pub(crate) held: bool,
    /// Since when it is not renewed any more, in seconds since the epoch.
    pub(crate) expires: Option<i64>,
    pub(crate) published: Published,
}

impl Session {
    /// Whether it lives at this second; clocks may differ by as much as half a minute.
    pub(crate) fn lives(&self, now: i64) -> bool {
        const CLOCKS: i64 = 30;
        self.held && self.expires.is_none_or(|end| now <= end + CLOCKS)
    }
}

/// Whether this is the Lease of a node's session.
pub(crate) fn is_session_of(lease: &Lease, node: &str) -> bool {
    let name = lease.metadata.name.as_deref();
    name.and_then(|name| name.strip_prefix(SESSION)) == Some(node)
}

/// The sessions, by node.
pub(crate) fn sessions(leases: &[Lease]) -> BTreeMap<String, Session> {
    let renewals = leases.iter().filter_map(|lease| {
        let node = lease.metadata.name.as_deref()?.strip_prefix(RENEWAL)?;
        Some((node, lease.spec.as_ref()?.renew_time.clone()?))
    });
    let renewals: BTreeMap<_, _> = renewals.collect();
    let sessions = leases.iter().filter_map(|lease| {
        let node = lease.metadata.name.as_deref()?.strip_prefix(SESSION)?;
        let spec = lease.spec.clone().unwrap_or_default();
        let annotations = lease.metadata.annotations.as_ref();
        let published = annotations.and_then(|all| all.get(PUBLISHED));
        let held = spec.holder_identity.is_some_and(|who| !who.is_empty());
        let renewed = [spec.renew_time.as_ref(), renewals.get(node)];
        let renewed = renewed.into_iter().flatten();
        let renewed = renewed.map(|time| time.0.as_second()).max();
        let lasts = i64::from(spec.lease_duration_seconds.unwrap_or(15));
        let session = Session {
            held,
            expires: renewed.map(|at| at + lasts),
            published: published
                .and_then(|text| serde_json::from_str(text).ok())
                .unwrap_or_default(),
        };
        Some((node.to_owned(), session))
    });
    sessions.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_later_announcer_publishes_is_read_as_far_as_it_is_known() {
        let lease = serde_json::json!({
            "metadata": {"name": "announcer-node-1", "annotations": {PUBLISHED:
                r#"{"interfaces":[{"name":"eth0","mac":"02:00:00:00:00:01"}],"xdp":"ready","moon":"full"}"#}},
            "spec": {"holderIdentity": "s", "leaseDurationSeconds": 15, "renewTime": "2026-01-01T00:00:00.000000Z"},
        });
        let sessions = sessions(&[serde_json::from_value(lease).unwrap()]);
        let session = &sessions["node-1"];
        assert_eq!(session.published.interfaces[0].name, "eth0");
        assert_eq!(session.published.xdp, "ready");
        let end = session.expires.unwrap();
        assert!(session.lives(end) && !session.lives(end + 60));
    }

    #[test]
    fn a_session_lives_as_long_as_it_is_renewed_in_the_other_lease() {
        let lease = |name: &str, at: &str| {
            let lease = serde_json::json!({
                "metadata": {"name": name},
                "spec": {"holderIdentity": "s", "leaseDurationSeconds": 15, "renewTime": at},
            });
            serde_json::from_value(lease).unwrap()
        };
        let begun = lease("announcer-n", "2026-01-01T00:00:00.000000Z");
        let at = |leases: &[Lease]| sessions(leases)["n"].expires.unwrap();
        let alone = at(std::slice::from_ref(&begun));
        let renewed = lease("renewal-n", "2026-01-01T01:00:00.000000Z");
        assert_eq!(at(&[begun, renewed]), alone + 3600);
    }

    #[test]
    fn a_session_without_a_holder_was_ended() {
        let lease = serde_json::json!({"metadata": {"name": "announcer-n"}, "spec": {"holderIdentity": ""}});
        let sessions = sessions(&[serde_json::from_value(lease).unwrap()]);
        assert!(!sessions["n"].lives(0));
    }
}
