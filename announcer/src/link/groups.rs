//! Solicited-node groups: joined through the kernel, which sends the listener reports.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::Ipv6Addr;

use socket2::{Domain, Socket, Type};

use super::IfIndex;

/// A group on an interface.
pub type GroupKey = (IfIndex, Ipv6Addr);

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
    use landfall_wire::ndp::solicited_node;

    use super::*;

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
