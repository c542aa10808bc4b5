//! Events as Landfall writes them: one object each, never merged, so that each note is read.

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use landfall_crds::text::line;

/// Longest note that the API server takes, in bytes.
const MAX_NOTE: usize = 1024;

/// Writes Events in the name of one component.
#[derive(Clone)]
pub struct Events {
    client: Client,
    component: &'static str,
    instance: String,
}

/// What an Event says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// `Warning` instead of `Normal`.
    pub warning: bool,
    /// One CamelCase word, as in the condition.
    pub reason: String,
    /// What was being done, one CamelCase word.
    pub action: &'static str,
    /// A sentence for people; written as one printable line of at most 1,024 bytes.
    pub note: String,
}

impl Events {
    /// Events of `component` (`landfall-controller`), reported by `instance` (a pod's name).
    #[must_use]
    pub fn new(client: Client, component: &'static str, instance: impl Into<String>) -> Self {
        Self {
            client,
            component,
            instance: instance.into(),
        }
    }

    /// Writes one Event about `regarding`; for cluster-scoped objects into `default`.
    ///
    /// # Errors
    /// What the API server said. Callers log it: an Event is never worth a retry.
    pub async fn publish(
        &self,
        regarding: ObjectReference,
        note: Note,
        now: Timestamp,
    ) -> Result<(), kube::Error> {
        let namespace = regarding
            .namespace
            .clone()
            .unwrap_or_else(|| "default".to_owned());
        let event = self.event(&namespace, regarding, note, now);
        Api::<Event>::namespaced(self.client.clone(), &namespace)
            .create(&PostParams::default(), &event)
            .await?;
        Ok(())
    }

    fn event(
        &self,
        namespace: &str,
        regarding: ObjectReference,
        note: Note,
        now: Timestamp,
    ) -> Event {
        let stem: String = regarding
            .name
            .as_deref()
            .unwrap_or("unknown")
            .chars()
            .take(200)
            .collect();
        Event {
            metadata: ObjectMeta {
                generate_name: Some(format!("{stem}-")),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(now)),
            type_: Some(if note.warning { "Warning" } else { "Normal" }.to_owned()),
            reason: Some(note.reason),
            action: Some(note.action.to_owned()),
            note: Some(line(note.note, MAX_NOTE)),
            regarding: Some(regarding),
            reporting_controller: Some(format!("landfall.dev/{}", self.component)),
            reporting_instance: Some(self.instance.clone()),
            ..Event::default()
        }
    }
}
