//! Sessions that must end although something keeps on renewing them, or nothing is left that was renewed. Without
//! heartbeats: by their Leases alone.

use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use crate::cluster::{Cluster, with_cluster};

const V4: &str = "192.0.2.100";
const NODES: [&str; 2] = ["n1", "n2"];

/// Two announcers and a Service: the owner of its address, and the other.
async fn announced(cluster: &mut Cluster) -> (&'static str, &'static str) {
    for node in NODES {
        cluster.announce(node);
    }
    cluster.policy("all", json!({})).await;
    cluster.serve("web", &[V4]).await;
    let owner = cluster.owner(V4, &NODES).await;
    cluster.answered_by(V4, &owner).await;
    if owner == NODES[0] {
        (NODES[0], NODES[1])
    } else {
        (NODES[1], NODES[0])
    }
}

fn leases(cluster: &Cluster) -> Api<Lease> {
    Api::namespaced(cluster.client.clone(), "landfall-system")
}

/// From now on the API server lets nobody name a session in this node's Lease; to empty it is allowed.
async fn refuse_sessions_of(cluster: &Cluster, node: &str) {
    let name = format!("announcer-{node}");
    let spec = json!({
        "matchConstraints": {"resourceRules": [{
            "apiGroups": ["coordination.k8s.io"], "apiVersions": ["v1"], "resources": ["leases"],
            "operations": ["CREATE", "UPDATE"], "resourceNames": [name],
        }]},
        "validations": [{
            "expression": "!has(object.spec.holderIdentity) || object.spec.holderIdentity == ''",
        }],
    });
    let policy = json!({"metadata": {"name": "refuse"}, "spec": spec});
    cluster
        .apply::<ValidatingAdmissionPolicy>(None, policy)
        .await;
    let spec = json!({"policyName": "refuse", "validationActions": ["Deny"]});
    let binding = json!({"metadata": {"name": "refuse"}, "spec": spec});
    cluster
        .apply::<ValidatingAdmissionPolicyBinding>(None, binding)
        .await;
    let params = PatchParams {
        dry_run: true,
        ..PatchParams::default()
    };
    let patch = Patch::Merge(json!({"metadata": {"labels": {"tried": "yes"}}}));
    cluster
        .await_some("the API server to refuse the Lease", async || {
            let tried = leases(cluster).patch(&name, &params, &patch).await;
            tried.is_err().then_some(())
        })
        .await;
}

#[test]
fn an_announcer_that_cannot_write_its_lease_prolongs_no_session_of_before() {
    with_cluster("unwritable", &NODES, async |mut cluster| {
        let (first, second) = announced(&mut cluster).await;
        refuse_sessions_of(&cluster, first).await;
        cluster.crash(first);
        cluster.announce(first);
        cluster.owner(V4, &[second]).await;
        cluster.answered_by(V4, second).await;
        // It was at work all the while, and had no session.
        let log = cluster.logged(first);
        assert!(log.contains("session was not renewed"), "{log}");
        assert_eq!(log.matches("session began").count(), 1, "{log}");
    });
}

#[test]
fn a_dead_session_whose_renewals_were_deleted_ends_all_the_same() {
    with_cluster("unrenewed", &NODES, async |mut cluster| {
        let (first, second) = announced(&mut cluster).await;
        cluster.crash(first);
        let params = DeleteParams::default();
        let renewal = format!("renewal-{first}");
        leases(&cluster).delete(&renewal, &params).await.unwrap();
        cluster.owner(V4, &[second]).await;
        cluster.answered_by(V4, second).await;
    });
}
