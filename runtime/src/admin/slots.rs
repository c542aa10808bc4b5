//! Who may be connected: a bounded number, fairly shared. Pure.
//!
//! This host has slots of its own, so that no stranger keeps the kubelet of a node from asking. The
//! others share the rest: when all are taken, whoever has most gives up the oldest of its own. So one
//! that holds connections open, however many, only ever drives out itself, and a newcomer is always
//! let in.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

/// Connections of this host.
const LOCAL: usize = 16;
/// Connections of everybody else together.
const OTHERS: usize = 48;

/// Where a connection comes from: an address, or the network that an IPv6 host may choose its own in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Source(IpAddr);

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(v6) => {
                let prefix = v6.to_bits() >> 64 << 64;
                Self(IpAddr::V6(prefix.into()))
            }
            v4 => Self(v4),
        }
    }
}

/// One connection's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot(u64);

/// The connections that are open, each with what ends it.
#[derive(Debug)]
pub(super) struct Slots<T> {
    next: u64,
    local: BTreeMap<Slot, (Source, T)>,
    others: BTreeMap<Slot, (Source, T)>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self {
            next: 0,
            local: BTreeMap::new(),
            others: BTreeMap::new(),
        }
    }
}

impl<T> Slots<T> {
    /// Lets a connection in; `is_here`: of this host. Where there was no room, the one that has to go
    /// is returned.
    pub(super) fn enter(&mut self, peer: IpAddr, is_here: bool, ends: T) -> (Slot, Option<T>) {
        let slot = Slot(self.next);
        self.next += 1;
        let (taken, most) = if is_here {
            (&mut self.local, LOCAL)
        } else {
            (&mut self.others, OTHERS)
        };
        let room = taken.len() < most;
        let gone = if room { None } else { victim(taken) };
        let gone = gone.and_then(|slot| taken.remove(&slot));
        taken.insert(slot, (peer.into(), ends));
        (slot, gone.map(|(_, ends)| ends))
    }

    /// A connection has ended. One that had to go is gone already.
    pub(super) fn leave(&mut self, slot: Slot) {
        self.local.remove(&slot);
        self.others.remove(&slot);
    }
}

/// The oldest connection of the source that has most; of sources that have as many, the oldest.
fn victim<T>(taken: &BTreeMap<Slot, (Source, T)>) -> Option<Slot> {
    let mut sources: HashMap<Source, (usize, Slot)> = HashMap::new();
    for (slot, (source, _)) in taken {
        sources.entry(*source).or_insert((0, *slot)).0 += 1;
    }
    let victim = sources
        .into_values()
        .max_by(|(one, old), (two, older)| one.cmp(two).then(older.cmp(old)));
    victim.map(|(_, slot)| slot)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn whoever_holds_most_gives_up_its_oldest() {
        let mut slots = Slots::default();
        slots.enter(ip("192.0.2.1"), false, "quiet");
        for at in 0..OTHERS - 1 {
            let name = if at == 0 { "first of many" } else { "more" };
            assert_eq!(slots.enter(ip("192.0.2.2"), false, name).1, None);
        }
        assert_eq!(
            slots.enter(ip("192.0.2.3"), false, "new").1,
            Some("first of many")
        );
    }

    #[test]
    fn an_ipv6_host_does_not_become_many_by_choosing_addresses() {
        let mut slots = Slots::default();
        slots.enter(ip("2001:db8:1::1"), false, "quiet");
        for at in 0..1000 {
            slots.enter(ip(&format!("2001:db8:2::{at:x}")), false, "many");
        }
        assert!(slots.others.values().any(|(_, name)| *name == "quiet"));
    }

    #[test]
    fn this_host_is_let_in_whatever_others_hold() {
        let mut slots = Slots::default();
        for _ in 0..1000 {
            slots.enter(ip("192.0.2.1"), false, "stranger");
        }
        assert_eq!(slots.enter(ip("127.0.0.1"), true, "kubelet").1, None);
        for _ in 0..1000 {
            slots.enter(ip("192.0.2.1"), false, "stranger");
        }
        assert_eq!(slots.local.len(), 1);
    }

    proptest! {
        /// Sources beyond the number of slots drive each other out; up to it, nobody is without one.
        #[test]
        fn a_source_keeps_a_connection_while_there_are_no_more_sources_than_slots(
            peers in proptest::collection::vec(1_u8..=40, 1..300),
        ) {
            let mut slots = Slots::default();
            for peer in &peers {
                slots.enter(IpAddr::from([192, 0, 2, *peer]), false, ());
                prop_assert!(slots.others.len() <= OTHERS);
            }
            for peer in peers {
                let source = Source(IpAddr::from([192, 0, 2, peer]));
                prop_assert!(slots.others.values().any(|(held, ())| *held == source));
            }
        }
    }
}
