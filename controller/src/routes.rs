//! Decides while there is something to decide, on every replica, and writes the status of classes, ListenerSets and routes
//! while we lead. A Gateway's status is the dispatcher's.

use std::fmt::Debug;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource, ResourceExt as _};
use landfall_crds::gateway_api::{
    BUNDLE_VERSION, GatewayClass, ListenerSet, TCPRoute, UDPRoute, earlier,
};
use landfall_crds::{LoadBalancerIP, ip_name};
use landfall_gateway::{NamespacedName, RouteKey, RouteKind, class};
use landfall_ipam::address::Point;
use landfall_runtime::call::{Failure, within};
use landfall_runtime::class::Class;
use landfall_runtime::later::{Later, Retry};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::cache::Cache;
use crate::context::{Context, MANAGER, PATIENCE};
use crate::gateway::{Subject, infrastructure, status};
use crate::watch::{tcp_route_answered, udp_route_answered};

/// Shortest time between two decisions: what comes in a burst is decided once.
const PAUSE: Duration = Duration::from_millis(50);
/// How many statuses are written at once.
const PARALLEL: usize = 8;
/// How often the release of the definitions is asked for, while there is a class of ours.
const RELEASE: Duration = Duration::from_secs(60);
/// The definition that says of which release all are.
const DEFINITION: &str = "gateways.gateway.networking.k8s.io";

/// Decides and writes until the token is cancelled. The two do not wait for each other: a slow API server keeps no decision
/// from the announcers.
pub(crate) async fn run(context: Context, leads: watch::Receiver<bool>, token: CancellationToken) {
    let classes = Notify::new();
    let work = async {
        tokio::join!(
            decide(&context, &classes),
            write(&context, leads),
            ask_release(&context, &classes)
        );
    };
    // On the heap: it is one of many that one future holds.
    token.run_until_cancelled(Box::pin(work)).await;
}

/// Tells who asks for the release when there is a class of ours.
async fn decide(context: &Context, classes: &Notify) {
    loop {
        if context.state.lock().decide_gateways() {
            context.state.services_changed.notify_one();
            classes.notify_one();
        }
        context.state.gateway_statuses_changed.notify_one();
        tokio::time::sleep(PAUSE).await;
        context.state.gateways_changed.notified().await;
    }
}

async fn write(context: &Context, mut leads: watch::Receiver<bool>) {
    let mut later: Later<Subject> = Later::default();
    loop {
        if *leads.borrow_and_update() {
            write_stale(context, &leads, &mut later).await;
        }
        tokio::select! {
            () = context.state.gateway_statuses_changed.notified() => {}
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
async fn write_stale(context: &Context, leads: &watch::Receiver<bool>, later: &mut Later<Subject>) {
    let stale = {
        let mut cache = context.state.lock();
        cache.gateway_api.pop_stale(|subject| later.waits(subject))
    };
    let answers = futures::stream::iter(stale)
        .map(|subject| async {
            // Another one may lead before it is this one's turn.
            if !*leads.borrow() {
                return (subject, None);
            }
            let answer = match &subject {
                Subject::Class(name) => write_class(context, name).await,
                Subject::ListenerSet(key) => write_listener_set(context, key).await,
                Subject::Route(key) => write_route(context, key).await,
                Subject::Record(at) => write_marks(context, *at).await,
            };
            (subject, Some(answer))
        })
        .buffer_unordered(PARALLEL)
        .collect::<Vec<_>>()
        .await;
    for (subject, answer) in answers {
        let Some(answer) = answer else {
            context.state.lock().gateway_api.put_back(subject);
            continue;
        };
        let failed = match answer {
            Err(error) if error.class() != Class::NotFound => Some(error),
            _ => None,
        };
        let Some(error) = failed else {
            later.succeeded(&subject);
            context.state.lock().gateway_api.open.remove(&subject);
            continue;
        };
        let class = error.class();
        let Retry { attempt, after } = later.failed(subject.clone(), (), class);
        if class == Class::Conflict {
            tracing::debug!(?subject, ?after, "somebody else was quicker");
        } else {
            context.metrics.failed(class.as_str());
            tracing::warn!(?subject, %error, attempt, ?after, "status not written");
        }
    }
}

async fn write_class(context: &Context, name: &str) -> Result<(), Failure> {
    let now = Time(Timestamp::now());
    let (status, finalizer) = {
        let known = &context.state.lock().gateway_api;
        let status = status::class(known, name, now);
        (status, known.finalizer(name))
    };
    let api = Api::<GatewayClass>::all(context.client.clone());
    let answered = |class: GatewayClass| {
        let answered = |cache: &mut Cache| cache.gateway_api.class_answered(name, class);
        context.state.change(answered);
    };
    if let Some(status) = status {
        let answer = landfall_runtime::apply::status(&api, name, MANAGER, &status);
        answered(within(PATIENCE, answer).await?);
    }
    if let Some(finalizer) = finalizer {
        let params = PatchParams::apply(status::FINALIZER_MANAGER);
        let patch = Patch::Apply(finalizer);
        let answer = within(PATIENCE, api.patch(name, &params, &patch)).await;
        let may = !matches!(&answer, Err(error) if error.class() == Class::Forbidden);
        if may {
            answered(answer?);
        }
        let hold = |cache: &mut Cache| cache.gateway_api.hold_seen(may);
        context.state.change(hold);
    }
    Ok(())
}

async fn write_listener_set(context: &Context, key: &NamespacedName) -> Result<(), Failure> {
    let now = Time(Timestamp::now());
    let Some(status) = status::listener_set(&context.state.lock().gateway_api, key, now) else {
        return Ok(());
    };
    let api = Api::<ListenerSet>::namespaced(context.client.clone(), &key.namespace);
    let answer = landfall_runtime::apply::status(&api, &key.name, MANAGER, &status);
    let set = within(PATIENCE, answer).await?;
    context
        .state
        .change(|cache| cache.gateway_api.listener_set_answered(key, set));
    Ok(())
}

/// What somebody else says of a name in a record stays.
async fn write_marks(context: &Context, at: Point) -> Result<(), Failure> {
    let Some((uid, marks)) = context.state.lock().marks_to_write(at) else {
        return Ok(());
    };
    let name = ip_name(at.address());
    let api = Api::<LoadBalancerIP>::all(context.client.clone());
    let patch = Patch::Apply(marks.patch(&name, &uid));
    let params = PatchParams::apply(infrastructure::MANAGER);
    match within(PATIENCE, api.patch(&name, &params, &patch)).await {
        Err(error) if error.class() == Class::Conflict => {
            tracing::debug!(%name, %error, "its labels and annotations are as somebody else says");
        }
        answer => {
            let record = answer?;
            let metadata = Some(&record.metadata);
            context.state.change(|cache| cache.marks_seen(at, metadata));
        }
    }
    Ok(())
}

/// The list of parents is one field: it is written over the very version that was read, or not at all.
async fn write_route(context: &Context, key: &RouteKey) -> Result<(), Failure> {
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
    let said = (&key.name, version.as_str(), &status);
    match key.kind {
        RouteKind::Tcp => {
            let route = apply_to::<TCPRoute, earlier::TCPRoute>(context, said).await?;
            context
                .state
                .change(|cache| tcp_route_answered(cache, &route));
        }
        RouteKind::Udp => {
            let route = apply_to::<UDPRoute, earlier::UDPRoute>(context, said).await?;
            context
                .state
                .change(|cache| udp_route_answered(cache, &route));
        }
    }
    Ok(())
}

/// A route by name and version, and its status.
type Said<'a> = (&'a NamespacedName, &'a str, &'a Value);

/// Applies a status to a kind, by its earlier version where its own is not served.
async fn apply_to<K, E>(context: &Context, said: Said<'_>) -> Result<K, Failure>
where
    K: Routes,
    E: Routes + Into<K>,
{
    match apply_status::<K>(context, said).await {
        // It may just as well be gone: then the other version says so, too.
        Err(error) if error.class() == Class::NotFound => {
            Ok(apply_status::<E>(context, said).await?.into())
        }
        answer => answer,
    }
}

/// What the kinds of routes have in common, in any version.
trait Routes:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug
{
}

impl<K> Routes for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug
{
}

async fn apply_status<K: Routes>(
    context: &Context,
    (at, version, status): Said<'_>,
) -> Result<K, Failure> {
    let api = Api::<K>::namespaced(context.client.clone(), &at.namespace);
    let patch = Patch::Apply(json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {"name": at.name, "resourceVersion": version},
        "status": status,
    }));
    let params = PatchParams::apply(MANAGER).force();
    within(PATIENCE, api.patch_status(&at.name, &params, &patch)).await
}

/// Asks of which release the definitions are, while there is a class of ours to say it of.
async fn ask_release(context: &Context, classes: &Notify) {
    let api = Api::<CustomResourceDefinition>::all(context.client.clone());
    let is_asked_for = || {
        let world = &context.state.lock().gateway_api.world;
        world.our_classes().next().is_some()
    };
    loop {
        if !is_asked_for() {
            classes.notified().await;
            continue;
        }
        match within(PATIENCE, api.get_metadata_opt(DEFINITION)).await {
            Ok(found) => {
                let release = found.and_then(|one| one.annotations().get(BUNDLE_VERSION).cloned());
                learn_release(context, release);
            }
            Err(error) => {
                tracing::debug!(%error, "the release of the Gateway API is not known");
                let known = context.state.lock().gateway_api.world.bundle.clone();
                learn_release(context, known);
            }
        }
        tokio::time::sleep(RELEASE).await;
        context.state.change(|cache| cache.gateway_api.hold_again());
    }
}

fn learn_release(context: &Context, release: Option<String>) {
    let said = release.clone();
    let learn = |cache: &mut Cache| cache.gateway_api.release_seen(said);
    if !context.state.change(learn) {
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
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use clap::Parser as _;
    use kube::Client;
    use kube::client::Body;
    use prometheus_client::registry::Registry;
    use tokio::sync::mpsc;

    use super::*;
    use crate::args::Args;
    use crate::metrics::Metrics;
    use crate::settings::Settings;
    use crate::state::State;

    const MOMENT: Duration = Duration::from_millis(1);
    const LONG: Duration = Duration::from_secs(120);

    /// A leader that knows a class of ours and whose API server never answers, and how often that was asked to write.
    fn unanswered() -> (Context, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let writes = Arc::clone(&asked);
        let service = tower::service_fn(move |request: http::Request<Body>| {
            if request.method() == http::Method::PATCH {
                writes.fetch_add(1, Ordering::Relaxed);
            }
            std::future::pending::<Result<http::Response<Body>, Infallible>>()
        });
        let state = Arc::new(State::default());
        let context = Context {
            client: Client::new(service, "default"),
            metrics: Metrics::register(&mut Registry::default(), &state),
            state: Arc::clone(&state),
            settings: Arc::new(Settings::resolve(&Args::parse_from(["test"])).unwrap()),
            events: mpsc::channel(1).0,
        };
        let class = json!({"metadata": {"name": "internet", "uid": "c"},
            "spec": {"controllerName": "landfall.dev/gateway-controller"}});
        let class = serde_json::from_value(class).unwrap();
        state.change(|cache| cache.gateway_api.class_seen("internet", class));
        (context, asked)
    }

    async fn until(what: &str, mut there: impl FnMut() -> bool) {
        let wait = async {
            while !there() {
                tokio::time::sleep(MOMENT).await;
            }
        };
        let there = tokio::time::timeout(LONG, wait).await;
        assert!(there.is_ok(), "{what}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_status_that_nobody_takes_keeps_no_decision_waiting_and_is_tried_again() {
        let (context, asked) = unanswered();
        let (_leads, leads) = watch::channel(true);
        let token = CancellationToken::new();
        let task = tokio::spawn(run(context.clone(), leads, token.clone()));
        until("the class is written", || {
            asked.load(Ordering::Relaxed) == 1
        })
        .await;
        let at = NamespacedName::new("blue", "edge");
        let gateway = json!({"metadata": {"name": "edge", "namespace": "blue", "uid": "g"},
            "spec": {"gatewayClassName": "internet", "listeners": []}});
        let gateway = serde_json::from_value(gateway).unwrap();
        let change = |cache: &mut Cache| cache.gateway_object_seen(&at, Some(gateway));
        context.state.change(change);
        let decided = || {
            let cache = context.state.lock();
            cache.gateway_api.decisions.gateways.contains_key(&at)
        };
        until("the Gateway is decided", decided).await;
        assert_eq!(
            asked.load(Ordering::Relaxed),
            1,
            "its class is still being written"
        );
        until("it is tried again", || asked.load(Ordering::Relaxed) > 1).await;
        token.cancel();
        task.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_lead_writes_nothing_and_does_once_it_leads() {
        let (context, asked) = unanswered();
        let (lead, leads) = watch::channel(false);
        let token = CancellationToken::new();
        let task = tokio::spawn(run(context.clone(), leads, token.clone()));
        let decided = || {
            !context
                .state
                .lock()
                .gateway_api
                .decisions
                .classes
                .is_empty()
        };
        until("the class is decided", decided).await;
        tokio::time::sleep(LONG).await;
        assert_eq!(asked.load(Ordering::Relaxed), 0);
        lead.send_replace(true);
        until("the class is written", || {
            asked.load(Ordering::Relaxed) == 1
        })
        .await;
        token.cancel();
        task.await.unwrap();
    }
}
