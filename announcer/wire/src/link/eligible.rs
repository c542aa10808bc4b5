//! Which links may announce: a pure rule over what netlink said.
//!
//! Some links never can (down, loopback, without Ethernet address, NOARP, enslaved). Of the others, those that a policy
//! names by a pattern may; without patterns all may that are not a container's. The second is a matter of names and
//! addresses, and the list below is the documented one.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use regex::Regex;

use super::{IfIndex, Link, LinkTable};

/// Names container runtimes, network plugins, tunnels and kube-proxy give to interfaces that lead to pods, or nowhere.
/// A trailing `*` matches any rest, a trailing `#` none, or one that begins with a digit or one of `-_.`: `gre#` is
/// not `green0`. Docker's `br-` and twelve hexadecimal digits is known besides. `docs/concepts.md` has them all.
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
    /// A container interface, and no pattern names it.
    Container,
    /// There are patterns, and none names it.
    NotSelected,
}

impl Refusal {
    /// The word for it in labels and status.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::NoCarrier => "no_carrier",
            Self::Loopback => "loopback",
            Self::NoArp => "no_arp",
            Self::NoMac => "no_mac",
            Self::Enslaved => "enslaved",
            Self::Container => "container",
            Self::NotSelected => "not_selected",
        }
    }
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
            (
                !self.mac.is_some_and(super::Mac::is_station),
                Refusal::NoMac,
            ),
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

/// A pattern that is no regular expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("interfaces[{index}] {pattern:?}: {message}")]
pub struct PatternError {
    /// Position in the list.
    pub index: usize,
    /// The pattern.
    pub pattern: String,
    /// What is wrong with it, in one line.
    pub message: String,
}

/// The `interfaces` of a policy: regular expressions that must match a whole name. Empty means every eligible one.
#[derive(Clone, Debug, Default)]
pub struct InterfacePatterns(Vec<Regex>);

impl InterfacePatterns {
    /// Reads the patterns.
    ///
    /// # Errors
    /// The first that does not compile.
    pub fn compile(patterns: &[String]) -> Result<Self, PatternError> {
        let compile = |(index, pattern): (usize, &String)| {
            // The bare pattern first: the group around it could close what is left open in it.
            Regex::new(pattern)
                .and_then(|_| Regex::new(&format!("^(?:{pattern})$")))
                .map_err(|error| PatternError {
                    index,
                    pattern: pattern.clone(),
                    message: last_line(&error.to_string()),
                })
        };
        patterns
            .iter()
            .enumerate()
            .map(compile)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether `link` may announce under these patterns.
    ///
    /// # Errors
    /// Why not.
    pub fn admit(&self, link: &Link) -> Result<(), Refusal> {
        link.usable()?;
        if self.0.is_empty() {
            return if link.is_container() {
                Err(Refusal::Container)
            } else {
                Ok(())
            };
        }
        if self.0.iter().any(|pattern| pattern.is_match(&link.name)) {
            Ok(())
        } else {
            Err(Refusal::NotSelected)
        }
    }

    /// The links of `table` that may announce, by index.
    pub fn admitted<'a>(
        &'a self,
        table: &'a LinkTable,
    ) -> impl Iterator<Item = (IfIndex, &'a Link)> {
        table
            .links
            .values()
            .filter(|link| self.admit(link).is_ok())
            .map(|link| (link.index, link))
    }
}

/// The regex crate draws the pattern in several lines; the last one says what is wrong.
fn last_line(message: &str) -> String {
    let line = message.lines().last().unwrap_or_default().trim();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::Mac;

    fn link(name: &str, kind: Option<&str>, addresses: &[&str]) -> Link {
        Link {
            index: 2,
            name: name.to_owned(),
            mac: Some(Mac([2, 0, 0, 0, 0, 1])),
            up: true,
            carrier: true,
            loopback: false,
            noarp: false,
            master: None,
            kind: kind.map(str::to_owned),
            addresses: addresses
                .iter()
                .map(|address| address.parse().unwrap())
                .collect(),
        }
    }

    fn every() -> InterfacePatterns {
        InterfacePatterns::compile(&[]).unwrap()
    }

    fn named(patterns: &[&str]) -> InterfacePatterns {
        InterfacePatterns::compile(
            &patterns
                .iter()
                .map(|&pattern| pattern.to_owned())
                .collect::<Vec<_>>(),
        )
        .unwrap()
    }

    #[test]
    fn physical_bond_vlan_and_bridge_interfaces_are_eligible_with_or_without_an_address() {
        for kind in [
            None,
            Some("bond"),
            Some("vlan"),
            Some("bridge"),
            Some("macvlan"),
        ] {
            assert_eq!(every().admit(&link("net0", kind, &[])), Ok(()), "{kind:?}");
            assert_eq!(
                every().admit(&link("net0", kind, &["192.0.2.1/24"])),
                Ok(()),
                "{kind:?}"
            );
        }
    }

    #[test]
    fn what_cannot_carry_an_announcement_is_refused_with_its_reason_even_when_named() {
        type Spoil = fn(&mut Link);
        let spoil: [(Spoil, Refusal); 6] = [
            (|link| link.up = false, Refusal::Down),
            (|link| link.carrier = false, Refusal::NoCarrier),
            (|link| link.loopback = true, Refusal::Loopback),
            (|link| link.noarp = true, Refusal::NoArp),
            (|link| link.mac = None, Refusal::NoMac),
            (|link| link.master = Some(9), Refusal::Enslaved),
        ];
        for (spoil, refusal) in spoil {
            let mut link = link("eth0", None, &["192.0.2.1/24"]);
            spoil(&mut link);
            assert_eq!(every().admit(&link), Err(refusal));
            assert_eq!(named(&["eth0"]).admit(&link), Err(refusal));
        }
    }

    #[test]
    fn container_interfaces_need_to_be_named() {
        for name in [
            "veth1a2b",
            "cali0123",
            "lxc_health",
            "cni0",
            "docker0",
            "br-0123456789ab",
            "flannel.1",
            "kube-ipvs0",
            "nodelocaldns",
        ] {
            let link = link(name, None, &["10.244.1.1/24"]);
            assert_eq!(every().admit(&link), Err(Refusal::Container), "{name}");
            assert_eq!(named(&[name]).admit(&link), Ok(()), "{name}");
        }
    }

    #[test]
    fn names_that_only_begin_like_a_container_s_are_eligible() {
        for name in [
            "site0",
            "green0",
            "tape1",
            "tunnel0",
            "wgate0",
            "dockside",
            "cnic0",
            "virbridge",
            "vxlans",
        ] {
            let link = link(name, None, &[]);
            assert_eq!(every().admit(&link), Ok(()), "{name}");
        }
        for name in [
            "sit0",
            "sit",
            "gre0",
            "gretap0",
            "tap0",
            "tap-vm1",
            "tun0",
            "wg0",
            "wg-home",
            "docker_gwbridge",
            "cni-podman0",
            "virbr0",
            "vxlan.calico",
            "vxlan_sys_4789",
            "vxlan-v6.calico",
            "flannel.1",
            "flannel-v6.1",
            "lxdbr0",
            "podman1",
            "kube-bridge",
            "ip6tnl0",
            "genev_sys_6081",
        ] {
            let link = link(name, None, &[]);
            assert_eq!(every().admit(&link), Err(Refusal::Container), "{name}");
        }
    }

    #[test]
    fn the_whole_list_is_documented() {
        let page = include_str!("../../../docs/concepts.md");
        for pattern in CONTAINER_INTERFACES {
            assert!(page.contains(&format!("`{pattern}`")), "{pattern}");
        }
    }

    #[test]
    fn a_tap_of_a_virtual_machine_is_a_container_s_whatever_its_name() {
        let tap = link("vm7", Some("tun"), &[]);
        assert_eq!(every().admit(&tap), Err(Refusal::Container));
    }

    #[test]
    fn a_veth_is_a_container_s_unless_it_has_an_address_of_a_segment() {
        for addresses in [
            &[][..],
            &["169.254.1.1/32"],
            &["10.244.1.1/32"],
            &["fe80::1/64"],
            &["2001:db8::1/128"],
        ] {
            assert_eq!(
                every().admit(&link("pod3", Some("veth"), addresses)),
                Err(Refusal::Container),
                "{addresses:?}"
            );
        }
        assert_eq!(
            every().admit(&link("eth0", Some("veth"), &["192.0.2.11/24"])),
            Ok(())
        );
        assert_eq!(
            every().admit(&link(
                "eth0",
                Some("veth"),
                &["fe80::1/64", "2001:db8::11/64"]
            )),
            Ok(())
        );
    }

    #[test]
    fn a_pattern_matches_the_whole_name() {
        let patterns = named(&["eth[0-9]+", "bond0|bond1"]);
        assert_eq!(patterns.admit(&link("eth10", None, &[])), Ok(()));
        assert_eq!(patterns.admit(&link("bond1", None, &[])), Ok(()));
        for name in ["eth0.100", "xeth0", "bond0x", "xbond1"] {
            assert_eq!(
                patterns.admit(&link(name, None, &[])),
                Err(Refusal::NotSelected),
                "{name}"
            );
        }
    }

    #[test]
    fn a_pattern_that_does_not_compile_is_named_with_its_position() {
        let error =
            InterfacePatterns::compile(&["eth0".to_owned(), "eth[".to_owned()]).unwrap_err();
        assert_eq!((error.index, error.pattern.as_str()), (1, "eth["));
        assert_eq!(
            error.to_string(),
            "interfaces[1] \"eth[\": unclosed character class"
        );
        assert!(
            InterfacePatterns::compile(&["a)|(b".to_owned()]).is_err(),
            "unbalanced parentheses must not balance with the anchor's"
        );
    }
}
