//! How many half-open connections come, and how many go because a program takes them out: counted when one does, which is
//! once a connection, so that no other packet pays for it.

use aya_ebpf::macros::map;
use aya_ebpf::maps::PerCpuArray;
use landfall_bpf_lb_common::records::TurnoverEntry;

#[map(name = "LF_TURNOVER_1")]
static TURNOVER: PerCpuArray<TurnoverEntry> = PerCpuArray::pinned(1, 0);

/// An entry has come.
#[inline(always)]
pub(crate) fn inserted() {
    if let Some(turnover) = TURNOVER.get_ptr_mut(0) {
        // SAFETY: this CPU's own.
        unsafe { (*turnover).inserted += 1 };
    }
}

/// An entry was taken out.
#[inline(always)]
pub(crate) fn removed() {
    if let Some(turnover) = TURNOVER.get_ptr_mut(0) {
        // SAFETY: this CPU's own.
        unsafe { (*turnover).removed += 1 };
    }
}
