//! One watch a kind, and one for the renewals of each node that this one has to look after. A malformed object is counted
//! and named, and is as good as absent; it never stops the watch.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{ObjectMeta, PartialObjectMeta};
use kube::core::DeserializeGuard;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt as _};
use landfall_crds::{L2AnnouncementPolicy, LoadBalancerIP};
use landfall_runtime::backoff::Growing;
use landfall_runtime::watch::{News, follow};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::brain::{Input, Subject};
use crate::model::{self, Key, Kind, Object, published};
use crate::names::{NodeName, PolicyName, ServiceKey, Version};

/// Between two attempts of a watch: shorter than clients usually make them, because takeovers wait for it.
const PAUSES: Growing = Growing::between(Duration::from_millis(200), Duration::from_secs(5));
/// How long one watch call lasts: a dead connection is noticed after this at the latest.
const WATCH_SECONDS: u32 = 60;

/// What went wrong with watches: `(kind, "request" or "object")`.
pub type WatchErrors = Arc<Mutex<BTreeMap<(Kind, &'static str), u64>>>;

/// Watches everything the announcer needs, until the token is cancelled.
pub(super) fn watch_all(
    client: &Client,
    namespace: &str,
    watched: watch::Receiver<BTreeSet<NodeName>>,
    inputs: &mpsc::Sender<Input>,
    errors: &WatchErrors,
    token: &CancellationToken,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let feed = |kind| Feed {
        kind,
        inputs: inputs.clone(),
        errors: errors.clone(),
        token: token.clone(),
    };
    tasks.spawn(guarded::<LoadBalancerIP>(
        Api::all(client.clone()),
        config(),
        feed(Kind::Address),
        |ip| {
            model::lbip(ip)
                .map(Object::Address)
                .map_err(|error| error.to_string())
        },
        |meta| {
            Some(Key::Address(
                landfall_crds::parse_ip_name(meta.name.as_ref()?).ok()?,
            ))
        },
    ));
    tasks.spawn(guarded::<L2AnnouncementPolicy>(
        Api::all(client.clone()),
        config(),
        feed(Kind::Policy),
        |policy| {
            let (name, policy) = model::policy(policy);
            Ok(Object::Policy(name, policy))
        },
        |meta| Some(Key::Policy(PolicyName::new(meta.name.clone()?))),
    ));
    tasks.spawn(guarded::<Service>(
        Api::all(client.clone()),
        config(),
        feed(Kind::Service),
        |service| {
            let (key, service) = model::service(service);
            Ok(Object::Service(key, service))
        },
        |meta| Some(Key::Service(service_key(meta, meta.name.clone()?))),
    ));
    tasks.spawn(guarded::<EndpointSlice>(
        Api::all(client.clone()),
        config().labels("kubernetes.io/service-name"),
        feed(Kind::Slice),
        |slice| {
            let (key, name, slice) = model::slice(slice).map_err(|error| error.to_string())?;
            Ok(Object::Slice(key, name, slice))
        },
        |meta| {
            let service = meta.labels.as_ref()?.get("kubernetes.io/service-name")?;
            Some(Key::Slice(
                service_key(meta, service.clone()),
                meta.name.clone()?,
            ))
        },
    ));
    tasks.spawn(guarded::<Node>(
        Api::all(client.clone()),
        config(),
        feed(Kind::Node),
        |node| {
            let (name, node) = model::node(node);
            Ok(Object::Node(name, node))
        },
        |meta| Some(Key::Node(NodeName::new(meta.name.clone()?))),
    ));
    let (label, value) = published::LABEL;
    tasks.spawn(guarded::<Lease>(
        Api::namespaced(client.clone(), namespace),
        config().labels(&format!("{label}={value}")),
        feed(Kind::Session),
        |lease| {
            let (node, peer) = model::lease(lease).map_err(|error| error.to_string())?;
            Ok(Object::Session(node, peer))
        },
        |meta| {
            let node = meta
                .name
                .as_deref()?
                .strip_prefix(published::LEASE_PREFIX)?;
            Some(Key::Session(NodeName::new(node)))
        },
    ));
    tasks.spawn(namespaces(Api::all(client.clone()), feed(Kind::Namespace)));
    tasks.spawn(renewals(
        Api::namespaced(client.clone(), namespace),
        watched,
        feed(Kind::Renewal),
    ));
    tasks
}

fn config() -> watcher::Config {
    watcher::Config::default().timeout(WATCH_SECONDS)
}

fn service_key(meta: &ObjectMeta, name: String) -> ServiceKey {
    ServiceKey::new(meta.namespace.clone().unwrap_or_default(), name)
}

/// Where a watch's news go.
#[derive(Clone)]
struct Feed {
    kind: Kind,
    inputs: mpsc::Sender<Input>,
    errors: WatchErrors,
    token: CancellationToken,
}

impl Feed {
    fn count(&self, what: &'static str) {
        *self.errors.lock().entry((self.kind, what)).or_default() += 1;
    }

    fn request_failed(&self, error: &watcher::Error) {
        self.count("request");
        tracing::warn!(kind = self.kind.as_str(), %error, "watch failed, trying again");
    }

    /// Counts and logs it; kinds that people write are told of it on the object.
    fn unreadable(&self, object: &impl Resource<DynamicType = ()>, error: String) -> Option<Input> {
        self.count("object");
        let (kind, name) = (self.kind.as_str(), object.name_any());
        tracing::warn!(kind, name, error, "object cannot be read and is left out");
        let uid = object.uid()?;
        let subject = match self.kind {
            Kind::Address => Subject::Address(name, uid),
            Kind::Policy => Subject::Policy(name, uid),
            Kind::Service => Subject::Service(service_key(object.meta(), name), uid),
            Kind::Slice | Kind::Node | Kind::Namespace | Kind::Session | Kind::Renewal => {
                return None;
            }
        };
        Some(Input::Unreadable(subject, error))
    }

    /// False when the agent is gone.
    async fn send(&self, input: Input) -> bool {
        tokio::select! {
            () = self.token.cancelled() => false,
            sent = self.inputs.send(input) => sent.is_ok(),
        }
    }
}

async fn guarded<K>(
    api: Api<DeserializeGuard<K>>,
    config: watcher::Config,
    feed: Feed,
    read: fn(&K) -> Result<Object, String>,
    key: fn(&ObjectMeta) -> Option<Key>,
) where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    DeserializeGuard<K>:
        Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let read_guarded = |guarded: &DeserializeGuard<K>| match &guarded.0 {
        Ok(object) => read(object),
        Err(invalid) => Err(invalid.error.clone()),
    };
    let stream = watcher(api, config).backoff(PAUSES);
    consume(stream, feed, read_guarded, |guarded| key(guarded.meta())).await;
}

async fn namespaces(api: Api<PartialObjectMeta<Namespace>>, feed: Feed) {
    let stream = watcher(api, config()).backoff(PAUSES);
    let read = |object: &PartialObjectMeta<Namespace>| {
        let (name, namespace) = model::namespace(object.name_any(), object.labels());
        Ok(Object::Namespace(name, namespace))
    };
    consume(stream, feed, read, |object| {
        Some(Key::Namespace(object.name_any()))
    })
    .await;
}

/// Watches the renewals of those nodes that are to be watched now, each by the name of its Lease: nothing else of that is
/// told to this node.
async fn renewals(
    api: Api<PartialObjectMeta<Lease>>,
    mut watched: watch::Receiver<BTreeSet<NodeName>>,
    feed: Feed,
) {
    let mut watches: BTreeMap<NodeName, AbortOnDropHandle<()>> = BTreeMap::new();
    loop {
        let nodes = watched.borrow_and_update().clone();
        watches.retain(|node, _| nodes.contains(node));
        for node in nodes {
            watches.entry(node).or_insert_with_key(|node| {
                let of_one = renewals_of(node.clone(), api.clone(), feed.clone());
                AbortOnDropHandle::new(tokio::spawn(of_one))
            });
        }
        let changed = feed.token.run_until_cancelled(watched.changed()).await;
        if !matches!(changed, Some(Ok(()))) {
            return;
        }
    }
}

async fn renewals_of(node: NodeName, api: Api<PartialObjectMeta<Lease>>, feed: Feed) {
    let name = format!("metadata.name={}{node}", published::RENEWAL_PREFIX);
    let stream = watcher(api, config().fields(&name)).backoff(PAUSES);
    let mut news = pin!(follow(stream, |lease| lease.meta().name.clone()));
    while let Some(news) = news.next().await {
        match news {
            News::Seen(lease) => {
                let version = Version::new(lease.resource_version().unwrap_or_default());
                if !feed.send(Input::Renewal(node.clone(), version)).await {
                    return;
                }
            }
            News::Broken(error) => feed.request_failed(&error),
            // Without a Lease there are no renewals: that is noticed by the time that passes.
            News::Listed(_) | News::Gone(_) => {}
        }
    }
}

async fn consume<K: Resource<DynamicType = ()>>(
    stream: impl Stream<Item = Result<Event<K>, watcher::Error>>,
    feed: Feed,
    read: impl Fn(&K) -> Result<Object, String>,
    key: impl Fn(&K) -> Option<Key>,
) {
    let mut news = pin!(follow(stream, &key));
    loop {
        let news = tokio::select! {
            () = feed.token.cancelled() => return,
            news = news.next() => news,
        };
        let inputs = match news {
            None => return,
            Some(News::Broken(error)) => {
                feed.request_failed(&error);
                continue;
            }
            Some(News::Listed(keys)) => vec![Input::Listed(feed.kind, keys)],
            Some(News::Gone(key)) => vec![Input::Gone(key)],
            Some(News::Seen(object)) => match read(&object) {
                Ok(object) => vec![Input::Applied(object)],
                // What cannot be read any more is as good as gone.
                Err(error) => {
                    let gone = key(&object).map(Input::Gone);
                    gone.into_iter()
                        .chain(feed.unreadable(&object, error))
                        .collect()
                }
            },
        };
        for input in inputs {
            if !feed.send(input).await {
                return;
            }
        }
    }
}
