//! Everything the responder counts, read off its parts at one moment.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use landfall_wire::Reason;

use super::counters::InterfaceSnapshot;
use super::state::Shared;
use crate::link::FilterCounts;

/// Everything there is to count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    pub interfaces: Vec<InterfaceSnapshot>,
    /// Pairs of address and interface owned.
    pub owned: u64,
    /// Interfaces on which frames are received.
    pub ports: u64,
    pub groups: u64,
    /// Whether the eBPF filter is in place; otherwise the classic one.
    pub by_map: bool,
    /// Frames the eBPF filter has kept away, by reason, on all interfaces together.
    pub filtered: Vec<(Reason, u64)>,
}

pub(super) fn take(shared: &Shared) -> Snapshot {
    for port in shared.ports.borrow().ports.values() {
        port.count_dropped();
    }
    let links = Arc::clone(&shared.links.borrow());
    let name = |index| links.links.get(index).map(|link| link.name.clone());
    let interfaces = shared
        .counters
        .lock()
        .iter()
        .filter_map(|(index, counters)| Some(counters.read(name(index)?)))
        .collect();
    Snapshot {
        interfaces,
        owned: shared.state.borrow().owned.len() as u64,
        ports: shared.ports.borrow().ports.len() as u64,
        groups: shared.groups.load(Ordering::Relaxed),
        by_map: shared.by_map.load(Ordering::Relaxed),
        filtered: shared
            .filtered
            .lock()
            .as_ref()
            .map(FilterCounts::read)
            .unwrap_or_default(),
    }
}
