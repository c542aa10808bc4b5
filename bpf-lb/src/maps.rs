//! The pinned maps: reading them back after a restart, and carrying out operations on them.

use std::collections::BTreeSet;
use std::mem::offset_of;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::Pod;
use aya::maps::{Array, Map, MapData, MapError, PerCpuArray};
use landfall_bpf_lb_common::records::{BackendEntry, FrontendEntry, HopEntry, Slot, StateEntry};
use landfall_bpf_lb_common::{Verdict, names};

use crate::ageing::Clock;
use crate::collector::{Collector, Swept};
use crate::diff::{Operation, Target, ids_of};
use crate::duties::Flow;
use crate::frontends::Frontends;
use crate::interfaces::Interfaces;
use crate::nodes::Nodes;
use crate::programmed::{Installed, Programmed, entry_of};
use crate::room::Table;
use crate::served::Served;
use crate::settings::Settings;
use crate::words::Words;

/// All maps that user space reads or writes.
pub(crate) struct Maps {
    frontends: Frontends,
    backends: Array<MapData, BackendEntry>,
    hops: Array<MapData, HopEntry>,
    nodes: Nodes,
    interfaces: Interfaces,
    counters: PerCpuArray<MapData, [u64; Verdict::COUNT]>,
    tables: Tables,
    shared: SharedState,
    collector: Collector,
    /// The kernel's number of the map of frontends, which no other map ever has.
    number: u64,
}

impl Maps {
    /// Opens the maps pinned in `directory`.
    pub(crate) fn open(directory: &Path) -> Result<Self, MapError> {
        let open = |name: &str| MapData::from_pin(directory.join(name));
        Ok(Self {
            number: open(names::FRONTENDS4)?.info()?.id().into(),
            frontends: Frontends::open(open)?,
            backends: Map::Array(open(names::BACKENDS)?).try_into()?,
            hops: Map::Array(open(names::HOPS)?).try_into()?,
            nodes: Nodes::open(open)?,
            interfaces: Interfaces::open(open)?,
            counters: Map::PerCpuArray(open(names::COUNTERS)?).try_into()?,
            tables: Tables(Words::map(&open(names::TABLES)?, 1)?),
            shared: SharedState(Words::map(
                &open(names::STATE)?,
                size_of::<StateEntry>() / size_of::<u64>(),
            )?),
            collector: Collector::open(open)?,
        })
    }

    /// Reads everything back.
    pub(crate) fn read(&self, settings: &Settings) -> Result<Programmed, MapError> {
        let mut programmed = Programmed::empty(settings.slots);
        let mut used = BTreeSet::new();
        for (frontend, entry) in self.frontends.read()? {
            let mut installed = Installed {
                entry,
                backends: Box::default(),
                vip: None,
                refused: None,
            };
            if let Some(table) = installed.table() {
                let slots = self.tables.read(table);
                if !programmed.tables.found(table, &slots) {
                    // It says what nothing of ours writes, and is made anew.
                    tracing::warn!(?frontend, ?table, "a frontend whose table cannot be");
                    installed.entry = entry_of(None, FrontendEntry::LEARNING);
                }
                used.extend(ids_of(&slots));
            }
            programmed.frontends.insert(frontend, installed);
        }
        for id in used {
            let backend = self.backends.get(&u32::from(id), 0)?;
            programmed.backends.insert(id, backend);
        }
        // All that are there: an entry of another node's connection names one, and so do the tables of before, by which
        // packets go until those of another version are filled.
        for id in 1..settings.hops {
            let hop = self.hops.get(&id, 0)?;
            if let Ok(id) = u16::try_from(id)
                && hop.address != HopEntry::default().address
            {
                programmed.hops.insert(id, hop);
            }
        }
        programmed.nodes = self.nodes.read()?;
        Ok(programmed)
    }

    /// The interfaces by which frames come in.
    pub(crate) fn interfaces(&mut self) -> &mut Interfaces {
        &mut self.interfaces
    }

    /// Takes what is over out of the tables of connections.
    pub(crate) fn sweep(
        &mut self,
        clock: Clock,
        served: Option<&Served>,
    ) -> Result<Swept, MapError> {
        let seen = [Word::Kernels, Word::Strays].map(|word| self.shared.get(word));
        let swept = self.collector.sweep(clock, served)?;
        if swept.kernels == 0 {
            self.shared.clear(Word::Kernels, seen[0]);
        }
        if swept.strays == 0 {
            self.shared.clear(Word::Strays, seen[1]);
        }
        Ok(swept)
    }

    /// Knows that the kernel has these connections, unless a pod of this node has them: as many of them as
    /// there is room for.
    pub(crate) fn leave_to_kernel(&mut self, flows: &[Flow], now: u32) -> Result<(), MapError> {
        if !flows.is_empty() {
            self.shared.note(Word::Kernels, u64::from(now).max(1));
        }
        let tried = flows
            .iter()
            .map(|flow| self.collector.set_kernels(flow, now));
        // One that finds no room says nothing of the next, whose table may be the other family's.
        tried.fold(Ok(()), Result::and)
    }

    /// Writes the slots of a table anew that a frontend is using: each is one word.
    pub(crate) fn rewrite_table(&self, table: Table, slots: &[Slot]) {
        self.tables.write(table, slots);
    }

    /// Has the hops of this word asked for what nobody knows.
    pub(crate) fn set_away(&self, word: u64) {
        self.shared.note(Word::Away, word);
    }

    /// The kernel's number of the map of frontends.
    pub(crate) const fn number(&self) -> u64 {
        self.number
    }

    /// Whether the maps have been filled since they were made.
    pub(crate) fn are_filled(&self) -> bool {
        self.shared.get(Word::Filled) == self.number
    }

    /// Knows that they are.
    pub(crate) fn set_filled(&self) {
        self.shared.note(Word::Filled, self.number);
    }

    /// The connections of this node's pods, and those of other nodes.
    pub(crate) fn connections(&mut self) -> &mut Collector {
        &mut self.collector
    }

    /// The same, beside the tables.
    pub(crate) fn connections_and_tables(&mut self) -> (&mut Collector, &Tables) {
        (&mut self.collector, &self.tables)
    }

    /// Packets by verdict, summed over all CPUs.
    pub(crate) fn counters(&self) -> Result<Vec<(Verdict, u64)>, MapError> {
        let cpus = self.counters.get(&0, 0)?;
        let sum = |verdict: Verdict| cpus.iter().map(|counted| counted[verdict as usize]).sum();
        Ok(Verdict::ALL
            .iter()
            .map(|verdict| (*verdict, sum(*verdict)))
            .collect())
    }
}

impl Target for Maps {
    type Error = MapError;

    fn slots(&self, table: Table) -> Vec<Slot> {
        self.tables.read(table)
    }

    fn carry_out(&mut self, operation: Operation) -> Result<(), MapError> {
        match operation {
            Operation::SetHop(id, hop) => self.hops.set(u32::from(id), hop, 0),
            Operation::AddNode(mac) => self.nodes.insert(mac),
            Operation::SetBackend(id, backend) => self.backends.set(u32::from(id), backend, 0),
            Operation::Settle => self.frontends.let_packets_pass(),
            Operation::WriteTable(table, slots) => {
                self.tables.write(table, &slots);
                Ok(())
            }
            Operation::SetFrontend(frontend, entry) => self.frontends.set(&frontend, entry),
            Operation::RemoveFrontend(frontend) => self.frontends.remove(&frontend),
            Operation::ClearBackend(id) => {
                self.backends.set(u32::from(id), BackendEntry::default(), 0)
            }
            Operation::RemoveNode(mac) => self.nodes.remove(mac),
            Operation::ClearHop(id) => self.hops.set(u32::from(id), HopEntry::default(), 0),
        }
    }
}

/// Whether the map pinned at `path` is of this shape; a missing one is of any.
pub(crate) fn has_shape<K: Pod, V: Pod>(path: &Path, entries: u32) -> bool {
    let Ok(map) = MapData::from_pin(path) else {
        return true;
    };
    let Ok(info) = map.info() else { return false };
    info.max_entries() == entries
        && info.key_size() as usize == size_of::<K>()
        && info.value_size() as usize == size_of::<V>()
}

/// The Maglev tables.
#[derive(Debug)]
pub(crate) struct Tables(Words);

impl Tables {
    fn table(&self, table: Table) -> &[AtomicU64] {
        let start = table.start as usize;
        let end = start.saturating_add(table.slots as usize);
        self.0.all().get(start..end).unwrap_or_default()
    }

    /// One slot of a table.
    pub(crate) fn slot(&self, table: Table, number: u32) -> Option<Slot> {
        let slot = self.table(table).get(number as usize)?;
        Some(unpack(slot.load(Ordering::Relaxed)))
    }

    fn read(&self, table: Table) -> Vec<Slot> {
        let slots = self.table(table).iter();
        slots
            .map(|slot| unpack(slot.load(Ordering::Relaxed)))
            .collect()
    }

    fn write(&self, table: Table, slots: &[Slot]) {
        for (element, slot) in self.table(table).iter().zip(slots) {
            element.store(pack(*slot), Ordering::Relaxed);
        }
    }
}

/// The words by which programs and user space tell each other something, where each has its place
/// in [`StateEntry`].
#[derive(Debug)]
pub(crate) struct SharedState(Words);

/// A word of [`StateEntry`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum Word {
    Kernels = offset_of!(StateEntry, kernels) as isize,
    Strays = offset_of!(StateEntry, strays) as isize,
    Away = offset_of!(StateEntry, away) as isize,
    Filled = offset_of!(StateEntry, filled) as isize,
}

impl SharedState {
    fn word(&self, word: Word) -> Option<&AtomicU64> {
        self.0.all().get(word as usize / size_of::<u64>())
    }

    pub(crate) fn get(&self, word: Word) -> u64 {
        self.word(word)
            .map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// Writes a word that says there is something to look for.
    pub(crate) fn note(&self, word: Word, value: u64) {
        if let Some(word) = self.word(word) {
            word.store(value, Ordering::Relaxed);
        }
    }

    /// Clears a word, unless a program has written it since it was `seen`.
    pub(crate) fn clear(&self, word: Word, seen: u64) {
        if let Some(word) = self.word(word) {
            // Written meanwhile: then it is to stay.
            let _ = word.compare_exchange(seen, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

/// A slot in its memory order.
fn pack(slot: Slot) -> u64 {
    let [a, b] = slot.current.to_ne_bytes();
    let [[c, d], [e, f]] = slot.previous.map(u16::to_ne_bytes);
    let [g, h] = slot.unsettled.to_ne_bytes();
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

fn unpack(packed: u64) -> Slot {
    let [a, b, c, d, e, f, g, h] = packed.to_ne_bytes();
    Slot {
        current: u16::from_ne_bytes([a, b]),
        previous: [[c, d], [e, f]].map(u16::from_ne_bytes),
        unsettled: u16::from_ne_bytes([g, h]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packed_slot_lies_in_memory_as_the_programs_read_it() {
        let slot = Slot {
            current: 1,
            previous: [2, 3],
            unsettled: 1,
        };
        let bytes = pack(slot).to_ne_bytes();
        // SAFETY: plain integers of eight bytes.
        let read: Slot = unsafe { std::mem::transmute(bytes) };
        assert_eq!(read, slot);
        assert_eq!(unpack(pack(slot)), slot);
    }
}
