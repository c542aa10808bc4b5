//! Ends of sessions that were wrong: the node was heard all the while. Whoever ended it so is not believed about that
//! node for a while. A stolen token can end sessions, then, but only in its own node's name, and not again and again.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Peers;
use super::link::ACK_WINDOWS;
use crate::Now;
use crate::names::NodeName;

#[derive(Clone, Debug, Default)]
pub(super) struct Wrongs {
    /// Since when more than half of the peers have heard this node without a gap.
    heard_since: Option<Now>,
    /// By whose session and who ended it: not believed until then.
    ignored: BTreeMap<(NodeName, NodeName), Now>,
}

impl Wrongs {
    /// This process slept: nobody can have heard it.
    pub(super) const fn lapse(&mut self) {
        self.heard_since = None;
    }

    /// What `by` says of `node`'s end is not believed from now on.
    pub(super) fn ignore(&mut self, node: NodeName, by: NodeName, now: Now, lasts: Duration) {
        self.ignored.retain(|_, until| now < *until);
        self.ignored.insert((node, by), now + lasts);
    }

    pub(super) fn ignores(&self, node: &NodeName, by: &NodeName, now: Now) -> bool {
        let until = self.ignored.get(&(node.clone(), by.clone()));
        until.is_some_and(|until| now < *until)
    }
}

impl Peers {
    /// Takes note of whether most peers hear this node.
    pub(super) fn note_who_hears(&mut self, now: Now) {
        if now < self.permit.began + self.window() * ACK_WINDOWS {
            // They know the session before, and it was said of that.
            return;
        }
        let late = self.window() + self.interval();
        let links = self.segments.values().flat_map(super::Segment::members);
        let (fresh, all) = links.fold((0, 0), |(fresh, all), (_, link)| {
            let is_fresh = link.acked.is_some_and(|at| now <= at + late);
            (fresh + usize::from(is_fresh), all + 1)
        });
        let since = self.wrongs.heard_since.unwrap_or(now);
        self.wrongs.heard_since = (fresh * 2 > all).then_some(since);
    }

    /// Whether `by` ended this node's session although most peers heard it at `since` and all the time after. If so, it
    /// is not believed about this node again for a while.
    pub(super) fn was_wrong(&mut self, by: &NodeName, since: Now, now: Now) -> bool {
        let heard = self.wrongs.heard_since.is_some_and(|at| at <= since);
        let wrong = heard && *by != self.me;
        if wrong {
            let (me, lasts) = (self.me.clone(), self.settings.distrust);
            self.wrongs.ignore(me, by.clone(), now, lasts);
        }
        wrong
    }
}
