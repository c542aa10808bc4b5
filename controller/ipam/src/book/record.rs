//! Records as values: what one shall say, and what is left to write of it.

use landfall_crds::{Holder, LoadBalancerIPSpec, ObjectRef, PoolRef, ReclaimPolicy};

use super::{Entry, Stored, holder_key};
use crate::address::Point;
use crate::service::Service;
use crate::{HolderKey, HolderKind, PoolName};

/// A write of one record.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Create it: this is the allocation.
    Create(Point, LoadBalancerIPSpec),
    /// Replace the spec of this very version.
    Replace(Point, LoadBalancerIPSpec, Stored),
    /// Delete this very version.
    Delete(Point, Stored),
}

impl Write {
    /// The address it is about.
    #[must_use]
    pub fn at(&self) -> Point {
        match self {
            Self::Create(at, _) | Self::Replace(at, ..) | Self::Delete(at, _) => *at,
        }
    }
}

/// The pools a record names, and shall name.
pub(crate) fn pools_of(entry: &Entry) -> impl Iterator<Item = &str> {
    let stored = entry.stored.as_ref().map(|stored| &stored.spec);
    let specs = entry.want.iter().chain(stored);
    specs.filter_map(|spec| Some(spec.pool_ref.as_ref()?.name.as_str()))
}

pub(crate) fn from_pool(entry: &Entry, name: &PoolName) -> bool {
    pools_of(entry).any(|pool| pool == name.as_str())
}

/// What is left to write of an entry.
pub(crate) fn diff(at: Point, entry: &Entry) -> Option<Write> {
    match (&entry.want, &entry.stored) {
        (Some(want), None) => Some(Write::Create(at, want.clone())),
        (Some(want), Some(stored)) if *want != stored.spec => {
            Some(Write::Replace(at, want.clone(), stored.clone()))
        }
        (None, Some(stored)) => Some(Write::Delete(at, stored.clone())),
        _ => None,
    }
}

/// A record without one holder; `None` when nobody and nothing keeps it. A reservation of our own
/// keeps it only under `Retain`.
pub(crate) fn without(
    mut spec: LoadBalancerIPSpec,
    key: &HolderKey,
    reserved_by_us: bool,
) -> Option<LoadBalancerIPSpec> {
    spec.holders
        .retain(|holder| holder_key(holder).as_ref() != Some(key));
    if !spec.holders.is_empty() {
        return Some(spec);
    }
    spec.sharing_key = None;
    if spec.reclaim_policy == ReclaimPolicy::Delete && reserved_by_us {
        return None;
    }
    if spec.reclaim_policy == ReclaimPolicy::Retain && spec.reserved_for.is_none() {
        spec.reserved_for = Some(ObjectRef {
            kind: key.kind.to_string(),
            namespace: key.namespace.clone(),
            name: key.name.clone(),
        });
    }
    spec.reserved_for.is_some().then_some(spec)
}

/// A record as it shall be for one that stays: this Service's uid, pool and sharing key.
pub(crate) fn settled(
    mut spec: LoadBalancerIPSpec,
    service: &Service,
    pool: Option<&PoolName>,
) -> LoadBalancerIPSpec {
    let own = |held: &&mut Holder| holder_key(held).as_ref() == Some(&service.key);
    if let Some(held) = spec.holders.iter_mut().find(own) {
        if held.uid.is_empty() {
            held.uid.clone_from(&service.uid);
        }
        let Holder {
            gateway_class,
            labels,
            ..
        } = told(service);
        (held.gateway_class, held.labels) = (gateway_class, labels);
    }
    if let Some(pool) = pool.filter(|_| first(&spec, &service.key)) {
        spec.pool_ref = Some(PoolRef {
            name: pool.to_string(),
        });
    }
    if spec.holders.len() == 1 && service.request.is_ok() {
        spec.sharing_key = sharing_key(service);
    }
    spec
}

/// Whether the Service is the first of the holders: it speaks for all of them.
pub(crate) fn first(spec: &LoadBalancerIPSpec, key: &HolderKey) -> bool {
    spec.holders.first().and_then(holder_key).as_ref() == Some(key)
}

pub(crate) fn holder(service: &Service) -> Holder {
    Holder {
        kind: service.key.kind.to_string(),
        namespace: service.key.namespace.clone(),
        name: service.key.name.clone(),
        uid: service.uid.clone(),
        ..told(service)
    }
}

/// What a record tells of a Gateway, so that announcers need not know it: by what policies choose.
fn told(service: &Service) -> Holder {
    if service.key.kind != HolderKind::Gateway {
        return Holder::default();
    }
    Holder {
        gateway_class: service.gateway_class.clone(),
        labels: service.labels.clone(),
        ..Holder::default()
    }
}

pub(crate) fn sharing_key(service: &Service) -> Option<String> {
    Some(service.readable()?.sharing.as_ref()?.key.clone())
}
