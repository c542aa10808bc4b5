//! Which links may announce: a pure rule over what netlink said.
//!
//! Some links never can (down, loopback, without Ethernet address, NOARP, enslaved). Of the others a policy without
//! patterns means those that are not a container's: a matter of names and addresses, and the list below is the documented
//! one. What a policy with patterns means is said where policies are read.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::Link;
use crate::Mac;

/// Names container runtimes, network plugins, tunnels and kube-proxy give to interfaces that lead to pods, or nowhere.
/// A trailing `*` matches any rest, a trailing `#` none, or one that begins with a digit or one of `-_.`: `gre#` is
/// not `green0`. Docker's `br-` and twelve hexadecimal digits is known besides. `docs/reference/announcing.md` has them all.
#[rustfmt::skip]
pub const CONTAINER_INTERFACES: &[&str] = &[
    "antrea-*", "azv*", "cali*", "cbr0", "cilium_*", "cni#", "docker#", "dummy#", "erspan#", "flannel#", "genev_sys_*",
    "gre#", "gretap#", "ifb#", "ip6_vti#", "ip6gre#", "ip6tnl#", "ip_vti#", "kube-*", "lxc*", "lxdbr#", "nerdctl#",
    "nodelocaldns", "ovn-*", "ovs-system", "podman#", "sit#", "tailscale#", "tap#", "tun#", "tunl#", "veth*", "virbr#",
    "vnet#", "vxlan#", "weave", "wg#", "wireguard.cali",
];

/// Whether a name is one of a pattern of [`CONTAINER_INTERFACES`].
fn is_like(name: &str, pattern: &str) -> bool {
    if let Some(prefix) = pattern.strip_suffix('*') {
        return name.starts_with(prefix);
    }
    let Some(prefix) = pattern.strip_suffix('#') else {
        return name == pattern;
    };
    let begins = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit() || "-_.".contains(c));
    name.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || begins(rest))
}

/// Why a link may not announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// Administratively down.
    Down,
    /// No carrier.
    NoCarrier,
    /// The loopback device.
    Loopback,
    /// The device does not speak ARP.
    NoArp,
    /// No Ethernet address.
    NoMac,
    /// Part of a bridge, bond or team: its master announces.
    Enslaved,
}

impl Link {
    /// Whether the link can carry announcements at all, whatever any policy says.
    ///
    /// # Errors
    /// Why not.
    pub fn usable(&self) -> Result<(), Refusal> {
        let checks = [
            (self.loopback, Refusal::Loopback),
            (self.noarp, Refusal::NoArp),
            (!self.mac.is_some_and(Mac::is_station), Refusal::NoMac),
            (self.master.is_some(), Refusal::Enslaved),
            (!self.up, Refusal::Down),
            (!self.carrier, Refusal::NoCarrier),
        ];
        checks
            .iter()
            .find(|(refused, _)| *refused)
            .map_or(Ok(()), |(_, refusal)| Err(*refusal))
    }

    /// Whether it looks like a container's: by its name, or virtual without an address of a segment of its own.
    #[must_use]
    pub fn is_container(&self) -> bool {
        let named = CONTAINER_INTERFACES
            .iter()
            .any(|pattern| is_like(&self.name, pattern))
            || is_docker_bridge(&self.name);
        let is_virtual = matches!(
            self.kind.as_deref(),
            Some("veth" | "netkit" | "dummy" | "tun")
        );
        named || (is_virtual && !self.addresses.iter().any(is_segment))
    }

    /// Its addresses by which hosts of its segments reach it for as long as it is there: global ones that are not host
    /// routes, and not those that only pass.
    pub fn own_addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let own = self.addresses.iter();
        own.filter(|network| is_segment(network) && !self.passing.contains(network))
            .map(IpNetwork::ip)
    }
}

fn is_docker_bridge(name: &str) -> bool {
    name.strip_prefix("br-")
        .is_some_and(|id| id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// An address that puts the interface on a segment with others: global, and not a host route.
fn is_segment(network: &IpNetwork) -> bool {
    match network.ip() {
        IpAddr::V4(address) => {
            !address.is_link_local() && !address.is_loopback() && network.prefix() < 32
        }
        IpAddr::V6(address) => {
            !address.is_unicast_link_local() && !address.is_loopback() && network.prefix() < 128
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_list_is_documented() {
        let page = include_str!("../../../../docs/reference/announcing.md");
        for pattern in CONTAINER_INTERFACES {
            assert!(page.contains(&format!("`{pattern}`")), "{pattern}");
        }
    }
}
