//! Which pools can have a free address for a Service at all: what keeps a choice among many pools
//! as cheap as one among few.
//!
//! A pool whose selector names a value of a label is looked at only for those who have that label,
//! and one that was found full only after one of its addresses became free. It is a short cut and
//! no more: whoever finds nothing here asks every pool, and is told by each why.
//!
//! Invariant: a pool that could give an address of a family is open in the lane of its gate.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use landfall_crds::selector::{SERVICE_NAME, SERVICE_NAMESPACE};

use super::address::Family;
use super::plan::{How, Take};
use super::pool::Pool;
use super::pools::Pools;
use super::selection::Selector;
use super::service::Service;
use super::taken::Taken;
use super::world::World;

/// By whose labels a pool is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Whose {
    Anybody,
    Service,
    Namespace,
}

/// Pools of one gate and family that are not known to be full, by their place in the order.
type Lane = BTreeSet<usize>;
type Gates = HashMap<String, HashMap<String, [Lane; 2]>>;

/// The lanes of all pools.
#[derive(Clone, Debug, Default)]
pub(super) struct Lanes(RefCell<Inner>);

#[derive(Clone, Debug, Default)]
struct Inner {
    /// How many addresses had become free when this was last brought up to date.
    freed: u64,
    anybody: [Lane; 2],
    service: Gates,
    namespace: Gates,
    /// Every place closed, by family.
    closed: [BTreeSet<usize>; 2],
}

fn index(family: Family) -> usize {
    match family {
        Family::V4 => 0,
        Family::V6 => 1,
    }
}

/// The label that a pool insists on, if it insists on one.
fn gate(pool: &Pool) -> (Whose, Option<(&str, &BTreeSet<String>)>) {
    if let Some(pin) = pool.services.as_ref().and_then(Selector::pin) {
        return (Whose::Service, Some(pin));
    }
    match pool.namespaces.as_ref().and_then(Selector::pin) {
        Some(pin) => (Whose::Namespace, Some(pin)),
        None => (Whose::Anybody, None),
    }
}

impl Inner {
    /// The lanes a pool belongs to.
    fn each(&mut self, pool: &Pool, family: usize, mut work: impl FnMut(&mut Lane)) {
        let (whose, pin) = gate(pool);
        let gates = match whose {
            Whose::Anybody => return work(&mut self.anybody[family]),
            Whose::Service => &mut self.service,
            Whose::Namespace => &mut self.namespace,
        };
        let Some((key, values)) = pin else { return };
        let gates = gates.entry(key.to_owned()).or_default();
        for value in values {
            work(&mut gates.entry(value.clone()).or_default()[family]);
        }
    }

    fn open(&mut self, pool: &Pool, place: usize, family: usize) {
        self.closed[family].remove(&place);
        self.each(pool, family, |lane| {
            lane.insert(place);
        });
    }

    fn close(&mut self, pool: &Pool, place: usize, family: usize) {
        self.closed[family].insert(place);
        self.each(pool, family, |lane| {
            lane.remove(&place);
        });
    }
}

impl Lanes {
    /// The lanes of pools in their order, all open.
    pub(super) fn of(order: &[Arc<Pool>]) -> Self {
        let mut inner = Inner::default();
        for (place, pool) in order.iter().enumerate() {
            let never = pool.disabled || pool.draining || !pool.auto_assign;
            for family in Family::ALL {
                if !never && pool.spans(family).next().is_some() {
                    inner.open(pool, place, index(family));
                }
            }
        }
        Self(RefCell::new(inner))
    }
}

impl Pools {
    /// Opens the pools in which addresses have become free.
    fn catch_up(&self, inner: &mut Inner, taken: &Taken) {
        let reopen = |inner: &mut Inner, place: usize, family: usize| {
            if let Some(pool) = self.ordered().get(place) {
                inner.open(pool, place, family);
            }
        };
        match taken.freed_since(inner.freed) {
            Some(points) => {
                for at in points {
                    let family = index(Family::of(at.address()));
                    for pool in self.covering(at) {
                        if let Some(place) = self.place(pool)
                            && inner.closed[family].contains(&place)
                        {
                            reopen(inner, place, family);
                        }
                    }
                }
            }
            None => {
                for family in Family::ALL.map(index) {
                    for place in std::mem::take(&mut inner.closed[family]) {
                        reopen(inner, place, family);
                    }
                }
            }
        }
        inner.freed = taken.freed();
    }

    fn place(&self, pool: &Pool) -> Option<usize> {
        let order = self.ordered();
        order
            .binary_search_by(|other| other.rank().cmp(&pool.rank()))
            .ok()
    }
}

impl World {
    /// The lowest free address of the best pool that admits the Service; `None` when the lanes do
    /// not show one.
    pub(super) fn short_cut(&self, service: &Service, family: Family) -> Option<Take> {
        let mut inner = self.pools.lanes().0.borrow_mut();
        let inner = &mut *inner;
        self.pools.catch_up(inner, self.book.all_taken());
        let family_at = index(family);
        let mut full = Vec::new();
        let take = {
            let mut lanes: Vec<&Lane> = vec![&inner.anybody[family_at]];
            let own = [
                (SERVICE_NAME, service.key.name.as_str()),
                (SERVICE_NAMESPACE, service.key.namespace.as_str()),
            ];
            let labels = service.labels.iter();
            let labels = labels.map(|(key, value)| (key.as_str(), value.as_str()));
            for (key, value) in labels.chain(own) {
                let lane = inner.service.get(key).and_then(|values| values.get(value));
                lanes.extend(lane.map(|lane| &lane[family_at]));
            }
            let namespace = self.namespaces.get(&service.key.namespace);
            for (key, value) in namespace.into_iter().flatten() {
                let lane = inner.namespace.get(key);
                let lane = lane.and_then(|values| values.get(value));
                lanes.extend(lane.map(|lane| &lane[family_at]));
            }
            let mut next = 0;
            loop {
                let places = lanes.iter().filter_map(|lane| lane.range(next..).next());
                let Some(&place) = places.min() else {
                    break None;
                };
                next = place + 1;
                let Some(pool) = self.pools.ordered().get(place) else {
                    break None;
                };
                if self.offers(pool, service, false).is_err() {
                    continue;
                }
                if let Some(at) = pool.spans(family).find_map(|span| self.first_free(span)) {
                    break Some(Take {
                        address: at.address(),
                        how: How::Create,
                        pool: Some(pool.name.clone()),
                    });
                }
                full.push(place);
            }
        };
        for place in full {
            if let Some(pool) = self.pools.ordered().get(place) {
                inner.close(pool, place, family_at);
            }
        }
        take
    }
}
