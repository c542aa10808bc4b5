//! The lowest free address of the best pool, found among the candidates alone.

use super::{How, Take};
use crate::address::Family;
use crate::pools::Answer;
use crate::service::Service;
use crate::world::World;

/// The lowest free address of the best pool that admits the Service; `None` when no candidate has
/// one: then every pool has to be asked, and be it only for its reason.
pub(super) fn short_cut(world: &World, service: &Service, family: Family) -> Option<Take> {
    let namespace = world.namespaces.get(&service.key.namespace);
    let taken = world.book.all_taken();
    world
        .pools
        .first(taken, family, service, namespace, |pool| {
            let offered = world.offers(pool, service, false);
            let offered = offered.and_then(|()| world.within_limits(pool, service, None, 0));
            if offered.is_err() {
                return Answer::Refuses;
            }
            let mut spans = pool.spans(family);
            match spans.find_map(|span| world.first_free(span)) {
                Some(at) => Answer::Gives(Take {
                    address: at.address(),
                    how: How::Create,
                    pool: Some(pool.name.clone()),
                }),
                None => Answer::Full,
            }
        })
}
