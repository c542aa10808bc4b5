//! The API server, naively, and the controllers around it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use landfall_crds::{LoadBalancerIPPoolSpec, LoadBalancerIPSpec, ReclaimPolicy};
use landfall_ipam::address::Point;
use landfall_ipam::book::{Stored, Write};
use landfall_ipam::pools::Pool;
use landfall_ipam::{HolderKey, Index, PoolName, QueueKey, Service};

use super::check::{assert_spec, assert_word};

/// What a watch says.
#[derive(Clone, Debug)]
enum Said {
    Service(HolderKey, Option<Service>),
    Pool(PoolName, Option<(LoadBalancerIPPoolSpec, bool)>),
    Record(Point, String, Option<Stored>),
}

/// One controller: its index and what its watches have not told it yet, by kind.
#[derive(Default)]
pub(crate) struct Controller {
    pub(crate) index: Index,
    inbox: [VecDeque<Said>; 3],
}

impl Controller {
    fn hear(&mut self, said: Said) {
        match said {
            Said::Service(_, Some(service)) => self.index.service_seen(service),
            Said::Service(key, None) => self.index.service_gone(&key),
            Said::Pool(name, pool) => {
                let pool =
                    pool.map(|(spec, draining)| Pool::compile(name.as_str(), &spec, draining));
                self.index.pool_seen(&name, pool);
            }
            Said::Record(at, _, Some(stored)) => self.index.record_seen(at, stored),
            Said::Record(at, uid, None) => self.index.record_gone(at, &uid, false),
        }
    }

    /// Delivers the next event of one kind.
    pub(crate) fn deliver(&mut self, kind: usize) {
        if let Some(said) = self.inbox[kind % 3].pop_front() {
            self.hear(said);
        }
    }

    fn begin(&mut self) {
        self.index.adopt();
        // The grace time is over: those who are not there do not come back.
        for (key, _) in self.index.orphans() {
            self.index.release(&key);
        }
    }

    fn deliver_all(&mut self) {
        for kind in 0..3 {
            while !self.inbox[kind].is_empty() {
                self.deliver(kind);
            }
        }
    }
}

/// How a write goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Not at all.
    None,
    /// This write of the step is not done.
    Before(usize),
    /// This write is done, and its answer is lost.
    After(usize),
}

/// The API server, naively.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) services: BTreeMap<HolderKey, Service>,
    pub(crate) pools: BTreeMap<PoolName, (LoadBalancerIPPoolSpec, bool)>,
    /// The pools that have the finalizer: the others go at once when they are deleted.
    held: BTreeSet<PoolName>,
    pub(crate) records: BTreeMap<Point, Stored>,
    pub(crate) controllers: Vec<Controller>,
    /// Those who only listen: another one leads.
    pub(super) passive: BTreeSet<usize>,
    clock: u64,
    /// What a status of each Service has ever named, by uid.
    pub(super) shown: BTreeMap<String, BTreeSet<IpAddr>>,
    /// What each Service had when things were last quiet and it did not ask for anything since.
    pub(super) settled: BTreeMap<HolderKey, Vec<IpAddr>>,
}

impl World {
    pub(crate) fn new(controllers: usize) -> Self {
        let mut world = Self {
            controllers: (0..controllers).map(|_| Controller::default()).collect(),
            ..Self::default()
        };
        for controller in &mut world.controllers {
            controller.index.adopt();
        }
        world
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn say(&mut self, kind: usize, said: &Said) {
        for controller in &mut self.controllers {
            controller.inbox[kind].push_back(said.clone());
        }
    }

    /// A person applies a Service: made new, or changed.
    pub(crate) fn put_service(&mut self, mut service: Service) {
        let key = service.key.clone();
        match self.services.get(&key) {
            Some(before) => {
                service.uid.clone_from(&before.uid);
                service.created = before.created;
                service.status.clone_from(&before.status);
                service.hosts.clone_from(&before.hosts);
                service.ours = before.ours;
                service.touched = before.touched;
                if *before == service {
                    return;
                }
            }
            None => {
                service.created = i64::try_from(self.tick()).unwrap();
                service.uid = format!("uid-{}", service.created);
            }
        }
        // Whoever shares with it may have to make room for its new ports; not for its new key.
        let group = |service: &Service| {
            service
                .readable()
                .and_then(|r| r.sharing.as_ref().map(|s| s.key.clone()))
        };
        let before = self.services.get(&key);
        if before.is_some_and(|before| {
            before.request.is_err() || service.request.is_err() || group(before) == group(&service)
        }) {
            let shares = |other: &Service| other.readable().is_none_or(|r| r.sharing.is_some());
            let sharers: Vec<_> = self
                .services
                .values()
                .filter(|s| shares(s))
                .map(|s| s.key.clone())
                .collect();
            sharers
                .iter()
                .for_each(|key| drop(self.settled.remove(key)));
        }
        // And so may whoever names an external address that it names too, or did.
        let before = before.into_iter().flat_map(|before| &before.external);
        let external: Vec<IpAddr> = before.chain(&service.external).copied().collect();
        let names = |other: &Service| other.external.iter().any(|a| external.contains(a));
        let beside = self.services.values().filter(|other| names(other));
        let beside: Vec<_> = beside.map(|other| other.key.clone()).collect();
        beside.iter().for_each(|key| drop(self.settled.remove(key)));
        self.settled.remove(&key);
        self.services.insert(key.clone(), service.clone());
        self.say(0, &Said::Service(key, Some(service)));
    }

    pub(crate) fn delete_service(&mut self, key: &HolderKey) {
        if self.services.remove(key).is_some() {
            self.settled.remove(key);
            self.say(0, &Said::Service(key.clone(), None));
        }
    }

    /// Somebody wipes a Service's status.
    pub(crate) fn lose_status(&mut self, key: &HolderKey) {
        if let Some(service) = self.services.get_mut(key) {
            service.touched = false;
        }
        self.foreign_status(key, Vec::new(), Vec::new());
    }

    /// Another balancer writes a status, as it does by the plain way: all of it is its own then.
    pub(crate) fn foreign_status(
        &mut self,
        key: &HolderKey,
        status: Vec<IpAddr>,
        hosts: Vec<String>,
    ) {
        if let Some(service) = self.services.get_mut(key) {
            // Whoever writes what stands there already changes nothing, nor whose it is.
            service.ours &= service.status == status && service.hosts == hosts;
            (service.status, service.hosts) = (status, hosts);
            let said = Said::Service(key.clone(), Some(service.clone()));
            self.say(0, &said);
        }
    }

    /// What the controller says of a Service. Without an address it says nothing of the ingress:
    /// what it wrote goes, and what somebody else wrote stays.
    fn write_status(&mut self, key: &HolderKey, status: Vec<IpAddr>, touched: bool) {
        if let Some(service) = self.services.get_mut(key) {
            if !status.is_empty() || service.ours {
                let shown = self.shown.entry(service.uid.clone()).or_default();
                shown.extend(status.iter().copied());
                service.ours = !status.is_empty();
                service.hosts.clear();
                service.status = status;
            }
            service.touched = touched;
            let said = Said::Service(key.clone(), Some(service.clone()));
            self.say(0, &said);
        }
    }

    /// A person keeps an address, or lets it go again.
    pub(crate) fn reclaim(&mut self, nth: usize, policy: ReclaimPolicy) {
        let version = self.tick().to_string();
        let Some((at, record)) = self.records.iter_mut().nth(nth) else {
            return;
        };
        record.spec.reclaim_policy = policy;
        record.version = version;
        let said = Said::Record(*at, record.uid.clone(), Some(record.clone()));
        self.say(2, &said);
    }

    pub(crate) fn put_pool(&mut self, name: &str, spec: LoadBalancerIPPoolSpec) {
        let name = PoolName::from(name);
        if self
            .pools
            .get(&name)
            .is_some_and(|(before, draining)| *draining || *before == spec)
        {
            return;
        }
        self.pools.insert(name.clone(), (spec.clone(), false));
        self.say(1, &Said::Pool(name, Some((spec, false))));
    }

    /// A pool is deleted: it drains while a record names it.
    pub(crate) fn delete_pool(&mut self, name: &str) {
        let name = PoolName::from(name);
        let Some((spec, _)) = self.pools.get(&name).cloned() else {
            return;
        };
        if !self.held.contains(&name) {
            self.pools.remove(&name);
            self.say(1, &Said::Pool(name, None));
            return;
        }
        self.pools.insert(name.clone(), (spec.clone(), true));
        self.say(1, &Said::Pool(name, Some((spec, true))));
    }

    /// Controllers look at the pools they were told of, and let go of those that have drained.
    fn finish_pools(&mut self) {
        for which in 0..self.controllers.len() {
            if self.passive.contains(&which) {
                continue;
            }
            let index = &mut self.controllers[which].index;
            let mut looked = index.pop_pools();
            looked.retain(|name| {
                let known = index.pool(name).and_then(|pool| pool.as_ref().ok());
                known.is_some_and(|pool| pool.draining) && index.records_of(name) == 0
            });
            for name in looked {
                if self.pools.get(&name).is_some_and(|(_, draining)| *draining) {
                    self.pools.remove(&name);
                    self.held.remove(&name);
                    self.say(1, &Said::Pool(name, None));
                }
            }
        }
    }

    /// Replaces a controller by a new process: it lists everything, adopts, and goes on.
    pub(crate) fn restart(&mut self, which: usize) {
        let mut fresh = Controller::default();
        for (key, service) in &self.services {
            fresh.hear(Said::Service(key.clone(), Some(service.clone())));
        }
        for (at, record) in &self.records {
            fresh.hear(Said::Record(*at, record.uid.clone(), Some(record.clone())));
        }
        for (name, pool) in &self.pools {
            fresh.hear(Said::Pool(name.clone(), Some(pool.clone())));
        }
        if !self.passive.contains(&which) {
            fresh.begin();
        }
        self.controllers[which] = fresh;
    }

    /// A new process whose watches tell what there is in another order, all kinds mixed.
    pub(crate) fn restart_in_order(&mut self, which: usize, order: &[usize]) {
        self.controllers[which] = Controller::default();
        let mut said: Vec<Said> = Vec::new();
        for (name, pool) in &self.pools {
            said.push(Said::Pool(name.clone(), Some(pool.clone())));
        }
        for (key, service) in &self.services {
            said.push(Said::Service(key.clone(), Some(service.clone())));
        }
        for (at, record) in &self.records {
            let stored = Some(record.clone());
            said.push(Said::Record(*at, record.uid.clone(), stored));
        }
        let mut said: Vec<_> = said.into_iter().enumerate().collect();
        said.sort_by_key(|(at, _)| order.get(*at).copied());
        for (_, said) in said {
            self.controllers[which].hear(said);
        }
        self.controllers[which].index.adopt();
    }

    /// This controller leads from now on and the others listen; what was told, all have heard.
    pub(crate) fn lead(&mut self, which: usize) {
        self.passive = (0..self.controllers.len()).collect();
        self.passive.remove(&which);
        for other in &self.passive {
            self.controllers[*other].index.stand_down();
        }
        self.controllers[which].deliver_all();
        self.controllers[which].begin();
    }

    /// One controller looks at its next Service; `false` when it has nothing to look at.
    pub(crate) fn work(&mut self, which: usize, fault: Fault) -> bool {
        if self.passive.contains(&which) {
            return false;
        }
        let Some(queued) = self.controllers[which].index.pop() else {
            return false;
        };
        if self.step(which, &queued, fault).is_err() {
            self.controllers[which].index.again(queued);
        }
        true
    }

    fn step(&mut self, which: usize, queued: &QueueKey, fault: Fault) -> Result<(), ()> {
        let key = &queued.key;
        let Some(step) = self.controllers[which].index.plan(key) else {
            return Ok(());
        };
        if let Some(service) = self.services.get(key)
            && step.former.contains(&service.uid)
        {
            // What it took for a former one is the one there is.
            let service = service.clone();
            self.controllers[which].index.service_seen(service);
            return Ok(());
        }
        let mut done = 0;
        for write in &step.records {
            self.faulty(&mut done, fault, |world| world.write(which, write))?;
        }
        if let Some(service) = &step.service {
            let known = self.controllers[which].index.service(key).cloned();
            let (addresses, touched) = match &step.plan.outcome {
                Some(outcome) => {
                    let addresses = step.plan.addresses(service);
                    assert_word(service, outcome, &addresses);
                    self.assert_both_or_none(service, &addresses);
                    (addresses, true)
                }
                None => {
                    let leave = &step.plan.leave;
                    (
                        service
                            .status
                            .iter()
                            .filter(|a| !leave.contains(a))
                            .copied()
                            .collect(),
                        false,
                    )
                }
            };
            let says = |known: &Service| {
                if addresses.is_empty() {
                    !known.ours || known.status.is_empty()
                } else {
                    known.status == addresses && known.hosts.is_empty()
                }
            };
            if known.is_some_and(|known| !says(&known) || known.touched != touched) {
                let uid = service.uid.clone();
                self.faulty(&mut done, fault, |world| {
                    if world
                        .services
                        .get(key)
                        .is_some_and(|service| service.uid == uid)
                    {
                        world.write_status(key, addresses, touched);
                    }
                    Ok(())
                })?;
            }
        }
        for at in &step.shown {
            let uid = step.service.as_ref().unwrap().uid.clone();
            self.faulty(&mut done, fault, |world| {
                world.note_shown(which, *at, &uid);
                Ok(())
            })?;
        }
        let departures = self.controllers[which].index.depart(key, &step.plan.leave);
        for (nth, write) in departures.iter().enumerate() {
            let result = self.faulty(&mut done, fault, |world| world.write(which, write));
            if result.is_err() {
                let open: Vec<Point> = departures[nth..].iter().map(Write::at).collect();
                self.controllers[which].index.undepart(key, &open);
                return result;
            }
        }
        Ok(())
    }

    fn faulty(
        &mut self,
        done: &mut usize,
        fault: Fault,
        write: impl FnOnce(&mut Self) -> Result<(), ()>,
    ) -> Result<(), ()> {
        let at = *done;
        *done += 1;
        if fault == Fault::Before(at) {
            return Err(());
        }
        let result = write(self);
        if fault == Fault::After(at) {
            Err(())
        } else {
            result
        }
    }

    fn note_shown(&mut self, which: usize, at: Point, uid: &str) {
        let version = self.tick().to_string();
        let shown = self.controllers[which].index.shown_to(at, uid);
        if let Some(record) = self.records.get_mut(&at) {
            (record.shown_to, record.version) = (shown, version);
            let record = record.clone();
            self.say(
                2,
                &Said::Record(at, record.uid.clone(), Some(record.clone())),
            );
            self.controllers[which].index.record_seen(at, record);
        }
    }

    /// The pool that a record will name is held first, as the controller knows it.
    fn hold_pool(&mut self, which: usize, spec: &LoadBalancerIPSpec) -> Result<(), ()> {
        let Some(pool) = &spec.pool_ref else {
            return Ok(());
        };
        let name = PoolName::from(pool.name.as_str());
        let known = self.controllers[which].index.pool(&name).is_some();
        match self.pools.get(&name) {
            _ if !known || self.held.contains(&name) => Ok(()),
            Some((_, false)) => {
                self.held.insert(name);
                Ok(())
            }
            _ => Err(()),
        }
    }

    /// A write of a record with the API server's own rules; the controller hears the answer.
    fn write(&mut self, which: usize, write: &Write) -> Result<(), ()> {
        let at = write.at();
        if let Write::Create(_, spec) | Write::Replace(_, spec, _) = write {
            self.hold_pool(which, spec)?;
        }
        let version = self.tick().to_string();
        let current = self.records.get(&at).cloned();
        let (result, now) = match (write, current) {
            (Write::Create(_, spec), None) => {
                let uid = format!("record-{version}");
                (
                    Ok(()),
                    Some(Stored {
                        spec: spec.clone(),
                        uid,
                        version,
                        out_of_pool: None,
                        reserved_by_us: spec.reserved_for.is_some(),
                        shown_to: BTreeSet::new(),
                    }),
                )
            }
            (Write::Create(..), Some(found)) => (Err(()), Some(found)),
            (Write::Replace(_, spec, known), Some(found)) if found.version == known.version => (
                Ok(()),
                Some(Stored {
                    // Whoever writes what stands there already changes nothing, nor whose it is.
                    reserved_by_us: spec.reserved_for.is_some()
                        && (found.reserved_by_us || spec.reserved_for != found.spec.reserved_for),
                    spec: spec.clone(),
                    version,
                    ..found
                }),
            ),
            (Write::Delete(_, known), Some(found)) if found.version == known.version => {
                self.records.remove(&at);
                self.controllers[which]
                    .index
                    .record_gone(at, &known.uid, true);
                self.say(2, &Said::Record(at, known.uid.clone(), None));
                return Ok(());
            }
            (_, Some(found)) => (Err(()), Some(found)),
            (Write::Replace(_, _, known) | Write::Delete(_, known), None) => {
                self.controllers[which]
                    .index
                    .record_gone(at, &known.uid, true);
                return Err(());
            }
        };
        if let Some(now) = now {
            if result.is_ok() {
                assert_spec(&now.spec);
                self.records.insert(at, now.clone());
                self.say(2, &Said::Record(at, now.uid.clone(), Some(now.clone())));
            }
            self.controllers[which].index.record_seen(at, now);
        }
        result
    }

    /// Lets everything be heard and done, until nobody has anything to do.
    pub(crate) fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 1000, "it never comes to rest");
            self.finish_pools();
            let mut busy = false;
            for which in 0..self.controllers.len() {
                self.controllers[which].deliver_all();
                busy |= self.work(which, Fault::None);
            }
            if !busy
                && self
                    .controllers
                    .iter()
                    .all(|c| c.inbox.iter().all(VecDeque::is_empty))
            {
                self.finish_pools();
                if self
                    .controllers
                    .iter()
                    .all(|c| c.inbox.iter().all(VecDeque::is_empty))
                {
                    break;
                }
            }
        }
        self.check();
    }
}
