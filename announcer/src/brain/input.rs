//! What the brain is told.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use landfall_election::peers::Report;
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
use crate::names::{NodeName, Version};
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
                titles.iter().any(|title| self.owners.awaits(title))
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
