//! How a plan is made: the rules in their order.

use super::message::outcome;
use super::review::{review, shed_surplus};
use super::search::{best, obtain};
use super::{Draft, Plan};
use crate::address::{Family, Point};
use crate::request::Request;
use crate::service::{FamilyPolicy, Service};
use crate::world::World;

/// The plan for a Service. The same world gives the same plan.
#[must_use]
pub(crate) fn plan(world: &World, service: &Service) -> Plan {
    if !service.wanted {
        let held = world.book.held_by(&service.key);
        return Plan::leaving(held.map(Point::address).collect());
    }
    let mut draft = Draft::default();
    match &service.request {
        Ok(request) => {
            draft.asked.clone_from(&request.addresses);
            let claims = world.claims(service);
            draft
                .asked
                .extend(claims.filter(|claim| !request.addresses.contains(claim)));
            review(world, service, request, &mut draft);
            shed_surplus(service, request, &mut draft);
            take_requested(world, service, &mut draft);
            fill_families(world, service, &mut draft);
        }
        Err(refusal) => {
            // A typing error costs nobody an address.
            review(world, service, &Request::default(), &mut draft);
            draft.problems.push((None, refusal.clone()));
        }
    }
    conclude(world, service, draft)
}

fn take_requested(world: &World, service: &Service, draft: &mut Draft) {
    for &address in &draft.asked {
        // One of a family that is given up is left too, but not without a word.
        let left =
            draft.leave.contains(&address) && service.families.contains(&Family::of(address));
        if left || draft.keep.iter().any(|kept| kept.address == address) {
            continue;
        }
        match obtain(world, service, address) {
            Ok(take) => draft.take.push(take),
            Err(refusal) => draft.problems.push((Some(Family::of(address)), refusal)),
        }
    }
}

/// What is not asked for by name is chosen; unless the Service asks for a family it does not
/// have: then its request is refused as a whole, and nothing else is given instead.
fn fill_families(world: &World, service: &Service, draft: &mut Draft) {
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
        match best(world, service, family) {
            Ok(take) => draft.take.push(take),
            Err(refusal) => draft.problems.push((Some(family), refusal)),
        }
    }
}

/// Settles what is displaced, applies the family policy and words the condition.
fn conclude(world: &World, service: &Service, mut draft: Draft) -> Plan {
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
            let stays = world.was_shown(service, kept.address);
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
