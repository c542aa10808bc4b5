//! Pod addresses of one node: the lowest free address of each of its podCIDRs.
//!
//! Pure. The network address and the first address of a range (the node's side) are never given out, nor the last
//! of an IPv4 range.

use std::{collections::BTreeSet, net::IpAddr};

use ipnetwork::IpNetwork;

/// Parses a podCIDR, `address/length`.
pub(crate) fn range(text: &str) -> Option<IpNetwork> {
    // An address alone is no range, though the library takes it for one of a single address.
    text.contains('/').then(|| text.parse().ok()).flatten()
}

/// Lowest free address.
fn lowest(range: IpNetwork, taken: &BTreeSet<IpAddr>) -> Option<IpAddr> {
    let broadcast = range.is_ipv4().then(|| range.broadcast());
    range
        .iter()
        .skip(2)
        .take_while(|address| Some(*address) != broadcast)
        .find(|address| !taken.contains(address))
}

/// The addresses of a node's Pods.
#[derive(Debug, Default)]
pub(crate) struct PodIps {
    taken: BTreeSet<IpAddr>,
}

impl PodIps {
    /// Takes in addresses found in use.
    pub(crate) fn adopt(&mut self, addresses: &[IpAddr]) {
        self.taken.extend(addresses);
    }

    /// One address of each range, all or none.
    pub(crate) fn assign(&mut self, ranges: &[IpNetwork]) -> Option<Vec<IpAddr>> {
        let addresses: Vec<IpAddr> = ranges
            .iter()
            .map(|range| lowest(*range, &self.taken))
            .collect::<Option<_>>()?;
        self.adopt(&addresses);
        Some(addresses)
    }

    /// Gives addresses back.
    pub(crate) fn release(&mut self, addresses: &[IpAddr]) {
        for address in addresses {
            self.taken.remove(address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(texts: &[&str]) -> Vec<IpNetwork> {
        texts.iter().map(|text| range(text).unwrap()).collect()
    }

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn each_family_gets_its_lowest_free_address() {
        let mut pod_ips = PodIps::default();
        let ranges = ranges(&["10.244.1.0/24", "fd00:10:244:1::/64"]);
        assert_eq!(
            pod_ips.assign(&ranges),
            Some(ips(&["10.244.1.2", "fd00:10:244:1::2"]))
        );
        assert_eq!(
            pod_ips.assign(&ranges),
            Some(ips(&["10.244.1.3", "fd00:10:244:1::3"]))
        );
        pod_ips.release(&ips(&["10.244.1.2", "fd00:10:244:1::2"]));
        assert_eq!(
            pod_ips.assign(&ranges),
            Some(ips(&["10.244.1.2", "fd00:10:244:1::2"]))
        );
    }

    #[test]
    fn an_exhausted_range_takes_nothing_of_the_other() {
        let mut pod_ips = PodIps::default();
        let small = ranges(&["fd00::/64", "10.0.0.0/30"]);
        assert_eq!(pod_ips.assign(&small), Some(ips(&["fd00::2", "10.0.0.2"])));
        assert_eq!(pod_ips.assign(&small), None);
        assert_eq!(
            pod_ips.assign(&ranges(&["fd00::/64"])),
            Some(ips(&["fd00::3"]))
        );
    }

    #[test]
    fn adopted_addresses_are_not_given_twice() {
        let mut pod_ips = PodIps::default();
        pod_ips.adopt(&ips(&["10.244.1.2"]));
        assert_eq!(
            pod_ips.assign(&ranges(&["10.244.1.0/24"])),
            Some(ips(&["10.244.1.3"]))
        );
    }

    #[test]
    fn a_malformed_range_is_none() {
        for text in [
            "10.0.0.0",
            "10.0.0.0/33",
            "x/24",
            "fd00::/129",
            "10.0.0.0/-1",
        ] {
            assert_eq!(range(text), None, "{text}");
        }
        assert!(range("::/0").is_some());
    }
}
