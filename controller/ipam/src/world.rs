//! The one picture everything is decided by: pools, records, Services, namespaces, nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::ServiceKey;
use super::address::{Family, Point};
use super::admission::{Rejection, admits, offers};
use super::book::Book;
use super::pool::Pool;
use super::pools::Pools;
use super::service::{Labels, Service};

/// The world as the allocator sees it.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Where addresses come from.
    pub pools: Pools,
    /// Who has which address.
    pub book: Book,
    /// Who may want one.
    pub services: BTreeMap<ServiceKey, Arc<Service>>,
    /// Which addresses the status of a Service has named, for those that require both families: a
    /// half that was never shown is given up, a half that was shown stays, also when its status is
    /// lost. It is not known over a restart.
    pub(super) shown: BTreeMap<ServiceKey, BTreeSet<IpAddr>>,
    /// Labels of namespaces.
    pub namespaces: BTreeMap<String, Labels>,
}

impl World {
    /// The external addresses of a Service that are ours to give: a pool or a record has them.
    /// Others are somebody else's business, and one of a family the Service does not have serves
    /// nobody: it is only never handed out.
    pub(super) fn claims(&self, service: &Service) -> impl Iterator<Item = IpAddr> {
        let ours = |address: &&IpAddr| {
            let at = Point::from(**address);
            service.families.contains(&Family::of(**address))
                && (!self.pools.covering(at).is_empty() || self.book.get(at).is_some())
        };
        service.external.iter().filter(ours).copied()
    }

    /// Whether a status of the Service names the address, or did.
    pub(super) fn was_shown(&self, service: &Service, address: IpAddr) -> bool {
        let before = self.shown.get(&service.key);
        service.status.contains(&address) || before.is_some_and(|all| all.contains(&address))
    }

    /// Whether the pool's selectors admit the Service.
    pub(super) fn admits(&self, pool: &Pool, service: &Service) -> Result<(), Rejection> {
        admits(pool, service, self.namespaces.get(&service.key.namespace))
    }

    /// Whether the pool gives the Service a new address.
    pub(super) fn offers(
        &self,
        pool: &Pool,
        service: &Service,
        named: bool,
    ) -> Result<(), Rejection> {
        offers(
            pool,
            service,
            self.namespaces.get(&service.key.namespace),
            named,
        )
    }
}
