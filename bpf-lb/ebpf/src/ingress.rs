//! From a received frame to direct, deliver, answer or pass.

use aya_ebpf::bindings::TC_ACT_UNSPEC;
use aya_ebpf::programs::{TcContext, XdpContext};
use landfall_bpf_lb_common::Verdict;
use landfall_bpf_lb_common::flow;
use landfall_bpf_lb_common::headers::{self, Network, Transport, Window};
use landfall_bpf_lb_common::records::FrontendEntry;

use crate::connections;
use crate::course::course;
use crate::direct::{direct, send_back};
use crate::echo;
use crate::errors;
use crate::family::{Family, V4, V6};
use crate::forget::Zero;
use crate::frame::Frame;
use crate::hook::{Hook, Tc, Xdp};
use crate::maps;
use crate::packet::{Course, Outcome, Packet};
use crate::refuse::refuse;
use crate::watch::{Fate, Unwatched, Watch};

/// The whole of the XDP program.
#[inline(always)]
#[must_use]
pub fn receive_xdp(ctx: &XdpContext, watch: impl Watch) -> u32 {
    receive(&Frame::of_xdp(ctx), Xdp, watch)
}

/// The whole of the XDP program for frames of several buffers.
#[inline(always)]
#[must_use]
pub fn receive_xdp_frags(ctx: &XdpContext, watch: impl Watch) -> u32 {
    receive(&Frame::of_xdp_frags(ctx), Xdp, watch)
}

/// What the XDP program does with `frame`.
#[inline(always)]
#[must_use]
pub fn receive_frame(frame: &Frame) -> u32 {
    receive(frame, Xdp, Unwatched)
}

/// The whole of the TC program for received packets; returns the TC action.
#[inline(always)]
#[must_use]
pub fn receive_tc(ctx: &TcContext, watch: impl Watch) -> i32 {
    match Frame::of_headers(ctx) {
        Ok(frame) => receive(&frame, Tc(ctx), watch) as i32,
        Err(verdict) => {
            maps::count(verdict);
            watch.see(Fate::from(&verdict.into()));
            TC_ACT_UNSPEC
        }
    }
}

/// Directs, delivers or passes `frame`; returns what the program does.
#[inline(always)]
fn receive(frame: &Frame, hook: impl Hook, watch: impl Watch) -> u32 {
    let outcome = match decide(frame, hook) {
        Ok(outcome) => outcome,
        Err(verdict) => verdict.into(),
    };
    maps::count(outcome.verdict);
    watch.see(Fate::from(&outcome));
    hook.act(frame, &outcome)
}

#[inline(always)]
fn decide<H: Hook>(frame: &Frame, hook: H) -> Result<Outcome, Verdict> {
    match headers::network(frame)? {
        Network::V4(network) => match headers::ipv4(frame, network, H::LENGTHS) {
            Ok(transport) => balance::<V4>(frame, hook, network, transport),
            // Nothing that is balanced comes by here.
            Err(Verdict::OtherProtocol) => echo::answer::<V4>(frame, hook, network),
            Err(verdict) => Err(verdict),
        },
        Network::V6(network) => match headers::ipv6(frame, network, H::LENGTHS) {
            Ok(transport) => balance::<V6>(frame, hook, network, transport),
            Err(Verdict::OtherProtocol) => echo::answer::<V6>(frame, hook, network),
            Err(verdict) => Err(verdict),
        },
    }
}

#[inline(always)]
fn balance<F: Family>(
    frame: &Frame,
    hook: impl Hook,
    network: usize,
    transport: Transport,
) -> Result<Outcome, Verdict> {
    let (client, vip) = errors::ends::<F>(frame, network, &transport)?;
    let frontend = F::frontend(vip, &transport).ok_or(Verdict::NotFrontend)?;
    if frontend.table == FrontendEntry::NO_TABLE {
        return Err(Verdict::NoBackend);
    }
    let port = if frontend.flags & FrontendEntry::CLIENT_IP == 0 {
        transport.source
    } else {
        0
    };
    // From here on it is the same whatever headers it has.
    let any = Zero::from(frame.length());
    let transport = Transport {
        offset: any.offset(transport.offset),
        protocol: any.byte(transport.protocol),
        flags: any.byte(transport.flags),
        quoted: any.byte(transport.quoted),
        ..transport
    };
    let packet = Packet::<F> {
        frame: *frame,
        network: any.offset(network),
        transport,
        client,
        vip,
        flags: frontend.flags,
        table: frontend.table,
        slot: flow::slot(
            F::hash(client, port, vip, &transport),
            FrontendEntry::slots(frontend.flags),
        ),
    };
    // No closure: the compiler would make a function of it, for whose stack there is no room.
    match carry_out(&packet, hook) {
        Err(verdict) => Err(not_carried_out(&packet, verdict)),
        carried_out => carried_out,
    }
}

/// What becomes of `packet`, which is neither directed nor delivered for the reason of `verdict`.
#[inline(always)]
fn not_carried_out<F: Family>(packet: &Packet<F>, verdict: Verdict) -> Verdict {
    if packet.transport.is_error() {
        return verdict.of_an_error();
    }
    if packet.transport.is_mid_stream() {
        return verdict.in_mid_connection();
    }
    if packet.transport.opens() && verdict.begins_on_the_kernels_path() {
        connections::leave_to_kernel(packet);
    }
    verdict
}

#[inline(always)]
fn carry_out<F: Family>(packet: &Packet<F>, hook: impl Hook) -> Result<Outcome, Verdict> {
    match course(packet)? {
        Course::Deliver(pod, _) if packet.transport.is_error() => {
            errors::deliver(packet, pod)?;
            Ok(Verdict::DeliveredError.into())
        }
        Course::Deliver(pod, verdict) => {
            hook.translate(packet, pod)?;
            Ok(verdict.into())
        }
        Course::Direct(hop, limit, verdict) => direct(packet, hook, hop, limit, verdict),
        Course::Return(limit, verdict) => send_back(packet, hook, limit, verdict),
        Course::Refuse => refuse(packet, hook),
    }
}
