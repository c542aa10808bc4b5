//! The maps and globals. Sizes here are defaults; the loader sets the real ones.

use aya_ebpf::Global;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray};
use landfall_bpf_lb_common::Verdict;
use landfall_bpf_lb_common::records::{
    BackendEntry, BudgetEntry, ConnectionEntry4, ConnectionEntry6, ConnectionKey4, ConnectionKey6,
    FrontendEntry, FrontendKey4, FrontendKey6, HopEntry, InterfaceEntry, Slot, SlotPair,
    table_stride,
};

/// `BPF_F_MMAPABLE`: user space writes whole tables as memory.
const MMAPABLE: u32 = 1 << 10;

#[map(name = "LF_FRONTENDS4")]
pub(crate) static FRONTENDS4: HashMap<FrontendKey4, FrontendEntry> = HashMap::pinned(512, 0);
#[map(name = "LF_FRONTENDS6")]
pub(crate) static FRONTENDS6: HashMap<FrontendKey6, FrontendEntry> = HashMap::pinned(512, 0);
#[map(name = "LF_TABLES")]
static TABLES: Array<SlotPair> = Array::pinned(8191, MMAPABLE);
#[map(name = "LF_BACKENDS")]
static BACKENDS: Array<BackendEntry> = Array::pinned(16384, 0);
#[map(name = "LF_HOPS")]
static HOPS: Array<HopEntry> = Array::pinned(4096, 0);
#[map(name = "LF_NODES")]
static NODES: HashMap<InterfaceEntry, u32> = HashMap::pinned(4096, 0);
#[map(name = "LF_INTERFACES")]
static INTERFACES: HashMap<u32, InterfaceEntry> = HashMap::pinned(64, 0);
#[map(name = "LF_CONNECTIONS4")]
pub(crate) static CONNECTIONS4: LruHashMap<ConnectionKey4, ConnectionEntry4> =
    LruHashMap::pinned(262_144, 0);
#[map(name = "LF_CONNECTIONS6")]
pub(crate) static CONNECTIONS6: LruHashMap<ConnectionKey6, ConnectionEntry6> =
    LruHashMap::pinned(65_536, 0);
#[map(name = "LF_COUNTERS")]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::pinned(Verdict::COUNT as u32, 0);
#[map(name = "LF_BUDGET")]
pub(crate) static BUDGET: PerCpuArray<BudgetEntry> = PerCpuArray::pinned(1, 0);

#[unsafe(no_mangle)]
static TABLE_SLOTS: Global<u32> = Global::new(16381);
#[unsafe(no_mangle)]
pub(crate) static JIFFIES_PER_SECOND: Global<u32> = Global::new(250);
#[unsafe(no_mangle)]
pub(crate) static INSERT_BUDGET: Global<u32> = Global::new(100_000);

/// The slot that `hash` falls into.
#[inline(always)]
pub(crate) fn slot(table: u32, hash: u32) -> Option<Slot> {
    let slots = TABLE_SLOTS.load();
    let index = landfall_bpf_lb_common::flow::slot(hash, slots);
    let pair = TABLES.get(table * table_stride(slots) + index / 2)?;
    Some(if index.is_multiple_of(2) {
        pair.even
    } else {
        pair.odd
    })
}

/// The backend of this id, if there is one.
#[inline(always)]
pub(crate) fn backend(id: u16) -> Option<&'static BackendEntry> {
    if id == 0 {
        return None;
    }
    BACKENDS
        .get(u32::from(id))
        .filter(|backend| backend.flags & BackendEntry::USED != 0)
}

/// The hop of this id, if its MAC address is known.
#[inline(always)]
pub(crate) fn hop(id: u16) -> Option<&'static HopEntry> {
    HOPS.get(u32::from(id)).filter(|hop| hop.ifindex != 0)
}

/// Whether frames from this MAC address were sent by another director.
#[inline(always)]
pub(crate) fn is_node(mac: [u8; 6]) -> bool {
    NODES
        .get_ptr(InterfaceEntry { mac, zero: [0; 2] })
        .is_some()
}

/// Whether `mac` is the address of the interface `ifindex`.
#[inline(always)]
pub(crate) fn is_ours(ifindex: u32, mac: [u8; 6]) -> bool {
    // SAFETY: entries change only when a person changes the MAC address of an interface; a torn
    // read then means one packet that passes to the kernel.
    unsafe { INTERFACES.get(ifindex) }.is_some_and(|interface| interface.mac == mac)
}

/// Counts one packet.
#[inline(always)]
pub(crate) fn count(verdict: Verdict) {
    if let Some(counter) = COUNTERS.get_ptr_mut(verdict as u32) {
        // SAFETY: this CPU's own counter.
        unsafe { *counter += 1 };
    }
}
