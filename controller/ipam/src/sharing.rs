//! Whether two Services may hold one address together. Symmetric: neither side is asked first.
//!
//! There are two ways: by one sharing key, on terms that both state; and by naming the address in
//! `spec.externalIPs` both, as Kubernetes lets any two Services that listen on different ports.

use std::fmt;
use std::net::IpAddr;

use crate::service::{Protocol, Service};

/// Why two Services cannot hold one address together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clash {
    /// One of them has no sharing key.
    NoKey,
    /// Their keys differ.
    OtherKey,
    /// They live in different namespaces and do not both permit it: whether the first does, and the
    /// second.
    Namespace(bool, bool),
    /// Both listen on this port.
    Port(Protocol, u16),
    /// One is `Local`, the other `Cluster`.
    TrafficPolicy,
    /// Both are `Local` with different pods and do not both permit it.
    Pods,
    /// Both name it as an external address, and are `Local` with different pods.
    ExternalPods,
    /// The holder is neither a Service nor a Gateway.
    OtherKind,
    /// The holder is not there any more.
    Gone,
}

impl fmt::Display for Clash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKey => f.write_str("it is not shared: give both the same landfall.dev/sharing-key"),
            Self::OtherKey => f.write_str(
                "the two have different values of landfall.dev/sharing-key: give both the same, \
                 or ask for another address",
            ),
            Self::Namespace(false, true) => f.write_str(
                "it is in another namespace, which this one does not permit: name it in \
                 landfall.dev/sharing-cross-namespace",
            ),
            Self::Namespace(true, _) => f.write_str(
                "it is in another namespace and does not permit this one: name it there in \
                 landfall.dev/sharing-cross-namespace",
            ),
            Self::Namespace(false, false) => f.write_str(
                "it is in another namespace: name each other's namespace in landfall.dev/sharing-cross-namespace",
            ),
            Self::Port(protocol, port) => {
                write!(f, "both listen on port {port}/{protocol}: use another port, or another address")
            }
            Self::TrafficPolicy => f.write_str(
                "the two have different values of externalTrafficPolicy: set both to Cluster or \
                 both to Local",
            ),
            Self::Pods => f.write_str(
                "both have externalTrafficPolicy Local and different pods: set \
                 landfall.dev/sharing-permit-different-pods to \"true\" on both",
            ),
            Self::ExternalPods => f.write_str(
                "both have externalTrafficPolicy Local and different pods: set both to Cluster, or \
                 use another address",
            ),
            Self::OtherKind => {
                f.write_str("only Services and Gateways share an address: ask for another one")
            }
            Self::Gone => f.write_str("it is gone, and its address is released soon: wait for it"),
        }
    }
}

/// Whether the two may share this address.
///
/// # Errors
/// The first rule they break.
pub fn compatible(one: &Service, two: &Service, address: IpAddr) -> Result<(), Clash> {
    match by_key(one, two) {
        Err(_) if one.names_external(address) && two.names_external(address) => {
            by_external(one, two)
        }
        result => result,
    }
}

/// Nobody is asked for permission, but no packet may have two receivers, and where the traffic of
/// the address goes is one decision for all of it.
fn by_external(one: &Service, two: &Service) -> Result<(), Clash> {
    apart(one, two)?;
    if one.local && one.selector != two.selector {
        return Err(Clash::ExternalPods);
    }
    Ok(())
}

fn by_key(one: &Service, two: &Service) -> Result<(), Clash> {
    let terms = |service: &Service| {
        service
            .readable()
            .and_then(|request| request.sharing.clone())
    };
    let (Some(ours), Some(theirs)) = (terms(one), terms(two)) else {
        return Err(Clash::NoKey);
    };
    if ours.key != theirs.key {
        return Err(Clash::OtherKey);
    }
    let permits = (
        ours.namespaces.admits(&two.key.namespace),
        theirs.namespaces.admits(&one.key.namespace),
    );
    if one.key.namespace != two.key.namespace && permits != (true, true) {
        return Err(Clash::Namespace(permits.0, permits.1));
    }
    apart(one, two)?;
    let same_pods = one.selector == two.selector;
    if one.local && !same_pods && !(ours.different_pods && theirs.different_pods) {
        return Err(Clash::Pods);
    }
    Ok(())
}

/// No port of theirs is the same, and their traffic policy is.
fn apart(one: &Service, two: &Service) -> Result<(), Clash> {
    if let Some(&(protocol, port)) = one.ports.intersection(&two.ports).next() {
        return Err(Clash::Port(protocol, port));
    }
    if one.local != two.local {
        return Err(Clash::TrafficPolicy);
    }
    Ok(())
}

/// Whether two that hold this address together already may go on. A request that has become
/// unreadable says nothing of sharing any more: a typing error costs nobody an address, a port
/// that both listen on does.
///
/// # Errors
/// The first rule they break.
pub fn stay_together(one: &Service, two: &Service, address: IpAddr) -> Result<(), Clash> {
    if one.request.is_ok() && two.request.is_ok() {
        return compatible(one, two, address);
    }
    match one.ports.intersection(&two.ports).next() {
        Some(&(protocol, port)) => Err(Clash::Port(protocol, port)),
        None => Ok(()),
    }
}
