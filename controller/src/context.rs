//! What every task that writes is given: client, cache, counters, and where Events go.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use landfall_runtime::events::Note;
use tokio::sync::mpsc;

use crate::metrics::Metrics;
use crate::settings::Settings;
use crate::state::State;
pub use crate::validate::MANAGER;

/// How long the answer to one call is awaited: one that hangs must hold up nobody's turn.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// What it takes to carry something out.
#[derive(Clone)]
pub struct Context {
    pub client: Client,
    /// What is known and decided.
    pub state: Arc<State>,
    /// What the flags come to.
    pub settings: Arc<Settings>,
    pub metrics: Metrics,
    pub events: mpsc::Sender<(ObjectReference, Note, Timestamp)>,
}

impl Context {
    /// Hands an Event to the one who writes them; under load it is dropped and counted.
    pub fn publish(&self, regarding: ObjectReference, note: Note) {
        let event = (regarding, note, Timestamp::now());
        if self.events.try_send(event).is_err() {
            self.metrics.event_dropped();
        }
    }
}
