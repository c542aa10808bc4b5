//! Where a program meets a packet: in the driver or before the network stack (XDP), or as the packet enters the
//! network stack (TC). The course of a packet is the same; what is done to it differs where the kernel has noted
//! something of the packet already.
//!
//! ```text
//!            VLAN tag       length              checksum
//!   XDP      in the frame   one frame's         in the frame
//!   TC       taken aside    of several merged   in the frame, or a device's to fill in; and the kernel may know a sum of all
//! ```

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX};
use aya_ebpf::bindings::{BPF_F_PSEUDO_HDR, TC_ACT_SHOT, TC_ACT_UNSPEC};
use aya_ebpf::helpers::{bpf_csum_update, bpf_redirect, bpf_skb_change_tail};
use aya_ebpf::programs::TcContext;
use landfall_bpf_lb_common::checksum::Change;
use landfall_bpf_lb_common::headers::{Lengths, TCP_CHECKSUM};
use landfall_bpf_lb_common::{Action, Verdict};

use crate::deliver;
use crate::family::{Family, Pod};
use crate::frame::Frame;
use crate::packet::{Outcome, Packet};

/// A frame that was cut.
pub(crate) struct Cut {
    pub(crate) frame: Frame,
    /// The device fills in the transport checksum; the field has only what it adds to.
    pub(crate) is_unfinished: bool,
}

/// What is done to a packet where a program runs.
pub(crate) trait Hook: Copy {
    /// How far the lengths in the headers match the frame.
    const LENGTHS: Lengths;

    /// Whether the kernel keeps a VLAN tag of the frame beside it.
    fn has_tag_aside(self) -> bool;
    /// Writes TTL or hop limit.
    fn set_hop_limit<F: Family>(self, packet: &Packet<F>, limit: u8) -> Option<()>;
    /// Tells the kernel of a TTL or hop limit that was written.
    fn note_hop_limit<F: Family>(self, old: u8, new: u8);
    /// Makes `pod` the destination of `packet`.
    fn translate<F: Family>(self, packet: &Packet<F>, pod: Pod<F>) -> Result<(), Verdict>;
    /// Takes off what is behind the first `length` bytes, if the frame can be made shorter here. The TCP header is at
    /// `segment`. Nothing that was read of the frame before may be written to after.
    fn cut(self, frame: &Frame, length: usize, segment: usize) -> Result<Cut, Verdict>;
    /// Has the kernel carry out what was decided; what the program returns.
    fn act(self, frame: &Frame, outcome: &Outcome) -> u32;
}

/// In the driver, or before the network stack.
#[derive(Clone, Copy)]
pub(crate) struct Xdp;

impl Hook for Xdp {
    const LENGTHS: Lengths = Lengths::Checked;

    #[inline(always)]
    fn has_tag_aside(self) -> bool {
        false
    }

    #[inline(always)]
    fn set_hop_limit<F: Family>(self, packet: &Packet<F>, limit: u8) -> Option<()> {
        F::set_hop_limit(&packet.frame, packet.network, limit)
    }

    #[inline(always)]
    fn note_hop_limit<F: Family>(self, _old: u8, _new: u8) {}

    #[inline(always)]
    fn translate<F: Family>(self, packet: &Packet<F>, pod: Pod<F>) -> Result<(), Verdict> {
        deliver::deliver(packet, pod)
    }

    #[inline(always)]
    fn cut(self, frame: &Frame, _length: usize, _segment: usize) -> Result<Cut, Verdict> {
        Ok(Cut {
            frame: *frame,
            is_unfinished: false,
        })
    }

    #[inline(always)]
    fn act(self, _frame: &Frame, outcome: &Outcome) -> u32 {
        match outcome.verdict.action() {
            Action::Pass => XDP_PASS,
            Action::Transmit => XDP_TX,
            // SAFETY: a plain helper call.
            Action::Redirect => unsafe { bpf_redirect(outcome.ifindex, 0) as u32 },
            Action::Drop => XDP_DROP,
        }
    }
}

/// At the entrance of the network stack.
#[derive(Clone, Copy)]
pub(crate) struct Tc<'a>(pub(crate) &'a TcContext);

impl Tc<'_> {
    /// Tells the kernel, if it knows a sum of all of the packet, what has changed of it.
    #[inline(always)]
    fn note(self, change: Change) {
        // SAFETY: a plain helper call; where nothing is known, it does nothing.
        unsafe { bpf_csum_update(self.0.skb.skb, u32::from(change.difference())) };
    }
}

impl Hook for Tc<'_> {
    const LENGTHS: Lengths = Lengths::Merged;

    #[inline(always)]
    fn has_tag_aside(self) -> bool {
        // SAFETY: the context the kernel called the program with.
        unsafe { (*self.0.skb.skb).vlan_present != 0 }
    }

    #[inline(always)]
    fn set_hop_limit<F: Family>(self, packet: &Packet<F>, limit: u8) -> Option<()> {
        F::set_hop_limit(&packet.frame, packet.network, limit)?;
        self.note_hop_limit::<F>(packet.transport.hop_limit, limit);
        Some(())
    }

    #[inline(always)]
    fn note_hop_limit<F: Family>(self, old: u8, new: u8) {
        // Where the header has a checksum of its own, the sum of all stays what it was.
        if !F::HEADER_CHECKSUM {
            self.note(Change::none().word([0, old], [0, new]));
        }
    }

    #[inline(always)]
    fn translate<F: Family>(self, packet: &Packet<F>, pod: Pod<F>) -> Result<(), Verdict> {
        let transport = &packet.transport;
        let (checksum, flags) = deliver::checksum_of(transport);
        let address = F::replace(Change::none(), packet.vip, pod.address);
        let pseudo = flags | u64::from(BPF_F_PSEUDO_HDR);
        let difference = u64::from(address.difference());
        // The first of these can fail, for want of memory; what follows finds the packet ready.
        self.0
            .l4_csum_replace(checksum, 0, difference, pseudo)
            .map_err(|_| Verdict::Malformed)?;
        if !F::HEADER_CHECKSUM {
            // The kernel has taken the address out of the sum of all, as if the header made up for it.
            self.note(address);
        }
        let (old, new) = (u64::from(transport.destination), u64::from(pod.port));
        self.0
            .l4_csum_replace(checksum, old, new, flags | 2)
            .map_err(|_| Verdict::Broken)?;
        let frame = Frame::of_skb(self.0);
        let ports = frame.bytes::<4>(transport.offset).ok_or(Verdict::Broken)?;
        ports[2..].copy_from_slice(&pod.port.to_ne_bytes());
        F::set_destination(&frame, packet.network, packet.vip, pod.address).ok_or(Verdict::Broken)
    }

    #[inline(always)]
    fn cut(self, _frame: &Frame, length: usize, segment: usize) -> Result<Cut, Verdict> {
        // SAFETY: a plain helper call.
        if unsafe { bpf_skb_change_tail(self.0.skb.skb, length as u32, 0) } != 0 {
            return Err(Verdict::DropRefused);
        }
        // A checksum that is a device's to fill in is left alone by what changes any other one; it is written anew
        // in either case.
        let field = segment + TCP_CHECKSUM;
        // Read by a call: of two looks at one frame the verifier would not see that they belong together.
        let read = || self.0.load::<u16>(field).map_err(|_| Verdict::DropRefused);
        let before = read()?;
        self.0
            .l4_csum_replace(field, 0, 1, 2)
            .map_err(|_| Verdict::DropRefused)?;
        let after = read()?;
        Ok(Cut {
            frame: Frame::of_skb(self.0),
            is_unfinished: before == after,
        })
    }

    #[inline(always)]
    fn act(self, frame: &Frame, outcome: &Outcome) -> u32 {
        let ifindex = match outcome.verdict.action() {
            // The next program on the interface, never an end to its chain.
            Action::Pass => return TC_ACT_UNSPEC as u32,
            Action::Drop => return TC_ACT_SHOT as u32,
            Action::Transmit => frame.ifindex,
            Action::Redirect => outcome.ifindex,
        };
        // SAFETY: a plain helper call.
        unsafe { bpf_redirect(ifindex, 0) as u32 }
    }
}
