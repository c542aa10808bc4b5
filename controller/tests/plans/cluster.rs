//! What the cluster uses itself is never handed out, and a pool that has it says so.

use landfall_ipam::{Network, PoolName};
use serde_json::json;

use crate::explained::condition;
use crate::situation::Situation;

#[test]
fn the_cluster_ip_of_any_service_is_never_handed_out() {
    let mut world = Situation::default();
    world.cidrs("p", &["10.96.0.0/30"]);
    world.service("kubernetes", &[], |service| {
        service.wanted = false;
        service.cluster = vec!["10.96.0.1".parse().unwrap()];
    });
    world.plain("one").plain("two").plain("three").plain("four");
    assert_eq!(
        ["one", "two", "three", "four"].map(|name| world.has(name)),
        ["10.96.0.0", "10.96.0.2", "10.96.0.3", ""]
    );
    world.service("five", &[("landfall.dev/ips", "10.96.0.1")], |_| {});
    assert_eq!(
        world.says("five"),
        "AddressInUse: IPv4: 10.96.0.1 is the cluster IP of Service blue/kubernetes, which no other \
         can have; ask for another address"
    );
    world.delete("kubernetes");
    assert_eq!(
        world.has("four"),
        "10.96.0.1",
        "it is free with its Service"
    );
}

#[test]
fn a_pool_that_has_addresses_of_the_cluster_says_which_and_whose() {
    let mut world = Situation::default();
    let spec = json!({"blocks": [{"cidr": "10.96.0.0/30"}, {"cidr": "10.244.1.0/30"}]});
    world.pool("p", spec.clone());
    world.index.pop_pools();
    let services = Network::Services("kubernetes".to_owned());
    world
        .index
        .network_seen(services.clone(), &["10.96.0.0/16".to_owned()]);
    let pods = Network::Pods("node-1".to_owned());
    world
        .index
        .network_seen(pods, &["10.244.1.0/24".to_owned()]);
    assert!(world.index.pop_pools().contains(&PoolName::from("p")));
    let (status, reason, message) = condition(&world, "p", spec.clone(), "Overlap");
    assert_eq!(
        [status.as_str(), reason.as_str()],
        ["True", "SharesClusterNetwork"]
    );
    assert_eq!(
        message,
        "has addresses of 10.96.0.0/16 (ServiceCIDR kubernetes), 10.244.1.0/24 (Pods of node node-1), \
         which the cluster uses itself; take them out of spec.blocks"
    );
    world.index.network_seen(services, &[]);
    let (_, _, message) = condition(&world, "p", spec, "Overlap");
    assert!(!message.contains("ServiceCIDR"), "{message}");
}
