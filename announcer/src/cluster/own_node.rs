//! Writing the object of this node.

use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use landfall_crds::{L2Node, L2NodeSpec, L2NodeStatus};
use landfall_runtime::apply;
use landfall_runtime::class::Class;
use serde_json::json;

use super::FIELD_MANAGER;
use crate::names::NodeName;

/// Applies its status; makes the object first, where there is none. It goes with the Node of that uid.
pub(super) async fn describe(
    client: Client,
    node: &NodeName,
    uid: Option<&str>,
    status: &L2NodeStatus,
) -> Result<(), kube::Error> {
    let api = Api::<L2Node>::all(client);
    let name = node.as_str();
    match apply::status(&api, name, FIELD_MANAGER, status).await {
        Err(error) if Class::of(&error) == Class::NotFound => {}
        answer => return answer.map(drop),
    }
    let owners = uid
        .filter(|uid| !uid.is_empty())
        .map(|uid| json!([{"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid}]));
    let mut object = json!({
        "apiVersion": format!("{}/v1alpha1", landfall_crds::GROUP),
        "kind": "L2Node",
        "metadata": {"name": name},
        "spec": L2NodeSpec { node_name: name.to_owned() },
    });
    if let Some(owners) = owners {
        object["metadata"]["ownerReferences"] = owners;
    }
    let params = PatchParams::apply(FIELD_MANAGER).force();
    api.patch(name, &params, &Patch::Apply(&object)).await?;
    apply::status(&api, name, FIELD_MANAGER, status)
        .await
        .map(drop)
}
