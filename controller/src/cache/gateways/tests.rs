//! What events and decisions do to Gateways in the cache.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use landfall_crds::gateway_api::{GatewayClass, ListenerSet};
use landfall_ipam::PoolName;
use landfall_ipam::index::Writes;
use landfall_ipam::pools::Pool;
use serde_json::{Value, json};

use super::*;
use crate::gateway::status;
use crate::validate::MANAGER;

const OURS: &str = "landfall.dev/gateway-controller";

fn at() -> NamespacedName {
    NamespacedName::new("blue", "edge")
}

fn key() -> HolderKey {
    HolderKey::gateway("blue", "edge")
}

/// A cache with a pool, and the class `internet` of this controller.
fn cache(controller: &str) -> Cache {
    let mut cache = Cache::default();
    let blocks = json!({"blocks": [{"cidr": "192.0.2.0/30"}]});
    let pool = Pool::compile("p", &serde_json::from_value(blocks).unwrap(), false);
    cache.index.pool_seen(&PoolName::from("p"), Some(pool));
    class(&mut cache, controller);
    cache.index.pop_pools();
    cache
}

fn class(cache: &mut Cache, controller: &str) {
    let class: GatewayClass = serde_json::from_value(
        json!({"metadata": {"name": "internet"}, "spec": {"controllerName": controller}}),
    )
    .unwrap();
    cache.gateway_api.change(|world| {
        world.classes.insert("internet".to_owned(), class.into());
    });
}

/// The Gateway of class `internet` in this version and generation, with this status, of which these fields are ours.
fn gateway(version: u64, generation: i64, status: &Value, ours: &Value) -> Gateway {
    let manager = json!({"manager": MANAGER, "operation": "Apply", "apiVersion": "gateway.networking.k8s.io/v1",
        "subresource": "status", "fieldsType": "FieldsV1", "fieldsV1": {"f:status": ours}});
    serde_json::from_value(json!({
        "metadata": {"name": "edge", "namespace": "blue", "uid": "u", "resourceVersion": version.to_string(),
            "generation": generation, "managedFields": if ours.is_null() { json!([]) } else { json!([manager]) }},
        "spec": {"gatewayClassName": "internet", "listeners": [{"name": "tcp", "port": 80, "protocol": "TCP"}]},
        "status": status,
    }))
    .unwrap()
}

fn seen(cache: &mut Cache, gateway: Gateway) {
    cache.gateway_object_seen(&at(), Some(gateway));
    cache.decide_gateways();
}

/// What is planned for the Gateway, and the status to write.
fn planned(cache: &mut Cache) -> Option<(Writes, Option<Value>)> {
    let writes = cache.index.plan(&key())?;
    let now = Time(Timestamp::UNIX_EPOCH);
    let status = cache.gateway_status(&at(), &writes, now);
    Some((writes, status))
}

/// The Gateways that are to be looked at.
fn queued(cache: &mut Cache) -> usize {
    std::iter::from_fn(|| cache.index.pop()).count()
}

/// What the status of our Gateway is once it has its address.
fn served(cache: &mut Cache) -> Value {
    planned(cache).unwrap().1.unwrap()
}

fn our_fields() -> Value {
    json!({"f:addresses": {}, "f:conditions": {}, "f:listeners": {}})
}

#[test]
fn a_gateway_that_was_cleared_is_not_looked_at_again() {
    let mut cache = cache("example.org/other");
    seen(&mut cache, gateway(1, 1, &json!({}), &json!({})));
    assert_eq!(queued(&mut cache), 0);
    assert!(cache.index.service(&key()).is_none());
    let written = our_fields();
    seen(&mut cache, gateway(2, 1, &json!({}), &written));
    assert_eq!(queued(&mut cache), 1);
    assert_eq!(planned(&mut cache).unwrap().1, Some(json!({})));
}

#[test]
fn an_answer_that_changed_nothing_is_no_news() {
    let mut cache = cache(OURS);
    seen(&mut cache, gateway(1, 1, &json!({}), &Value::Null));
    cache.gateway_object_seen(&at(), Some(gateway(1, 1, &json!({}), &Value::Null)));
    assert!(!cache.decide_gateways());
    cache.gateway_object_seen(&at(), Some(gateway(2, 1, &json!({}), &Value::Null)));
    assert!(cache.decide_gateways());
}

/// A Gateway that has its address, by its record and by its status.
fn with_address(cache: &mut Cache) {
    seen(cache, gateway(1, 1, &json!({}), &Value::Null));
    let status = served(cache);
    assert_eq!(status["addresses"][0]["value"], "192.0.2.0");
    seen(cache, gateway(2, 1, &status, &our_fields()));
    queued(cache);
}

#[test]
fn a_class_that_goes_takes_no_address_with_it_and_one_that_becomes_anothers_does() {
    let mut cache = cache(OURS);
    with_address(&mut cache);
    let frontends = cache.index.service(&key()).unwrap().frontends.clone();
    cache.gateway_api.change(|world| world.classes.clear());
    cache.decide_gateways();
    let (writes, status) = planned(&mut cache).unwrap();
    assert_eq!((writes.plan.leave.len(), writes.plan.keep.len()), (0, 1));
    assert_eq!(status, None);
    assert_eq!(
        cache.index.service(&key()).unwrap().frontends,
        frontends,
        "it is served on"
    );
    class(&mut cache, OURS);
    cache.decide_gateways();
    let (writes, status) = planned(&mut cache).unwrap();
    assert_eq!((writes.plan.keep.len(), status), (1, None));
    class(&mut cache, "example.org/other");
    cache.decide_gateways();
    let (writes, status) = planned(&mut cache).unwrap();
    assert_eq!((writes.plan.leave.len(), status), (1, Some(json!({}))));
}

#[test]
fn a_gateway_whose_class_is_not_there_is_given_nothing() {
    let mut cache = cache(OURS);
    cache.gateway_api.change(|world| world.classes.clear());
    seen(&mut cache, gateway(1, 1, &json!({}), &Value::Null));
    assert!(cache.index.service(&key()).is_none());
    // One that has an address of ours, and lost its record, has that one back and no other.
    let status = json!({"addresses": [{"type": "IPAddress", "value": "192.0.2.2"}]});
    seen(&mut cache, gateway(2, 1, &status, &our_fields()));
    assert_eq!(cache.index.adopt(), 1);
    let (writes, status) = planned(&mut cache).unwrap();
    let addresses = writes.plan.addresses(writes.service.as_ref().unwrap());
    assert_eq!(
        addresses,
        ["192.0.2.2".parse::<std::net::IpAddr>().unwrap()]
    );
    assert_eq!(status, None);
}

#[test]
fn an_answer_brings_back_no_gateway_that_is_gone_nor_an_older_state_of_one() {
    let mut cache = cache(OURS);
    let of = |version| gateway(version, 1, &json!({}), &Value::Null);
    cache.gateway_answered(&at(), of(3));
    assert!(cache.gateway_api.world.gateways.is_empty());
    seen(&mut cache, of(5));
    cache.gateway_answered(&at(), of(4));
    assert!(!cache.decide_gateways());
    cache.gateway_answered(&at(), of(6));
    assert!(cache.decide_gateways());
    // Nor one of its name that was made anew.
    let mut former = of(7);
    former.metadata.uid = Some("former".to_owned());
    cache.gateway_answered(&at(), former);
    let known = &cache.gateway_api.world.gateways[&at()];
    assert_eq!(known.metadata.uid.as_deref(), Some("u"));
}

#[test]
fn another_generation_alone_is_said_and_never_of_a_decision_about_an_older_one() {
    let mut cache = cache(OURS);
    with_address(&mut cache);
    let known = &cache.gateway_api.world.gateways[&at()];
    let status = json!(known.status);
    let generations = |status: &Value| {
        let own = status["conditions"].as_array().unwrap().iter();
        let listeners = status["listeners"][0]["conditions"].as_array().unwrap();
        let all = own.chain(listeners);
        all.map(|one| one["observedGeneration"].as_i64().unwrap())
            .collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(generations(&status), [1].into());
    // It is seen, and not decided yet.
    let mut wiped = status.clone();
    wiped["conditions"] = json!([]);
    cache.gateway_object_seen(&at(), Some(gateway(3, 2, &wiped, &our_fields())));
    let (_, written) = planned(&mut cache).unwrap();
    assert_eq!(generations(&written.unwrap()), [1].into());
    cache.gateway_object_seen(&at(), Some(gateway(4, 2, &status, &our_fields())));
    cache.decide_gateways();
    assert_eq!(queued(&mut cache), 1);
    let (_, written) = planned(&mut cache).unwrap();
    assert_eq!(generations(&written.unwrap()), [2].into());
}

#[test]
fn conditions_that_somebody_else_wiped_are_written_again() {
    let mut cache = cache(OURS);
    with_address(&mut cache);
    let mut wiped = json!(cache.gateway_api.world.gateways[&at()].status);
    wiped["conditions"] = json!([]);
    seen(&mut cache, gateway(3, 1, &wiped, &our_fields()));
    assert_eq!(queued(&mut cache), 1);
    assert!(planned(&mut cache).unwrap().1.is_some());
}

#[test]
fn addresses_of_another_controller_stay_while_we_have_none_and_are_no_reason_to_write() {
    let mut cache = Cache::default();
    class(&mut cache, OURS);
    let theirs = json!([{"type": "IPAddress", "value": "203.0.113.9"}]);
    let before = json!({"addresses": theirs});
    seen(&mut cache, gateway(1, 1, &before, &Value::Null));
    let mut status = served(&mut cache);
    assert!(status.get("addresses").is_none());
    status["addresses"] = theirs;
    let ours = json!({"f:conditions": {}, "f:listeners": {}});
    seen(&mut cache, gateway(2, 1, &status, &ours));
    assert_eq!(planned(&mut cache).unwrap().1, None);
}

#[test]
fn a_listener_set_is_programmed_once_the_records_say_that_its_listeners_are_served() {
    let mut cache = cache(OURS);
    let open = |mut gateway: Gateway| {
        let from_all = json!({"namespaces": {"from": "All"}});
        gateway.spec.allowed_listeners = serde_json::from_value(from_all).unwrap();
        gateway
    };
    let set: ListenerSet = serde_json::from_value(json!({
        "metadata": {"name": "more", "namespace": "blue", "uid": "s", "generation": 1},
        "spec": {"parentRef": {"name": "edge"}, "listeners": [{"name": "x", "port": 81, "protocol": "TCP"}]},
    }))
    .unwrap();
    let more = NamespacedName::new("blue", "more");
    cache.gateway_api.change(|world| {
        world.listener_sets.insert(more.clone(), set.into());
    });
    seen(&mut cache, open(gateway(1, 1, &json!({}), &Value::Null)));
    served(&mut cache);
    let address = Point::from("192.0.2.0".parse::<std::net::IpAddr>().unwrap());
    let announced: Condition = serde_json::from_value(json!({"type": "Announced", "status": "True",
        "reason": "Announced", "message": "by node-1", "lastTransitionTime": "2026-01-01T00:00:00Z"}))
    .unwrap();
    cache.announcement_seen(address, &[announced]);
    let status = served(&mut cache);
    assert_eq!(status["conditions"][1]["status"], "True", "{status}");
    seen(&mut cache, open(gateway(2, 1, &status, &our_fields())));

    let programmed = |cache: &Cache| {
        let now = Time(Timestamp::UNIX_EPOCH);
        let status = status::listener_set(&cache.gateway_api, &more, now).unwrap();
        status["conditions"][1]["status"].clone()
    };
    let frontends = cache.index.service(&key()).unwrap().frontends.clone();
    assert_eq!(frontends.len(), 2);
    cache.served_seen(address, &frontends[..1]);
    assert_ne!(programmed(&cache), "True");
    cache.served_seen(address, &frontends);
    assert_eq!(programmed(&cache), "True");
}

#[test]
fn a_port_for_which_a_shared_address_has_no_room_is_told_of() {
    let mut cache = cache(OURS);
    with_address(&mut cache);
    let address = Point::from("192.0.2.0".parse::<std::net::IpAddr>().unwrap());
    let announced: Condition = serde_json::from_value(json!({"type": "Announced", "status": "True",
        "reason": "Announced", "message": "by node-1", "lastTransitionTime": "2026-01-01T00:00:00Z"}))
    .unwrap();
    cache.announcement_seen(address, &[announced]);
    let own = cache.index.service(&key()).unwrap().frontends.clone();
    let of = |port: u16| Frontend {
        port,
        ..own[0].clone()
    };
    let full: Vec<Frontend> = (1000..)
        .map(of)
        .take(landfall_crds::MAX_FRONTENDS)
        .collect();
    cache.served_seen(address, &full);
    let status = served(&mut cache);
    let programmed = &status["conditions"][1];
    assert_eq!(programmed["reason"], "NoResources");
    let said = programmed["message"].as_str().unwrap();
    assert!(said.contains("192.0.2.0 serves 256 ports"), "{said}");
    assert!(said.contains("not served is TCP 80"), "{said}");
    let listener = &status["listeners"][0]["conditions"][3];
    assert_eq!(
        (&listener["type"], &listener["status"]),
        (&json!("Programmed"), &json!("False"))
    );
    queued(&mut cache);
    // It is looked at again, whoever shares the address by now.
    cache.served_seen(address, &[&full[1..], &own].concat());
    assert_eq!(queued(&mut cache), 1);
    assert_eq!(served(&mut cache)["conditions"][1]["status"], "True");
}

#[test]
fn a_gateway_that_shares_its_address_is_programmed_once_it_is_served_there_too() {
    let mut cache = cache(OURS);
    with_address(&mut cache);
    let address = Point::from("192.0.2.0".parse::<std::net::IpAddr>().unwrap());
    let condition = |type_: &str, status: &str| -> Condition {
        serde_json::from_value(json!({"type": type_, "status": status, "reason": "R",
            "message": format!("{type_} is {status}"), "lastTransitionTime": "2026-01-01T00:00:00Z"}))
        .unwrap()
    };
    let announced = condition("Announced", "True");
    let unserved = condition("GatewaysServed", "False");
    cache.announcement_seen(address, &[announced.clone(), unserved]);
    let said = served(&mut cache)["conditions"][1].clone();
    assert_eq!(said["status"], "False");
    assert_eq!(said["message"], "192.0.2.0: GatewaysServed is False");
    // Beside a Service it waits for a word of its own.
    cache.announcement_seen(address, std::slice::from_ref(&announced));
    let writes = cache.index.plan(&key()).unwrap();
    let now = Time(Timestamp::UNIX_EPOCH);
    let beside = [address].into();
    let status = status::gateway(&cache.gateway_api, &at(), &writes, &beside, now).unwrap();
    assert_eq!(status["conditions"][1]["status"], "False");
    cache.announcement_seen(address, &[announced, condition("GatewaysServed", "True")]);
    let now = Time(Timestamp::UNIX_EPOCH);
    let status = status::gateway(&cache.gateway_api, &at(), &writes, &beside, now).unwrap();
    assert_eq!(status["conditions"][1]["status"], "True");
    assert_eq!(served(&mut cache)["conditions"][1]["status"], "True");
}
