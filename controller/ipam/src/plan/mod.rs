//! The plan for one Service: what it keeps, takes and leaves, and what its condition says.
//!
//! The rules, in the order they are applied:
//! 1. What a Service holds, it keeps (but see 5 and 6), whatever became of pools, selectors and labels.
//! 2. It leaves an address only by its own doing: it stopped being ours, gave up the family, asked
//!    for other addresses or another pool, agreed to be renumbered, or can no longer share with
//!    those who were there before it. Except for the first, second and last of these it leaves
//!    only when it has another address instead.
//! 3. What it asks for by name it gets, or a refusal; never something else instead. An external
//!    address that is ours to give is asked for too, beside what the Service has: it displaces
//!    nothing.
//! 4. Families still without an address get the best one there is.
//! 5. Who requires both families has both or none; a half its status showed already, it keeps.
//! 6. One address a family is enough for a Service that asks for none by name. A second one, made
//!    by another leader at the same time or asked for once and no longer, is released.

use std::net::IpAddr;

use super::address::{Family, Point};
use super::request::Request;
use super::review::shed_surplus;
use super::service::{FamilyPolicy, Service};
use super::words::outcome;
use super::world::World;
use super::{PoolName, Reason, Refusal};

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
pub(super) struct Draft {
    /// What it asks for by name, external addresses included.
    pub(super) asked: Vec<IpAddr>,
    pub(super) keep: Vec<Kept>,
    /// Held, and given up as soon as there is another of its family.
    pub(super) displaced: Vec<Kept>,
    pub(super) take: Vec<Take>,
    pub(super) leave: Vec<IpAddr>,
    pub(super) problems: Vec<(Option<Family>, Refusal)>,
    pub(super) notes: Vec<String>,
}

impl Draft {
    pub(super) fn asks(&self, family: Family) -> bool {
        self.asked
            .iter()
            .any(|address| Family::of(*address) == family)
    }

    pub(super) fn has(&self, family: Family) -> bool {
        self.keep
            .iter()
            .any(|kept| Family::of(kept.address) == family)
            || self
                .take
                .iter()
                .any(|take| Family::of(take.address) == family)
    }
}

impl World {
    /// The plan for a Service. The same world gives the same plan.
    #[must_use]
    pub fn plan(&self, service: &Service) -> Plan {
        if !service.wanted {
            return Plan {
                keep: Vec::new(),
                take: Vec::new(),
                leave: self
                    .book
                    .held_by(&service.key)
                    .map(Point::address)
                    .collect(),
                outcome: None,
                waits: false,
            };
        }
        let mut draft = Draft::default();
        match &service.request {
            Ok(request) => {
                draft.asked.clone_from(&request.addresses);
                let claims = self.claims(service);
                draft
                    .asked
                    .extend(claims.filter(|claim| !request.addresses.contains(claim)));
                self.review(service, request, &mut draft);
                shed_surplus(service, request, &mut draft);
                self.take_requested(service, &mut draft);
                self.fill_families(service, &mut draft);
            }
            Err(refusal) => {
                // A typing error costs nobody an address.
                self.review(service, &Request::default(), &mut draft);
                draft.problems.push((None, refusal.clone()));
            }
        }
        self.conclude(service, draft)
    }

    fn take_requested(&self, service: &Service, draft: &mut Draft) {
        for &address in &draft.asked {
            // One of a family that is given up is left too, but not without a word.
            let left =
                draft.leave.contains(&address) && service.families.contains(&Family::of(address));
            if left || draft.keep.iter().any(|kept| kept.address == address) {
                continue;
            }
            match self.obtain(service, address) {
                Ok(take) => draft.take.push(take),
                Err(refusal) => draft.problems.push((Some(Family::of(address)), refusal)),
            }
        }
    }

    /// What is not asked for by name is chosen; unless the Service asks for a family it does not
    /// have: then its request is refused as a whole, and nothing else is given instead.
    fn fill_families(&self, service: &Service, draft: &mut Draft) {
        let asked = service.readable().into_iter();
        let asked = asked.flat_map(|request| &request.addresses);
        let mut asked = asked.map(|address| Family::of(*address));
        if asked.any(|family| !service.families.contains(&family)) {
            return;
        }
        for &family in &service.families {
            if draft.asks(family) || draft.has(family) {
                continue;
            }
            match self.best(service, family) {
                Ok(take) => draft.take.push(take),
                Err(refusal) => draft.problems.push((Some(family), refusal)),
            }
        }
    }

    /// Settles what is displaced, applies the family policy and words the condition.
    fn conclude(&self, service: &Service, mut draft: Draft) -> Plan {
        let held = |family: Family| {
            draft
                .displaced
                .iter()
                .any(|kept| Family::of(kept.address) == family)
        };
        let lacks = service
            .families
            .iter()
            .any(|family| !draft.has(*family) && !held(*family));
        let neither = lacks && service.policy == FamilyPolicy::RequireDualStack;
        if neither {
            draft.take.clear();
        }
        for kept in std::mem::take(&mut draft.displaced) {
            if draft.has(Family::of(kept.address)) {
                draft.leave.push(kept.address);
            } else {
                draft.keep.push(kept);
            }
        }
        if neither {
            // Half of a pair whose other half was lost on the way is nothing the Service has.
            let Draft { keep, leave, .. } = &mut draft;
            keep.retain(|kept| {
                let stays = self.was_shown(service, kept.address);
                if !stays {
                    leave.push(kept.address);
                }
                stays
            });
        }
        let outcome = outcome(service, &draft);
        Plan {
            waits: !draft.problems.is_empty(),
            keep: draft.keep,
            take: draft.take,
            leave: draft.leave,
            outcome: Some(outcome),
        }
    }
}
