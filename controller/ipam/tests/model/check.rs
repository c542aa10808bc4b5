//! What holds of a quiet world, and of every write in a restless one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use landfall_crds::{LoadBalancerIPSpec, ReclaimPolicy};
use landfall_ipam::address::{Family, Point};
use landfall_ipam::book::holder_key;
use landfall_ipam::plan::Outcome;
use landfall_ipam::service::FamilyPolicy;
use landfall_ipam::sharing::stay_together;
use landfall_ipam::{HolderKey, PoolName, Service};

use super::world::World;

impl World {
    /// What holds whenever things are quiet.
    pub(super) fn check(&mut self) {
        let mut shown: BTreeMap<IpAddr, BTreeSet<HolderKey>> = BTreeMap::new();
        for service in self.services.values().filter(|service| service.wanted) {
            for address in &service.status {
                // What somebody else wrote is not ours, unless we gave the very same.
                if !service.ours && !self.holds(&service.key, *address) {
                    continue;
                }
                shown
                    .entry(*address)
                    .or_default()
                    .insert(service.key.clone());
            }
        }
        let mut booked: BTreeMap<IpAddr, BTreeSet<HolderKey>> = BTreeMap::new();
        for (at, record) in &self.records {
            let holders = record.spec.holders.iter();
            let keys = holders.filter_map(holder_key).collect();
            self.check_frontends(at.address(), &record.spec);
            if record.spec.holders.is_empty() {
                let kept = record.spec.reclaim_policy == ReclaimPolicy::Retain;
                assert!(kept || !record.reserved_by_us, "{at:?} is kept for nobody");
                continue;
            }
            booked.insert(at.address(), keys);
            for holder in &record.spec.holders {
                let key = holder_key(holder).unwrap();
                assert_eq!(
                    self.services[&key].uid,
                    holder.uid,
                    "{} has a stale holder",
                    at.address()
                );
            }
        }
        assert_eq!(shown, booked, "status and records differ");
        for (address, holders) in &booked {
            for one in holders {
                for two in holders.iter().filter(|two| *two > one) {
                    let clash = stay_together(&self.services[one], &self.services[two], *address);
                    assert_eq!(
                        clash,
                        Ok(()),
                        "{address} has incompatible holders {one} and {two}"
                    );
                }
            }
        }
        self.check_rest();
        self.check_pools();
        for (key, before) in &self.settled {
            let now = &self.services[key].status;
            assert!(
                before.iter().all(|a| now.contains(a)),
                "{key} was moved from {before:?} to {now:?}"
            );
        }
        // A leave to be renumbered, and a request that is not met yet, are standing wishes.
        let elsewhere = |service: &Service, named: &[PoolName]| {
            service.status.iter().any(|address| {
                let from = self
                    .records
                    .get(&Point::from(*address))
                    .and_then(|r| r.spec.pool_ref.as_ref());
                from.is_none_or(|pool| named.iter().all(|name| pool.name != name.as_str()))
            })
        };
        let asks = |service: &Service| {
            service.readable().is_some_and(|request| {
                request.renumber
                    || request
                        .addresses
                        .iter()
                        .any(|a| !service.status.contains(a))
                    || (!request.pools.is_empty() && elsewhere(service, &request.pools))
            })
        };
        let quiet = self
            .services
            .values()
            .filter(|service| service.wanted && !asks(service));
        self.settled = quiet
            .map(|service| {
                let mut has = service.status.clone();
                has.retain(|address| self.holds(&service.key, *address));
                (service.key.clone(), has)
            })
            .collect();
        for controller in &self.controllers {
            for pool in controller.index.pools() {
                for family in Family::ALL {
                    let counts = controller.index.counts_of(pool, family);
                    assert_eq!(
                        counts.assigned + counts.reserved + counts.available,
                        counts.total
                    );
                    let in_use = booked.keys().filter(|a| {
                        Family::of(**a) == family && pool.usable.contains(Point::from(**a))
                    });
                    assert_eq!(
                        counts.assigned,
                        in_use.count() as u128,
                        "{} {family}",
                        pool.name
                    );
                }
            }
        }
    }

    /// Whether a record gives the Service this address.
    fn holds(&self, key: &HolderKey, address: IpAddr) -> bool {
        let record = self.records.get(&Point::from(address));
        let mut holders = record.into_iter().flat_map(|record| &record.spec.holders);
        holders.any(|holder| holder_key(holder).as_ref() == Some(key))
    }

    /// A record says what is served for the Gateways among its holders, and nothing else.
    fn check_frontends(&self, address: IpAddr, spec: &LoadBalancerIPSpec) {
        let holders = spec.holders.iter().filter_map(holder_key);
        let served = holders.flat_map(|key| self.services[&key].frontends.clone());
        let served: BTreeSet<_> = served.collect();
        let said: BTreeSet<_> = spec.frontends.iter().cloned().collect();
        assert_eq!(said, served, "{address} says something else");
        assert_eq!(said.len(), spec.frontends.len(), "{address}");
    }

    /// Nothing is left to do for anybody, and whoever misses something waits.
    fn check_rest(&self) {
        let leaders = self.controllers.iter().enumerate();
        let leaders = leaders.filter(|(which, _)| !self.passive.contains(which));
        for (index, service) in leaders.flat_map(|(_, controller)| {
            let index = &controller.index;
            let services = self.services.values().filter(|service| service.wanted);
            services.map(move |service| (index, service))
        }) {
            let key = &service.key;
            let plan = index.preview(service);
            assert!(plan.take.is_empty(), "{key} could take {:?}", plan.take);
            assert!(plan.leave.is_empty(), "{key} would leave {:?}", plan.leave);
            let addresses = plan.addresses(service);
            let left_alone = addresses.is_empty() && !service.ours;
            assert!(left_alone || addresses == service.status, "{key}");
            let outcome = plan.outcome.unwrap();
            let message = &outcome.message;
            let asked = service.readable().map(|request| &request.addresses);
            for family in Family::ALL {
                let of_family = |a: &&IpAddr| Family::of(**a) == family;
                let mut asked = asked.into_iter().flatten();
                let shown = self.shown.get(&service.uid);
                let was_shown = |a: &IpAddr| shown.is_some_and(|shown| shown.contains(a));
                let unasked = |a: &&IpAddr| of_family(a) && !service.external.contains(a);
                assert!(
                    service.request.is_err()
                        || asked.any(|a| of_family(&a))
                        || left_alone
                        || service.status.iter().filter(unasked).count() <= 1
                        || service.status.iter().filter(unasked).all(was_shown),
                    "{key} has {:?} without asking",
                    service.status
                );
            }
            assert!(plan.waits || outcome.assigned, "{key}: {message}");
        }
    }

    /// Whoever requires both families never gets one of them alone; what it had, it may keep.
    pub(super) fn assert_both_or_none(&self, service: &Service, addresses: &[IpAddr]) {
        let six = addresses.iter().filter(|address| address.is_ipv6()).count();
        let both = six > 0 && six < addresses.len();
        if service.policy != FamilyPolicy::RequireDualStack || both {
            return;
        }
        let shown = self.shown.get(&service.uid);
        for address in addresses {
            let shown = shown.is_some_and(|shown| shown.contains(address));
            assert!(shown, "{} got {address} alone", service.key);
        }
    }

    /// A pool that is being deleted is there only while a record names it.
    fn check_pools(&self) {
        for (name, (_, draining)) in &self.pools {
            let mut refs = self
                .records
                .values()
                .filter_map(|r| r.spec.pool_ref.as_ref());
            let held = refs.any(|pool| pool.name == name.as_str());
            assert!(!draining || held, "pool {name} hangs in deletion");
        }
        // One of two that both believe to lead may let a pool go that the other has just used.
        if self.controllers.len() == 1 {
            let named = self
                .records
                .values()
                .filter_map(|r| r.spec.pool_ref.as_ref());
            for pool in named {
                let name = PoolName::from(pool.name.as_str());
                assert!(self.pools.contains_key(&name), "pool {name} did not drain");
            }
        }
    }
}

/// Whoever is told to have what it wants gets it with the same status.
pub(super) fn assert_word(service: &Service, outcome: &Outcome, addresses: &[IpAddr]) {
    if !outcome.assigned {
        return;
    }
    let (key, message) = (&service.key, &outcome.message);
    let request = service.request.as_ref().unwrap();
    for address in &request.addresses {
        assert!(addresses.contains(address), "{key}: {message}");
    }
    let has = |family: &Family| addresses.iter().any(|a| Family::of(*a) == *family);
    let enough = match service.policy {
        FamilyPolicy::PreferDualStack => service.families.iter().any(has),
        _ => service.families.iter().all(has),
    };
    assert!(enough, "{key} has {addresses:?}: {message}");
}

pub(super) fn assert_spec(spec: &LoadBalancerIPSpec) {
    let shared = spec.sharing_key.as_ref().is_some_and(|key| !key.is_empty());
    assert!(
        spec.holders.len() <= 1 || shared,
        "several holders need a sharingKey: {spec:?}"
    );
    let unique: BTreeSet<_> = spec
        .holders
        .iter()
        .map(|h| (&h.kind, &h.namespace, &h.name))
        .collect();
    assert_eq!(
        unique.len(),
        spec.holders.len(),
        "a holder stands there twice: {spec:?}"
    );
}
