//! From a received frame to direct, deliver or pass.

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX};
use aya_ebpf::helpers::bpf_redirect;
use aya_ebpf::programs::XdpContext;
use landfall_bpf_lb_common::headers::{self, Lengths, Network, Transport, Window};
use landfall_bpf_lb_common::records::FrontendEntry;
use landfall_bpf_lb_common::{Action, Verdict};

use crate::connections;
use crate::course::course;
use crate::deliver::deliver;
use crate::direct::{direct, send_back};
use crate::family::{Family, V4, V6};
use crate::forget::Zero;
use crate::frame::Frame;
use crate::maps;
use crate::packet::{Course, Outcome, Packet};
use crate::refuse::refuse;

/// The whole of the XDP program.
#[inline(always)]
#[must_use]
pub fn receive_xdp(ctx: &XdpContext) -> u32 {
    receive(&Frame::of_xdp(ctx))
}

/// The whole of the XDP program for frames of several buffers.
#[inline(always)]
#[must_use]
pub fn receive_xdp_frags(ctx: &XdpContext) -> u32 {
    receive(&Frame::of_xdp_frags(ctx))
}

/// Directs, delivers or passes `frame`; returns the XDP action.
#[inline(always)]
#[must_use]
pub fn receive(frame: &Frame) -> u32 {
    let outcome = match decide(frame) {
        Ok(outcome) => outcome,
        Err(verdict) => verdict.into(),
    };
    maps::count(outcome.verdict);
    match outcome.verdict.action() {
        Action::Pass => XDP_PASS,
        Action::Transmit => XDP_TX,
        // SAFETY: a plain helper call.
        Action::Redirect => unsafe { bpf_redirect(outcome.ifindex, 0) as u32 },
        Action::Drop => XDP_DROP,
    }
}

#[inline(always)]
fn decide(frame: &Frame) -> Result<Outcome, Verdict> {
    match headers::network(frame)? {
        Network::V4(network) => {
            let transport = headers::ipv4(frame, network, Lengths::Checked)?;
            balance::<V4>(frame, network, transport)
        }
        Network::V6(network) => {
            let transport = headers::ipv6(frame, network, Lengths::Checked)?;
            balance::<V6>(frame, network, transport)
        }
    }
}

#[inline(always)]
fn balance<F: Family>(
    frame: &Frame,
    network: usize,
    transport: Transport,
) -> Result<Outcome, Verdict> {
    let (client, vip) = F::addresses(frame, network).ok_or(Verdict::Malformed)?;
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
        slot: maps::slot_number(F::hash(client, port, vip, &transport)),
    };
    carry_out(&packet).map_err(|verdict| {
        if packet.transport.is_mid_stream() {
            return verdict.in_mid_connection();
        }
        if packet.transport.opens() && verdict.begins_on_the_kernels_path() {
            connections::leave_to_kernel(&packet);
        }
        verdict
    })
}

#[inline(always)]
fn carry_out<F: Family>(packet: &Packet<F>) -> Result<Outcome, Verdict> {
    match course(packet)? {
        Course::Deliver(pod, verdict) => {
            deliver(packet, pod)?;
            Ok(verdict.into())
        }
        Course::Direct(hop, limit, verdict) => direct(packet, hop, limit, verdict),
        Course::Return(limit, verdict) => send_back(packet, limit, verdict),
        Course::Refuse => refuse(packet),
    }
}
