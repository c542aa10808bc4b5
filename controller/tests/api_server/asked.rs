//! What people write who come from elsewhere, and what they are told.

use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject};
use landfall_crds::{LoadBalancerIP, LoadBalancerIPPool};
use serde_json::{Value, json};

use crate::support::{Cluster, eventually};

#[tokio::test]
async fn two_pools_named_with_a_comma_serve_a_dual_stack_service_one_family_each() {
    let mut cluster =
        cluster!(two_pools_named_with_a_comma_serve_a_dual_stack_service_one_family_each);
    cluster
        .cidrs("any", &["198.51.100.0/30", "2001:db8:1::/64"])
        .await;
    cluster.cidrs("four", &["192.0.2.0/30"]).await;
    cluster.controller().await;
    let names = [("metallb.io/address-pool", "four, six")];
    let both = json!({"ipFamilyPolicy": "RequireDualStack"});
    cluster.service("blue", "web", &names, both).await;
    let message = cluster.refused("blue", "web", "NoMatchingPool").await;
    assert!(message.contains("pool \"six\", which the Service asks for, does not exist"));
    cluster.cidrs("six", &["2001:db8::/64"]).await;
    cluster
        .has("blue", "web", &["192.0.2.0", "2001:db8::"])
        .await;
    cluster
        .service(
            "blue",
            "odd",
            &[("landfall.dev/pool", "four,four")],
            json!({}),
        )
        .await;
    let message = cluster.refused("blue", "odd", "InvalidRequest").await;
    assert!(message.contains("names a pool twice"), "{message}");
    cluster.stop().await;
}

#[tokio::test]
async fn services_that_name_one_external_address_share_its_record_over_a_restart() {
    let mut cluster =
        cluster!(services_that_name_one_external_address_share_its_record_over_a_restart);
    cluster.cidrs("default", &["192.0.2.0/29"]).await;
    cluster.controller().await;
    let on = |port: u16| json!({"externalIPs": ["192.0.2.5"], "ports": [{"port": port}]});
    cluster.service("blue", "web", &[], on(80)).await;
    cluster.has("blue", "web", &["192.0.2.5"]).await;
    cluster.service("green", "tls", &[], on(443)).await;
    cluster.has("green", "tls", &["192.0.2.5"]).await;
    cluster.service("blue", "late", &[], on(443)).await;
    let message = cluster.refused("blue", "late", "AddressInUse").await;
    assert!(
        message.contains("held by Service green/tls; both listen on port 443/TCP"),
        "{message}"
    );
    cluster.rest().await;
    let (book, versions) = (cluster.book().await, cluster.versions().await);
    cluster.kill().await;
    cluster.controller().await;
    cluster.rest().await;
    assert_eq!(
        (cluster.book().await, cluster.versions().await),
        (book, versions)
    );
    let services = cluster.services("green");
    services
        .delete("tls", &DeleteParams::default())
        .await
        .unwrap();
    cluster.has("blue", "late", &["192.0.2.5"]).await;
    cluster.stop().await;
}

#[tokio::test]
async fn kubectl_shows_for_whom_an_address_is_kept() {
    let mut cluster = cluster!(kubectl_shows_for_whom_an_address_is_kept);
    cluster.cidrs("default", &["192.0.2.0/29"]).await;
    cluster.controller().await;
    cluster.service("blue", "web", &[], json!({})).await;
    cluster.has("blue", "web", &["192.0.2.0"]).await;
    let retain = Patch::Merge(json!({"spec": {"reclaimPolicy": "Retain"}}));
    let params = PatchParams::default();
    cluster
        .records()
        .patch("192-0-2-0", &params, &retain)
        .await
        .unwrap();
    let services = cluster.services("blue");
    services
        .delete("web", &DeleteParams::default())
        .await
        .unwrap();
    eventually("the column says it", async || {
        let table = cluster.kubectl(&["get", "lbip"]).await;
        let words: Vec<Vec<&str>> = table
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        let shown = table.contains("KEPT FOR")
            && words
                .iter()
                .any(|row| *row == ["192-0-2-0", "192.0.2.0", "web", "default"]);
        if shown { Ok(()) } else { Err(table) }
    })
    .await;
    cluster.stop().await;
}

#[tokio::test]
async fn kubectl_shows_the_namespace_of_a_holder_and_with_whom_an_address_is_shared() {
    let mut cluster =
        cluster!(kubectl_shows_the_namespace_of_a_holder_and_with_whom_an_address_is_shared);
    cluster.cidrs("default", &["192.0.2.0/29"]).await;
    cluster.controller().await;
    let key = [("landfall.dev/sharing-key", "dns")];
    for (name, port) in [("tcp", 53), ("tls", 853)] {
        let spec = json!({"ports": [{"port": port}]});
        cluster.service("blue", name, &key, spec).await;
        cluster.has("blue", name, &["192.0.2.0"]).await;
    }
    let table = cluster.kubectl(&["get", "lbip"]).await;
    let row = table.lines().find(|line| line.starts_with("192-0-2-0"));
    let row: Vec<&str> = row.unwrap().split_whitespace().collect();
    assert_eq!(
        row,
        ["192-0-2-0", "192.0.2.0", "blue", "tcp", "tls", "default"],
        "{table}"
    );
    let records: Api<LoadBalancerIP> = Api::all(cluster.client.clone());
    let status = json!({"status": {"interfaces": ["eth0"], "owner": {"node": "node-1", "session": "s",
        "since": "2020-01-01T00:00:00.000000Z", "transitions": 1}}});
    let (params, patch) = (PatchParams::default(), Patch::Merge(&status));
    let written = records.patch_status("192-0-2-0", &params, &patch).await;
    written.unwrap();
    let wide = cluster.kubectl(&["get", "lbip", "-o", "wide"]).await;
    let [heading, row] = wide.lines().collect::<Vec<_>>()[..] else {
        panic!("not one address: {wide}");
    };
    // Each value stands below its heading.
    let value = |name: &str, end: Option<&str>| {
        let begin = heading.find(name).unwrap();
        let end = end.map_or(row.len(), |next| heading.find(next).unwrap());
        row[begin..end].trim().to_owned()
    };
    let narrow = [
        ("NAME ", "ADDRESS", "192-0-2-0"),
        ("ADDRESS", "NAMESPACE", "192.0.2.0"),
        ("NAMESPACE", "HOLDER ", "blue"),
        ("HOLDER ", "SHARED WITH", "tcp"),
        ("SHARED WITH", "KEPT FOR", "tls"),
        ("KEPT FOR", "POOL", ""),
        ("POOL", "NODE", "default"),
        ("NODE", "INTERFACE", "node-1"),
        ("INTERFACE", "SINCE", "eth0"),
    ];
    for (name, next, expected) in narrow {
        assert_eq!(value(name, Some(next)), expected, "{name}: {wide}");
    }
    let since = value("SINCE", Some("HOLDERS"));
    assert!(
        since.ends_with('y') || since.ends_with('d'),
        "{since}: {wide}"
    );
    let holders: Value = serde_json::from_str(&value("HOLDERS", None)).unwrap();
    let holders = holders.as_array().unwrap().iter();
    let holders: Vec<_> = holders
        .map(|one| ["kind", "namespace", "name"].map(|field| one[field].as_str().unwrap()))
        .collect();
    assert_eq!(
        holders,
        [["Service", "blue", "tcp"], ["Service", "blue", "tls"]],
        "{wide}"
    );
    cluster.stop().await;
}

#[tokio::test]
async fn what_other_balancers_take_for_a_block_is_refused_with_what_to_write() {
    let cluster = cluster!(what_other_balancers_take_for_a_block_is_refused_with_what_to_write);
    for cidr in ["10.0.0.1-10.0.0.9", "10.0.0.1"] {
        let spec = json!({"blocks": [{"cidr": cidr}]});
        let error = cluster.try_pool("p", spec).await.unwrap_err().to_string();
        assert!(
            error.contains("a range or a single address goes into start and stop"),
            "{error}"
        );
    }
    // A bare `No` is a boolean for YAML: docs/how-to/move.md quotes what the API server says.
    let kind = ApiResource::erase::<LoadBalancerIPPool>(&());
    let api: Api<DynamicObject> = Api::all_with(cluster.client.clone(), &kind);
    let pool = json!({
        "apiVersion": "landfall.dev/v1alpha1", "kind": "LoadBalancerIPPool",
        "metadata": {"name": "p"},
        "spec": {"blocks": [{"cidr": "10.0.0.0/24"}], "allowFirstLastIPs": false},
    });
    let pool = serde_json::from_value(pool).unwrap();
    let answer = api.create(&PostParams::default(), &pool).await;
    let error = answer.unwrap_err().to_string();
    let quoted = "spec.allowFirstLastIPs in body must be of type string: \"boolean\"";
    assert!(error.contains(quoted), "{error}");
    let page = include_str!("../../../docs/how-to/move.md");
    assert!(page.contains(quoted), "the page does not say: {quoted}");
}
