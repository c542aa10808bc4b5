//! Many pools: the choice is the same as one that asks every pool. Where this is tested, the
//! allocator itself compares the two at every step.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::situation::Situation;

/// So many pools of one address each, and what else their specs say.
fn pools(world: &mut Situation, count: usize, more: impl Fn(usize) -> Value) {
    for n in 0..count {
        let mut spec = more(n);
        spec["blocks"] = json!([{"start": format!("192.0.2.{n}")}]);
        world.pool(&format!("p{n:02}"), spec);
    }
}

#[test]
fn an_address_that_becomes_free_in_one_of_many_full_pools_is_the_next_to_be_given() {
    let mut world = Situation::default();
    pools(&mut world, 40, |_| json!({}));
    for n in 0..41 {
        world.plain(&format!("s{n:02}"));
    }
    assert_eq!(
        [world.has("s00"), world.has("s39"), world.has("s40")],
        ["192.0.2.0", "192.0.2.39", ""]
    );
    world.delete("s17");
    assert_eq!(world.has("s40"), "192.0.2.17");
    world.delete("s33").delete("s05").plain("next");
    assert_eq!(world.has("next"), "192.0.2.5");
    world.index.node_seen(
        "node",
        &["192.0.2.33".parse::<std::net::IpAddr>().unwrap().into()].into(),
    );
    assert_eq!(world.plain("late").has("late"), "");
    world.index.node_seen("node", &[].into());
    assert_eq!(world.work().has("late"), "192.0.2.33");
}

#[test]
fn more_addresses_than_are_remembered_become_free_without_being_forgotten() {
    let mut world = Situation::default();
    pools(&mut world, 2, |_| json!({}));
    world.cidrs("wide", &["198.51.100.0/22"]);
    for n in 0..402 {
        world.plain(&format!("s{n:03}"));
    }
    assert_eq!(world.has("s001"), "192.0.2.1");
    for n in 0..402 {
        world.delete(&format!("s{n:03}"));
    }
    assert_eq!(world.plain("web").has("web"), "192.0.2.0");
}

#[test]
fn a_pool_that_selects_a_label_is_found_by_it_alone() {
    let team = |n: usize| json!({"matchLabels": {"team": format!("t{n}")}});
    let mut world = Situation::default();
    pools(&mut world, 20, |n| match n % 2 {
        0 => json!({"serviceSelector": team(n)}),
        _ => json!({"namespaceSelector": team(n)}),
    });
    world.service("web", &[], |service| {
        service.labels.insert("team".into(), "t12".into());
    });
    assert_eq!(world.has("web"), "192.0.2.12");
    assert_eq!(world.plain("other").has("other"), "");
    let labels = BTreeMap::from([("team".to_owned(), "t7".to_owned())]);
    world.index.namespace_seen("blue", Some(labels));
    assert_eq!(world.work().has("other"), "192.0.2.7");
    let one_of = json!({"matchExpressions": [
        {"key": "team", "operator": "NotIn", "values": ["t1"]},
        {"key": "io.kubernetes.service.name", "operator": "In", "values": ["a", "vip"]},
    ]});
    world.pool(
        "vip",
        json!({"blocks": [{"start": "203.0.113.1"}], "serviceSelector": one_of}),
    );
    assert_eq!(world.plain("vip").has("vip"), "203.0.113.1");
}
