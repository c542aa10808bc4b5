//! The filter of the announcer's packet sockets: lets through what concerns an address in its map.
//!
//! It is not part of the data path. It sees copies of frames that were received, after XDP.
#![no_std]
#![no_main]

use core::cell::Cell;

use aya_ebpf::macros::{map, socket_filter};
use aya_ebpf::maps::{HashMap, PerCpuArray};
use aya_ebpf::programs::SkBuffContext;
use landfall_bpf_lb_common::neighbour::{AddressKey, LeftOut, Words, concerns};

/// `BPF_F_NO_PREALLOC`: memory for the addresses there are, not for those there could be.
const NO_PREALLOC: u32 = 1;
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
    if concerns(&packet, known) {
        Ok(())
    } else if asked.get() {
        Err(LeftOut::NotKnown)
    } else {
        Err(LeftOut::NotNeighbour)
    }
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
