//! Joining a sharing group by naming its address: the pool is asked, as for a free address.

use std::collections::BTreeSet;

use landfall_ipam::Service;
use landfall_ipam::service::Protocol;
use serde_json::{Value, json};

use crate::situation::Situation;

const KEY: (&str, &str) = ("landfall.dev/sharing-key", "k");
const IPS: (&str, &str) = ("landfall.dev/ips", "192.0.2.0");

fn port(port: u16) -> impl FnOnce(&mut Service) {
    move |service| service.ports = BTreeSet::from([(Protocol::Tcp, port)])
}

/// What a Service is told that names the address of a group whose pool has become like this.
fn told(field: &str, value: Value, annotations: &[(&str, &str)]) -> String {
    let mut spec = json!({"blocks": [{"cidr": "192.0.2.0/30"}]});
    let mut world = Situation::default();
    world
        .pool("p", spec.clone())
        .service("first", &[KEY], port(80));
    spec[field] = value;
    if field == "draining" {
        world.drain("p", json!({"blocks": [{"cidr": "192.0.2.0/30"}]}));
    } else {
        world.pool("p", spec);
    }
    let asks: Vec<_> = [KEY, IPS].iter().chain(annotations).copied().collect();
    world.service("web", &asks, port(443));
    assert_eq!([world.has("first"), world.has("web")], ["192.0.2.0", ""]);
    world.says("web")
}

fn refused(why: &str) -> String {
    format!(
        "NoMatchingPool: IPv4: 192.0.2.0 is not given to this Service: pool p: {why}, or ask for another address"
    )
}

fn nobody() -> Value {
    json!({"matchLabels": {"nobody": "has"}})
}

#[test]
fn nobody_joins_past_the_selector_for_services() {
    assert_eq!(
        told("serviceSelector", nobody(), &[]),
        refused(
            "its serviceSelector does not match; change the Service's labels or the pool's serviceSelector"
        )
    );
}

#[test]
fn nobody_joins_past_the_selector_for_namespaces() {
    assert_eq!(
        told("namespaceSelector", nobody(), &[]),
        refused(
            "its namespaceSelector does not match; change the namespace's labels or the pool's namespaceSelector"
        )
    );
}

#[test]
fn nobody_joins_in_a_pool_for_gateways() {
    assert_eq!(
        told("gatewayClasses", json!(["internet"]), &[]),
        refused(
            "it is kept for Gateways of certain classes; provide a pool without gatewayClasses"
        )
    );
}

#[test]
fn nobody_joins_in_a_disabled_pool() {
    assert_eq!(
        told("disabled", json!(true), &[]),
        refused("it is disabled; set the pool's spec.disabled to false")
    );
}

#[test]
fn nobody_joins_in_a_pool_that_is_being_deleted() {
    assert_eq!(
        told("draining", json!(true), &[]),
        refused("it is being deleted; use another pool")
    );
}

#[test]
fn nobody_joins_in_another_pool_than_it_asks_for() {
    assert_eq!(
        told("priority", json!(0), &[("landfall.dev/pool", "q")]),
        refused("landfall.dev/pool names pool \"q\"; change or remove landfall.dev/pool")
    );
}

#[test]
fn nobody_joins_on_an_address_that_lies_in_no_pool_any_more() {
    assert_eq!(
        told("excludes", json!([{"start": "192.0.2.0"}]), &[]),
        "NotInAnyPool: IPv4: 192.0.2.0 lies in no pool; ask for an address of pool p"
    );
}

#[test]
fn a_member_of_a_group_stays_when_the_pool_would_not_let_it_join_any_more() {
    let mut world = Situation::default();
    let spec = json!({"blocks": [{"cidr": "192.0.2.0/30"}]});
    world
        .pool("p", spec.clone())
        .service("first", &[KEY], port(80))
        .service("web", &[KEY, IPS], port(443));
    let mut disabled = spec;
    disabled["disabled"] = json!(true);
    disabled["serviceSelector"] = nobody();
    world.pool("p", disabled);
    assert_eq!(world.has("web"), "192.0.2.0");
}

#[test]
fn who_is_made_anew_under_the_name_of_a_member_comes_after_the_others() {
    let mut world = Situation::default();
    world
        .cidrs("p", &["192.0.2.0/30"])
        .service("first", &[KEY], port(80))
        .service("second", &[KEY], port(443));
    world.silent("first", &[KEY], |service| {
        service.uid = "another".to_owned();
        service.status.clear();
        port(443)(service);
    });
    world.work();
    assert_eq!(
        [world.has("first"), world.has("second")],
        ["192.0.2.1", "192.0.2.0"]
    );
}

#[test]
fn who_is_made_anew_and_fits_stays_with_the_others_as_the_last_of_them() {
    let mut world = Situation::default();
    world
        .cidrs("p", &["192.0.2.0/30"])
        .service("first", &[KEY], port(80))
        .service("second", &[KEY], port(443))
        .service("first", &[KEY], |service| {
            service.uid = "another".to_owned();
            port(80)(service);
        });
    let entry = world.index.entries().next().unwrap().1;
    let holders: Vec<_> = entry.holders().iter().map(|h| h.uid.as_str()).collect();
    assert_eq!(holders, ["second", "another"]);
}
