//! Bad weather: at every moment the invariant, and after it every address answered once.

use std::time::Duration;

use super::world::{CALM, STORM, World};
use crate::owners;

/// How many histories; the nightly form sets more.
pub(super) fn histories(default: u64) -> u64 {
    nightly().unwrap_or(default)
}

/// The same, of which each history is of one of these cases, in turn.
pub(super) fn cases<T: Copy>(default: u64, cases: &[T]) -> impl Iterator<Item = (u64, T)> {
    (0..histories(default)).zip(cases.iter().copied().cycle())
}

/// How many the nightly form asks for, if this is it.
pub(super) fn nightly() -> Option<u64> {
    std::env::var("LANDFALL_SIMULATIONS").ok()?.parse().ok()
}

impl World {
    /// Cables and keys are put right; processes stay as they are.
    pub(super) fn heal(&mut self) {
        self.side = vec![0; self.nodes.len()];
        self.deaf.clear();
        self.mute.clear();
        self.cut.clear();
        self.wrong_key.clear();
        self.no_api.clear();
        self.server_down = false;
        for n in 0..self.nodes.len() {
            self.plug(n, true);
            self.read_of_interface(n, true);
        }
    }

    /// A node loses the interface it answers on, or has it again.
    pub(super) fn plug(&mut self, n: usize, is_up: bool) {
        let name = self.nodes[n].name.clone();
        self.nodes[n].read_of_interface(&name, is_up, self.now);
        self.schedule(n);
    }

    /// The others read of it.
    pub(super) fn read_of_interface(&mut self, n: usize, is_up: bool) {
        let name = self.nodes[n].name.clone();
        for other in (0..self.nodes.len()).filter(|other| *other != n) {
            self.nodes[other].read_of_interface(&name, is_up, self.now);
            self.schedule(other);
        }
    }

    /// The end of all faults.
    pub(super) fn calm_down(&mut self) {
        self.heal();
        self.weather = CALM;
        for n in 0..self.nodes.len() {
            if self.nodes[n].dead {
                self.restart(n);
            }
        }
    }
}

#[test]
fn a_rollout_in_bad_weather_loses_no_address() {
    for seed in 0..histories(200) {
        let mut world = World::new(seed, 4, 12, STORM);
        world.settle();
        world.run(Duration::from_secs(6));
        for n in 0..4 {
            world.tell(n, owners::Event::Leaving);
            world.run(Duration::from_secs(6));
            world.nodes[n].dead = true;
            world.run(Duration::from_secs(1));
            world.restart(n);
            world.run(Duration::from_secs(5));
        }
        world.calm_down();
        world.run(Duration::from_secs(30));
        world.assert_all_answered_once();
    }
}

impl World {
    /// One thing more goes wrong, or is put right.
    fn harm(&mut self) {
        let n = usize::try_from(self.dice.roll(5)).unwrap();
        let time = self
            .dice
            .between(Duration::from_millis(50), Duration::from_secs(3));
        // Halves that nobody joins both answer, each to its own.
        self.side.fill(0);
        let has_api = !self.server_down && self.no_api.is_empty();
        let alive = self.nodes.iter().filter(|node| !node.dead).count();
        match self.dice.roll(7) {
            _ if self.nodes[n].dead => self.restart(n),
            0 if alive > 3 => self.nodes[n].dead = true,
            1 => self.stop(n, time),
            2 => self.freeze(n, time),
            3 if has_api => self.side[n] = 1,
            4 => self.server_down = !self.server_down,
            5 if !self.no_api.remove(&n) => drop(self.no_api.insert(n)),
            _ => {}
        }
    }
}

#[test]
fn faults_of_all_kinds_at_once_in_bad_weather_leave_every_address_answered_once() {
    for seed in 0..histories(100) {
        let mut world = World::new(seed, 5, 12, STORM);
        world.settle();
        world.run(Duration::from_secs(6));
        for _ in 0..16 {
            world.harm();
            let time = world
                .dice
                .between(Duration::from_millis(100), Duration::from_secs(4));
            world.run(time);
        }
        world.calm_down();
        world.run(Duration::from_secs(60));
        world.assert_all_answered_once();
    }
}
