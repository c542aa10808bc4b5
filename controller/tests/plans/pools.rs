//! What the edit of a pool reaches, and what it does not.

use landfall_controller::ipam::PoolName;
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
            .map(|pool| landfall_controller::ipam::pool::Pool {
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
