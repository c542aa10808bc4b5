//! The pinned maps: reading them back after a restart, and carrying out operations on them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::Pod;
use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray};
use landfall_bpf_lb_common::records::{
    BackendEntry, FrontendEntry, FrontendKey4, FrontendKey6, HopEntry, InterfaceEntry, Slot,
    table_stride,
};
use landfall_bpf_lb_common::{Verdict, names};

use crate::desired::{Frontend, Protocol};
use crate::diff::{Operation, ids_in_use};
use crate::programmed::{Installed, Programmed};
use crate::settings::Settings;

/// All maps that user space reads or writes.
pub(crate) struct Maps {
    frontends4: HashMap<MapData, FrontendKey4, FrontendEntry>,
    frontends6: HashMap<MapData, FrontendKey6, FrontendEntry>,
    backends: Array<MapData, BackendEntry>,
    hops: Array<MapData, HopEntry>,
    nodes: HashMap<MapData, InterfaceEntry, u32>,
    interfaces: HashMap<MapData, u32, InterfaceEntry>,
    counters: PerCpuArray<MapData, u64>,
    tables: Tables,
}

impl Maps {
    /// Opens the maps pinned in `directory`.
    pub(crate) fn open(directory: &Path, settings: &Settings) -> Result<Self, MapError> {
        let open = |name: &str| MapData::from_pin(directory.join(name));
        Ok(Self {
            frontends4: Map::HashMap(open(names::FRONTENDS4)?).try_into()?,
            frontends6: Map::HashMap(open(names::FRONTENDS6)?).try_into()?,
            backends: Map::Array(open(names::BACKENDS)?).try_into()?,
            hops: Map::Array(open(names::HOPS)?).try_into()?,
            nodes: Map::HashMap(open(names::NODES)?).try_into()?,
            interfaces: Map::HashMap(open(names::INTERFACES)?).try_into()?,
            counters: Map::PerCpuArray(open(names::COUNTERS)?).try_into()?,
            tables: Tables::map(&open(names::TABLES)?, settings)?,
        })
    }

    /// Reads everything back.
    pub(crate) fn read(&self, settings: &Settings) -> Result<Programmed, MapError> {
        let mut frontends = BTreeMap::new();
        for entry in self.frontends4.iter() {
            let (key, entry) = entry?;
            let address = Ipv4Addr::from(key.address).into();
            frontends.extend(self.installed(address, key.port, key.protocol, entry));
        }
        for entry in self.frontends6.iter() {
            let (key, entry) = entry?;
            let address = Ipv6Addr::from(key.address).into();
            frontends.extend(self.installed(address, key.port, key.protocol, entry));
        }
        let used: BTreeSet<u32> = frontends
            .values()
            .map(|installed| installed.entry.table)
            .collect();
        let mut programmed = Programmed {
            frontends,
            free_tables: (0..settings.tables())
                .filter(|table| !used.contains(table))
                .collect::<VecDeque<_>>(),
            ..Programmed::default()
        };
        for id in ids_in_use(&programmed) {
            let backend = self.backends.get(&u32::from(id), 0)?;
            if backend.hop != 0 {
                let hop = self.hops.get(&u32::from(backend.hop), 0)?;
                programmed.hops.insert(backend.hop, hop);
            }
            programmed.backends.insert(id, backend);
        }
        for node in self.nodes.keys() {
            programmed.nodes.insert(node?.mac);
        }
        Ok(programmed)
    }

    fn installed(
        &self,
        address: IpAddr,
        port: [u8; 2],
        protocol: u8,
        entry: FrontendEntry,
    ) -> Option<(Frontend, Installed)> {
        let protocol = [Protocol::Tcp, Protocol::Udp]
            .into_iter()
            .find(|known| *known as u8 == protocol)?;
        let frontend = Frontend {
            address,
            port: u16::from_be_bytes(port),
            protocol,
        };
        let slots = self.tables.read(entry.table);
        Some((
            frontend,
            Installed {
                entry,
                slots,
                vip: None,
            },
        ))
    }

    /// Carries out one operation.
    pub(crate) fn carry_out(&mut self, operation: &Operation) -> Result<(), MapError> {
        match operation {
            Operation::SetHop(id, hop) => self.hops.set(u32::from(*id), hop, 0),
            Operation::AddNode(mac) => self.nodes.insert(as_key(*mac), 1, 0),
            Operation::SetBackend(id, backend) => self.backends.set(u32::from(*id), backend, 0),
            Operation::WriteTable(table, slots) => {
                self.tables.write(*table, slots);
                Ok(())
            }
            Operation::SetFrontend(frontend, entry) => match key(frontend) {
                Key::V4(key) => self.frontends4.insert(key, entry, 0),
                Key::V6(key) => self.frontends6.insert(key, entry, 0),
            },
            Operation::RemoveFrontend(frontend) => match key(frontend) {
                Key::V4(key) => gone(self.frontends4.remove(&key)),
                Key::V6(key) => gone(self.frontends6.remove(&key)),
            },
            Operation::ClearBackend(id) => {
                self.backends
                    .set(u32::from(*id), BackendEntry::default(), 0)
            }
            Operation::RemoveNode(mac) => gone(self.nodes.remove(&as_key(*mac))),
            Operation::ClearHop(id) => self.hops.set(u32::from(*id), HopEntry::default(), 0),
        }
    }

    pub(crate) fn set_interface(&mut self, ifindex: u32, mac: [u8; 6]) -> Result<(), MapError> {
        self.interfaces.insert(ifindex, as_key(mac), 0)
    }

    /// The interfaces it knows.
    pub(crate) fn interfaces(&self) -> Result<Vec<u32>, MapError> {
        self.interfaces.keys().collect()
    }

    pub(crate) fn remove_interface(&mut self, ifindex: u32) -> Result<(), MapError> {
        gone(self.interfaces.remove(&ifindex))
    }

    /// Packets by verdict, summed over all CPUs.
    pub(crate) fn counters(&self) -> Result<Vec<(Verdict, u64)>, MapError> {
        Verdict::ALL
            .iter()
            .map(|verdict| {
                Ok((
                    *verdict,
                    self.counters.get(&(*verdict as u32), 0)?.iter().sum(),
                ))
            })
            .collect()
    }
}

fn as_key(mac: [u8; 6]) -> InterfaceEntry {
    InterfaceEntry { mac, zero: [0; 2] }
}

enum Key {
    V4(FrontendKey4),
    V6(FrontendKey6),
}

fn key(frontend: &Frontend) -> Key {
    let port = frontend.port.to_be_bytes();
    let protocol = frontend.protocol as u8;
    match frontend.address {
        IpAddr::V4(address) => Key::V4(FrontendKey4 {
            address: address.octets(),
            port,
            protocol,
            zero: 0,
        }),
        IpAddr::V6(address) => Key::V6(FrontendKey6 {
            address: address.octets(),
            port,
            protocol,
            zero: 0,
        }),
    }
}

/// Removing what is not there is what was wanted.
fn gone(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::SyscallError(error))
            if error.io_error.raw_os_error() == Some(libc::ENOENT) =>
        {
            Ok(())
        }
        other => other,
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

/// The map of tables as memory of ours: a table is written without a system call.
#[derive(Debug)]
struct Tables {
    memory: NonNull<AtomicU64>,
    /// Elements.
    length: usize,
    slots: u32,
}

// SAFETY: the memory is shared with the kernel anyway, and only touched by atomic operations.
unsafe impl Send for Tables {}

impl Tables {
    fn map(data: &MapData, settings: &Settings) -> Result<Self, MapError> {
        let length = data.info()?.max_entries() as usize;
        // SAFETY: a new mapping, placed by the kernel, of a map made to be mapped.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length * size_of::<u64>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                data.fd().as_fd().as_raw_fd(),
                0,
            )
        };
        match NonNull::new(memory) {
            Some(mapped) if memory != libc::MAP_FAILED => Ok(Self {
                memory: mapped.cast(),
                length,
                slots: settings.table_slots,
            }),
            _ => Err(MapError::IoError(io::Error::last_os_error())),
        }
    }

    fn table(&self, table: u32) -> &[AtomicU64] {
        let stride = table_stride(self.slots) as usize;
        // SAFETY: `length` elements are mapped as long as `self` lives.
        let all = unsafe { std::slice::from_raw_parts(self.memory.as_ptr(), self.length) };
        let start = (table as usize).saturating_mul(stride);
        all.get(start..start.saturating_add(stride))
            .unwrap_or_default()
    }

    fn read(&self, table: u32) -> Arc<[Slot]> {
        let pairs = self.table(table).iter();
        let slots = pairs.flat_map(|pair| unpack(pair.load(Ordering::Relaxed)));
        slots.take(self.slots as usize).collect()
    }

    fn write(&self, table: u32, slots: &[Slot]) {
        for (pair, slots) in self.table(table).iter().zip(slots.chunks(2)) {
            let odd = slots.get(1).copied().unwrap_or_default();
            pair.store(pack(slots[0], odd), Ordering::Relaxed);
        }
    }
}

impl Drop for Tables {
    fn drop(&mut self) {
        // SAFETY: what `map` mapped; nothing refers to it any more.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), self.length * size_of::<u64>()) };
    }
}

/// Two slots in the memory order of `SlotPair`.
fn pack(even: Slot, odd: Slot) -> u64 {
    let [a, b] = even.current.to_ne_bytes();
    let [c, d] = even.previous.to_ne_bytes();
    let [e, f] = odd.current.to_ne_bytes();
    let [g, h] = odd.previous.to_ne_bytes();
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

fn unpack(pair: u64) -> [Slot; 2] {
    let [a, b, c, d, e, f, g, h] = pair.to_ne_bytes();
    let slot = |current, previous| Slot {
        current: u16::from_ne_bytes(current),
        previous: u16::from_ne_bytes(previous),
    };
    [slot([a, b], [c, d]), slot([e, f], [g, h])]
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_bpf_lb_common::records::SlotPair;

    #[test]
    fn a_packed_pair_lies_in_memory_as_the_programs_read_it() {
        let even = Slot {
            current: 1,
            previous: 2,
        };
        let odd = Slot {
            current: 3,
            previous: 4,
        };
        let bytes = pack(even, odd).to_ne_bytes();
        // SAFETY: plain integers of eight bytes.
        let pair: SlotPair = unsafe { std::mem::transmute(bytes) };
        assert_eq!(pair, SlotPair { even, odd });
        assert_eq!(unpack(pack(even, odd)), [even, odd]);
    }
}
