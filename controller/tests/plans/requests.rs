//! What a Service asks for by annotation and by its families.

use landfall_crds::annotations::{
    IPS, IPS_ALIASES, POOL, POOL_ALIASES, SHARING_CROSS_NAMESPACE, SHARING_CROSS_NAMESPACE_ALIASES,
    SHARING_KEY, SHARING_KEY_ALIASES, SHARING_PERMIT_DIFFERENT_PODS,
    SHARING_PERMIT_DIFFERENT_PODS_ALIASES,
};
use landfall_ipam::service::FamilyPolicy;
use landfall_ipam::{Family, HolderKey, Service};
use serde_json::json;

use crate::situation::{Situation, dual};

fn two_pools() -> Situation {
    let mut world = Situation::default();
    world
        .cidrs("a", &["192.0.2.0/30"])
        .cidrs("b", &["198.51.100.0/30"]);
    world
}

#[test]
fn a_pool_named_by_annotation_gives_the_address_and_naming_another_one_moves() {
    let mut world = two_pools();
    world.service("web", &[(POOL, "b")], |_| {});
    assert_eq!(world.has("web"), "198.51.100.0");
    assert_eq!(world.says("web"), "Assigned: IPv4 198.51.100.0 from pool b");
    world.service("web", &[(POOL, "a")], |_| {});
    assert_eq!(world.has("web"), "192.0.2.0");
    assert_eq!(world.index.entries().count(), 1);
    world.plain("web");
    assert_eq!(
        world.has("web"),
        "192.0.2.0",
        "naming none asks for nothing"
    );
}

#[test]
fn naming_a_pool_that_has_nothing_to_give_keeps_the_old_address_until_it_has() {
    let mut world = two_pools();
    world
        .plain("web")
        .service("web", &[(POOL, "later")], |_| {});
    assert_eq!(world.has("web"), "192.0.2.0");
    world.cidrs("later", &["203.0.113.0/31"]);
    assert_eq!(
        world.service("web", &[(POOL, "later")], |_| {}).has("web"),
        "203.0.113.0"
    );
}

#[test]
fn a_pool_without_auto_assign_gives_only_when_it_or_one_of_its_addresses_is_named() {
    let mut world = Situation::default();
    world.pool(
        "quiet",
        json!({"blocks": [{"cidr": "192.0.2.0/30"}], "autoAssign": false}),
    );
    world
        .plain("web")
        .service("named", &[(POOL, "quiet")], |_| {})
        .service("asked", &[(IPS, "192.0.2.3")], |_| {});
    assert_eq!(
        [world.has("web"), world.has("named"), world.has("asked")],
        ["", "192.0.2.0", "192.0.2.3"]
    );
    assert_eq!(
        world.says("web").split(':').next(),
        Some("NoMatchingPool"),
        "{}",
        world.says("web")
    );
}

#[test]
fn several_addresses_of_one_family_are_given_when_they_are_asked_for_by_name() {
    let mut world = two_pools();
    world.service("web", &[(IPS, "192.0.2.3,198.51.100.1")], |_| {});
    assert_eq!(world.has("web"), "192.0.2.3 198.51.100.1");
    world.service("web", &[(IPS, "198.51.100.1,192.0.2.3,192.0.2.1")], |_| {});
    assert_eq!(world.has("web"), "198.51.100.1 192.0.2.3 192.0.2.1");
    world.service("web", &[(IPS, "192.0.2.3")], |_| {});
    assert_eq!(world.has("web"), "192.0.2.3");
    assert_eq!(world.index.entries().count(), 1);
}

#[test]
fn one_address_of_several_that_cannot_be_had_is_named_and_the_others_are_given() {
    let mut world = two_pools();
    world
        .plain("other")
        .service("web", &[(IPS, "192.0.2.0,192.0.2.3")], |_| {});
    assert_eq!(world.has("web"), "192.0.2.3");
    let says = world.says("web");
    assert!(
        says.starts_with("AddressInUse: IPv4: 192.0.2.0 is held by Service blue/other"),
        "{says}"
    );
    assert_eq!(world.delete("other").has("web"), "192.0.2.0 192.0.2.3");
}

fn families(policy: FamilyPolicy, families: &'static [Family]) -> impl FnOnce(&mut Service) {
    move |service| {
        service.policy = policy;
        service.families = families.to_vec();
    }
}

#[test]
fn changing_the_families_keeps_what_is_still_right() {
    let single = FamilyPolicy::SingleStack;
    let mut world = Situation::default();
    world.cidrs("p", &["192.0.2.0/30", "2001:db8::/64"]);
    // The lowest ones go to another Service, so that a second choice would show.
    world
        .service("first", &[], dual(FamilyPolicy::RequireDualStack))
        .service("web", &[], dual(FamilyPolicy::RequireDualStack))
        .delete("first");
    assert_eq!(world.has("web"), "192.0.2.1 2001:db8::1");
    world.service("web", &[], families(single, &[Family::V6]));
    assert_eq!(world.has("web"), "2001:db8::1");
    world.service("web", &[], dual(FamilyPolicy::PreferDualStack));
    assert_eq!(world.has("web"), "192.0.2.0 2001:db8::1");
    let turned = families(FamilyPolicy::RequireDualStack, &[Family::V6, Family::V4]);
    world.service("web", &[], turned);
    assert_eq!(world.has("web"), "2001:db8::1 192.0.2.0");
    world.service("web", &[], families(single, &[Family::V4]));
    assert_eq!(world.has("web"), "192.0.2.0");
    assert_eq!(world.index.entries().count(), 1);
}

#[test]
fn every_spelling_of_other_projects_asks_for_an_address_or_a_pool() {
    for name in IPS_ALIASES {
        let mut world = two_pools();
        world.service("web", &[(name, "198.51.100.2")], |_| {});
        assert_eq!(world.has("web"), "198.51.100.2", "{name}");
    }
    for name in POOL_ALIASES {
        let mut world = two_pools();
        world.service("web", &[(name, "b")], |_| {});
        assert_eq!(world.has("web"), "198.51.100.0", "{name}");
    }
}

/// A Service on other ports and in another namespace than the first one, whose pods are others too.
fn beside(service: &mut Service) {
    service.key = HolderKey::service("green", &service.key.name);
    service.ports = [(landfall_ipam::service::Protocol::Tcp, 443)].into();
}

#[test]
fn every_spelling_of_other_projects_shares_an_address() {
    for key in SHARING_KEY_ALIASES {
        for across in SHARING_CROSS_NAMESPACE_ALIASES {
            let mut world = two_pools();
            world
                .service("one", &[(key, "k"), (across, "green")], |_| {})
                .silent("two", &[(key, "k"), (across, "*")], beside)
                .work();
            let two = world
                .index
                .service(&HolderKey::service("green", "two"))
                .unwrap();
            assert_eq!(
                two.status,
                ["192.0.2.0".parse::<std::net::IpAddr>().unwrap()],
                "{key} {across}"
            );
        }
    }
}

#[test]
fn every_spelling_of_the_permission_for_other_pods_is_understood() {
    let key = [(SHARING_KEY, "k"), (SHARING_CROSS_NAMESPACE, "*")];
    let local = |service: &mut Service| service.local = true;
    let two_with = |name: &'static str, value: &'static str| {
        let annotations = [key[0], key[1], (name, value)];
        let mut world = two_pools();
        world
            .service("one", &annotations, local)
            .service("two", &annotations, |service| {
                beside(service);
                local(service);
            });
        world
            .index
            .service(&HolderKey::service("green", "two"))
            .unwrap()
            .status[0]
            .to_string()
    };
    assert_eq!(
        two_with(SHARING_PERMIT_DIFFERENT_PODS, "false"),
        "192.0.2.1"
    );
    for name in SHARING_PERMIT_DIFFERENT_PODS_ALIASES {
        assert_eq!(two_with(name, "true"), "192.0.2.0", "{name}");
    }
}

const POOLS: (&str, &str) = ("landfall.dev/pool", "four,six");

#[test]
fn two_pools_of_one_family_each_serve_a_dual_stack_service_that_names_both() {
    let mut world = Situation::default();
    world
        .cidrs("any", &["198.51.100.0/30", "2001:db8:1::/64"])
        .cidrs("four", &["192.0.2.0/30"])
        .cidrs("six", &["2001:db8::/64"])
        .service("web", &[POOLS], dual(FamilyPolicy::RequireDualStack))
        .service("single", &[POOLS], |_| {});
    assert_eq!(
        [world.has("web"), world.has("single")],
        ["192.0.2.0 2001:db8::", "192.0.2.1"]
    );
    assert_eq!(
        world.says("web"),
        "Assigned: IPv4 192.0.2.0 from pool four; IPv6 2001:db8:: from pool six"
    );
}

#[test]
fn who_names_two_pools_waits_until_both_are_there_and_loses_nothing_when_one_goes() {
    let mut world = Situation::default();
    world.cidrs("four", &["192.0.2.0/30"]).service(
        "web",
        &[POOLS],
        dual(FamilyPolicy::PreferDualStack),
    );
    let missing =
        "pool \"six\", which the Service asks for, does not exist; create it, or name another one";
    assert_eq!(
        world.says("web"),
        format!("NoMatchingPool: IPv4: {missing}; IPv6: {missing}")
    );
    world.cidrs("six", &["2001:db8::/64"]);
    assert_eq!(world.has("web"), "192.0.2.0 2001:db8::");
    world.gone("six").restart();
    assert_eq!(world.has("web"), "192.0.2.0 2001:db8::");
}

#[test]
fn a_family_that_both_named_pools_have_is_refused_and_costs_nobody_what_it_has() {
    let mut world = Situation::default();
    let both = ["2001:db8::/64", "198.51.100.0/30"];
    world
        .cidrs("four", &["192.0.2.0/30"])
        .cidrs("six", &["2001:db8::/64"])
        .service("early", &[POOLS], dual(FamilyPolicy::RequireDualStack))
        .cidrs("six", &both)
        .service("late", &[POOLS], dual(FamilyPolicy::RequireDualStack));
    assert_eq!(world.has("early"), "192.0.2.0 2001:db8::");
    assert_eq!(world.has("late"), "");
    assert!(
        world.says("late").starts_with(
            "InvalidRequest: IPv4: pools \"four\" and \"six\", which landfall.dev/pool names, both have \
             IPv4 addresses; name one pool for each family"
        ),
        "{}",
        world.says("late")
    );
    world.cidrs("six", &["2001:db8::/64"]);
    assert_eq!(world.has("late"), "192.0.2.1 2001:db8::1");
}

#[test]
fn who_names_two_other_pools_moves_family_by_family_to_what_they_have() {
    let mut world = Situation::default();
    world
        .cidrs("any", &["198.51.100.0/30", "2001:db8:1::/64"])
        .service("web", &[], dual(FamilyPolicy::RequireDualStack))
        .cidrs("four", &["192.0.2.0/30"])
        .cidrs("six", &["2001:db8::/64"]);
    assert_eq!(world.has("web"), "198.51.100.0 2001:db8:1::");
    world.service("web", &[POOLS], dual(FamilyPolicy::RequireDualStack));
    assert_eq!(world.has("web"), "192.0.2.0 2001:db8::");
}

#[test]
fn an_address_that_moves_from_one_named_pool_to_the_other_stays() {
    let mut world = Situation::default();
    let asks = [
        POOLS,
        ("landfall.dev/renumber", "true"),
        ("landfall.dev/sharing-key", "k"),
    ];
    world
        .cidrs("four", &["192.0.2.0/30"])
        .cidrs("six", &["2001:db8::/64"])
        .service("web", &asks, |_| {})
        .cidrs("four", &["198.51.100.0/30"]);
    assert_eq!(world.has("web"), "198.51.100.0");
    world
        .cidrs("four", &["2001:db8:1::/64"])
        .cidrs("six", &["198.51.100.0/30"]);
    assert_eq!(world.has("web"), "198.51.100.0");
    assert_eq!(
        world.says("web"),
        "Assigned: IPv4 198.51.100.0 from pool six"
    );
}

#[test]
fn who_shares_by_a_key_and_is_renumbered_does_not_join_itself() {
    let mut world = Situation::default();
    let asks = [
        ("landfall.dev/renumber", "true"),
        ("landfall.dev/sharing-key", "k"),
    ];
    world
        .cidrs("p", &["192.0.2.0/31"])
        .service("web", &asks, |_| {});
    let node: std::net::IpAddr = "192.0.2.0".parse().unwrap();
    world.index.node_seen("node-1", &[node.into()].into());
    world.work();
    assert_eq!(world.has("web"), "192.0.2.1");
    assert_eq!(world.index.entries().count(), 1);
}
