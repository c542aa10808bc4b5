//! The solicited-node groups of what stands on the ports: joined, and joined again when that failed or was undone.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::state::Pair;
use crate::link::{self, GroupKey, GroupSet, Groups, IfIndex, LinkTable, Membership};

/// Which groups are needed, and which of them the kernel holds.
#[derive(Debug, Default)]
pub(super) struct Memberships {
    needed: GroupSet,
    groups: Groups,
    /// The IPv6 addresses of the interfaces, when last looked at.
    addresses: BTreeMap<IfIndex, Vec<IpNetwork>>,
}

impl Memberships {
    /// An address has come to an open port; [`Memberships::settle`] joins its group.
    pub(super) fn add(&mut self, (address, ifindex): Pair) {
        if let IpAddr::V6(address) = address {
            let _ = self.needed.add(ifindex, address);
        }
    }

    /// An address, or its port, has gone.
    pub(super) fn remove(&mut self, (address, ifindex): Pair) {
        let IpAddr::V6(address) = address else { return };
        if let Some(Membership::Leave(key)) = self.needed.remove(ifindex, address) {
            self.groups.leave(key);
        }
    }

    /// Whether every group that is needed is joined.
    pub(super) fn is_settled(&self) -> bool {
        self.needed.keys().all(|key| self.groups.has(key))
    }

    /// Groups needed.
    pub(super) fn len(&self) -> usize {
        self.needed.len()
    }

    /// Joins what is needed and not joined, on these interfaces; where it cannot be, the first group and the reason.
    ///
    /// Where IPv6 goes from an interface the kernel drops its groups, whoever holds them. So when its IPv6 addresses
    /// have changed the kernel is asked which it still has.
    pub(super) fn settle(
        &mut self,
        open: impl Iterator<Item = IfIndex>,
        links: &LinkTable,
    ) -> BTreeMap<IfIndex, (GroupKey, io::Error)> {
        let mut failed = BTreeMap::new();
        let before = std::mem::take(&mut self.addresses);
        for ifindex in open {
            let addresses = ipv6_addresses(links, ifindex);
            if before
                .get(&ifindex)
                .is_some_and(|before| *before != addresses)
            {
                self.forget_dropped(ifindex);
            }
            self.addresses.insert(ifindex, addresses);
            for key in self.needed.on(ifindex) {
                if self.groups.has(key) {
                    continue;
                }
                // What fails for one group fails for all of the interface.
                if let Err(error) = self.groups.join(key) {
                    failed.insert(ifindex, (key, error));
                    break;
                }
            }
        }
        failed
    }

    /// Lets go of what the kernel has dropped; of everything, where it does not say.
    fn forget_dropped(&mut self, ifindex: IfIndex) {
        let there = link::kernel_groups(ifindex).unwrap_or_default();
        for key in self.needed.on(ifindex).filter(|key| !there.contains(key)) {
            self.groups.leave(key);
        }
    }
}

fn ipv6_addresses(links: &LinkTable, ifindex: IfIndex) -> Vec<IpNetwork> {
    let addresses = links.links.get(&ifindex).map(|link| &link.addresses);
    let ipv6 = addresses
        .into_iter()
        .flatten()
        .filter(|address| address.is_ipv6());
    ipv6.copied().collect()
}
