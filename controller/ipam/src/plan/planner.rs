//! How a plan is made: the rules in their order.

use landfall_crds::text::quoted;

use super::message::{list, outcome};
use super::review::{review, shed_surplus};
use super::search::{adoption, best, not_given, obtain};
use super::{Draft, How, Plan, Take};
use crate::address::{Family, Point};
use crate::request::{MAX_ADDRESSES, Request};
use crate::service::{FamilyPolicy, Service};
use crate::world::World;
use crate::{Reason, Refusal};

/// The plan for a Service that holds these addresses. The same world gives the same plan.
#[must_use]
pub(crate) fn plan(world: &World, service: &Service, held: &[Point]) -> Plan {
    if !service.wanted {
        return Plan::leaving(held.iter().map(|at| at.address()).collect());
    }
    let mut draft = Draft::default();
    match &service.request {
        Ok(request) => {
            draft.asked.clone_from(&request.addresses);
            let claims = world.claims(service);
            let claims: Vec<_> = claims
                .filter(|claim| !request.addresses.contains(claim))
                .collect();
            if claims.len() > MAX_ADDRESSES {
                draft.problems.push((None, too_many(claims.len())));
            } else {
                draft.asked.extend(claims);
            }
            review(world, service, held, request, &mut draft);
            shed_surplus(world, service, request, &mut draft);
            take_requested(world, service, &mut draft);
            take_shown(world, service, &mut draft);
            fill_families(world, service, &mut draft);
        }
        Err(refusal) => {
            // A typing error costs nobody an address.
            review(world, service, held, &Request::default(), &mut draft);
            take_shown(world, service, &mut draft);
            draft.problems.push((None, refusal.clone()));
        }
    }
    conclude(world, service, draft)
}

fn take_requested(world: &World, service: &Service, draft: &mut Draft) {
    for address in draft.asked.clone() {
        // One of a family that is given up is left too, but not without a word.
        let left =
            draft.leave.contains(&address) && service.families.contains(&Family::of(address));
        if left || draft.keep.iter().any(|kept| kept.address == address) {
            continue;
        }
        match obtain(world, service, address).and_then(|take| one_more(world, service, draft, take))
        {
            Ok(take) => draft.take.push(take),
            Err(refusal) => draft.problems.push((Some(Family::of(address)), refusal)),
        }
    }
}

fn too_many(claims: usize) -> Refusal {
    let message = format!(
        "spec.externalIPs: {claims} addresses of our pools; name at most {MAX_ADDRESSES} of them"
    );
    Refusal::new(Reason::InvalidRequest, message)
}

/// The take, unless those before it use up what its pool gives to one.
fn one_more(world: &World, service: &Service, draft: &Draft, take: Take) -> Result<Take, Refusal> {
    let pool = take
        .pool
        .as_ref()
        .and_then(|name| world.pools.accepted(name));
    let pending = draft.take.iter().filter(|other| other.pool == take.pool);
    let pending = pending.count();
    let Some(pool) = pool.filter(|_| pending > 0) else {
        return Ok(take);
    };
    let share = (take.how == How::Join).then(|| Point::from(take.address));
    match world.within_limits(pool, service, share, pending) {
        Ok(()) => Ok(take),
        Err(rejection) => Err(not_given(
            service,
            take.address,
            &[],
            &[(pool.name.clone(), rejection)],
        )),
    }
}

/// What its status names already stays with it, where it has nothing of that family yet.
fn take_shown(world: &World, service: &Service, draft: &mut Draft) {
    for &address in &service.status {
        let family = Family::of(address);
        let left = draft.leave.contains(&address);
        if !left && !draft.has(family) && !draft.holds(family) {
            draft.take.extend(adoption(world, service, address));
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
        match best(world, service, family).and_then(|take| one_more(world, service, draft, take)) {
            Ok(take) => draft.take.push(take),
            Err(refusal) => draft.problems.push((Some(family), refusal)),
        }
    }
}

/// Settles what is displaced, applies the family policy and words the condition.
fn conclude(world: &World, service: &Service, mut draft: Draft) -> Plan {
    let lacks = service
        .families
        .iter()
        .any(|family| !draft.has(*family) && !draft.holds(*family));
    let neither = lacks && service.policy == FamilyPolicy::RequireDualStack;
    if neither {
        draft
            .take
            .retain(|take| world.was_shown(service, take.address));
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
    draft.notes.extend(foreign(service, &draft));
    draft.notes.extend(beside(world, service, &draft));
    if draft.problems.is_empty() {
        draft.notes.extend(unknown_pools(world, service));
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

/// Pools that a Service names and that are not there: it has what it needs all the same, and moves
/// when they come.
fn unknown_pools(world: &World, service: &Service) -> Vec<String> {
    let named = service.readable().into_iter();
    let named = named.flat_map(|request| &request.pools);
    let unknown = named.filter(|name| world.pools.get(name).is_none());
    unknown
        .map(|name| {
            format!(
                "landfall.dev/pool names pool {}, which does not exist: create it, or name another one",
                quoted(name.as_str())
            )
        })
        .collect()
}

/// Services without an address of ours that name an external address of this one on a port that it
/// listens on too: which of the two is reached, nobody here decides.
fn beside(world: &World, service: &Service, draft: &Draft) -> Vec<String> {
    let kept = draft.keep.iter().map(|kept| kept.address);
    let has = kept.chain(draft.take.iter().map(|take| take.address));
    let external = has.filter(|address| service.names_external(*address));
    let mut notes = Vec::new();
    for address in external {
        let others = world.book.occupied().external.at(Point::from(address));
        let others = others.filter_map(|key| world.external.get(key));
        for other in others.filter(|other| !other.wanted && other.key != service.key) {
            if let Some((protocol, port)) = other.ports.intersection(&service.ports).next() {
                notes.push(format!(
                    "Service {} names {address} in spec.externalIPs too, and listens on port \
                     {port}/{protocol} as well: use another port on one of the two",
                    other.key
                ));
            }
        }
    }
    notes
}

/// What stands in the status of one that has nothing from us, and what would make it ours.
fn foreign(service: &Service, draft: &Draft) -> Option<String> {
    let nothing = service.status.is_empty() && service.hosts.is_empty();
    if nothing || service.ours || !draft.keep.is_empty() || !draft.take.is_empty() {
        return None;
    }
    let addresses = service.status.iter().map(ToString::to_string);
    let hosts = service.hosts.iter().map(|host| quoted(host).to_string());
    let all = list(addresses.chain(hosts));
    let remedy = if service.status.is_empty() {
        "empty status.loadBalancer where it is out of use".to_owned()
    } else {
        let kind = service.key.kind;
        format!("it is ours as soon as a pool that admits this {kind} covers it")
    };
    Some(format!(
        "the status names {all}, written by somebody else and left alone: {remedy}"
    ))
}
