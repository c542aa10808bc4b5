//! What somebody else wrote into a status: ours, or left alone, at start as at any time.

use serde_json::json;

use crate::situation::Situation;

fn selective() -> Situation {
    let mut world = Situation::default();
    world.pool(
        "p",
        json!({"blocks": [{"cidr": "192.0.2.0/24"}],
            "serviceSelector": {"matchLabels": {"lb": "landfall"}}}),
    );
    world
}

#[test]
fn an_address_of_somebody_else_is_left_alone_whether_no_pool_has_it_or_none_that_admits_the_service()
 {
    for address in ["203.0.113.9", "192.0.2.9"] {
        let mut world = selective();
        world.plain("web").foreign("web", &[address], &[]);
        for _ in 0..2 {
            assert_eq!(world.has("web"), address);
            assert_eq!(world.index.entries().count(), 0, "nothing is recorded");
            assert!(
                world.says("web").ends_with(&format!(
                    "; the status names {address}, written by somebody else and left alone: it is \
                     ours as soon as a pool that admits this Service covers it"
                )),
                "{}",
                world.says("web")
            );
            world.restart();
        }
    }
}

#[test]
fn a_host_name_of_somebody_else_is_left_alone_and_said() {
    let mut world = Situation::default();
    world.plain("web").foreign("web", &[], &["lb-1.example"]);
    assert!(
        world
            .says("web")
            .contains("the status names \"lb-1.example\", written by somebody else"),
        "{}",
        world.says("web")
    );
}

#[test]
fn an_address_of_somebody_else_is_ours_when_a_pool_that_admits_the_service_covers_it_at_any_time() {
    let mut world = Situation::default();
    world.plain("web").foreign("web", &["203.0.113.9"], &[]);
    world.cidrs("late", &["203.0.113.0/28"]);
    assert_eq!(world.has("web"), "203.0.113.9");
    assert_eq!(world.index.entries().count(), 1);
    let mut world = Situation::default();
    world.cidrs("early", &["203.0.113.0/28"]);
    world
        .silent("web", &[], |service| {
            service.status = vec!["203.0.113.9".parse().unwrap()];
            service.ours = false;
        })
        .work();
    assert_eq!(world.has("web"), "203.0.113.9");
}

#[test]
fn an_address_we_wrote_stays_without_record_and_pool() {
    let mut world = selective();
    world.silent("web", &[], |service| {
        service.status = vec!["203.0.113.9".parse().unwrap()];
    });
    world.work();
    assert_eq!(world.has("web"), "203.0.113.9");
    assert_eq!(world.index.entries().count(), 1);
}

#[test]
fn what_a_service_asks_for_is_refused_running_and_at_start_alike_when_somebody_else_shows_it() {
    let mut world = Situation::default();
    world.cidrs("p", &["192.0.2.0/24"]);
    let asks = [("landfall.dev/ips", "198.51.100.8")];
    world.service("web", &asks, |_| {});
    world.foreign("web", &["198.51.100.8"], &[]);
    let running = world.says("web");
    assert!(running.starts_with("NotInAnyPool: "), "{running}");
    world.restart();
    assert_eq!(world.says("web"), running);
    assert_eq!(world.index.entries().count(), 0);
}

#[test]
fn an_address_of_somebody_else_is_not_taken_instead_of_the_one_that_is_asked_for() {
    let mut world = Situation::default();
    world.cidrs("p", &["192.0.2.0/24"]);
    world.service("first", &[("landfall.dev/ips", "192.0.2.8")], |_| {});
    world.service("web", &[("landfall.dev/ips", "192.0.2.8")], |_| {});
    world.foreign("web", &["192.0.2.9"], &[]);
    assert!(world.says("web").starts_with("AddressInUse: "));
    assert_eq!(world.index.entries().count(), 1);
    world.restart();
    assert!(world.says("web").starts_with("AddressInUse: "));
    assert_eq!(world.index.entries().count(), 1);
}
