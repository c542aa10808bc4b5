//! Who is heard when more ask than can be answered: lanes, and the standing of those who ask.
//!
//! A flood costs nothing to whoever invents an Ethernet address for every question. What it cannot do as cheaply is to
//! behave like a host: to ask, to wait, and to ask again. So each lane has a rate that no other can touch, and into the
//! better ones come those who have asked before and not in haste.
//!
//! ```text
//! claims of our addresses ───────────────► a lane
//! questions ─┬─ to our own MAC ─┬─ regular ─► a lane    a regular is one who came back, at a time
//!            └─ to all          ├─ back   ──► a lane    when few others did
//!                               └─ crowd ───► a lane    everybody else
//! what its lane has no room for ─────────► the pot, half of the rate, open to all
//! ```
//!
//! Pure: the time and the memory are the caller's. Two processors may write one cell at the same time: then one more or
//! one less is let through.
//!
//! Invariant: the lanes and the pot together let through no more than the rate.

use crate::flow::stir;
use crate::neighbour::Address;

/// Name of the map with the one [`Rates`].
pub const RATES: &str = "LF_RATES";
/// Name of the map of [`Meters`] by [`MeterKey`].
pub const METERS: &str = "LF_METERS";
/// Global: the secret of [`key`], which keeps strangers from choosing whom they push out.
pub const SECRET: &str = "SECRET";

/// Cells in which one asker may be.
pub const WAYS: usize = 4;
/// Sets of [`Newcomers`]: over a million cells, which a flood of 320,000 a second needs three seconds to fill.
pub const NEWCOMERS: u32 = 1 << 18;
/// Sets of [`Regulars`].
pub const REGULARS: u32 = 1 << 14;

/// Nanoseconds in a tick of the stamps, as a power of two: 16.8 ms.
const TICK: u32 = 24;
/// Whoever asks again sooner is in haste: 0.84 s. Hosts wait a second (RFC 4861 §10, RFC 1122 §2.3.2.1).
const PATIENCE: u16 = 50;
/// Whoever comes back later is a newcomer again: half a minute.
const REMEMBERED: u16 = 1_788;
/// A regular who has not asked for so long makes room: ten minutes.
const STALE: u32 = 35_763;

/// The rate of one socket.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Nanoseconds between two frames; zero: nothing is held back.
    pub frame: u64,
    /// Nanoseconds of that rate which may be used at once, after a pause.
    pub burst: u64,
}

/// Whose [`Meters`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MeterKey {
    /// Index of the interface.
    pub ifindex: u32,
    /// [`Address::family`].
    pub family: u32,
}

/// Of each lane, the pot and the promotions: when all that was let through will have been paid for.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meters {
    lanes: [u64; 8],
    promotions: u64,
}

const _: () = assert!(
    size_of::<Rates>() == 16 && size_of::<Meters>() == 72,
    "padding"
);

#[cfg(feature = "user")]
// SAFETY: `repr(C)`, made of plain integers, without padding as asserted above.
unsafe impl aya::Pod for Rates {}

/// Where in [`Meters`] the pot is. The lanes follow.
const POT: usize = 0;
const CLAIMS: usize = 1;
const TO_US: usize = 2;
const TO_ALL: usize = 5;

/// A promotion so often: a flood that learns to behave does not become all regulars at once. Eight a second.
const PROMOTION: u64 = 1_000_000_000 / 8;
const PROMOTIONS_AT_ONCE: u64 = 64 * PROMOTION;
/// What a lane may let through at once, after a pause: that of a quarter of a second.
const LANE_BURST: u64 = 250_000_000;

/// What is known of one who asks, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Came back some time, and has not been in haste since.
    Regular,
    /// Has come back.
    Back,
    /// Never seen, or in haste.
    Crowd,
}

/// What a frame is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Says that an address of ours is another's, or answers our own question.
    Claim,
    /// A question.
    Question {
        /// Sent to our own Ethernet address: it is known there already, and asked whether it still is.
        to_us: bool,
        /// Of whoever asks.
        standing: Standing,
    },
}

/// The key of one who asks about an address on an interface. Each address is a matter of its own: a router that asks for
/// a thousand at once is in no haste.
#[inline(always)]
#[must_use]
pub const fn key(secret: u64, source: u64, target: Address, ifindex: u32) -> u64 {
    let key = stir(source ^ secret);
    let key = stir(key ^ target.words[0].wrapping_add(secret));
    stir(key ^ target.words[1] ^ ((ifindex as u64) << 32))
}

/// The set of a key, of a power of two of them.
#[inline(always)]
#[must_use]
pub const fn set(key: u64, sets: u32) -> u32 {
    low(key) & (sets - 1)
}

/// Those of one set who have asked once: half a cell is who, the other half is when.
pub type Newcomers = [u32; WAYS];
/// Those of one set who have come back: half a cell is who, the other half is when.
pub type Regulars = [u64; WAYS];

/// Looks up one who asks now, and notes that; `promotes` says whether there may be one more regular.
#[inline(always)]
pub fn standing(
    key: u64,
    now: u64,
    regulars: &mut Regulars,
    newcomers: &mut Newcomers,
    promotes: impl FnOnce() -> bool,
) -> Standing {
    let tick = low(now >> TICK);
    let name = (key >> 32) as u32 | 1;
    for cell in regulars.iter_mut() {
        if (*cell >> 32) as u32 == name {
            let pause = tick.wrapping_sub(low(*cell));
            *cell = regular(name, tick);
            return if pause >= PATIENCE as u32 {
                Standing::Regular
            } else {
                Standing::Crowd
            };
        }
    }
    if !comes_back(name, tick, newcomers) {
        return Standing::Crowd;
    }
    for cell in regulars.iter_mut() {
        if *cell == 0 || tick.wrapping_sub(low(*cell)) > STALE {
            if promotes() {
                *cell = regular(name, tick);
            }
            break;
        }
    }
    Standing::Back
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half is wanted")]
#[inline(always)]
const fn low(value: u64) -> u32 {
    value as u32
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half is wanted")]
#[inline(always)]
const fn low_half(value: u32) -> u16 {
    value as u16
}

const fn regular(name: u32, tick: u32) -> u64 {
    (name as u64) << 32 | tick as u64
}

/// Whether one who is no regular has asked before, long enough ago and not too long. It is noted in any case, in place
/// of whoever was noted longest ago.
#[inline(always)]
fn comes_back(name: u32, tick: u32, newcomers: &mut Newcomers) -> bool {
    let (name, tick) = ((name >> 16) as u16 | 1, low_half(tick));
    let cell = (name as u32) << 16 | tick as u32;
    let (mut oldest, mut oldest_age) = (0, 0);
    let mut way = 0;
    while way < WAYS {
        let age = tick.wrapping_sub(low_half(newcomers[way]));
        if (newcomers[way] >> 16) as u16 == name {
            newcomers[way] = cell;
            return (PATIENCE..=REMEMBERED).contains(&age);
        }
        // An empty cell is older than all.
        let age = if newcomers[way] == 0 { u16::MAX } else { age };
        if age >= oldest_age {
            (oldest, oldest_age) = (way, age);
        }
        way += 1;
    }
    newcomers[oldest & (WAYS - 1)] = cell;
    false
}

/// Whether a meter lets one through now that costs so much, where so much may be owed at once.
#[inline(always)]
fn admits(paid: &mut u64, now: u64, cost: u64, burst: u64) -> bool {
    let from = if *paid > now { *paid } else { now };
    let due = from.wrapping_add(cost);
    let most = if burst > cost { burst } else { cost };
    if due.wrapping_sub(now) > most {
        return false;
    }
    *paid = due;
    true
}

impl Meters {
    /// Whether there is room for one frame more.
    #[inline(always)]
    pub fn admit(&mut self, kind: Kind, rates: Rates, now: u64) -> bool {
        let (lane, part) = lane(kind);
        let lane = &mut self.lanes[lane & 7];
        admits(lane, now, rates.frame.wrapping_mul(part), LANE_BURST)
            || admits(&mut self.lanes[POT], now, rates.frame * 2, rates.burst)
    }

    /// Whether there may be one more regular.
    #[inline(always)]
    pub fn promote(&mut self, now: u64) -> bool {
        admits(&mut self.promotions, now, PROMOTION, PROMOTIONS_AT_ONCE)
    }
}

/// The meter of a kind, and which part of the whole rate it is: one eighth of it for the regulars among those who ask
/// all, a sixteenth for each of the others. With the half in the pot that is the whole.
#[inline(always)]
const fn lane(kind: Kind) -> (usize, u64) {
    match kind {
        Kind::Claim => (CLAIMS, 16),
        Kind::Question { to_us, standing } => {
            let side = if to_us { TO_US } else { TO_ALL };
            match standing {
                Standing::Regular => (side, if to_us { 16 } else { 8 }),
                Standing::Back => (side + 1, 16),
                Standing::Crowd => (side + 2, 16),
            }
        }
    }
}

#[cfg(test)]
mod tests;
