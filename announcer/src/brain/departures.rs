//! Nodes whose Lease somebody deleted. Whose announcer lives makes another one within seconds; until then it is not known
//! whether it does, and not known is not gone: open connections to its pods go on as before, and it gets no new ones.

use std::time::Duration;

use super::Brain;
use crate::election::Now;
use crate::names::NodeName;

/// After so long no announcer is there any more.
const REMEMBERED: Duration = Duration::from_secs(60);

impl Brain {
    /// The Lease of this node is deleted: for a while it stays known what it said.
    pub(super) fn departs(&mut self, node: &NodeName, now: Now) {
        if let Some(peer) = self.world.peers.get(node) {
            let known = (peer.clone(), now);
            self.world.departed.insert(node.clone(), known);
        }
    }

    /// Forgets those that have not come back.
    pub(super) fn forget_departed(&mut self, now: Now) {
        let departed = self.world.departed.len();
        let is_remembered = |at: Now| now < at + REMEMBERED;
        self.world.departed.retain(|_, (_, at)| is_remembered(*at));
        self.path_due |= departed != self.world.departed.len();
    }

    /// When the next one is to be forgotten.
    pub(super) fn departed_until(&self) -> Option<Now> {
        let departed = self.world.departed.values();
        departed.map(|(_, at)| *at + REMEMBERED).min()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::Input;
    use super::super::tests::{brain, session, wall};
    use super::*;
    use crate::model::{Key, Kind};
    use crate::testing::secs;

    fn is_known(brain: &Brain) -> bool {
        brain.world.last_known(&NodeName::new("n2")).is_some()
    }

    #[test]
    fn a_node_whose_lease_is_deleted_is_remembered_for_a_minute() {
        for is_listed_anew in [false, true] {
            let mut brain = brain(&["n2"]);
            brain.step(secs(100), &wall());
            brain.take(
                if is_listed_anew {
                    let listed = BTreeSet::from([Key::Session(NodeName::new("n1"))]);
                    Input::Listed(Kind::Session, listed)
                } else {
                    Input::Gone(Key::Session(NodeName::new("n2")))
                },
                secs(200),
            );
            assert!(brain.path_due);
            let effects = brain.step(secs(259), &wall());
            assert!(is_known(&brain));
            assert!(effects.wake_at.is_some_and(|at| at <= secs(260)));
            assert!(!brain.world.peers.contains_key(&NodeName::new("n2")));
            brain.step(secs(260), &wall());
            assert!(!is_known(&brain));
        }
    }

    #[test]
    fn whoever_has_a_lease_again_has_not_departed() {
        let mut brain = brain(&["n2"]);
        let gone = Input::Gone(Key::Session(NodeName::new("n2")));
        brain.take(gone, secs(200));
        brain.take(Input::Applied(session("n2", 1)), secs(201));
        assert!(brain.world.departed.is_empty());
        brain.step(secs(260), &wall());
        assert!(is_known(&brain));
    }
}
