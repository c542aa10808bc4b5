//! Delivering to a pod of this node: the destination becomes the pod's address and target port,
//! the connection is recorded for its replies, and the node's own stack takes it from there.
//!
//! Checksums are updated, never recomputed: a packet that arrived damaged stays recognisable.
//! A frame from a local sender (a veth peer with transmit offload) has only the pseudo-header's
//! sum in its checksum field, and a note in its socket buffer that says so, which XDP cannot see.
//! The update makes that field meaningless; the note stays, so every receiver behind a veth or
//! tap trusts the packet unread, as it would have without us.

use landfall_bpf_lb_common::Verdict;
use landfall_bpf_lb_common::checksum::Change;
use landfall_bpf_lb_common::headers::{TCP, TCP_CHECKSUM, UDP_CHECKSUM};
use landfall_bpf_lb_common::records::BackendEntry;

use crate::connections;
use crate::family::Family;
use crate::packet::Packet;

/// Translates `packet` to the pod `backend`.
#[inline(always)]
pub(crate) fn deliver<F: Family>(
    packet: &Packet<F>,
    backend: &BackendEntry,
) -> Result<(), Verdict> {
    let frame = &packet.frame;
    let transport = &packet.transport;
    let pod = F::pod(backend);
    let checksum_offset = transport.offset
        + if transport.protocol == TCP {
            TCP_CHECKSUM
        } else {
            UDP_CHECKSUM
        };
    let ports = frame
        .bytes::<4>(transport.offset)
        .ok_or(Verdict::Malformed)?;
    let checksum = frame
        .bytes::<2>(checksum_offset)
        .ok_or(Verdict::Malformed)?;
    connections::record(packet, backend)?;

    F::set_destination(frame, packet.network, packet.vip, pod).ok_or(Verdict::Malformed)?;
    let change = F::replace(Change::none(), packet.vip, pod)
        .word(transport.destination.to_ne_bytes(), backend.port);
    *checksum = if transport.protocol == TCP {
        change.apply(*checksum)
    } else {
        change.apply_udp(*checksum)
    };
    ports[2..].copy_from_slice(&backend.port);
    Ok(())
}
