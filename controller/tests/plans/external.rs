//! `spec.externalIPs`: claimed when they are ours to give, and never handed out to others.

use std::collections::BTreeSet;

use landfall_ipam::service::{FamilyPolicy, Protocol};
use landfall_ipam::{HolderKey, PoolName, Service};
use serde_json::json;

use crate::situation::{Situation, dual};

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
        "AddressInUse: IPv4: 192.0.2.3 is held by Service blue/edge; both listen on port 80/TCP: \
         use another port, or another address"
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

#[test]
fn an_external_address_of_another_family_denies_its_service_nothing() {
    let mut world = Situation::default();
    world
        .cidrs("p", &["192.0.2.0/30", "2001:db8::/64"])
        .service("web", &[], external(&["2001:db8::"]));
    assert_eq!(world.has("web"), "192.0.2.0");
    assert_eq!(world.says("web"), "Assigned: IPv4 192.0.2.0 from pool p");
    world.service("dual", &[], dual(FamilyPolicy::RequireDualStack));
    assert_eq!(world.has("dual"), "192.0.2.1 2001:db8::1");
}

#[test]
fn an_external_address_of_a_service_that_is_not_ours_is_never_handed_out() {
    let plain = |service: &mut Service| {
        service.wanted = false;
        external(&["192.0.2.0"])(service);
    };
    let mut world = Situation::default();
    world
        .service("cluster", &[], plain)
        .cidrs("p", &["192.0.2.0/31"])
        .plain("web")
        .plain("next")
        .service("asks", &[("landfall.dev/ips", "192.0.2.0")], |_| {});
    assert_eq!(
        [world.has("web"), world.has("next"), world.has("asks")],
        ["192.0.2.1", "", ""]
    );
    assert_eq!(
        world.says("asks"),
        "AddressInUse: IPv4: 192.0.2.0 is in spec.externalIPs of Service blue/cluster; \
         remove it there, or ask for another address"
    );
    let pool = world.index.pools()[0].clone();
    let counts = world.index.counts_of(&pool, landfall_ipam::Family::V4);
    assert_eq!(
        (counts.assigned, counts.reserved, counts.available),
        (1, 1, 0)
    );
    world
        .index
        .service_gone(&HolderKey::service("blue", "cluster"));
    assert_eq!(world.work().has("next"), "192.0.2.0");
}

#[test]
fn taking_in_external_addresses_gives_nothing_else_before_its_turn() {
    let mut world = Situation::default();
    let pool = Situation::compiled(
        "p",
        json!({"blocks": [{"cidr": "192.0.2.0/30"}, {"cidr": "2001:db8::/127"}]}),
    );
    world.silent("first", &[], dual(FamilyPolicy::PreferDualStack));
    world.silent("edge", &[], |service| {
        dual(FamilyPolicy::PreferDualStack)(service);
        external(&["192.0.2.3"])(service);
    });
    world.index.pool_seen(&PoolName::from("p"), Some(pool));
    assert_eq!(world.index.adopt(), 1);
    world.work();
    assert_eq!(
        [world.has("first"), world.has("edge")],
        ["192.0.2.0 2001:db8::", "192.0.2.3 2001:db8::1"]
    );
}

/// A Service that names 192.0.2.3 and listens on this port.
fn on(port: u16) -> impl FnOnce(&mut Service) {
    move |service| {
        external(&["192.0.2.3"])(service);
        service.ports = BTreeSet::from([(Protocol::Tcp, port)]);
    }
}

/// The names of those who hold 192.0.2.3.
fn holders(world: &Situation) -> Vec<String> {
    let at = std::net::IpAddr::from([192, 0, 2, 3]).into();
    let entry = world.index.entries().find(|(other, _)| *other == at);
    let holders = entry.iter().flat_map(|(_, entry)| entry.holders());
    holders.map(|holder| holder.name.clone()).collect()
}

#[test]
fn services_that_name_one_external_address_share_it_on_different_ports() {
    let mut world = Situation::default();
    world
        .cidrs("p", &["192.0.2.0/30"])
        .service("web", &[], on(80))
        .service("tls", &[], on(443))
        .service("udp", &[], |service| {
            on(80)(service);
            service.ports = BTreeSet::from([(Protocol::Udp, 80)]);
        })
        .service("green", &[("landfall.dev/sharing-key", "k")], |service| {
            service.key = HolderKey::service("green", "web");
            on(8080)(service);
        })
        .service("late", &[], on(443));
    assert_eq!(holders(&world), ["web", "tls", "udp", "web"]);
    assert_eq!([world.has("web"), world.has("late")], ["192.0.2.3", ""]);
    assert_eq!(
        world.says("late"),
        "AddressInUse: IPv4: 192.0.2.3 is held by Service blue/tls; both listen on port 443/TCP: \
         use another port, or another address"
    );
    // Who asks for it otherwise does not share it, and nobody loses it over a restart.
    world.service("asks", &[("landfall.dev/ips", "192.0.2.3")], |service| {
        service.ports = BTreeSet::from([(Protocol::Tcp, 9000)]);
    });
    assert!(world.says("asks").contains("it is not shared"));
    world.restart();
    assert_eq!(holders(&world), ["web", "tls", "udp", "web"]);
    // One takes another port: its old one is free for who waited.
    world.service("tls", &[], on(4433));
    assert_eq!(world.has("late"), "192.0.2.3");
    world
        .delete("web")
        .delete("tls")
        .delete("udp")
        .delete("late");
    assert_eq!(holders(&world), ["web"]);
}

#[test]
fn who_takes_a_port_of_one_who_named_the_external_address_first_leaves_it() {
    let mut world = Situation::default();
    world
        .cidrs("p", &["192.0.2.0/30"])
        .service("web", &[], on(80))
        .service("tls", &[], on(443))
        .service("tls", &[], on(80));
    assert_eq!(holders(&world), ["web"]);
    assert_eq!(
        world.says("tls"),
        "AddressInUse: IPv4: 192.0.2.3 is held by Service blue/web; both listen on port 80/TCP: \
         use another port, or another address"
    );
}

#[test]
fn who_names_a_shared_external_address_no_more_leaves_it_to_the_others() {
    let mut world = Situation::default();
    world
        .cidrs("p", &["192.0.2.0/30"])
        .service("web", &[], on(80))
        .service("tls", &[], on(443))
        .service("web", &[], |_| {});
    assert_eq!(holders(&world), ["tls"]);
    assert_eq!(
        [world.has("web"), world.has("tls")],
        ["192.0.2.0", "192.0.2.3"]
    );
    assert_eq!(
        world
            .index
            .entries()
            .map(|(_, entry)| entry.want.clone().unwrap().sharing_key)
            .collect::<Vec<_>>(),
        [None, None]
    );
}

#[test]
fn a_cluster_ip_service_on_a_port_of_the_holder_is_named_to_it() {
    let plain = |port| {
        move |service: &mut Service| {
            on(port)(service);
            service.wanted = false;
        }
    };
    let mut world = Situation::default();
    world
        .cidrs("p", &["192.0.2.0/30"])
        .service("web", &[], on(80))
        .service("inner", &[], plain(443));
    assert_eq!(world.says("web"), "Assigned: IPv4 192.0.2.3 from pool p");
    world.service("inner", &[], plain(80));
    assert_eq!(
        world.says("web"),
        "Assigned: IPv4 192.0.2.3 from pool p; Service blue/inner names 192.0.2.3 in spec.externalIPs too, \
         and listens on port 80/TCP as well: use another port on one of the two"
    );
}

#[test]
fn two_who_share_an_external_address_and_wait_for_a_second_family_come_to_rest() {
    let both = |port| {
        move |service: &mut Service| {
            dual(FamilyPolicy::PreferDualStack)(service);
            on(port)(service);
        }
    };
    let mut world = Situation::default();
    world
        .service("web", &[], both(80))
        .service("tls", &[], both(443))
        .cidrs("p", &["192.0.2.4/30"])
        .cidrs("p", &["192.0.2.2/31"]);
    assert_eq!(
        [world.has("web"), world.has("tls")],
        ["192.0.2.3 192.0.2.4", "192.0.2.3 192.0.2.5"]
    );
}
