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

type Answer = (Turn, Result<(), StepError>);

/// The dispatcher.
pub struct Dispatcher {
    context: Context,
    parallel: usize,
    tasks: JoinSet<Answer>,
    running: HashMap<ServiceKey, Id>,
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
                self.running.insert(key, handle.id());
            } else {
                self.context.state.lock().open.services.remove(&turn.key);
            }
        }
        true
    }

    fn ended(&mut self, answer: Result<(Id, Answer), JoinError>) {
        let (turn, result) = match answer {
            Ok((_, answer)) => answer,
            Err(error) => {
                // A task never panics; if one does, its Service is looked at again with the rest.
                tracing::error!(%error, "a reconcile ended badly");
                self.context.metrics.failed("invariant");
                let id = error.id();
                let mut picture = self.context.state.lock();
                self.running.retain(|key, running| {
                    if *running == id {
                        picture.open.services.remove(key);
                    }
                    *running != id
                });
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
