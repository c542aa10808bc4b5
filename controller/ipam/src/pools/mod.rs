//! Where addresses come from: all pools in order of preference, and by the addresses they cover.
//!
//! A pool says whom it admits and what it has; what of it is taken is the book's business.
//!
//! Invariant: `order` and `cover` follow from the accepted pools; both are made anew when a pool
//! changes, which is rare, so that every look-up is one step down a tree.

mod admission;
mod candidates;
mod pool;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use candidates::Candidates;

use crate::PoolName;
use crate::address::{Family, Point};
use crate::book::Taken;
use crate::service::{Labels, Service};
use crate::spans::Span;

pub use admission::{Rejection, admits, offers};
pub(crate) use candidates::Answer;
pub use pool::{Pool, PoolError};

/// All pools.
#[derive(Clone, Debug, Default)]
pub struct Pools {
    known: BTreeMap<PoolName, Result<Arc<Pool>, PoolError>>,
    order: Vec<Arc<Pool>>,
    cover: BTreeMap<Point, (Point, Vec<Arc<Pool>>)>,
    candidates: Candidates,
}

impl Pools {
    /// A pool by name: compiled or refused.
    #[must_use]
    pub fn get(&self, name: &PoolName) -> Option<&Result<Arc<Pool>, PoolError>> {
        self.known.get(name)
    }

    /// All of them by name: compiled or refused.
    pub fn all(&self) -> impl Iterator<Item = (&PoolName, &Result<Arc<Pool>, PoolError>)> {
        self.known.iter()
    }

    /// A pool by name, if it is accepted.
    #[must_use]
    pub fn accepted(&self, name: &PoolName) -> Option<&Arc<Pool>> {
        self.known.get(name)?.as_ref().ok()
    }

    /// The names of all pools, refused ones too.
    pub fn names(&self) -> impl Iterator<Item = &PoolName> {
        self.known.keys()
    }

    /// Accepted pools, the preferred one first.
    #[must_use]
    pub fn ordered(&self) -> &[Arc<Pool>] {
        &self.order
    }

    /// The place of a pool in the order.
    fn place(&self, pool: &Pool) -> Option<usize> {
        let order = &self.order;
        order
            .binary_search_by(|other| other.rank().cmp(&pool.rank()))
            .ok()
    }

    /// What the first of the candidates gives the Service; `None` when none of them gives anything.
    pub(crate) fn first<T>(
        &self,
        taken: &Taken,
        family: Family,
        service: &Service,
        namespace: Option<&Labels>,
        ask: impl FnMut(&Pool) -> Answer<T>,
    ) -> Option<T> {
        self.candidates
            .first(self, taken, family, service, namespace, ask)
    }

    /// The pools that cover an address, the preferred one first.
    #[must_use]
    pub fn covering(&self, at: Point) -> &[Arc<Pool>] {
        match self.cover.range(..=at).next_back() {
            Some((_, (end, pools))) if at <= *end => pools,
            _ => &[],
        }
    }

    /// The pools that have addresses in common with this one, whether it is known here or not.
    #[must_use]
    pub fn overlapping(&self, pool: &Pool) -> BTreeSet<PoolName> {
        let mut found = BTreeSet::new();
        for span in pool.usable.iter() {
            // A segment may begin before the span.
            let first = self.covering(span.start);
            let rest = self.cover.range(span.start..=span.end);
            let rest = rest.flat_map(|(_, (_, pools))| pools);
            found.extend(first.iter().chain(rest).map(|other| other.name.clone()));
        }
        found.remove(&pool.name);
        found
    }

    /// Adds, replaces or (with `None`) removes a pool; returns what was known of it before.
    pub fn set(
        &mut self,
        name: &PoolName,
        pool: Option<Result<Pool, PoolError>>,
    ) -> Option<Result<Arc<Pool>, PoolError>> {
        let before = match pool {
            Some(pool) => self.known.insert(name.clone(), pool.map(Arc::new)),
            None => self.known.remove(name),
        };
        self.order = self
            .known
            .values()
            .filter_map(|pool| pool.as_ref().ok())
            .cloned()
            .collect();
        self.order.sort_by(|one, two| one.rank().cmp(&two.rank()));
        self.cover = cover(&self.order);
        self.candidates = Candidates::of(&self.order);
        before
    }
}

/// Cuts the line at every end of a span: within a segment the covering pools are the same.
fn cover(order: &[Arc<Pool>]) -> BTreeMap<Point, (Point, Vec<Arc<Pool>>)> {
    let spans = || {
        order
            .iter()
            .enumerate()
            .flat_map(|(at, pool)| pool.usable.iter().map(move |s| (at, s)))
    };
    let mut opens: BTreeMap<Point, Vec<usize>> = BTreeMap::new();
    let mut closes: BTreeMap<Point, Vec<usize>> = BTreeMap::new();
    let mut cuts = BTreeSet::new();
    for (at, Span { start, end }) in spans() {
        opens.entry(start).or_default().push(at);
        cuts.insert(start);
        if let Some(after) = end.next() {
            closes.entry(after).or_default().push(at);
            cuts.insert(after);
        }
    }
    let mut segments = BTreeMap::new();
    let mut active: BTreeSet<usize> = BTreeSet::new();
    let mut cuts = cuts.into_iter().peekable();
    while let Some(start) = cuts.next() {
        for at in closes.get(&start).into_iter().flatten() {
            active.remove(at);
        }
        active.extend(opens.get(&start).into_iter().flatten());
        if active.is_empty() {
            continue;
        }
        let end = cuts
            .peek()
            .and_then(|next| next.previous())
            .unwrap_or(Point::MAX);
        let pools = active.iter().map(|at| Arc::clone(&order[*at])).collect();
        segments.insert(start, (end, pools));
    }
    segments
}
