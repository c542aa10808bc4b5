//! Which fields of an object are ours, by its managed fields. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Our field manager: what it wrote is ours.
pub const MANAGER: &str = "landfall-controller";

/// Whether our field manager owns a field.
pub(crate) fn wrote(metadata: &ObjectMeta, path: &str) -> bool {
    owns(MANAGER, metadata, path)
}

/// Whether a field manager owns a field.
pub(crate) fn owns(manager: &str, metadata: &ObjectMeta, path: &str) -> bool {
    let entries = metadata.managed_fields.iter().flatten();
    let mut its = entries.filter(|entry| entry.manager.as_deref() == Some(manager));
    its.any(|entry| {
        let fields = entry.fields_v1.as_ref();
        fields.is_some_and(|fields| fields.0.pointer(path).is_some())
    })
}
