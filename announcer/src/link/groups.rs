//! Solicited-node groups: joined through the kernel, which sends the listener reports, and counted.
//!
//! Addresses that share their last 24 bits share a group, so a group is left with its last address. The count is pure
//! ([`GroupSet`]); the sockets that hold the memberships are [`Groups`].

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::Ipv6Addr;

use socket2::{Domain, Socket, Type};

use super::IfIndex;
use crate::wire::ndp::solicited_node;

/// A group on an interface.
pub type GroupKey = (IfIndex, Ipv6Addr);

/// What has to be done for a change of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    /// The first address of a group has come.
    Join(GroupKey),
    /// The last address of a group has gone.
    Leave(GroupKey),
}

/// Which addresses need which groups.
#[derive(Clone, Debug, Default)]
pub struct GroupSet {
    addresses: BTreeMap<GroupKey, BTreeSet<Ipv6Addr>>,
}

impl GroupSet {
    /// An address has come to an interface.
    pub fn add(&mut self, ifindex: IfIndex, address: Ipv6Addr) -> Option<Membership> {
        let key = (ifindex, solicited_node(address));
        let addresses = self.addresses.entry(key).or_default();
        let first = addresses.is_empty();
        addresses.insert(address);
        first.then_some(Membership::Join(key))
    }

    /// An address has gone from an interface.
    pub fn remove(&mut self, ifindex: IfIndex, address: Ipv6Addr) -> Option<Membership> {
        let key = (ifindex, solicited_node(address));
        let addresses = self.addresses.get_mut(&key)?;
        if !addresses.remove(&address) || !addresses.is_empty() {
            return None;
        }
        self.addresses.remove(&key);
        Some(Membership::Leave(key))
    }

    /// Groups needed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.addresses.len()
    }

    /// Whether none is needed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }
}

/// The memberships of this process. The kernel bounds the memory of one socket, so there may be several.
#[derive(Debug, Default)]
pub struct Groups {
    sockets: Vec<Socket>,
    joined: BTreeMap<GroupKey, usize>,
}

impl Groups {
    /// Joins a group; joining anew makes the kernel report it again.
    ///
    /// # Errors
    /// The operating system's: `ENODEV` or `EADDRNOTAVAIL` on an interface without IPv6.
    pub fn join(&mut self, (ifindex, group): GroupKey) -> io::Result<()> {
        self.leave((ifindex, group));
        if let Some(socket) = self.sockets.last() {
            match socket.join_multicast_v6(&group, ifindex) {
                Err(error)
                    if matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::ENOMEM)) => {}
                result => {
                    result?;
                    self.joined.insert((ifindex, group), self.sockets.len() - 1);
                    return Ok(());
                }
            }
        }
        let socket = Socket::new(Domain::IPV6, Type::DGRAM, None)?;
        socket.join_multicast_v6(&group, ifindex)?;
        self.sockets.push(socket);
        self.joined.insert((ifindex, group), self.sockets.len() - 1);
        Ok(())
    }

    /// Leaves a group, if joined. An interface that has gone took its memberships along.
    pub fn leave(&mut self, (ifindex, group): GroupKey) {
        if let Some(socket) = self
            .joined
            .remove(&(ifindex, group))
            .and_then(|at| self.sockets.get(at))
        {
            let _ = socket.leave_multicast_v6(&group, ifindex);
        }
    }

    /// Groups joined.
    #[must_use]
    pub fn len(&self) -> usize {
        self.joined.len()
    }

    /// Whether none is joined.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.joined.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_joined_with_its_first_address_and_left_with_its_last() {
        let (a, b): (Ipv6Addr, Ipv6Addr) = (
            "2001:db8::1:aabb".parse().unwrap(),
            "2001:db8:1::1:aabb".parse().unwrap(),
        );
        let key = (3, "ff02::1:ff01:aabb".parse().unwrap());
        let mut groups = GroupSet::default();
        assert_eq!(groups.add(3, a), Some(Membership::Join(key)));
        assert_eq!(groups.add(3, b), None);
        assert_eq!(groups.add(3, b), None);
        assert_eq!(groups.remove(3, a), None);
        assert_eq!(groups.remove(3, a), None);
        assert_eq!(groups.remove(3, b), Some(Membership::Leave(key)));
        assert!(groups.is_empty());
    }

    #[test]
    fn the_same_group_on_two_interfaces_is_two_memberships() {
        let address = "2001:db8::1".parse().unwrap();
        let mut groups = GroupSet::default();
        assert!(matches!(
            groups.add(1, address),
            Some(Membership::Join((1, _)))
        ));
        assert!(matches!(
            groups.add(2, address),
            Some(Membership::Join((2, _)))
        ));
        assert!(matches!(
            groups.remove(1, address),
            Some(Membership::Leave((1, _)))
        ));
        assert_eq!(groups.len(), 1);
    }
}
