//! What every worker shares: the client, the settings, the runtime, addresses to give, Services to name.

use std::{sync::Arc, time::Duration};

use ipnetwork::IpNetwork;
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use kube::{
    Client, Resource as _,
    runtime::{
        events::{Event, EventType, Recorder, Reporter},
        utils::Backoff,
        watcher,
    },
};
use parking_lot::Mutex;
use tokio::sync::watch;
use tracing::debug;

use super::{args::Settings, ipam::PodIps, records::Root, runtime::Runtime, services::Services};

/// Shared by all workers of the node.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) settings: Arc<Settings>,
    pub(crate) root: Root,
    pub(crate) runtime: Runtime,
    pub(crate) ips: Mutex<PodIps>,
    pub(crate) cidrs: watch::Receiver<Vec<IpNetwork>>,
    /// `None` until the first list is complete.
    pub(crate) services: watch::Receiver<Option<Arc<Services>>>,
    recorder: Recorder,
}

impl Context {
    /// Puts it together.
    pub(crate) fn new(
        client: Client,
        settings: Arc<Settings>,
        runtime: Runtime,
        cidrs: watch::Receiver<Vec<IpNetwork>>,
        services: watch::Receiver<Option<Arc<Services>>>,
    ) -> Self {
        let reporter = Reporter {
            controller: "kubelet".to_owned(),
            instance: Some(settings.node_name.clone()),
        };
        Self {
            recorder: Recorder::new(client.clone(), reporter),
            root: Root::at(&settings.root),
            ips: Mutex::default(),
            client,
            settings,
            runtime,
            cidrs,
            services,
        }
    }

    /// Tells of something that happened to a Pod, without waiting for it to be written.
    pub(crate) fn tell(self: &Arc<Self>, pod: &Pod, warning: bool, reason: &str, note: String) {
        let context = Arc::clone(self);
        let reference: ObjectReference = pod.object_ref(&());
        let event = Event {
            type_: if warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: reason.to_owned(),
            note: Some(note),
            action: reason.to_owned(),
            secondary: None,
        };
        tokio::spawn(async move {
            if let Err(error) = context.recorder.publish(&event, &reference).await {
                debug!("event not written: {error}");
            }
        });
    }
}

/// Watches are tried again soon: a lab's API server comes back within seconds or not at all.
pub(crate) struct Steady;

impl Iterator for Steady {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(Duration::from_millis(500))
    }
}

impl Backoff for Steady {
    fn reset(&mut self) {}
}

/// How watches of this program back off.
pub(crate) fn backoff() -> Steady {
    Steady
}

/// The server ends a watch after this long, to be resumed …
const WATCH_SECONDS: u32 = 20;
/// … so that a connection silent for longer is dead.
pub(crate) const READ_LIMIT: Duration = Duration::from_secs(25);

/// How watches of this program are made.
pub(crate) fn watching() -> watcher::Config {
    watcher::Config::default().timeout(WATCH_SECONDS)
}
