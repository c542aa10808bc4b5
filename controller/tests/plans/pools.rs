//! What the edit of a pool reaches, and what it does not.

use landfall_ipam::book::OutOfPool;
use landfall_ipam::{PoolName, Service};
use serde_json::json;

use crate::situation::Situation;

/// The pools whose status is to be looked at, by name.
fn dirty(world: &mut Situation) -> Vec<String> {
    let names = world.index.pop_pools();
    names.iter().map(ToString::to_string).collect()
}

#[test]
fn a_shrunk_and_deleted_pool_is_looked_at_when_its_last_address_goes_or_moves() {
    let gone = |world: &mut Situation| {
        world.delete("web");
    };
    let moved = |world: &mut Situation| {
        world.cidrs("q", &["198.51.100.0/30"]);
        world.index.pop_pools();
        world.service("web", &[("landfall.dev/renumber", "true")], |_| {});
    };
    for release in [gone, moved] {
        let mut world = Situation::default();
        world
            .cidrs("p", &["192.0.2.0/30"])
            .plain("web")
            .cidrs("p", &["203.0.113.0/30"]);
        let name = PoolName::from("p");
        let draining = Situation::compiled("p", json!({"blocks": [{"cidr": "203.0.113.0/30"}]}))
            .map(|pool| landfall_ipam::pools::Pool {
                draining: true,
                ..pool
            });
        world.index.pool_seen(&name, Some(draining));
        world.work();
        world.index.pop_pools();
        release(&mut world);
        assert_eq!(world.index.records_of(&name), 0);
        assert!(dirty(&mut world).contains(&"p".to_owned()));
    }
}

#[test]
fn a_pool_deleted_from_inside_another_is_no_overlap_any_more() {
    let mut world = Situation::default();
    world
        .cidrs("large", &["192.0.2.0/24"])
        .cidrs("small", &["192.0.2.16/30"]);
    assert_eq!(dirty(&mut world), ["large", "small"]);
    world.index.pool_seen(&PoolName::from("small"), None);
    assert_eq!(dirty(&mut world), ["large", "small"]);
    world.cidrs("large", &["192.0.2.0/25"]);
    world.cidrs("small", &["192.0.2.64/30"]);
    world.index.pop_pools();
    world.cidrs("small", &["198.51.100.0/30"]);
    assert_eq!(dirty(&mut world), ["large", "small"]);
}

/// Who is looked at again, in turn.
fn popped(world: &mut Situation) -> Vec<String> {
    let queue = std::iter::from_fn(|| world.index.pop());
    queue.map(|queued| queued.key.name).collect()
}

/// Edits pool `p` and says who is looked at again.
fn reached(world: &mut Situation, spec: serde_json::Value) -> Vec<String> {
    let pool = Situation::compiled("p", spec);
    world.index.pool_seen(&PoolName::from("p"), Some(pool));
    popped(world)
}

fn tier(tier: &'static str) -> impl FnOnce(&mut Service) {
    move |service| {
        service.labels.insert("tier".into(), tier.into());
    }
}

/// Two holders of a full pool, two who wait for it, and one who waits for something else.
fn full() -> Situation {
    let mut world = Situation::default();
    world
        .pool("p", json!({"blocks": [{"cidr": "192.0.2.0/31"}]}))
        .service("one", &[], tier("x"))
        .service("two", &[], tier("y"))
        .service("late", &[], tier("x"))
        .service("later", &[], tier("y"))
        .service("asks", &[("landfall.dev/ips", "203.0.113.1")], tier("x"));
    world
}

#[test]
fn another_priority_reaches_nobody() {
    let spec = json!({"blocks": [{"cidr": "192.0.2.0/31"}], "priority": 7});
    assert!(reached(&mut full(), spec).is_empty());
}

#[test]
fn another_block_reaches_those_who_wait_for_its_family_or_its_addresses() {
    let with = |cidr: &str| json!({"blocks": [{"cidr": "192.0.2.0/31"}, {"cidr": cidr}]});
    assert_eq!(
        reached(&mut full(), with("192.0.2.8/31")),
        ["late", "later"]
    );
    assert!(reached(&mut full(), with("2001:db8::/64")).is_empty());
    let asked = reached(&mut full(), with("203.0.113.0/31"));
    assert_eq!(asked, ["late", "later", "asks"]);
}

#[test]
fn a_block_less_reaches_its_holders_and_who_is_told_how_many_there_are() {
    let spec = json!({"blocks": [{"start": "192.0.2.0"}]});
    assert_eq!(reached(&mut full(), spec), ["two", "late", "later"]);
}

#[test]
fn a_selector_reaches_those_it_now_leaves_out() {
    let selector = json!({"matchLabels": {"tier": "x"}});
    let spec = json!({"blocks": [{"cidr": "192.0.2.0/31"}], "serviceSelector": selector});
    assert_eq!(reached(&mut full(), spec), ["two", "later"]);
}

#[test]
fn a_disabled_pool_reaches_only_those_who_wait_for_it() {
    let spec = json!({"blocks": [{"cidr": "192.0.2.0/31"}], "disabled": true});
    assert_eq!(reached(&mut full(), spec), ["late", "later"]);
}

#[test]
fn a_new_pool_reaches_whoever_waits_and_whoever_names_it() {
    let mut world = full();
    world.service("one", &[("landfall.dev/pool", "q")], tier("x"));
    let pool = Situation::compiled("q", json!({"blocks": [{"cidr": "198.51.100.0/31"}]}));
    world.index.pool_seen(&PoolName::from("q"), Some(pool));
    assert_eq!(popped(&mut world), ["one", "late", "later", "asks"]);
}

#[test]
fn who_has_an_external_address_outside_waits_for_a_pool_like_the_others() {
    let mut world = full();
    world.service("edge", &[], |service| {
        service.external = vec!["203.0.113.200".parse().unwrap()];
    });
    let with = json!({"blocks": [{"cidr": "192.0.2.0/29"}]});
    assert_eq!(reached(&mut world, with), ["late", "later", "edge"]);
}

#[test]
fn no_record_comes_to_name_a_pool_that_went_before_it_was_written() {
    let mut world = Situation::default();
    let block = || json!({"blocks": [{"cidr": "192.0.2.0/31"}]});
    let mut quiet = block();
    quiet["autoAssign"] = json!(false);
    world.pool("q", quiet).pool("p", block()).plain("web");
    // The pool loses the address, and the other one that has it takes it over; before that is
    // written, the other one is deleted.
    let elsewhere = Situation::compiled("p", json!({"blocks": [{"start": "198.51.100.7"}]}));
    world.index.pool_seen(&PoolName::from("p"), Some(elsewhere));
    let key = world.index.pop().unwrap().key;
    let records = world.index.plan(&key).unwrap().records;
    assert_eq!(records.len(), 1, "it is booked to the other pool");
    world.gone("q");
    assert_eq!(world.index.records_of(&PoolName::from("q")), 0);
    assert_eq!(world.has("web"), "192.0.2.0");
    assert!(
        world.says("web").contains("no longer covered by pool p"),
        "{}",
        world.says("web")
    );
}

#[test]
fn a_condition_whose_writing_was_answered_with_an_error_is_put_right_when_it_is_seen() {
    let mut world = Situation::default();
    world.cidrs("p", &["192.0.2.0/30"]).plain("web");
    let (at, entry) = world.index.entries().next().unwrap();
    let mut stored = entry.stored.clone().unwrap();
    stored.version = "1000".to_owned();
    stored.out_of_pool = Some(OutOfPool {
        is: true,
        why: "is no longer covered by pool p".to_owned(),
        since: 0,
    });
    world.index.record_seen(at, stored);
    let queued = world.index.pop().unwrap();
    let marks = world.index.plan(&queued.key).unwrap().marks;
    let marks: Vec<_> = marks.iter().map(|mark| &mark.out_of_pool).collect();
    assert_eq!(marks, [&None]);
}
