//! The finalizer that lets a pool drain: there before an address leaves the pool, and until no record names the pool, none
//! under way either.

use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::DeserializeGuard;
use landfall_crds::{DRAIN_FINALIZER, LoadBalancerIP, LoadBalancerIPPool};
use landfall_ipam::PoolName;
use landfall_ipam::address::Point;
use landfall_ipam::book::Write;
use serde_json::{Value, json};

use crate::context::{Context, MANAGER};
use crate::validate;

/// Records in one answer of the API server.
const PAGE: u32 = 500;

/// A record is being written that comes to name a pool: as long as this lives the pool stays.
pub(crate) struct Naming<'a> {
    context: &'a Context,
    pool: PoolName,
}

impl<'a> Naming<'a> {
    /// `None`: it is not to name the pool any more. It was planned before the pool was deleted.
    pub(crate) fn begin(context: &'a Context, at: Point, pool: PoolName) -> Option<Self> {
        let mut cache = context.state.lock();
        let (Write::Create(_, spec) | Write::Replace(_, spec, _)) = cache.index.open(at)? else {
            return None;
        };
        let named = spec.pool_ref?.name;
        (named == pool.as_str()).then(|| {
            *cache.open.naming.entry(pool.clone()).or_default() += 1;
            Self { context, pool }
        })
    }
}

impl Drop for Naming<'_> {
    fn drop(&mut self) {
        self.context.state.change(|cache| {
            if let Some(count) = cache.open.naming.get_mut(&self.pool) {
                *count -= 1;
                if *count == 0 {
                    cache.open.naming.remove(&self.pool);
                    cache.index.pool_again(self.pool.clone());
                }
            }
        });
    }
}

/// Whether a record names the pool that no watch has shown yet: one whose writing was answered with an error may be there
/// all the same. Those that do are known then.
///
/// # Errors
/// The API server's.
pub(super) async fn is_named(context: &Context, name: &PoolName) -> kube::Result<bool> {
    let api: Api<DeserializeGuard<LoadBalancerIP>> = Api::all(context.client.clone());
    let mut page = ListParams::default().limit(PAGE);
    let mut named = false;
    loop {
        let answer = api.list(&page).await?;
        let records = answer.items.into_iter().filter_map(|record| record.0.ok());
        let of_it = records.filter(|record| {
            let pool = record.spec.pool_ref.as_ref();
            pool.is_some_and(|pool| pool.name == name.as_str())
        });
        for record in of_it {
            named = true;
            if let Some((at, stored)) = validate::stored(&record) {
                let seen = |cache: &mut crate::cache::Cache| cache.index.record_seen(at, stored);
                context.state.change(seen);
            }
        }
        match answer.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(named),
        }
    }
}

/// Whether the finalizer is there.
pub(super) fn stands(pool: &LoadBalancerIPPool) -> bool {
    let finalizers = pool.metadata.finalizers.iter().flatten();
    finalizers.into_iter().any(|name| name == DRAIN_FINALIZER)
}

/// The patch of this very version that adds the finalizer, or takes it away.
pub(super) fn patch(pool: &LoadBalancerIPPool, held: bool) -> Value {
    let others = pool.metadata.finalizers.iter().flatten();
    let others = others
        .map(String::as_str)
        .filter(|name| *name != DRAIN_FINALIZER);
    let finalizers: Vec<&str> = others.chain(held.then_some(DRAIN_FINALIZER)).collect();
    let version = &pool.metadata.resource_version;
    json!({"metadata": {"resourceVersion": version, "finalizers": finalizers}})
}

/// Writes it.
pub(super) async fn write(
    context: &Context,
    name: &PoolName,
    patch: &Value,
) -> kube::Result<LoadBalancerIPPool> {
    let api: Api<LoadBalancerIPPool> = Api::all(context.client.clone());
    let params = PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    };
    api.patch(name.as_str(), &params, &Patch::Merge(patch))
        .await
}

/// Sees to it that the pool is held before an address leaves it: one that is deleted right after
/// drains all the same. `false`: it is gone, and nothing may leave it any more.
///
/// # Errors
/// The API server's: also when the pool is gone by now, or was written by somebody else meanwhile.
pub(crate) async fn hold(context: &Context, name: &PoolName) -> kube::Result<bool> {
    let patch = {
        let cache = context.state.lock();
        match cache.pools.get(name) {
            Some(pool) if !stands(pool) => patch(pool, true),
            known => return Ok(known.is_some()),
        }
    };
    let pool = write(context, name, &patch).await?;
    context
        .state
        .change(|cache| cache.pool_answered(name, pool));
    Ok(true)
}
