//! What an event changes: one method for each kind of news, `*_seen` and `*_gone`.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use ipnetwork::IpNetwork;
use landfall_crds::version::supersedes;
use landfall_crds::{HolderKind, LoadBalancerIPSpec};

use super::impact::{Edit, affected};
use super::{Index, release_key};
use crate::address::Point;
use crate::book::record::from_pool;
use crate::book::{Entry, Stored};
use crate::pools::{Pool, PoolError};
use crate::service::{Labels, Service};
use crate::spans::{Span, Spans};
use crate::world::Network;
use crate::{HolderKey, PoolName};

impl Index {
    /// A Service was added or changed.
    pub fn service_seen(&mut self, service: Service) {
        let key = service.key.clone();
        self.cluster_seen(&key, &service.cluster);
        if service.external.is_empty() {
            self.world.external.remove(&key);
        } else {
            let external = Arc::new(service.clone());
            self.world.external.insert(key.clone(), external);
        }
        self.external_changed(&key);
        self.neighbours_changed(&service);
        self.status_seen(&service);
        let holds = self.world.book.held_by(&key).next().is_some();
        let before = self.world.services.get(&key);
        if let Some(before) = before.filter(|before| before.created != service.created) {
            let queued = before.queue_key();
            self.waiting.remove(&queued);
            self.dirty.remove(&queued);
        }
        if before.is_none_or(|before| !before.shares_as(&service)) {
            self.terms_changed(&service);
        }
        self.gone.remove(&key);
        if !service.wanted {
            self.waiting.remove(&service.queue_key());
            if !holds && !service.touched {
                self.world.services.remove(&key);
                return;
            }
        }
        self.dirty.insert(service.queue_key());
        self.world.services.insert(key.clone(), Arc::new(service));
        self.release_former(&key);
    }

    /// Those who hold an external address that a Service without one of ours names too are told of
    /// its ports.
    fn neighbours_changed(&mut self, service: &Service) {
        if service.wanted {
            return;
        }
        let points = service.external.iter().map(|address| Point::from(*address));
        let entries = points.filter_map(|at| self.world.book.get(at));
        let holders: Vec<HolderKey> = entries.flat_map(Entry::holder_keys).collect();
        self.touch(holders);
    }

    /// What a former Service of this name holds is released before anything else.
    fn release_former(&mut self, key: &HolderKey) {
        let service = self.world.services.get(key);
        let held = self.world.held(key);
        if service.is_some_and(|service| !self.world.former(service, &held).is_empty()) {
            self.dirty.insert(release_key(key));
        }
    }

    /// What its status last showed is remembered: it may be lost the next moment.
    fn status_seen(&mut self, service: &Service) {
        let shown = &mut self.world.shown;
        let before = self.world.services.get(&service.key);
        // Who wants nothing any more gives up what it was shown, and begins anew if it ever does.
        if !service.wanted || before.is_none_or(|before| before.uid != service.uid) {
            shown.remove(&service.key);
        }
        if service.wanted && service.ours && !service.status.is_empty() {
            let now = service.status.iter().copied().collect();
            shown.insert(service.key.clone(), now);
        }
    }

    /// Those who share, or would share, with this Service are looked at again.
    fn terms_changed(&mut self, service: &Service) {
        let held: Vec<Point> = self.world.book.held_by(&service.key).collect();
        let sharers: Vec<HolderKey> = held
            .iter()
            .filter_map(|at| self.world.book.get(*at))
            .flat_map(Entry::holder_keys)
            .filter(|key| *key != service.key)
            .collect();
        self.touch(sharers);
        self.freed.extend(held);
    }

    /// A Service was deleted.
    pub fn service_gone(&mut self, key: &HolderKey) {
        self.cluster_seen(key, &[]);
        self.world.external.remove(key);
        self.external_changed(key);
        self.world.shown.remove(key);
        let Some(service) = self.world.services.remove(key) else {
            return;
        };
        self.waiting.remove(&service.queue_key());
        self.dirty.remove(&service.queue_key());
        self.release(key);
    }

    /// Nobody of this name exists any more: what it holds is released.
    pub fn release(&mut self, key: &HolderKey) {
        if self.world.book.held_by(key).next().is_some() {
            self.gone.insert(key.clone());
            self.dirty.insert(release_key(key));
        }
    }

    /// A record was added or changed, or our own write of it was answered.
    pub fn record_seen(&mut self, at: Point, stored: Stored) {
        if self.buried.get(&at).is_some_and(|uid| *uid == stored.uid) {
            return;
        }
        if self.world.book.unreadable(at) {
            self.unreadable_changed(at, None);
        }
        let entry = self.world.book.get(at);
        let before = entry.and_then(|entry| entry.stored.as_ref());
        if before.is_some_and(|before| !supersedes(&stored, before)) {
            return;
        }
        let same = before.is_some_and(|before| before.spec == stored.spec)
            || entry.and_then(|entry| entry.want.as_ref()) == Some(&stored.spec);
        // What it says of itself may be a write of ours of which only an error was heard, and of a world that has changed.
        let marks = |stored: &Stored| (stored.out_of_pool.clone(), stored.shown_to.clone());
        let is_marked_anew = before.map(marks).unwrap_or_default() != marks(&stored);
        let mut affected: BTreeSet<HolderKey> =
            entry.into_iter().flat_map(Entry::holder_keys).collect();
        self.change(at, |entry| {
            if !same {
                entry.want = Some(stored.spec.clone());
            }
            entry.stored = Some(stored);
        });
        let entry = self.world.book.get(at);
        if let Some(kept) = entry.and_then(Entry::ended_for) {
            self.dirty.insert(release_key(&kept));
        }
        if (!same || is_marked_anew)
            && let Some(entry) = self.world.book.get(at)
        {
            affected.extend(entry.holder_keys());
            let kept = entry
                .want
                .as_ref()
                .and_then(|want| want.reserved_for.as_ref());
            affected.extend(kept.and_then(|kept| {
                let kind = HolderKind::parse(&kept.kind)?;
                Some(HolderKey::new(kind, &kept.namespace, &kept.name))
            }));
            for key in &affected {
                self.release_former(key);
            }
            self.touch(affected);
        }
    }

    /// A record was deleted, by us (`ours`) or as the watch says.
    pub fn record_gone(&mut self, at: Point, uid: &str, ours: bool) {
        if ours {
            self.buried.insert(at, uid.to_owned());
        } else if self.buried.get(&at).is_some_and(|buried| buried == uid) {
            self.buried.remove(&at);
        }
        let unreadable = self.world.book.occupied().unreadable.get(&at);
        if unreadable.is_some_and(|unreadable| unreadable == uid) {
            self.unreadable_changed(at, None);
        }
        let Some(entry) = self.world.book.get(at) else {
            return;
        };
        if entry.stored.as_ref().is_none_or(|stored| stored.uid != uid) {
            return;
        }
        let holders: Vec<HolderKey> = entry
            .holder_keys()
            .filter(|key| self.world.services.contains_key(key))
            .collect();
        // A holder's record that somebody deletes comes back; one that the leader deleted does not.
        let wanted = self.leads && !holders.is_empty();
        self.change(at, |entry| {
            entry.stored = None;
            if !wanted {
                entry.want = None;
            }
        });
        self.touch(holders);
    }

    /// A namespace's labels were seen; `None` when it is gone.
    pub fn namespace_seen(&mut self, name: &str, labels: Option<Labels>) {
        let namespaces = &mut self.world.namespaces;
        let same = namespaces.get(name) == labels.as_ref();
        match labels {
            Some(labels) => namespaces.insert(name.to_owned(), labels),
            None => namespaces.remove(name),
        };
        if !same {
            let first = HolderKey::service(name, "");
            let inside = self.world.services.range(first..);
            let inside = inside.take_while(|(key, _)| key.namespace == name);
            self.dirty
                .extend(inside.map(|(_, service)| service.queue_key()));
            let external = self.world.external.range(HolderKey::service(name, "")..);
            let external = external.map(|(key, _)| key.clone());
            let external: Vec<_> = external.take_while(|key| key.namespace == name).collect();
            for key in &external {
                self.external_changed(key);
            }
        }
    }

    /// A node's addresses were seen; none when it is gone.
    pub fn node_seen(&mut self, node: &str, addresses: &BTreeSet<Point>) {
        for at in self.world.book.set_node(node, addresses) {
            self.occupation_changed(at);
        }
    }

    /// Who holds the address is told whose it is too; who waits may have it when it is free.
    fn occupation_changed(&mut self, at: Point) {
        self.pools_at(at);
        let entry = self.world.book.get(at);
        let holders: Vec<HolderKey> = entry.into_iter().flat_map(Entry::holder_keys).collect();
        if holders.is_empty() {
            self.freed.insert(at);
        }
        self.touch(holders);
    }

    /// Whatever its type and class, the cluster IPs a Service has are its own.
    fn cluster_seen(&mut self, key: &HolderKey, addresses: &[IpAddr]) {
        let points = addresses.iter().map(|address| Point::from(*address));
        for at in self.world.book.set_cluster(key, &points.collect()) {
            self.occupation_changed(at);
        }
    }

    /// The address ranges of a ServiceCIDR or of a node's Pods were seen; none when it is gone.
    /// Text that is no range says nothing.
    pub fn network_seen(&mut self, network: Network, ranges: &[String]) {
        let read =
            |text: &String| Some((text.clone(), Span::from(text.parse::<IpNetwork>().ok()?)));
        let spans: Vec<(String, Span)> = ranges.iter().filter_map(read).collect();
        let known = &mut self.world.networks;
        let before = match spans.is_empty() {
            true => known.remove(&network),
            false => known.insert(network, spans.clone()),
        };
        let before = before.unwrap_or_default();
        if before == spans {
            return;
        }
        let moved = before.iter().chain(&spans);
        let moved: Spans = moved.map(|(_, span)| *span).collect();
        let pools = self.world.pools.ordered().iter();
        let touched = pools.filter(|pool| {
            let mut moved = moved.iter();
            moved.any(|span| pool.usable.within(span).next().is_some())
        });
        self.dirty_pools
            .extend(touched.map(|pool| pool.name.clone()));
    }

    /// Which external addresses a Service keeps from others is looked at anew.
    fn external_changed(&mut self, key: &HolderKey) {
        let points = self.world.kept_from_others(key);
        for at in self.world.book.set_external(key, &points) {
            self.occupation_changed(at);
        }
    }

    /// A record was seen that cannot be read, or does not say what its name says: all that is known
    /// is that its address is in use. What was known of it before stays.
    pub fn record_unreadable(&mut self, at: Point, uid: &str) {
        self.unreadable_changed(at, Some(uid.to_owned()));
    }

    fn unreadable_changed(&mut self, at: Point, uid: Option<String>) {
        self.world.book.set_unreadable(at, uid);
        self.occupation_changed(at);
        let shown = |service: &&Arc<Service>| service.status.contains(&at.address());
        let shown = self.world.services.values().filter(shown);
        self.dirty.extend(shown.map(|service| service.queue_key()));
    }

    /// A pool was added, changed or (with `None`) deleted.
    pub fn pool_seen(&mut self, name: &PoolName, pool: Option<Result<Pool, PoolError>>) {
        let known = self.world.pools.get(name);
        let same = match (known, &pool) {
            (Some(Ok(before)), Some(Ok(after))) => **before == *after,
            (Some(Err(before)), Some(Err(after))) => before == after,
            (None, None) => true,
            _ => false,
        };
        self.dirty_pools.insert(name.clone());
        if same {
            return;
        }
        // Before and after: who shared addresses with the old version no longer does.
        let overlapping = |index: &mut Self, pool: Option<&Arc<Pool>>| {
            if let Some(pool) = pool {
                let names = index.world.pools.overlapping(pool);
                index.dirty_pools.extend(names);
            }
        };
        let before = known.and_then(|known| known.as_ref().ok()).cloned();
        overlapping(self, before.as_ref());
        self.world.pools.set(name, pool);
        let after = self.world.pools.accepted(name).cloned();
        overlapping(self, after.as_ref());
        let external: Vec<HolderKey> = self.world.external.keys().cloned().collect();
        for key in &external {
            self.external_changed(key);
        }
        let unwritten = self.unwritten(name, before.as_ref(), after.as_ref());
        if after.as_ref().is_none_or(|pool| pool.draining) {
            self.unbook(name);
        }
        let affected = affected(&self.world, &self.waiting, &Edit::new(name, before, after));
        self.touch(affected);
        for at in unwritten {
            self.change(at, |entry| entry.want = None);
        }
    }

    /// Addresses that were to be booked to a pool that goes stay booked where their records say: no
    /// record comes to name a pool that nobody holds any more.
    fn unbook(&mut self, name: &PoolName) {
        let gone = self.world.pools.get(name).is_none();
        let names = |spec: &LoadBalancerIPSpec| {
            let pool = spec.pool_ref.as_ref();
            pool.is_some_and(|pool| pool.name == name.as_str())
        };
        let moves = |entry: &Entry| {
            let stored = entry.stored.as_ref().map(|stored| &stored.spec);
            entry.want.as_ref().is_some_and(names) && !stored.map_or(!gone, names)
        };
        let entries = self.world.book.entries();
        let moving: Vec<Point> = entries
            .filter(|(_, entry)| moves(entry))
            .map(|(at, _)| at)
            .collect();
        for at in moving {
            self.change(at, |entry| {
                let stored = entry.stored.as_ref();
                let before = stored.and_then(|stored| stored.spec.pool_ref.clone());
                if let Some(want) = &mut entry.want {
                    want.pool_ref = before;
                }
            });
        }
    }

    /// What was chosen from a pool and neither written nor shown before the pool lost it: that was
    /// never anybody's.
    fn unwritten(
        &self,
        name: &PoolName,
        before: Option<&Arc<Pool>>,
        after: Option<&Arc<Pool>>,
    ) -> Vec<Point> {
        let lost = |at: &Point| after.is_none_or(|pool| !pool.usable.contains(*at));
        let shown = |at: &Point, key: &HolderKey| {
            let service = self.world.services.get(key);
            service.is_some_and(|service| service.status.contains(&at.address()))
        };
        let spans = before.into_iter().flat_map(|pool| pool.usable.iter());
        let entries = spans.flat_map(|span| self.world.book.within(span));
        entries
            .filter(|(at, entry)| {
                entry.stored.is_none()
                    && from_pool(entry, name)
                    && lost(at)
                    && !entry.holder_keys().any(|key| shown(at, &key))
            })
            .map(|(at, _)| at)
            .collect()
    }
}
