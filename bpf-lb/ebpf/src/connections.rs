//! The table of connections delivered on this node. It exists for the replies, which must get
//! their VIP back, and for telling a known connection from a stray one.

use aya_ebpf::helpers::bpf_jiffies64;
use landfall_bpf_lb_common::Verdict;
use landfall_bpf_lb_common::records::BackendEntry;

use crate::family::Family;
use crate::maps::{BUDGET, INSERT_BUDGET, JIFFIES_PER_SECOND};
use crate::packet::Packet;

/// A connection that has been silent for so many seconds gives its client port to another frontend.
const SILENT_SECONDS: u64 = 60;

/// Whether a connection is in the table.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    Yes,
    No,
}

/// Jiffies since boot: an inlined load, unlike reading a clock.
#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: a plain helper call.
    unsafe { bpf_jiffies64() }
}

#[inline(always)]
fn key<F: Family>(packet: &Packet<F>, backend: &BackendEntry) -> F::Key {
    let transport = &packet.transport;
    let port = u16::from_ne_bytes(backend.port);
    F::key(
        packet.client,
        transport.source,
        F::pod(backend),
        port,
        transport.protocol,
    )
}

/// Whether `packet` belongs to a connection that `backend` has by this packet's frontend.
#[inline(always)]
pub(crate) fn look_up<F: Family>(packet: &Packet<F>, backend: &BackendEntry) -> Known {
    match F::connection(&key(packet, backend)) {
        // SAFETY: an entry of the table; it may be reused under us, which shows as another frontend.
        Some(entry) if F::vip(unsafe { &*entry }) == (packet.vip, packet.transport.destination) => {
            Known::Yes
        }
        _ => Known::No,
    }
}

/// Sees to it that the replies of `packet`'s connection to `backend` will be recognised.
#[inline(always)]
pub(crate) fn record<F: Family>(packet: &Packet<F>, backend: &BackendEntry) -> Result<(), Verdict> {
    let key = key(packet, backend);
    let now = now();
    if let Some(entry) = F::connection(&key) {
        // SAFETY: as above; `seen` alone is written, and a word at once.
        let entry = unsafe { &mut *entry };
        let silent = now.wrapping_sub(*F::seen(entry));
        let second = u64::from(JIFFIES_PER_SECOND.load());
        if F::vip(entry) == (packet.vip, packet.transport.destination) {
            if silent >= second {
                *F::seen(entry) = now;
            }
            return Ok(());
        }
        if silent < second * SILENT_SECONDS {
            return Err(Verdict::Collision);
        }
    }
    spend(now)?;
    F::remember(
        &key,
        &F::entry(packet.vip, packet.transport.destination, now),
    )
}

/// Takes one insert from this CPU's budget, so that a flood of new connections cannot push the
/// living ones out of the table.
#[inline(always)]
fn spend(now: u64) -> Result<(), Verdict> {
    let budget = BUDGET.get_ptr_mut(0).ok_or(Verdict::TableFull)?;
    // SAFETY: this CPU's own entry.
    let budget = unsafe { &mut *budget };
    if now.wrapping_sub(budget.since) >= u64::from(JIFFIES_PER_SECOND.load()) {
        budget.since = now;
        budget.inserts = 0;
    }
    if budget.inserts >= u64::from(INSERT_BUDGET.load()) {
        return Err(Verdict::OverBudget);
    }
    budget.inserts += 1;
    Ok(())
}
