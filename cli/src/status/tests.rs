use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::picture::{Hidden, Picture, Sight};

fn at() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().unwrap()
}

fn objects<T: serde::de::DeserializeOwned>(all: Value) -> Sight<T> {
    Sight::Seen(serde_json::from_value(all).unwrap())
}

fn condition(type_: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({"type": type_, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": "2026-01-01T00:00:00Z"})
}

fn lease(name: &str, holder: &str, published: &str) -> Value {
    json!({"metadata": {"name": name, "annotations": {"landfall.dev/announcer": published}},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": "2026-01-01T00:59:55.000000Z"}})
}

fn pod_template(image: &str) -> Value {
    json!({"spec": {"containers": [{"name": "c", "image": image}]}})
}

/// A cluster of two nodes where all is well.
fn well() -> Picture {
    let owner = |node: &str, standby: &str| {
        json!({"owner": {"node": node, "session": "s", "standby": standby, "since": "2026-01-01T00:59:00Z", "transitions": 1},
            "interfaces": ["eth0"], "conditions": [condition("Announced", "True", "Announced", "it answers")]})
    };
    Picture {
        deployments: objects(json!([{"metadata": {"name": "landfall-controller"},
            "spec": {"replicas": 2, "selector": {}, "template": pod_template("registry.example.org/landfall/landfall-controller:0.1.0")},
            "status": {"readyReplicas": 2, "updatedReplicas": 2}}])),
        daemon_sets: objects(json!([{"metadata": {"name": "landfall-announcer"},
            "spec": {"selector": {}, "template": pod_template("registry.example.org/landfall/landfall-announcer:0.1.0")},
            "status": {"currentNumberScheduled": 2, "desiredNumberScheduled": 2, "numberMisscheduled": 0, "numberReady": 2,
                "updatedNumberScheduled": 2}}])),
        leases: objects(json!([
            lease("landfall-controller", "landfall-controller-7d4-x2v_18f", ""),
            lease(
                "announcer-node-1",
                "s",
                r#"{"interfaces":[{"name":"eth0","mac":"02:00:00:00:00:01"}],"xdp":"ready"}"#
            ),
            lease(
                "announcer-node-2",
                "s",
                r#"{"interfaces":[{"name":"eth0","mac":"02:00:00:00:00:02"}],"xdp":"ready"}"#
            ),
        ])),
        pools: objects(
            json!([{"apiVersion": "landfall.dev/v1alpha1", "kind": "LoadBalancerIPPool",
            "metadata": {"name": "public", "generation": 1}, "spec": {"blocks": [{"cidr": "192.0.2.64/27"}]},
            "status": {"observedGeneration": 1,
                "ipv4": {"total": "31", "assigned": "2", "available": "29", "reserved": "0"},
                "conditions": [condition("Accepted", "True", "Accepted", "in use")]}}]),
        ),
        policies: objects(
            json!([{"apiVersion": "landfall.dev/v1alpha1", "kind": "L2AnnouncementPolicy",
            "metadata": {"name": "default", "generation": 1}, "spec": {"loadBalancing": "XDP"},
            "status": {"observedGeneration": 1, "addresses": 2, "nodes": 2, "conditions": [
                condition("Accepted", "True", "Accepted", "the policy is in force"),
                condition("DirectorReady", "True", "Ready", "no node reports that its XDP director cannot run")]}}]),
        ),
        records: objects(json!([
            {"apiVersion": "landfall.dev/v1alpha1", "kind": "LoadBalancerIP", "metadata": {"name": "192-0-2-64"},
                "spec": {"address": "192.0.2.64", "poolRef": {"name": "public"},
                    "holders": [{"kind": "Service", "namespace": "blue", "name": "web", "uid": "u"}]},
                "status": owner("node-1", "node-2")},
            {"apiVersion": "landfall.dev/v1alpha1", "kind": "LoadBalancerIP", "metadata": {"name": "192-0-2-65"},
                "spec": {"address": "192.0.2.65", "poolRef": {"name": "public"},
                    "holders": [{"kind": "Service", "namespace": "blue", "name": "api", "uid": "u"}]},
                "status": owner("node-2", "node-1")},
        ])),
        ..Picture::default()
    }
}

#[test]
fn where_all_is_well_one_screen_says_so() {
    let status = judge(&well(), at());
    assert!(status.well, "{:?}", status.wrong);
    insta::assert_snapshot!(draw(&status));
}

#[test]
fn who_sees_too_little_is_not_told_that_all_is_well() {
    assert_eq!(judge(&well(), at()).end(), End::Well);
    let hide: [fn(&mut Picture); 4] = [
        |picture| picture.deployments = Sight::Hidden(Hidden::Forbidden),
        |picture| picture.daemon_sets = Sight::Hidden(Hidden::Forbidden),
        |picture| picture.leases = Sight::Hidden(Hidden::Forbidden),
        |picture| picture.records = Sight::Hidden(Hidden::Forbidden),
    ];
    for hide in hide {
        let mut picture = well();
        hide(&mut picture);
        let status = judge(&picture, at());
        assert!(!status.well && status.end() == End::Unknown, "{status:?}");
        assert!(draw(&status).contains("cannot be told without seeing"));
    }
}

#[test]
fn a_cluster_that_does_not_know_the_kinds_is_not_well() {
    let mut picture = well();
    picture.records = Sight::Hidden(Hidden::Absent);
    picture.policies = Sight::Hidden(Hidden::Absent);
    let status = judge(&picture, at());
    assert_eq!(status.end(), End::NotWell);
    let says = "does not know LoadBalancerIP, L2AnnouncementPolicy";
    assert!(
        status.wrong.iter().any(|word| word.contains(says)),
        "{:?}",
        status.wrong
    );
}

#[test]
fn everything_that_is_wrong_is_named_with_its_remedy() {
    let mut picture = well();
    picture.daemon_sets = objects(json!([{"metadata": {"name": "landfall-announcer"},
        "spec": {"selector": {}, "template": pod_template("landfall/landfall-announcer:0.2.0")},
        "status": {"currentNumberScheduled": 2, "desiredNumberScheduled": 2, "numberMisscheduled": 0, "numberReady": 0,
            "updatedNumberScheduled": 2}}]));
    picture.pods = objects(
        json!([{"metadata": {"name": "p", "labels": {"app.kubernetes.io/name": "landfall-announcer"}},
        "status": {"containerStatuses": [{"name": "announcer", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}}}]}}]),
    );
    picture.leases = objects(json!([
        lease("landfall-controller", "", ""),
        lease("announcer-node-1", "", "{}"),
        lease(
            "announcer-node-2",
            "s",
            r#"{"interfaces":[],"xdp":"failed"}"#
        ),
    ]));
    picture.policies = objects(
        json!([{"apiVersion": "landfall.dev/v1alpha1", "kind": "L2AnnouncementPolicy",
        "metadata": {"name": "default", "generation": 1}, "spec": {"interfaces": ["ens[0-9]+"]},
        "status": {"observedGeneration": 1, "addresses": 2, "nodes": 0, "conditions": [
            condition("Accepted", "True", "Accepted", "the policy is in force")]}}]),
    );
    picture.records = objects(
        json!([{"apiVersion": "landfall.dev/v1alpha1", "kind": "LoadBalancerIP",
        "metadata": {"name": "192-0-2-64"}, "spec": {"address": "192.0.2.64",
            "holders": [{"kind": "Service", "namespace": "blue", "name": "web", "uid": "u"}]}}]),
    );
    picture.services = objects(json!([
        {"metadata": {"namespace": "blue", "name": "web"}, "spec": {"type": "LoadBalancer"}, "status": {"conditions": [
            condition("landfall.dev/AddressAssigned", "True", "Assigned", "IPv4 192.0.2.64 from pool public"),
            condition("landfall.dev/Announced", "False", "NoNode", "no node can announce 192.0.2.64 under policy default")]}},
        {"metadata": {"namespace": "blue", "name": "late"}, "spec": {"type": "LoadBalancer"}, "status": {"conditions": [
            condition("landfall.dev/AddressAssigned", "False", "PoolExhausted", "pool public has none of its 31 IPv4 addresses free; widen a pool or add one")]}},
    ]));
    let status = judge(&picture, at());
    assert!(!status.well);
    insta::assert_snapshot!(draw(&status));
}

#[test]
fn what_nobody_has_looked_at_yet_is_not_wrong_and_not_settled() {
    assert!(judge(&well(), at()).settled);
    let new = |created: &str, class: Option<&str>| {
        let mut picture = well();
        picture.services = objects(json!([{
            "metadata": {"namespace": "blue", "name": "new", "creationTimestamp": created},
            "spec": {"type": "LoadBalancer", "loadBalancerClass": class},
        }]));
        let status = judge(&picture, at());
        (status.well, status.settled)
    };
    let (now, earlier) = ("2026-01-01T01:00:00Z", "2026-01-01T00:59:00Z");
    let ours = Some("landfall.dev/l2");
    assert_eq!(new(now, ours), (true, false));
    assert_eq!(new(earlier, ours), (false, true));
    // It may be another balancer's.
    assert_eq!(new(now, None), (true, false));
    assert_eq!(new(earlier, None), (true, true));
    let mut picture = well();
    picture.pools = objects(
        json!([{"apiVersion": "landfall.dev/v1alpha1", "kind": "LoadBalancerIPPool",
        "metadata": {"name": "public", "generation": 2}, "spec": {"blocks": [{"cidr": "192.0.2.64/27"}]},
        "status": {"observedGeneration": 1, "conditions": [condition("Accepted", "True", "Accepted", "in use")]}}]),
    );
    let status = judge(&picture, at());
    assert_eq!(status.end(), End::Well);
    assert_eq!(status.end_of_waiting(), End::Unknown, "in vain");
    assert_eq!(judge(&well(), at()).end_of_waiting(), End::Well);
}

#[test]
fn where_nothing_is_installed_the_screen_says_how_it_is() {
    let status = judge(&Picture::default(), at());
    assert!(!status.well);
    insta::assert_snapshot!(draw(&status));
}

#[test]
fn what_may_not_be_read_is_said_and_is_not_wrong() {
    let mut picture = well();
    picture.deployments = Sight::Hidden(Hidden::Forbidden);
    picture.daemon_sets = Sight::Hidden(Hidden::Forbidden);
    picture.leases = Sight::Hidden(Hidden::Forbidden);
    picture.services_of = Some("blue".to_owned());
    let status = judge(&picture, at());
    assert!(status.wrong.is_empty(), "{:?}", status.wrong);
    assert!(
        status
            .notes
            .iter()
            .any(|note| note.contains("Leases of landfall-system"))
    );
    assert!(
        status
            .notes
            .iter()
            .any(|note| note.contains("namespace blue"))
    );
}

#[test]
fn a_node_without_an_address_beside_others_with_several_is_told_of_and_is_not_wrong() {
    let mut picture = well();
    if let Sight::Seen(records) = &mut picture.records {
        for record in records {
            record.status.as_mut().unwrap().owner.as_mut().unwrap().node = "node-1".to_owned();
        }
    }
    let status = judge(&picture, at());
    assert!(status.well, "{:?}", status.wrong);
    assert!(
        status
            .notes
            .iter()
            .any(|note| note.starts_with("node-2 answers for no address")
                && note.contains("where the announcers have --rebalance-every"))
    );
    // And where they were told to spread them, how soon.
    if let Sight::Seen(sets) = &mut picture.daemon_sets {
        let template = &mut sets[0].spec.as_mut().unwrap().template;
        let container = &mut template.spec.as_mut().unwrap().containers[0];
        container.args = Some(vec!["--rebalance-every".to_owned(), "10m".to_owned()]);
    }
    let notes = judge(&picture, at()).notes;
    let told = "each node gives one away every 10m (--rebalance-every)";
    assert!(notes.iter().any(|note| note.ends_with(told)), "{notes:?}");
}

#[test]
fn an_image_has_a_tag_or_a_digest() {
    assert_eq!(
        tag("host:5000/landfall/landfall-controller:0.1.0"),
        Some("0.1.0")
    );
    assert_eq!(tag("host:5000/landfall/landfall-controller"), None);
    assert_eq!(tag("a/b@sha256:00"), None);
}

#[test]
fn programs_read_the_same_in_json_and_in_yaml() {
    use crate::args::Output;
    use crate::out::form;
    let status = judge(&well(), at());
    let json: Value = serde_json::from_str(&form(&status, Output::Json, draw).unwrap()).unwrap();
    let yaml: Value = serde_saphyr::from_str(&form(&status, Output::Yaml, draw).unwrap()).unwrap();
    assert_eq!(json, yaml);
    assert_eq!(json["pools"][0]["families"][0]["available"], "29");
    assert_eq!(json["nodes"][1]["standsBy"], 1);
}
