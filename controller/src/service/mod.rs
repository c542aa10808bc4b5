//! Services: from an event to written status, in five steps.
//!
//! ```text
//! dereference (watches, state) → validate (pure) → build (pure: plan, status) → apply (records) → update_status
//! ```
//!
//! The record comes first: creating it is the allocation. Then the status names the address. What
//! a Service leaves goes the other way round: out of the status first, then the record.

pub mod apply;
pub mod build;
pub mod update_status;
pub mod validate;

use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use landfall_crds::conditions::{ADDRESS_ASSIGNED, find};
use landfall_runtime::events::Note;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::ipam::plan::How;
use crate::ipam::step::{Step, Write};
use crate::ipam::{ServiceKey, Turn};
use crate::metrics::Metrics;
use crate::state::{LiveService, State};
use apply::StepError;

/// Our field manager.
pub const MANAGER: &str = "landfall-controller";

/// What a step needs to be carried out.
#[derive(Clone)]
pub struct Context {
    /// The API server.
    pub client: Client,
    /// The shared picture.
    pub state: Arc<State>,
    /// What is counted.
    pub metrics: Metrics,
    /// Where Events go.
    pub events: mpsc::Sender<(ObjectReference, Note, Timestamp)>,
}

/// A planned step with the status it needs; everything a task needs to carry it out.
#[derive(Debug)]
pub struct Work {
    /// Whom it is about.
    pub turn: Turn,
    step: Step,
    live: LiveService,
    status: Option<Value>,
}

/// Plans for a Service. `None`: there is nothing to do.
pub fn prepare(context: &Context, turn: &Turn) -> Option<Work> {
    let mut picture = context.state.lock();
    let step = picture.index.step(&turn.key)?;
    let live = picture.services.get(&turn.key).cloned().unwrap_or_default();
    let status = build::status(&step, &live, Time(Timestamp::now()));
    let idle = step.writes.is_empty()
        && step.marks.is_empty()
        && step.plan.leave.is_empty()
        && status.is_none();
    if idle {
        finish(&mut picture, &step, &turn.key);
        return None;
    }
    Some(Work {
        turn: turn.clone(),
        step,
        live,
        status,
    })
}

/// A Service that is gone, or no longer ours and let go, is forgotten.
fn finish(picture: &mut crate::state::Picture, step: &Step, key: &ServiceKey) {
    picture.since.remove(key);
    if step.plan.outcome.is_none() {
        picture.services.remove(key);
        picture.index.forget(key);
    }
}

/// Carries out a step.
///
/// # Errors
/// When it has to be tried again: at once when overtaken, later otherwise.
pub async fn carry_out(context: &Context, work: &Work) -> Result<(), StepError> {
    let Work {
        turn,
        step,
        live,
        status,
    } = work;
    let key = &turn.key;
    for write in &step.writes {
        apply::write(context, write).await?;
    }
    if let Some(status) = status {
        match update_status::status(context, key, &live.uid, status).await {
            Ok(()) => settled(context, work),
            // It was deleted meanwhile; the watch says so too.
            Err(error) if error.class() == landfall_runtime::class::Class::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    for mark in &step.marks {
        apply::mark(context, mark).await?;
    }
    let departures = context
        .state
        .change(|picture| picture.index.depart(key, &step.plan.leave));
    let mut departures = departures.into_iter();
    while let Some(write) = departures.next() {
        if let Err(error) = depart(context, write.clone()).await {
            // It holds what it could not let go of: the next step leaves again.
            let open: Vec<_> = [write]
                .into_iter()
                .chain(departures)
                .map(|write| write.at())
                .collect();
            context
                .state
                .change(|picture| picture.index.undepart(key, &open));
            return Err(error);
        }
    }
    if !step.plan.leave.is_empty() {
        tracing::info!(service = %key, addresses = ?step.plan.leave, "released");
    }
    let mut picture = context.state.lock();
    finish(&mut picture, step, key);
    Ok(())
}

/// Writes a departure, a few times when somebody else writes the same record.
async fn depart(context: &Context, write: Write) -> Result<(), StepError> {
    let at = write.at();
    let mut next = Some(write);
    let mut last = Ok(());
    for _ in 0..3 {
        let Some(write) = next else {
            return Ok(());
        };
        last = apply::write(context, &write).await;
        next = match &last {
            Err(StepError::Overtaken(_)) => context.state.lock().index.open(at),
            _ => return last,
        };
    }
    last
}

/// The status is written: say so in logs, metrics and an Event.
fn settled(context: &Context, work: &Work) {
    let Work {
        turn, step, live, ..
    } = work;
    let key = &turn.key;
    let since = context.state.lock().since.remove(key);
    if let Some(outcome) = &step.plan.outcome {
        if outcome.assigned {
            tracing::info!(service = %key, "assigned: {}", outcome.message);
            let before = find(&live.conditions, ADDRESS_ASSIGNED);
            // Another message for one that had its addresses is no allocation.
            let new = before.is_none_or(|condition| condition.status != "True");
            if let Some(since) = since.filter(|_| new) {
                context
                    .metrics
                    .assigned(Instant::now().saturating_duration_since(since));
            }
        } else {
            tracing::info!(service = %key, reason = outcome.reason.as_str(), "pending: {}", outcome.message);
        }
        let adopted = step
            .plan
            .take
            .iter()
            .filter(|take| take.how == How::Adopt)
            .count();
        context.metrics.adopted(adopted);
    }
    if let Some(note) = build::note(step, live) {
        update_status::note(context, key, &live.uid, note);
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use k8s_openapi::api::core::v1::Service;
    use kube::client::Body;
    use prometheus_client::registry::Registry;
    use serde_json::json;

    use super::*;
    use crate::ipam::PoolName;
    use crate::ipam::pool::Pool;
    use crate::service::validate;

    /// A Service with a pool to have its address from, as a task would find it whose status says
    /// this of it already.
    fn work(state: &State, conditions: Value) -> Work {
        let object: Service = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "blue", "uid": "u"},
            "spec": {"type": "LoadBalancer"},
            "status": {"conditions": conditions},
        }))
        .unwrap();
        let service = validate::service(&object, true, None).unwrap();
        let turn = service.turn();
        let blocks = json!({"blocks": [{"cidr": "192.0.2.0/30"}]});
        let pool = Pool::compile("p", &serde_json::from_value(blocks).unwrap(), false);
        let mut picture = state.lock();
        picture.index.pool_seen(&PoolName::from("p"), Some(pool));
        picture.index.service_seen(service);
        picture.since.insert(turn.key.clone(), Instant::now());
        let step = picture.index.step(&turn.key).unwrap();
        let live = validate::live(&object);
        let status = build::status(&step, &live, Time(Timestamp::now()));
        Work {
            turn,
            step,
            live,
            status,
        }
    }

    #[tokio::test]
    async fn only_the_way_from_without_to_with_addresses_counts_as_an_allocation() {
        let state = Arc::new(State::default());
        let mut registry = Registry::default();
        let service = tower::service_fn(|_: http::Request<Body>| {
            std::future::ready(Ok::<_, Infallible>(http::Response::new(Body::empty())))
        });
        let context = Context {
            client: Client::new(service, "default"),
            metrics: Metrics::register(&mut registry, &state),
            state: Arc::clone(&state),
            events: mpsc::channel(16).0,
        };
        let condition = |status: &str| {
            json!([{"type": ADDRESS_ASSIGNED, "status": status, "reason": "Other",
                "message": "another one", "lastTransitionTime": "2026-01-01T00:00:00Z"}])
        };
        let mut counts = Vec::new();
        for before in [json!([]), condition("True"), condition("False")] {
            settled(&context, &work(&state, before));
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            let name = "landfall_allocation_latency_seconds_count ";
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            counts.push(line.unwrap().to_owned());
        }
        assert_eq!(counts, ["1", "1", "2"]);
    }
}
