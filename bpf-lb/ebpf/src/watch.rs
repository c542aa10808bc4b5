//! Who looks at packets, when a program is done with them: nobody, as a rule. So the programs are there twice, and those that
//! look are an object of their own: where nobody looks there is nothing to ask.

use aya_ebpf::programs::{TcContext, XdpContext};
use landfall_bpf_lb_common::Verdict;
use landfall_bpf_lb_common::headers::Window as _;

use crate::forget::Zero;
use crate::frame::Frame;
use crate::packet::Outcome;

/// What became of a packet.
#[derive(Clone, Copy)]
pub struct Fate {
    /// How it is counted.
    pub verdict: Verdict,
    /// The interface that it is redirected to, if it is.
    pub ifindex: u32,
}

impl From<&Outcome> for Fate {
    #[inline(always)]
    fn from(outcome: &Outcome) -> Self {
        Self {
            verdict: outcome.verdict,
            ifindex: outcome.ifindex,
        }
    }
}

/// One who may look.
pub trait Watch: Copy {
    /// Looks at the packet that the program is done with.
    fn see(self, fate: Fate);
}

/// Nobody looks.
#[derive(Clone, Copy)]
pub struct Unwatched;

impl Watch for Unwatched {
    #[inline(always)]
    fn see(self, _fate: Fate) {}
}

/// A packet to look at. It is made of nothing that the program knows of it: of all ways on which one can have come here,
/// the verifier shall follow a single one on.
pub struct Seen {
    /// As it is now.
    pub frame: Frame,
    /// The VLAN tag beside it; zero if there is none.
    pub tag: u32,
    /// [`Verdict`], by its number.
    pub verdict: u32,
    /// As in [`Fate`].
    pub out: u32,
}

impl Seen {
    /// As XDP has it, in one buffer.
    #[inline(always)]
    #[must_use]
    pub fn at_xdp(ctx: &XdpContext, fate: Fate) -> Self {
        Self::of(Frame::of_xdp(ctx), 0, fate)
    }

    /// As XDP has it, in several.
    #[inline(always)]
    #[must_use]
    pub fn at_xdp_frags(ctx: &XdpContext, fate: Fate) -> Self {
        Self::of(Frame::of_xdp_frags(ctx), 0, fate)
    }

    /// As TC has it.
    #[inline(always)]
    #[must_use]
    pub fn at_tc(ctx: &TcContext, fate: Fate) -> Self {
        // SAFETY: the context the kernel called the program with.
        let (present, tag) = unsafe { ((*ctx.skb.skb).vlan_present, (*ctx.skb.skb).vlan_tci) };
        Self::of(Frame::of_skb(ctx), if present != 0 { tag } else { 0 }, fate)
    }

    #[inline(always)]
    fn of(frame: Frame, tag: u32, fate: Fate) -> Self {
        let any = Zero::from(frame.length());
        Self {
            frame,
            tag,
            verdict: any.word(fate.verdict as u32),
            out: any.word(fate.ifindex),
        }
    }
}
