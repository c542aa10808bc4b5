//! The programs of `main.rs` once more, for as long as somebody looks: each hands on a sample of what it is done with.
//!
//! Whoever looks says until when, and renews that; where nobody has, nothing is taken.
#![no_std]
#![no_main]

use core::hint::black_box;

use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::{classifier, map, xdp};
use aya_ebpf::maps::{PerCpuArray, RingBuf};
use aya_ebpf::programs::{TcContext, XdpContext};
use landfall_bpf_lb_common::headers::Window as _;
use landfall_bpf_lb_common::records::SamplingEntry;
use landfall_bpf_lb_common::sample::{CAPTURED, RING, Sample, admit};
use landfall_bpf_lb_ebpf::{Fate, Frame, Seen, Watch, sampling};

#[map(name = "LF_SAMPLES_1")]
static SAMPLES: RingBuf = RingBuf::pinned(RING, 0);
#[map(name = "LF_MISSED_1")]
static MISSED: PerCpuArray<u64> = PerCpuArray::pinned(1, 0);

/// Bytes that are copied at once.
const WORD: usize = size_of::<u64>();

/// Directs or delivers what is received.
#[xdp]
pub fn landfall_xdp(ctx: XdpContext) -> u32 {
    landfall_bpf_lb_ebpf::receive_xdp(&ctx, Sampler(|fate| Seen::at_xdp(&ctx, fate)))
}

/// The same where a frame may lie in several buffers.
#[xdp(frags)]
pub fn landfall_xdp_frags(ctx: XdpContext) -> u32 {
    landfall_bpf_lb_ebpf::receive_xdp_frags(&ctx, Sampler(|fate| Seen::at_xdp_frags(&ctx, fate)))
}

/// The same as received packets enter the network stack.
#[classifier]
pub fn landfall_tc(ctx: TcContext) -> i32 {
    landfall_bpf_lb_ebpf::receive_tc(&ctx, Sampler(|fate| Seen::at_tc(&ctx, fate)))
}

/// Gives replies of delivered connections their VIP back.
#[classifier]
pub fn landfall_egress(ctx: TcContext) -> i32 {
    landfall_bpf_lb_ebpf::reply(&ctx, Sampler(|fate| Seen::at_tc(&ctx, fate)))
}

/// Takes samples of packets, which it has from elsewhere.
#[derive(Clone, Copy)]
struct Sampler<S>(S);

impl<S: Fn(Fate) -> Seen + Copy> Watch for Sampler<S> {
    #[inline(always)]
    fn see(self, fate: Fate) {
        let Some(sampling) = sampling() else {
            return;
        };
        // SAFETY: the one element of a map that outlives the program; words are read at once.
        let (until, verdicts) = unsafe { ((*sampling).until, (*sampling).verdicts) };
        if until == 0 {
            return;
        }
        let seen = (self.0)(fate);
        if verdicts >> (seen.verdict % u64::BITS) & 1 == 0 {
            return;
        }
        // SAFETY: a plain helper call.
        let now = unsafe { bpf_ktime_get_ns() };
        if now < until && take(sampling, &seen, now).is_none() {
            miss();
        }
    }
}

/// Hands on a sample, if one more may be taken and there is room.
#[inline(always)]
fn take(sampling: *mut SamplingEntry, seen: &Seen, now: u64) -> Option<()> {
    // SAFETY: as above. Where several processors do this at the same time, each may take one for the price of one.
    unsafe { (*sampling).paid = admit((*sampling).paid, now)? };
    let mut entry = SAMPLES.reserve::<Sample>(0)?;
    let sample = entry.as_mut_ptr();
    // SAFETY: room for a sample, which is written whole but for bytes that nobody reads.
    unsafe {
        (*sample).time = now;
        (*sample).verdict = seen.verdict;
        (*sample).ifindex = seen.frame.ifindex;
        (*sample).out = seen.out;
        (*sample).length = seen.frame.length() as u32;
        (*sample).tag = seen.tag;
        (*sample).captured = copy(&seen.frame, (&raw mut (*sample).bytes).cast());
    }
    entry.submit(0);
    Some(())
}

/// Copies the first bytes of `frame`, and says how many. No frame is shorter than a word.
///
/// # Safety
/// There is room for [`CAPTURED`].
#[inline(always)]
unsafe fn copy(frame: &Frame, to: *mut u8) -> u32 {
    for offset in (0..CAPTURED).step_by(WORD) {
        if let Some(bytes) = frame.bytes::<WORD>(offset) {
            // SAFETY: within the room, as a whole number of words fits it.
            unsafe { to.add(offset).cast::<[u8; WORD]>().write_unaligned(*bytes) };
            continue;
        }
        // The last word ends where the frame does; but the verifier lets nobody count from there.
        let last = black_box(frame.visible().wrapping_sub(WORD));
        if last > CAPTURED - WORD {
            return offset as u32;
        }
        let Some(bytes) = frame.bytes::<WORD>(last) else {
            return offset as u32;
        };
        // SAFETY: within the room, as asked above.
        unsafe { to.add(last).cast::<[u8; WORD]>().write_unaligned(*bytes) };
        return (last + WORD) as u32;
    }
    CAPTURED as u32
}

/// Counts a packet that was wanted and not taken.
#[inline(always)]
fn miss() {
    if let Some(missed) = MISSED.get_ptr_mut(0) {
        // SAFETY: this CPU's own counter.
        unsafe { *missed += 1 };
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
