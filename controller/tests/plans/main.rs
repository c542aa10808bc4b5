//! What becomes of a Service, situation by situation, and in which words.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod anew;
mod cluster;
mod errors;
mod explained;
mod external;
mod foreign;
mod hostile;
mod joining;
#[path = "../limits/mod.rs"]
#[allow(dead_code, reason = "the API server is asked about more of it")]
mod limits;
mod many;
mod pools;
mod requests;
mod reshaped;
mod situation;
mod takeover;
mod tenant;

use std::collections::{BTreeMap, BTreeSet};

use landfall_ipam::address::Point;
use landfall_ipam::service::{FamilyPolicy, Protocol};
use landfall_ipam::{Family, HolderKey, PoolName, Service};
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
fn a_pool_kept_for_gateways_serves_the_services_made_for_those_of_its_classes() {
    let mut world = Situation::default();
    world.pool(
        "kept",
        json!({"blocks": [{"cidr": "192.0.2.0/30"}], "gatewayClasses": ["internet"]}),
    );
    let of = |class: &str| {
        let class = Some(class.to_owned());
        move |service: &mut Service| service.gateway_class = class
    };
    world.service("envoy", &[], of("internet"));
    assert_eq!(world.has("envoy"), "192.0.2.0");
    world.service("private", &[], of("private"));
    assert!(world.says("private").starts_with("NoMatchingPool"));
    world.plain("web");
    assert!(world.says("web").starts_with("NoMatchingPool"));
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
    assert!(world.index.entries().next().is_none());
    world.cidrs("six", &["2001:db8::/64"]);
    assert_eq!(world.has("web"), "192.0.2.0 2001:db8::");
}

#[test]
fn half_a_pair_that_no_status_ever_showed_is_released_when_the_other_half_is_lost() {
    let mut world = Situation::default();
    world
        .record(
            json!({"address": "192.0.2.0", "poolRef": {"name": "p"}, "holders": [
            {"kind": "Service", "namespace": "blue", "name": "web", "uid": "web"}]}),
        )
        .silent("web", &[], dual(FamilyPolicy::RequireDualStack))
        .cidrs("p", &["192.0.2.0/31"]);
    assert_eq!(world.has("web"), "");
    assert_eq!(world.index.entries().count(), 0);
    assert!(
        world.says("web").starts_with("FamilyUnavailable: "),
        "{}",
        world.says("web")
    );
    assert_eq!(world.plain("other").has("other"), "192.0.2.0");
}

#[test]
fn a_half_that_was_shown_stays_when_both_are_required_later_also_without_its_status() {
    let mut world = Situation::default();
    world.cidrs("p", &["192.0.2.0/31"]).plain("web").service(
        "web",
        &[],
        dual(FamilyPolicy::RequireDualStack),
    );
    assert_eq!(world.has("web"), "192.0.2.0");
    world.service("web", &[], |service| {
        dual(FamilyPolicy::RequireDualStack)(service);
        service.status.clear();
    });
    assert_eq!(world.has("web"), "192.0.2.0");
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
    assert_eq!(world.index.entries().count(), 1);
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
        let service = world
            .index
            .service(&HolderKey::service("blue", "web"))
            .unwrap();
        world.index.explain(service)
    };
    assert_eq!(explanation.pools[0].free, [(Family::V6, (1u128 << 64) - 1)]);
    assert_eq!(explanation.pools[0].rejection, None);
}

#[test]
fn who_loses_an_address_it_asked_for_to_those_before_it_is_told_so() {
    let wants = [
        ("landfall.dev/ips", "192.0.2.0"),
        ("landfall.dev/sharing-key", "k"),
    ];
    let port =
        |port| move |service: &mut Service| service.ports = BTreeSet::from([(Protocol::Tcp, port)]);
    let mut world = Situation::default();
    world
        .cidrs("p", &["192.0.2.0/30"])
        .service("first", &wants, port(80))
        .service("web", &wants, port(443))
        .silent("web", &wants, port(80));
    assert_eq!(
        world.says("web"),
        "SharingRefused: IPv4: cannot stay on 192.0.2.0, held by Service blue/first first; \
         both listen on port 80/TCP: use another port, or another address"
    );
    assert_eq!(world.work().has("web"), "");
    assert!(world.says("web").starts_with("SharingRefused: "));
}

#[test]
fn who_gives_up_the_family_it_asks_an_address_of_is_told_so() {
    let wants = [("landfall.dev/ips", "2001:db8::1")];
    let six = |service: &mut Service| service.families = vec![Family::V6];
    let mut world = Situation::default();
    world
        .cidrs("p", &["192.0.2.0/30", "2001:db8::/64"])
        .service("web", &wants, six);
    assert_eq!(world.has("web"), "2001:db8::1");
    world.silent("web", &wants, |_| {});
    assert!(
        world.says("web").starts_with("FamilyUnavailable: "),
        "{}",
        world.says("web")
    );
}

#[test]
fn a_holder_that_names_a_pool_to_come_moves_when_it_comes() {
    let mut world = Situation::default();
    world
        .cidrs("p", &["192.0.2.0/30"])
        .service("web", &[("landfall.dev/pool", "q")], |_| {})
        .plain("web")
        .service("web", &[("landfall.dev/pool", "q")], |_| {});
    assert_eq!(world.has("web"), "192.0.2.0");
    assert_eq!(
        world.says("web"),
        "Assigned: IPv4 192.0.2.0 from pool p; landfall.dev/pool names pool \"q\", which does not exist: \
         create it, or name another one"
    );
    world.cidrs("q", &["198.51.100.0/30"]);
    assert_eq!(world.has("web"), "198.51.100.0");
    assert_eq!(world.says("web"), "Assigned: IPv4 198.51.100.0 from pool q");
}

#[test]
fn a_half_that_was_shown_stays_when_its_status_is_lost_and_both_are_required_at_once() {
    let mut world = Situation::default();
    world.cidrs("p", &["192.0.2.0/30"]).plain("web");
    assert_eq!(world.has("web"), "192.0.2.0");
    world
        .silent("web", &[], |service| {
            service.status.clear();
            service.ours = false;
        })
        .service("web", &[], |service| {
            dual(FamilyPolicy::RequireDualStack)(service);
            service.ours = false;
        });
    assert_eq!(world.has("web"), "192.0.2.0");
    let entry = world.index.entries().next().unwrap().1;
    let noted = &entry.stored.as_ref().unwrap().shown_to;
    assert!(noted.contains("web"), "{noted:?}");
}

fn points(addresses: &[&str]) -> BTreeSet<Point> {
    let addresses = addresses
        .iter()
        .map(|text| text.parse::<std::net::IpAddr>());
    addresses
        .map(|address| Point::from(address.unwrap()))
        .collect()
}

#[test]
fn an_address_that_two_nodes_list_is_kept_while_one_of_them_is_there() {
    let mut world = Situation::default();
    world.index.node_seen("one", &points(&["192.0.2.0"]));
    world.index.node_seen("two", &points(&["192.0.2.0"]));
    world.index.node_seen("two", &points(&[]));
    world.cidrs("p", &["192.0.2.0/30"]).plain("web");
    assert_eq!(world.has("web"), "192.0.2.1");
    world.index.node_seen("one", &points(&[]));
    assert_eq!(world.plain("next").has("next"), "192.0.2.0");
}

#[test]
fn a_holder_of_an_address_that_becomes_a_nodes_is_told_and_may_move() {
    let mut world = Situation::default();
    world.cidrs("p", &["192.0.2.0/30"]).plain("web");
    world.index.node_seen("one", &points(&["192.0.2.0"]));
    assert_eq!(world.index.pop().unwrap().key.name, "web");
    assert_eq!(
        world.says("web"),
        "Assigned: IPv4 192.0.2.0, which is an address of node one too (it stays; set \
         landfall.dev/renumber to \"true\" to move)"
    );
    world.service("web", &[("landfall.dev/renumber", "true")], |_| {});
    assert_eq!(world.has("web"), "192.0.2.1");
}

#[test]
fn an_address_whose_record_cannot_be_read_is_given_to_nobody_and_kept_by_who_shows_it() {
    let mut world = Situation::default();
    let at = *points(&["192.0.2.0"]).first().unwrap();
    world.index.record_unreadable(at, "u");
    world
        .silent("shows", &[], |service| {
            service.status = vec![at.address()];
        })
        .cidrs("p", &["192.0.2.0/30"])
        .plain("web");
    assert_eq!(
        [world.has("shows"), world.has("web")],
        ["192.0.2.0", "192.0.2.1"]
    );
    assert_eq!(
        world.says("shows"),
        "Assigned: IPv4 192.0.2.0; LoadBalancerIP 192-0-2-0 cannot be read: correct it, or delete \
         it to have it made anew"
    );
    world.index.record_gone(at, "u", false);
    assert_eq!(world.work().has("shows"), "192.0.2.0");
    assert_eq!(world.says("shows"), "Assigned: IPv4 192.0.2.0 from pool p");
}

#[test]
fn ports_of_gateways_that_a_record_has_no_room_for_go_on_with_another_address() {
    let key = ("landfall.dev/sharing-key", "k");
    let serves = |first: u16, ports: u16| {
        move |service: &mut Service| {
            let ports = first..first + ports;
            service.ports = ports.clone().map(|port| (Protocol::Tcp, port)).collect();
            let frontends = ports.map(|port| landfall_crds::Frontend {
                port,
                protocol: landfall_crds::FrontendProtocol::Tcp,
                backends: Vec::new(),
            });
            service.frontends = frontends.collect();
        }
    };
    let mut world = Situation::default();
    world.cidrs("p", &["192.0.2.0/30"]);
    for n in 0..4 {
        world.service(&format!("s{n}"), &[key], serves(n * 60, 60));
        assert_eq!(world.has(&format!("s{n}")), "192.0.2.0");
    }
    world.service("fills", &[key], serves(300, 16));
    assert_eq!(world.has("fills"), "192.0.2.0");
    world.service("next", &[key], serves(400, 1));
    assert_eq!(world.has("next"), "192.0.2.1");
    world.service(
        "asks",
        &[key, ("landfall.dev/ips", "192.0.2.0")],
        serves(500, 1),
    );
    assert_eq!(
        world.says("asks"),
        "SharingRefused: IPv4: 192.0.2.0 serves 256 ports of Gateways, and a record takes 256; ask for another \
         address, or for none: one more for the same sharing key is chosen then"
    );
    world.service(
        "web",
        &[key, ("landfall.dev/ips", "192.0.2.0")],
        serves(600, 0),
    );
    assert_eq!(world.has("web"), "192.0.2.0", "a Service serves by itself");
}

#[test]
fn a_group_that_is_as_large_as_a_record_takes_goes_on_with_another_address() {
    let key = ("landfall.dev/sharing-key", "k");
    let port =
        |port| move |service: &mut Service| service.ports = BTreeSet::from([(Protocol::Tcp, port)]);
    let mut world = Situation::default();
    world.cidrs("p", &["192.0.2.0/30"]);
    for n in 0..128 {
        world.service(&format!("s{n:03}"), &[key], port(n));
    }
    assert_eq!(world.has("s127"), "192.0.2.0");
    assert_eq!(
        world.service("next", &[key], port(200)).has("next"),
        "192.0.2.1"
    );
    world.service("asks", &[key, ("landfall.dev/ips", "192.0.2.0")], port(201));
    assert_eq!(
        world.says("asks"),
        "SharingRefused: IPv4: 192.0.2.0 has 128 holders, as many as a record takes; ask for another \
         address, or for none: one more for the same sharing key is chosen then"
    );
}
