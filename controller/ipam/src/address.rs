//! Addresses as points on one line: both families in one `u128` space, and their families.
//!
//! IPv4 lives where IPv6 keeps its IPv4-mapped range (`::ffff:0:0/96`). That range is refused as a
//! block, so that the two never meet.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both families, IPv4 first.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() {
            Self::V4
        } else {
            Self::V6
        }
    }

    /// The other family.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::V4 => Self::V6,
            Self::V6 => Self::V4,
        }
    }

    /// The name as Kubernetes writes it: `IPv4`, `IPv6`. Also the metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A point on the line of all addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Point(pub u128);

/// Where IPv4 begins on the line.
const V4_BASE: u128 = 0xffff << 32;

impl Point {
    /// The lowest point.
    pub const MIN: Self = Self(0);
    /// The highest point.
    pub const MAX: Self = Self(u128::MAX);

    /// The point after this one, unless it is the last.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }

    /// The point before this one, unless it is the first.
    #[must_use]
    pub fn previous(self) -> Option<Self> {
        self.0.checked_sub(1).map(Self)
    }

    /// The address here.
    #[must_use]
    pub fn address(self) -> IpAddr {
        match u32::try_from(self.0 ^ V4_BASE) {
            Ok(bits) => IpAddr::V4(Ipv4Addr::from_bits(bits)),
            Err(_) => IpAddr::V6(Ipv6Addr::from_bits(self.0)),
        }
    }
}

impl From<IpAddr> for Point {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self(V4_BASE | u128::from(v4.to_bits())),
            IpAddr::V6(v6) => Self(v6.to_bits()),
        }
    }
}

/// Why an address can be no Service's, if so: the kind of range it belongs to.
#[must_use]
pub fn unusable(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) if v4.octets()[0] == 0 => Some("an unspecified address"),
        IpAddr::V4(v4) if v4.is_loopback() => Some("a loopback address"),
        IpAddr::V4(v4) if v4.is_multicast() => Some("a multicast address"),
        IpAddr::V4(v4) if v4.is_broadcast() => Some("the broadcast address"),
        IpAddr::V6(v6) if v6.is_unspecified() => Some("an unspecified address"),
        IpAddr::V6(v6) if v6.is_loopback() => Some("a loopback address"),
        IpAddr::V6(v6) if v6.is_multicast() => Some("a multicast address"),
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => Some("an IPv4-mapped address"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_ipv4_address_survives_the_line(bits: u32) {
            let address = IpAddr::V4(Ipv4Addr::from_bits(bits));
            prop_assert_eq!(Point::from(address).address(), address);
        }

        #[test]
        fn an_ipv6_address_survives_the_line(bits: u128) {
            let v6 = Ipv6Addr::from_bits(bits);
            prop_assume!(v6.to_ipv4_mapped().is_none());
            prop_assert_eq!(Point::from(IpAddr::V6(v6)).address(), IpAddr::V6(v6));
        }
    }

    #[test]
    fn neighbours_of_the_ipv4_range_are_ipv6() {
        assert!(Point(V4_BASE - 1).address().is_ipv6());
        assert!(Point(V4_BASE + (1 << 32)).address().is_ipv6());
    }
}
