//! The reverse of delivery, where packets leave the node: podIP:port becomes VIP:port, for tracked
//! connections alone. A pod that answers from the same port to anybody else is left alone.
//!
//! The kernel's checksum helpers are used, not our own arithmetic, because here the checksum field
//! may still be a device's to fill in, and only they know.

use aya_ebpf::bindings::{BPF_F_PSEUDO_HDR, TC_ACT_SHOT, TC_ACT_UNSPEC};
use aya_ebpf::helpers::bpf_csum_diff;
use aya_ebpf::programs::TcContext;
use landfall_bpf_lb_common::headers::{
    self, IPV4_CHECKSUM, IPV4_SOURCE, IPV6_SOURCE, Lengths, Network, TCP_LENGTH, TCP_SEQUENCE,
    Transport, Window,
};
use landfall_bpf_lb_common::{Action, Verdict};

use crate::deliver::checksum_of;
use crate::errors;
use crate::family::{Family, Pod, V4, V6};
use crate::frame::{Frame, broken};
use crate::maps;
use crate::replies::{self, Numbers, Reply};
use crate::watch::{Fate, Watch};

/// The whole of the TC program; returns the TC action: the next program on the interface, never an
/// end to its chain.
#[inline(always)]
#[must_use]
pub fn reply(ctx: &TcContext, watch: impl Watch) -> i32 {
    let verdict = match rewrite(ctx) {
        Ok(verdict) | Err(verdict @ Verdict::ReplyBroken) => verdict,
        Err(Verdict::Fragment) => Verdict::ReplyFragment,
        Err(_) => Verdict::ReplyUntracked,
    };
    maps::count(verdict);
    watch.see(Fate::from(&verdict.into()));
    if verdict.action() == Action::Drop {
        TC_ACT_SHOT
    } else {
        TC_ACT_UNSPEC
    }
}

#[inline(always)]
fn rewrite(ctx: &TcContext) -> Result<Verdict, Verdict> {
    let frame = Frame::of_headers(ctx)?;
    match headers::network(&frame)? {
        Network::V4(network) => {
            let transport = headers::ipv4(&frame, network, Lengths::Trusted)?;
            if transport.is_error() {
                let (old, vip) = errors::send::<V4>(ctx, &frame, network, &transport)?;
                set_source4(ctx, network, old, vip)?;
                return Ok(Verdict::ReplyError);
            }
            rewrite4(ctx, &frame, network, &transport)?;
        }
        Network::V6(network) => {
            let transport = headers::ipv6(&frame, network, Lengths::Trusted)?;
            if transport.is_error() {
                let (_, vip) = errors::send::<V6>(ctx, &frame, network, &transport)?;
                set_source6(ctx, network, vip)?;
                return Ok(Verdict::ReplyError);
            }
            rewrite6(ctx, &frame, network, &transport)?;
        }
    }
    Ok(Verdict::ReplyRewritten)
}

/// The frontend of the connection that this packet replies to. What the pod says here also tells
/// how the connection stands.
#[inline(always)]
fn tracked<F: Family>(
    frame: &Frame,
    transport: &Transport,
    pod: F::Address,
    client: F::Address,
) -> Result<(F::Address, u16), Verdict> {
    let reply = Reply::<F> {
        client,
        client_port: transport.destination,
        pod: Pod {
            address: pod,
            port: transport.source,
        },
        protocol: transport.protocol,
        flags: transport.flags,
    };
    replies::frontend(&reply, || {
        let [sequence] = frame.words::<u32, 1, 4>(transport.offset + TCP_SEQUENCE)?;
        let length = frame.bytes::<1>(transport.offset + TCP_LENGTH)?[0] >> 4;
        let payload = transport.offset + usize::from(length) * 4;
        Some(Numbers {
            sequence: u32::from_be(sequence),
            payload: (frame.length() as u32).wrapping_sub(payload as u32),
        })
    })
    .ok_or(Verdict::ReplyUntracked)
}

#[inline(always)]
fn rewrite4(
    ctx: &TcContext,
    frame: &Frame,
    network: usize,
    transport: &Transport,
) -> Result<(), Verdict> {
    let (pod, client) = V4::addresses(frame, network).ok_or(Verdict::Malformed)?;
    let (vip, port) = tracked::<V4>(frame, transport, pod, client)?;
    let (old, new) = (u64::from(pod), u64::from(vip));
    let (checksum, flags) = checksum_of(transport);
    ctx.l4_csum_replace(checksum, old, new, flags | u64::from(BPF_F_PSEUDO_HDR) | 4)
        .map_err(broken)?;
    rewrite_port(ctx, transport, port)?;
    set_source4(ctx, network, pod, vip)
}

#[inline(always)]
fn set_source4(ctx: &TcContext, network: usize, old: u32, new: u32) -> Result<(), Verdict> {
    ctx.l3_csum_replace(network + IPV4_CHECKSUM, u64::from(old), u64::from(new), 4)
        .map_err(broken)?;
    ctx.store(network + IPV4_SOURCE, &new, 0).map_err(broken)
}

#[inline(always)]
fn rewrite6(
    ctx: &TcContext,
    frame: &Frame,
    network: usize,
    transport: &Transport,
) -> Result<(), Verdict> {
    let (mut pod, client) = V6::addresses(frame, network).ok_or(Verdict::Malformed)?;
    let (mut vip, port) = tracked::<V6>(frame, transport, pod, client)?;
    // SAFETY: both are 16 bytes of this function's stack.
    let change =
        unsafe { bpf_csum_diff(pod.as_mut_ptr().cast(), 16, vip.as_mut_ptr().cast(), 16, 0) };
    let change = u64::try_from(change).map_err(|_| Verdict::ReplyUntracked)?;
    let (checksum, flags) = checksum_of(transport);
    ctx.l4_csum_replace(checksum, 0, change, flags | u64::from(BPF_F_PSEUDO_HDR))
        .map_err(broken)?;
    rewrite_port(ctx, transport, port)?;
    set_source6(ctx, network, vip)
}

#[inline(always)]
fn set_source6(ctx: &TcContext, network: usize, new: [u64; 2]) -> Result<(), Verdict> {
    ctx.store(network + IPV6_SOURCE, &new, 0).map_err(broken)
}

#[inline(always)]
fn rewrite_port(ctx: &TcContext, transport: &Transport, port: u16) -> Result<(), Verdict> {
    let (checksum, flags) = checksum_of(transport);
    let (old, new) = (u64::from(transport.source), u64::from(port));
    ctx.l4_csum_replace(checksum, old, new, flags | 2)
        .map_err(broken)?;
    ctx.store(transport.offset, &port, 0).map_err(broken)
}
