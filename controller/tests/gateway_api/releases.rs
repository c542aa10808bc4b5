//! Releases of the standard that serve routes and grants in earlier versions alone, and the upgrade to the one that does not.

use super::*;

/// Has the API server serve routes and grants as the releases before 1.6 do, or as those from then on.
async fn served(cluster: &Cluster, earlier: bool) {
    for (plural, both) in [
        ("tcproutes", true),
        ("udproutes", true),
        ("referencegrants", false),
    ] {
        let name = format!("{plural}.{GROUP}");
        let serve = |at: usize, served: bool| json!({"op": "replace", "path": format!("/spec/versions/{at}/served"), "value": served});
        let patch = json!([serve(0, !earlier), serve(1, earlier || !both)]).to_string();
        let patch = ["patch", "crd", &name, "--type=json", "-p", &patch];
        cluster.kubectl(&patch).await;
    }
}

fn earlier_api(
    cluster: &Cluster,
    version: &str,
    kind: &str,
    namespace: &str,
) -> Api<DynamicObject> {
    let mut resource = resource(kind);
    resource.version = version.to_owned();
    resource.api_version = format!("{GROUP}/{version}");
    Api::namespaced_with(cluster.client.clone(), namespace, &resource)
}

async fn apply_earlier(cluster: &Cluster, version: &str, kind: &str, namespace: &str, spec: Value) {
    let object = json!({"apiVersion": format!("{GROUP}/{version}"), "kind": kind, "metadata": {"name": "web"}, "spec": spec});
    let api = earlier_api(cluster, version, kind, namespace);
    // The API server takes a moment to serve what it was told to.
    eventually(&format!("{kind} is served in {version}"), async || {
        let params = PatchParams::apply("test").force();
        let answer = api.patch("web", &params, &Patch::Apply(&object)).await;
        answer.map(drop).map_err(|error| error.to_string())
    })
    .await;
}

#[tokio::test]
async fn routes_and_grants_are_served_in_earlier_versions_where_a_cluster_has_no_other() {
    let test = "routes_and_grants_are_served_in_earlier_versions_where_a_cluster_has_no_other";
    let Some(mut cluster) = without_controller(test).await else {
        return;
    };
    served(&cluster, true).await;
    cluster.cidrs("public", &["192.0.2.0/29"]).await;
    cluster.service("green", "web", &[], json!({})).await;
    let to = |port: u16| json!({"parentRefs": [{"name": "edge"}], "rules": [{"backendRefs": [{"name": "web", "namespace": "green", "port": port}]}]});
    apply_earlier(&cluster, "v1alpha2", "TCPRoute", "blue", to(80)).await;
    cluster.controller().await;
    gateway(
        &cluster,
        "edge",
        json!({"addresses": [{"value": "192.0.2.5"}]}),
    )
    .await;
    serves(&cluster, "192.0.2.5", &[(80, &[("web", 1, true)])]).await;
    let grant = json!({"from": [{"group": GROUP, "kind": "TCPRoute", "namespace": "blue"}],
        "to": [{"group": "", "kind": "Service"}]});
    apply_earlier(&cluster, "v1beta1", "ReferenceGrant", "green", grant).await;
    serves(&cluster, "192.0.2.5", &[(80, &[("web", 1, false)])]).await;
    let resolved = async |version: &str, reason: &str| {
        eventually(&format!("the route is {reason}"), async || {
            let route = earlier_api(&cluster, version, "TCPRoute", "blue")
                .get("web")
                .await;
            let status = route.map_err(|error| error.to_string())?.data["status"].clone();
            let conditions = status["parents"][0]["conditions"].clone();
            let conditions: Vec<Condition> = serde_json::from_value(conditions).unwrap_or_default();
            let mut found = conditions.iter();
            let found = found.find(|one| one.type_ == "ResolvedRefs" && one.reason == reason);
            found.map(drop).ok_or_else(|| status.to_string())
        })
        .await;
    };
    resolved("v1alpha2", "ResolvedRefs").await;

    // The cluster is brought to a release that serves them as v1, and Landfall goes with it.
    served(&cluster, false).await;
    apply_earlier(&cluster, "v1", "TCPRoute", "blue", to(8080)).await;
    resolved("v1", "BackendNotFound").await;
    serves(&cluster, "192.0.2.5", &[(80, &[("web", 1, true)])]).await;
    cluster.stop().await;
}
