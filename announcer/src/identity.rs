//! Which cluster this is.

use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, ResourceExt as _};
use landfall_runtime::call::{Failure, within};

/// How long the API server may take to say it.
const PATIENCE: Duration = Duration::from_secs(5);

/// The uid of the namespace `kube-system`, by which clusters differ; `None` where it has none.
///
/// # Errors
/// When the API server does not say it.
pub async fn cluster_uid(client: &Client) -> Result<Option<String>, Failure> {
    let namespaces = Api::<Namespace>::all(client.clone());
    let system = within(PATIENCE, namespaces.get("kube-system")).await?;
    Ok(system.uid())
}
