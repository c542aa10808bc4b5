//! Rates: how much of something is let through in a second. Pure; bounded memory.

use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

use landfall_wire::Mac;

/// So many a second, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// In the long run.
    pub per_second: u32,
    /// After a pause, back to back.
    pub burst: u32,
}

impl Rate {
    /// An equal part of it for each of so many. What one does not use is not another's: whoever floods one network, or
    /// in one protocol, does not silence the others. After a pause each may catch up as much as one alone.
    #[must_use]
    pub(super) fn shared_by(self, parts: u32) -> Self {
        Self {
            per_second: self.per_second / parts.max(1),
            ..self
        }
    }

    /// The time so many take of it.
    pub(super) fn cost(self, count: u32) -> Duration {
        Duration::from_secs(1) * count / self.per_second.max(1)
    }
}

/// Measures one flow against a rate: `paid` is when all that was let through will have been paid for at that rate.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Meter {
    paid: Option<Instant>,
}

impl Meter {
    /// Lets one through, or says when there will be room again.
    ///
    /// # Errors
    /// The time from which one would be let through.
    pub(super) fn admit(&mut self, rate: Rate, now: Instant) -> Result<(), Instant> {
        let from = self.paid.map_or(now, |paid| paid.max(now));
        let paid = from + rate.cost(1);
        let latest = now + rate.cost(rate.burst.max(1));
        if paid > latest {
            return Err(now + (paid - latest));
        }
        self.paid = Some(paid);
        Ok(())
    }
}

const WAYS: usize = 4;
const SETS: usize = 256;

/// Who asks: the Ethernet address that a question came from, and the one it wants the answer at. A third host that is named
/// in questions of others is not the poorer for it.
pub(super) type Source = [Mac; 2];

/// A meter for each source, for the 1,024 or so sources that were busy last. A source that is forgotten begins anew:
/// whoever invents addresses is held by the rate of frames, not by this one.
#[derive(Debug)]
pub(super) struct Sources {
    rate: Rate,
    hasher: RandomState,
    slots: Box<[(Source, Meter)]>,
}

impl Sources {
    /// No source known yet.
    pub(super) fn new(rate: Rate) -> Self {
        let slots = vec![([Mac::ZERO; 2], Meter::default()); WAYS * SETS].into_boxed_slice();
        Self {
            rate,
            hasher: RandomState::new(),
            slots,
        }
    }

    /// Whether one more from `source` is within the rate.
    pub(super) fn admit(&mut self, source: Source, now: Instant) -> bool {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "any bits of the hash will do"
        )]
        let set = (self.hasher.hash_one(source) as usize % SETS) * WAYS;
        let slots = &mut self.slots[set..set + WAYS];
        let known = slots.iter().position(|(known, _)| *known == source);
        let quietest = || {
            (0..WAYS)
                .min_by_key(|&way| slots[way].1.paid)
                .unwrap_or_default()
        };
        let way = known.unwrap_or_else(quietest);
        if known.is_none() {
            slots[way] = (source, Meter::default());
        }
        slots[way].1.admit(self.rate, now).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        per_second: 10,
        burst: 5,
    };

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let (start, mut meter) = (Instant::now(), Meter::default());
        for _ in 0..5 {
            assert_eq!(meter.admit(RATE, start), Ok(()));
        }
        let again = meter.admit(RATE, start).unwrap_err();
        assert_eq!(again, start + Duration::from_millis(100));
        assert!(meter.admit(RATE, again - Duration::from_millis(1)).is_err());
        assert_eq!(meter.admit(RATE, again), Ok(()));
        let admitted = (0..10_000)
            .filter(|step| {
                meter
                    .admit(RATE, again + Duration::from_millis(*step))
                    .is_ok()
            })
            .count();
        assert!((99..=100).contains(&admitted), "{admitted} in ten seconds");
    }

    #[test]
    fn the_parts_of_a_rate_are_no_more_than_the_whole() {
        for parts in 1..=20 {
            assert!(RATE.shared_by(parts).per_second * parts <= RATE.per_second);
        }
        assert_eq!(RATE.shared_by(0), RATE);
    }

    #[test]
    fn one_busy_source_does_not_silence_another() {
        let (now, mut sources) = (Instant::now(), Sources::new(RATE));
        let [busy, quiet] = [1, 2].map(|last| [Mac([2, 0, 0, 0, 0, last]); 2]);
        let admitted = (0..1_000).filter(|_| sources.admit(busy, now)).count();
        assert_eq!(admitted, 5);
        assert!(sources.admit(quiet, now));
        let named_by_another = [busy[0], quiet[1]];
        let admitted = (0..1_000).filter(|_| sources.admit(named_by_another, now));
        assert_eq!(admitted.count(), 5);
        assert!(sources.admit(quiet, now));
    }

    #[test]
    fn any_number_of_sources_takes_the_same_memory() {
        let (now, mut sources) = (Instant::now(), Sources::new(RATE));
        for number in 0..100_000_u32 {
            let [a, b, c, d] = number.to_be_bytes();
            assert!(sources.admit([Mac([2, 0, a, b, c, d]); 2], now));
        }
        assert_eq!(sources.slots.len(), WAYS * SETS);
    }
}
