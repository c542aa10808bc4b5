//! What programs and user space tell each other in single words, and what time it is.

use aya_ebpf::helpers::bpf_jiffies64;
use aya_ebpf::programs::XdpContext;
use landfall_bpf_lb_common::Verdict;

use crate::frame::Frame;
use crate::maps::{self, JIFFIES_PER_SECOND};

/// After a table had no room, new connections take the kernel's path for so many seconds.
const FULL_SECONDS: u64 = 1;
/// Without a sign of life from user space for so many seconds, new connections take the kernel's
/// path.
const WATCHDOG_SECONDS: u64 = 300;
/// And only if user space has said within so many seconds that the tables are those of now.
const FRESH_SECONDS: u64 = 1;

/// A moment is so many bits of jiffies: no longer than TCP waits before it repeats itself.
const MOMENT: u32 = 4;

/// Jiffies since boot: an inlined load, unlike reading a clock.
#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: a plain helper call.
    unsafe { bpf_jiffies64() }
}

/// The jiffies that entries hold.
#[inline(always)]
pub(crate) fn short(now: u64) -> u32 {
    now as u32
}

/// Jiffies in a second.
#[inline(always)]
pub(crate) fn second() -> u32 {
    JIFFIES_PER_SECOND.load()
}

/// Writes the jiffies of now into a word that was zero until there was something to look for. Later
/// ones are noted too, or user space might clear it under them; but rarely, because every CPU reads
/// this line.
///
/// # Safety
/// `word` is one of the shared state's.
#[inline(always)]
unsafe fn note(word: *mut u64) {
    let now = now();
    // SAFETY: as the caller says; a word is read and written at once.
    unsafe {
        if *word != now {
            *word = now;
        }
    }
}

/// Plain replies must be looked up among the half-open connections from now on.
#[inline(always)]
pub(crate) fn note_stray() {
    if let Some(shared) = maps::state() {
        // SAFETY: as above.
        unsafe { note(&raw mut (*shared).strays) };
    }
}

/// Whether plain replies must be looked up among the half-open connections.
#[inline(always)]
pub(crate) fn has_strays() -> bool {
    // SAFETY: as above.
    maps::state().is_some_and(|shared| unsafe { (*shared).strays } != 0)
}

/// Whether a director must look for connections of the kernel's path.
#[inline(always)]
pub(crate) fn has_kernels() -> bool {
    // SAFETY: as above.
    maps::state().is_some_and(|shared| unsafe { (*shared).kernels } != 0)
}

/// The hop id of a node that cannot tell just now what it has, other than the one with this MAC
/// address. Of several another one from moment to moment, so that what a client repeats reaches each.
#[inline(always)]
pub(crate) fn away(but: [u8; 6]) -> Option<u16> {
    // SAFETY: as above; a word is read at once.
    let all = maps::state().map(|shared| unsafe { (*shared).away })?;
    if all == 0 {
        return None;
    }
    // All four are some node's: where there are two, of any two neighbours one is not the asked one.
    let mut ids = all.rotate_right(((now() >> MOMENT) as u32 & 3) * u16::BITS);
    for _ in 0..2 {
        let id = ids as u16;
        if maps::hop(id).is_some_and(|hop| hop.mac != but) {
            return Some(id);
        }
        ids >>= u16::BITS;
    }
    None
}

/// Returns the jiffies that entries hold. If the first byte is not zero, user space lives, and the
/// tables are those of now.
#[must_use]
pub fn feed_xdp(ctx: &XdpContext) -> u32 {
    let (frame, now) = (Frame::of_xdp(ctx), now());
    let is_fed = frame.bytes::<12>(0).is_some_and(|byte| byte[0] != 0);
    if is_fed && let Some(shared) = maps::state() {
        // SAFETY: as above.
        unsafe { (*shared).fed = now };
    }
    short(now)
}

/// Whether somebody keeps the tables: what is new may follow them.
#[inline(always)]
pub(crate) fn are_kept() -> Result<(), Verdict> {
    let shared = maps::state().ok_or(Verdict::Overdue)?;
    // SAFETY: as above.
    let fed = unsafe { (*shared).fed };
    if now().wrapping_sub(fed) > u64::from(second()) * WATCHDOG_SECONDS {
        return Err(Verdict::Overdue);
    }
    Ok(())
}

/// Whether new connections may be opened here: somebody keeps the tables, and they have room.
#[inline(always)]
pub(crate) fn may_open() -> Result<(), Verdict> {
    are_kept()?;
    let shared = maps::state().ok_or(Verdict::TableFull)?;
    // SAFETY: as above.
    let full = unsafe { (*shared).full };
    if now().wrapping_sub(full) < u64::from(second()) * FULL_SECONDS {
        return Err(Verdict::TableFull);
    }
    Ok(())
}

/// Plain packets must be looked up for connections of the kernel's path from now on.
#[inline(always)]
pub(crate) fn note_kernel() {
    if let Some(shared) = maps::state() {
        // SAFETY: as above.
        unsafe { note(&raw mut (*shared).kernels) };
    }
}

/// The table of connections has no room.
#[inline(always)]
pub(crate) fn note_full() {
    if let Some(shared) = maps::state() {
        // SAFETY: the one element; a word is written at once.
        unsafe { (*shared).full = now() };
    }
}

/// Whether the tables are those of now.
#[inline(always)]
pub(crate) fn is_fresh(now: u64) -> bool {
    // SAFETY: as above.
    let fed = maps::state().map(|shared| unsafe { (*shared).fed });
    fed.is_some_and(|fed| now.wrapping_sub(fed) < u64::from(second()) * FRESH_SECONDS)
}
