//! The solicited-node groups of what stands on the ports: joined, and joined again when that failed or was undone.
//!
//! A membership waits for whatever else changes an interface of the machine, in any network namespace: Pods that come and go
//! on a CNI with a bridge hold the kernel's lock for a tenth of a second. So a thread of its own joins and leaves, and what
//! needs no group does not wait for it.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, mpsc};

use ipnetwork::IpNetwork;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::link::{self, GroupKey, Groups, IfIndex, LinkTable};

/// Which groups are needed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Each with the opening of its port: on one that was opened anew it is joined anew, and the kernel reports it again.
    pub(super) groups: BTreeMap<GroupKey, u64>,
    /// The IPv6 addresses of the open interfaces. Where IPv6 goes from an interface the kernel drops its groups, whoever holds
    /// them.
    addresses: BTreeMap<IfIndex, Vec<IpNetwork>>,
}

impl Wanted {
    pub(super) fn new(
        groups: BTreeMap<GroupKey, u64>,
        open: impl Iterator<Item = IfIndex>,
        links: &LinkTable,
    ) -> Self {
        Self {
            groups,
            addresses: open
                .map(|ifindex| (ifindex, ipv6_addresses(links, ifindex)))
                .collect(),
        }
    }
}

/// Of each interface where a group could not be joined, the first and the reason.
pub(super) type Failed = BTreeMap<IfIndex, (GroupKey, io::Error)>;

/// What the thread is asked for.
#[derive(Debug)]
struct Order {
    number: u64,
    /// Of the state that wants it.
    generation: u64,
    wanted: Arc<Wanted>,
}

/// The thread, and what it was asked for last.
#[derive(Debug)]
pub(super) struct Memberships {
    orders: mpsc::Sender<Order>,
    done: UnboundedReceiver<(Order, Failed)>,
    wanted: Arc<Wanted>,
    number: u64,
    /// Of the last state that wants it.
    generation: u64,
    settled: Settled,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Settled {
    NotYet,
    Joined,
    /// In part; it is tried again when it is wanted again.
    InPart,
}

impl Memberships {
    /// Its thread ends when this is dropped, and holds no group then.
    pub(super) fn start() -> Self {
        let (orders, taken) = mpsc::channel();
        let (doing, done) = unbounded_channel();
        tokio::task::spawn_blocking(move || work(&taken, &doing));
        Self {
            orders,
            done,
            wanted: Arc::default(),
            number: 0,
            generation: 0,
            settled: Settled::Joined,
        }
    }

    /// Whether the groups that the state of this generation wants are joined, or as many of them as can be; if not, they
    /// will be asked for, and [`Memberships::settled`] says when.
    pub(super) fn ask(&mut self, wanted: Wanted, generation: u64) -> bool {
        self.generation = generation;
        if *self.wanted != wanted || self.settled == Settled::InPart {
            self.wanted = Arc::new(wanted);
            self.number += 1;
            self.settled = Settled::NotYet;
            let order = Order {
                number: self.number,
                generation,
                wanted: Arc::clone(&self.wanted),
            };
            // The thread ends after this.
            let _ = self.orders.send(order);
        }
        self.settled != Settled::NotYet
    }

    /// Waits for the end of an order: which generation has its groups now. Cancel-safe.
    pub(super) async fn settled(&mut self) -> (u64, Failed) {
        let Some((order, failed)) = self.done.recv().await else {
            return std::future::pending().await;
        };
        if order.number != self.number {
            return (order.generation, failed);
        }
        self.settled = if failed.is_empty() {
            Settled::Joined
        } else {
            Settled::InPart
        };
        (self.generation, failed)
    }
}

/// Carries out the newest order each time, until nobody can give one.
fn work(orders: &mpsc::Receiver<Order>, done: &UnboundedSender<(Order, Failed)>) {
    let mut held = Held::default();
    while let Ok(order) = orders.recv() {
        let order = orders.try_iter().last().unwrap_or(order);
        let failed = held.settle(&order.wanted);
        if done.send((order, failed)).is_err() {
            return;
        }
    }
}

/// What the kernel holds for this process.
#[derive(Debug, Default)]
struct Held {
    groups: Groups,
    /// On which opening of its port each was joined.
    joined: BTreeMap<GroupKey, u64>,
    /// The IPv6 addresses of the interfaces, when last looked at.
    addresses: BTreeMap<IfIndex, Vec<IpNetwork>>,
}

impl Held {
    fn settle(&mut self, wanted: &Wanted) -> Failed {
        let gone = self
            .joined
            .extract_if(.., |key, opening| wanted.groups.get(key) != Some(opening));
        for (key, _) in gone {
            self.groups.leave(key);
        }
        for (ifindex, addresses) in &wanted.addresses {
            let before = self.addresses.get(ifindex);
            if before.is_some_and(|before| before != addresses) {
                self.forget_dropped(*ifindex);
            }
        }
        self.addresses.clone_from(&wanted.addresses);
        let mut failed = Failed::new();
        for (&key, &opening) in &wanted.groups {
            // What fails for one group fails for all of the interface.
            if self.joined.contains_key(&key) || failed.contains_key(&key.0) {
                continue;
            }
            match self.groups.join(key) {
                Ok(()) => drop(self.joined.insert(key, opening)),
                Err(error) => drop(failed.insert(key.0, (key, error))),
            }
        }
        failed
    }

    /// Lets go of what the kernel has dropped; of everything, where it does not say.
    fn forget_dropped(&mut self, ifindex: IfIndex) {
        let there = link::kernel_groups(ifindex).unwrap_or_default();
        let dropped = self
            .joined
            .extract_if(.., |key, _| key.0 == ifindex && !there.contains(key));
        for (key, _) in dropped {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Groups of the loopback device, which is always there.
    fn wanted(groups: &[(u16, u64)]) -> Wanted {
        let key = |number: u16| (1, format!("ff02::1:ff00:{number:x}").parse().unwrap());
        Wanted {
            groups: groups
                .iter()
                .map(|(number, opening)| (key(*number), *opening))
                .collect(),
            addresses: BTreeMap::new(),
        }
    }

    #[tokio::test]
    async fn a_state_has_its_groups_once_they_are_joined_and_at_once_if_they_were() {
        let mut memberships = Memberships::start();
        assert!(memberships.ask(wanted(&[]), 1), "nothing is needed");
        assert!(!memberships.ask(wanted(&[(1, 1)]), 2));
        assert!(!memberships.ask(wanted(&[(1, 1)]), 3), "under way");
        let (generation, failed) = memberships.settled().await;
        if !failed.is_empty() {
            let test = "a_state_has_its_groups_once_they_are_joined_and_at_once_if_they_were";
            landfall_testbed::skipped(test, "IPv6 on the loopback device");
            return;
        }
        assert_eq!(generation, 3);
        assert!(memberships.ask(wanted(&[(1, 1)]), 4));
        assert!(!memberships.ask(wanted(&[(1, 2)]), 5), "opened anew");
        assert_eq!(memberships.settled().await.0, 5);
    }

    #[tokio::test]
    async fn who_asks_for_more_and_more_hears_of_what_was_done_meanwhile() {
        let mut memberships = Memberships::start();
        memberships.ask(wanted(&[(1, 1)]), 1);
        let (generation, _) = memberships.settled().await;
        assert_eq!(generation, 1);
        memberships.ask(wanted(&[(1, 1), (2, 1)]), 2);
        // Done by now, and not looked at.
        while memberships.done.is_empty() {
            tokio::task::yield_now().await;
        }
        memberships.ask(wanted(&[(1, 1), (2, 1), (3, 1)]), 3);
        assert_eq!(memberships.settled().await.0, 2);
        assert_eq!(memberships.settled().await.0, 3);
    }

    #[test]
    fn a_group_is_held_as_long_as_it_is_wanted() {
        let mut held = Held::default();
        if !held.settle(&wanted(&[(1, 1)])).is_empty() {
            landfall_testbed::skipped(
                "a_group_is_held_as_long_as_it_is_wanted",
                "IPv6 on the loopback device",
            );
            return;
        }
        held.settle(&wanted(&[(2, 1), (3, 1)]));
        assert_eq!(held.groups.len(), 2);
        held.settle(&wanted(&[(3, 2)]));
        assert_eq!(held.groups.len(), 1);
        held.settle(&wanted(&[]));
        assert!(held.groups.is_empty() && held.joined.is_empty());
    }
}
