//! What the courses of a packet share: what was read of it, where it may go, what becomes of it.

use landfall_bpf_lb_common::Verdict;
use landfall_bpf_lb_common::headers::Transport;

use crate::family::{Family, Pod};
use crate::frame::Frame;

/// A packet for a frontend.
pub(crate) struct Packet<F: Family> {
    pub(crate) frame: Frame,
    /// Offset of the IP header.
    pub(crate) network: usize,
    pub(crate) transport: Transport,
    pub(crate) client: F::Address,
    pub(crate) vip: F::Address,
    /// The frontend's flags.
    pub(crate) flags: u32,
    /// The first slot of the frontend's table.
    pub(crate) table: u32,
    /// Number of the slot in it.
    pub(crate) slot: u32,
}

/// Where a packet goes, and how its doing so is counted.
pub(crate) enum Course<F: Family> {
    Deliver(Pod<F>, Verdict),
    /// To the node of this hop id, with this hop limit.
    Direct(u16, u8, Verdict),
    /// Back to whoever sent it, with this hop limit.
    Return(u8, Verdict),
    /// To nobody.
    Refuse,
}

/// What becomes of a packet; the interface matters for a redirect alone.
pub(crate) struct Outcome {
    pub(crate) verdict: Verdict,
    pub(crate) ifindex: u32,
}

impl From<Verdict> for Outcome {
    #[inline(always)]
    fn from(verdict: Verdict) -> Self {
        Self {
            verdict,
            ifindex: 0,
        }
    }
}
