//! The finalizer that lets a pool drain: there before an address leaves the pool.

use kube::Api;
use kube::api::{Patch, PatchParams};
use landfall_crds::{DRAIN_FINALIZER, LoadBalancerIPPool};
use landfall_ipam::PoolName;
use serde_json::{Value, json};

use crate::context::{Context, MANAGER};

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
