//! Nodes that ended a session although its peers heard it, by what that session's node says: what they do to that node's
//! Lease again is not believed for a minute. Others may end it, and so may they afterwards.

use std::collections::BTreeMap;

use landfall_election::peers::DISTRUST;

use crate::election::Now;
use crate::model::Peer;
use crate::names::NodeName;

#[derive(Debug, Default)]
pub(super) struct Wrongs {
    own: Option<(NodeName, Now)>,
    others: BTreeMap<NodeName, (NodeName, Now)>,
}

impl Wrongs {
    /// This node was wronged.
    pub(super) fn suffered(&mut self, by: NodeName, now: Now) {
        self.own = Some((by, now + DISTRUST));
    }

    /// Who has lately wronged this node.
    pub(super) fn own(&self, now: Now) -> Option<&NodeName> {
        let (by, until) = self.own.as_ref()?;
        (now < *until).then_some(by)
    }

    /// Reads what a node's Lease says now beside what it said: a session that one who was wrong before has ended goes on.
    /// Who was wrong, if that is news.
    pub(super) fn read(
        &mut self,
        node: &NodeName,
        peer: &mut Peer,
        known: Option<&Peer>,
        now: Now,
    ) -> Option<NodeName> {
        self.others.retain(|_, (_, until)| now < *until);
        let said_before = known.and_then(|known| known.wronged_by.as_ref());
        let news = peer.wronged_by.clone();
        let news = news.filter(|by| said_before != Some(by));
        if let Some(by) = &news {
            let until = now + DISTRUST;
            self.others.insert(node.clone(), (by.clone(), until));
        }
        if let Some((by, _)) = self.others.get(node)
            && peer.lease.session.is_none()
            && peer.fenced_by.as_ref() == Some(by)
        {
            peer.lease.session = known.and_then(|known| known.lease.session.clone());
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{peer, secs};

    fn node(name: &str) -> NodeName {
        NodeName::new(name)
    }

    /// The Lease of n2 after `by` emptied it, while it says who wronged it.
    fn emptied(by: &str, wronged_by: Option<&str>) -> Peer {
        let mut peer = peer("n2", 7, Vec::new());
        peer.lease.session = None;
        peer.fenced_by = Some(node(by));
        peer.wronged_by = wronged_by.map(node);
        peer
    }

    fn held(wronged_by: Option<&str>) -> Peer {
        Peer {
            wronged_by: wronged_by.map(node),
            ..peer("n2", 6, Vec::new())
        }
    }

    /// Whether the session goes on, as read at that time.
    fn goes_on(wrongs: &mut Wrongs, mut lease: Peer, at: u64) -> bool {
        let before = held(lease.wronged_by.as_ref().map(NodeName::as_str));
        let news = wrongs.read(&node("n2"), &mut lease, Some(&before), secs(at));
        assert_eq!(news, None, "it was said before");
        lease.lease.session == before.lease.session
    }

    #[test]
    fn a_session_goes_on_that_was_ended_again_by_one_who_was_wrong_within_a_minute() {
        let mut wrongs = Wrongs::default();
        assert!(!goes_on(&mut wrongs, emptied("n3", None), 90));
        let news = wrongs.read(
            &node("n2"),
            &mut held(Some("n3")),
            Some(&held(None)),
            secs(100),
        );
        assert_eq!(news, Some(node("n3")));
        assert!(goes_on(&mut wrongs, emptied("n3", Some("n3")), 110));
        assert!(!goes_on(&mut wrongs, emptied("n4", Some("n3")), 110));
        assert!(!goes_on(&mut wrongs, emptied("n3", Some("n3")), 160));
    }

    #[test]
    fn a_session_that_its_own_node_gave_up_is_over() {
        let mut wrongs = Wrongs::default();
        for wronged_by in [None, Some("n3")] {
            let mut given_up = emptied("n3", wronged_by);
            given_up.fenced_by = None;
            assert!(!goes_on(&mut wrongs, given_up, 90));
            let told = held(Some("n3"));
            wrongs.read(&node("n2"), &mut told.clone(), Some(&held(None)), secs(89));
        }
    }

    #[test]
    fn what_a_node_says_of_its_own_wrong_ends_after_a_minute() {
        let mut wrongs = Wrongs::default();
        wrongs.suffered(node("n3"), secs(100));
        assert_eq!(wrongs.own(secs(159)), Some(&node("n3")));
        assert_eq!(wrongs.own(secs(160)), None);
    }
}
