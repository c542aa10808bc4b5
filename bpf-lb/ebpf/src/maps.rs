//! The maps and globals. Sizes here are defaults; the loader sets the real ones.

use core::mem::transmute;
use core::ptr::read_volatile;

use aya_ebpf::Global;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray};
use landfall_bpf_lb_common::Verdict;
use landfall_bpf_lb_common::flow::{SEED_WORDS, Seed};
use landfall_bpf_lb_common::places::PLACES;
use landfall_bpf_lb_common::records::{
    BackendEntry, ConnectionEntry4, ConnectionEntry6, ConnectionKey4, ConnectionKey6,
    FrontendEntry, FrontendKey4, FrontendKey6, HopEntry, INTERFACE_PLACES, InterfaceEntry, MacKey,
    NODE_WORDS, Place4, Place6, SamplingEntry, Slot, StateEntry, node_bit,
};

/// `BPF_F_MMAPABLE`: user space reads and writes it as memory.
const MMAPABLE: u32 = 1 << 10;

#[map(name = "LF_FRONTENDS4_3")]
pub(crate) static FRONTENDS4: HashMap<FrontendKey4, FrontendEntry> = HashMap::pinned(512, 0);
#[map(name = "LF_FRONTENDS6_3")]
pub(crate) static FRONTENDS6: HashMap<FrontendKey6, FrontendEntry> = HashMap::pinned(512, 0);
#[map(name = "LF_PLACES4_1")]
pub(crate) static PLACES4: Array<Place4> = Array::pinned(PLACES, MMAPABLE);
#[map(name = "LF_PLACES6_1")]
pub(crate) static PLACES6: Array<Place6> = Array::pinned(PLACES, MMAPABLE);
#[map(name = "LF_TABLES_3")]
static TABLES: Array<Slot> = Array::pinned(65_536, MMAPABLE);
#[map(name = "LF_BACKENDS_2")]
static BACKENDS: Array<BackendEntry> = Array::pinned(16_384, 0);
#[map(name = "LF_HOPS_2")]
static HOPS: Array<HopEntry> = Array::pinned(4096, 0);
#[map(name = "LF_NODES_2")]
static NODES: HashMap<MacKey, u32> = HashMap::pinned(4096, 0);
#[map(name = "LF_NODEBITS_1")]
static NODE_BITS: Array<u64> = Array::pinned(NODE_WORDS, 0);
#[map(name = "LF_INTERF_2")]
static INTERFACES: HashMap<u32, InterfaceEntry> = HashMap::pinned(64, 0);
#[map(name = "LF_IFPLACES_1")]
static INTERFACE_PLACES_OF: Array<InterfaceEntry> = Array::pinned(INTERFACE_PLACES, 0);
#[map(name = "LF_CONNECT4_1")]
pub(crate) static CONNECTIONS4: HashMap<ConnectionKey4, ConnectionEntry4> =
    HashMap::pinned(524_288, 0);
#[map(name = "LF_CONNECT6_1")]
pub(crate) static CONNECTIONS6: HashMap<ConnectionKey6, ConnectionEntry6> =
    HashMap::pinned(131_072, 0);
#[map(name = "LF_HALFOPEN4_1")]
pub(crate) static HALF_OPEN4: LruHashMap<ConnectionKey4, ConnectionEntry4> =
    LruHashMap::pinned(131_072, 0);
#[map(name = "LF_HALFOPEN6_1")]
pub(crate) static HALF_OPEN6: LruHashMap<ConnectionKey6, ConnectionEntry6> =
    LruHashMap::pinned(65_536, 0);
#[map(name = "LF_STATE_3")]
static STATE: Array<StateEntry> = Array::pinned(1, MMAPABLE);
#[map(name = "LF_COUNTERS_8")]
static COUNTERS: PerCpuArray<[u64; Verdict::COUNT]> = PerCpuArray::pinned(1, 0);
#[map(name = "LF_SAMPLING_1")]
static SAMPLING: Array<SamplingEntry> = Array::pinned(1, MMAPABLE);

#[unsafe(no_mangle)]
pub(crate) static JIFFIES_PER_SECOND: Global<u32> = Global::new(250);
#[unsafe(no_mangle)]
static SEED: Seed = [0; SEED_WORDS];

/// The first `N` words of the cluster's secret; the others are zero.
#[inline(always)]
pub(crate) fn seed<const N: usize>() -> Seed {
    let mut seed = [0; SEED_WORDS];
    let mut index = 0;
    while index < N {
        // SAFETY: a static of this object; the loader has written it, which the compiler must not
        // think away.
        seed[index] = unsafe { read_volatile(&raw const SEED[index]) };
        index += 1;
    }
    seed
}

/// A frontend's entry, whose place in the map may be given to another one meanwhile, read by one load.
#[inline(always)]
pub(crate) fn at_once(entry: &FrontendEntry) -> FrontendEntry {
    // SAFETY: a word of this size and alignment, of which any value is an entry.
    unsafe { transmute::<u64, FrontendEntry>(read_volatile((&raw const *entry).cast())) }
}

/// A word of a place, which user space may be about to write.
#[inline(always)]
pub(crate) fn word_of<T, W: Copy>(place: &T, offset: usize) -> W {
    // SAFETY: the callers name a word that is there, and any value is one.
    unsafe { read_volatile((&raw const *place).cast::<u8>().add(offset).cast()) }
}

/// A slot of the table that begins at `table`.
#[inline(always)]
pub(crate) fn slot(table: u32, number: u32) -> Option<&'static Slot> {
    TABLES.get(table + number)
}

/// The number of the slot `distance` behind `number`, in a table of so many: a power of two.
#[inline(always)]
pub(crate) fn slot_behind(number: u32, distance: u32, slots: u32) -> u32 {
    (number + distance) & (slots - 1)
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

/// Whether frames from this MAC address were sent by another node.
#[inline(always)]
pub(crate) fn is_node(mac: [u8; 6]) -> bool {
    let (word, bit) = node_bit(mac);
    NODE_BITS.get(word).is_some_and(|bits| bits & bit != 0)
        && NODES.get_ptr(MacKey { mac, zero: [0; 2] }).is_some()
}

/// The interface of this index, if `mac` is our address on it.
#[inline(always)]
pub(crate) fn ours(ifindex: u32, mac: [u8; 6]) -> Option<&'static InterfaceEntry> {
    // Entries change only when a person changes the MAC address of an interface; a torn read then means one packet
    // that passes to the kernel.
    let at_its_place = INTERFACE_PLACES_OF.get(ifindex % INTERFACE_PLACES);
    let interface = match at_its_place.filter(|interface| interface.ifindex == ifindex) {
        Some(interface) => interface,
        // SAFETY: as above.
        None => unsafe { INTERFACES.get(ifindex) }?,
    };
    (interface.mac == mac).then_some(interface)
}

/// What programs and user space tell each other.
#[inline(always)]
pub(crate) fn state() -> Option<*mut StateEntry> {
    STATE.get_ptr_mut(0)
}

/// What whoever looks at packets wants.
#[inline(always)]
#[must_use]
pub fn sampling() -> Option<*mut SamplingEntry> {
    SAMPLING.get_ptr_mut(0)
}

/// Counts one packet.
#[inline(always)]
pub(crate) fn count(verdict: Verdict) {
    // SAFETY: this CPU's own counters.
    if let Some(counters) = COUNTERS.get_ptr_mut(0)
        && let Some(counter) = unsafe { (*counters).get_mut(verdict as usize) }
    {
        *counter += 1;
    }
}
