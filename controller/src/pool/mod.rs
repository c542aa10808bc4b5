//! Pools: conditions, counts, and the finalizer that lets a pool in use drain.
//!
//! Status follows from the index; it is written when it differs, and at most every half second, so
//! that a burst of assignments is one write a pool.

pub(crate) mod guard;
pub mod status;

use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use landfall_crds::LoadBalancerIPPool;
use landfall_ipam::PoolName;
use landfall_runtime::class::Class;
use landfall_runtime::later::{Later, Retry};
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::context::{Context, MANAGER};

/// Shortest time between two looks at the pools.
const PAUSE: Duration = Duration::from_millis(500);
/// How many pools are written at once.
const PARALLEL: usize = 8;

/// Writes pools' status while we lead, until the token is cancelled.
pub async fn run(context: Context, mut leads: watch::Receiver<bool>, token: CancellationToken) {
    let work = async {
        let mut later: Later<PoolName> = Later::default();
        while leads.wait_for(|leads| *leads).await.is_ok() {
            let names = {
                let mut cache = context.state.lock();
                let mut names = cache.index.pop_pools();
                // One that failed waits for its time, whatever happens to it meanwhile.
                names.retain(|name| !later.waits(name));
                cache.open.pools = names.iter().chain(later.waiting()).cloned().collect();
                names
            };
            let idle = names.is_empty();
            let answers = futures::stream::iter(names)
                .map(|name| reconcile(&context, name))
                .buffer_unordered(PARALLEL)
                .collect::<Vec<_>>()
                .await;
            for (name, failed) in answers {
                let Some(class) = failed else {
                    later.succeeded(&name);
                    continue;
                };
                let Retry { attempt, after } = later.failed(name.clone(), (), class);
                tracing::debug!(pool = %name, attempt, ?after, "tried again");
            }
            context.state.lock().open.pools = later.waiting().cloned().collect();
            if !idle {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            tokio::select! {
                () = context.state.pools_changed.notified() => {}
                (name, ()) = later.next() => {
                    context.state.lock().index.pool_again(name);
                }
            }
        }
    };
    token.run_until_cancelled(work).await;
}

/// What one pool needs.
enum Patches {
    Nothing,
    Metadata(Value),
    /// Lets go of it, if really nothing is left.
    Release(Value),
    Status(Value),
}

/// The class of error it failed with, if it did.
async fn reconcile(context: &Context, name: PoolName) -> (PoolName, Option<Class>) {
    let failed = match patches(context, &name) {
        Patches::Nothing => None,
        Patches::Metadata(patch) => {
            let answer = guard::write(context, &name, &patch).await;
            done(context, &name, answer)
        }
        Patches::Release(patch) => match guard::is_named(context, &name).await {
            Ok(true) => Some(Class::Conflict),
            Ok(false) => {
                let answer = guard::write(context, &name, &patch).await;
                done(context, &name, answer)
            }
            Err(error) => done(context, &name, Err(error)),
        },
        Patches::Status(status) => {
            let api: Api<LoadBalancerIPPool> = Api::all(context.client.clone());
            let answer =
                landfall_runtime::apply::status(&api, name.as_str(), MANAGER, &status).await;
            done(context, &name, answer)
        }
    };
    (name, failed)
}

/// Keeps the answer, so that nothing is written twice; a failed pool comes again.
fn done(
    context: &Context,
    name: &PoolName,
    answer: Result<LoadBalancerIPPool, kube::Error>,
) -> Option<Class> {
    match answer {
        Ok(pool) => {
            let draining = pool.metadata.deletion_timestamp.is_some();
            let finished = draining && pool.metadata.finalizers.as_ref().is_none_or(Vec::is_empty);
            if !finished {
                context
                    .state
                    .change(|cache| cache.pool_answered(name, pool));
            }
            None
        }
        Err(error) if Class::of(&error) == Class::NotFound => None,
        Err(error) => {
            let class = Class::of(&error);
            context.metrics.failed(class.as_str());
            tracing::warn!(pool = %name, %error, "pool not written");
            Some(class)
        }
    }
}

fn patches(context: &Context, name: &PoolName) -> Patches {
    let cache = context.state.lock();
    let Some(pool) = cache.pools.get(name) else {
        return Patches::Nothing;
    };
    match (&pool.metadata.deletion_timestamp, guard::stands(pool)) {
        (None, false) => Patches::Metadata(guard::patch(pool, true)),
        (Some(_), true)
            if cache.index.records_of(name) == 0 && !cache.open.naming.contains_key(name) =>
        {
            Patches::Release(guard::patch(pool, false))
        }
        _ => {
            let now = Time(Timestamp::now());
            status::build(&cache.index, pool, name, now).map_or(Patches::Nothing, Patches::Status)
        }
    }
}
