//! ListenerSets: what is said of them and of their Gateway, and what their listeners add to its address.

use super::*;

/// Waits until the ListenerSet says this of its newest generation; returns the message.
async fn set_says(
    cluster: &Cluster,
    at: (&str, &str),
    type_: &str,
    status: &str,
    reason: &str,
) -> String {
    let (namespace, name) = at;
    eventually(
        &format!("ListenerSet {name} is {type_}={status}, {reason}"),
        async || {
            let set = api(cluster, "ListenerSet", Some(namespace))
                .get(name)
                .await
                .unwrap();
            let conditions = set.data["status"]["conditions"].clone();
            let conditions: Vec<Condition> = serde_json::from_value(conditions).unwrap_or_default();
            let newest = |one: &&Condition| one.observed_generation == set.metadata.generation;
            let newest: Vec<Condition> = conditions.iter().filter(newest).cloned().collect();
            says(&newest, type_, status, reason).ok_or_else(|| format!("{conditions:?}"))
        },
    )
    .await
}

/// Waits until so many ListenerSets add to Gateway `edge`.
async fn attached(cluster: &Cluster, want: i32) {
    eventually(&format!("{want} ListenerSets are attached"), async || {
        let status = get(cluster, "edge").await.status.unwrap_or_default();
        (status.attached_listener_sets == Some(want))
            .then_some(())
            .ok_or_else(|| format!("{status:?}"))
    })
    .await;
}

async fn listener_set(cluster: &Cluster, namespace: &str, name: &str, listeners: Value) {
    let parent = json!({"name": "edge", "namespace": "blue"});
    let spec = json!({"parentRef": parent, "listeners": listeners});
    apply(cluster, "ListenerSet", Some(namespace), name, spec).await;
}

fn tcp(name: &str, port: u16) -> Value {
    json!({"name": name, "port": port, "protocol": "TCP"})
}

#[tokio::test]
async fn a_listener_set_adds_to_the_address_of_its_gateway_as_long_as_that_lets_it() {
    let test = "a_listener_set_adds_to_the_address_of_its_gateway_as_long_as_that_lets_it";
    let Some(mut cluster) = cluster(test).await else {
        return;
    };
    cluster.cidrs("public", &["192.0.2.0/29"]).await;
    let open = json!({"allowedListeners": {"namespaces": {"from": "Same"}}});
    gateway(&cluster, "edge", open).await;
    has(&cluster, "edge", &["192.0.2.0"]).await;
    attached(&cluster, 0).await;

    listener_set(
        &cluster,
        "blue",
        "more",
        json!([tcp("added", 81), tcp("again", 80)]),
    )
    .await;
    attached(&cluster, 1).await;
    set_says(
        &cluster,
        ("blue", "more"),
        "Accepted",
        "True",
        "ListenersNotValid",
    )
    .await;
    set_says(
        &cluster,
        ("blue", "more"),
        "Programmed",
        "False",
        "ParentNotProgrammed",
    )
    .await;
    announce(&cluster, "192.0.2.0", "True", "answered").await;
    set_says(
        &cluster,
        ("blue", "more"),
        "Programmed",
        "True",
        "Programmed",
    )
    .await;
    let set = api(&cluster, "ListenerSet", Some("blue"))
        .get("more")
        .await
        .unwrap();
    let listeners = set.data["status"]["listeners"].as_array().cloned().unwrap();
    for (listener, accepted, reason) in [(0, "True", "Accepted"), (1, "False", "ProtocolConflict")]
    {
        let conditions = listeners[listener]["conditions"].clone();
        let conditions: Vec<Condition> = serde_json::from_value(conditions).unwrap();
        assert!(
            says(&conditions, "Accepted", accepted, reason).is_some(),
            "{conditions:?}"
        );
    }

    let inside = json!({"type": "ClusterIP", "allocateLoadBalancerNodePorts": null});
    cluster.service("blue", "web", &[], inside).await;
    let route = json!({
        "parentRefs": [{"kind": "ListenerSet", "name": "more"}],
        "rules": [{"backendRefs": [{"name": "web", "port": 80}]}],
    });
    apply(&cluster, "TCPRoute", Some("blue"), "web", route).await;
    route_says(&cluster, "web", "Accepted", "True", "Accepted").await;
    serves(
        &cluster,
        "192.0.2.0",
        &[(80, &[]), (81, &[("web", 1, false)])],
    )
    .await;

    // Neither the Gateway nor its address is another one: what is added goes, and comes back.
    let shut = json!({"allowedListeners": {"namespaces": {"from": "None"}}});
    gateway(&cluster, "edge", shut).await;
    set_says(
        &cluster,
        ("blue", "more"),
        "Accepted",
        "False",
        "NotAllowed",
    )
    .await;
    set_says(
        &cluster,
        ("blue", "more"),
        "Programmed",
        "False",
        "NotAllowed",
    )
    .await;
    attached(&cluster, 0).await;
    serves(&cluster, "192.0.2.0", &[(80, &[])]).await;
    route_says(&cluster, "web", "Accepted", "False", "NoMatchingParent").await;
    gateway(
        &cluster,
        "edge",
        json!({"allowedListeners": {"namespaces": {"from": "Same"}}}),
    )
    .await;
    set_says(
        &cluster,
        ("blue", "more"),
        "Programmed",
        "True",
        "Programmed",
    )
    .await;
    serves(
        &cluster,
        "192.0.2.0",
        &[(80, &[]), (81, &[("web", 1, false)])],
    )
    .await;

    // A Gateway that is gone leaves nothing said of what was added to it.
    let gateways = api(&cluster, "Gateway", Some("blue"));
    gateways
        .delete("edge", &DeleteParams::default())
        .await
        .unwrap();
    eventually("nothing of ours is said of the ListenerSet", async || {
        let set = api(&cluster, "ListenerSet", Some("blue"))
            .get("more")
            .await
            .unwrap();
        let status = set.data["status"].clone();
        let listeners = status["listeners"].as_array().map_or(0, Vec::len);
        let ours = status.to_string().contains("192.0.2.0");
        (listeners == 0 && !ours)
            .then_some(())
            .ok_or_else(|| status.to_string())
    })
    .await;
    cluster.stop().await;
}

#[tokio::test]
async fn listener_sets_of_a_full_address_are_told_what_has_no_room_there() {
    let test = "listener_sets_of_a_full_address_are_told_what_has_no_room_there";
    let Some(mut cluster) = cluster(test).await else {
        return;
    };
    cluster.cidrs("public", &["192.0.2.0/29"]).await;
    let open = json!({"allowedListeners": {"namespaces": {"from": "Same"}}});
    gateway(&cluster, "edge", open).await;
    has(&cluster, "edge", &["192.0.2.0"]).await;
    announce(&cluster, "192.0.2.0", "True", "answered").await;
    let blue = ("blue", ["first", "second", "third", "fourth"]);
    let listeners = |set: u16, many: u16| {
        let ports = (1..=many).map(|port| port + 1000 * (set + 1));
        Value::from_iter(ports.map(|port| tcp(&format!("l{port}"), port)))
    };
    for (set, name) in (0..).zip(blue.1) {
        listener_set(&cluster, blue.0, name, listeners(set, 64)).await;
    }
    attached(&cluster, 4).await;
    let refused = async || {
        let mut refused = Vec::new();
        for name in blue.1 {
            let sets = api(&cluster, "ListenerSet", Some(blue.0));
            let status = sets.get(name).await.unwrap().data["status"].clone();
            for listener in status["listeners"].as_array().into_iter().flatten() {
                let conditions = listener["conditions"].clone();
                let conditions: Vec<Condition> = serde_json::from_value(conditions).unwrap();
                if let Some(said) = says(&conditions, "Accepted", "False", "TooManyListeners") {
                    refused.push((name, said));
                }
            }
        }
        refused
    };
    // The Gateway's own port, and 64 of each, are one more than an address serves.
    let unlucky = eventually("one is told of that has no room", async || {
        let refused = refused().await;
        match &refused[..] {
            [(name, said)] if said.contains("an address serves 256 listeners at most") => Ok(*name),
            _ => Err(format!("{refused:?}")),
        }
    })
    .await;
    for name in blue.1 {
        let reason = match name == unlucky {
            true => "ListenersNotValid",
            false => "Accepted",
        };
        set_says(&cluster, (blue.0, name), "Accepted", "True", reason).await;
        set_says(&cluster, (blue.0, name), "Programmed", "True", "Programmed").await;
    }
    gateway_says(&cluster, "edge", "Programmed", "True", "Programmed").await;
    let served = record(&cluster, "192.0.2.0").await.unwrap().spec.frontends;
    assert_eq!(served.len(), 256);

    let (set, fewer) = (0..)
        .zip(blue.1)
        .find(|(_, name)| *name != unlucky)
        .unwrap();
    listener_set(&cluster, blue.0, fewer, listeners(set, 63)).await;
    set_says(&cluster, (blue.0, unlucky), "Accepted", "True", "Accepted").await;
    assert_eq!(refused().await, []);
    cluster.stop().await;
}
