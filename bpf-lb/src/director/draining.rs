//! Frontends that are going: not wanted any more, or without backends, and kept until their connections have ended.
//!
//! Pure. A node sees the connections of its own pods, and a director those of nobody; so a frontend
//! stays as long as this node has connections of it, as others say that they have, and for as long as
//! it takes to hear of that.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::ageing::Clock;
use crate::desired::Frontend;

/// Seconds within which other nodes will have said what they have.
pub(super) const HEARSAY: u32 = 20;

/// Since when which frontend is going, in jiffies.
#[derive(Debug, Default)]
pub(super) struct Draining(BTreeMap<Frontend, u32>);

impl Draining {
    /// Those of the unwanted frontends that stay: `here` are connections of this node's pods, `carried`
    /// the addresses that other nodes have some of.
    pub(super) fn stay(
        &mut self,
        unwanted: &BTreeSet<Frontend>,
        here: &BTreeMap<Frontend, usize>,
        carried: &BTreeSet<IpAddr>,
        clock: Clock,
    ) -> BTreeSet<Frontend> {
        self.0.retain(|frontend, _| unwanted.contains(frontend));
        let mut stays = |frontend: &Frontend| {
            let since = *self.0.entry(*frontend).or_insert(clock.now);
            here.contains_key(frontend)
                || carried.contains(&frontend.address)
                || clock.since(since) < HEARSAY
        };
        unwanted
            .iter()
            .copied()
            .filter(|frontend| stays(frontend))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::Protocol;

    const SECOND: u32 = 250;

    fn frontend(port: u16) -> Frontend {
        Frontend {
            address: "192.0.2.10".parse().unwrap(),
            port,
            protocol: Protocol::Tcp,
        }
    }

    fn at(seconds: u32) -> Clock {
        Clock {
            now: seconds * SECOND,
            second: SECOND,
        }
    }

    #[test]
    fn a_frontend_stays_as_long_as_anybody_has_connections_of_it() {
        let (one, none) = (frontend(80), BTreeMap::new());
        let unwanted = BTreeSet::from([one]);
        let elsewhere = BTreeSet::from([one.address]);
        let mut draining = Draining::default();
        let mut stays = |here: &BTreeMap<Frontend, usize>, carried: &BTreeSet<IpAddr>, seconds| {
            !draining
                .stay(&unwanted, here, carried, at(seconds))
                .is_empty()
        };
        let nowhere = BTreeSet::new();
        assert!(stays(&none, &nowhere, 1), "nobody can have said so yet");
        assert!(stays(&[(one, 1)].into(), &nowhere, 1_000));
        assert!(stays(&none, &elsewhere, 2_000));
        assert!(!stays(&none, &nowhere, 3_000));
    }

    #[test]
    fn one_that_was_wanted_in_between_has_its_time_anew() {
        let (unwanted, nothing) = (BTreeSet::from([frontend(80)]), BTreeSet::new());
        let (here, nowhere) = (BTreeMap::new(), BTreeSet::new());
        let mut draining = Draining::default();
        draining.stay(&unwanted, &here, &nowhere, at(1));
        draining.stay(&nothing, &here, &nowhere, at(100));
        let stay = draining.stay(&unwanted, &here, &nowhere, at(200));
        assert_eq!(stay, unwanted);
    }
}
