//! Histories of random faults: at every moment the invariant, and after them every address answered once.

use std::time::Duration;

use super::world::{CALM, STORM, World};
use crate::owners;

/// How many histories; the nightly form sets more.
pub(super) fn histories(default: u64) -> u64 {
    let set = std::env::var("LANDFALL_SIMULATIONS")
        .ok()
        .and_then(|n| n.parse().ok());
    set.unwrap_or(default)
}

impl World {
    /// One random fault, for a random time.
    fn trouble(&mut self) {
        let count = self.nodes.len();
        let n = usize::try_from(self.dice.roll(count as u64)).unwrap();
        let short = self
            .dice
            .between(Duration::from_millis(50), Duration::from_secs(3));
        let long = self
            .dice
            .between(Duration::from_millis(500), Duration::from_secs(25));
        match self.dice.roll(16) {
            0 => self.nodes[n].dead = true,
            1 => {
                if self.nodes[n].dead {
                    self.restart(n);
                }
            }
            2 | 3 => self.stop(n, short),
            4 => self.stop(n, long),
            5 => self.freeze(n, short),
            6 => self.freeze(n, long),
            7 => {
                let half: Vec<u8> = (0..count)
                    .map(|_| u8::try_from(self.dice.roll(2)).unwrap())
                    .collect();
                self.side = half;
            }
            8 => self.side = vec![0; count],
            9 => drop(self.deaf.insert(n)),
            10 => drop(self.mute.insert(n)),
            11 => drop(self.no_api.insert(n)),
            12 => self.server_down = !self.server_down,
            13 => drop(self.wrong_key.insert(n)),
            14 => {
                let other = usize::try_from(self.dice.roll(count as u64)).unwrap();
                self.cut.insert((n, other));
            }
            _ => self.heal(),
        }
    }

    /// Cables and keys are put right; processes stay as they are.
    pub(super) fn heal(&mut self) {
        self.side = vec![0; self.nodes.len()];
        self.deaf.clear();
        self.mute.clear();
        self.cut.clear();
        self.wrong_key.clear();
        self.no_api.clear();
        self.server_down = false;
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
fn in_a_storm_two_answer_only_within_the_stated_windows_and_after_it_every_address_is_answered() {
    for seed in 0..histories(8) {
        let nodes = 2 + usize::try_from(seed % 5).unwrap();
        let mut world = World::new(seed, nodes, 8, STORM);
        world.settle();
        world.run(Duration::from_secs(6));
        for _ in 0..25 {
            world.trouble();
            let pause = world
                .dice
                .between(Duration::from_millis(20), Duration::from_secs(4));
            world.run(pause);
        }
        world.calm_down();
        world.run(Duration::from_secs(45));
        world.assert_all_answered_once();
        let before = world.transitions();
        world.run(Duration::from_secs(10));
        assert_eq!(
            world.transitions(),
            before,
            "seed {seed}: nothing moves in calm weather"
        );
    }
}

#[test]
fn a_rollout_in_bad_weather_loses_no_address() {
    for seed in 0..histories(6) {
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
