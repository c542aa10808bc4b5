//! What is said of classes and Gateways when their specs change, and when they come to be ours or stop being so.

use landfall_crds::gateway_api::GATEWAYS_EXIST;

use super::*;

#[tokio::test]
async fn a_class_names_its_pool_and_a_gateway_that_leaves_the_class_leaves_its_address() {
    let test = "a_class_names_its_pool_and_a_gateway_that_leaves_the_class_leaves_its_address";
    let Some(mut cluster) = cluster(test).await else {
        return;
    };
    cluster.cidrs("a", &["192.0.2.0/29"]).await;
    let parameters =
        json!({"group": "landfall.dev", "kind": "LoadBalancerIPPool", "name": "private"});
    let class =
        json!({"controllerName": "landfall.dev/gateway-controller", "parametersRef": parameters});
    apply(&cluster, "GatewayClass", None, "private", class).await;
    let class_says = async |status: &str, reason: &str| {
        eventually(&format!("the class is {status}, {reason}"), async || {
            let class = api(&cluster, "GatewayClass", None)
                .get("private")
                .await
                .unwrap();
            let conditions = class.data["status"]["conditions"].clone();
            let conditions: Vec<Condition> = serde_json::from_value(conditions).unwrap_or_default();
            let known = says(&conditions, "SupportedVersion", "True", "SupportedVersion");
            let said = says(&conditions, "Accepted", status, reason);
            said.and(known)
                .map(drop)
                .ok_or_else(|| format!("{conditions:?}"))
        })
        .await;
    };
    class_says("False", "InvalidParameters").await;
    gateway(&cluster, "edge", json!({"gatewayClassName": "private"})).await;
    gateway_says(&cluster, "edge", "Accepted", "False", "InvalidParameters").await;
    let pool = json!({"blocks": [{"cidr": "198.51.100.0/29"}], "gatewayClasses": ["private"]});
    cluster.pool("private", pool).await;
    class_says("True", "Accepted").await;
    has(&cluster, "edge", &["198.51.100.0"]).await;

    apply(
        &cluster,
        "GatewayClass",
        None,
        "theirs",
        json!({"controllerName": "example.org/other"}),
    )
    .await;
    // The class of a Gateway is fixed only by convention: the definition lets it change.
    gateway(&cluster, "edge", json!({"gatewayClassName": "theirs"})).await;
    eventually("nothing of ours is said of it", async || {
        let gateway = get(&cluster, "edge").await;
        let status = gateway.status.clone().unwrap_or_default();
        let released = record(&cluster, "198.51.100.0").await.is_none();
        if status.addresses.is_empty() && status.listeners.is_empty() && released {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        }
    })
    .await;
    writes_rest(&cluster).await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_class_that_is_deleted_and_made_anew_costs_nobody_an_address() {
    let test = "a_class_that_is_deleted_and_made_anew_costs_nobody_an_address";
    let Some(mut cluster) = cluster(test).await else {
        return;
    };
    cluster.cidrs("public", &["192.0.2.0/29"]).await;
    gateway(&cluster, "edge", json!({})).await;
    has(&cluster, "edge", &["192.0.2.0"]).await;
    announce(&cluster, "192.0.2.0", "True", "answered").await;
    gateway_says(&cluster, "edge", "Programmed", "True", "Programmed").await;
    // What is said of a route to a Gateway without an address shows when the class is known to be gone, or there again.
    let nowhere = json!({"addresses": [{"type": "IPAddress", "value": "203.0.113.9"}]});
    gateway(&cluster, "bare", nowhere).await;
    gateway_says(&cluster, "bare", "Programmed", "False", "AddressNotUsable").await;
    let route = json!({"parentRefs": [{"name": "bare"}], "rules": [{"backendRefs": [{"name": "web", "port": 80}]}]});
    apply(&cluster, "TCPRoute", Some("blue"), "sign", route).await;
    route_says(&cluster, "sign", "Accepted", "True", "Accepted").await;
    let before = (
        record(&cluster, "192.0.2.0").await.unwrap().uid(),
        get(&cluster, "edge").await.status,
    );

    let classes = api(&cluster, "GatewayClass", None);
    classes
        .delete("internet", &DeleteParams::default())
        .await
        .unwrap();
    free_class(&cluster, "internet").await;
    eventually("the class is known to be gone", async || {
        let routes = api(&cluster, "TCPRoute", Some("blue"));
        let status = routes.get("sign").await.unwrap().data["status"].clone();
        match status["parents"].as_array().map(Vec::len) {
            Some(0) | None => Ok(()),
            Some(_) => Err(format!("{status}")),
        }
    })
    .await;
    let ours = json!({"controllerName": "landfall.dev/gateway-controller"});
    apply(&cluster, "GatewayClass", None, "internet", ours).await;
    route_says(&cluster, "sign", "Accepted", "True", "Accepted").await;
    writes_rest(&cluster).await;
    let after = (
        record(&cluster, "192.0.2.0").await.unwrap().uid(),
        get(&cluster, "edge").await.status,
    );
    assert_eq!(after, before);
    cluster.stop().await;
}

#[tokio::test]
async fn a_class_in_use_stays_until_the_last_of_its_gateways_goes() {
    let test = "a_class_in_use_stays_until_the_last_of_its_gateways_goes";
    let Some(mut cluster) = cluster(test).await else {
        return;
    };
    cluster.cidrs("public", &["192.0.2.0/29"]).await;
    let classes = api(&cluster, "GatewayClass", None);
    let held = async |want: bool| {
        eventually(&format!("the class is held: {want}"), async || {
            let class = classes.get("internet").await.unwrap();
            let held = class.finalizers() == [GATEWAYS_EXIST];
            let said = format!("{:?}", class.metadata);
            if held == want { Ok(()) } else { Err(said) }
        })
        .await;
    };
    gateway(&cluster, "edge", json!({})).await;
    held(true).await;
    let gateways = api(&cluster, "Gateway", Some("blue"));
    let gone = DeleteParams::default();
    gateways.delete("edge", &gone).await.unwrap();
    held(false).await;

    gateway(&cluster, "edge", json!({})).await;
    held(true).await;
    classes.delete("internet", &gone).await.unwrap();
    // It is served on: another address of its own is given to it.
    gateway(
        &cluster,
        "edge",
        json!({"addresses": [{"value": "192.0.2.3"}]}),
    )
    .await;
    has(&cluster, "edge", &["192.0.2.3"]).await;
    held(true).await;
    gateways.delete("edge", &gone).await.unwrap();
    eventually("the class is gone", async || {
        match classes.get_opt("internet").await.unwrap() {
            None => Ok(()),
            Some(class) => Err(format!("{:?}", class.metadata)),
        }
    })
    .await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_class_says_which_kinds_landfall_may_not_read() {
    let test = "a_class_says_which_kinds_landfall_may_not_read";
    let Some(mut cluster) = without_controller(test).await else {
        return;
    };
    let role = [
        "patch",
        "clusterrole",
        "landfall-gateway-controller",
        "--type=json",
    ];
    let list = |kinds: Value| {
        json!([{"op": "replace", "path": "/rules/0/resources", "value": kinds}]).to_string()
    };
    let fewer = list(json!([
        "gatewayclasses",
        "tcproutes",
        "udproutes",
        "referencegrants"
    ]));
    cluster
        .kubectl(&[&role[..], &["-p", &fewer]].concat())
        .await;
    cluster.controller().await;
    let said = async |hidden: bool| {
        eventually(&format!("the class says so: {hidden}"), async || {
            let class = api(&cluster, "GatewayClass", None);
            let status = class.get("internet").await.unwrap().data["status"].clone();
            let accepted = status["conditions"][0]["message"].to_string();
            let claimed = status["supportedFeatures"].to_string();
            let says = accepted.contains("may not read listenersets")
                && accepted.contains("kubectl apply -k config/gateway-api");
            if says == hidden && claimed.contains("ListenerSet") != hidden {
                Ok(())
            } else {
                Err(status.to_string())
            }
        })
        .await;
    };
    said(true).await;
    let all = list(json!([
        "gatewayclasses",
        "listenersets",
        "tcproutes",
        "udproutes",
        "referencegrants"
    ]));
    cluster.kubectl(&[&role[..], &["-p", &all]].concat()).await;
    said(false).await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_class_that_may_not_be_kept_serves_and_says_so() {
    let test = "a_class_that_may_not_be_kept_serves_and_says_so";
    let Some(mut cluster) = without_controller(test).await else {
        return;
    };
    let less = json!([
        {"op": "test", "path": "/rules/2/verbs", "value": ["patch"]},
        {"op": "test", "path": "/rules/2/resources", "value": ["gatewayclasses"]},
        {"op": "remove", "path": "/rules/2"},
    ]);
    let role = ["patch", "clusterrole", "landfall-gateway-controller"];
    let patch = ["--type=json", "-p", &less.to_string()];
    cluster.kubectl(&[&role[..], &patch].concat()).await;
    cluster.controller().await;
    cluster.cidrs("public", &["192.0.2.0/29"]).await;
    gateway(&cluster, "edge", json!({})).await;
    has(&cluster, "edge", &["192.0.2.0"]).await;
    eventually("the class says what is missing", async || {
        let class = api(&cluster, "GatewayClass", None);
        let class = class.get("internet").await.unwrap();
        let accepted = &class.data["status"]["conditions"][0];
        let message = accepted["message"].to_string();
        (accepted["status"] == "True"
            && message.contains("may not patch gatewayclasses")
            && class.metadata.finalizers.is_none())
        .then_some(())
        .ok_or_else(|| class.data["status"].to_string())
    })
    .await;
    cluster.stop().await;
}

#[tokio::test]
async fn the_status_of_a_gateway_is_of_its_newest_spec_and_comes_back_when_it_is_wiped() {
    let test = "the_status_of_a_gateway_is_of_its_newest_spec_and_comes_back_when_it_is_wiped";
    let Some(mut cluster) = cluster(test).await else {
        return;
    };
    cluster.cidrs("public", &["192.0.2.0/29"]).await;
    gateway(&cluster, "edge", json!({})).await;
    has(&cluster, "edge", &["192.0.2.0"]).await;
    gateway_says(&cluster, "edge", "Accepted", "True", "Accepted").await;
    // Nothing follows from this, but a generation.
    let allowed = json!({"namespaces": {"from": "All"}});
    let listener =
        json!([{"name": "tcp", "port": 80, "protocol": "TCP", "allowedRoutes": allowed}]);
    gateway(&cluster, "edge", json!({"listeners": listener})).await;
    gateway_says(&cluster, "edge", "Accepted", "True", "Accepted").await;
    gateway_says(&cluster, "edge", "Programmed", "False", "Pending").await;

    let gateways: Api<Gateway> = Api::namespaced(cluster.client.clone(), "blue");
    let wiped = json!({"status": {"conditions": []}});
    let answer = gateways
        .patch_status("edge", &PatchParams::default(), &Patch::Merge(wiped))
        .await
        .unwrap();
    assert!(answer.status.unwrap().conditions.is_empty());
    gateway_says(&cluster, "edge", "Accepted", "True", "Accepted").await;
    cluster.stop().await;
}

#[tokio::test]
async fn what_a_gateway_says_of_its_infrastructure_is_on_the_records_of_its_addresses() {
    let test = "what_a_gateway_says_of_its_infrastructure_is_on_the_records_of_its_addresses";
    let Some(mut cluster) = cluster(test).await else {
        return;
    };
    cluster.cidrs("public", &["192.0.2.0/29"]).await;
    let infrastructure = |team: Value| json!({"infrastructure": {"labels": team, "annotations": {"example.org/bill": "red", "landfall.dev/shown-to": "me"}}});
    gateway(
        &cluster,
        "edge",
        infrastructure(json!({"team": "red", "tier": "gold"})),
    )
    .await;
    has(&cluster, "edge", &["192.0.2.0"]).await;
    let marked = async |labels: &[(&str, &str)]| {
        eventually(&format!("the record has {labels:?}"), async || {
            let record = record(&cluster, "192.0.2.0").await.unwrap();
            let found = record.metadata.labels.clone().unwrap_or_default();
            let found: Vec<(&str, &str)> = found
                .iter()
                .map(|(name, text)| (&**name, &**text))
                .collect();
            let annotations = record.annotations();
            let bill = annotations.get("example.org/bill").map(String::as_str);
            let forged = annotations.get("landfall.dev/shown-to").map(String::as_str) == Some("me");
            if found == labels && bill == Some("red") && !forged {
                Ok(())
            } else {
                Err(format!("{:?}", record.metadata))
            }
        })
        .await;
    };
    marked(&[("team", "red"), ("tier", "gold")]).await;
    // What is said no more goes; what a person put there stays.
    let records = cluster.records();
    let own = json!({"metadata": {"labels": {"a-persons": "own"}}});
    let name = ip_name("192.0.2.0".parse().unwrap());
    records
        .patch(&name, &PatchParams::default(), &Patch::Merge(own))
        .await
        .unwrap();
    gateway(&cluster, "edge", infrastructure(json!({"team": "blue"}))).await;
    marked(&[("a-persons", "own"), ("team", "blue")]).await;
    has(&cluster, "edge", &["192.0.2.0"]).await;
    cluster.stop().await;
}
