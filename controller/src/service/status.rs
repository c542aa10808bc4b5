//! Writing a Service's status.

use k8s_openapi::api::core::v1::{ObjectReference, Service};
use kube::Api;
use kube::api::{Patch, PatchParams};
use landfall_ipam::ServiceKey;
use landfall_runtime::class::Class;
use serde_json::{Value, json};

use super::error::StepError;
use crate::context::{Context, MANAGER};
use crate::validate;

/// Applies the status of this very Service: one of another uid is left alone. `false`: it was
/// deleted meanwhile, and the watch says so too.
pub(super) async fn write(
    context: &Context,
    key: &ServiceKey,
    uid: &str,
    status: &Value,
) -> Result<bool, StepError> {
    let api: Api<Service> = Api::namespaced(context.client.clone(), &key.namespace);
    let patch = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": key.name, "uid": uid},
        "status": status,
    });
    let params = PatchParams::apply(MANAGER).force();
    let answer = api
        .patch_status(&key.name, &params, &Patch::Apply(&patch))
        .await;
    let service = match answer {
        Err(error) if Class::of(&error) == Class::NotFound => return Ok(false),
        answer => answer.map_err(StepError::api("apply status of Service", key.to_string()))?,
    };
    let live = validate::live(&service);
    context
        .state
        .change(|cache| cache.services.answered(key, live));
    Ok(true)
}

/// Names a Service for an Event on it.
pub(super) fn reference(key: &ServiceKey, uid: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Service".to_owned()),
        namespace: Some(key.namespace.clone()),
        name: Some(key.name.clone()),
        uid: Some(uid.to_owned()),
        ..ObjectReference::default()
    }
}
