//! Reading API objects into values. Whatever cannot be read is left out or refused here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use kube::ResourceExt as _;
use landfall_bpf_lb::desired::{PodId, Protocol};
use landfall_crds::annotations;
use landfall_crds::{HolderKind, L2AnnouncementPolicy, LoadBalancerIP, parse_ip_name};
use landfall_wire::Mac;

use super::InterfacePatterns;
use super::published;
use super::world::{
    Endpoint, Gateway, Lbip, Namespace, Node, Peer, Policy, Readiness, Service, ServicePort, Slice,
    SlicePort,
};
use crate::election::SeenLease;
use crate::names::{NodeName, PolicyName, ServiceKey, SessionId, Version};

/// Why an object is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The name of a LoadBalancerIP and its address are not one.
    #[error("metadata.name {name:?} is not the name of spec.address {address:?}")]
    Address {
        name: String,
        /// What spec.address says.
        address: String,
    },
    /// An EndpointSlice that belongs to no Service.
    #[error("no label kubernetes.io/service-name")]
    NoService,
    /// A Lease that is no session's.
    #[error("its name does not begin with {prefix}", prefix = published::LEASE_PREFIX)]
    NoSession,
}

/// Reads a LoadBalancerIP.
///
/// # Errors
/// When name and address disagree: which of them others go by cannot be known.
pub fn lbip(object: &LoadBalancerIP) -> Result<Lbip, Unreadable> {
    let name = object.name_any();
    let spelled = object.spec.address.parse::<IpAddr>().ok();
    let address = parse_ip_name(&name)
        .ok()
        .filter(|address| Some(*address) == spelled);
    let Some(address) = address else {
        return Err(Unreadable::Address {
            name,
            address: object.spec.address.clone(),
        });
    };
    let of_kind = |kind: HolderKind| {
        let holders = object.spec.holders.iter();
        holders.filter(move |holder| HolderKind::parse(&holder.kind) == Some(kind))
    };
    let gateways = of_kind(HolderKind::Gateway).map(|holder| Gateway {
        namespace: holder.namespace.clone(),
        name: holder.name.clone(),
        class: holder.gateway_class.clone(),
        labels: holder.labels.clone(),
    });
    let holders = of_kind(HolderKind::Service)
        .map(|holder| {
            let key = ServiceKey::new(&holder.namespace, &holder.name);
            (key, holder.uid.clone())
        })
        .collect();
    Ok(Lbip {
        address,
        name,
        uid: object.uid().unwrap_or_default(),
        version: Version::new(object.resource_version().unwrap_or_default()),
        generation: object.metadata.generation,
        holders,
        gateways: gateways.collect(),
        frontends: object.spec.frontends.clone(),
        overruled: overruled(object),
        status: object.status.clone().unwrap_or_default(),
    })
}

/// What is no Ethernet address overrules nobody.
fn overruled(object: &LoadBalancerIP) -> BTreeSet<Mac> {
    let text = object.annotations().get(annotations::OVERRULE);
    let macs = text.into_iter().flat_map(|text| text.split(','));
    macs.filter_map(|mac| mac.trim().to_lowercase().parse().ok())
        .collect()
}

/// Reads an L2AnnouncementPolicy.
#[must_use]
pub fn policy(object: &L2AnnouncementPolicy) -> (PolicyName, Policy) {
    let (interfaces, pattern_errors) = InterfacePatterns::compile(&object.spec.interfaces);
    let policy = Policy {
        uid: object.uid().unwrap_or_default(),
        generation: object.metadata.generation,
        spec: object.spec.clone(),
        interfaces,
        pattern_errors,
        status: object.status.clone().unwrap_or_default(),
    };
    (PolicyName::new(object.name_any()), policy)
}

/// Reads a Service.
#[must_use]
pub fn service(object: &core::Service) -> (ServiceKey, Service) {
    let spec = object.spec.clone().unwrap_or_default();
    let ports = spec.ports.unwrap_or_default();
    let ports = ports.iter().filter_map(|port| {
        Some(ServicePort {
            name: port.name.clone().unwrap_or_default(),
            port: u16::try_from(port.port).ok().filter(|port| *port > 0)?,
            protocol: protocol(port.protocol.as_deref())?,
        })
    });
    let service = Service {
        uid: object.uid().unwrap_or_default(),
        labels: object.labels().clone(),
        external_ips: addresses(&spec.external_ips.unwrap_or_default()).collect(),
        local: spec.external_traffic_policy.as_deref() == Some("Local"),
        client_ip_affinity: spec.session_affinity.as_deref() == Some("ClientIP"),
        source_ranges: spec
            .load_balancer_source_ranges
            .is_some_and(|ranges| !ranges.is_empty()),
        ports: ports.collect(),
        generation: object.metadata.generation,
        conditions: object
            .status
            .clone()
            .and_then(|s| s.conditions)
            .unwrap_or_default(),
    };
    (service_key(object.namespace(), object.name_any()), service)
}

/// Reads an EndpointSlice: the Service it belongs to, its own name, and what it holds.
///
/// # Errors
/// When it belongs to no Service.
pub fn slice(object: &discovery::EndpointSlice) -> Result<(ServiceKey, String, Slice), Unreadable> {
    let service = object
        .labels()
        .get("kubernetes.io/service-name")
        .filter(|name| !name.is_empty())
        .ok_or(Unreadable::NoService)?;
    let ports = object.ports.iter().flatten().filter_map(|port| {
        Some(SlicePort {
            name: port.name.clone().unwrap_or_default(),
            port: u16::try_from(port.port?).ok().filter(|port| *port > 0)?,
            protocol: protocol(port.protocol.as_deref())?,
        })
    });
    let endpoints = object.endpoints.iter().filter_map(|endpoint| {
        Some(Endpoint {
            address: addresses(&endpoint.addresses).next()?,
            node: endpoint.node_name.clone().map(NodeName::new),
            readiness: readiness(endpoint.conditions.as_ref()),
            pod: pod(endpoint.target_ref.as_ref()),
        })
    });
    let slice = Slice {
        ports: ports.collect(),
        endpoints: endpoints.collect(),
    };
    Ok((
        service_key(object.namespace(), service.clone()),
        object.name_any(),
        slice,
    ))
}

/// An address that was given to another pod is another endpoint.
fn pod(target: Option<&core::ObjectReference>) -> PodId {
    target
        .and_then(|target| target.uid.as_deref())
        .map(PodId::of)
        .unwrap_or_default()
}

/// Absent conditions mean ready, as the API defines them.
fn readiness(conditions: Option<&discovery::EndpointConditions>) -> Readiness {
    let ready = conditions.and_then(|c| c.ready).unwrap_or(true);
    let serving = conditions.and_then(|c| c.serving).unwrap_or(ready);
    let terminating = conditions.and_then(|c| c.terminating).unwrap_or(false);
    match (ready, serving, terminating) {
        (true, _, _) => Readiness::Ready,
        (false, true, true) => Readiness::Draining,
        _ => Readiness::Unready,
    }
}

/// Reads a Node.
#[must_use]
pub fn node(object: &core::Node) -> (NodeName, Node) {
    let status = object.status.clone().unwrap_or_default();
    let internal: Vec<String> = status
        .addresses
        .unwrap_or_default()
        .into_iter()
        .filter(|address| address.type_ == "InternalIP")
        .map(|address| address.address)
        .collect();
    let spec = object.spec.clone().unwrap_or_default();
    let taints = spec.taints.unwrap_or_default();
    let node = Node {
        uid: object.uid().unwrap_or_default(),
        labels: object.labels().clone(),
        addresses: addresses(&internal).collect(),
        out_of_service: taints
            .iter()
            .any(|t| t.key == "node.kubernetes.io/out-of-service"),
        cordoned: spec.unschedulable.unwrap_or_default(),
    };
    (NodeName::new(object.name_any()), node)
}

/// Reads a namespace.
#[must_use]
pub fn namespace(name: String, labels: &BTreeMap<String, String>) -> (String, Namespace) {
    (
        name,
        Namespace {
            labels: labels.clone(),
        },
    )
}

/// Reads a session Lease.
///
/// # Errors
/// When its name is not a session's.
pub fn lease(object: &Lease) -> Result<(NodeName, Peer), Unreadable> {
    let name = object.name_any();
    let node = name
        .strip_prefix(published::LEASE_PREFIX)
        .ok_or(Unreadable::NoSession)?;
    let spec = object.spec.clone().unwrap_or_default();
    let seconds = spec
        .lease_duration_seconds
        .and_then(|s| u64::try_from(s).ok())
        .unwrap_or(15);
    let said = published::read(object.annotations());
    let peer = Peer {
        lease: SeenLease {
            session: spec
                .holder_identity
                .filter(|id| !id.is_empty())
                .map(SessionId::new),
            version: Version::new(object.resource_version().unwrap_or_default()),
            duration: Duration::from_secs(seconds),
        },
        interfaces: said.interfaces,
        xdp: said.xdp,
        leaving: said.leaving,
        keys: said.keys,
        fenced_by: published::fenced_by(object.annotations()),
        wronged_by: said.wronged_by,
        fenced_at: said.fenced_at,
        unsteady: said.unsteady,
        carries: said.carries,
    };
    Ok((NodeName::new(node), peer))
}

fn service_key(namespace: Option<String>, name: String) -> ServiceKey {
    ServiceKey::new(namespace.unwrap_or_default(), name)
}

fn protocol(name: Option<&str>) -> Option<Protocol> {
    match name {
        None | Some("TCP") => Some(Protocol::Tcp),
        Some("UDP") => Some(Protocol::Udp),
        Some(_) => None,
    }
}

fn addresses(texts: &[String]) -> impl Iterator<Item = IpAddr> + '_ {
    texts.iter().filter_map(|text| text.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_record_whose_name_is_not_its_address_is_refused() {
        let object = |name: &str, address: &str| -> LoadBalancerIP {
            serde_json::from_value(json!({
                "apiVersion": "landfall.dev/v1alpha1", "kind": "LoadBalancerIP",
                "metadata": {"name": name}, "spec": {"address": address},
            }))
            .unwrap()
        };
        assert!(lbip(&object("192-0-2-1", "192.0.2.1")).is_ok());
        assert!(lbip(&object("192-0-2-2", "192.0.2.1")).is_err());
        assert!(lbip(&object("192-0-2-1", "nonsense")).is_err());
    }

    /// Whether a node answers is for its announcer to say: of a kubelet that is gone nothing follows for that.
    #[test]
    fn a_node_that_kubernetes_calls_not_ready_is_the_same_node_and_an_out_of_service_one_is_not() {
        let of = |ready: &str, taints: &[&str]| {
            let taints: Vec<_> = taints
                .iter()
                .flat_map(|key| {
                    ["NoSchedule", "NoExecute"].map(|effect| json!({"key": key, "effect": effect}))
                })
                .collect();
            let object = serde_json::from_value(json!({
                "apiVersion": "v1", "kind": "Node",
                "metadata": {"name": "n1", "uid": "u1"},
                "spec": {"taints": taints},
                "status": {
                    "addresses": [{"type": "InternalIP", "address": "192.0.2.1"}],
                    "conditions": [{"type": "Ready", "status": ready}],
                },
            }));
            node(&object.unwrap())
        };
        let ready = of("True", &[]);
        for (status, taint) in [("False", "not-ready"), ("Unknown", "unreachable")] {
            let taint = format!("node.kubernetes.io/{taint}");
            assert_eq!(of(status, &[&taint]), ready);
            let gone = of(status, &[&taint, "node.kubernetes.io/out-of-service"]);
            assert!(gone.1.out_of_service && gone != ready);
        }
    }

    #[test]
    fn endpoints_are_ready_draining_or_unready() {
        let of = |ready, serving, terminating| {
            readiness(Some(&discovery::EndpointConditions {
                ready,
                serving,
                terminating,
            }))
        };
        assert_eq!(readiness(None), Readiness::Ready);
        assert_eq!(of(None, None, None), Readiness::Ready);
        assert_eq!(of(Some(false), Some(true), Some(true)), Readiness::Draining);
        assert_eq!(of(Some(false), Some(false), Some(true)), Readiness::Unready);
        assert_eq!(of(Some(false), None, None), Readiness::Unready);
    }

    #[test]
    fn ports_that_cannot_be_balanced_are_left_out() {
        let object: core::Service = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"ports": [
                {"port": 80}, {"port": 53, "protocol": "UDP"},
                {"port": 9, "protocol": "SCTP"}, {"port": 70000},
            ], "externalIPs": ["192.0.2.7", "not an address"]},
        }))
        .unwrap();
        let (key, service) = service(&object);
        assert_eq!(key.to_string(), "shop/web");
        assert_eq!(
            service.ports.iter().map(|p| p.port).collect::<Vec<_>>(),
            [80, 53]
        );
        assert_eq!(service.external_ips.len(), 1);
    }

    #[test]
    fn a_session_lease_without_annotations_has_no_interfaces() {
        let object: Lease = serde_json::from_value(json!({
            "metadata": {"name": "announcer-n1", "resourceVersion": "4"},
            "spec": {"holderIdentity": "s1", "leaseDurationSeconds": 15},
        }))
        .unwrap();
        let (node, peer) = lease(&object).unwrap();
        assert_eq!((node.as_str(), peer.interfaces.len()), ("n1", 0));
        assert_eq!(peer.lease.session, Some(SessionId::new("s1")));
    }
}
