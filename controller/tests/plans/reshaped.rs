//! Pools that are widened, split, renamed and merged: nobody moves.

use std::collections::BTreeMap;

use landfall_ipam::PoolName;
use serde_json::json;

use crate::situation::Situation;

const NAMES: [&str; 6] = ["s0", "s1", "s2", "s3", "s4", "s5"];

/// Six Services in the eight addresses of pool `p`.
fn housed() -> Situation {
    let mut world = Situation::default();
    world.cidrs("p", &["192.0.2.0/29"]);
    for name in NAMES {
        world.plain(name);
    }
    world
}

/// Who has what.
fn all(world: &Situation) -> BTreeMap<&'static str, String> {
    NAMES.map(|name| (name, world.has(name))).into()
}

/// How many records name a pool, and whether any holder is told that its address is out of pool.
fn account(world: &Situation, pool: &str) -> (usize, bool) {
    let out = NAMES
        .iter()
        .any(|name| world.says(name).contains("it stays"));
    (world.index.records_of(&PoolName::from(pool)), out)
}

#[test]
fn a_widened_pool_moves_nobody_and_serves_those_who_waited() {
    let mut world = Situation::default();
    world.cidrs("p", &["192.0.2.0/30"]);
    for name in NAMES {
        world.plain(name);
    }
    let before = all(&world);
    assert_eq!([&before["s4"], &before["s5"]], ["", ""]);
    world.cidrs("p", &["192.0.2.0/29"]);
    let after = all(&world);
    assert_eq!([&after["s4"], &after["s5"]], ["192.0.2.4", "192.0.2.5"]);
    let stayed = NAMES[..4].iter().all(|name| before[name] == after[name]);
    assert!(stayed, "{before:?} {after:?}");
}

#[test]
fn a_split_pool_moves_nobody_whichever_half_comes_first() {
    for new_first in [true, false] {
        let mut world = housed();
        let before = all(&world);
        if new_first {
            world.cidrs("q", &["192.0.2.4/30"]);
        }
        world.cidrs("p", &["192.0.2.0/30"]);
        world.cidrs("q", &["192.0.2.4/30"]);
        assert_eq!(all(&world), before);
        assert_eq!(account(&world, "p"), (4, false));
        assert_eq!(account(&world, "q"), (2, false));
    }
}

#[test]
fn a_renamed_pool_moves_nobody_and_the_old_name_can_go() {
    let mut world = housed();
    let before = all(&world);
    world.cidrs("new", &["192.0.2.0/29"]);
    assert_eq!(account(&world, "p"), (6, false));
    world.drain("p", json!({"blocks": [{"cidr": "192.0.2.0/29"}]}));
    assert_eq!(account(&world, "p"), (0, false), "nothing holds it back");
    world.gone("p");
    assert_eq!(all(&world), before);
    assert_eq!(account(&world, "new"), (6, false));
}

#[test]
fn merged_pools_move_nobody_whichever_change_comes_first() {
    for delete_first in [true, false] {
        let mut world = Situation::default();
        world.cidrs("p", &["192.0.2.0/30"]);
        world.cidrs("q", &["192.0.2.4/30"]);
        for name in NAMES {
            world.plain(name);
        }
        let before = all(&world);
        assert_eq!(account(&world, "q"), (2, false));
        if delete_first {
            world.drain("q", json!({"blocks": [{"cidr": "192.0.2.4/30"}]}));
            assert_eq!(account(&world, "q"), (2, true), "it drains");
        }
        world.cidrs("p", &["192.0.2.0/29"]);
        world.drain("q", json!({"blocks": [{"cidr": "192.0.2.4/30"}]}));
        assert_eq!(account(&world, "q"), (0, false));
        world.gone("q");
        assert_eq!(all(&world), before);
        assert_eq!(account(&world, "p"), (6, false));
    }
}
