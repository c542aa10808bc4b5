//! Why a Service has, or has not, its addresses: the plan, and every pool's word on it.

use std::net::IpAddr;

use super::address::{Family, Point};
use super::plan::Plan;
use super::service::Service;
use super::world::World;
use super::{PoolName, ServiceKey};

/// What one pool says to one Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolAnswer {
    /// The pool.
    pub pool: PoolName,
    /// Why it gives nothing; `None`: it would.
    pub rejection: Option<String>,
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
    pub ahead: Vec<ServiceKey>,
    /// The pools, the preferred one first.
    pub pools: Vec<PoolAnswer>,
    /// Refused pools, with the field and the remedy.
    pub refused: Vec<(PoolName, String)>,
}

impl World {
    /// Explains a Service's situation; changes nothing.
    #[must_use]
    pub fn explain(&self, service: &Service) -> Explanation {
        let plan = self.plan(service);
        let request = service.readable();
        let pools = self.pools.ordered().iter().map(|pool| {
            let named = request.is_some_and(|request| {
                request.pool.as_ref() == Some(&pool.name)
                    || request
                        .addresses
                        .iter()
                        .chain(&service.external)
                        .any(|a| pool.usable.contains(Point::from(*a)))
            });
            let families = service.families.iter();
            PoolAnswer {
                pool: pool.name.clone(),
                rejection: self
                    .offers(pool, service, named)
                    .err()
                    .map(|why| why.to_string()),
                free: families
                    .map(|family| (*family, self.counts(pool, *family).available))
                    .collect(),
            }
        });
        let refused = self
            .pools
            .names()
            .filter_map(|name| match self.pools.get(name) {
                Some(Err(error)) => Some((name.clone(), error.to_string())),
                _ => None,
            });
        let before = self.services.values().filter(|other| {
            other.wanted
                && other.turn() < service.turn()
                && self.book.held_by(&other.key).next().is_none()
        });
        Explanation {
            addresses: plan.addresses(service),
            ahead: before.map(|other| other.key.clone()).collect(),
            pools: pools.collect(),
            refused: refused.collect(),
            plan,
        }
    }
}
