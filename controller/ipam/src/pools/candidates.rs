//! Which pools can have a free address for a Service at all: what keeps a choice among many pools
//! as cheap as one among few.
//!
//! A pool whose selector names a value of a label is looked at only for those who have that label,
//! and one that was found full only after one of its addresses became free. It is a short cut and
//! no more: whoever finds nothing here asks every pool, and is told by each why.
//!
//! Invariant: a pool that could give an address of a family is among the candidates of its gate.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use landfall_crds::selector::{SERVICE_NAME, SERVICE_NAMESPACE};

use super::{Pool, Pools};
use crate::address::Family;
use crate::book::Taken;
use crate::selection::Selector;
use crate::service::{Labels, Service};

/// What a pool answers to a Service.
pub(crate) enum Answer<T> {
    /// It does not give it anything.
    Refuses,
    /// It would, and has nothing left.
    Full,
    /// It gives this.
    Gives(T),
}

/// By whose labels a pool is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Whose {
    Anybody,
    Service,
    Namespace,
}

/// Pools of one gate and family that are not known to be full, by their place in the order.
type Places = BTreeSet<usize>;
type Gates = HashMap<String, HashMap<String, [Places; 2]>>;

/// The candidates among all pools.
#[derive(Clone, Debug, Default)]
pub(super) struct Candidates(RefCell<Inner>);

#[derive(Clone, Debug, Default)]
struct Inner {
    /// How many addresses had become free when this was last brought up to date.
    freed: u64,
    anybody: [Places; 2],
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
    /// The places where a pool is found.
    fn each(&mut self, pool: &Pool, family: usize, mut work: impl FnMut(&mut Places)) {
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
        self.each(pool, family, |places| {
            places.insert(place);
        });
    }

    /// The places that the labels of a Service and of its namespace lead to.
    fn found_by(
        &self,
        family: Family,
        service: &Service,
        namespace: Option<&Labels>,
    ) -> Vec<&Places> {
        let family = index(family);
        let mut found = vec![&self.anybody[family]];
        let own = [
            (SERVICE_NAME, service.key.name.as_str()),
            (SERVICE_NAMESPACE, service.key.namespace.as_str()),
        ];
        let labels = service.labels.iter();
        let labels = labels.map(|(key, value)| (key.as_str(), value.as_str()));
        for (key, value) in labels.chain(own) {
            let places = self.service.get(key).and_then(|values| values.get(value));
            found.extend(places.map(|places| &places[family]));
        }
        for (key, value) in namespace.into_iter().flatten() {
            let places = self.namespace.get(key);
            let places = places.and_then(|values| values.get(value));
            found.extend(places.map(|places| &places[family]));
        }
        found
    }

    /// Opens the pools in which addresses have become free.
    fn catch_up(&mut self, pools: &Pools, taken: &Taken) {
        match taken.freed_since(self.freed) {
            Some(points) => {
                for at in points {
                    let family = index(Family::of(at.address()));
                    for pool in pools.covering(at) {
                        if let Some(place) = pools.place(pool)
                            && self.closed[family].contains(&place)
                        {
                            self.open(pool, place, family);
                        }
                    }
                }
            }
            None => {
                for family in Family::ALL.map(index) {
                    for place in std::mem::take(&mut self.closed[family]) {
                        if let Some(pool) = pools.ordered().get(place) {
                            self.open(pool, place, family);
                        }
                    }
                }
            }
        }
        self.freed = taken.freed();
    }

    fn close(&mut self, pool: &Pool, place: usize, family: usize) {
        self.closed[family].insert(place);
        self.each(pool, family, |places| {
            places.remove(&place);
        });
    }
}

impl Candidates {
    /// Every pool in its order that gives addresses unasked.
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

    /// What the first candidate gives the Service, in the pools' order of preference.
    pub(super) fn first<T>(
        &self,
        pools: &Pools,
        taken: &Taken,
        family: Family,
        service: &Service,
        namespace: Option<&Labels>,
        mut ask: impl FnMut(&Pool) -> Answer<T>,
    ) -> Option<T> {
        let mut inner = self.0.borrow_mut();
        inner.catch_up(pools, taken);
        let mut full = Vec::new();
        let given = {
            let gates = inner.found_by(family, service, namespace);
            let mut next = 0;
            loop {
                let places = gates
                    .iter()
                    .filter_map(|places| places.range(next..).next());
                let Some(&place) = places.min() else {
                    break None;
                };
                next = place + 1;
                let Some(pool) = pools.ordered().get(place) else {
                    break None;
                };
                match ask(pool) {
                    Answer::Gives(given) => break Some(given),
                    Answer::Full => full.push(place),
                    Answer::Refuses => {}
                }
            }
        };
        for place in full {
            if let Some(pool) = pools.ordered().get(place) {
                inner.close(pool, place, index(family));
            }
        }
        given
    }
}
