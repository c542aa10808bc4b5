//! Pools: conditions, counts, and the finalizer that lets a pool in use drain.
//!
//! Status follows from the index; it is written when it differs, and at most every half second, so
//! that a burst of assignments is one write a pool.

pub mod status;

use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams};
use landfall_crds::{DRAIN_FINALIZER, LoadBalancerIPPool};
use landfall_runtime::class::Class;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::ipam::PoolName;
use crate::service::{Context, MANAGER};

/// Shortest time between two looks at the pools.
const PAUSE: Duration = Duration::from_millis(500);
/// How many pools are written at once.
const PARALLEL: usize = 8;

/// Writes pools' status while we lead, until the token is cancelled.
pub async fn run(context: Context, mut leads: watch::Receiver<bool>, token: CancellationToken) {
    let work = async {
        while leads.wait_for(|leads| *leads).await.is_ok() {
            let names: Vec<PoolName> = {
                let mut picture = context.state.lock();
                picture.index.pop_pools().into_iter().collect()
            };
            let idle = names.is_empty();
            futures::stream::iter(names)
                .for_each_concurrent(PARALLEL, |name| reconcile(&context, name))
                .await;
            if idle {
                context.state.pools_changed.notified().await;
            } else {
                tokio::time::sleep(PAUSE).await;
            }
        }
    };
    token.run_until_cancelled(work).await;
}

/// What one pool needs.
enum Patches {
    Nothing,
    Metadata(Value),
    Status(Value),
}

async fn reconcile(context: &Context, name: PoolName) {
    match patches(context, &name) {
        Patches::Nothing => {}
        Patches::Metadata(patch) => {
            let api: Api<LoadBalancerIPPool> = Api::all(context.client.clone());
            let params = PatchParams {
                field_manager: Some(MANAGER.to_owned()),
                ..PatchParams::default()
            };
            let answer = api.patch(&name.0, &params, &Patch::Merge(patch)).await;
            done(context, name, answer);
        }
        Patches::Status(status) => {
            let api: Api<LoadBalancerIPPool> = Api::all(context.client.clone());
            let answer = landfall_runtime::apply::status(&api, &name.0, MANAGER, &status).await;
            done(context, name, answer);
        }
    }
}

/// Keeps the answer, so that nothing is written twice; a failed pool comes again.
fn done(context: &Context, name: PoolName, answer: Result<LoadBalancerIPPool, kube::Error>) {
    match answer {
        Ok(pool) => {
            let mut picture = context.state.lock();
            let draining = pool.metadata.deletion_timestamp.is_some();
            let finished = draining && pool.metadata.finalizers.as_ref().is_none_or(Vec::is_empty);
            if finished || !picture.pools.contains_key(&name) {
                return;
            }
            picture.pools.insert(name.clone(), pool);
            picture.index.pool_again(name);
        }
        Err(error) if Class::of(&error) == Class::NotFound => {}
        Err(error) => {
            let class = Class::of(&error);
            context.metrics.failed(class.as_str());
            tracing::warn!(pool = %name, %error, "pool not written");
            context.state.lock().index.pool_again(name);
        }
    }
}

fn patches(context: &Context, name: &PoolName) -> Patches {
    let picture = context.state.lock();
    let Some(pool) = picture.pools.get(name) else {
        return Patches::Nothing;
    };
    let finalizers = pool.metadata.finalizers.clone().unwrap_or_default();
    let held = finalizers
        .iter()
        .any(|finalizer| finalizer == DRAIN_FINALIZER);
    let version = &pool.metadata.resource_version;
    match (&pool.metadata.deletion_timestamp, held) {
        (None, false) => {
            let finalizers: Vec<_> = finalizers
                .iter()
                .map(String::as_str)
                .chain([DRAIN_FINALIZER])
                .collect();
            Patches::Metadata(
                json!({"metadata": {"resourceVersion": version, "finalizers": finalizers}}),
            )
        }
        (Some(_), true) if picture.index.records_of(name) == 0 => {
            let rest: Vec<_> = finalizers
                .iter()
                .filter(|name| *name != DRAIN_FINALIZER)
                .collect();
            Patches::Metadata(json!({"metadata": {"resourceVersion": version, "finalizers": rest}}))
        }
        _ => {
            let now = Time(Timestamp::now());
            status::build(&picture.index, pool, name, now).map_or(Patches::Nothing, Patches::Status)
        }
    }
}
