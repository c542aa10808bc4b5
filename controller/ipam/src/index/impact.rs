//! Whom the edit of a pool can reach: nobody else is looked at again.
//!
//! A holder, when the pool gains or loses its address, or changes its mind about the holder. One
//! who waits, when the pool answers otherwise than before, or answers yes and has other addresses.
//! One who names the pool, when it comes, goes or has other addresses.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::address::{Family, Point};
use crate::pools::{Pool, Rejection};
use crate::service::Service;
use crate::spans::Spans;
use crate::world::World;
use crate::{HolderKey, PoolName, QueueKey};

/// A pool before and after an edit; `None`: not there, or refused.
pub(super) struct Edit<'a> {
    name: &'a PoolName,
    before: Option<Arc<Pool>>,
    after: Option<Arc<Pool>>,
    /// The addresses it gained or lost.
    moved: Spans,
}

impl<'a> Edit<'a> {
    pub(super) fn new(
        name: &'a PoolName,
        before: Option<Arc<Pool>>,
        after: Option<Arc<Pool>>,
    ) -> Self {
        let none = Spans::default();
        let usable = |pool: &Option<Arc<Pool>>| {
            pool.as_ref()
                .map_or_else(|| none.clone(), |pool| pool.usable.clone())
        };
        let (old, new) = (usable(&before), usable(&after));
        let mut moved = new.clone();
        for span in old.iter() {
            moved.remove(span);
        }
        let mut lost = old;
        for span in new.iter() {
            lost.remove(span);
        }
        for span in lost.iter() {
            moved.insert(span);
        }
        Self {
            name,
            before,
            after,
            moved,
        }
    }

    fn versions(&self) -> impl Iterator<Item = &Arc<Pool>> {
        self.before.iter().chain(&self.after)
    }

    /// It came or went, was refused or accepted; or it stays refused, for another reason.
    fn stands_otherwise(&self) -> bool {
        self.before.is_none() || self.after.is_none()
    }

    /// What decides whether a holder may stay differs.
    fn admits_otherwise(&self) -> bool {
        let terms = |pool: &Arc<Pool>| {
            (
                pool.services.clone(),
                pool.namespaces.clone(),
                pool.gateway_classes.clone(),
                pool.draining,
            )
        };
        self.before.as_ref().map(terms) != self.after.as_ref().map(terms)
    }

    /// It gives more, or less, to one Service or namespace.
    fn limits_otherwise(&self) -> bool {
        let limits = |pool: &Arc<Pool>| (pool.max_per_service, pool.max_per_namespace);
        self.before.as_ref().map(limits) != self.after.as_ref().map(limits)
    }

    /// Whether addresses of one of these families moved.
    fn moved_some(&self, families: &[Family]) -> bool {
        let mut moved = self.moved.iter();
        moved.any(|span| families.contains(&Family::of(span.start.address())))
    }
}

/// The Services to look at again after the edit, which the world shows already.
pub(super) fn affected(
    world: &World,
    waiting: &BTreeSet<QueueKey>,
    edit: &Edit,
) -> BTreeSet<HolderKey> {
    let book = &world.book;
    let mut affected: BTreeSet<HolderKey> = BTreeSet::new();
    for span in edit.moved.iter() {
        let holders = book.within(span).flat_map(|(_, entry)| entry.holder_keys());
        affected.extend(holders);
        let names = |service: &&Arc<Service>| {
            let mut external = service.external.iter();
            external.any(|address| span.contains(Point::from(*address)))
        };
        let external = world.external.values().filter(names);
        affected.extend(external.map(|service| service.key.clone()));
    }
    if edit.admits_otherwise() {
        for span in edit.versions().flat_map(|pool| pool.usable.iter()) {
            let holders = book.within(span).flat_map(|(_, entry)| entry.holder_keys());
            affected.extend(holders.filter(|key| {
                let service = world.services.get(key);
                service.is_some_and(|service| keeps_otherwise(world, edit, service))
            }));
        }
    }
    if edit.stands_otherwise() || !edit.moved.is_empty() {
        let names = |service: &&Arc<Service>| {
            let request = service.readable();
            request.is_some_and(|request| request.names(edit.name))
        };
        let namers = world.services.values().filter(names);
        affected.extend(namers.map(|service| service.key.clone()));
    }
    let waiting = waiting.iter().filter(|queued| {
        let service = world.services.get(&queued.key);
        service.is_some_and(|service| hopes_otherwise(world, edit, service))
    });
    affected.extend(waiting.map(|queued| queued.key.clone()));
    affected
}

fn keeps_otherwise(world: &World, edit: &Edit, service: &Service) -> bool {
    let answer = |pool: &Arc<Pool>| (pool.draining, world.admits(pool, service));
    edit.before.as_ref().map(answer) != edit.after.as_ref().map(answer)
}

/// Whether one who waits could get, or has to be told, something else than before.
fn hopes_otherwise(world: &World, edit: &Edit, service: &Service) -> bool {
    let Some(request) = service.readable() else {
        return false;
    };
    let asked = || {
        let asked = request.addresses.iter().chain(&service.external);
        asked.map(|address| Point::from(*address))
    };
    // By address: it moved, or the pool that has it thinks otherwise; and a refusal of an
    // address that lies in no pool lists the pools there are.
    let shown = || service.status.iter().map(|address| Point::from(*address));
    let inside = |at| edit.versions().any(|pool| pool.usable.contains(at));
    if asked().any(|at| edit.moved.contains(at))
        || edit.limits_otherwise()
        || shown().any(inside)
        || (asked().any(inside) && offers_otherwise(world, edit, service, true))
        || (edit.stands_otherwise() && asked().any(|at| world.pools.covering(at).is_empty()))
    {
        return true;
    }
    // By family: those it asks no address of.
    let named = !request.pools.is_empty();
    let mut families = service.families.clone();
    let by_name = |family: &Family| {
        let mut asked = request.addresses.iter();
        asked.any(|address| Family::of(*address) == *family)
    };
    families.retain(|family| !by_name(family));
    if families.is_empty() || !request.accepts(edit.name) {
        return false;
    }
    let offered = edit
        .versions()
        .any(|pool| world.offers(pool, service, named).is_ok());
    offers_otherwise(world, edit, service, named) || (offered && edit.moved_some(&families))
}

fn offers_otherwise(world: &World, edit: &Edit, service: &Service, named: bool) -> bool {
    let answer = |pool: &Arc<Pool>| -> Result<(), Rejection> { world.offers(pool, service, named) };
    edit.before.as_ref().map(answer) != edit.after.as_ref().map(answer)
}
