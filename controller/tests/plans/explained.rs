//! What explains a Service's situation, and what a pool says of its own.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use landfall_controller::pool::status::build;
use landfall_crds::LoadBalancerIPPool;
use landfall_ipam::plan::Explanation;
use landfall_ipam::{HolderKey, PoolName};
use serde_json::{Value, json};

use crate::situation::Situation;

fn explain(world: &Situation, name: &str) -> Explanation {
    let service = world.index.service(&HolderKey::service("blue", name));
    world.index.explain(service.unwrap())
}

#[test]
fn an_explanation_names_those_who_wait_and_were_there_before() {
    let mut world = Situation::default();
    world.pool("one", json!({"blocks": [{"start": "192.0.2.1"}]}));
    for name in ["holder", "second", "third", "fourth"] {
        world.plain(name);
    }
    let ahead = |name| -> Vec<String> {
        let explanation = explain(&world, name);
        explanation.ahead.iter().map(ToString::to_string).collect()
    };
    assert_eq!(ahead("second"), [""; 0]);
    assert_eq!(ahead("fourth"), ["blue/second", "blue/third"]);
    let holder = explain(&world, "holder");
    assert_eq!(
        holder.addresses,
        ["192.0.2.1".parse::<std::net::IpAddr>().unwrap()]
    );
    assert!(holder.ahead.is_empty());
}

#[test]
fn an_explanation_names_refused_pools_with_field_and_remedy() {
    let mut world = Situation::default();
    world
        .cidrs("good", &["192.0.2.0/30"])
        .cidrs("odd", &["192.0.2.200/28"])
        .plain("web");
    let refused = explain(&world, "web").refused;
    assert_eq!(
        refused,
        [(
            PoolName::from("odd"),
            "spec.blocks[0].cidr: \"192.0.2.200/28\" has host bits set; write 192.0.2.192/28, \
             or use start and stop"
                .to_owned()
        )]
    );
}

/// A condition of a pool as it would be written.
pub(crate) fn condition(
    world: &Situation,
    name: &str,
    spec: Value,
    type_: &str,
) -> (String, String, String) {
    let spec = serde_json::from_value(spec).unwrap();
    let pool = LoadBalancerIPPool::new(name, spec);
    let now = Time(Timestamp::UNIX_EPOCH);
    let status = build(&world.index, &pool, &PoolName::from(name), now).unwrap();
    let conditions = status["conditions"].as_array().unwrap();
    let mut conditions = conditions.iter();
    let found = conditions.find(|c| c["type"] == type_).unwrap();
    let text = |field: &str| found[field].as_str().unwrap().to_owned();
    (text("status"), text("reason"), text("message"))
}

fn accepted(world: &Situation, name: &str, spec: Value) -> (String, String, String) {
    condition(world, name, spec, "Accepted")
}

fn three(status: &str, reason: &str, message: &str) -> (String, String, String) {
    (status.to_owned(), reason.to_owned(), message.to_owned())
}

#[test]
fn a_draining_pool_says_how_many_addresses_are_still_held_and_what_would_help() {
    let spec = json!({"blocks": [{"cidr": "192.0.2.0/30"}]});
    let mut world = Situation::default();
    world
        .pool("p", spec.clone())
        .plain("one")
        .plain("two")
        .drain("p", spec.clone());
    let message = "is being deleted; 2 addresses are still held and stay until their holders \
                   go, ask for another address or pool, or set landfall.dev/renumber to \"true\"";
    assert_eq!(
        accepted(&world, "p", spec.clone()),
        three("False", "Draining", message)
    );
    world.delete("one");
    let (_, _, message) = accepted(&world, "p", spec);
    assert!(message.contains("; 1 address"), "{message}");
}

#[test]
fn a_pool_with_addresses_of_nodes_names_them_and_the_nodes() {
    let spec = json!({"blocks": [{"cidr": "192.0.2.0/29"}]});
    let mut world = Situation::default();
    world.pool("p", spec.clone());
    for n in 1..=6 {
        let address: std::net::IpAddr = format!("192.0.2.{n}").parse().unwrap();
        let addresses = [address.into()].into();
        world.index.node_seen(&format!("node-{n}"), &addresses);
    }
    let message = "never hands out the addresses of nodes: 192.0.2.1 (node node-1), \
                   192.0.2.2 (node node-2), 192.0.2.3 (node node-3), 192.0.2.4 (node node-4) \
                   and 2 more";
    assert_eq!(
        accepted(&world, "p", spec),
        three("True", "NodeAddressesExcluded", message)
    );
}
