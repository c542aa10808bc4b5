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

/// The thread, and what it was asked for last.
#[derive(Debug)]
pub(super) struct Memberships {
    orders: mpsc::Sender<(u64, Arc<Wanted>)>,
    done: UnboundedReceiver<(u64, Failed)>,
    wanted: Arc<Wanted>,
    order: u64,
    /// Of the state that wants it.
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
            order: 0,
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
            self.order += 1;
            self.settled = Settled::NotYet;
            // The thread ends after this.
            let _ = self.orders.send((self.order, Arc::clone(&self.wanted)));
        }
        self.settled != Settled::NotYet
    }

    /// Waits for the end of an order. Of the last one: which generation has its groups now. Cancel-safe.
    pub(super) async fn settled(&mut self) -> (Option<u64>, Failed) {
        let Some((order, failed)) = self.done.recv().await else {
            return std::future::pending().await;
        };
        let is_last = order == self.order;
        if is_last {
            self.settled = if failed.is_empty() {
                Settled::Joined
            } else {
                Settled::InPart
            };
        }
        (is_last.then_some(self.generation), failed)
    }
}

/// Carries out the newest order each time, until nobody can give one.
fn work(orders: &mpsc::Receiver<(u64, Arc<Wanted>)>, done: &UnboundedSender<(u64, Failed)>) {
    let mut held = Held::default();
    while let Ok(order) = orders.recv() {
        let (order, wanted) = orders.try_iter().last().unwrap_or(order);
        let failed = held.settle(&wanted);
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
