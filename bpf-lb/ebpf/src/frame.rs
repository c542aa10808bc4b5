//! A received frame as bounds-checked memory: the only place that turns offsets into pointers.

use aya_ebpf::helpers::bpf_xdp_get_buff_len;
use aya_ebpf::programs::{TcContext, XdpContext};
use landfall_bpf_lb_common::Verdict;
use landfall_bpf_lb_common::headers::{ETHERNET, IPV6, TCP_MINIMUM, Window};
use landfall_bpf_lb_common::quote::{ICMP, ICMP_HEADER, ICMPV6};

/// What must be visible to find the ports of any ordinary packet.
const HEADERS: usize = ETHERNET + 8 + IPV6 + TCP_MINIMUM;
/// And of what an ICMP error quotes.
const ERRORS: usize = HEADERS + ICMP_HEADER + IPV6;

/// What becomes of a reply that could not be rewritten as a whole.
#[inline(always)]
pub(crate) fn broken<E>(_error: E) -> Verdict {
    Verdict::ReplyBroken
}

/// The bytes of a frame, and the interface it came in by.
#[derive(Clone, Copy)]
pub struct Frame {
    start: usize,
    end: usize,
    /// The whole frame's length, of which only a part may be here.
    length: usize,
    /// Index of the interface.
    pub ifindex: u32,
}

impl Frame {
    /// The frame an XDP program was called for.
    #[inline(always)]
    #[must_use]
    pub fn of_xdp(ctx: &XdpContext) -> Self {
        let (start, end) = (ctx.data(), ctx.data_end());
        Self {
            start,
            end,
            length: end - start,
            ifindex: ctx.ingress_ifindex() as u32,
        }
    }

    /// The first buffer of the frame an XDP program was called for: its headers are there, and nothing behind it
    /// is looked at.
    #[inline(always)]
    #[must_use]
    pub(crate) fn of_xdp_frags(ctx: &XdpContext) -> Self {
        // SAFETY: a plain helper call.
        let length = unsafe { bpf_xdp_get_buff_len(ctx.ctx) };
        Self {
            length: length as usize,
            ..Self::of_xdp(ctx)
        }
    }

    /// The linear part of the packet a TC program was called for.
    #[inline(always)]
    #[must_use]
    pub fn of_skb(ctx: &TcContext) -> Self {
        Self {
            start: ctx.data(),
            end: ctx.data_end(),
            length: ctx.len() as usize,
            // SAFETY: the context the kernel called the program with.
            ifindex: unsafe { (*ctx.skb.skb).ifindex },
        }
    }

    /// The same with the headers of any ordinary packet in it: their bytes alone are brought there if they are
    /// elsewhere.
    #[inline(always)]
    pub(crate) fn of_headers(ctx: &TcContext) -> Result<Self, Verdict> {
        let frame = Self::of_skb(ctx);
        let length = ctx.len();
        let visible = frame.visible();
        if visible >= ERRORS || visible >= length as usize {
            return Ok(frame);
        }
        let most = if frame.is_icmp() { ERRORS } else { HEADERS } as u32;
        if visible >= most as usize {
            return Ok(frame);
        }
        let wanted = if length < most { length } else { most };
        ctx.pull_data(wanted).map_err(|_| Verdict::Malformed)?;
        Ok(Self::of_skb(ctx))
    }

    /// Whether this is ICMP right behind an IP header that is right behind the Ethernet one, as far as can be seen.
    #[inline(always)]
    fn is_icmp(&self) -> bool {
        match self.at::<{ ETHERNET + 10 }>(0) {
            Some([.., 0x08, 0x00, _, _, _, _, _, _, _, _, _, protocol]) => protocol == ICMP,
            Some([.., 0x86, 0xdd, _, _, _, _, _, _, next, _, _, _]) => next == ICMPV6,
            _ => false,
        }
    }

    /// How many bytes can be looked at.
    #[inline(always)]
    #[must_use]
    pub fn visible(&self) -> usize {
        self.end - self.start
    }

    /// The `N` bytes from `offset`, for writing.
    #[inline(always)]
    #[must_use]
    pub fn bytes<const N: usize>(&self, offset: usize) -> Option<&'static mut [u8; N]> {
        let start = self.start + offset;
        if start + N > self.end {
            return None;
        }
        // SAFETY: inside the frame, which outlives the program's run; the verifier checks it again.
        // The programs hold no two references to one range at a time.
        Some(unsafe { &mut *(start as *mut [u8; N]) })
    }

    /// The `N` words from `offset`, `BYTES` bytes in all, whatever their alignment; the bytes keep
    /// their order.
    #[inline(always)]
    pub(crate) fn words<T: Word, const N: usize, const BYTES: usize>(
        &self,
        offset: usize,
    ) -> Option<[T; N]> {
        const { assert!(size_of::<[T; N]>() == BYTES) };
        let bytes = self.bytes::<BYTES>(offset)?;
        // SAFETY: as many bytes as asserted, and any bytes make such a word.
        Some(unsafe { bytes.as_ptr().cast::<[T; N]>().read_unaligned() })
    }
}

/// An integer.
pub(crate) trait Word: Copy {}
impl Word for u32 {}
impl Word for u64 {}

impl Window for Frame {
    #[inline(always)]
    fn at<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.bytes(offset).map(|bytes| *bytes)
    }

    #[inline(always)]
    fn length(&self) -> usize {
        self.length
    }
}
