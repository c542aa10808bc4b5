//! What becomes of the addresses a Service holds: kept, displaced or left.

use std::net::IpAddr;

use super::message::pools;
use super::share::clash_with_seniors;
use super::{Draft, Kept};
use crate::address::{Family, Point};
use crate::book::Entry;
use crate::request::Request;
use crate::service::Service;
use crate::world::World;
use crate::{PoolName, Reason, Refusal};

/// What becomes of the addresses it holds.
pub(super) fn review(
    world: &World,
    service: &Service,
    held: &[Point],
    request: &Request,
    draft: &mut Draft,
) {
    keep_unreadable(world, service, draft);
    for &at in held {
        let kept = kept(world, service, at);
        let (address, family) = (kept.address, Family::of(kept.address));
        let asked = draft.asked.contains(&address);
        let entry = world.book.get(at);
        if !service.families.contains(&family) {
            draft.leave.push(address);
        } else if let Some(clash) =
            entry.and_then(|entry| clash_with_seniors(world, service, address, entry))
        {
            draft.leave.push(address);
            if asked {
                let message = format!("cannot stay on {address}, {clash}");
                let refusal = Refusal::new(Reason::SharingRefused, message);
                draft.problems.push((Some(family), refusal));
            } else {
                draft.notes.push(format!("gave up {address}, {clash}"));
            }
        } else if asked {
            if asks_for_another_pool(world, request, entry, at) {
                draft.notes.push(format!(
                    "{address} is not of {}, which landfall.dev/pool names: the address comes first; \
                     remove one of the two",
                    pools(&request.pools)
                ));
            }
            draft.keep.push(kept);
        } else if request
            .addresses
            .iter()
            .any(|other| Family::of(*other) == family)
            || (request.renumber && kept.out_of_pool.is_some())
            || asks_for_another_pool(world, request, entry, at)
        {
            draft.displaced.push(kept);
        } else {
            draft.keep.push(kept);
        }
    }
}

/// An address its status names, with a record that cannot be read, is the Service's still: who
/// holds it cannot be told, and to give another one instead would be to move it.
fn keep_unreadable(world: &World, service: &Service, draft: &mut Draft) {
    for &address in &service.status {
        let at = Point::from(address);
        let here = service.families.contains(&Family::of(address));
        if !here || !service.ours || !world.book.unreadable(at) || world.book.get(at).is_some() {
            continue;
        }
        let name = landfall_crds::ip_name(address);
        draft.notes.push(format!(
            "LoadBalancerIP {name} cannot be read: correct it, or delete it to have it made anew"
        ));
        draft.keep.push(Kept {
            address,
            pool: None,
            out_of_pool: None,
        });
    }
}

/// Whether the Service names pools, and this address neither comes from one of them nor lies in
/// one. An address whose own pool was cut away from under it is no wish to move.
fn asks_for_another_pool(
    world: &World,
    request: &Request,
    entry: Option<&Entry>,
    at: Point,
) -> bool {
    let named = &request.pools;
    let from = entry.and_then(|entry| entry.want.as_ref()?.pool_ref.as_ref());
    let from = from.is_some_and(|from| named.iter().any(|name| from.name == name.as_str()));
    let known = named.iter().filter_map(|name| world.pools.accepted(name));
    let mut known = known.peekable();
    !from && known.peek().is_some() && !known.any(|pool| pool.usable.contains(at))
}

/// A held address, the pool it belongs to, and whether that pool would still give it.
fn kept(world: &World, service: &Service, at: Point) -> Kept {
    let want = world.book.get(at).and_then(|entry| entry.want.as_ref());
    let from = want.and_then(|want| want.pool_ref.as_ref());
    let from = from.map(|pool| PoolName::from(pool.name.as_str()));
    let covering = world.pools.covering(at);
    let good = |name: &PoolName| {
        covering
            .iter()
            .any(|pool| pool.name == *name && !pool.draining && world.admits(pool, service).is_ok())
    };
    // An address from a pool the Service names stays booked to one of those: were it moved to
    // another pool's account, the name would later read as a wish to move.
    let names = |pool: &PoolName| {
        service
            .readable()
            .is_some_and(|request| request.names(pool))
    };
    let bound = from.as_ref().is_some_and(names);
    let other = || {
        let mut covering = covering.iter().map(|pool| &pool.name);
        covering
            .find(|name| good(name) && (!bound || names(name)))
            .cloned()
    };
    let home = from.clone().filter(good).or_else(other);
    let node = world.book.node_at(at);
    let node = node.map(|node| format!("is an address of node {node} too"));
    let cluster = world.book.cluster_at(at);
    let cluster = || cluster.map(|key| format!("is the cluster IP of Service {key} too"));
    let out_of_pool = || match &from {
        None => "lies in no pool".to_owned(),
        Some(name) => match covering.iter().find(|pool| pool.name == *name) {
            None => format!("is no longer covered by pool {name}"),
            Some(pool) => match world.admits(pool, service) {
                Err(rejection) => {
                    format!("would no longer be given by pool {name}: {rejection}")
                }
                Ok(()) => format!("belongs to pool {name}, which is being deleted"),
            },
        },
    };
    Kept {
        address: at.address(),
        out_of_pool: node
            .or_else(cluster)
            .or_else(|| home.is_none().then(out_of_pool)),
        pool: home.or(from),
    }
}

/// Of several addresses of one family that it does not ask for by name, a Service keeps those its
/// status has shown, else the lowest: every leader comes to the same. While what it asks for instead
/// cannot be had, it keeps all of them.
pub(super) fn shed_surplus(world: &World, service: &Service, request: &Request, draft: &mut Draft) {
    for family in &service.families {
        let of_family = |address: &IpAddr| Family::of(*address) == *family;
        if request.addresses.iter().any(of_family) {
            continue;
        }
        let asked = &draft.asked;
        for held in [&mut draft.keep, &mut draft.displaced] {
            let unasked = |kept: &&Kept| of_family(&kept.address) && !asked.contains(&kept.address);
            let shown = |kept: &&Kept| {
                let mut places = service.status.iter();
                places.position(|address| *address == kept.address)
            };
            let place =
                |kept: &&Kept| (shown(kept).unwrap_or(usize::MAX), Point::from(kept.address));
            let Some(stays) = held.iter().filter(unasked).min_by_key(place) else {
                continue;
            };
            let stays = stays.address;
            held.retain(|kept| {
                let surplus = unasked(&kept)
                    && kept.address != stays
                    && !world.was_shown(service, kept.address);
                if surplus {
                    draft.leave.push(kept.address);
                }
                !surplus
            });
        }
    }
}
