//! The interface on whose segment an address lives.

use std::net::IpAddr;

use anyhow::Context as _;
use ipnetwork::IpNetwork;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;

/// Of the interfaces that may be used, one with an address in the target's network, or else the first.
///
/// # Errors
/// When none is named, or the addresses of this host cannot be read.
pub fn towards(target: IpAddr, may: &[String]) -> anyhow::Result<String> {
    let has = getifaddrs().context("reading the addresses of this host")?;
    let networks = has.filter_map(|one| {
        let mask = address(&one.netmask?)?;
        let network = IpNetwork::with_netmask(address(&one.address?)?, mask).ok()?;
        Some((one.interface_name, network))
    });
    choose(target, may, &networks.collect::<Vec<_>>())
        .cloned()
        .context("no interface is named: --interfaces")
}

fn address(stored: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = stored.as_sockaddr_in().map(|found| found.ip().into());
    v4.or_else(|| stored.as_sockaddr_in6().map(|found| found.ip().into()))
}

fn choose<'a>(
    target: IpAddr,
    may: &'a [String],
    networks: &[(String, IpNetwork)],
) -> Option<&'a String> {
    let near = |name: &&String| {
        let mut own = networks.iter().filter(|(of, _)| of == *name);
        own.any(|(_, network)| network.contains(target))
    };
    may.iter().find(near).or_else(|| may.first())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interface_in_the_targets_network_comes_before_the_one_that_is_named_first() {
        let may = ["mgmt0".to_owned(), "eth0".to_owned()];
        let networks = [
            ("mgmt0".to_owned(), "198.51.100.1/24".parse().unwrap()),
            ("eth0".to_owned(), "192.0.2.1/24".parse().unwrap()),
        ];
        let chosen = |target: &str| choose(target.parse().unwrap(), &may, &networks).unwrap();
        assert_eq!(chosen("192.0.2.200"), "eth0");
        assert_eq!(chosen("203.0.113.1"), "mgmt0");
        assert_eq!(choose("192.0.2.200".parse().unwrap(), &[], &networks), None);
    }
}
