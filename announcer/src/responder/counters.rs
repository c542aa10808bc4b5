//! Counters of what was answered, announced and ignored, of one interface, by reason.

use std::sync::atomic::{AtomicU64, Ordering};

use landfall_wire::Reason;

use crate::link::Protocol;

/// What one interface has seen since it was first used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceSnapshot {
    pub interface: String,
    pub answered_arp: u64,
    pub answered_ndp: u64,
    /// Frames ignored, for every reason in the order of [`Reason::ALL`].
    pub ignored: Vec<(Reason, u64)>,
    pub announced: u64,
    pub probed: u64,
    /// Frames in which a foreign host claimed an address of this node.
    pub conflicts: u64,
    /// Frames in which a foreign host claimed an address that was being probed.
    pub contested: u64,
    /// Announcements made because of one.
    pub defended: u64,
    /// Announcement and probe frames the kernel did not take.
    pub unsent: u64,
    /// Failed reads.
    pub receive_errors: u64,
    /// Frames the kernel dropped because the queue of a socket was full.
    pub dropped: u64,
}

impl InterfaceSnapshot {
    /// Frames ignored for `reason`.
    #[must_use]
    pub fn ignored(&self, reason: Reason) -> u64 {
        self.ignored
            .get(reason.index())
            .map_or(0, |(_, count)| *count)
    }
}

/// The counters of one interface.
#[derive(Debug)]
pub(super) struct Counters {
    answered: [AtomicU64; 2],
    ignored: [AtomicU64; Reason::COUNT],
    pub(super) announced: AtomicU64,
    pub(super) probed: AtomicU64,
    pub(super) conflicts: AtomicU64,
    pub(super) contested: AtomicU64,
    pub(super) defended: AtomicU64,
    pub(super) unsent: AtomicU64,
    pub(super) receive_errors: AtomicU64,
    pub(super) dropped: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            answered: Default::default(),
            ignored: std::array::from_fn(|_| AtomicU64::new(0)),
            announced: AtomicU64::new(0),
            probed: AtomicU64::new(0),
            conflicts: AtomicU64::new(0),
            contested: AtomicU64::new(0),
            defended: AtomicU64::new(0),
            unsent: AtomicU64::new(0),
            receive_errors: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }
}

impl Counters {
    /// What they say now of the interface that is called so.
    pub(super) fn read(&self, interface: String) -> InterfaceSnapshot {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        InterfaceSnapshot {
            interface,
            answered_arp: load(&self.answered[slot(Protocol::Arp)]),
            answered_ndp: load(&self.answered[slot(Protocol::Ndp)]),
            ignored: Reason::ALL
                .iter()
                .map(|reason| (*reason, load(&self.ignored[reason.index()])))
                .collect(),
            announced: load(&self.announced),
            probed: load(&self.probed),
            conflicts: load(&self.conflicts),
            contested: load(&self.contested),
            defended: load(&self.defended),
            unsent: load(&self.unsent),
            receive_errors: load(&self.receive_errors),
            dropped: load(&self.dropped),
        }
    }

    pub(super) fn answered(&self, protocol: Protocol) {
        count(&self.answered[slot(protocol)]);
    }

    pub(super) fn ignored(&self, reason: Reason) {
        count(&self.ignored[reason.index()]);
    }
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

const fn slot(protocol: Protocol) -> usize {
    match protocol {
        Protocol::Arp => 0,
        Protocol::Ndp => 1,
    }
}
