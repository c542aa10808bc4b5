//! Solicited-node groups: joined through the kernel, which sends the listener reports, and counted.
//!
//! Addresses that share their last 24 bits share a group, so a group is left with its last address. The count is pure
//! ([`GroupSet`]); the sockets that hold the memberships are [`Groups`].

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::Ipv6Addr;

use landfall_wire::ndp::solicited_node;
use socket2::{Domain, Socket, Type};

use super::IfIndex;

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

    /// The groups needed.
    pub fn keys(&self) -> impl Iterator<Item = GroupKey> {
        self.addresses.keys().copied()
    }

    /// The groups needed on an interface.
    pub fn on(&self, ifindex: IfIndex) -> impl Iterator<Item = GroupKey> {
        let all = (ifindex, Ipv6Addr::UNSPECIFIED)..=(ifindex, Ipv6Addr::from(u128::MAX));
        self.addresses.range(all).map(|(key, _)| *key)
    }

    /// Whether none is needed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }
}

/// The memberships of this process. The kernel bounds the memory of one socket, so there may be several; one that
/// holds none any more is closed.
#[derive(Debug, Default)]
pub struct Groups {
    sockets: BTreeMap<usize, Holder>,
    joined: BTreeMap<GroupKey, usize>,
}

#[derive(Debug)]
struct Holder {
    socket: Socket,
    held: usize,
    /// It has refused one more, and given none up since.
    full: bool,
}

impl Groups {
    /// Joins a group; joining anew makes the kernel report it again.
    ///
    /// # Errors
    /// The operating system's: `ENODEV` or `EADDRNOTAVAIL` on an interface without IPv6.
    pub fn join(&mut self, key: GroupKey) -> io::Result<()> {
        let (ifindex, group) = key;
        self.leave(key);
        for (&at, holder) in self.sockets.iter_mut().filter(|(_, holder)| !holder.full) {
            match holder.socket.join_multicast_v6(&group, ifindex) {
                Err(error) if is_full(&error) => holder.full = true,
                result => {
                    result?;
                    holder.held += 1;
                    self.joined.insert(key, at);
                    return Ok(());
                }
            }
        }
        let socket = Socket::new(Domain::IPV6, Type::DGRAM, None)?;
        socket.join_multicast_v6(&group, ifindex)?;
        let at = self.sockets.last_key_value().map_or(0, |(at, _)| at + 1);
        let holder = Holder {
            socket,
            held: 1,
            full: false,
        };
        self.sockets.insert(at, holder);
        self.joined.insert(key, at);
        Ok(())
    }

    /// Leaves a group, if joined. An interface that has gone took its memberships along.
    pub fn leave(&mut self, key: GroupKey) {
        let Some(at) = self.joined.remove(&key) else {
            return;
        };
        let Some(holder) = self.sockets.get_mut(&at) else {
            return;
        };
        let (ifindex, group) = key;
        let _ = holder.socket.leave_multicast_v6(&group, ifindex);
        holder.full = false;
        holder.held -= 1;
        if holder.held == 0 {
            self.sockets.remove(&at);
        }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.joined.len()
    }

    /// Whether none is joined.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.joined.is_empty()
    }

    /// Whether this one is joined.
    #[must_use]
    pub fn has(&self, key: GroupKey) -> bool {
        self.joined.contains_key(&key)
    }

    /// Sockets that hold the memberships.
    #[must_use]
    pub fn sockets(&self) -> usize {
        self.sockets.len()
    }
}

/// The groups of an interface that the kernel listens for, whoever has joined them.
///
/// # Errors
/// When it does not say.
pub fn kernel_groups(ifindex: IfIndex) -> io::Result<BTreeSet<GroupKey>> {
    // Of the network namespace of this thread.
    let text = std::fs::read_to_string("/proc/thread-self/net/igmp6")?;
    Ok(read_groups(&text, ifindex))
}

/// Index, name, group in hexadecimal digits, and more.
fn read_groups(text: &str, ifindex: IfIndex) -> BTreeSet<GroupKey> {
    let group = |line: &str| {
        let mut words = line.split_whitespace();
        let index: IfIndex = words.next()?.parse().ok()?;
        let group = u128::from_str_radix(words.nth(1)?, 16).ok()?;
        (index == ifindex).then_some((index, Ipv6Addr::from(group)))
    };
    text.lines().filter_map(group).collect()
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::ENOMEM))
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

    #[test]
    fn the_kernel_s_list_is_read_by_interface() {
        let text = "1    lo              ff020000000000000000000000000001     1 0000000C 0\n\
                    2    eth0            ff0200000000000000000001ff000064     1 00000004 0\n\
                    2    eth0            ff020000000000000000000000000001     1 0000000C 0\n\
                    nonsense\n2 eth0 nonsense\n";
        let groups = ["ff02::1", "ff02::1:ff00:64"].map(|group| (2, group.parse().unwrap()));
        assert_eq!(read_groups(text, 2), BTreeSet::from(groups));
    }

    /// The memberships on the loopback device, which is always there; the kernel bounds them for each socket.
    fn many(groups: &mut Groups, numbers: std::ops::Range<u32>) {
        for number in numbers {
            groups.join(lowest(number)).unwrap();
        }
    }

    fn lowest(number: u32) -> GroupKey {
        let group = solicited_node(Ipv6Addr::from(u128::from(number)));
        (1, group)
    }

    #[test]
    fn churn_takes_no_more_sockets_than_the_groups_that_are_held() {
        if Groups::default().join(lowest(1)).is_err() {
            landfall_testbed::skipped(
                "churn_takes_no_more_sockets_than_the_groups_that_are_held",
                "IPv6 on the loopback device",
            );
            return;
        }
        let (mut groups, some) = (Groups::default(), 6_000);
        many(&mut groups, 0..some);
        let sockets = groups.sockets();
        assert!(sockets > 1, "so many fit into one");
        // Each time the oldest go, the room is in the first socket and not in the last.
        for round in 0..20 {
            for number in 0..100 {
                groups.leave(lowest(round * 100 + number));
            }
            many(&mut groups, some + round * 100..some + (round + 1) * 100);
            assert!(groups.sockets() <= sockets + 1, "{}", groups.sockets());
        }
        assert_eq!(groups.len(), 6_000);
        for number in 0..2 * some {
            groups.leave(lowest(number));
        }
        assert!(groups.is_empty());
        assert_eq!(groups.sockets(), 0, "nothing is held for nothing");
    }
}
