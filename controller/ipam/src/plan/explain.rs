//! Why a Service has, or has not, its addresses: the plan, and every pool's word on it.

use std::net::IpAddr;

use super::Plan;
use super::planner::plan;
use crate::address::{Family, Point};
use crate::counts::Counts;
use crate::pools::Rejection;
use crate::service::Service;
use crate::world::World;
use crate::{HolderKey, PoolName};

/// What one pool says to one Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolAnswer {
    /// The pool.
    pub pool: PoolName,
    /// Why it gives nothing; `None`: it would.
    pub rejection: Option<String>,
    /// What would help against that.
    pub remedy: Option<&'static str>,
    /// Free addresses of the Service's families.
    pub free: Vec<(Family, u128)>,
}

/// The whole explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What would be done now.
    pub plan: Plan,
    /// The addresses it has or gets.
    pub addresses: Vec<IpAddr>,
    /// Those who wait and were there before it.
    pub ahead: Vec<HolderKey>,
    /// The pools, the preferred one first.
    pub pools: Vec<PoolAnswer>,
    /// Refused pools, with the field and the remedy.
    pub refused: Vec<(PoolName, String)>,
}

/// Explains a Service's situation; changes nothing.
pub(crate) fn explain(world: &World, service: &Service) -> Explanation {
    let plan = plan(world, service, &world.held(&service.key));
    let request = service.readable();
    let pools = world.pools.ordered().iter().map(|pool| {
        let named = request.is_some_and(|request| {
            request.names(&pool.name)
                || request
                    .addresses
                    .iter()
                    .chain(&service.external)
                    .any(|a| pool.usable.contains(Point::from(*a)))
        });
        let families = service.families.iter();
        let chosen = request.is_none_or(|request| request.accepts(&pool.name));
        let rejection = match world.offers(pool, service, named) {
            Ok(()) if !chosen => Some(Rejection::OtherPool),
            offered => offered
                .and_then(|()| world.within_limits(pool, service, None, 0))
                .err(),
        };
        PoolAnswer {
            pool: pool.name.clone(),
            rejection: rejection.map(|why| why.to_string()),
            remedy: rejection.map(Rejection::remedy),
            free: families
                .map(|family| (*family, Counts::of(&world.book, pool, *family).available))
                .collect(),
        }
    });
    let refused = world
        .pools
        .names()
        .filter_map(|name| match world.pools.get(name) {
            Some(Err(error)) => Some((name.clone(), error.to_string())),
            _ => None,
        });
    let before = world.services.values().filter(|other| {
        other.wanted
            && other.queue_key() < service.queue_key()
            && world.book.held_by(&other.key).next().is_none()
    });
    Explanation {
        addresses: plan.addresses(service),
        ahead: before.map(|other| other.key.clone()).collect(),
        pools: pools.collect(),
        refused: refused.collect(),
        plan,
    }
}
