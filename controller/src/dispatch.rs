//! Who is worked on when: one Service at a time, many Services at once, the oldest first.
//!
//! Planning is synchronous and happens here; a task is made only for what must be written. A
//! Service that fails comes back alone, later and later, by the class of its error.
//!
//! Invariant: no two tasks for one Service; no task while another replica leads.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use landfall_runtime::class::Class;
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tokio_util::time::DelayQueue;

use crate::ipam::{ServiceKey, Turn};
use crate::service::apply::StepError;
use crate::service::{Context, carry_out, prepare};

/// How many Services are plainly looked at before others get a turn on this thread.
const BATCH: usize = 256;
/// When a Service comes back whose task broke.
const AFTER_VIOLATION: Duration = Duration::from_secs(300);

type Answer = (Turn, Result<(), StepError>);

/// The dispatcher.
pub struct Dispatcher {
    context: Context,
    parallel: usize,
    tasks: JoinSet<Answer>,
    running: HashMap<ServiceKey, (Id, Turn)>,
    deferred: BTreeMap<ServiceKey, Turn>,
    delayed: DelayQueue<Turn>,
    attempts: HashMap<ServiceKey, u32>,
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
            delayed: DelayQueue::new(),
            attempts: HashMap::new(),
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
            let adopted = self.context.state.change(|picture| picture.take_over(now));
            self.context.metrics.adopted(adopted);
            tracing::info!(adopted, "leading");
            self.lead(&mut leads, &token).await;
            self.drain().await;
            if token.is_cancelled() {
                return;
            }
            tracing::info!("following");
            self.context
                .state
                .change(|picture| picture.index.stand_down());
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
                Some(expired) = self.delayed.next(), if !self.delayed.is_empty() => {
                    self.context.state.lock().index.again(expired.into_inner());
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
            let turn = {
                let mut picture = self.context.state.lock();
                let Some(turn) = picture.index.pop() else {
                    return false;
                };
                picture
                    .since
                    .entry(turn.key.clone())
                    .or_insert_with(Instant::now);
                picture.open.services.insert(turn.key.clone());
                turn
            };
            if self.running.contains_key(&turn.key) {
                self.deferred.insert(turn.key.clone(), turn);
                continue;
            }
            if let Some(work) = prepare(&self.context, &turn) {
                let context = self.context.clone();
                let key = turn.key.clone();
                let handle = self.tasks.spawn(async move {
                    let result = carry_out(&context, &work).await;
                    (work.turn, result)
                });
                self.running.insert(key, (handle.id(), turn));
            } else {
                // There is nothing to do, or nobody to do it for.
                self.attempts.remove(&turn.key);
                self.context.state.lock().open.services.remove(&turn.key);
            }
        }
        true
    }

    fn ended(&mut self, answer: Result<(Id, Answer), JoinError>) {
        let (turn, result) = match answer {
            Ok((_, answer)) => answer,
            Err(error) => {
                tracing::error!(%error, "a reconcile ended badly");
                self.broke(error.id());
                return;
            }
        };
        self.running.remove(&turn.key);
        {
            let mut picture = self.context.state.lock();
            if let Some(deferred) = self.deferred.remove(&turn.key) {
                picture.index.again(deferred);
            }
            if result.is_ok() {
                picture.open.services.remove(&turn.key);
            }
        }
        match result {
            Ok(()) => {
                self.attempts.remove(&turn.key);
            }
            Err(error) => self.later(turn, &error),
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
        } else if let Some((_, turn)) = self.running.get(&key).cloned() {
            self.delayed.insert(turn, AFTER_VIOLATION);
        }
        self.running.remove(&key);
    }

    fn later(&mut self, turn: Turn, error: &StepError) {
        let class = error.class();
        self.context.metrics.failed(class.as_str());
        let attempt = self.attempts.entry(turn.key.clone()).or_insert(0);
        *attempt += 1;
        let after = class.retry_after(*attempt, spread());
        if class != Class::Conflict && (*attempt >= 3 || class != Class::Transient) {
            tracing::warn!(service = %turn.key, %error, attempt = *attempt, ?after, "tried again later");
        } else {
            tracing::debug!(service = %turn.key, %error, ?after, "tried again");
        }
        self.delayed.insert(turn, after);
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
        self.delayed.clear();
        self.attempts.clear();
        let mut picture = self.context.state.lock();
        picture.open.leads = false;
        picture.open.services.clear();
    }
}

/// A number in 0..1 that differs from call to call: it only keeps retries apart.
pub(crate) fn spread() -> f64 {
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.subsec_nanos());
    f64::from(nanos % 1_000) / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use crate::state::State;
    use prometheus_client::registry::Registry;
    use std::sync::Arc;

    /// A dispatcher whose API server is never asked.
    fn dispatcher(registry: &mut Registry) -> Dispatcher {
        let state = Arc::new(State::default());
        let nobody = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        let context = Context {
            client: kube::Client::try_from(nobody).unwrap(),
            metrics: Metrics::register(registry, &state),
            state,
            events: tokio::sync::mpsc::channel(1).0,
        };
        Dispatcher::new(context, 4)
    }

    fn turn(name: &str) -> Turn {
        Turn {
            created: 1,
            key: ServiceKey::new("n", name),
        }
    }

    /// A task for the Service that panics, until it has.
    async fn panics(dispatcher: &mut Dispatcher, turn: &Turn) {
        let handle = dispatcher.tasks.spawn(async { panic!("a test") });
        let running = (handle.id(), turn.clone());
        dispatcher.running.insert(turn.key.clone(), running);
        let answer = dispatcher.tasks.join_next_with_id().await.unwrap();
        dispatcher.ended(answer);
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_whose_task_panics_comes_back_and_is_counted() {
        let mut registry = Registry::default();
        let mut dispatcher = dispatcher(&mut registry);
        panics(&mut dispatcher, &turn("s")).await;
        assert!(dispatcher.running.is_empty());
        let back = dispatcher.delayed.next().await.unwrap();
        assert_eq!(back.into_inner(), turn("s"));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(text.contains("landfall_invariant_violations_total 1"));
    }

    #[tokio::test]
    async fn news_of_a_service_whose_task_panics_are_looked_at_at_once() {
        let mut dispatcher = dispatcher(&mut Registry::default());
        dispatcher.deferred.insert(turn("s").key, turn("s"));
        panics(&mut dispatcher, &turn("s")).await;
        assert!(dispatcher.deferred.is_empty());
        let next = dispatcher.context.state.lock().index.pop();
        assert_eq!(next, Some(turn("s")));
    }

    #[tokio::test]
    async fn the_attempts_of_a_deleted_service_are_forgotten() {
        let mut dispatcher = dispatcher(&mut Registry::default());
        dispatcher.attempts.insert(turn("s").key, 7);
        dispatcher.context.state.lock().index.again(turn("s"));
        assert!(!dispatcher.fill());
        assert!(dispatcher.attempts.is_empty());
    }
}
