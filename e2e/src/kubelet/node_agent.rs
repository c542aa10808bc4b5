//! Keeps the node's Lease and status: registers, renews every second, answers what the watch on its own Node shows.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, pin_mut};
use ipnetwork::IpNetwork;
use k8s_openapi::{
    api::{coordination::v1::Lease, core::v1::Node},
    jiff::Timestamp,
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{Patch, PatchParams, PostParams},
    runtime::{WatchStreamExt as _, watcher},
};
use serde_json::json;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tracing::{info, warn};

use super::{
    args::Settings,
    context::{backoff, watching},
    ipam,
    node::{self, Machine},
};

const RENEW: Duration = Duration::from_secs(1);
/// Where nothing was heard for this long, the node looks at how it is shown.
const LOOK: Duration = Duration::from_secs(2);
const REQUEST_LIMIT: Duration = Duration::from_secs(3);
const RETRY: Duration = Duration::from_millis(500);

/// Plays the node for as long as the process lives.
pub(crate) struct NodeAgent {
    client: Client,
    settings: Arc<Settings>,
    machine: Machine,
    cidrs: watch::Sender<Vec<IpNetwork>>,
}

impl NodeAgent {
    /// For this node; the ranges it is given go to `cidrs`.
    pub(crate) fn new(
        client: Client,
        settings: Arc<Settings>,
        cidrs: watch::Sender<Vec<IpNetwork>>,
    ) -> Self {
        Self {
            client,
            settings,
            machine: Machine::read(),
            cidrs,
        }
    }

    fn nodes(&self) -> Api<Node> {
        Api::all(self.client.clone())
    }

    /// Creates the Node, or brings its labels up to date.
    async fn register(&self) -> kube::Result<Node> {
        let name = &self.settings.node_name;
        let labels = node::labels(name, &self.machine, &self.settings.labels);
        let fresh = node::object(name, labels.clone());
        match self.nodes().create(&PostParams::default(), &fresh).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                let patch = json!({"metadata": {"labels": labels}});
                self.nodes()
                    .patch(name, &PatchParams::default(), &Patch::Merge(patch))
                    .await
            }
            other => other,
        }
    }

    async fn register_until_done(&self) -> Node {
        loop {
            match self.register().await {
                Ok(node) => return node,
                Err(error) => warn!("register the node: {error}"),
            }
            sleep(RETRY).await;
        }
    }

    async fn report(&self, shown: &Node, networked: bool) -> kube::Result<Node> {
        let name = &self.settings.node_name;
        let old = shown
            .status
            .as_ref()
            .and_then(|s| s.conditions.clone())
            .unwrap_or_default();
        let now = Timestamp::now();
        let status = node::status(
            name,
            &self.settings.node_ips,
            &self.machine,
            networked,
            &old,
            now,
        );
        // Not a strategic merge: that one merges addresses by type, and a dual-stack node has two InternalIPs.
        let patch = Patch::Merge(json!({"status": status}));
        self.nodes()
            .patch_status(name, &PatchParams::default(), &patch)
            .await
    }

    /// Registers, then follows the Node object.
    pub(crate) async fn run(self) {
        let name = self.settings.node_name.clone();
        let node = self.register_until_done().await;
        info!(node = name, "registered");
        let renewal = renew(
            self.client.clone(),
            name.clone(),
            node.uid().unwrap_or_default(),
        );
        tokio::spawn(renewal);
        let config = watching().fields(&format!("metadata.name={name}"));
        let stream = watcher(self.nodes(), config).backoff(backoff());
        pin_mut!(stream);
        // The watch tells at once; looking now and then finds what a dead connection hid.
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = stream.next() => match event {
                    Some(event) => self.take(event).await,
                    None => return,
                },
                _ = looks.tick() => {
                    if let Ok(Ok(node)) = timeout(REQUEST_LIMIT, self.nodes().get(&name)).await {
                        self.follow(&node).await;
                    }
                }
            }
        }
    }

    async fn take(&self, event: watcher::Result<watcher::Event<Node>>) {
        match event {
            Ok(watcher::Event::Apply(node) | watcher::Event::InitApply(node)) => {
                self.follow(&node).await;
            }
            Ok(watcher::Event::Delete(_)) => {
                self.register_until_done().await;
            }
            Ok(watcher::Event::Init | watcher::Event::InitDone) => {}
            Err(error) => warn!("watch the node: {error}"),
        }
    }

    async fn follow(&self, node: &Node) {
        let texts = node
            .spec
            .as_ref()
            .and_then(|spec| spec.pod_cidrs.clone())
            .unwrap_or_default();
        let cidrs: Vec<IpNetwork> = texts.iter().filter_map(|text| ipam::range(text)).collect();
        let networked = !cidrs.is_empty();
        self.cidrs.send_if_modified(|known| {
            let changed = *known != cidrs;
            *known = cidrs;
            changed
        });
        if node::shown_as_reported(node, networked) {
            return;
        }
        info!(ranges = ?texts, ready = networked, "reporting the node");
        match timeout(REQUEST_LIMIT, self.report(node, networked)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => warn!("report the node: {error}"),
            Err(_) => warn!("report the node: no answer"),
        }
    }
}

/// Renews the node's Lease, for ever.
async fn renew(client: Client, name: String, node_uid: String) {
    let leases: Api<Lease> = Api::namespaced(client, "kube-node-lease");
    let mut ticks = interval(RENEW);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let renewal = renew_once(&leases, &name, &node_uid);
        match timeout(REQUEST_LIMIT, renewal).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!("renew the node's lease: {error}"),
            Err(_) => warn!("renew the node's lease: no answer"),
        }
    }
}

async fn renew_once(leases: &Api<Lease>, name: &str, node_uid: &str) -> kube::Result<()> {
    let lease = node::lease(name, node_uid, Timestamp::now());
    let patch = Patch::Merge(json!({"spec": lease.spec}));
    match leases.patch(name, &PatchParams::default(), &patch).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => leases
            .create(&PostParams::default(), &lease)
            .await
            .map(drop),
        other => other.map(drop),
    }
}
