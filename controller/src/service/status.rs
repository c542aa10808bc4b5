//! Writing the status of a holder: of a Service, or of a Gateway of our class.

use std::fmt::Debug;

use k8s_openapi::api::core::v1::{ObjectReference, Service};
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource};
use landfall_crds::gateway_api::Gateway;
use landfall_gateway::NamespacedName;
use landfall_ipam::{HolderKey, HolderKind};
use landfall_runtime::call::within;
use landfall_runtime::class::Class;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::error::StepError;
use crate::context::{Context, MANAGER, PATIENCE};
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
    let Some(gateway) = apply(&api, key, uid, status, "apply status of Gateway").await? else {
        return Ok(false);
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
    let Some(service) = apply(&api, key, uid, status, "apply status of Service").await? else {
        return Ok(false);
    };
    let live = validate::live(&service);
    context
        .state
        .change(|cache| cache.services.answered(key, live));
    Ok(true)
}

/// Applies the status of the object of this uid; `None` where there is none any more.
async fn apply<K>(
    api: &Api<K>,
    key: &HolderKey,
    uid: &str,
    status: &Value,
    step: &'static str,
) -> Result<Option<K>, StepError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let patch = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {"name": key.name, "uid": uid},
        "status": status,
    });
    let params = PatchParams::apply(MANAGER).force();
    let patch = Patch::Apply(&patch);
    match within(PATIENCE, api.patch_status(&key.name, &params, &patch)).await {
        Err(error) if error.class() == Class::NotFound => Ok(None),
        answer => answer
            .map(Some)
            .map_err(StepError::api(step, key.to_string())),
    }
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
