//! Finding an address: one that is asked for by name, or the best for a family.

use std::net::IpAddr;
use std::sync::Arc;

use landfall_crds::text::quoted;

use super::message::{list, pools};
use super::share::enter;
use super::short_cut::short_cut;
use super::{How, Take};
use crate::address::{Family, Point, unusable};
use crate::counts::standing;
use crate::pools::{Pool, Rejection};
use crate::service::Service;
use crate::world::World;
use crate::{PoolName, Reason, Refusal};

/// The address a Service asks for by name.
pub(super) fn obtain(world: &World, service: &Service, address: IpAddr) -> Result<Take, Refusal> {
    let family = Family::of(address);
    if !service.families.contains(&family) {
        return Err(Refusal::new(
            Reason::FamilyUnavailable,
            format!(
                "asks for {address}, but the {} has no {family}; \
                 set spec.ipFamilies or spec.ipFamilyPolicy, or ask for another address",
                service.key.kind
            ),
        ));
    }
    let at = Point::from(address);
    if let Some(entry) = world.book.get(at) {
        let take = enter(world, service, at, entry)?;
        if take.how == How::Join {
            // A new member of a group is admitted as its first one was.
            pool_for(world, service, address, Some(at))?;
        }
        return Ok(take);
    }
    if world.book.unreadable(at) {
        return Err(Refusal::new(
            Reason::AddressInUse,
            format!(
                "{address} has a LoadBalancerIP {} that cannot be read; correct or delete it",
                landfall_crds::ip_name(address)
            ),
        ));
    }
    if let Some(node) = world.book.node_at(at) {
        return Err(Refusal::new(
            Reason::AddressInUse,
            format!(
                "{address} is an address of node {node}, which no Service can have; ask for another address"
            ),
        ));
    }
    if let Some(other) = world.book.cluster_at(at) {
        return Err(Refusal::new(
            Reason::AddressInUse,
            format!(
                "{address} is the cluster IP of Service {other}, which no other can have; ask for another address"
            ),
        ));
    }
    if !service.external.contains(&address)
        && let Some(other) = world.book.occupied().external.at(at).next()
    {
        return Err(Refusal::new(
            Reason::AddressInUse,
            format!(
                "{address} is in spec.externalIPs of Service {other}; remove it there, or \
                 ask for another address"
            ),
        ));
    }
    let pool = pool_for(world, service, address, None)?;
    Ok(Take {
        address,
        how: How::Create,
        pool: Some(pool),
    })
}

/// The pool that gives this very address to the Service.
fn pool_for(
    world: &World,
    service: &Service,
    address: IpAddr,
    share: Option<Point>,
) -> Result<PoolName, Refusal> {
    let covering = world.pools.covering(Point::from(address));
    if covering.is_empty() {
        return Err(Refusal::new(
            Reason::NotInAnyPool,
            format!("{address} lies in no pool; {}", pools_in_words(world)),
        ));
    }
    let named = named(service);
    let mut rejections = Vec::new();
    for pool in covering {
        let rejection = match named {
            [_, ..] if !named.contains(&pool.name) => Rejection::OtherPool,
            _ => {
                let offered = world.offers(pool, service, true);
                match offered.and_then(|()| world.within_limits(pool, service, share, 0)) {
                    Ok(()) => return Ok(pool.name.clone()),
                    Err(rejection) => rejection,
                }
            }
        };
        rejections.push((pool.name.clone(), rejection));
    }
    Err(not_given(service, address, named, &rejections))
}

/// The refusal of an address by the pools that have it.
pub(super) fn not_given(
    service: &Service,
    address: IpAddr,
    named: &[PoolName],
    rejections: &[(PoolName, Rejection)],
) -> Refusal {
    let words = rejections.iter().map(|(pool, rejection)| match rejection {
        Rejection::OtherPool => format!("pool {pool}: landfall.dev/pool names {}", pools(named)),
        _ => format!("pool {pool}: {rejection}"),
    });
    let why: Vec<Rejection> = rejections.iter().map(|(_, why)| *why).collect();
    Refusal::new(
        Reason::NoMatchingPool,
        format!(
            "{address} is not given to this {}: {}; {}, or ask for another address",
            service.key.kind,
            list(words),
            remedies(&why)
        ),
    )
}

/// The best address of a family: one kept for the Service, one it shares, or the lowest free one
/// of the best pool.
pub(super) fn best(world: &World, service: &Service, family: Family) -> Result<Take, Refusal> {
    let of_family = |at: &Point| Family::of(at.address()) == family;
    if let Some(at) = world.book.reserved_for(&service.key).find(of_family)
        && let Some(entry) = world.book.get(at)
    {
        return enter(world, service, at, entry);
    }
    if let Some(take) = by_key(world, service, family) {
        return Ok(take);
    }
    lowest(world, service, family)
}

/// An address the Service's status names and no record has: its own if our field manager wrote it,
/// else if it is free and a pool that admits the Service covers it. It does not come instead of
/// another one that is asked for.
pub(crate) fn adoption(world: &World, service: &Service, address: IpAddr) -> Option<Take> {
    let at = Point::from(address);
    let family = Family::of(address);
    if unusable(address).is_some()
        || !service.families.contains(&family)
        || world.book.node_at(at).is_some()
        || world.book.cluster_at(at).is_some()
        || world.book.unreadable(at)
    {
        return None;
    }
    let covering = world.pools.covering(at);
    let admits = |pool: &&Arc<Pool>| !pool.draining && world.admits(pool, service).is_ok();
    let admitting = covering.iter().find(admits);
    if !service.ours && (admitting.is_none() || !may_become_ours(world, service, address)) {
        return None;
    }
    if let Some(entry) = world.book.get(at) {
        let held = entry.holder_keys().any(|key| key == service.key);
        return (!held)
            .then(|| enter(world, service, at, entry).ok())
            .flatten();
    }
    let pool = admitting.or_else(|| covering.first());
    Some(Take {
        address,
        how: How::Adopt,
        pool: pool.map(|pool| pool.name.clone()),
    })
}

/// Whether an address that somebody else wrote into the status is what the Service asks us for.
fn may_become_ours(world: &World, service: &Service, address: IpAddr) -> bool {
    let Some(request) = service.readable() else {
        return false;
    };
    let at = Point::from(address);
    let mut others = world.book.occupied().external.at(at);
    let mut covering = world.pools.covering(at).iter();
    let mut asked = request.addresses.iter();
    let of_family = |other: &&IpAddr| Family::of(**other) == Family::of(address);
    others.all(|other| *other == service.key)
        && covering.any(|pool| request.accepts(&pool.name))
        && (request.addresses.contains(&address) || !asked.any(|other| of_family(&other)))
}

fn by_key(world: &World, service: &Service, family: Family) -> Option<Take> {
    let request = service.readable()?;
    let key = &request.sharing.as_ref()?.key;
    world
        .book
        .shared_by(key)
        .filter(|at| Family::of(at.address()) == family)
        .filter(|at| {
            world.pools.covering(*at).iter().any(|pool| {
                request.accepts(&pool.name)
                    && world
                        .offers(pool, service, request.names(&pool.name))
                        .is_ok()
                    && world.within_limits(pool, service, Some(*at), 0).is_ok()
            })
        })
        .filter_map(|at| world.book.get(at).map(|entry| (at, entry)))
        .filter(|(_, entry)| !entry.holders().is_empty())
        // It does not come beside itself.
        .filter(|(_, entry)| entry.holder_keys().all(|key| key != service.key))
        .find_map(|(at, entry)| enter(world, service, at, entry).ok())
}

/// Why the Service does not share an address of its own sharing key, if there is one.
fn kept_out(world: &World, service: &Service, family: Family) -> Option<String> {
    let key = &service.readable()?.sharing.as_ref()?.key;
    let shared = world.book.shared_by(key);
    let mut shared = shared.filter(|at| Family::of(at.address()) == family);
    shared.find_map(|at| {
        let entry = world.book.get(at)?;
        let refusal = enter(world, service, at, entry).err()?;
        Some(refusal.message)
    })
}

fn lowest(world: &World, service: &Service, family: Family) -> Result<Take, Refusal> {
    let named = those_with(world, service, family)?;
    let short = if named.is_empty() {
        short_cut(world, service, family)
    } else {
        None
    };
    // Where it is tested, every pool is asked all the same.
    if let Some(take) = &short
        && !cfg!(debug_assertions)
    {
        return Ok(take.clone());
    }
    let (mut full, mut lacking, mut rejected) = (Vec::new(), Vec::new(), Vec::new());
    let pools = world.pools.ordered().iter();
    for pool in pools.filter(|pool| named.is_empty() || named.contains(&pool.name)) {
        let offered = world.offers(pool, service, !named.is_empty());
        let offered = offered.and_then(|()| world.within_limits(pool, service, None, 0));
        if let Err(rejection) = offered {
            rejected.push((pool, rejection));
            continue;
        }
        let mut spans = pool.spans(family).peekable();
        if spans.peek().is_none() {
            lacking.push(pool);
            continue;
        }
        if let Some(at) = spans.find_map(|span| world.first_free(span)) {
            let take = Take {
                address: at.address(),
                how: How::Create,
                pool: Some(pool.name.clone()),
            };
            debug_assert!(!named.is_empty() || short.as_ref() == Some(&take));
            return Ok(take);
        }
        full.push(pool);
    }
    if !full.is_empty() {
        let words = full.iter().map(|pool| {
            let standing = standing(&world.book, pool, family);
            let standing = standing.map(|words| format!(" ({words})"));
            format!(
                "pool {} has none of its {} {family} addresses free{}",
                pool.name,
                pool.total(family),
                standing.unwrap_or_default()
            )
        });
        let mut message = list(words);
        if let Some(why) = kept_out(world, service, family) {
            message.push_str("; it cannot share either: ");
            message.push_str(&why);
        }
        message.push_str("; widen a pool or add one");
        return Err(Refusal::new(Reason::PoolExhausted, message));
    }
    if !lacking.is_empty() {
        let message = format!(
            "no {family} addresses in pool {}; add an {family} block",
            list(lacking.iter().map(|pool| &pool.name))
        );
        return Err(Refusal::new(Reason::FamilyUnavailable, message));
    }
    let message = if rejected.is_empty() {
        "there is no pool; create a LoadBalancerIPPool".to_owned()
    } else {
        let why: Vec<Rejection> = rejected.iter().map(|(_, why)| *why).collect();
        let remedies = remedies(&why);
        let words = rejected.iter();
        let words = words.map(|(pool, rejection)| format!("pool {}: {rejection}", pool.name));
        format!(
            "no pool takes this {} for {family}: {}; {remedies}",
            service.key.kind,
            list(words)
        )
    };
    Err(Refusal::new(Reason::NoMatchingPool, message))
}

/// The pools that a Service names.
fn named(service: &Service) -> &[PoolName] {
    let request = service.readable();
    request.map_or(&[], |request| &request.pools)
}

/// The named pool that has this family, or all of them when none has. Every one of them must exist,
/// and not both of two have the family: which one is meant would have to be guessed.
fn those_with(world: &World, service: &Service, family: Family) -> Result<Vec<PoolName>, Refusal> {
    let named = named(service);
    let mut having = Vec::new();
    for name in named {
        let quoted = quoted(name.as_str());
        let problem = match world.pools.get(name) {
            Some(Ok(pool)) => {
                having.extend(pool.spans(family).next().map(|_| name.clone()));
                continue;
            }
            Some(Err(error)) => format!("pool {quoted} is not accepted ({error})"),
            None => format!(
                "pool {quoted}, which the {} asks for, does not exist; create it, or name another one",
                service.key.kind
            ),
        };
        return Err(Refusal::new(Reason::NoMatchingPool, problem));
    }
    if having.len() > 1 {
        let message = format!(
            "{}, which landfall.dev/pool names, both have {family} addresses; name one pool for each family",
            pools(&having)
        );
        return Err(Refusal::new(Reason::InvalidRequest, message));
    }
    Ok(if having.is_empty() {
        named.to_vec()
    } else {
        having
    })
}

fn pools_in_words(world: &World) -> String {
    let pools = world.pools.ordered();
    if pools.is_empty() {
        "there is no pool; create a LoadBalancerIPPool".to_owned()
    } else {
        let names = pools.iter().map(|pool| &pool.name);
        format!("ask for an address of pool {}", list(names))
    }
}

/// What would help against the first few of these, each once.
fn remedies(why: &[Rejection]) -> String {
    let mut words: Vec<String> = Vec::new();
    for rejection in why {
        let remedy = rejection.remedy().to_owned();
        if !words.contains(&remedy) && words.len() < 2 {
            words.push(remedy);
        }
    }
    words.join(", or ")
}
