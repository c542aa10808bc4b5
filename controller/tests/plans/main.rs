//! What becomes of a Service, situation by situation, and in which words.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod errors;
mod explained;
#[path = "../limits/mod.rs"]
#[allow(dead_code, reason = "the API server is asked about more of it")]
mod limits;
mod many;
mod requests;
mod reshaped;
mod situation;

use std::collections::{BTreeMap, BTreeSet};

use landfall_controller::ipam::address::Point;
use landfall_controller::ipam::service::{FamilyPolicy, Protocol};
use landfall_controller::ipam::{Family, PoolName, Service, ServiceKey};
use serde_json::json;
use situation::{Situation, dual};

#[test]
fn prefer_dual_stack_takes_what_there_is_and_gains_the_second_family_when_it_appears() {
    let mut world = Situation::default();
    world
        .cidrs("four", &["192.0.2.0/30"])
        .service("web", &[], dual(FamilyPolicy::PreferDualStack));
    assert_eq!(world.has("web"), "192.0.2.0");
    assert_eq!(
        world.says("web"),
        "Assigned: IPv4 192.0.2.0 from pool four; no IPv6: no IPv6 addresses in pool four; add an IPv6 block"
    );
    world.cidrs("six", &["2001:db8::/64"]);
    assert_eq!(world.has("web"), "192.0.2.0 2001:db8::");
    world.index.pool_seen(&PoolName::from("six"), None);
    assert_eq!(
        world.work().has("web"),
        "192.0.2.0 2001:db8::",
        "it never flips back"
    );
}

#[test]
fn require_dual_stack_takes_both_or_none() {
    let mut world = Situation::default();
    world.cidrs("four", &["192.0.2.0/30"]).service(
        "web",
        &[],
        dual(FamilyPolicy::RequireDualStack),
    );
    assert_eq!(world.has("web"), "");
    assert!(world.index.world.book.entries().next().is_none());
    world.cidrs("six", &["2001:db8::/64"]);
    assert_eq!(world.has("web"), "192.0.2.0 2001:db8::");
}

#[test]
fn the_best_pool_is_the_highest_then_the_one_with_a_selector_then_the_first_by_name() {
    let mut world = Situation::default();
    world
        .cidrs("b", &["192.0.2.8/30"])
        .cidrs("a", &["192.0.2.4/30"]);
    world.pool("z", json!({"blocks": [{"cidr": "192.0.2.0/31"}], "serviceSelector": {"matchExpressions": [{"key": "x", "operator": "DoesNotExist"}]}}));
    world.pool(
        "top",
        json!({"blocks": [{"start": "192.0.2.99"}], "priority": 1}),
    );
    for name in ["s1", "s2", "s3", "s4"] {
        world.plain(name);
    }
    let all: Vec<String> = ["s1", "s2", "s3", "s4"].map(|name| world.has(name)).into();
    assert_eq!(all, ["192.0.2.99", "192.0.2.0", "192.0.2.1", "192.0.2.4"]);
}

#[test]
fn a_selector_that_matches_nobody_admits_nobody() {
    let mut world = Situation::default();
    world.pool("p", json!({"blocks": [{"cidr": "192.0.2.0/30"}], "namespaceSelector": {"matchLabels": {"colour": "blue"}}}));
    world.plain("web");
    assert_eq!(world.has("web"), "");
    world.index.namespace_seen(
        "blue",
        Some(BTreeMap::from([("colour".into(), "blue".into())])),
    );
    assert_eq!(world.work().has("web"), "192.0.2.0");
    world.index.namespace_seen("blue", Some(BTreeMap::new()));
    assert_eq!(world.work().has("web"), "192.0.2.0", "a holder stays");
    assert!(
        world
            .says("web")
            .contains("would no longer be given by pool p"),
        "{}",
        world.says("web")
    );
}

#[test]
fn a_pseudo_label_cannot_be_forged() {
    let mut world = Situation::default();
    world.pool("p", json!({"blocks": [{"cidr": "192.0.2.0/30"}], "serviceSelector": {"matchLabels": {"io.kubernetes.service.name": "vip"}}}));
    world.service("forger", &[], |service| {
        service
            .labels
            .insert("io.kubernetes.service.name".into(), "vip".into());
    });
    assert_eq!(world.has("forger"), "");
    assert_eq!(world.plain("vip").has("vip"), "192.0.2.0");
}

#[test]
fn the_addresses_of_nodes_are_never_handed_out() {
    let mut world = Situation::default();
    world.index.node_seen(
        "n",
        &BTreeSet::from([Point::from(
            "192.0.2.0".parse::<std::net::IpAddr>().unwrap(),
        )]),
    );
    world
        .cidrs("p", &["192.0.2.0/31"])
        .plain("web")
        .plain("next");
    assert_eq!(
        (world.has("web").as_str(), world.has("next").as_str()),
        ("192.0.2.1", "")
    );
    world.index.node_seen("n", &BTreeSet::new());
    assert_eq!(world.work().has("next"), "192.0.2.0");
}

#[test]
fn holders_of_one_key_share_an_address_until_they_clash() {
    let key = [("landfall.dev/sharing-key", "k")];
    let port =
        |port| move |service: &mut Service| service.ports = BTreeSet::from([(Protocol::Tcp, port)]);
    let mut world = Situation::default();
    world.cidrs("p", &["192.0.2.0/30"]);
    world
        .service("a", &key, port(80))
        .service("b", &key, port(443))
        .service("c", &key, port(443));
    assert_eq!(
        [world.has("a"), world.has("b"), world.has("c")],
        ["192.0.2.0", "192.0.2.0", "192.0.2.1"]
    );
    world.service("b", &key, port(80));
    assert_eq!([world.has("a"), world.has("b")], ["192.0.2.0", "192.0.2.1"]);
}

#[test]
fn a_kept_address_waits_for_its_holder_and_a_retained_one_for_its_former() {
    let mut world = Situation::default();
    world.cidrs("p", &["192.0.2.0/29"]);
    world.record(json!({"address": "192.0.2.0", "reclaimPolicy": "Retain",
        "reservedFor": {"kind": "Service", "namespace": "blue", "name": "vip"}}));
    world.plain("web").plain("vip");
    assert_eq!(
        [world.has("web"), world.has("vip")],
        ["192.0.2.1", "192.0.2.0"]
    );
    world.delete("vip").plain("other").plain("vip");
    assert_eq!(
        [world.has("other"), world.has("vip")],
        ["192.0.2.2", "192.0.2.0"]
    );
}

#[test]
fn asking_for_another_address_moves_and_a_refused_wish_keeps_the_old_one() {
    let mut world = Situation::default();
    world
        .cidrs("p", &["192.0.2.0/30"])
        .plain("web")
        .plain("other");
    world.service("web", &[("landfall.dev/ips", "192.0.2.1")], |_| {});
    assert_eq!(world.has("web"), "192.0.2.0");
    assert_eq!(
        world.says("web"),
        "AddressInUse: IPv4: 192.0.2.1 is held by Service blue/other; it is not shared: \
         give both the same landfall.dev/sharing-key; keeps IPv4 192.0.2.0 from pool p"
    );
    world.delete("other");
    assert_eq!(world.has("web"), "192.0.2.1");
    assert_eq!(world.index.world.book.entries().count(), 1);
}

#[test]
fn a_shrunken_pool_moves_a_holder_only_with_its_leave() {
    let mut world = Situation::default();
    world.cidrs("p", &["192.0.2.0/30"]).plain("web");
    world.cidrs("p", &["198.51.100.0/30"]);
    assert_eq!(world.has("web"), "192.0.2.0");
    assert_eq!(
        world.says("web"),
        "Assigned: IPv4 192.0.2.0, which is no longer covered by pool p (it stays; set landfall.dev/renumber to \"true\" to move)"
    );
    world.service("web", &[("landfall.dev/renumber", "true")], |_| {});
    assert_eq!(world.has("web"), "198.51.100.0");
}

#[test]
fn an_explanation_says_what_every_pool_has_free() {
    let mut world = Situation::default();
    world.cidrs("p", &["2001:db8::/64"]);
    let explanation = {
        world.service("web", &[], |service| service.families = vec![Family::V6]);
        let service = &world.index.world.services[&ServiceKey::new("blue", "web")];
        world.index.world.explain(service)
    };
    assert_eq!(explanation.pools[0].free, [(Family::V6, (1u128 << 64) - 1)]);
    assert_eq!(explanation.pools[0].rejection, None);
}

fn external(addresses: &[&str]) -> impl FnOnce(&mut Service) {
    let addresses: Vec<_> = addresses.iter().map(|text| text.parse().unwrap()).collect();
    move |service| service.external = addresses
}

#[test]
fn an_external_address_inside_a_pool_is_claimed_and_one_outside_is_left_alone() {
    let mut world = Situation::default();
    world
        .cidrs("p", &["192.0.2.0/30"])
        .service("edge", &[], external(&["192.0.2.3"]))
        .service("far", &[], external(&["203.0.113.9"]))
        .service("late", &[], external(&["192.0.2.3"]));
    assert_eq!(
        [world.has("edge"), world.has("far"), world.has("late")],
        ["192.0.2.3", "192.0.2.0", ""]
    );
    assert_eq!(
        world.says("late"),
        "AddressInUse: IPv4: 192.0.2.3 is held by Service blue/edge; it is not shared: \
         give both the same landfall.dev/sharing-key"
    );
    assert_eq!(world.delete("edge").has("late"), "192.0.2.3");
}

#[test]
fn an_external_address_comes_beside_what_its_service_has_and_stays_when_the_pool_is_edited() {
    let mut world = Situation::default();
    world.cidrs("p", &["192.0.2.0/30"]).plain("web").service(
        "web",
        &[],
        external(&["198.51.100.7"]),
    );
    assert_eq!(world.has("web"), "192.0.2.0");
    world.cidrs("q", &["198.51.100.0/24"]);
    assert_eq!(world.has("web"), "192.0.2.0 198.51.100.7");
    world.cidrs("q", &["203.0.113.0/24"]);
    assert_eq!(world.has("web"), "192.0.2.0 198.51.100.7");
    assert!(world.says("web").contains("no longer covered by pool q"));
}

#[test]
fn external_addresses_in_use_before_the_first_start_are_taken_in_before_anything_is_given() {
    let mut world = Situation::default();
    let pool = Situation::compiled("p", json!({"blocks": [{"cidr": "192.0.2.0/30"}]}));
    world.silent("first", &[], |_| {});
    world.silent("edge", &[], external(&["192.0.2.0"]));
    world.index.pool_seen(&PoolName::from("p"), Some(pool));
    assert_eq!(world.index.adopt(), 1);
    world.work();
    assert_eq!(
        [world.has("edge"), world.has("first")],
        ["192.0.2.0", "192.0.2.1"]
    );
}
