//! Which tables are in use, by how many frontends, and which of them say the same.
//!
//! Pure. Frontends share a table as long as every slot of theirs says the same, what it remembers as well: it depends on
//! what each had before. One that changes gets a table of its own, and the others keep theirs.
//!
//! Invariant: a table in use is never written to, but to settle it, and is given back with its last frontend.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use landfall_bpf_lb_common::records::Slot;

use crate::room::{Room, Table, Taken};

/// The tables of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    room: Room,
    held: BTreeMap<Table, Held>,
    /// One of the tables that have slots of this digest.
    by_digest: HashMap<u64, Table>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    frontends: u32,
    digest: u64,
    is_settled: bool,
}

impl Held {
    fn by_none(slots: &[Slot]) -> Self {
        let mut digest = DefaultHasher::new();
        slots.hash(&mut digest);
        Self {
            frontends: 0,
            digest: digest.finish(),
            is_settled: slots.iter().all(|slot| slot.unsettled == 0),
        }
    }
}

impl Tables {
    /// None in a map of so many slots.
    #[must_use]
    pub fn new(slots: u32) -> Self {
        Self {
            room: Room::new(slots),
            ..Self::default()
        }
    }

    /// One more frontend was found to use this table, with these slots. False if that cannot be.
    #[must_use]
    pub fn found(&mut self, table: Table, slots: &[Slot]) -> bool {
        let is_there = self.held.contains_key(&table) || self.room.occupy(table);
        if is_there {
            self.hold(table, Held::by_none(slots));
        }
        is_there
    }

    /// A table that may have just these slots: whether it has, its reader must see.
    #[must_use]
    pub fn like(&self, slots: &[Slot]) -> Option<Table> {
        let table = self.by_digest.get(&Held::by_none(slots).digest)?;
        (table.slots as usize == slots.len()).then_some(*table)
    }

    /// Takes a table for one frontend, which is served already or not, if there is room; it is to be filled with just these
    /// slots.
    pub fn take(&mut self, slots: &[Slot], is_served: bool) -> Option<Taken> {
        let size = u32::try_from(slots.len()).ok()?;
        if !is_served && !self.room.may_have_for_another(size) {
            return None;
        }
        let taken = self.room.take(size)?;
        let (Taken::AtOnce(table) | Taken::AfterRest(table)) = taken;
        self.hold(table, Held::by_none(slots));
        Some(taken)
    }

    /// One more frontend uses a table that is in use.
    pub fn share(&mut self, table: Table) {
        if let Some(held) = self.held.get_mut(&table) {
            held.frontends += 1;
        }
    }

    /// One frontend less does.
    pub fn release(&mut self, table: Table) {
        let Some(held) = self.held.get_mut(&table) else {
            return;
        };
        held.frontends -= 1;
        if held.frontends > 0 {
            return;
        }
        let digest = held.digest;
        self.held.remove(&table);
        self.forget(digest, table);
        self.room.give_back(table);
    }

    /// Whether all slots of a table are settled.
    #[must_use]
    pub fn is_settled(&self, table: Table) -> bool {
        self.held.get(&table).is_none_or(|held| held.is_settled)
    }

    /// A table has these slots now, which are those it had, but settled.
    pub fn settled(&mut self, table: Table, slots: &[Slot]) {
        let Some(held) = self.held.get_mut(&table) else {
            return;
        };
        let before = held.digest;
        *held = Held {
            frontends: held.frontends,
            ..Held::by_none(slots)
        };
        let now = held.digest;
        self.forget(before, table);
        self.by_digest.entry(now).or_insert(table);
    }

    /// How many tables are in use.
    #[must_use]
    pub fn count(&self) -> usize {
        self.held.len()
    }

    /// Slots that no table has.
    #[must_use]
    pub fn room(&self) -> &Room {
        &self.room
    }

    fn hold(&mut self, table: Table, new: Held) {
        self.held.entry(table).or_insert(new).frontends += 1;
        self.by_digest.entry(new.digest).or_insert(table);
    }

    fn forget(&mut self, digest: u64, table: Table) {
        if self.by_digest.get(&digest) == Some(&table) {
            self.by_digest.remove(&digest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maglev::LARGEST;

    fn slots(current: u16, unsettled: u16) -> Vec<Slot> {
        let slot = Slot {
            current,
            unsettled,
            ..Slot::default()
        };
        vec![slot; 256]
    }

    fn taken(taken: Option<Taken>) -> Table {
        let (Taken::AtOnce(table) | Taken::AfterRest(table)) = taken.unwrap();
        table
    }

    #[test]
    fn a_table_is_given_back_with_its_last_frontend() {
        let mut tables = Tables::new(LARGEST);
        let one = taken(tables.take(&slots(1, 0), false));
        assert_eq!(tables.like(&slots(1, 0)), Some(one));
        tables.share(one);
        tables.release(one);
        assert_eq!((tables.count(), tables.room().left()), (1, LARGEST - 256));
        tables.release(one);
        assert_eq!((tables.count(), tables.room().left()), (0, LARGEST));
        assert_eq!(tables.like(&slots(1, 0)), None);
    }

    #[test]
    fn a_table_is_found_by_what_it_says_now() {
        let mut tables = Tables::new(LARGEST);
        let table = taken(tables.take(&slots(1, 1), false));
        assert!(!tables.is_settled(table));
        tables.settled(table, &slots(1, 0));
        assert!(tables.is_settled(table));
        assert_eq!(tables.like(&slots(1, 1)), None);
        assert_eq!(tables.like(&slots(1, 0)), Some(table));
        assert_eq!(tables.like(&slots(2, 0)), None);
    }

    #[test]
    fn what_is_found_in_the_map_is_what_was_taken() {
        let mut tables = Tables::new(LARGEST);
        let (one, other) = (
            taken(tables.take(&slots(1, 0), false)),
            taken(tables.take(&slots(2, 1), false)),
        );
        tables.share(one);
        let mut again = Tables::new(LARGEST);
        for (table, slots) in [(one, slots(1, 0)), (other, slots(2, 1)), (one, slots(1, 0))] {
            assert!(again.found(table, &slots));
        }
        assert_eq!(again, tables);
        let across = Table {
            start: 0,
            slots: 512,
        };
        assert!(!again.found(across, &slots(3, 0)));
    }
}
