//! Pod addresses of one node: the lowest free address of each of its podCIDRs.
//!
//! Pure. The network address and the first address of a range (the node's side) are never given out, nor the last
//! of an IPv4 range.

use std::{collections::BTreeSet, net::IpAddr};

/// A podCIDR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cidr {
    base: u128,
    prefix: u8,
    v4: bool,
}

impl Cidr {
    /// Parses `address/length`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, length) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let prefix: u8 = length.parse().ok()?;
        let (bits, width, v4) = match address {
            IpAddr::V4(a) => (u128::from(u32::from(a)), 32, true),
            IpAddr::V6(a) => (u128::from(a), 128, false),
        };
        if prefix > width {
            return None;
        }
        let host = host_mask(width - prefix);
        Some(Self {
            base: bits & !host,
            prefix,
            v4,
        })
    }

    fn address(self, offset: u128) -> Option<IpAddr> {
        let bits = self.base.checked_add(offset)?;
        if self.v4 {
            u32::try_from(bits)
                .ok()
                .map(|bits| IpAddr::from(bits.to_be_bytes()))
        } else {
            Some(IpAddr::from(bits.to_be_bytes()))
        }
    }

    /// Lowest free address.
    fn lowest(self, taken: &BTreeSet<IpAddr>) -> Option<IpAddr> {
        let width = if self.v4 { 32 } else { 128 };
        let last = host_mask(width - self.prefix);
        let end = if self.v4 {
            last
        } else {
            last.saturating_add(1)
        };
        (2..end)
            .map_while(|offset| self.address(offset))
            .find(|address| !taken.contains(address))
    }
}

fn host_mask(bits: u8) -> u128 {
    1u128
        .checked_shl(u32::from(bits))
        .map_or(u128::MAX, |top| top - 1)
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
    pub(crate) fn assign(&mut self, ranges: &[Cidr]) -> Option<Vec<IpAddr>> {
        let addresses: Vec<IpAddr> = ranges
            .iter()
            .map(|range| range.lowest(&self.taken))
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

    fn ranges(texts: &[&str]) -> Vec<Cidr> {
        texts
            .iter()
            .map(|text| Cidr::parse(text).unwrap())
            .collect()
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
            assert_eq!(Cidr::parse(text), None, "{text}");
        }
        assert!(Cidr::parse("::/0").is_some());
    }
}
