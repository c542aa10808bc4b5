//! Two indexes that hear the same: one leads, the other listens and takes over.

use landfall_ipam::address::Point;
use landfall_ipam::book::Stored;
use landfall_ipam::service::FamilyPolicy;
use landfall_ipam::{HolderKey, Service};

use serde_json::json;

use crate::situation::{Situation, dual};

/// What a watch says of records and Services, from one index to the other.
fn listen(follower: &mut Situation, leader: &Situation) {
    let records = |world: &Situation| -> Vec<(Point, Option<Stored>)> {
        let entries = world.index.entries();
        entries
            .map(|(at, entry)| (at, entry.stored.clone()))
            .collect()
    };
    let now = records(leader);
    for (at, stored) in &now {
        if let Some(stored) = stored {
            follower.index.record_seen(*at, stored.clone());
        }
    }
    for (at, stored) in records(follower) {
        if let Some(stored) = stored.filter(|_| now.iter().all(|(known, _)| *known != at)) {
            follower.index.record_gone(at, &stored.uid, false);
        }
    }
    for service in leader.index.services() {
        follower.index.service_seen((**service).clone());
    }
}

#[test]
fn a_follower_that_takes_over_does_not_bring_back_what_the_leader_released() {
    let (mut leader, mut follower) = (Situation::default(), Situation::default());
    leader.cidrs("p", &["192.0.2.0/30"]).plain("web");
    let pool = leader.index.pools()[0].clone();
    follower
        .index
        .pool_seen(&pool.name, Some(Ok((*pool).clone())));
    listen(&mut follower, &leader);
    leader.service("web", &[("landfall.dev/ips", "192.0.2.3")], |_| {});
    listen(&mut follower, &leader);
    leader.plain("web");
    listen(&mut follower, &leader);
    assert_eq!(leader.has("web"), "192.0.2.3");
    follower.index.adopt();
    follower.work();
    assert_eq!(follower.has("web"), "192.0.2.3");
    let key = HolderKey::service("blue", "web");
    assert_eq!(follower.index.held_by(&key).count(), 1);
}

#[test]
fn of_two_addresses_that_two_leaders_made_the_one_its_status_shows_stays() {
    let held = |address: &str| {
        json!({"address": address, "poolRef": {"name": "p"}, "holders": [
            {"kind": "Service", "namespace": "blue", "name": "web", "uid": "web"}]})
    };
    for (shown, stays) in [("192.0.2.2", "192.0.2.2"), ("", "192.0.2.1")] {
        let mut world = Situation::default();
        world
            .record(held("192.0.2.1"))
            .record(held("192.0.2.2"))
            .silent("web", &[], |service| {
                service.status = shown.parse().into_iter().collect();
            })
            .cidrs("p", &["192.0.2.0/29"]);
        assert_eq!(world.has("web"), stays);
        assert_eq!(world.index.entries().count(), 1);
    }
}

#[test]
fn a_typing_error_releases_none_of_several_addresses_asked_for() {
    let mut world = Situation::default();
    world
        .cidrs("p", &["192.0.2.0/29"])
        .service(
            "web",
            &[("landfall.dev/ips", "192.0.2.1,192.0.2.2")],
            |_| {},
        )
        .service(
            "web",
            &[("landfall.dev/ips", "192.0.2.1;192.0.2.2")],
            |_| {},
        );
    assert_eq!(world.has("web"), "192.0.2.1 192.0.2.2");
}

#[test]
fn several_addresses_stay_when_the_annotation_that_named_them_goes_also_over_a_lost_status_and_a_restart()
 {
    let mut world = Situation::default();
    let asks = [("landfall.dev/ips", "192.0.2.1,192.0.2.2")];
    world
        .cidrs("p", &["192.0.2.0/29"])
        .service("web", &asks, |_| {})
        .plain("web");
    assert_eq!(world.has("web"), "192.0.2.1 192.0.2.2");
    world
        .silent("web", &[], |service| service.status.clear())
        .restart();
    assert_eq!(world.has("web"), "192.0.2.1 192.0.2.2");
}

#[test]
fn half_a_pair_that_was_shown_to_one_who_gave_all_up_is_not_given_again() {
    let mut world = Situation::default();
    world
        .cidrs("p", &["192.0.2.0/30"])
        .service("web", &[], dual(FamilyPolicy::PreferDualStack));
    assert_eq!(world.has("web"), "192.0.2.0");
    let required = |wanted: bool| {
        move |service: &mut Service| {
            dual(FamilyPolicy::RequireDualStack)(service);
            service.wanted = wanted;
        }
    };
    world.service("web", &[], required(false));
    assert_eq!(world.has("web"), "");
    world.service("web", &[], required(true));
    assert_eq!(world.restart().has("web"), "");
}
