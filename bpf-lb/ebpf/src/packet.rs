//! What the courses of a packet share: what was read of it, and what becomes of it.

use landfall_bpf_lb_common::Verdict;
use landfall_bpf_lb_common::headers::Transport;

use crate::family::Family;
use crate::frame::Frame;

/// A packet for a frontend.
pub(crate) struct Packet<F: Family> {
    pub(crate) frame: Frame,
    /// Offset of the IP header.
    pub(crate) network: usize,
    pub(crate) transport: Transport,
    pub(crate) client: F::Address,
    pub(crate) vip: F::Address,
}

/// What becomes of a packet; the interface matters for [`landfall_bpf_lb_common::Action::Redirect`] alone.
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
