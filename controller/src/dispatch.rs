//! Who is worked on when: one Service at a time, many Services at once, the oldest first.
//!
//! Planning is synchronous and happens here; a task is made only for what must be written. A
//! Service that fails comes back alone, later and later, by the class of its error.
//!
//! Invariant: no two tasks for one Service; no task while another replica leads.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use landfall_ipam::{HolderKey, QueueKey};
use landfall_runtime::class::Class;
use landfall_runtime::later::{Later, Retry};
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::service::{Planned, StepError, carry_out, plan};

/// How many Services are plainly looked at before others get a turn on this thread.
const BATCH: usize = 256;
/// From how many failed writes in a row on a Service is said to fail.
const FAILING: u32 = 3;
/// When a Service comes back whose task broke.
const AFTER_VIOLATION: Duration = Duration::from_secs(300);

type Answer = (QueueKey, Result<(), StepError>);

pub struct Dispatcher {
    context: Context,
    parallel: usize,
    tasks: JoinSet<Answer>,
    running: HashMap<HolderKey, (Id, QueueKey)>,
    deferred: BTreeMap<HolderKey, QueueKey>,
    later: Later<HolderKey, QueueKey>,
}

impl Dispatcher {
    /// A dispatcher of at most `parallel` tasks.
    #[must_use]
    pub fn new(context: Context, parallel: usize) -> Self {
        Self {
            context,
            parallel,
            tasks: JoinSet::new(),
            running: HashMap::new(),
            deferred: BTreeMap::new(),
            later: Later::default(),
        }
    }

    /// Works while we lead, until the token is cancelled; then lets running tasks end.
    pub async fn run(mut self, mut leads: watch::Receiver<bool>, token: CancellationToken) {
        while token
            .run_until_cancelled(leads.wait_for(|leads| *leads))
            .await
            .is_some_and(|led| led.is_ok())
        {
            let now = Instant::now();
            let adopted = self.context.state.change(|cache| cache.take_over(now));
            self.context.metrics.adopted(adopted);
            tracing::info!(adopted, "leading");
            self.lead(&mut leads, &token).await;
            self.drain().await;
            if token.is_cancelled() {
                return;
            }
            tracing::info!("following");
            self.context.state.change(|cache| cache.index.stand_down());
        }
    }

    async fn lead(&mut self, leads: &mut watch::Receiver<bool>, token: &CancellationToken) {
        loop {
            let more = self.fill();
            if more {
                tokio::task::yield_now().await;
            }
            tokio::select! {
                () = token.cancelled() => return,
                led = leads.wait_for(|leads| !*leads) => {
                    drop(led);
                    return;
                }
                Some(answer) = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => self.ended(answer),
                (_, queued) = self.later.next() => {
                    self.context.state.lock().index.again(queued);
                }
                () = self.context.state.services_changed.notified() => {}
                () = std::future::ready(()), if more => {}
            }
        }
    }

    /// Starts what there is to start; `true` when the batch was used up before the work.
    fn fill(&mut self) -> bool {
        for _ in 0..BATCH {
            if self.running.len() >= self.parallel {
                return false;
            }
            let queued = {
                let mut cache = self.context.state.lock();
                let Some(queued) = cache.index.pop() else {
                    return false;
                };
                cache
                    .since
                    .entry(queued.key.clone())
                    .or_insert_with(Instant::now);
                cache.open.services.insert(queued.key.clone());
                queued
            };
            if self.running.contains_key(&queued.key) {
                self.deferred.insert(queued.key.clone(), queued);
                continue;
            }
            match plan(&self.context, &queued) {
                Planned::Work(work) => {
                    let context = self.context.clone();
                    let key = queued.key.clone();
                    let handle = self.tasks.spawn(async move {
                        let result = carry_out(&context, &work).await;
                        (work.queued, result)
                    });
                    self.running.insert(key, (handle.id(), queued));
                }
                Planned::Pause(pause) => self.later.put(queued.key.clone(), queued, pause),
                Planned::Nothing => {
                    self.later.succeeded(&queued.key);
                    let mut cache = self.context.state.lock();
                    cache.open.services.remove(&queued.key);
                    cache.open.failing.remove(&queued.key);
                }
            }
        }
        true
    }

    fn ended(&mut self, answer: Result<(Id, Answer), JoinError>) {
        let (queued, result) = match answer {
            Ok((_, answer)) => answer,
            Err(error) => {
                tracing::error!(%error, "a reconcile ended badly");
                self.broke(error.id());
                return;
            }
        };
        self.running.remove(&queued.key);
        {
            let mut cache = self.context.state.lock();
            if let Some(deferred) = self.deferred.remove(&queued.key) {
                cache.index.again(deferred);
            }
            if result.is_ok() {
                cache.open.services.remove(&queued.key);
                cache.open.failing.remove(&queued.key);
            }
        }
        match result {
            Ok(()) => self.later.succeeded(&queued.key),
            Err(error) => self.failed(queued, &error),
        }
    }

    /// A task never panics. If one does, its Service comes back much later, or at once when there is
    /// news of it, and the others go on.
    fn broke(&mut self, task: Id) {
        self.context.metrics.violated();
        self.context.metrics.failed("invariant");
        let mut broken = self.running.iter().filter(|(_, (id, _))| *id == task);
        let Some(key) = broken.next().map(|(key, _)| key.clone()) else {
            return;
        };
        if let Some(deferred) = self.deferred.remove(&key) {
            self.context.state.lock().index.again(deferred);
        } else if let Some((_, queued)) = self.running.get(&key).cloned() {
            self.later.put(key.clone(), queued, AFTER_VIOLATION);
        }
        self.running.remove(&key);
    }

    fn failed(&mut self, queued: QueueKey, error: &StepError) {
        let class = error.class();
        self.context.metrics.failed(class.as_str());
        let Retry { attempt, after } = self.later.failed(queued.key.clone(), queued.clone(), class);
        if attempt >= FAILING {
            let mut cache = self.context.state.lock();
            cache.open.failing.insert(queued.key.clone());
        }
        if class != Class::Conflict && (attempt >= FAILING || class != Class::Transient) {
            tracing::warn!(service = %queued.key, %error, attempt, ?after, "tried again later");
        } else {
            tracing::debug!(service = %queued.key, %error, ?after, "tried again");
        }
    }

    async fn drain(&mut self) {
        let end = tokio::time::sleep(Duration::from_secs(5));
        tokio::pin!(end);
        while !self.tasks.is_empty() {
            tokio::select! {
                Some(answer) = self.tasks.join_next_with_id() => self.ended(answer),
                () = &mut end => {
                    self.tasks.abort_all();
                    while self.tasks.join_next().await.is_some() {}
                }
            }
        }
        self.running.clear();
        self.deferred.clear();
        self.later.clear();
        let mut cache = self.context.state.lock();
        // What another leader says meanwhile is not known here.
        cache.said.clear();
        cache.open.leads = false;
        cache.open.services.clear();
        cache.open.failing.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Args;
    use crate::metrics::Metrics;
    use crate::settings::Settings;
    use crate::state::State;
    use clap::Parser as _;
    use prometheus_client::registry::Registry;
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A dispatcher whose API server is never asked.
    fn dispatcher(registry: &mut Registry) -> Dispatcher {
        let state = Arc::new(State::default());
        let nobody = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        let context = Context {
            client: kube::Client::try_from(nobody).unwrap(),
            metrics: Metrics::register(registry, &state),
            state,
            settings: Arc::new(Settings::resolve(&Args::parse_from(["test"])).unwrap()),
            events: tokio::sync::mpsc::channel(1).0,
        };
        Dispatcher::new(context, 4)
    }

    fn queued(name: &str) -> QueueKey {
        QueueKey {
            created: 1,
            key: HolderKey::service("n", name),
        }
    }

    /// A task for the Service that panics, until it has.
    async fn panics(dispatcher: &mut Dispatcher, queued: &QueueKey) {
        let handle = dispatcher.tasks.spawn(async { panic!("a test") });
        let running = (handle.id(), queued.clone());
        dispatcher.running.insert(queued.key.clone(), running);
        let answer = dispatcher.tasks.join_next_with_id().await.unwrap();
        dispatcher.ended(answer);
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_whose_task_panics_comes_back_and_is_counted() {
        let mut registry = Registry::default();
        let mut dispatcher = dispatcher(&mut registry);
        panics(&mut dispatcher, &queued("s")).await;
        assert!(dispatcher.running.is_empty());
        let (_, back) = dispatcher.later.next().await;
        assert_eq!(back, queued("s"));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(text.contains("landfall_invariant_violations_total 1"));
    }

    /// An API server that never answers, and how often it was asked to write.
    fn silent() -> (kube::Client, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let writes = Arc::clone(&asked);
        let service = tower::service_fn(move |_: http::Request<kube::client::Body>| {
            writes.fetch_add(1, Ordering::Relaxed);
            std::future::pending::<Result<http::Response<kube::client::Body>, Infallible>>()
        });
        (kube::Client::new(service, "default"), asked)
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_is_never_answered_ends_and_its_service_comes_back() {
        let mut dispatcher = dispatcher(&mut Registry::default());
        let (client, asked) = silent();
        dispatcher.context.client = client;
        let pool = serde_json::from_value(serde_json::json!({
            "apiVersion": "landfall.dev/v1alpha1", "kind": "LoadBalancerIPPool",
            "metadata": {"name": "p", "uid": "p", "finalizers": [landfall_crds::DRAIN_FINALIZER]},
            "spec": {"blocks": [{"cidr": "192.0.2.0/30"}]},
        }));
        let service = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "s", "namespace": "n", "uid": "u"},
            "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]},
        }));
        let settings = Arc::clone(&dispatcher.context.settings);
        dispatcher.context.state.change(|cache| {
            let name = landfall_ipam::PoolName::from("p");
            cache.pools.shown(name.clone(), pool.unwrap());
            cache.compile_pool(&name);
            cache.service_seen(service.unwrap(), &settings);
        });
        let (_leads, leads) = watch::channel(true);
        let token = CancellationToken::new();
        let running = tokio::spawn(dispatcher.run(leads, token.clone()));
        let again = async {
            while asked.load(Ordering::Relaxed) < 3 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let again = tokio::time::timeout(Duration::from_secs(300), again).await;
        assert!(again.is_ok(), "it is tried again and again");
        token.cancel();
        running.await.unwrap();
    }

    #[tokio::test]
    async fn news_of_a_service_whose_task_panics_are_looked_at_at_once() {
        let mut dispatcher = dispatcher(&mut Registry::default());
        dispatcher.deferred.insert(queued("s").key, queued("s"));
        panics(&mut dispatcher, &queued("s")).await;
        assert!(dispatcher.deferred.is_empty());
        let next = dispatcher.context.state.lock().index.pop();
        assert_eq!(next, Some(queued("s")));
    }

    #[tokio::test]
    async fn the_attempts_of_a_deleted_service_are_forgotten() {
        let mut dispatcher = dispatcher(&mut Registry::default());
        let queue_key = queued("s");
        dispatcher
            .later
            .failed(queue_key.key.clone(), queue_key, Class::Transient);
        assert_eq!(dispatcher.later.attempts(&queued("s").key), 1);
        dispatcher.context.state.lock().index.again(queued("s"));
        assert!(!dispatcher.fill());
        assert_eq!(dispatcher.later.attempts(&queued("s").key), 0);
    }
}
