//! What the brain is told.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use landfall_election::peers::{Report, Title};
use landfall_runtime::class::Class;
use landfall_wire::Mac;
use landfall_wire::peers::KeyId;

use super::Brain;
use super::effects::{ReportKey, Subject};
use crate::dataplane::DirectorNews;
use crate::election::Now;
use crate::election::owners::Event;
use crate::link::{IfIndex, LinkTable, NeighbourTable};
use crate::model::{Key, Kind, Lbip, Object};
use crate::names::{NodeName, SessionId, Version};
use crate::report::Conflict;

/// Anything a node learns.
#[derive(Clone, Debug)]
pub enum Input {
    /// An object is new or has changed.
    Applied(Object),
    /// An object is gone.
    Gone(Key),
    /// A kind was listed: of what is known these are all there are.
    Listed(Kind, BTreeSet<Key>),
    /// The API server's history went back: everything there is, as it is now.
    WentBack(Vec<Input>),
    /// A watched node has renewed its session; the version of that.
    Renewal(NodeName, Version),
    /// The session's own news.
    Session(Event),
    /// The own Lease was emptied by a node, after the time at which it was written last.
    Taken(NodeName, Now),
    /// Another machine of this node's name has its Lease, by this session; or not any more.
    Namesake(Option<SessionId>),
    /// What heartbeats say of sessions.
    Peers(Report),
    /// The Ethernet addresses that authentic frames of peers come from; none while there are no keys.
    HeardFrom(Option<BTreeSet<Mac>>),
    /// The keys of heartbeats that this node believes.
    Keys(Vec<KeyId>),
    Links(Arc<LinkTable>),
    Neighbours(Arc<NeighbourTable>),
    /// The director's state changed.
    Director(DirectorNews),
    /// A job that swaps a record ended.
    Swapped(IpAddr, SwapOutcome),
    /// A job about another node's Lease ended.
    Inquired(Vec<Event>),
    /// A report was written, or not.
    Reported(ReportKey, Result<Option<Object>, Class>),
    /// The object of this node was written, or not.
    Described(Result<(), Class>),
    /// It was said on it whether another machine has its name, or not said.
    NamesakeSaid(Result<(), Class>),
    Probed(IpAddr, ProbeNews),
    /// A foreign host claims an address this node owns.
    Conflict(IpAddr, Conflict),
    /// An object cannot be read: what it is, and why.
    Unreadable(Subject, String),
    /// An interface cannot be listened on.
    Unavailable(IfIndex),
    /// Time to stop.
    Leave,
}

/// What became of a compare-and-swap.
#[derive(Clone, Debug)]
pub enum SwapOutcome {
    /// Done: the record now reads like this.
    Done(Box<Lbip>),
    /// The record had moved on, or is gone.
    Refused(Option<Box<Lbip>>),
    /// Nobody knows.
    Failed,
    /// It may not be written at all, and only a person can change that.
    Denied,
}

/// What became of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeNews {
    /// Nobody has the address.
    Clear,
    /// Somebody has.
    Taken(Conflict),
    /// It could not be asked.
    Unable,
}

impl Brain {
    /// Whether a decision on it is not put off until more has come: somebody waits for an answer, or for this node to stop.
    #[must_use]
    pub fn is_pressing(&self, input: &Input) -> bool {
        match input {
            Input::Leave | Input::Links(_) => true,
            Input::Peers(Report::Claims(_, _, titles)) => {
                let answers = |title: &Title| self.answered_on.contains_key(&title.address);
                titles
                    .iter()
                    .any(|title| answers(title) || self.owners.awaits(title))
            }
            Input::Peers(report) => matches!(
                report,
                Report::Ended(..)
                    | Report::EndedThoughHeard(_)
                    | Report::OwnEnded(_)
                    | Report::Conceded(..)
                    | Report::Moves(..)
                    | Report::Ceded(..)
            ),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use landfall_election::owners::Settings;

    use super::*;
    use crate::names::SessionId;

    #[test]
    fn what_somebody_waits_for_presses_and_what_is_heard_all_the_time_does_not() {
        let settings = Settings::for_duration(Duration::from_secs(15));
        let mut brain = Brain::new(NodeName::new("n1"), settings);
        let peer = || (NodeName::new("n2"), SessionId::new("s2"));
        let (node, session) = peer();
        let title = Title {
            address: "192.0.2.1".parse().unwrap(),
            transitions: 2,
            written: false,
        };
        let claims = Input::Peers(Report::Claims(node, session, vec![title.clone()]));
        assert!(!brain.is_pressing(&claims), "of another's address");
        brain.answered_on.insert(title.address, BTreeSet::new());
        assert!(brain.is_pressing(&claims), "this node is to be silent");
        let (node, session) = peer();
        assert!(brain.is_pressing(&Input::Peers(Report::Ceded(node, session, Vec::new()))));
        assert!(brain.is_pressing(&Input::Leave));
        assert!(!brain.is_pressing(&Input::HeardFrom(None)));
        let (node, session) = peer();
        let up = Report::Up {
            node,
            session,
            merged: false,
        };
        assert!(!brain.is_pressing(&Input::Peers(up)));
    }
}
