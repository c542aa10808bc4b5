//! The filter of the announcer's packet sockets: lets through what concerns an address in its map, and no more of it than
//! there is room for.
//!
//! It is not part of the data path. It sees copies of frames that were received, after XDP.
#![no_std]
#![no_main]

use core::cell::Cell;

use aya_ebpf::Global;
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::{map, socket_filter};
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray};
use aya_ebpf::programs::SkBuffContext;
use landfall_bpf_lb_common::fairness::{
    self, Kind, MeterKey, Meters, NEWCOMERS, Newcomers, REGULARS, Rates, Regulars, Standing,
};
use landfall_bpf_lb_common::neighbour::{AddressKey, Concern, LeftOut, Words, concern};

/// `BPF_F_NO_PREALLOC`: memory for the addresses there are, not for those there could be.
const NO_PREALLOC: u32 = 1;
/// `BPF_NOEXIST`: whoever was first is kept.
const NO_EXIST: u64 = 1;
/// `PACKET_HOST`: to this host's own Ethernet address.
const TO_US: u32 = 0;
/// `PACKET_OTHERHOST` and `PACKET_OUTGOING`: unicast to somebody else, and what this host sent.
const TO_OTHERS: u32 = 3;
const OUTGOING: u32 = 4;
const WHOLE: i64 = 0xffff;

/// The value is not looked at.
#[map(name = "LF_ADDRESSES")]
static ADDRESSES: HashMap<AddressKey, u32> = HashMap::with_max_entries(131_072, NO_PREALLOC);

/// Frames left out, by [`LeftOut`].
#[map(name = "LF_LEFT_OUT")]
static LEFT_OUT: PerCpuArray<u64> = PerCpuArray::with_max_entries(LeftOut::ALL.len() as u32, 0);

#[map(name = "LF_RATES")]
static RATES: Array<Rates> = Array::with_max_entries(1, 0);

/// Of the interfaces that had frames last.
#[map(name = "LF_METERS")]
static METERS: LruHashMap<MeterKey, Meters> = LruHashMap::with_max_entries(512, 0);

#[map(name = "LF_NEWCOMERS")]
static ASKED: Array<Newcomers> = Array::with_max_entries(NEWCOMERS, 0);

#[map(name = "LF_REGULARS")]
static KNOWN: Array<Regulars> = Array::with_max_entries(REGULARS, 0);

#[unsafe(no_mangle)]
static SECRET: Global<u64> = Global::new(0);

struct Packet(SkBuffContext);

impl Words for Packet {
    #[inline(always)]
    fn byte(&self, offset: usize) -> Option<u8> {
        self.0.load(offset).ok()
    }

    #[inline(always)]
    fn half(&self, offset: usize) -> Option<u16> {
        self.0.load(offset).ok()
    }

    #[inline(always)]
    fn word(&self, offset: usize) -> Option<u32> {
        self.0.load(offset).ok()
    }

    #[inline(always)]
    fn pair(&self, offset: usize) -> Option<[u64; 2]> {
        self.0.load(offset).ok()
    }
}

/// How many bytes of the frame the socket gets: all or none.
#[socket_filter]
pub fn landfall_filter(ctx: SkBuffContext) -> i64 {
    match examine(ctx) {
        Ok(()) => WHOLE,
        Err(reason) => {
            count(reason);
            0
        }
    }
}

#[inline(always)]
fn examine(ctx: SkBuffContext) -> Result<(), LeftOut> {
    // SAFETY: the context the kernel called the program with; these fields may be read by a socket filter.
    let (kind, tagged, ifindex) = unsafe {
        let skb = &*ctx.skb.skb;
        (skb.pkt_type, skb.vlan_present, skb.ifindex)
    };
    let packet = Packet(ctx);
    if kind == TO_OTHERS {
        // The kernel calls what is tagged for a network that is not here a frame to others, and takes off the tag; but
        // a group is nobody else.
        let to_group = packet.byte(0).is_some_and(|byte| byte & 1 != 0);
        return Err(if tagged != 0 || to_group {
            LeftOut::Tagged
        } else {
            LeftOut::ToOthers
        });
    }
    if tagged != 0 {
        return Err(LeftOut::Tagged);
    }
    if kind == OUTGOING {
        return Err(LeftOut::Outgoing);
    }
    let asked = Cell::new(false);
    let known = |address| {
        asked.set(true);
        ADDRESSES
            .get_ptr(AddressKey::new(address, ifindex))
            .is_some()
    };
    match concern(&packet, known) {
        Some(concern) if has_room(&packet, concern, kind == TO_US, ifindex) => Ok(()),
        Some(_) => Err(LeftOut::Crowded),
        None if asked.get() => Err(LeftOut::NotKnown),
        None => Err(LeftOut::NotNeighbour),
    }
}

/// Whether there is room for a frame of concern. Where a map is missing, everything has.
#[inline(always)]
fn has_room(packet: &Packet, concern: Concern, to_us: bool, ifindex: u32) -> bool {
    let Some(rates) = RATES.get(0).copied() else {
        return true;
    };
    let family = concern.address.family;
    let Some(meters) = meters(MeterKey { ifindex, family }) else {
        return true;
    };
    // SAFETY: the kernel has this helper for every socket filter.
    let now = unsafe { bpf_ktime_get_ns() };
    let kind = if concern.claim {
        Kind::Claim
    } else {
        let standing = standing(packet, concern, ifindex, now, meters);
        Kind::Question { to_us, standing }
    };
    meters.admit(kind, rates, now)
}

#[inline(always)]
fn standing(
    packet: &Packet,
    concern: Concern,
    ifindex: u32,
    now: u64,
    meters: &mut Meters,
) -> Standing {
    let (Some(high), Some(low)) = (packet.half(6), packet.word(8)) else {
        return Standing::Crowd;
    };
    let source = u64::from(high) << 32 | u64::from(low);
    let key = fairness::key(SECRET.load(), source, concern.address, ifindex);
    let (Some(regulars), Some(newcomers)) = (
        KNOWN.get_ptr_mut(fairness::set(key, REGULARS)),
        ASKED.get_ptr_mut(fairness::set(key, NEWCOMERS)),
    ) else {
        return Standing::Crowd;
    };
    // SAFETY: entries of maps that outlive the program; what another processor writes meanwhile are whole words.
    let (regulars, newcomers) = unsafe { (&mut *regulars, &mut *newcomers) };
    fairness::standing(key, now, regulars, newcomers, || meters.promote(now))
}

#[inline(always)]
fn meters(key: MeterKey) -> Option<&'static mut Meters> {
    let found = METERS.get_ptr_mut(key).or_else(|| {
        // Another processor may have been first, or there is no room.
        let _ = METERS.insert(key, Meters::default(), NO_EXIST);
        METERS.get_ptr_mut(key)
    })?;
    // SAFETY: an entry of a map that outlives the program; what another processor writes meanwhile are whole words.
    Some(unsafe { &mut *found })
}

#[inline(always)]
fn count(reason: LeftOut) {
    if let Some(counter) = LEFT_OUT.get_ptr_mut(reason as u32) {
        // SAFETY: the slot of this CPU in a map that outlives the program.
        unsafe { *counter += 1 };
    }
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
