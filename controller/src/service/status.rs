//! Writing a Service's status, and the Event of its transition.

use k8s_openapi::api::core::v1::{ObjectReference, Service};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams};
use landfall_runtime::events::Note;
use serde_json::{Value, json};

use super::apply::StepError;
use super::{Context, MANAGER, validate};
use landfall_ipam::ServiceKey;

/// Applies the status of this very Service: one of another uid is left alone.
pub async fn status(
    context: &Context,
    key: &ServiceKey,
    uid: &str,
    status: &Value,
) -> Result<(), StepError> {
    let api: Api<Service> = Api::namespaced(context.client.clone(), &key.namespace);
    let patch = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": key.name, "uid": uid},
        "status": status,
    });
    let params = PatchParams::apply(MANAGER).force();
    let service = api
        .patch_status(&key.name, &params, &Patch::Apply(&patch))
        .await
        .map_err(StepError::api("apply status of Service", key.to_string()))?;
    let live = validate::live(&service);
    context
        .state
        .change(|picture| picture.service_answered(key, live));
    Ok(())
}

/// An Event about a Service.
pub fn note(context: &Context, key: &ServiceKey, uid: &str, note: Note) {
    let regarding = ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Service".to_owned()),
        namespace: Some(key.namespace.clone()),
        name: Some(key.name.clone()),
        uid: Some(uid.to_owned()),
        ..ObjectReference::default()
    };
    publish(context, regarding, note);
}

/// Hands an Event to the one who writes them; under load it is dropped and counted.
pub fn publish(context: &Context, regarding: ObjectReference, note: Note) {
    if context
        .events
        .try_send((regarding, note, Timestamp::now()))
        .is_err()
    {
        context.metrics.event_dropped();
    }
}
