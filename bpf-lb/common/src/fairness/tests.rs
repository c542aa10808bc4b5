//! Floods against the lanes, on a clock of the test's own.

extern crate std;

use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000_000_000;
/// 4,000 a second, half a second's worth at once: what one interface has by default.
const RATES: Rates = Rates {
    frame: SECOND / 4_000,
    burst: SECOND / 2,
};
const ADDRESS: Address = Address::v4([192, 0, 2, 100]);

/// The filter without its kernel.
struct Filter {
    newcomers: Vec<Newcomers>,
    regulars: Vec<Regulars>,
    meters: Meters,
    now: u64,
}

impl Filter {
    fn new() -> Self {
        Self {
            newcomers: vec![[0; WAYS]; NEWCOMERS as usize],
            regulars: vec![[0; WAYS]; REGULARS as usize],
            meters: Meters::default(),
            now: 1_000 * SECOND,
        }
    }

    fn standing(&mut self, source: u64) -> Standing {
        let key = key(7, source, ADDRESS, 2);
        let (now, meters) = (self.now, &mut self.meters);
        standing(
            key,
            now,
            &mut self.regulars[set(key, REGULARS) as usize],
            &mut self.newcomers[set(key, NEWCOMERS) as usize],
            || meters.promote(now),
        )
    }

    fn asks(&mut self, source: u64, to_us: bool) -> bool {
        let standing = self.standing(source);
        let kind = Kind::Question { to_us, standing };
        self.meters.admit(kind, RATES, self.now)
    }

    /// Lets `rate` questions a second come for so long, with the source that `source` makes of their number; how many
    /// were let through.
    fn flood(&mut self, rate: u64, time: u64, source: impl Fn(u64) -> u64) -> u64 {
        let mut admitted = 0;
        let began = self.now;
        for number in 0..rate * time / SECOND {
            self.now = began + number * SECOND / rate;
            admitted += u64::from(self.asks(source(began / 1_000 + number), false));
        }
        self.now = began + time;
        admitted
    }
}

const HONEST: u64 = 0x0200_0000_00c8;
/// Above all addresses of the honest.
const INVENTED: u64 = 1 << 40;

#[test]
fn whoever_comes_back_after_a_second_is_a_regular_from_the_third_question_on() {
    let mut filter = Filter::new();
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(filter.standing(HONEST));
        filter.now += SECOND;
    }
    use Standing::{Back, Crowd, Regular};
    assert_eq!(seen, [Crowd, Back, Regular, Regular]);
    filter.now += 300 * SECOND;
    assert_eq!(filter.standing(HONEST), Regular);
}

#[test]
fn whoever_does_not_wait_stays_in_the_crowd() {
    let mut filter = Filter::new();
    for _ in 0..1_000 {
        assert_eq!(filter.standing(HONEST), Standing::Crowd);
        filter.now += SECOND / 2;
    }
}

#[test]
fn one_who_asks_for_a_thousand_addresses_at_once_is_heard() {
    let mut filter = Filter::new();
    let admitted = (0..1_000_u64).filter(|number| {
        let number = u32::try_from(*number).unwrap();
        let key = key(7, HONEST, Address::v4(number.to_be_bytes()), 2);
        let (now, meters) = (filter.now, &mut filter.meters);
        let standing = standing(
            key,
            now,
            &mut filter.regulars[set(key, REGULARS) as usize],
            &mut filter.newcomers[set(key, NEWCOMERS) as usize],
            || meters.promote(now),
        );
        let to_us = false;
        filter
            .meters
            .admit(Kind::Question { to_us, standing }, RATES, now)
    });
    assert_eq!(admitted.count(), 1_000);
}

#[test]
fn one_who_asked_before_a_flood_of_ever_new_sources_is_answered_every_time_in_it() {
    let mut filter = Filter::new();
    for _ in 0..3 {
        assert!(filter.asks(HONEST, false));
        filter.now += SECOND;
    }
    for _ in 0..10 {
        filter.flood(320_000, SECOND, |number| INVENTED + number);
        assert!(filter.asks(HONEST, false));
        assert!(filter.asks(HONEST + 1, true), "to our own MAC");
    }
}

#[test]
fn a_stranger_is_answered_in_the_flood_when_he_asks_again() {
    // Ever new sources, and the same four thousand in turn.
    for sources in [u64::MAX, 4_000] {
        let mut filter = Filter::new();
        filter.flood(320_000, SECOND, |number| INVENTED + number % sources);
        let mut answered = 0;
        for _ in 0..10 {
            answered += u32::from(filter.asks(HONEST, false));
            filter.flood(320_000, SECOND, |number| INVENTED + number % sources);
        }
        // All but the first.
        assert!(answered >= 9, "{answered} of 10 in a flood of {sources}");
    }
}

#[test]
fn who_learns_to_behave_pushes_no_regular_out_within_a_minute() {
    let mut filter = Filter::new();
    for _ in 0..3 {
        filter.asks(HONEST, false);
        filter.now += SECOND;
    }
    // As many hosts as the segment's switches can know, each asking once a second.
    let (mut answered, minute) = (0, 60);
    for _ in 0..minute {
        filter.flood(32_000, SECOND, |number| INVENTED + number % 32_000);
        answered += u32::from(filter.asks(HONEST, false));
    }
    assert!(answered >= 50, "{answered} of {minute}");
}

#[test]
fn a_claim_is_seen_in_every_flood() {
    let mut filter = Filter::new();
    filter.flood(320_000, SECOND, |number| INVENTED + number);
    assert!(filter.meters.admit(Kind::Claim, RATES, filter.now));
}

#[test]
fn without_a_rate_nothing_is_held_back() {
    let mut meters = Meters::default();
    for _ in 0..100_000 {
        assert!(meters.admit(Kind::Claim, Rates::default(), 5));
    }
}

fn kinds() -> impl Strategy<Value = Kind> {
    let standings = [Standing::Regular, Standing::Back, Standing::Crowd];
    let questions = [true, false]
        .into_iter()
        .flat_map(move |to_us| standings.map(move |standing| Kind::Question { to_us, standing }));
    let kinds: Vec<Kind> = questions.chain([Kind::Claim]).collect();
    prop::sample::select(kinds)
}

proptest! {
    /// The invariant of this module.
    #[test]
    fn no_more_than_the_rate_passes_whatever_comes(
        frames in prop::collection::vec((kinds(), 0..200_000_u64), 1..5_000),
    ) {
        let (mut meters, mut now, mut admitted) = (Meters::default(), SECOND, 0_u64);
        for (kind, pause) in &frames {
            now += pause;
            admitted += u64::from(meters.admit(*kind, RATES, now));
        }
        let passed = (now - SECOND) / RATES.frame;
        // The pot's share of a burst, and a quarter of a second of half the rate.
        let at_once = RATES.burst / RATES.frame / 2 + 4_000 / 2 / 4;
        prop_assert!(admitted <= passed + at_once + 8, "{admitted} {passed}");
    }

    #[test]
    fn a_lane_has_its_part_whatever_comes_in_the_others(mine in kinds(), others in kinds()) {
        prop_assume!(mine != others);
        let (mut meters, mut now, mut admitted) = (Meters::default(), SECOND, 0);
        for number in 0..40_000 {
            now += SECOND / 40_000;
            meters.admit(others, RATES, now);
            // 200 a second: less than a sixteenth.
            if number % 200 == 0 {
                admitted += u32::from(meters.admit(mine, RATES, now));
            }
        }
        prop_assert_eq!(admitted, 200);
    }
}
