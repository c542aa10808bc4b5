//! A holder is an object, not a name: one deleted and made again under its name is a new holder.

use landfall_crds::ReclaimPolicy::{Delete, Retain};
use landfall_ipam::{PoolName, Service};
use serde_json::json;

use crate::situation::Situation;

/// Made again under its name, after everybody else.
fn anew(service: &mut Service) {
    service.uid = "another".to_owned();
    service.created = 1_000;
    service.status.clear();
    service.ours = false;
}

#[test]
fn who_waits_gets_the_address_of_one_that_is_made_anew_while_the_controller_is_busy() {
    let mut world = Situation::default();
    world.pool("p", json!({"blocks": [{"start": "192.0.2.5"}]}));
    world.plain("a").plain("b");
    // No deletion is seen: a list that begins anew shows the new one at once.
    world.service("a", &[], anew);
    assert_eq!([world.has("a"), world.has("b")], ["", "192.0.2.5"]);
}

#[test]
fn who_waits_gets_the_address_of_one_that_is_made_anew_while_the_controller_is_away() {
    let mut world = Situation::default();
    world
        .record(
            json!({"address": "192.0.2.5", "poolRef": {"name": "p"}, "holders": [
            {"kind": "Service", "namespace": "blue", "name": "a", "uid": "a"}]}),
        )
        .silent("b", &[], |_| {})
        .silent("a", &[], anew)
        .pool("p", json!({"blocks": [{"start": "192.0.2.5"}]}));
    world.restart();
    assert_eq!([world.has("a"), world.has("b")], ["", "192.0.2.5"]);
}

#[test]
fn one_that_is_made_anew_is_not_given_what_its_former_self_asked_for_before_it_is_released() {
    let mut world = Situation::default();
    let asks = [("landfall.dev/ips", "192.0.2.5")];
    world.cidrs("p", &["192.0.2.0/29"]);
    world
        .service("a", &asks, |_| {})
        .service("b", &asks, |_| {});
    world.service("a", &asks, anew);
    assert_eq!([world.has("a"), world.has("b")], ["", "192.0.2.5"]);
}

#[test]
fn retain_keeps_the_address_for_the_name() {
    let mut world = Situation::default();
    world
        .record(
            json!({"address": "192.0.2.5", "poolRef": {"name": "p"}, "reclaimPolicy": "Retain",
            "holders": [{"kind": "Service", "namespace": "blue", "name": "a", "uid": "a"}]}),
        )
        .silent("b", &[], |_| {})
        .silent("a", &[], anew)
        .pool("p", json!({"blocks": [{"start": "192.0.2.5"}]}));
    assert_eq!([world.has("a"), world.has("b")], ["192.0.2.5", ""]);
}

#[test]
fn one_that_is_made_anew_does_not_keep_a_pool_that_is_being_deleted() {
    let mut world = Situation::default();
    world.cidrs("p", &["192.0.2.0/29"]).plain("a");
    world.drain("p", json!({"blocks": [{"cidr": "192.0.2.0/29"}]}));
    world.service("a", &[], anew);
    assert_eq!(world.has("a"), "");
    assert_eq!(world.index.records_of(&PoolName::from("p")), 0);
}

#[test]
fn a_reservation_of_ours_ends_when_retain_does() {
    let mut world = Situation::default();
    world.pool("p", json!({"blocks": [{"start": "192.0.2.5"}]}));
    world
        .plain("a")
        .reclaim(Retain)
        .delete("a")
        .service("a", &[], anew);
    assert_eq!(world.has("a"), "192.0.2.5", "it was kept for the name");
    world.reclaim(Delete).delete("a");
    assert_eq!(world.index.entries().count(), 0);

    world.plain("a").reclaim(Retain).delete("a");
    assert_eq!(world.index.entries().count(), 1);
    world.reclaim(Delete);
    assert_eq!(
        world.index.entries().count(),
        0,
        "also while nobody holds it"
    );
}

#[test]
fn a_reservation_of_a_person_stays_under_either_policy() {
    let mut world = Situation::default();
    world.pool("p", json!({"blocks": [{"start": "192.0.2.5"}]}));
    let kept = json!({"kind": "Service", "namespace": "blue", "name": "a"});
    world.record(json!({"address": "192.0.2.5", "reservedFor": kept}));
    world.plain("a");
    assert_eq!(world.has("a"), "192.0.2.5");
    world.reclaim(Retain).reclaim(Delete).delete("a");
    assert_eq!(world.index.entries().count(), 1);
}
