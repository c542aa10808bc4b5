//! The agent: watches Pods and Services, and gives every Pod a worker.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, pin_mut};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::{
    Api, Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
    runtime::{WatchStreamExt as _, watcher},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tracing::{info, warn};

use super::{
    args::Settings,
    clean,
    context::{Context, READ_LIMIT, backoff, watching},
    node_agent::NodeAgent,
    pod::PodId,
    records::Root,
    runtime::Runtime,
    services::{self, Services},
    worker::{Input, Worker},
};

/// Runs until a signal asks it to stop.
pub(crate) async fn run(settings: Arc<Settings>) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let client = connect(&settings).await?;
    let (cidrs_sender, cidrs) = watch::channel(Vec::new());
    let (services_sender, services) = watch::channel(None);
    let root = Root::at(&settings.root);
    let runtime = Runtime::of(&root)?;
    let context = Arc::new(Context::new(
        client.clone(),
        Arc::clone(&settings),
        runtime,
        cidrs,
        services,
    ));
    // Before any worker gives out addresses.
    for (_, record) in root
        .recorded()
        .iter()
        .filter(|(_, record)| record.network.is_some())
    {
        context.ips.lock().adopt(&record.addresses);
    }
    let node = NodeAgent::new(client.clone(), Arc::clone(&settings), cidrs_sender);
    let node = tokio::spawn(node.run());
    let services = tokio::spawn(follow_services(client, services_sender));
    let mut pods = Pods {
        context,
        workers: BTreeMap::new(),
    };
    tokio::select! {
        () = pods.follow() => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    if settings.drain_on_exit {
        pods.drain().await;
        clean::all(&settings.root).await?;
    } else {
        info!("leaving containers to the next agent");
    }
    node.abort();
    services.abort();
    Ok(())
}

async fn connect(settings: &Settings) -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(&settings.kubeconfig)
        .with_context(|| format!("read {}", settings.kubeconfig.display()))?;
    let options = KubeConfigOptions::default();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await?;
    config.read_timeout = Some(READ_LIMIT);
    Ok(Client::try_from(config)?)
}

async fn follow_services(client: Client, sender: watch::Sender<Option<Arc<Services>>>) {
    let stream = watcher(Api::<Service>::all(client), watching());
    let stream = stream.backoff(backoff());
    pin_mut!(stream);
    let mut known = Services::new();
    while let Some(event) = stream.next().await {
        let complete = match event {
            Ok(watcher::Event::Init) => {
                known.clear();
                false
            }
            Ok(watcher::Event::InitApply(service)) => {
                known.extend(services::facts(&service));
                false
            }
            Ok(watcher::Event::InitDone) => true,
            Ok(watcher::Event::Apply(service)) => {
                forget(&mut known, &service);
                known.extend(services::facts(&service));
                true
            }
            Ok(watcher::Event::Delete(service)) => {
                forget(&mut known, &service);
                true
            }
            Err(error) => {
                warn!("watch Services: {error}");
                false
            }
        };
        if complete {
            sender.send_if_modified(|shown| {
                let changed = shown.as_deref() != Some(&known);
                if changed {
                    *shown = Some(Arc::new(known.clone()));
                }
                changed
            });
        }
    }
}

fn forget(known: &mut Services, service: &Service) {
    let meta = &service.metadata;
    let key = meta.namespace.clone().zip(meta.name.clone());
    known.retain(|other, _| Some(other) != key.as_ref());
}

/// The workers by uid.
struct Pods {
    context: Arc<Context>,
    workers: BTreeMap<String, (mpsc::UnboundedSender<Input>, JoinHandle<()>)>,
}

impl Pods {
    async fn follow(&mut self) {
        let api: Api<Pod> = Api::all(self.context.client.clone());
        let mine = format!("spec.nodeName={}", self.context.settings.node_name);
        let stream = watcher(api, watching().fields(&mine)).backoff(backoff());
        pin_mut!(stream);
        let mut listed = BTreeSet::new();
        while let Some(event) = stream.next().await {
            match event {
                Ok(watcher::Event::Init) => listed.clear(),
                Ok(watcher::Event::InitApply(pod)) => {
                    listed.insert(PodId::of(&pod).uid);
                    self.see(pod);
                }
                Ok(watcher::Event::InitDone) => self.keep_only(&listed).await,
                Ok(watcher::Event::Apply(pod)) => self.see(pod),
                Ok(watcher::Event::Delete(pod)) => self.gone(&PodId::of(&pod).uid),
                Err(error) => warn!("watch Pods: {error}"),
            }
        }
    }

    fn see(&mut self, pod: Pod) {
        let pod = Arc::new(pod);
        let uid = PodId::of(&pod).uid;
        let context = &self.context;
        let (sender, _) = self
            .workers
            .entry(uid)
            .or_insert_with(|| Worker::spawn(Arc::clone(context), Arc::clone(&pod)));
        // A worker that is done keeps its entry until the object is gone, and hears no more.
        let _ = sender.send(Input::Pod(pod));
    }

    fn gone(&mut self, uid: &str) {
        if let Some((sender, _)) = self.workers.remove(uid) {
            let _ = sender.send(Input::Gone);
        }
    }

    /// After a list: Pods that vanished while nobody watched.
    async fn keep_only(&mut self, listed: &BTreeSet<String>) {
        let vanished: Vec<String> = self
            .workers
            .keys()
            .filter(|uid| !listed.contains(*uid))
            .cloned()
            .collect();
        for uid in vanished {
            self.gone(&uid);
        }
        let recorded = self.context.root.recorded();
        let unknown = recorded.into_iter().filter(|(_, record)| {
            !listed.contains(&record.uid) && !self.workers.contains_key(&record.uid)
        });
        for (dir, record) in unknown {
            info!(pod = %record.name, "removing what is left of a Pod that is no more");
            if let Err(error) = clean::pod(&self.context.runtime, &dir, &record).await {
                warn!("clean up after {}: {error:#}", record.name);
            }
            if record.network.is_some() {
                self.context.ips.lock().release(&record.addresses);
            }
        }
    }

    /// Stops every Pod within its grace.
    async fn drain(&mut self) {
        let workers = std::mem::take(&mut self.workers);
        for (sender, _) in workers.values() {
            let _ = sender.send(Input::Drain);
        }
        for (_, worker) in workers.into_values() {
            let _ = worker.await;
        }
    }
}
