//! Writing status by server-side apply.

use kube::api::{Patch, PatchParams};
use kube::{Api, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Applies `status` to the status subresource of `name` as `manager`, and returns the object.
///
/// Fields this manager applied before and leaves out now are removed; those of other managers stay.
/// Conflicts are forced: every field Landfall applies is its own by design.
///
/// # Errors
/// What the API server said.
pub async fn status<K>(
    api: &Api<K>,
    name: &str,
    manager: &str,
    status: &impl Serialize,
) -> Result<K, kube::Error>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let patch = patch_of::<K>(name, status)?;
    api.patch_status(
        name,
        &PatchParams::apply(manager).force(),
        &Patch::Apply(&patch),
    )
    .await
}

fn patch_of<K: Resource<DynamicType = ()>>(
    name: &str,
    status: &impl Serialize,
) -> Result<Value, kube::Error> {
    let status = serde_json::to_value(status).map_err(kube::Error::SerdeError)?;
    Ok(json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": { "name": name },
        "status": status,
    }))
}
