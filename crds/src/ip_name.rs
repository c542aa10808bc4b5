//! The object name of an address: canonical, and one for one.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why a name is not the name of an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not the name of an address (want 192-0-2-10, or eight groups of four hex digits joined by dashes)"
)]
pub struct NameError(pub String);

/// The name of the `LoadBalancerIP` that records `address`: `192-0-2-10`, or for IPv6 all eight
/// groups in full (`2001-0db8-0000-0000-0000-0000-0000-0010`), so that equal addresses have equal
/// names and names sort as addresses do within a group.
#[must_use]
pub fn ip_name(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string().replace('.', "-"),
        IpAddr::V6(v6) => {
            let mut name = String::with_capacity(39);
            for (index, group) in v6.segments().iter().enumerate() {
                let dash = if index == 0 { "" } else { "-" };
                // Writing to a String cannot fail.
                let _ = write!(name, "{dash}{group:04x}");
            }
            name
        }
    }
}

/// The address a name stands for.
///
/// # Errors
/// When the name is not exactly what [`ip_name`] makes of an address.
pub fn parse_ip_name(name: &str) -> Result<IpAddr, NameError> {
    let address = if name.matches('-').count() == 3 {
        name.replace('-', ".").parse::<Ipv4Addr>().map(IpAddr::V4)
    } else {
        name.replace('-', ":").parse::<Ipv6Addr>().map(IpAddr::V6)
    }
    .map_err(|_| NameError(name.to_owned()))?;
    if ip_name(address) == name {
        Ok(address)
    } else {
        Err(NameError(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_canonical() {
        assert_eq!(ip_name("192.0.2.10".parse().unwrap()), "192-0-2-10");
        assert_eq!(
            ip_name("2001:db8::10".parse().unwrap()),
            "2001-0db8-0000-0000-0000-0000-0000-0010"
        );
    }

    #[test]
    fn other_spellings_of_an_address_are_not_its_name() {
        for name in [
            "192-0-2-010",
            "2001-db8-0-0-0-0-0-10",
            "2001-0DB8-0000-0000-0000-0000-0000-0010",
            "",
            "-",
            "1-2-3",
        ] {
            assert_eq!(parse_ip_name(name), Err(NameError(name.to_owned())));
        }
    }

    proptest! {
        #[test]
        fn a_name_leads_back_to_its_address(bits: u128, v4: u32) {
            for address in [IpAddr::V6(Ipv6Addr::from(bits)), IpAddr::V4(Ipv4Addr::from(v4))] {
                prop_assert_eq!(parse_ip_name(&ip_name(address)), Ok(address));
            }
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,64}") {
            let _ = parse_ip_name(&text);
        }
    }
}
