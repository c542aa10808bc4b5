//! Where in the map each table lies: a buddy allocator.
//!
//! Pure. Tables are powers of two and lie at multiples of their size; two halves of one block that are both free are one
//! again. What was given back may still be read by a packet on its way: it rests until all of those have passed, which
//! is waited for where a larger block would have to be split else. A room that splits them instead has none left after
//! some ten thousand changes, though nine tenths of it are free.
//!
//! Invariant: no two tables overlap, and nothing is lost.

use std::collections::BTreeSet;

use crate::maglev::LARGEST;

/// A table in the map of all tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Table {
    /// Its first slot.
    pub start: u32,
    /// How many slots it has: a power of two.
    pub slots: u32,
}

impl Table {
    /// The other half of the block it is a half of.
    const fn buddy(self) -> Self {
        Self {
            start: self.start ^ self.slots,
            slots: self.slots,
        }
    }

    /// That block.
    const fn whole(self) -> Self {
        Self {
            start: self.start & !self.slots,
            slots: self.slots * 2,
        }
    }

    /// The first half of it.
    const fn half(self) -> Self {
        Self {
            start: self.start,
            slots: self.slots / 2,
        }
    }
}

/// The part of the map that no frontend uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// By size, and then by place: the lowest place is given out first, so that the large blocks stay whole.
    free: BTreeSet<(u32, u32)>,
    /// Given back, and perhaps still read.
    resting: Vec<Table>,
    /// The slots of both.
    left: u32,
    /// So much is left to those that have a table.
    reserve: u32,
}

/// What is to be done before a table may be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Nothing.
    AtOnce(Table),
    /// Every packet on its way must pass first.
    AfterRest(Table),
}

impl Room {
    /// A map of so many slots. What is left over of blocks of the largest table's size is not used.
    #[must_use]
    pub fn new(slots: u32) -> Self {
        let blocks = (0..slots / LARGEST).map(|block| (LARGEST, block * LARGEST));
        Self {
            free: blocks.collect(),
            resting: Vec::new(),
            left: slots / LARGEST * LARGEST,
            reserve: slots / 16,
        }
    }

    /// Takes a table of so many slots, a power of two, if there is room.
    pub fn take(&mut self, slots: u32) -> Option<Taken> {
        let block = self.block_for(slots);
        if block != Some(slots)
            && let Some(rested) = self.rested()
        {
            let rested_block = rested.block_for(slots);
            if rested_block.is_some() && block.is_none_or(|block| rested_block < Some(block)) {
                *self = rested;
                return self.take_free(slots).map(Taken::AfterRest);
            }
        }
        self.take_free(slots).map(Taken::AtOnce)
    }

    /// Whether [`Self::take`] would find one.
    #[must_use]
    pub fn has(&self, slots: u32) -> bool {
        let would_have = |room: &Self| room.block_for(slots).is_some();
        slots == 0 || would_have(self) || self.rested().is_some_and(|rested| would_have(&rested))
    }

    /// What it is once everything has rested, if anything has to.
    fn rested(&self) -> Option<Self> {
        if self.resting.is_empty() {
            return None;
        }
        let mut rested = self.clone();
        for table in std::mem::take(&mut rested.resting) {
            rested.put(table);
        }
        Some(rested)
    }

    /// The size of the smallest free block that such a table fits in.
    fn block_for(&self, slots: u32) -> Option<u32> {
        let block = self.free.range((slots, 0)..).next();
        block.map(|(slots, _)| *slots)
    }

    /// Takes just this table, unless something of it is taken already, or it does not lie in the map as a table does.
    pub fn occupy(&mut self, table: Table) -> bool {
        let Table { start, slots } = table;
        if !slots.is_power_of_two() || slots > LARGEST || !start.is_multiple_of(slots) {
            return false;
        }
        let mut block = table;
        while !self.free.remove(&(block.slots, block.start)) {
            if block.slots == LARGEST {
                return false;
            }
            block = block.whole();
        }
        while block.slots > slots {
            let half = block.half();
            let (wanted, other) = if table.start & half.slots == 0 {
                (half, half.buddy())
            } else {
                (half.buddy(), half)
            };
            self.free.insert((other.slots, other.start));
            block = wanted;
        }
        self.left -= slots;
        true
    }

    /// Gives a table back, which packets may be reading still.
    pub fn give_back(&mut self, table: Table) {
        self.left += table.slots;
        self.resting.push(table);
    }

    /// Whether there may be room for the table of a frontend that has none: a sixteenth of the map is for what those need
    /// that are served. To be sure, it must be taken.
    #[must_use]
    pub fn may_have_for_another(&self, slots: u32) -> bool {
        let may_have = || self.block_for(slots).is_some() || !self.resting.is_empty();
        slots == 0 || self.left >= self.reserve + slots && may_have()
    }

    /// Slots that are not used, those resting as well.
    #[must_use]
    pub const fn left(&self) -> u32 {
        self.left
    }

    fn take_free(&mut self, slots: u32) -> Option<Table> {
        let (found, start) = self.free.range((slots, 0)..).next().copied()?;
        self.free.remove(&(found, start));
        let mut table = Table {
            start,
            slots: found,
        };
        while table.slots > slots {
            table = table.half();
            let rest = table.buddy();
            self.free.insert((rest.slots, rest.start));
        }
        self.left -= slots;
        Some(table)
    }

    fn put(&mut self, mut table: Table) {
        while table.slots < LARGEST {
            let buddy = table.buddy();
            if !self.free.remove(&(buddy.slots, buddy.start)) {
                break;
            }
            table = table.whole();
        }
        self.free.insert((table.slots, table.start));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BLOCKS: u32 = 3;

    /// What is done to a room: a size to take, or the index of a table to give back.
    #[derive(Clone, Debug)]
    enum Step {
        Take(u32),
        GiveBack(prop::sample::Index),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (0..9u32).prop_map(|bits| Step::Take(256 << bits)),
            2 => any::<prop::sample::Index>().prop_map(Step::GiveBack),
        ];
        proptest::collection::vec(step, 1..200)
    }

    fn overlap(a: Table, b: Table) -> bool {
        a.start < b.start + b.slots && b.start < a.start + a.slots
    }

    /// Takes whatever a room has, by the smallest tables.
    fn drain(room: &mut Room) -> u32 {
        std::iter::from_fn(|| room.take(256)).map(|_| 256).sum()
    }

    proptest! {
        #[test]
        fn tables_lie_apart_and_what_rests_is_not_given_out_unsaid(steps in steps()) {
            let mut room = Room::new(BLOCKS * LARGEST);
            let (mut used, mut resting): (Vec<Table>, Vec<Table>) = Default::default();
            for step in steps {
                match step {
                    Step::Take(slots) => if let Some(taken) = room.take(slots) {
                        let table = match taken {
                            Taken::AtOnce(table) => table,
                            Taken::AfterRest(table) => {
                                resting.clear();
                                table
                            }
                        };
                        prop_assert_eq!(table.slots, slots);
                        prop_assert_eq!(table.start % slots, 0);
                        prop_assert!(table.start + slots <= BLOCKS * LARGEST);
                        let others = used.iter().chain(&resting);
                        prop_assert!(others.into_iter().all(|other| !overlap(table, *other)));
                        used.push(table);
                    },
                    Step::GiveBack(which) if !used.is_empty() => {
                        let table = used.swap_remove(which.index(used.len()));
                        room.give_back(table);
                        resting.push(table);
                    }
                    Step::GiveBack(_) => {}
                }
                let taken: u32 = used.iter().map(|table| table.slots).sum();
                prop_assert_eq!(room.left(), BLOCKS * LARGEST - taken);
            }
            // Read back, it is the same room.
            let mut again = Room::new(BLOCKS * LARGEST);
            prop_assert!(used.iter().all(|table| again.occupy(*table)));
            prop_assert!(used.iter().all(|table| !again.occupy(*table)));
            prop_assert_eq!(again.left(), room.left());
            prop_assert_eq!(drain(&mut again), drain(&mut room));
            // Whole again, once everything is given back.
            for table in used {
                again.give_back(table);
            }
            while let Some(taken) = again.take(LARGEST) {
                let (Taken::AfterRest(table) | Taken::AtOnce(table)) = taken;
                prop_assert_eq!(table.slots, LARGEST);
            }
        }
    }

    #[test]
    fn however_often_tables_are_made_anew_the_large_blocks_stay_whole() {
        let mut room = Room::new(32 * LARGEST);
        let mut used: Vec<Table> = Vec::new();
        let make = |room: &mut Room| match room.take(256).unwrap() {
            Taken::AtOnce(table) | Taken::AfterRest(table) => table,
        };
        used.extend((0..800).map(|_| make(&mut room)));
        let mut dice = 1u64;
        for _ in 0..40_000 {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // Some change often, and most hardly ever: the first of two dice, and that squared.
            let roll = (dice >> 33) % 800;
            let which = usize::try_from(roll * roll / 800).unwrap();
            let table = make(&mut room);
            room.give_back(std::mem::replace(&mut used[which], table));
        }
        let mut whole = 0;
        while room.take(LARGEST).is_some() {
            whole += 1;
        }
        assert!(whole >= 27, "{whole} of the 28 that 800 tables leave");
    }

    #[test]
    fn what_is_no_table_is_not_taken_for_one() {
        let mut room = Room::new(LARGEST);
        for (start, slots) in [
            (0, 300),
            (128, 256),
            (LARGEST, 256),
            (0, 2 * LARGEST),
            (0, 0),
        ] {
            assert!(!room.occupy(Table { start, slots }), "{start} {slots}");
        }
        assert_eq!(room, Room::new(LARGEST));
    }
}
