//! A session is renewed by its own node, and nobody else has anything to write there.

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use super::{Cluster, FENCED_BY, NAMESPACE, lease, refused};

pub(crate) async fn a_session_is_renewed_by_its_own_node_alone(cluster: &Cluster) {
    let params = PostParams::default();
    let owner: Api<Lease> = Api::namespaced(cluster.announcer("node-2").await, NAMESPACE);
    let other: Api<Lease> = Api::namespaced(cluster.announcer("node-1").await, NAMESPACE);
    let renewal = lease("renewal-node-2", "s2");
    refused(other.create(&params, &renewal).await, FENCED_BY);
    owner.create(&params, &renewal).await.unwrap();
    let renew = async |leases: &Api<Lease>| {
        let patch = Patch::Merge(json!({"spec": {"renewTime": "2026-01-01T00:00:05.000000Z"}}));
        let params = PatchParams::default();
        leases.patch("renewal-node-2", &params, &patch).await
    };
    renew(&owner).await.unwrap();
    refused(renew(&other).await, FENCED_BY);
    let mut renewal = owner.get("renewal-node-2").await.unwrap();
    renewal.spec.as_mut().unwrap().holder_identity = None;
    let notes = renewal.metadata.annotations.get_or_insert_default();
    notes.insert(FENCED_BY.to_owned(), "node-1".to_owned());
    let emptied = other.replace("renewal-node-2", &params, &renewal);
    refused(emptied.await, FENCED_BY);
}
