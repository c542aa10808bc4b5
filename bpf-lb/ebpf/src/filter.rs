//! The filter of the announcer's packet sockets: lets through what concerns an address in its map.
//!
//! It is not part of the data path. It sees copies of frames that were received, after XDP.
#![no_std]
#![no_main]

use aya_ebpf::macros::{map, socket_filter};
use aya_ebpf::maps::HashMap;
use aya_ebpf::programs::SkBuffContext;
use landfall_bpf_lb_common::neighbour::{AddressKey, Words, concerns};

/// `BPF_F_NO_PREALLOC`: memory for the addresses there are, not for those there could be.
const NO_PREALLOC: u32 = 1;
/// `PACKET_OTHERHOST` and `PACKET_OUTGOING`: unicast to somebody else, and what this host sent.
const TO_OTHERS: u32 = 3;
const OUTGOING: u32 = 4;
const WHOLE: i64 = 0xffff;

/// The value is not looked at.
#[map(name = "LF_ADDRESSES")]
static ADDRESSES: HashMap<AddressKey, u32> = HashMap::with_max_entries(131_072, NO_PREALLOC);

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
    // SAFETY: the context the kernel called the program with; these fields may be read by a socket filter.
    let (kind, tagged, ifindex) = unsafe {
        let skb = &*ctx.skb.skb;
        (skb.pkt_type, skb.vlan_present, skb.ifindex)
    };
    if kind == TO_OTHERS || kind == OUTGOING || tagged != 0 {
        return 0;
    }
    let known = |address| {
        ADDRESSES
            .get_ptr(AddressKey::new(address, ifindex))
            .is_some()
    };
    if concerns(&Packet(ctx), known) {
        WHOLE
    } else {
        0
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
