//! Nodes that cannot tell just now which connections they have: their programs serve on, and nobody
//! speaks for them.
//!
//! Pure. Such a node is asked for what nobody knows: from when its announcer went until the next one will
//! have told everything, and no longer than a minute. Whoever is away for longer is taken for dead, so
//! that its clients are not kept waiting.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::ageing::Clock;

/// Seconds after which one that does not come back is not asked any more.
const DEAD: u32 = 60;
/// Seconds within which one that is back will have told what it has.
const TOLD: u32 = 10;

/// In jiffies.
#[derive(Clone, Copy, Debug)]
struct Absence {
    /// `None`: for so long that it is taken for dead.
    since: Option<u32>,
    back: Option<u32>,
}

/// Who is away, and who has just come back.
#[derive(Debug, Default)]
pub(super) struct Away(BTreeMap<IpAddr, Absence>);

impl Away {
    /// The nodes to ask, those of `away` being away now: the latest news come first.
    pub(super) fn asked(&mut self, away: &BTreeSet<IpAddr>, clock: Clock) -> Vec<IpAddr> {
        for node in away {
            let absence = Absence {
                since: Some(clock.now),
                back: None,
            };
            let known = self.0.entry(*node).or_insert(absence);
            if known.back.is_some() {
                *known = absence;
            }
        }
        for (node, absence) in &mut self.0 {
            if !away.contains(node) {
                absence.back.get_or_insert(clock.now);
            }
            absence.since = absence.since.filter(|since| clock.since(*since) < DEAD);
        }
        let has_told = |absence: &Absence| {
            let back = absence.back.map(|back| clock.since(back));
            back.is_some_and(|seconds| seconds >= TOLD)
        };
        self.0.retain(|_, absence| !has_told(absence));
        let last_seen = |absence: &Absence| absence.back.or(absence.since);
        let mut asked: Vec<(u32, IpAddr)> = self
            .0
            .iter()
            .filter_map(|(node, absence)| Some((clock.since(last_seen(absence)?), *node)))
            .collect();
        asked.sort_unstable();
        asked.into_iter().map(|(_, node)| node).collect()
    }
}

/// The first four of these hop ids as the programs read them. Fewer are there several times, and of two
/// or more never one beside itself, all the way round.
pub(super) fn word_of(hops: impl Iterator<Item = u16>) -> u64 {
    let first: Vec<u16> = hops.take(4).collect();
    let Some(last) = first.len().checked_sub(1) else {
        return 0;
    };
    let at = |index: usize| {
        if index > last {
            (index % 2).min(last)
        } else {
            index
        }
    };
    (0..4).fold(0, |word, index| {
        (word << u16::BITS) | u64::from(first[at(index)])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u32 = 250;

    fn at(seconds: u32) -> Clock {
        Clock {
            now: seconds * SECOND,
            second: SECOND,
        }
    }

    fn node(number: u8) -> IpAddr {
        [192, 0, 2, number].into()
    }

    #[test]
    fn whoever_is_away_is_asked_until_the_next_announcer_has_told() {
        let mut away = Away::default();
        let (gone, nobody) = (BTreeSet::from([node(1)]), BTreeSet::new());
        let none: [IpAddr; 0] = [];
        assert_eq!(away.asked(&gone, at(1)), [node(1)]);
        assert_eq!(away.asked(&nobody, at(5)), [node(1)]);
        assert_eq!(away.asked(&nobody, at(14)), [node(1)]);
        assert_eq!(away.asked(&nobody, at(15)), none);
    }

    #[test]
    fn whoever_does_not_come_back_is_taken_for_dead() {
        let mut away = Away::default();
        let gone = BTreeSet::from([node(1)]);
        let none: [IpAddr; 0] = [];
        assert_eq!(away.asked(&gone, at(1)), [node(1)]);
        assert_eq!(away.asked(&gone, at(60)), [node(1)]);
        assert_eq!(away.asked(&gone, at(61)), none);
        // Its announcer comes after all, and has to tell first.
        assert_eq!(away.asked(&BTreeSet::new(), at(90)), [node(1)]);
    }

    #[test]
    fn whoever_goes_again_is_asked_anew_and_the_latest_news_come_first() {
        let mut away = Away::default();
        away.asked(&[node(1)].into(), at(1));
        away.asked(&[node(2)].into(), at(50));
        let both = BTreeSet::from([node(1), node(2)]);
        assert_eq!(away.asked(&both, at(55)), [node(1), node(2)]);
        assert_eq!(away.asked(&both, at(109)), [node(1), node(2)]);
        assert_eq!(away.asked(&both, at(112)), [node(1)]);
    }

    #[test]
    fn the_programs_find_another_node_beside_the_one_that_asked() {
        let word = |count: u16| word_of(1..=count);
        assert_eq!(word(0), 0);
        assert_eq!(word(1), 0x0001_0001_0001_0001);
        for count in 2..9 {
            let word = word(count);
            let words = [0, 16, 32, 48].map(|by| word >> by & 0xffff);
            assert!((0..4).all(|at| words[at] != words[(at + 1) % 4] && words[at] != 0));
            let some: BTreeSet<u64> = words.into();
            assert_eq!(some.len(), usize::from(count.min(4)), "{word:x}");
        }
    }
}
