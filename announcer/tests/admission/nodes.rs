//! The object of a node is its own announcer's to write.

use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::{Cluster, refused};

pub(crate) fn nodes(client: Client) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("landfall.dev", "v1alpha1", "L2Node");
    let resource = ApiResource::from_gvk_with_plural(&kind, "l2nodes");
    Api::all_with(client, &resource)
}

pub(crate) fn of(name: &str, metadata: Value) -> Value {
    let mut object = json!({
        "apiVersion": "landfall.dev/v1alpha1", "kind": "L2Node",
        "metadata": {"name": name}, "spec": {"nodeName": name},
    });
    let parts = object["metadata"].as_object_mut().unwrap();
    parts.extend(metadata.as_object().unwrap().clone());
    object
}

pub(crate) async fn a_nodes_object_is_its_own_announcers(cluster: &Cluster) {
    let announcer = nodes(cluster.announcer("node-1").await);
    let params = PatchParams::apply("landfall-announcer").force();
    let apply = async |name: &str, metadata: Value| {
        let object = of(name, metadata);
        announcer.patch(name, &params, &Patch::Apply(&object)).await
    };
    let describe = async |name: &str| {
        let status = json!({
            "apiVersion": "landfall.dev/v1alpha1", "kind": "L2Node",
            "metadata": {"name": name}, "status": {"session": "s", "addresses": 3},
        });
        announcer
            .patch_status(name, &params, &Patch::Apply(&status))
            .await
    };
    let owner = |kind: &str, name: &str| {
        let owner = json!({"apiVersion": "v1", "kind": kind, "name": name, "uid": "u"});
        json!({"ownerReferences": [owner]})
    };
    apply("node-1", owner("Node", "node-1")).await.unwrap();
    describe("node-1").await.unwrap();

    let own = "of its own node only";
    refused(apply("node-2", json!({})).await, own);
    let theirs = serde_json::from_value(of("node-2", json!({}))).unwrap();
    let admin = nodes(cluster.admin().await);
    admin.create(&PostParams::default(), &theirs).await.unwrap();
    refused(describe("node-2").await, own);
    refused(apply("node-2", json!({"labels": {"a": "b"}})).await, own);

    let stays = "goes with its Node";
    let kept = json!({"finalizers": ["example.com/kept"]});
    refused(apply("node-1", kept).await, stays);
    refused(apply("node-1", owner("Node", "node-2")).await, stays);
    refused(apply("node-1", owner("ConfigMap", "node-1")).await, stays);
}
