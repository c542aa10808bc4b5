//! Chance, and what it does to the world: the same from the same seed, everywhere.

use std::time::Duration;

/// One turn of the world.
pub(super) const STEP: Duration = Duration::from_millis(20);

/// xorshift64*: enough for a simulation, and the same everywhere.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % below
    }

    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.roll(100) < percent
    }
}

#[derive(Clone, Copy)]
pub(super) struct Faults {
    /// Percent of requests or answers that vanish.
    pub(super) loss: u64,
    /// Longest delay of a message, in steps.
    pub(super) delay: u64,
    /// Per ten thousand steps and node: how often a watch goes blind, a process pauses or dies.
    pub(super) blind: u64,
    pub(super) pause: u64,
    pub(super) crash: u64,
}

pub(super) const CALM: Faults = Faults {
    loss: 0,
    delay: 2,
    blind: 0,
    pause: 0,
    crash: 0,
};
pub(super) const STORM: Faults = Faults {
    loss: 10,
    delay: 60,
    blind: 20,
    pause: 15,
    crash: 4,
};
