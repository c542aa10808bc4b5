//! The plan for one Service: what it keeps, takes and leaves, and what its condition says.
//!
//! It changes nothing: who carries a plan out commits it to the book.
//!
//! ```text
//! planner ──► review (what is held) ──► search (what is asked for, or free) ──► message
//!                 └──────► share ◄──────────┘ └─► short_cut
//! ```
//!
//! The rules, in the order they are applied:
//! 1. What a Service holds, it keeps (but see 5 and 6), whatever became of pools, selectors and labels.
//! 2. It leaves an address only by its own doing: it stopped being ours, gave up the family, asked
//!    for other addresses or another pool, agreed to be renumbered, or can no longer share with
//!    those who were there before it. Except for the first, second and last of these it leaves
//!    only when it has another address instead.
//!    What its status names and no record has stays with it by the same right, if we wrote it, or if a pool
//!    that admits the Service covers it: so a cluster moves over from another balancer. Whatever else stands
//!    there is somebody else's, and is not touched.
//! 3. What it asks for by name it gets, or a refusal; never something else instead. An external
//!    address that is ours to give is asked for too, beside what the Service has: it displaces
//!    nothing.
//! 4. Families still without an address get the best one there is.
//! 5. Who requires both families has both or none; a half its status showed already, it keeps.
//! 6. One address a family is enough for a Service that asks for none by name. A second one that no status ever
//!    named, made by another leader at the same time, is released; what was shown stays.

mod explain;
mod message;
mod planner;
mod review;
mod search;
mod share;
mod short_cut;

use std::net::IpAddr;

use crate::address::Family;
use crate::service::Service;
use crate::{PoolName, Reason, Refusal};

pub(crate) use explain::explain;
pub use explain::{Explanation, PoolAnswer};
pub(crate) use planner::plan;
pub(crate) use search::adoption;

/// How an address is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// A free one: a record is created.
    Create,
    /// One the Service's status names already: a record is created for it.
    Adopt,
    /// One that others hold too.
    Join,
    /// One that was kept for it.
    Claim,
}

/// An address to take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Take {
    /// The address.
    pub address: IpAddr,
    /// How.
    pub how: How,
    /// The pool it comes from.
    pub pool: Option<PoolName>,
}

/// An address to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The address.
    pub address: IpAddr,
    /// The pool its record shall name.
    pub pool: Option<PoolName>,
    /// Why its pool would not give it to this Service any more.
    pub out_of_pool: Option<String>,
}

/// What the Service's condition says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Whether it has everything it wants.
    pub assigned: bool,
    /// The condition's reason.
    pub reason: Reason,
    /// One sentence.
    pub message: String,
}

/// What becomes of one Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Addresses it keeps.
    pub keep: Vec<Kept>,
    /// Addresses it takes.
    pub take: Vec<Take>,
    /// Addresses it leaves, once its status no longer names them.
    pub leave: Vec<IpAddr>,
    /// Its condition; `None` for a Service that wants nothing from us.
    pub outcome: Option<Outcome>,
    /// A change elsewhere could give it more.
    pub waits: bool,
}

impl Plan {
    /// Everything is left, and nothing said: for one that wants nothing from us, or is gone.
    pub(crate) fn leaving(leave: Vec<IpAddr>) -> Self {
        Self {
            keep: Vec::new(),
            take: Vec::new(),
            leave,
            outcome: None,
            waits: false,
        }
    }

    /// The addresses its status shall name: as asked for, else the primary family first.
    #[must_use]
    pub fn addresses(&self, service: &Service) -> Vec<IpAddr> {
        let asked = service
            .readable()
            .map_or(&[][..], |request| &request.addresses);
        let place = |address: &IpAddr| {
            let family = Family::of(*address);
            let of = service.families.iter().position(|wanted| *wanted == family);
            let by = asked.iter().position(|wanted| wanted == address);
            (of.unwrap_or(usize::MAX), by.unwrap_or(usize::MAX), *address)
        };
        let kept = self.keep.iter().map(|kept| kept.address);
        let mut all: Vec<IpAddr> = kept
            .chain(self.take.iter().map(|take| take.address))
            .collect();
        all.sort_by_key(place);
        all
    }
}

/// A plan in the making.
#[derive(Default)]
struct Draft {
    /// What it asks for by name, external addresses included.
    asked: Vec<IpAddr>,
    keep: Vec<Kept>,
    /// Held, and given up as soon as there is another of its family.
    displaced: Vec<Kept>,
    take: Vec<Take>,
    leave: Vec<IpAddr>,
    problems: Vec<(Option<Family>, Refusal)>,
    notes: Vec<String>,
}

impl Draft {
    fn asks(&self, family: Family) -> bool {
        self.asked
            .iter()
            .any(|address| Family::of(*address) == family)
    }

    /// Holds one that it gives up as soon as it has another.
    fn holds(&self, family: Family) -> bool {
        self.displaced
            .iter()
            .any(|kept| Family::of(kept.address) == family)
    }

    fn has(&self, family: Family) -> bool {
        self.keep
            .iter()
            .any(|kept| Family::of(kept.address) == family)
            || self
                .take
                .iter()
                .any(|take| Family::of(take.address) == family)
    }
}
