//! How many entries of half-open connections came, and how many were evicted by others. Pure.
//!
//! The kernel evicts the least recently used ones and tells nobody. But who knows how many came, how many were taken out,
//! and how many are there, knows how many are missing.

/// What one look finds. Entries come and go meanwhile: what came is to be counted before those that are there, and what was
/// taken out after them, so that none of it looks evicted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Look {
    /// Entries that came, since the counters began.
    pub(crate) inserted: u64,
    /// Entries that are there.
    pub(crate) present: u64,
    /// Entries that the programs took out, since the counters began.
    pub(crate) removed: u64,
}

/// Counts since the first look.
#[derive(Debug, Default)]
pub(crate) struct Turnover {
    /// Inserted, and missing, before that.
    before: Option<(u64, u64)>,
    /// Taken out by user space.
    swept: u64,
    /// No more was missing at a look before.
    evicted: u64,
}

impl Turnover {
    /// User space has taken an entry out.
    pub(crate) fn swept(&mut self) {
        self.swept += 1;
    }

    /// Entries that came since the first look, and those of them, and of those that were there, that were evicted.
    pub(crate) fn look(&mut self, look: Look) -> (u64, u64) {
        // Before the first look others may have taken entries out.
        let missing = look
            .inserted
            .wrapping_sub(look.removed)
            .wrapping_sub(look.present)
            .wrapping_sub(self.swept);
        let (inserted, before) = *self.before.get_or_insert((look.inserted, missing));
        let since = missing.wrapping_sub(before).cast_signed();
        // What came during a look before is there and was not counted yet.
        self.evicted = self.evicted.max(u64::try_from(since).unwrap_or(0));
        (look.inserted.wrapping_sub(inserted), self.evicted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_earlier_process_has_taken_out_what_is_not_evicted() {
        let mut turnover = Turnover::default();
        let look = |inserted, present, removed| Look {
            inserted,
            present,
            removed,
        };
        assert_eq!(turnover.look(look(1_000, 10, 500)), (0, 0));
        assert_eq!(turnover.look(look(1_100, 60, 530)), (100, 20));
        // Two came while it was looked, and were not counted.
        assert_eq!(turnover.look(look(1_100, 62, 530)), (100, 20));
        assert_eq!(turnover.look(look(1_103, 62, 530)), (103, 21));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64),
        Confirm(u64),
        Sweep(u64),
        Evict(u64),
        Look,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..50_u64).prop_map(Step::Insert),
            (0..50_u64).prop_map(Step::Confirm),
            (0..50_u64).prop_map(Step::Sweep),
            (0..50_u64).prop_map(Step::Evict),
            Just(Step::Look),
        ]
    }

    proptest! {
        #[test]
        fn what_came_and_neither_is_there_nor_was_taken_out_was_evicted(
            before in 0..1_000_u64,
            steps in proptest::collection::vec(step(), 0..60),
        ) {
            let mut turnover = Turnover::default();
            let mut look = Look { inserted: before, present: before / 2, removed: before / 3 };
            turnover.look(look);
            let (mut inserted, mut evicted) = (0, 0);
            for step in steps {
                match step {
                    Step::Insert(count) => {
                        look.inserted += count;
                        look.present += count;
                        inserted += count;
                    }
                    Step::Confirm(count) => {
                        let count = count.min(look.present);
                        look.present -= count;
                        look.removed += count;
                    }
                    Step::Sweep(count) => {
                        let count = count.min(look.present);
                        look.present -= count;
                        (0..count).for_each(|_| turnover.swept());
                    }
                    Step::Evict(count) => {
                        let count = count.min(look.present);
                        look.present -= count;
                        evicted += count;
                    }
                    Step::Look => prop_assert_eq!(turnover.look(look), (inserted, evicted)),
                }
            }
        }
    }
}
