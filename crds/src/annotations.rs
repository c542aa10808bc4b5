//! Annotations Landfall reads, with the aliases that let a cluster move over unchanged.

/// Addresses a Service asks for: a comma-separated list.
pub const IPS: &str = "landfall.dev/ips";
/// The pool a Service wants its addresses from.
pub const POOL: &str = "landfall.dev/pool";
/// Services with one non-empty key may share an address.
pub const SHARING_KEY: &str = "landfall.dev/sharing-key";
/// Namespaces (comma-separated, or `*`) that may share with this Service.
pub const SHARING_CROSS_NAMESPACE: &str = "landfall.dev/sharing-cross-namespace";
/// `"true"`: share although `externalTrafficPolicy: Local` selects other pods.
pub const SHARING_PERMIT_DIFFERENT_PODS: &str = "landfall.dev/sharing-permit-different-pods";
/// `"true"`: move off addresses that are `OutOfPool`.
pub const RENUMBER: &str = "landfall.dev/renumber";

/// On a LoadBalancerIP, for who administers the cluster: Ethernet addresses, separated by commas, of hosts that may answer
/// for the address without keeping it from being announced.
pub const OVERRULE: &str = "landfall.dev/overrule";

/// On a Service: the namespace of the Gateway it was made for, by Envoy Gateway.
pub const OWNING_GATEWAY_NAMESPACE: &str = "gateway.envoyproxy.io/owning-gateway-namespace";
/// On a Service: the name of that Gateway.
pub const OWNING_GATEWAY_NAME: &str = "gateway.envoyproxy.io/owning-gateway-name";
/// On a Service: the name of the Gateway in its own namespace that it was made for, by others.
pub const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";

/// Everything that means [`IPS`], the own name first.
pub const IPS_ALIASES: [&str; 7] = [
    IPS,
    "lbipam.cilium.io/ips",
    "io.cilium/lb-ipam-ips",
    "metallb.io/loadBalancerIPs",
    "metallb.universe.tf/loadBalancerIPs",
    "kube-vip.io/loadbalancerIPs",
    "purelb.io/addresses",
];
/// Everything that means [`POOL`], the own name first.
pub const POOL_ALIASES: [&str; 4] = [
    POOL,
    "metallb.io/address-pool",
    "metallb.universe.tf/address-pool",
    "purelb.io/service-group",
];
/// Everything that means [`SHARING_KEY`], the own name first.
pub const SHARING_KEY_ALIASES: [&str; 6] = [
    SHARING_KEY,
    "lbipam.cilium.io/sharing-key",
    "io.cilium/lb-ipam-sharing-key",
    "metallb.io/allow-shared-ip",
    "metallb.universe.tf/allow-shared-ip",
    "purelb.io/allow-shared-ip",
];
/// Everything that means [`SHARING_CROSS_NAMESPACE`], the own name first.
pub const SHARING_CROSS_NAMESPACE_ALIASES: [&str; 3] = [
    SHARING_CROSS_NAMESPACE,
    "lbipam.cilium.io/sharing-cross-namespace",
    "io.cilium/lb-ipam-sharing-cross-namespace",
];
/// Everything that means [`SHARING_PERMIT_DIFFERENT_PODS`], the own name first.
pub const SHARING_PERMIT_DIFFERENT_PODS_ALIASES: [&str; 2] = [
    SHARING_PERMIT_DIFFERENT_PODS,
    "lbipam.cilium.io/sharing-permit-different-pods",
];

/// On a LoadBalancerIP, written by the controller: the uids, separated by commas, of the Services whose
/// status has named the address, where it is kept for that reason alone.
pub const SHOWN_TO: &str = "landfall.dev/shown-to";

/// The prefix of everything that is ours.
pub const PREFIX: &str = "landfall.dev/";

/// Every name of ours that a Service may carry.
pub const OWN: [&str; 6] = [
    IPS,
    POOL,
    SHARING_KEY,
    SHARING_CROSS_NAMESPACE,
    SHARING_PERMIT_DIFFERENT_PODS,
    RENUMBER,
];
