//! From the last that was heard of a node to the first answer of another: which addresses are taken over from silent
//! sessions, and since when those were silent.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::election::Now;
use crate::election::owners::Record;
use crate::names::{NodeName, SessionId};

/// Sessions remembered; more than this at once are a cluster that fell apart, and no figure for anybody.
const REMEMBERED: usize = 256;

/// Sessions that are over, and addresses that were theirs.
#[derive(Debug, Default)]
pub(super) struct Silences {
    heard_at: BTreeMap<SessionId, Now>,
    /// Addresses that such a session owned, and when it was last heard.
    orphans: BTreeMap<IpAddr, (SessionId, Now)>,
}

impl Silences {
    /// A session is over, and was last heard then.
    pub(super) fn over(&mut self, session: SessionId, heard_at: Option<Now>) {
        if self.heard_at.len() >= REMEMBERED {
            self.heard_at.clear();
        }
        if let Some(at) = heard_at {
            self.heard_at.insert(session, at);
        }
    }

    /// The records as they are before a decision. What another has claimed is no orphan any more.
    pub(super) fn look(&mut self, me: &NodeName, records: &BTreeMap<IpAddr, Record>) {
        if self.heard_at.is_empty() && self.orphans.is_empty() {
            return;
        }
        let owner = |address: &IpAddr| {
            records
                .get(address)
                .and_then(|record| record.owner.as_ref())
        };
        self.orphans.retain(|address, (session, _)| {
            owner(address).is_some_and(|owner| owner.session == *session || owner.node == *me)
        });
        let mut named = BTreeSet::new();
        for (address, record) in records {
            if let Some(owner) = &record.owner
                && let Some(at) = self.heard_at.get(&owner.session)
            {
                let orphan = (owner.session.clone(), *at);
                named.insert(owner.session.clone());
                self.orphans.entry(*address).or_insert(orphan);
            }
        }
        // Its addresses are all in other hands.
        self.heard_at.retain(|session, _| named.contains(session));
    }

    /// This node answers for these from now on: since when nobody did, for each that was a silent session's.
    pub(super) fn answered(&mut self, addresses: impl Iterator<Item = IpAddr>) -> Vec<Now> {
        addresses
            .filter_map(|address| Some(self.orphans.remove(&address)?.1))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::election::owners::Owner;
    use crate::names::Version;
    use crate::testing::{VIP, secs};

    /// The address as its record names its owner: node `a` by its session `a1`.
    fn owned_by(session: &str) -> BTreeMap<IpAddr, Record> {
        let owner = Owner {
            node: NodeName::new(&session[..1]),
            session: SessionId::new(session),
            standby: None,
            transitions: 1,
            handover_to: None,
        };
        let record = Record {
            version: Version::new("1"),
            uid: String::new(),
            owner: Some(owner),
        };
        BTreeMap::from([(VIP, record)])
    }

    /// What `me` counts when it answers, after these records were shown in turn.
    fn counted(silences: &mut Silences, shown: &[&str]) -> Vec<Now> {
        for session in shown {
            silences.look(&NodeName::new("m"), &owned_by(session));
        }
        silences.answered([VIP].into_iter())
    }

    #[test]
    fn an_address_is_counted_once_from_when_its_owner_was_last_heard() {
        let mut silences = Silences::default();
        silences.over(SessionId::new("a1"), Some(secs(7)));
        assert_eq!(counted(&mut silences, &["a1", "m1"]), [secs(7)]);
        assert!(counted(&mut silences, &["m1"]).is_empty());
    }

    #[test]
    fn what_was_given_away_or_taken_by_others_or_never_heard_is_not_counted() {
        let mut silences = Silences::default();
        assert!(counted(&mut silences, &["a1", "m1"]).is_empty());
        silences.over(SessionId::new("a1"), None);
        assert!(counted(&mut silences, &["a1", "m1"]).is_empty());
        silences.over(SessionId::new("a1"), Some(secs(7)));
        assert!(counted(&mut silences, &["a1", "b1"]).is_empty());
    }
}
