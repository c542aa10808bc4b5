//! Which interfaces a policy means. One rule, compiled when a policy is read and asked wherever it matters.

use regex::Regex;

use super::Interface;

/// A pattern that is no regular expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("interfaces[{index}] {pattern:?} is no regular expression: {message}")]
pub struct PatternError {
    /// Position in the list.
    pub index: usize,
    pub pattern: String,
    /// What is wrong with it, in one line.
    pub message: String,
}

/// The `interfaces` of a policy: regular expressions that must match a whole name. An empty list means every interface
/// that is not a container's.
#[derive(Clone, Debug)]
pub struct InterfacePatterns {
    /// The list was empty.
    every: bool,
    /// With the text they were made of.
    compiled: Vec<(String, Regex)>,
}

impl Default for InterfacePatterns {
    fn default() -> Self {
        Self {
            every: true,
            compiled: Vec::new(),
        }
    }
}

/// Equal when they were made of equal patterns: that is all they know.
impl PartialEq for InterfacePatterns {
    fn eq(&self, other: &Self) -> bool {
        fn texts(patterns: &InterfacePatterns) -> impl Iterator<Item = &String> {
            patterns.compiled.iter().map(|(text, _)| text)
        }
        self.every == other.every && texts(self).eq(texts(other))
    }
}

impl InterfacePatterns {
    /// Reads the patterns. Those that do not compile are left out and named.
    #[must_use]
    pub fn compile(patterns: &[String]) -> (Self, Vec<PatternError>) {
        let mut read = Self {
            every: patterns.is_empty(),
            compiled: Vec::new(),
        };
        let mut errors = Vec::new();
        for (index, pattern) in patterns.iter().enumerate() {
            match whole(pattern) {
                Ok(regex) => read.compiled.push((pattern.clone(), regex)),
                Err(error) => errors.push(PatternError {
                    index,
                    pattern: pattern.clone(),
                    message: last_line(&error.to_string()),
                }),
            }
        }
        (read, errors)
    }

    /// Whether one of the patterns is for this name; none is where there is none.
    #[must_use]
    pub fn names(&self, name: &str) -> bool {
        self.compiled.iter().any(|(_, regex)| regex.is_match(name))
    }

    /// The patterns that match none of these names, each with what would match one, if it was meant as a wildcard.
    #[must_use]
    pub fn idle(&self, names: &[&str]) -> Vec<(String, Option<String>)> {
        let matches = |regex: &Regex| names.iter().any(|name| regex.is_match(name));
        let idle = self.compiled.iter().filter(|(_, regex)| !matches(regex));
        let meant = |text: &str| {
            let meant = unwild(text);
            let fits = whole(&meant).is_ok_and(|regex| matches(&regex));
            fits.then_some(meant)
        };
        idle.map(|(text, _)| (text.clone(), meant(text))).collect()
    }

    /// Whether a policy with these patterns may use the interface. One whose every pattern is broken may use none: it
    /// asked for something, and not for everything.
    #[must_use]
    pub fn admits(&self, interface: &Interface) -> bool {
        if self.every {
            return !interface.container;
        }
        self.names(&interface.name)
    }
}

/// A pattern that must match a whole name.
fn whole(pattern: &str) -> Result<Regex, regex::Error> {
    // The bare pattern first: the group around it could close what is left open in it.
    Regex::new(pattern)?;
    Regex::new(&format!("^(?:{pattern})$"))
}

/// What a shell's wildcard is as a regular expression: `eth*` is `eth.*`.
fn unwild(wildcard: &str) -> String {
    let mut text = String::new();
    for character in wildcard.chars() {
        if character == '*' && !text.ends_with(['.', ']', ')', '\\']) {
            text.push('.');
        }
        text.push(character);
    }
    text
}

/// The regex crate draws the pattern in several lines; the last one says what is wrong.
fn last_line(message: &str) -> String {
    let line = message.lines().last().unwrap_or_default().trim();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

#[cfg(test)]
mod tests {
    use landfall_wire::Mac;
    use landfall_wire::link::{Link, Refusal};

    use super::*;

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
            lower: None,
            kind: kind.map(str::to_owned),
            addresses: addresses
                .iter()
                .map(|address| address.parse().unwrap())
                .collect(),
            passing: Default::default(),
        }
    }

    /// Whether a policy with these patterns may use the link; why the link can carry nothing.
    fn admitted(patterns: &[&str], link: &Link) -> Result<bool, Refusal> {
        let patterns: Vec<_> = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        let (patterns, errors) = InterfacePatterns::compile(&patterns);
        assert_eq!(errors, []);
        Ok(patterns.admits(&Interface::of(link)?))
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
            assert_eq!(
                admitted(&[], &link("net0", kind, &[])),
                Ok(true),
                "{kind:?}"
            );
            assert_eq!(
                admitted(&[], &link("net0", kind, &["192.0.2.1/24"])),
                Ok(true),
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
            assert_eq!(admitted(&[], &link), Err(refusal));
            assert_eq!(admitted(&["eth0"], &link), Err(refusal));
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
            assert_eq!(admitted(&[], &link), Ok(false), "{name}");
            assert_eq!(admitted(&[name], &link), Ok(true), "{name}");
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
            assert_eq!(admitted(&[], &link), Ok(true), "{name}");
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
            assert_eq!(admitted(&[], &link), Ok(false), "{name}");
        }
    }

    #[test]
    fn a_tap_of_a_virtual_machine_is_a_container_s_whatever_its_name() {
        let tap = link("vm7", Some("tun"), &[]);
        assert_eq!(admitted(&[], &tap), Ok(false));
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
                admitted(&[], &link("pod3", Some("veth"), addresses)),
                Ok(false),
                "{addresses:?}"
            );
        }
        assert_eq!(
            admitted(&[], &link("eth0", Some("veth"), &["192.0.2.11/24"])),
            Ok(true)
        );
        assert_eq!(
            admitted(
                &[],
                &link("eth0", Some("veth"), &["fe80::1/64", "2001:db8::11/64"])
            ),
            Ok(true)
        );
    }

    #[test]
    fn a_pattern_matches_the_whole_name() {
        let patterns = &["eth[0-9]+", "bond0|bond1"];
        assert_eq!(admitted(patterns, &link("eth10", None, &[])), Ok(true));
        assert_eq!(admitted(patterns, &link("bond1", None, &[])), Ok(true));
        for name in ["eth0.100", "xeth0", "bond0x", "xbond1"] {
            assert_eq!(
                admitted(patterns, &link(name, None, &[])),
                Ok(false),
                "{name}"
            );
        }
    }

    #[test]
    fn a_pattern_that_matches_no_interface_is_named_with_what_it_may_have_meant() {
        let texts = ["eth*", "bond0", "ens.*", "lo*", "[a-z]*9"].map(str::to_owned);
        let (patterns, _) = InterfacePatterns::compile(&texts);
        let idle = patterns.idle(&["eth0", "bond0"]);
        let idle: Vec<_> = idle
            .iter()
            .map(|(text, meant)| (text.as_str(), meant.as_deref()))
            .collect();
        assert_eq!(
            idle,
            [
                ("eth*", Some("eth.*")),
                ("ens.*", None),
                ("lo*", None),
                ("[a-z]*9", None)
            ]
        );
        assert_eq!(InterfacePatterns::default().idle(&["eth0"]), []);
    }

    #[test]
    fn a_pattern_that_does_not_compile_is_named_with_its_position_and_the_others_go_on() {
        let compiled = |patterns: &[&str]| {
            let patterns: Vec<_> = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
            InterfacePatterns::compile(&patterns)
        };
        let (patterns, errors) = compiled(&["eth0", "eth["]);
        let [error] = &errors[..] else {
            panic!("{errors:?}")
        };
        assert_eq!((error.index, error.pattern.as_str()), (1, "eth["));
        assert_eq!(
            error.to_string(),
            "interfaces[1] \"eth[\" is no regular expression: unclosed character class"
        );
        let eth0 = Interface::of(&link("eth0", None, &[])).unwrap();
        assert!(patterns.admits(&eth0));
        let (patterns, errors) = compiled(&["a)|(b"]);
        assert_eq!(
            errors.len(),
            1,
            "unbalanced parentheses must not balance with the anchor's"
        );
        assert!(
            !patterns.admits(&eth0),
            "it asked for something, and not for everything"
        );
    }
}
