//! What an index is asked: nobody outside needs to know how the world is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use landfall_crds::HolderKind;

use super::Index;
use crate::address::{Family, Point};
use crate::book::record::from_pool;
use crate::book::{Entry, holder_key};
use crate::counts::{Counts, standing};
use crate::plan::{Explanation, Plan, explain, plan};
use crate::pools::{Pool, PoolError};
use crate::service::{Labels, Service};
use crate::spans::Spans;
use crate::{HolderKey, Network, PoolName};

impl Index {
    /// A Service that may want an address, or has one.
    #[must_use]
    pub fn service(&self, key: &HolderKey) -> Option<&Arc<Service>> {
        self.world.services.get(key)
    }

    /// All of them.
    pub fn services(&self) -> impl ExactSizeIterator<Item = &Arc<Service>> {
        self.world.services.values()
    }

    /// The Services of which something is known, be it only their cluster IPs or external addresses.
    #[must_use]
    pub fn known_services(&self) -> BTreeSet<HolderKey> {
        let occupied = self.world.book.occupied();
        let elsewhere = occupied.external.all().chain(occupied.cluster.all());
        let services = self.world.services.keys();
        services.chain(elsewhere).cloned().collect()
    }

    /// The Gateways that may want an address, or have one.
    #[must_use]
    pub fn known_gateways(&self) -> Vec<HolderKey> {
        let keys = self.world.services.keys();
        let gateways = keys.filter(|key| key.kind == HolderKind::Gateway);
        gateways.cloned().collect()
    }

    /// A pool: compiled or refused.
    #[must_use]
    pub fn pool(&self, name: &PoolName) -> Option<&Result<Arc<Pool>, PoolError>> {
        self.world.pools.get(name)
    }

    /// All pools by name, with what is wrong with those that are not accepted.
    pub fn all_pools(&self) -> impl Iterator<Item = (&PoolName, &Result<Arc<Pool>, PoolError>)> {
        self.world.pools.all()
    }

    /// The accepted pools, the preferred one first.
    #[must_use]
    pub fn pools(&self) -> &[Arc<Pool>] {
        self.world.pools.ordered()
    }

    /// The pools that have addresses in common with this one.
    #[must_use]
    pub fn overlapping(&self, pool: &Pool) -> BTreeSet<PoolName> {
        self.world.pools.overlapping(pool)
    }

    /// How many addresses of a family a pool has, and how they are used.
    #[must_use]
    pub fn counts_of(&self, pool: &Pool, family: Family) -> Counts {
        Counts::of(&self.world.book, pool, family)
    }

    /// What stands in a pool's addresses beside its holders, in words.
    #[must_use]
    pub fn standing_in(&self, pool: &Pool, family: Family) -> Option<String> {
        standing(&self.world.book, pool, family)
    }

    /// The addresses of nodes that lie in a pool, and whose they are.
    #[must_use]
    pub fn nodes_in(&self, pool: &Pool) -> Vec<(Point, Vec<String>)> {
        self.world.book.nodes_in(&pool.usable)
    }

    /// The ranges inside the cluster that a pool has addresses of: each as written, and whose it is.
    #[must_use]
    pub fn networks_in(&self, pool: &Pool) -> Vec<(&str, &Network)> {
        let networks = self.world.networks.iter();
        let ranges = networks.flat_map(|(network, ranges)| {
            let ranges = ranges.iter();
            ranges.map(move |(text, span)| (text.as_str(), network, *span))
        });
        ranges
            .filter(|(_, _, span)| pool.usable.within(*span).next().is_some())
            .map(|(text, network, _)| (text, network))
            .collect()
    }

    /// The ranges inside the cluster that are known.
    #[must_use]
    pub fn known_networks(&self) -> BTreeSet<Network> {
        self.world.networks.keys().cloned().collect()
    }

    /// The names of nodes that have addresses.
    #[must_use]
    pub fn known_nodes(&self) -> BTreeSet<String> {
        self.world.book.occupied().nodes.all().cloned().collect()
    }

    /// The labels of namespaces.
    #[must_use]
    pub fn namespaces(&self) -> &BTreeMap<String, Labels> {
        &self.world.namespaces
    }

    /// Every address that somebody holds or keeps, ascending.
    pub fn entries(&self) -> impl Iterator<Item = (Point, &Entry)> {
        self.world.book.entries()
    }

    /// The entry of an address.
    #[must_use]
    pub fn entry(&self, at: Point) -> Option<&Entry> {
        self.world.book.get(at)
    }

    /// The records there are, the unreadable ones too, with their uids.
    #[must_use]
    pub fn known_records(&self) -> BTreeSet<(Point, String)> {
        let readable = self.world.book.entries().filter_map(|(at, entry)| {
            let stored = entry.stored.as_ref()?;
            Some((at, stored.uid.clone()))
        });
        let unreadable = &self.world.book.occupied().unreadable;
        let unreadable = unreadable.iter().map(|(at, uid)| (*at, uid.clone()));
        readable.chain(unreadable).collect()
    }

    /// The addresses a Service holds.
    pub fn held_by(&self, key: &HolderKey) -> impl Iterator<Item = Point> {
        self.world.book.held_by(key)
    }

    /// Everything that cannot be handed out.
    #[must_use]
    pub fn taken(&self) -> &Spans {
        self.world.book.taken()
    }

    /// Whether the record of this address cannot be read.
    #[must_use]
    pub fn unreadable(&self, at: Point) -> bool {
        self.world.book.unreadable(at)
    }

    /// What would become of a Service now; changes nothing.
    #[must_use]
    pub fn preview(&self, service: &Service) -> Plan {
        plan(&self.world, service, &self.world.held(&service.key))
    }

    /// Why a Service has what it has; changes nothing.
    #[must_use]
    pub fn explain(&self, service: &Service) -> Explanation {
        explain(&self.world, service)
    }

    /// Holders in records that no known Service stands for, with their uids.
    #[must_use]
    pub fn orphans(&self) -> BTreeSet<(HolderKey, String)> {
        let holders = self
            .world
            .book
            .entries()
            .flat_map(|(_, entry)| entry.holders());
        holders
            .filter_map(|holder| Some((holder_key(holder)?, holder.uid.clone())))
            .filter(|(key, _)| !self.world.services.contains_key(key) && !self.gone.contains(key))
            .collect()
    }

    /// How many records name this pool.
    #[must_use]
    pub fn records_of(&self, name: &PoolName) -> usize {
        self.world
            .book
            .entries()
            .filter(|(_, entry)| from_pool(entry, name))
            .count()
    }
}
