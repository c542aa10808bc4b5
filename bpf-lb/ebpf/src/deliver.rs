//! Delivering to a pod of this node: the destination becomes the pod's address and target port,
//! and the node's own stack takes it from there.
//!
//! Checksums are updated, never recomputed: a packet that arrived damaged stays recognisable.
//! A frame from a local sender (a veth peer with transmit offload) has only the pseudo-header's
//! sum in its checksum field, and a note in its socket buffer that says so, which XDP cannot see.
//! The update makes that field meaningless; the note stays, so every receiver behind a veth or
//! tap trusts the packet unread, as it would have without us.

use aya_ebpf::bindings::BPF_F_MARK_MANGLED_0;
use landfall_bpf_lb_common::Verdict;
use landfall_bpf_lb_common::checksum::Change;
use landfall_bpf_lb_common::headers::{TCP, TCP_CHECKSUM, Transport, UDP_CHECKSUM};

use crate::family::{Family, Pod};
use crate::packet::Packet;

/// Translates `packet` to `pod`.
#[inline(always)]
pub(crate) fn deliver<F: Family>(packet: &Packet<F>, pod: Pod<F>) -> Result<(), Verdict> {
    let frame = &packet.frame;
    let transport = &packet.transport;
    let (checksum_offset, _) = checksum_of(transport);
    let ports = frame
        .bytes::<4>(transport.offset)
        .ok_or(Verdict::Malformed)?;
    let checksum = frame
        .bytes::<2>(checksum_offset)
        .ok_or(Verdict::Malformed)?;

    F::set_destination(frame, packet.network, packet.vip, pod.address).ok_or(Verdict::Malformed)?;
    let port = pod.port.to_ne_bytes();
    let change = F::replace(Change::none(), packet.vip, pod.address)
        .word(transport.destination.to_ne_bytes(), port);
    *checksum = if transport.protocol == TCP {
        change.apply(*checksum)
    } else {
        change.apply_udp(*checksum)
    };
    ports[2..].copy_from_slice(&port);
    Ok(())
}

/// Offset of the transport checksum, and the flags with which the kernel updates it.
#[inline(always)]
pub(crate) fn checksum_of(transport: &Transport) -> (usize, u64) {
    if transport.protocol == TCP {
        (transport.offset + TCP_CHECKSUM, 0)
    } else {
        // Zero means that there is none, and stays.
        (
            transport.offset + UDP_CHECKSUM,
            u64::from(BPF_F_MARK_MANGLED_0),
        )
    }
}
