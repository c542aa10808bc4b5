//! ICMP errors about connections: changed as a packet of the connection is, and so is what they quote.
//!
//! ```text
//!  in:   router ─► VIP  "VIP:port ─► client does not fit"   becomes   router ─► pod  "podIP:port ─► client does not fit"
//!  out:  pod ─► client  "client ─► podIP:port: unreachable" becomes   VIP ─► client  "client ─► VIP:port: unreachable"
//! ```
//! They take the course of the connection's packets, and change nothing of what is known of it.
//!
//! An ICMP message sums up to the same before and after, with its pseudo-header where it has one: so does the whole packet,
//! and whoever has noted a sum of it need not be told. No device is left to fill in the checksum of one.

use aya_ebpf::programs::TcContext;
use landfall_bpf_lb_common::Verdict;
use landfall_bpf_lb_common::headers::{Transport, Window};
use landfall_bpf_lb_common::quote::{End, ICMP_HEADER};

use crate::family::{Family, Pod};
use crate::forget::Zero;
use crate::frame::{Frame, broken};
use crate::packet::Packet;
use crate::replies::{self, Reply};

/// On the stack, where the verifier wants words at even places.
#[repr(align(8))]
struct Aligned<T>(T);

/// Source and destination of a packet; of an ICMP error those of the flow that it is about, in its own direction.
#[inline(always)]
pub(crate) fn ends<F: Family>(
    frame: &Frame,
    network: usize,
    transport: &Transport,
) -> Result<(F::Address, F::Address), Verdict> {
    let (source, destination) = F::addresses(frame, network).ok_or(Verdict::Malformed)?;
    if !transport.is_error() {
        return Ok((source, destination));
    }
    // Checked anew: the verifier would not see that what was checked for the ports holds for the addresses.
    let quoted = Zero::from(frame.length()).offset(transport.offset + ICMP_HEADER);
    let (from, to) = F::addresses(frame, quoted).ok_or(Verdict::Malformed)?;
    // An error goes to whoever sent what it quotes.
    if from != destination {
        return Err(Verdict::OtherProtocol);
    }
    Ok((to, from))
}

/// Translates `packet`, an error about what `pod` sent.
#[inline(always)]
pub(crate) fn deliver<F: Family>(packet: &Packet<F>, pod: Pod<F>) -> Result<(), Verdict> {
    let frame = &packet.frame;
    let transport = &packet.transport;
    let message = F::message(frame, transport.offset).ok_or(Verdict::Malformed)?;
    let checksum = match transport.quoted_checksum(F::HEADER) {
        Some(offset) => Some(frame.bytes::<2>(offset).ok_or(Verdict::Malformed)?),
        None => None,
    };
    F::set_destination(frame, packet.network, packet.vip, pod.address).ok_or(Verdict::Malformed)?;
    let outer = (packet.vip, pod.address);
    F::translate_quoted(message, End::Source, packet.vip, pod, checksum, outer);
    Ok(())
}

/// Gives a leaving error that is about what a client sent to a pod its frontend in the quotation, and in the message's
/// checksum for the outside, too. Returns the source address that is there, and the VIP that belongs in its place,
/// whoever has noticed the error: what is between the VIP and its pod is nothing to the client.
#[inline(always)]
pub(crate) fn send<F: Family>(
    ctx: &TcContext,
    frame: &Frame,
    network: usize,
    transport: &Transport,
) -> Result<(F::Address, F::Address), Verdict> {
    let (source, _) = F::addresses(frame, network).ok_or(Verdict::Malformed)?;
    let (pod, client) = ends::<F>(frame, network, transport)?;
    let reply = Reply::<F> {
        client,
        client_port: transport.destination,
        pod: Pod {
            address: pod,
            port: transport.source,
        },
        protocol: transport.protocol,
        flags: 0,
    };
    let (vip, port) = replies::frontend_of_error(&reply).ok_or(Verdict::ReplyUntracked)?;
    let message = F::message(frame, transport.offset).ok_or(Verdict::Malformed)?;
    let mut message = Aligned(*message);
    let frontend = Pod { address: vip, port };
    let outer = (source, vip);
    let place = transport.quoted_checksum(F::HEADER);
    if let Some(offset) = place {
        let checksum = frame.bytes::<2>(offset).ok_or(Verdict::Malformed)?;
        let mut checksum = Aligned(*checksum);
        let quoted = Some(&mut checksum.0);
        F::translate_quoted(
            &mut message.0,
            End::Destination,
            pod,
            frontend,
            quoted,
            outer,
        );
        ctx.store(offset, &checksum.0, 0).map_err(broken)?;
    } else {
        F::translate_quoted(&mut message.0, End::Destination, pod, frontend, None, outer);
    }
    ctx.store(transport.offset, &message.0, 0).map_err(broken)?;
    Ok((source, vip))
}
