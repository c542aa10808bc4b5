//! Samples of packets, for people who look: what the programs write of one, and how many they may.
//!
//! Invariant: whatever comes, no more than [`RATE`] are taken in a second, and as many at once after a pause. Where several
//! processors write the meter at the same time, each may take one for the price of one.

use crate::Verdict;

/// Bytes of a packet that a sample has at most.
pub const CAPTURED: usize = 128;
/// Samples in a second.
pub const RATE: u64 = 500;
/// Bytes of the ring buffer: room for twice as many.
pub const RING: u32 = 256 * 1024;

const SECOND: u64 = 1_000_000_000;
const INTERVAL: u64 = SECOND / RATE;
const _: () = assert!(RING as u64 >= 2 * RATE * (size_of::<Sample>() as u64 + 8));
const _: () = assert!(Verdict::COUNT <= u64::BITS as usize);

/// What is known of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Sample {
    /// Nanoseconds of the monotonic clock.
    pub time: u64,
    /// [`Verdict`], by its number.
    pub verdict: u32,
    /// Index of the interface that it came in by, or, of a reply, leaves by.
    pub ifindex: u32,
    /// Index of the one that it was sent out of, where it was redirected.
    pub out: u32,
    /// Length of the packet.
    pub length: u32,
    /// How many bytes of it are here.
    pub captured: u32,
    /// The VLAN tag that the kernel keeps beside the packet; zero if there is none.
    pub tag: u32,
    /// Its first bytes as the program left them; what is behind the captured ones means nothing.
    pub bytes: [u8; CAPTURED],
}

const _: () = assert!(size_of::<Sample>() == 32 + CAPTURED, "padding");

/// Whether one more sample may be taken `now`: if so, when all of them will have been `paid` for, at one an interval.
#[inline(always)]
#[must_use]
pub const fn admit(paid: u64, now: u64) -> Option<u64> {
    let owed = paid.saturating_sub(now);
    if owed > SECOND - INTERVAL {
        return None;
    }
    Some(now + owed + INTERVAL)
}

/// The bit of a verdict in a set of them.
#[inline(always)]
#[must_use]
pub const fn bit(verdict: Verdict) -> u64 {
    1 << verdict as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of packets that come every `pause` nanoseconds, for so many, are taken.
    fn taken(pause: u64, time: u64) -> u64 {
        let (mut paid, mut taken, start) = (0, 0, 5 * SECOND);
        let mut now = start;
        while now < start + time {
            if let Some(next) = admit(paid, now) {
                paid = next;
                taken += 1;
            }
            now += pause;
        }
        taken
    }

    #[test]
    fn a_flood_gets_the_rate_and_what_may_be_taken_at_once() {
        for seconds in 1..4 {
            let most = RATE * (seconds + 1);
            let taken = taken(1_000, seconds * SECOND);
            assert!(taken <= most && taken + 2 > most, "{taken} of {most}");
        }
    }

    #[test]
    fn what_comes_no_faster_than_the_rate_is_taken_whole() {
        assert_eq!(taken(INTERVAL, 10 * SECOND), 10 * RATE);
    }
}
