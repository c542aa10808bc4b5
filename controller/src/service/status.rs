//! Writing the status of a holder: of a Service, or of a Gateway of our class.

use k8s_openapi::api::core::v1::{ObjectReference, Service};
use kube::Api;
use kube::api::{Patch, PatchParams};
use landfall_crds::gateway_api::Gateway;
use landfall_gateway::NamespacedName;
use landfall_ipam::{HolderKey, HolderKind};
use landfall_runtime::class::Class;
use serde_json::{Value, json};

use super::error::StepError;
use crate::context::{Context, MANAGER};
use crate::validate;

/// Applies the status of this very holder: one of another uid is left alone. `false`: it was
/// deleted meanwhile, and the watch says so too.
pub(super) async fn write(
    context: &Context,
    key: &HolderKey,
    uid: &str,
    status: &Value,
) -> Result<bool, StepError> {
    match key.kind {
        HolderKind::Service => write_service(context, key, uid, status).await,
        HolderKind::Gateway => write_gateway(context, key, uid, status).await,
    }
}

async fn write_gateway(
    context: &Context,
    key: &HolderKey,
    uid: &str,
    status: &Value,
) -> Result<bool, StepError> {
    let api: Api<Gateway> = Api::namespaced(context.client.clone(), &key.namespace);
    let patch = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": key.name, "uid": uid},
        "status": status,
    });
    let params = PatchParams::apply(MANAGER).force();
    let answer = api
        .patch_status(&key.name, &params, &Patch::Apply(&patch))
        .await;
    let gateway = match answer {
        Err(error) if Class::of(&error) == Class::NotFound => return Ok(false),
        answer => answer.map_err(StepError::api("apply status of Gateway", key.to_string()))?,
    };
    let at = NamespacedName::new(&key.namespace, &key.name);
    context
        .state
        .change(|cache| cache.gateway_answered(&at, gateway));
    Ok(true)
}

async fn write_service(
    context: &Context,
    key: &HolderKey,
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

/// Names a holder for an Event on it.
pub(super) fn reference(key: &HolderKey, uid: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some(
            match key.kind {
                HolderKind::Service => "v1",
                HolderKind::Gateway => "gateway.networking.k8s.io/v1",
            }
            .to_owned(),
        ),
        kind: Some(key.kind.to_string()),
        namespace: Some(key.namespace.clone()),
        name: Some(key.name.clone()),
        uid: Some(uid.to_owned()),
        ..ObjectReference::default()
    }
}
