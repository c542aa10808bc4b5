//! Nobody takes from a pool what it would not give.

use landfall_ipam::{Family, HolderKey, PoolName, Service};
use serde_json::json;

use crate::explained::condition;
use crate::situation::Situation;

fn green(service: &mut Service) {
    service.key = HolderKey::service("green", "hog");
}

/// A ClusterIP Service that names every address of 192.0.2.0/30.
fn hog(service: &mut Service) {
    green(service);
    service.wanted = false;
    service.external = (0..4u8).map(|n| [192, 0, 2, n].into()).collect();
}

fn pool(field: &str, value: serde_json::Value) -> serde_json::Value {
    let mut spec = json!({"blocks": [{"cidr": "192.0.2.0/30"}]});
    spec[field] = value;
    spec
}

#[test]
fn external_addresses_of_a_service_that_the_pool_does_not_admit_take_nothing_from_it() {
    let mut world = Situation::default();
    let labels = json!({"matchLabels": {"team": "blue"}});
    let blue = [("team".to_owned(), "blue".to_owned())].into();
    world.index.namespace_seen("blue", Some(blue));
    world.index.namespace_seen("green", Some([].into()));
    world.pool("p", pool("namespaceSelector", labels));
    world.service("hog", &[], hog).plain("web");
    assert_eq!(world.has("web"), "192.0.2.0");
    let pool = world.index.pools()[0].clone();
    assert_eq!(world.index.counts_of(&pool, Family::V4).reserved, 0);
    // The namespace is let in, and out again.
    let blue = [("team".to_owned(), "blue".to_owned())].into();
    world.index.namespace_seen("green", Some(blue));
    assert_eq!(world.index.counts_of(&pool, Family::V4).reserved, 3);
    world.index.namespace_seen("green", None);
    assert_eq!(world.index.counts_of(&pool, Family::V4).reserved, 0);
}

#[test]
fn a_pool_that_ignores_external_addresses_hands_them_out() {
    let mut world = Situation::default();
    world.pool("p", pool("externalIPs", json!("Ignore")));
    world.service("hog", &[], hog).plain("web");
    assert_eq!(world.has("web"), "192.0.2.0");
}

#[test]
fn who_stands_in_a_full_pool_is_named_on_the_service_and_on_the_pool() {
    let mut world = Situation::default();
    let spec = json!({"blocks": [{"cidr": "192.0.2.0/30"}]});
    world.pool("p", spec.clone());
    world.service("hog", &[], hog).plain("web");
    assert_eq!(
        world.says("web"),
        "PoolExhausted: IPv4: pool p has none of its 4 IPv4 addresses free (4 in spec.externalIPs of \
         Service green/hog); widen a pool or add one"
    );
    let (_, _, message) = condition(&world, "p", spec, "Exhausted");
    assert_eq!(
        message,
        "no IPv4 address is free (4 in spec.externalIPs of Service green/hog); add a block"
    );
}

#[test]
fn a_namespace_and_a_service_have_as_many_addresses_of_a_pool_as_it_says_and_no_more() {
    let mut world = Situation::default();
    world.pool("p", pool("maxPerNamespace", json!(2)));
    world.plain("one").plain("two").plain("three");
    assert_eq!(world.has("two"), "192.0.2.1");
    assert_eq!(
        world.says("three"),
        "NoMatchingPool: IPv4: no pool takes this Service for IPv4: pool p: the namespace has 2 of its \
         addresses, as many as one may (maxPerNamespace); release an address in the namespace or \
         raise the pool's maxPerNamespace"
    );
    world.delete("one");
    assert_eq!(world.has("three"), "192.0.2.0", "it waited for its turn");
    world.service("hog", &[], green);
    let hog = world
        .index
        .service(&HolderKey::service("green", "hog"))
        .unwrap();
    assert_eq!(hog.status.len(), 1, "another namespace counts for itself");

    let mut world = Situation::default();
    world.pool("p", pool("maxPerService", json!(1)));
    let asks = [("landfall.dev/ips", "192.0.2.1,192.0.2.2")];
    world.service("web", &asks, |_| {});
    assert_eq!(world.has("web"), "192.0.2.1");
    assert!(
        world.says("web").contains("(maxPerService)"),
        "{}",
        world.says("web")
    );
    assert_eq!(world.index.records_of(&PoolName::from("p")), 1);
}
