//! The programs that are attached.
#![no_std]
#![no_main]

use aya_ebpf::bindings::xdp_action::XDP_PASS;
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use landfall_bpf_lb_ebpf::Unwatched;

/// Directs or delivers what is received.
#[xdp]
pub fn landfall_xdp(ctx: XdpContext) -> u32 {
    landfall_bpf_lb_ebpf::receive_xdp(&ctx, Unwatched)
}

/// The same where a frame may lie in several buffers, as a large one does in the driver. Since Linux 5.18.
#[xdp(frags)]
pub fn landfall_xdp_frags(ctx: XdpContext) -> u32 {
    landfall_bpf_lb_ebpf::receive_xdp_frags(&ctx, Unwatched)
}

/// The same as received packets enter the network stack, where the driver has no room for it.
#[classifier]
pub fn landfall_tc(ctx: TcContext) -> i32 {
    landfall_bpf_lb_ebpf::receive_tc(&ctx, Unwatched)
}

/// Does nothing: the floor of every measurement.
#[xdp]
pub fn landfall_empty(_ctx: XdpContext) -> u32 {
    XDP_PASS
}

/// Tells the jiffies of now, and is told that user space lives.
#[xdp]
pub fn landfall_feed(ctx: XdpContext) -> u32 {
    landfall_bpf_lb_ebpf::feed_xdp(&ctx)
}

/// Gives replies of delivered connections their VIP back.
#[classifier]
pub fn landfall_egress(ctx: TcContext) -> i32 {
    landfall_bpf_lb_ebpf::reply(&ctx, Unwatched)
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
