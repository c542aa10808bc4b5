//! Writes: what has to be written for one Service, planned and committed in one go.
//!
//! First the records of what is taken, then the status, then departures: [`Index::plan`] commits
//! what is taken, [`Index::depart`] what is left once the status no longer names it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use landfall_crds::{
    Frontend, HolderKind, LoadBalancerIPSpec, MAX_FRONTENDS, PoolRef, ReclaimPolicy,
    SHARED_AS_EXTERNAL,
};

use super::Index;
use crate::HolderKey;
use crate::address::{Family, Point};
use crate::book::record::{diff, first, holder, settled, sharing_key, without};
use crate::book::{Entry, OutOfPool, Stored, Write, holder_key};
use crate::plan::{How, Kept, Plan, Take, plan};
use crate::service::{FamilyPolicy, Service};

/// An `OutOfPool` condition to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The record.
    pub at: Point,
    /// Why; `None`: it is in its pool again.
    pub out_of_pool: Option<String>,
    /// What the condition says now.
    pub before: Option<OutOfPool>,
}

/// What has to be written for one Service, in this order: records, status, marks, departures.
#[derive(Clone, Debug, PartialEq)]
pub struct Writes {
    /// The Service as planned for; `None` when it is gone, or when a former one is let go of first.
    pub service: Option<Arc<Service>>,
    /// The uids of former Services of this name that still hold something: it is theirs to leave,
    /// once the API server says that they are no more. A watch of Services may lag behind one of records.
    pub former: BTreeSet<String>,
    /// The plan, already committed.
    pub plan: Plan,
    /// Records to write before the status.
    pub records: Vec<Write>,
    /// Records to mark.
    pub marks: Vec<Mark>,
    /// Records to note in that the status has named their address.
    pub shown: Vec<Point>,
}

impl Writes {
    /// Departures only.
    fn leaving(leave: Vec<Point>, former: BTreeSet<String>) -> Self {
        Self {
            service: None,
            former,
            plan: Plan::leaving(leave.into_iter().map(Point::address).collect()),
            records: Vec::new(),
            marks: Vec::new(),
            shown: Vec::new(),
        }
    }
}

impl Index {
    /// Plans for a Service and commits the plan to the book.
    pub fn plan(&mut self, key: &HolderKey) -> Option<Writes> {
        let Some(service) = self.world.services.get(key).cloned() else {
            let held = self.world.book.held_by(key);
            let held = held.filter(|_| self.gone.contains(key));
            let leave: Vec<Point> = held.chain(self.world.ended(key)).collect();
            let nothing = leave.is_empty() && !self.gone.contains(key);
            return (!nothing).then(|| Writes::leaving(leave, BTreeSet::new()));
        };
        // Looked up once: among many Services that is a good part of what a plan costs.
        let held = self.world.held(key);
        let former = self.world.former(&service, &held);
        let ended: Vec<Point> = self.world.ended(key).collect();
        if !former.is_empty() || !ended.is_empty() {
            // A holder is an object, not a name: this one has nothing yet, and takes nothing before
            // those who wait for the address longer than it does.
            let leave = former.keys().copied().chain(ended).collect();
            return Some(Writes::leaving(leave, former.into_values().collect()));
        }
        let plan = plan(&self.world, &service, &held);
        self.commit(&service, &plan);
        if plan.waits {
            self.waiting.insert(service.queue_key());
        } else {
            self.waiting.remove(&service.queue_key());
        }
        let kept = plan.keep.iter().map(|kept| kept.address);
        let stays = kept.chain(plan.take.iter().map(|take| take.address));
        let mut stays: Vec<Point> = stays.map(Point::from).collect();
        stays.sort_unstable();
        let records = stays
            .into_iter()
            .filter_map(|at| diff(at, self.world.book.get(at)?))
            .collect();
        let marks = plan
            .keep
            .iter()
            .filter_map(|kept| self.mark(key, kept))
            .collect();
        let shown = self.to_note(&service, &plan);
        Some(Writes {
            service: Some(service),
            former: BTreeSet::new(),
            plan,
            records,
            marks,
            shown,
        })
    }

    /// What the status names, and memory alone would know: half of a pair that is kept because it was
    /// shown, and several addresses of one family, which are kept for the same reason.
    fn to_note(&self, service: &Service, plan: &Plan) -> Vec<Point> {
        let kept = || {
            let taken = plan.take.iter().map(|take| take.address);
            plan.keep.iter().map(|kept| kept.address).chain(taken)
        };
        let of = |family: Family| kept().filter(move |address| Family::of(*address) == family);
        let several = Family::ALL.into_iter().any(|family| of(family).count() > 1);
        let half = service.policy == FamilyPolicy::RequireDualStack
            && Family::ALL
                .into_iter()
                .any(|family| of(family).next().is_none());
        if !several && !half {
            return Vec::new();
        }
        let open = |at: &Point| {
            let stored = self
                .world
                .book
                .get(*at)
                .and_then(|entry| entry.stored.as_ref());
            // One that is only made now is noted as soon as it is.
            stored.is_none_or(|stored| !stored.shown_to.contains(&service.uid))
        };
        let shown = kept().filter(|address| self.world.was_shown(service, *address));
        shown.map(Point::from).filter(open).collect()
    }

    /// To whom a record shall say that its address was shown, this one included: those of before,
    /// as long as they hold it.
    #[must_use]
    pub fn shown_to(&self, at: Point, uid: &str) -> BTreeSet<String> {
        let entry = self.world.book.get(at);
        let stored = entry.and_then(|entry| entry.stored.as_ref());
        let holds = |uid: &&String| {
            let mut holders = entry.into_iter().flat_map(|entry| entry.holders());
            holders.any(|holder| holder.uid == **uid)
        };
        let before = stored.into_iter().flat_map(|stored| &stored.shown_to);
        let before = before.filter(holds).cloned();
        before.chain([uid.to_owned()]).collect()
    }

    fn mark(&self, key: &HolderKey, kept: &Kept) -> Option<Mark> {
        let at = Point::from(kept.address);
        let entry = self.world.book.get(at)?;
        let marked = &entry.stored.as_ref()?.out_of_pool;
        if !first(entry.want.as_ref()?, key) {
            return None;
        }
        let stands = marked.as_ref().filter(|marked| marked.is);
        (stands.map(|marked| &marked.why) != kept.out_of_pool.as_ref()).then(|| Mark {
            at,
            out_of_pool: kept.out_of_pool.clone(),
            before: marked.clone(),
        })
    }

    /// The Service lets go of addresses that its status no longer names.
    pub fn depart(&mut self, key: &HolderKey, leave: &[IpAddr]) -> Vec<Write> {
        let mut writes = Vec::new();
        for at in leave.iter().map(|address| Point::from(*address)) {
            self.change(at, |entry| {
                let by_us = entry
                    .stored
                    .as_ref()
                    .is_some_and(|stored| stored.reserved_by_us);
                let want = entry.want.take();
                entry.want = want.and_then(|want| without(want, key, by_us));
            });
            self.serve_the_rest(at, key);
            self.freed.insert(at);
            writes.extend(self.world.book.get(at).and_then(|entry| diff(at, entry)));
            let rest: Vec<HolderKey> = self
                .world
                .book
                .get(at)
                .into_iter()
                .flat_map(Entry::holder_keys)
                .collect();
            self.touch(rest);
        }
        if self.world.book.held_by(key).next().is_none() {
            self.gone.remove(key);
        }
        if !leave.is_empty() {
            // One of the same name may have waited for this.
            self.touch([key.clone()]);
        }
        writes
    }

    /// What a record says is served on its address, once a holder has left.
    fn serve_the_rest(&mut self, at: Point, gone: &HolderKey) {
        let want = self.world.book.get(at).and_then(|entry| entry.want.clone());
        let Some(want) = want.filter(|_| gone.kind == HolderKind::Gateway) else {
            return;
        };
        let mut rest = want.holders.iter().filter_map(holder_key);
        let first = rest.find_map(|key| self.world.services.get(&key));
        let frontends = match first.cloned() {
            Some(first) => self.frontends(&want, &first),
            None if want.holders.is_empty() => Vec::new(),
            None => return,
        };
        self.change(at, |entry| {
            if let Some(want) = &mut entry.want {
                want.frontends = frontends;
            }
        });
    }

    /// The write an address still needs.
    #[must_use]
    pub fn open(&self, at: Point) -> Option<Write> {
        diff(at, self.world.book.get(at)?)
    }

    /// Departures that could not be written: the Service holds these until it leaves again.
    pub fn undepart(&mut self, key: &HolderKey, open: &[Point]) {
        for at in open {
            self.change(*at, |entry| {
                let held = |stored: &&Stored| {
                    let mut holders = stored.spec.holders.iter();
                    holders.any(|holder| holder_key(holder).as_ref() == Some(key))
                };
                if let Some(stored) = entry.stored.as_ref().filter(held) {
                    entry.want = Some(stored.spec.clone());
                }
            });
        }
        if self.world.services.contains_key(key) {
            self.touch([key.clone()]);
        } else {
            self.release(key);
        }
    }

    /// A Service that wants nothing and holds nothing needs not be known.
    pub fn forget(&mut self, key: &HolderKey) {
        let idle = self
            .world
            .services
            .get(key)
            .is_some_and(|service| !service.wanted)
            && self.world.book.held_by(key).next().is_none();
        if idle {
            self.world.services.remove(key);
        }
    }

    pub(super) fn commit(&mut self, service: &Service, plan: &Plan) {
        for take in &plan.take {
            self.take(service, take);
        }
        for kept in &plan.keep {
            let at = Point::from(kept.address);
            let Some(want) = self
                .world
                .book
                .get(at)
                .and_then(|entry| entry.want.as_ref())
            else {
                continue;
            };
            let mut settled = settled(want.clone(), service, kept.pool.as_ref());
            settled.frontends = self.frontends(&settled, service);
            if settled != *want {
                self.change(at, |entry| entry.want = Some(settled));
            }
        }
    }

    /// What a record says is served on its address, for this holder and all others. While one of them is not known it
    /// goes on saying what it said: what is that one's cannot be told.
    fn frontends(&self, spec: &LoadBalancerIPSpec, service: &Service) -> Vec<Frontend> {
        let mut all = Vec::new();
        for key in spec.holders.iter().filter_map(holder_key) {
            let served = if key == service.key {
                Some(&service.frontends)
            } else {
                let other = self.world.services.get(&key);
                other.map(|other| &other.frontends)
            };
            match served {
                Some(served) => all.extend(served.iter().cloned()),
                None if key.kind == HolderKind::Gateway => return spec.frontends.clone(),
                None => {}
            }
        }
        all.sort();
        all.truncate(MAX_FRONTENDS);
        all
    }

    /// The key that a new member and all holders of an address have; else they share it because all
    /// of them name it as an external address.
    fn key_of_all(&self, at: Point, own: Option<String>) -> Option<String> {
        let entry = self.world.book.get(at);
        let mut holders = entry.into_iter().flat_map(Entry::holder_keys);
        let same = |key| {
            self.world
                .services
                .get(&key)
                .map(|other| sharing_key(other))
                == Some(own.clone())
        };
        let agreed = own.is_some() && holders.all(same);
        if agreed {
            own
        } else {
            Some(SHARED_AS_EXTERNAL.to_owned())
        }
    }

    pub(super) fn take(&mut self, service: &Service, take: &Take) {
        let at = Point::from(take.address);
        let own = sharing_key(service);
        let key = match take.how {
            How::Join => self.key_of_all(at, own),
            _ => own,
        };
        let pool = take.pool.as_ref().map(|pool| PoolRef {
            name: pool.to_string(),
        });
        let before = self
            .world
            .book
            .get(at)
            .and_then(|entry| entry.want.as_ref());
        let frontends = before.map_or_else(
            || service.frontends.clone(),
            |before| {
                let mut joined = before.clone();
                joined.holders.push(holder(service));
                self.frontends(&joined, service)
            },
        );
        self.change(at, |entry| match (take.how, &mut entry.want) {
            (How::Join | How::Claim, Some(want)) => {
                want.holders.push(holder(service));
                want.sharing_key = key;
                want.frontends = frontends;
            }
            _ => {
                entry.want = Some(LoadBalancerIPSpec {
                    address: take.address.to_string(),
                    pool_ref: pool,
                    holders: vec![holder(service)],
                    sharing_key: key,
                    frontends,
                    reserved_for: None,
                    reclaim_policy: ReclaimPolicy::Delete,
                });
            }
        });
    }
}
