//! Decides while there is something to decide, on every replica, and writes the status of classes and routes while we
//! lead. A Gateway's status is the dispatcher's.

use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use landfall_crds::gateway_api::{BUNDLE_VERSION, GatewayClass, TCPRoute, UDPRoute};
use landfall_gateway::{RouteKey, RouteKind, class};
use landfall_runtime::class::Class;
use landfall_runtime::later::{Later, Retry};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::context::{Context, MANAGER};
use crate::gateway::{Subject, status};
use crate::watch::{tcp_route_answered, udp_route_answered};

/// Shortest time between two decisions: what comes in a burst is decided once.
const PAUSE: Duration = Duration::from_millis(50);
/// How many statuses are written at once.
const PARALLEL: usize = 8;
/// How often the release of the definitions is asked for, while there is a class of ours.
const RELEASE: Duration = Duration::from_secs(60);
/// The definition that says of which release all are.
const DEFINITION: &str = "gateways.gateway.networking.k8s.io";

/// Decides and writes until the token is cancelled.
pub(crate) async fn run(context: Context, leads: watch::Receiver<bool>, token: CancellationToken) {
    let work = async {
        tokio::join!(decide(&context, leads), ask_release(&context));
    };
    token.run_until_cancelled(work).await;
}

async fn decide(context: &Context, mut leads: watch::Receiver<bool>) {
    let mut later: Later<Subject> = Later::default();
    loop {
        if context.state.lock().decide_gateways() {
            context.state.services_changed.notify_one();
        }
        if *leads.borrow_and_update() {
            write(context, &mut later).await;
        }
        tokio::time::sleep(PAUSE).await;
        tokio::select! {
            () = context.state.gateways_changed.notified() => {}
            changed = leads.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            (subject, ()) = later.next() => context.state.lock().gateway_api.again(subject),
        }
    }
}

/// Writes what says something else than was decided.
async fn write(context: &Context, later: &mut Later<Subject>) {
    let stale = {
        let mut cache = context.state.lock();
        cache.gateway_api.pop_stale(|subject| later.waits(subject))
    };
    let answers = futures::stream::iter(stale)
        .map(|subject| async {
            let answer = match &subject {
                Subject::Class(name) => write_class(context, name).await,
                Subject::Route(key) => write_route(context, key).await,
            };
            (subject, answer)
        })
        .buffer_unordered(PARALLEL)
        .collect::<Vec<_>>()
        .await;
    for (subject, answer) in answers {
        let failed = match answer {
            Err(error) if Class::of(&error) != Class::NotFound => Some(error),
            _ => None,
        };
        let Some(error) = failed else {
            later.succeeded(&subject);
            context.state.lock().gateway_api.open.remove(&subject);
            continue;
        };
        let class = Class::of(&error);
        let Retry { attempt, after } = later.failed(subject.clone(), (), class);
        if class == Class::Conflict {
            tracing::debug!(?subject, ?after, "somebody else was quicker");
        } else {
            context.metrics.failed(class.as_str());
            tracing::warn!(?subject, %error, attempt, ?after, "status not written");
        }
    }
}

async fn write_class(context: &Context, name: &str) -> Result<(), kube::Error> {
    let now = Time(Timestamp::now());
    let Some(status) = status::class(&context.state.lock().gateway_api, name, now) else {
        return Ok(());
    };
    let api = Api::<GatewayClass>::all(context.client.clone());
    let class = landfall_runtime::apply::status(&api, name, MANAGER, &status).await?;
    context
        .state
        .change(|cache| cache.gateway_api.class_answered(name, class));
    Ok(())
}

/// The list of parents is one field: it is written over the very version that was read, or not at all.
async fn write_route(context: &Context, key: &RouteKey) -> Result<(), kube::Error> {
    let (status, version) = {
        let cache = context.state.lock();
        let known = &cache.gateway_api;
        let now = Time(Timestamp::now());
        let (Some(status), Some(live)) = (status::route(known, key, now), known.routes.get(key))
        else {
            return Ok(());
        };
        (status, live.version.clone())
    };
    let namespace = &key.name.namespace;
    let name = &key.name.name;
    let params = PatchParams::apply(MANAGER).force();
    let patch = |kind: RouteKind| -> Value {
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": kind.as_str(),
            "metadata": {"name": name, "resourceVersion": version},
            "status": status,
        })
    };
    match key.kind {
        RouteKind::Tcp => {
            let api = Api::<TCPRoute>::namespaced(context.client.clone(), namespace);
            let patch = Patch::Apply(patch(key.kind));
            let route = api.patch_status(name, &params, &patch).await?;
            context
                .state
                .change(|cache| tcp_route_answered(cache, &route));
        }
        RouteKind::Udp => {
            let api = Api::<UDPRoute>::namespaced(context.client.clone(), namespace);
            let patch = Patch::Apply(patch(key.kind));
            let route = api.patch_status(name, &params, &patch).await?;
            context
                .state
                .change(|cache| udp_route_answered(cache, &route));
        }
    }
    Ok(())
}

/// Asks of which release the definitions are, while there is a class of ours to say it of.
async fn ask_release(context: &Context) {
    let api = Api::<CustomResourceDefinition>::all(context.client.clone());
    loop {
        let asks = context
            .state
            .lock()
            .gateway_api
            .world
            .our_classes()
            .next()
            .is_some();
        if asks {
            match api.get_metadata_opt(DEFINITION).await {
                Ok(found) => {
                    let release =
                        found.and_then(|one| one.annotations().get(BUNDLE_VERSION).cloned());
                    learn_release(context, release);
                }
                Err(error) => {
                    tracing::debug!(%error, "the release of the Gateway API is not known")
                }
            }
            tokio::time::sleep(RELEASE).await;
        } else {
            tokio::time::sleep(PAUSE * 10).await;
        }
    }
}

fn learn_release(context: &Context, release: Option<String>) {
    if context.state.lock().gateway_api.world.bundle == release {
        return;
    }
    match &release {
        Some(release) if class::known(release) => {
            tracing::info!(release, "the Gateway API is installed")
        }
        _ => tracing::warn!(
            ?release,
            "the Gateway API is of a release that is not known; what can be read is served"
        ),
    }
    context
        .state
        .change(|cache| cache.gateway_api.change(|world| world.bundle = release));
}
