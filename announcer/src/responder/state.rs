//! What the listeners look things up in: one value, replaced as a whole, read without waiting.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use landfall_wire::Interest;
use landfall_wire::Mac;
use parking_lot::Mutex;
use tokio::sync::{broadcast, watch};

use super::counters::Counters;
use super::permit::Permit;
use super::port::Ports;
use super::{Event, Rate, Settings};
use crate::link::{FilterCounts, IfIndex, LinkTable, Protocol};

/// An address on an interface.
pub(super) type Pair = (IpAddr, IfIndex);

/// Events a slow reader may be behind.
const EVENTS: usize = 1_024;

/// What is owned and what is being probed. Cheap to clone: its tables are shared.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    /// With a number that is new each time the pair comes in.
    pub(super) owned: Arc<HashMap<Pair, u64>>,
    /// With the number of probings under way.
    pub(super) probing: Arc<HashMap<Pair, usize>>,
    /// Interfaces that are listened on although nothing is owned there: what comes to be is answered at once.
    pub(super) ready: Arc<BTreeSet<IfIndex>>,
    peers: Arc<BTreeSet<Mac>>,
    /// Addresses that are announced again and again, and how often.
    pub(super) periods: Arc<BTreeMap<IpAddr, Duration>>,
    /// How often the session has come back to life.
    pub(super) session: u64,
    /// Counts the changes.
    pub(super) generation: u64,
    arrivals: u64,
}

impl State {
    /// Like all of these: whether anything has changed.
    pub(super) fn set_owned(&mut self, owned: BTreeMap<IpAddr, BTreeSet<IfIndex>>) -> bool {
        let mut table = HashMap::with_capacity(owned.len());
        for (address, interfaces) in owned {
            for ifindex in interfaces {
                let arrival = self
                    .owned
                    .get(&(address, ifindex))
                    .copied()
                    .unwrap_or_else(|| {
                        self.arrivals += 1;
                        self.arrivals
                    });
                table.insert((address, ifindex), arrival);
            }
        }
        replace(&mut self.owned, table)
    }

    pub(super) fn set_ready(&mut self, ready: BTreeSet<IfIndex>) -> bool {
        replace(&mut self.ready, ready)
    }

    pub(super) fn set_peers(&mut self, peers: BTreeSet<Mac>) -> bool {
        replace(&mut self.peers, peers)
    }

    pub(super) fn set_periods(&mut self, periods: BTreeMap<IpAddr, Duration>) -> bool {
        let real = |(_, period): &(IpAddr, Duration)| !period.is_zero();
        replace(
            &mut self.periods,
            periods.into_iter().filter(real).collect(),
        )
    }

    /// What of these is owned arrives once more.
    pub(super) fn arrive_again(&mut self, addresses: &BTreeSet<IpAddr>) -> bool {
        let mut table = HashMap::clone(&self.owned);
        for ((address, _), arrival) in &mut table {
            if addresses.contains(address) {
                self.arrivals += 1;
                *arrival = self.arrivals;
            }
        }
        replace(&mut self.owned, table)
    }

    pub(super) fn revive(&mut self) -> bool {
        self.session += 1;
        true
    }

    pub(super) fn begin_probe(&mut self, pairs: &[Pair]) -> bool {
        let probing = Arc::make_mut(&mut self.probing);
        for pair in pairs {
            *probing.entry(*pair).or_default() += 1;
        }
        true
    }

    pub(super) fn end_probe(&mut self, pairs: &[Pair]) -> bool {
        let probing = Arc::make_mut(&mut self.probing);
        for pair in pairs {
            if let Some(count) = probing.get_mut(pair) {
                *count -= 1;
                if *count == 0 {
                    probing.remove(pair);
                }
            }
        }
        true
    }

    pub(super) fn interest(&self, pair: Pair) -> Interest {
        if self.owned.contains_key(&pair) {
            Interest::Owned
        } else if !self.probing.is_empty() && self.probing.contains_key(&pair) {
            Interest::Probing
        } else {
            Interest::None
        }
    }

    pub(super) fn is_peer(&self, mac: Mac) -> bool {
        self.peers.contains(&mac)
    }
}

fn replace<T: PartialEq>(known: &mut Arc<T>, new: T) -> bool {
    let changed = **known != new;
    if changed {
        *known = Arc::new(new);
    }
    changed
}

/// What the supervisor has brought about.
#[derive(Clone, Debug, Default)]
pub(super) struct Listening {
    /// Every port; the filters of each know what the state of this generation asks for.
    pub(super) ports: Arc<Ports>,
    /// Of the state.
    pub(super) generation: u64,
}

/// What the handles, the supervisor and the listeners have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) links: watch::Receiver<Arc<LinkTable>>,
    pub(super) state: watch::Sender<State>,
    pub(super) ports: watch::Sender<Listening>,
    pub(super) events: broadcast::Sender<Event>,
    pub(super) counters: Mutex<BTreeMap<IfIndex, Arc<Counters>>>,
    pub(super) groups: AtomicU64,
    /// How many are listened on.
    pub(super) sockets: AtomicU32,
    pub(super) by_map: AtomicBool,
    /// What the eBPF filter counts, once it is loaded.
    pub(super) filtered: Mutex<Option<FilterCounts>>,
    writer: Mutex<()>,
    pub(super) permit: Permit,
}

impl Shared {
    pub(super) fn new(settings: Settings, links: watch::Receiver<Arc<LinkTable>>) -> Self {
        Self {
            settings,
            links,
            state: watch::channel(State::default()).0,
            ports: watch::channel(Listening::default()).0,
            events: broadcast::channel(EVENTS).0,
            counters: Mutex::default(),
            groups: AtomicU64::new(0),
            sockets: AtomicU32::new(0),
            by_map: AtomicBool::new(false),
            filtered: Mutex::default(),
            writer: Mutex::default(),
            permit: Permit::default(),
        }
    }

    /// Replaces the state by a changed one and returns its generation. The change is made beside it, so that no
    /// listener waits for it; it waits for answers that are just being sent. Where nothing has changed nobody is woken.
    pub(super) fn update(&self, change: impl FnOnce(&mut State) -> bool) -> u64 {
        let _writing = self.writer.lock();
        let mut state = self.state.borrow().clone();
        if change(&mut state) {
            state.generation += 1;
            let generation = state.generation;
            self.state.send_replace(state);
            generation
        } else {
            state.generation
        }
    }

    /// Whether questions have come, and are not dealt with, about what is owned and not among these.
    pub(super) fn is_behind(&self, owned: &BTreeMap<IpAddr, BTreeSet<IfIndex>>) -> bool {
        let state = self.state.borrow();
        let stays = |(address, ifindex): &Pair| {
            let interfaces = owned.get(address);
            interfaces.is_some_and(|interfaces| interfaces.contains(ifindex))
        };
        let going = state.owned.keys().filter(|pair| !stays(pair));
        let sockets: BTreeSet<_> = going
            .map(|(address, ifindex)| (*ifindex, address.is_ipv6()))
            .collect();
        if sockets.is_empty() {
            return false;
        }
        let ports = Arc::clone(&self.ports.borrow().ports);
        sockets.into_iter().any(|(ifindex, is_ipv6)| {
            let protocol = if is_ipv6 {
                Protocol::Ndp
            } else {
                Protocol::Arp
            };
            ports
                .get(&ifindex)
                .is_some_and(|port| port.is_behind(protocol))
        })
    }

    /// Of the frames this node looks at, those of one socket.
    pub(super) fn share(&self) -> Rate {
        let sockets = self.sockets.load(Ordering::Relaxed);
        self.settings.frames.shared_by(sockets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(pairs: &[(&str, IfIndex)]) -> BTreeMap<IpAddr, BTreeSet<IfIndex>> {
        let mut table: BTreeMap<IpAddr, BTreeSet<IfIndex>> = BTreeMap::new();
        for (address, ifindex) in pairs {
            table
                .entry(address.parse().unwrap())
                .or_default()
                .insert(*ifindex);
        }
        table
    }

    #[test]
    fn a_pair_that_stays_keeps_its_arrival_and_one_that_returns_gets_a_new_one() {
        let pair = ("192.0.2.1".parse().unwrap(), 2);
        let mut state = State::default();
        assert!(state.set_owned(owned(&[("192.0.2.1", 2)])));
        let first = state.owned[&pair];
        assert!(
            !state.set_owned(owned(&[("192.0.2.1", 2)])),
            "nothing has changed"
        );
        state.set_owned(owned(&[("192.0.2.1", 2), ("192.0.2.2", 2)]));
        assert_eq!(state.owned[&pair], first);
        state.set_owned(owned(&[("192.0.2.2", 2)]));
        assert_eq!(state.interest(pair), Interest::None);
        state.set_owned(owned(&[("192.0.2.1", 2)]));
        assert_ne!(state.owned[&pair], first);
    }

    #[test]
    fn an_address_is_owned_on_its_interfaces_only() {
        let mut state = State::default();
        state.set_owned(owned(&[("2001:db8::1", 2)]));
        assert_eq!(
            state.interest(("2001:db8::1".parse().unwrap(), 2)),
            Interest::Owned
        );
        assert_eq!(
            state.interest(("2001:db8::1".parse().unwrap(), 3)),
            Interest::None
        );
    }

    #[test]
    fn what_arrives_again_gets_a_new_number_and_nothing_else_does() {
        let mut state = State::default();
        state.set_owned(owned(&[("192.0.2.1", 2), ("192.0.2.2", 2)]));
        let before = State::clone(&state);
        assert!(!state.arrive_again(&["192.0.2.9".parse().unwrap()].into()));
        assert!(state.arrive_again(&["192.0.2.1".parse().unwrap()].into()));
        let changed = |text: &str| {
            let pair = (text.parse().unwrap(), 2);
            state.owned[&pair] != before.owned[&pair]
        };
        assert!(changed("192.0.2.1") && !changed("192.0.2.2"));
    }

    #[test]
    fn two_probings_of_one_address_end_with_the_last() {
        let pair = ("192.0.2.1".parse().unwrap(), 2);
        let mut state = State::default();
        state.begin_probe(&[pair]);
        state.begin_probe(&[pair]);
        state.end_probe(&[pair]);
        assert_eq!(state.interest(pair), Interest::Probing);
        state.end_probe(&[pair]);
        assert_eq!(state.interest(pair), Interest::None);
    }
}
