//! The data path behind a prologue that renews the packet: `BPF_PROG_TEST_RUN` hands the same
//! bytes to every repetition, changed by the one before. The prologue's cost is measured alone by
//! `renew` and is part of every figure of `path`.
//!
//! And a program of somebody else's, for the tests.
#![no_std]
#![no_main]

use aya_ebpf::Global;
use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_PASS};
use aya_ebpf::bindings::{TC_ACT_OK, TC_ACT_SHOT, TC_ACT_UNSPEC};
use aya_ebpf::macros::{classifier, map, xdp};
use aya_ebpf::maps::{Array, PerCpuArray};
use aya_ebpf::programs::{TcContext, XdpContext};
use landfall_bpf_lb_ebpf::{Frame, Unwatched, receive_frame, receive_tc};

/// The frame to write, in words of eight bytes.
const WORDS: usize = 10;

#[map]
static TEMPLATE: Array<[u64; WORDS]> = Array::with_max_entries(1, 0);
#[map]
static RUNS: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Offset of the source port.
#[unsafe(no_mangle)]
static PORT_OFFSET: Global<u32> = Global::new(34);
/// Number of flows minus one; a power of two minus one.
#[unsafe(no_mangle)]
static FLOWS: Global<u32> = Global::new(0);

/// Writes the first `LENGTH` bytes of the template, 6 + 8 × `WORDS` + 2, with `port` at `place`. Behind the Ethernet
/// destination they are words in each of which a whole address lies, or two, or the ports: no load has to wait for two
/// stores, as it need not for a packet from the wire.
#[inline(always)]
fn write<const LENGTH: usize, const WORDS: usize>(
    frame: &Frame,
    template: &[u64; 10],
    place: usize,
    port: [u8; 2],
) -> Option<()> {
    let to = frame.bytes::<LENGTH>(0)?.as_mut_ptr();
    let from = template.as_ptr().cast();
    // SAFETY: both have as many bytes.
    unsafe {
        copy::<u32>(from, to, 0);
        copy::<u16>(from, to, 4);
        for word in 0..WORDS {
            let offset = 6 + word * 8;
            copy::<u64>(from, to, offset);
            if offset <= place && place < offset + 8 {
                let mut bytes = *from.add(offset).cast::<[u8; 8]>();
                bytes[place - offset] = port[0];
                bytes[place - offset + 1] = port[1];
                let word = u64::from_ne_bytes(bytes);
                to.add(offset).cast::<u64>().write_unaligned(word);
            }
        }
        copy::<u16>(from, to, LENGTH - 2);
    }
    Some(())
}

/// Copies one integer.
///
/// # Safety
/// It lies within both.
#[inline(always)]
unsafe fn copy<T: Copy>(from: *const u8, to: *mut u8, offset: usize) {
    // SAFETY: as the caller says.
    unsafe {
        let value = from.add(offset).cast::<T>().read_unaligned();
        to.add(offset).cast::<T>().write_unaligned(value);
    }
}

/// Writes the template, and the next source port into it.
#[inline(always)]
fn renew(frame: Frame) -> Option<Frame> {
    let template = TEMPLATE.get(0)?;
    let runs = RUNS.get_ptr_mut(0)?;
    // SAFETY: this CPU's own counter.
    let run = unsafe {
        *runs += 1;
        *runs
    };
    // An odd factor visits every flow, far from the one before.
    let flow = (run as u32).wrapping_mul(40_503) & FLOWS.load();
    let port = (flow as u16).to_be_bytes();
    if PORT_OFFSET.load() == 34 {
        write::<64, 7>(&frame, template, 34, port)?;
    } else {
        write::<80, 9>(&frame, template, 54, port)?;
    }
    Some(frame)
}

/// The prologue alone.
#[xdp]
pub fn bench_renew(ctx: XdpContext) -> u32 {
    match renew(Frame::of_xdp(&ctx)) {
        Some(_) => XDP_PASS,
        None => XDP_ABORTED,
    }
}

/// The prologue and the data path.
#[xdp]
pub fn bench_path(ctx: XdpContext) -> u32 {
    match renew(Frame::of_xdp(&ctx)) {
        Some(frame) => receive_frame(&frame),
        None => XDP_ABORTED,
    }
}

/// Does nothing: the floor of TC.
#[classifier]
pub fn bench_tc_empty(_ctx: TcContext) -> i32 {
    TC_ACT_UNSPEC
}

/// The prologue alone, at TC.
#[classifier]
pub fn bench_tc_renew(ctx: TcContext) -> i32 {
    match renew(Frame::of_skb(&ctx)) {
        Some(_) => TC_ACT_UNSPEC,
        None => TC_ACT_SHOT,
    }
}

/// The prologue and the data path, at TC.
#[classifier]
pub fn bench_tc_path(ctx: TcContext) -> i32 {
    match renew(Frame::of_skb(&ctx)) {
        Some(_) => receive_tc(&ctx, Unwatched),
        None => TC_ACT_SHOT,
    }
}

/// Accepts every packet, which ends the chain of TC programs on an interface.
#[classifier]
pub fn bench_accept(_ctx: TcContext) -> i32 {
    TC_ACT_OK as i32
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
