//! The agent: one loop that takes everything in, decides, and has it carried out.
//!
//! ```text
//!  watches ─┐                 ┌─► responder (addresses, deadline, peers)
//!  session ─┤ Input   Effects ├─► session   (what to publish)
//!  links   ─┼───────► Brain ──┼─► director  (data path)
//!  director ┤                 ├─► writers   (owner records, expiries, conditions, Events) ─┐
//!  outcomes ┘◄────────────────┴───────────────────────────────────────────────────────────┘
//! ```
//!
//! [`Brain`] is pure; [`run`] is the shell around it. The invariant: there is one brain, every
//! input passes through its one queue, and the responder's table is put in force before any write
//! that gives an address away is sent.

mod brain;
mod effects;
mod run;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;

use landfall_runtime::class::Class;

pub use brain::{Brain, Summary};
pub use effects::{DataPath, Effects, Job, Notice, ReportKey, Subject, Swap};
pub use run::{Parts, run};

use crate::election::Event;
use crate::link::{IfIndex, LinkTable, NeighbourTable};
use crate::model::{Key, Kind, Lbip, Object, XdpState};

/// Anything the agent learns.
#[derive(Clone, Debug)]
pub enum Input {
    /// An object is new or has changed.
    Applied(Object),
    /// An object is gone.
    Gone(Key),
    /// A kind was listed: these are all there are.
    Listed(Kind, Vec<Object>),
    /// The session's own news.
    Session(Event),
    /// Interfaces changed.
    Links(Arc<LinkTable>),
    /// Neighbours changed.
    Neighbours(Arc<NeighbourTable>),
    /// The director's state changed.
    Director(XdpState),
    /// A job that swaps a record ended.
    Swapped(IpAddr, SwapOutcome),
    /// A job about another node's Lease ended.
    Inquired(Vec<Event>),
    /// A report was written, or not.
    Reported(ReportKey, Result<Option<Object>, Class>),
    /// A probe ended.
    Probed(IpAddr, ProbeNews),
    /// A foreign host claims an address this node owns.
    Conflict(IpAddr, crate::report::Conflict),
    /// An object cannot be read: what it is, and why.
    Unreadable(Subject, String),
    /// An interface cannot be listened on.
    Deaf(IfIndex),
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
}

/// What became of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeNews {
    /// Nobody has the address.
    Clear,
    /// Somebody has.
    Taken(crate::report::Conflict),
    /// It could not be asked.
    Unable,
}
