//! Writing the object of this node.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use landfall_crds::{L2Node, L2NodeSpec, L2NodeStatus};
use landfall_runtime::apply;
use landfall_runtime::class::Class;
use serde_json::json;

use super::FIELD_MANAGER;
use crate::names::NodeName;

/// What is said by the one of two machines that waits: the status is the other's.
const WAITING_MANAGER: &str = "landfall-announcer-waiting";

/// Says on the object, which the other machine of that name has made, that there are two; or takes that away.
pub(super) async fn say_of_namesake(
    client: Client,
    node: &NodeName,
    condition: Option<&Condition>,
) -> Result<(), kube::Error> {
    let api = Api::<L2Node>::all(client);
    let conditions: Vec<&Condition> = condition.into_iter().collect();
    let status = json!({ "conditions": conditions });
    apply::status(&api, node.as_str(), WAITING_MANAGER, &status)
        .await
        .map(drop)
}

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
