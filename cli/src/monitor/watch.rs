//! The watches of one cluster, as news: what cannot be watched is said, with the right that is lacking, and tried again.

use std::fmt::Debug;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Service;
use kube::core::DeserializeGuard;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client, Resource};
use landfall_runtime::watch::{News as Told, follow};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::Sender;
use tokio::task::JoinSet;

use super::world::{Key, Kind, News, Object};
use crate::cluster::Cluster;
use crate::picture::NAMESPACE;
use crate::words::plain;

/// Seconds that the API server lets a watch go on before it is begun again where it was.
const ROUND_SECONDS: u32 = 60;
/// The same.
pub(super) const ROUND: Duration = Duration::from_secs(ROUND_SECONDS as u64);

/// A watch that stays broken is spoken of again after this long.
const REMIND: Duration = Duration::from_secs(60);

/// A watch of which no error was heard for so long goes on: it says so by what changes, and nothing may. Longer than the
/// longest wait before it is tried again, and a round.
const QUIET: Duration = Duration::from_secs(30 + ROUND_SECONDS as u64 + 5);

/// Everything that is watched but classes, which only tell whose a Gateway is.
pub(super) const TELLING: [Kind; 7] = [
    Kind::Address,
    Kind::Service,
    Kind::Gateway,
    Kind::Node,
    Kind::Session,
    Kind::ControllersEvent,
    Kind::AnnouncersEvent,
];

/// Begins all watches, of one namespace or of all as far as they are of any. They end with the set.
pub(super) fn begin(
    cluster: &Cluster,
    namespace: Option<&str>,
    news: &Sender<News>,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let client = &cluster.client;
    let usual = || watcher::Config::default().timeout(ROUND_SECONDS);
    let of = |kind, config, place: Option<&str>| Watch {
        kind,
        config,
        place: place.map(str::to_owned),
        news: news.clone(),
        spoken: None,
    };
    let cluster_wide = None;
    tasks.spawn(
        of(Kind::Address, usual(), cluster_wide).run(Api::all(client.clone()), |object| {
            Object::Address(Box::new(object))
        }),
    );
    tasks.spawn(of(Kind::Service, usual(), namespace).run(
        within::<DeserializeGuard<Service>>(client, namespace),
        |object| Object::Service(Box::new(object)),
    ));
    tasks.spawn(
        of(Kind::Gateway, usual(), namespace).run(within(client, namespace), |object| {
            Object::Gateway(Box::new(object))
        }),
    );
    tasks.spawn(
        of(Kind::Class, usual(), cluster_wide).run(Api::all(client.clone()), |object| {
            Object::Class(Box::new(object))
        }),
    );
    tasks.spawn(
        of(Kind::Node, usual(), cluster_wide).run(Api::all(client.clone()), |object| {
            Object::Node(Box::new(object))
        }),
    );
    // Those in which sessions are renewed change all the time, and do not have the label.
    let sessions = usual().labels("landfall.dev/session=announcer");
    tasks.spawn(
        of(Kind::Session, sessions, Some(NAMESPACE))
            .run(Api::namespaced(client.clone(), NAMESPACE), |object| {
                Object::Session(Box::new(object))
            }),
    );
    for (kind, component) in [
        (Kind::ControllersEvent, "landfall-controller"),
        (Kind::AnnouncersEvent, "landfall-announcer"),
    ] {
        let ours = usual().fields(&format!("reportingController=landfall.dev/{component}"));
        tasks.spawn(
            of(kind, ours, namespace).run(within(client, namespace), |object| {
                Object::Event(Box::new(object))
            }),
        );
    }
    tasks
}

fn within<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// One watch.
struct Watch {
    kind: Kind,
    config: watcher::Config,
    /// The namespace of what is watched.
    place: Option<String>,
    news: Sender<News>,
    /// When it was last said that it is broken; none while it goes on.
    spoken: Option<Instant>,
}

impl Watch {
    /// Passes on what happens, until nobody listens.
    async fn run<K>(mut self, api: Api<DeserializeGuard<K>>, object: fn(K) -> Object)
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let kind = self.kind;
        let key = |guard: &DeserializeGuard<K>| -> Option<Key> {
            let meta = guard.meta();
            Some((
                meta.namespace.clone().unwrap_or_default(),
                meta.name.clone()?,
            ))
        };
        let stream = watcher(api, self.config.clone()).default_backoff();
        let mut told = pin!(follow(stream, key));
        loop {
            let patience = self.spoken.map_or(Duration::MAX, |_| QUIET);
            let told = tokio::time::timeout(patience, told.next()).await;
            let told = match told {
                Ok(None) => return,
                Ok(Some(told)) => Some(told),
                Err(_) => None,
            };
            let mut all = Vec::new();
            if !matches!(told, Some(Told::Broken(_))) && self.spoken.take().is_some() {
                let words = format!("{} are watched again", self.what::<K>());
                all.push(News::Mended(words));
            }
            match told {
                None => {}
                Some(Told::Seen(guard)) => match (key(&guard), guard.0) {
                    (None, _) => {}
                    (Some(key), Ok(seen)) => all.push(News::Seen(kind, key, object(seen))),
                    (Some(key), Err(invalid)) => {
                        let words = format!(
                            "{} {} cannot be read, and is left out: {}",
                            K::kind(&()),
                            key.1,
                            plain(&invalid.error)
                        );
                        all.push(News::Unreadable(kind, key, words));
                    }
                },
                Some(Told::Gone(key)) => all.push(News::Gone(kind, key)),
                Some(Told::Listed(keys)) => all.push(News::Listed(kind, keys)),
                Some(Told::Broken(error)) => {
                    let is_due = self
                        .spoken
                        .is_none_or(|spoken| spoken.elapsed() >= REMIND && !lasts(&error));
                    let words = is_due.then(|| self.why::<K>(&error)).flatten();
                    if words.is_some() {
                        self.spoken = Some(Instant::now());
                    }
                    all.push(News::Broken(kind, words));
                }
            }
            for news in all {
                if self.news.send(news).await.is_err() {
                    return;
                }
            }
        }
    }

    fn what<K: Resource<DynamicType = ()>>(&self) -> String {
        what(
            self.kind,
            &K::plural(&()),
            &K::group(&()),
            self.place.as_deref(),
        )
    }

    fn why<K: Resource<DynamicType = ()>>(&self, error: &watcher::Error) -> Option<String> {
        why(self.kind, &self.what::<K>(), self.place.is_some(), error)
    }
}

/// What is watched, as a role names it.
fn what(kind: Kind, plural: &str, group: &str, place: Option<&str>) -> String {
    let mut name = plural.to_owned();
    if !group.is_empty() {
        name = format!("{name}.{group}");
    }
    if let Some(place) = place {
        name = format!("{name} of namespace {place}");
    }
    match kind {
        Kind::ControllersEvent => format!("{name} that the controller writes"),
        Kind::AnnouncersEvent => format!("{name} that announcers write"),
        _ => name,
    }
}

/// The code with which the API server refused; 0 where it did not.
fn code(error: &watcher::Error) -> u16 {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.code,
        _ => 0,
    }
}

/// Whether it stays so until somebody changes the cluster: nobody has to be reminded of that.
fn lasts(error: &watcher::Error) -> bool {
    matches!(code(error), 403 | 404)
}

/// Why it is not watched, and what would help. A cluster without the Gateway API is none to speak of.
fn why(kind: Kind, what: &str, is_placed: bool, error: &watcher::Error) -> Option<String> {
    let verb = match error {
        watcher::Error::InitialListFailed(_) => "list",
        _ => "watch",
    };
    let ours = matches!(kind, Kind::Address | Kind::Node);
    match code(error) {
        403 => {
            let of_all = matches!(
                kind,
                Kind::Service | Kind::Gateway | Kind::ControllersEvent | Kind::AnnouncersEvent
            ) && !is_placed;
            let remedy = match (ours, of_all) {
                (true, _) => "; the ClusterRole landfall-view permits it",
                (_, true) => " of all namespaces; -n names one",
                _ => "",
            };
            Some(format!("you may not {verb} {what}{remedy}"))
        }
        404 if ours => Some(format!(
            "the cluster does not know {what}; `landfall install` brings it"
        )),
        404 => None,
        _ => Some(format!(
            "{what} are not watched for a moment, and will be again: {error}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn refused(code: u16) -> kube::Error {
        kube::Error::Api(Box::new(Status::failure("no", "No").with_code(code)))
    }

    #[test]
    fn of_what_is_refused_nobody_is_reminded() {
        let failed = |code| lasts(&watcher::Error::WatchStartFailed(refused(code)));
        assert_eq!([403, 404, 500, 410].map(failed), [true, true, false, false]);
    }

    #[test]
    fn the_right_that_is_lacking_is_named_as_a_role_has_it() {
        let services = what(Kind::Service, "services", "", Some("blue"));
        let listing = watcher::Error::InitialListFailed(refused(403));
        assert_eq!(
            why(Kind::Service, &services, true, &listing).unwrap(),
            "you may not list services of namespace blue"
        );
        assert_eq!(
            why(Kind::Service, "services", false, &listing).unwrap(),
            "you may not list services of all namespaces; -n names one"
        );
        let records = what(Kind::Address, "loadbalancerips", "landfall.dev", None);
        let watching = watcher::Error::WatchStartFailed(refused(403));
        assert_eq!(
            why(Kind::Address, &records, false, &watching).unwrap(),
            "you may not watch loadbalancerips.landfall.dev; the ClusterRole landfall-view permits it"
        );
    }

    #[test]
    fn a_cluster_without_the_gateway_api_is_none_to_speak_of_and_one_without_landfall_is() {
        let listing = watcher::Error::InitialListFailed(refused(404));
        assert_eq!(why(Kind::Gateway, "gateways", false, &listing), None);
        let said = why(Kind::Node, "l2nodes", false, &listing).unwrap();
        assert!(said.contains("`landfall install` brings it"), "{said}");
    }

    #[test]
    fn a_watch_that_breaks_off_says_so_and_that_it_goes_on() {
        let said = why(
            Kind::Node,
            "l2nodes",
            false,
            &watcher::Error::NoResourceVersion,
        )
        .unwrap();
        assert!(said.starts_with("l2nodes are not watched for a moment, and will be again: "));
    }
}
