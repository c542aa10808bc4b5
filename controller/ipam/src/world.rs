//! The one picture everything is decided by: pools, records, Services, namespaces, nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::HolderKey;
use crate::address::{Family, Point};
use crate::book::record::from_pool;
use crate::book::{Book, holder_key};
use crate::pools::{Pool, Pools};
use crate::pools::{Rejection, admits, offers};
use crate::service::{FamilyPolicy, Labels, Service};
use crate::spans::Span;

/// Whose a range of addresses inside the cluster is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Network {
    /// Cluster IPs come from it: a ServiceCIDR, by name.
    Services(String),
    /// Pods of a node have addresses of it.
    Pods(String),
}

/// The world as the allocator sees it.
#[derive(Clone, Debug, Default)]
pub(crate) struct World {
    /// Where addresses come from.
    pub(crate) pools: Pools,
    /// Who has which address.
    pub(crate) book: Book,
    /// Who may want one.
    pub(crate) services: BTreeMap<HolderKey, Arc<Service>>,
    /// Which addresses the status of a Service named last, while it is wanted. It counts for those that
    /// require both families: a half that was never shown is given up, a half that was shown stays,
    /// also when its status is lost. Over a restart the records say it, where it matters.
    pub(crate) shown: BTreeMap<HolderKey, BTreeSet<IpAddr>>,
    /// The Services that name external addresses, whatever their type and class.
    pub(crate) external: BTreeMap<HolderKey, Arc<Service>>,
    /// Address ranges that the cluster uses for itself, as they are written.
    pub(crate) networks: BTreeMap<Network, Vec<(String, Span)>>,
    /// Labels of namespaces.
    pub(crate) namespaces: BTreeMap<String, Labels>,
}

impl World {
    /// The external addresses of a Service that are ours to give: a pool or a record has them.
    /// Others are somebody else's business, and one of a family the Service does not have serves
    /// nobody: it is only never handed out.
    pub(crate) fn claims(&self, service: &Service) -> impl Iterator<Item = IpAddr> {
        let ours = |address: &&IpAddr| {
            let at = Point::from(**address);
            service.families.contains(&Family::of(**address))
                && (!self.pools.covering(at).is_empty() || self.book.get(at).is_some())
        };
        service.external.iter().filter(ours).copied()
    }

    /// Which of its external addresses a Service keeps from everybody else: those of no pool, and
    /// those of a pool that would admit it and respects them. Nobody empties a pool it may not use.
    pub(crate) fn kept_from_others(&self, key: &HolderKey) -> BTreeSet<Point> {
        let Some(service) = self.external.get(key) else {
            return BTreeSet::new();
        };
        let points = service.external.iter().map(|address| Point::from(*address));
        let kept = |at: &Point| {
            let covering = self.pools.covering(*at);
            let respects = |pool: &Arc<Pool>| pool.respects_external;
            let admitting = |pool: &Arc<Pool>| self.admits(pool, service).is_ok();
            covering.is_empty()
                || covering
                    .iter()
                    .any(|pool| respects(pool) && admitting(pool))
        };
        points.filter(kept).collect()
    }

    /// What a holder holds.
    pub(crate) fn held(&self, key: &HolderKey) -> Vec<Point> {
        self.book.held_by(key).collect()
    }

    /// What a former Service of this name holds still, and its uid.
    pub(crate) fn former(&self, service: &Service, held: &[Point]) -> BTreeMap<Point, String> {
        let others = held.iter().flat_map(|&at| {
            let entry = self.book.get(at).into_iter();
            let holders = entry.flat_map(|entry| entry.holders());
            holders
                .filter(|holder| holder_key(holder).as_ref() == Some(&service.key))
                .filter(|holder| !holder.uid.is_empty() && holder.uid != service.uid)
                .map(move |holder| (at, holder.uid.clone()))
        });
        others.collect()
    }

    /// What is kept for a Service by a reservation of ours that has ended.
    pub(crate) fn ended(&self, key: &HolderKey) -> impl Iterator<Item = Point> {
        let kept = self.book.reserved_for(key);
        kept.filter(|at| {
            self.book
                .get(*at)
                .is_some_and(|entry| entry.ended_for().is_some())
        })
    }

    /// Whether a status of the Service names the address, or did.
    pub(crate) fn was_shown(&self, service: &Service, address: IpAddr) -> bool {
        let both = service.policy == FamilyPolicy::RequireDualStack;
        let before = self.shown.get(&service.key).filter(|_| both);
        let entry = self.book.get(Point::from(address));
        let stored = entry.and_then(|entry| entry.stored.as_ref());
        let noted = stored.is_some_and(|stored| stored.shown_to.contains(&service.uid));
        (service.ours && service.status.contains(&address))
            || noted
            || before.is_some_and(|all| all.contains(&address))
    }

    /// The lowest free address of a span.
    pub(crate) fn first_free(&self, span: Span) -> Option<Point> {
        self.book.taken().first_gap(span)
    }

    /// Whether the pool's selectors admit the Service.
    pub(crate) fn admits(&self, pool: &Pool, service: &Service) -> Result<(), Rejection> {
        admits(pool, service, self.namespaces.get(&service.key.namespace))
    }

    /// Whether the pool gives the Service a new address.
    pub(crate) fn offers(
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

    /// Whether the pool gives the Service one more, besides so many that are about to be taken: a
    /// free address, or a share of this one.
    pub(crate) fn within_limits(
        &self,
        pool: &Pool,
        service: &Service,
        share: Option<Point>,
        pending: usize,
    ) -> Result<(), Rejection> {
        let mine = |at: &Point| {
            let entry = self.book.get(*at);
            entry.is_some_and(|entry| from_pool(entry, &pool.name))
        };
        let reaches = |held: usize, most: u32| held + pending >= most as usize;
        if let Some(most) = pool.max_per_service {
            let held = self.book.held_by(&service.key).filter(mine);
            if reaches(held.count(), most) {
                return Err(Rejection::ServiceLimit(most));
            }
        }
        if let Some(most) = pool.max_per_namespace {
            let held = self.book.held_in(&service.key.namespace);
            let held: BTreeSet<Point> = held.filter(mine).collect();
            let counted = share.is_some_and(|at| held.contains(&at));
            if !counted && reaches(held.len(), most) {
                return Err(Rejection::NamespaceLimit(most));
            }
        }
        Ok(())
    }
}
