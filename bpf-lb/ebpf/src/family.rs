//! What differs between IPv4 and IPv6: where addresses are, which maps, which checksums.
//!
//! Addresses and ports are held as integers, with their bytes in the order of the packet: the
//! verifier refuses words at odd places of the stack, where byte arrays may end up.

use landfall_bpf_lb_common::checksum::Change;
use landfall_bpf_lb_common::headers::{
    IPV4, IPV4_CHECKSUM, IPV4_DESTINATION, IPV4_SOURCE, IPV4_TTL, IPV6_DESTINATION, IPV6_HOP_LIMIT,
    IPV6_SOURCE, Transport,
};
use landfall_bpf_lb_common::records::{
    BackendEntry, ConnectionEntry4, ConnectionEntry6, ConnectionKey4, ConnectionKey6,
    FrontendEntry, FrontendKey4, FrontendKey6,
};
use landfall_bpf_lb_common::{Verdict, flow};

use crate::frame::Frame;
use crate::maps::{CONNECTIONS4, CONNECTIONS6, FRONTENDS4, FRONTENDS6};

/// An address, and what of a connection's record both families share.
pub(crate) trait Family {
    /// Bytes of an address.
    type Address: Copy + PartialEq;
    /// Key of the connection table.
    type Key;
    /// Value of the connection table.
    type Entry: Copy;

    /// Source and destination of the packet whose IP header is at `network`.
    fn addresses(frame: &Frame, network: usize) -> Option<(Self::Address, Self::Address)>;
    fn frontend(vip: Self::Address, transport: &Transport) -> Option<&'static FrontendEntry>;
    fn hash(client: Self::Address, port: u16) -> u32;
    fn pod(backend: &BackendEntry) -> Self::Address;
    fn replace(change: Change, old: Self::Address, new: Self::Address) -> Change;
    /// Writes the destination address, and the header's own checksum.
    fn set_destination(
        frame: &Frame,
        network: usize,
        old: Self::Address,
        new: Self::Address,
    ) -> Option<()>;
    /// Writes TTL or hop limit, and the header's own checksum.
    fn set_hop_limit(frame: &Frame, network: usize, limit: u8) -> Option<()>;

    fn key(
        client: Self::Address,
        client_port: u16,
        pod: Self::Address,
        pod_port: u16,
        protocol: u8,
    ) -> Self::Key;
    fn entry(vip: Self::Address, port: u16, seen: u64) -> Self::Entry;
    fn connection(key: &Self::Key) -> Option<*mut Self::Entry>;
    fn remember(key: &Self::Key, entry: &Self::Entry) -> Result<(), Verdict>;
    fn vip(entry: &Self::Entry) -> (Self::Address, u16);
    fn seen(entry: &mut Self::Entry) -> &mut u64;
}

pub(crate) struct V4;
pub(crate) struct V6;

impl Family for V4 {
    type Address = u32;
    type Key = ConnectionKey4;
    type Entry = ConnectionEntry4;

    #[inline(always)]
    fn addresses(frame: &Frame, network: usize) -> Option<(u32, u32)> {
        let bytes = frame.bytes::<8>(network + IPV4_SOURCE)?;
        let word = |at: usize| {
            u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        Some((word(0), word(4)))
    }

    #[inline(always)]
    fn frontend(vip: u32, transport: &Transport) -> Option<&'static FrontendEntry> {
        let key = FrontendKey4 {
            address: vip.to_ne_bytes(),
            port: transport.destination.to_ne_bytes(),
            protocol: transport.protocol,
            zero: 0,
        };
        // SAFETY: an entry that is being removed still points to a table of valid ids.
        unsafe { FRONTENDS4.get(key) }
    }

    #[inline(always)]
    fn hash(client: u32, port: u16) -> u32 {
        flow::hash4(client.to_ne_bytes(), port.to_ne_bytes())
    }

    #[inline(always)]
    fn pod(backend: &BackendEntry) -> u32 {
        let a = &backend.address;
        u32::from_ne_bytes([a[0], a[1], a[2], a[3]])
    }

    #[inline(always)]
    fn replace(change: Change, old: u32, new: u32) -> Change {
        change.double(old.to_ne_bytes(), new.to_ne_bytes())
    }

    #[inline(always)]
    fn set_destination(frame: &Frame, network: usize, old: u32, new: u32) -> Option<()> {
        let header = frame.bytes::<IPV4>(network)?;
        let checksum = [header[IPV4_CHECKSUM], header[IPV4_CHECKSUM + 1]];
        let checksum = Self::replace(Change::none(), old, new).apply(checksum);
        header[IPV4_CHECKSUM..IPV4_CHECKSUM + 2].copy_from_slice(&checksum);
        header[IPV4_DESTINATION..].copy_from_slice(&new.to_ne_bytes());
        Some(())
    }

    #[inline(always)]
    fn set_hop_limit(frame: &Frame, network: usize, limit: u8) -> Option<()> {
        // TTL, protocol, checksum.
        let words = frame.bytes::<4>(network + IPV4_TTL)?;
        let change = Change::none().word([words[0], words[1]], [limit, words[1]]);
        let checksum = change.apply([words[2], words[3]]);
        *words = [limit, words[1], checksum[0], checksum[1]];
        Some(())
    }

    #[inline(always)]
    fn key(client: u32, client_port: u16, pod: u32, pod_port: u16, protocol: u8) -> ConnectionKey4 {
        ConnectionKey4 {
            client: client.to_ne_bytes(),
            pod: pod.to_ne_bytes(),
            client_port: client_port.to_ne_bytes(),
            pod_port: pod_port.to_ne_bytes(),
            protocol,
            zero: [0; 3],
        }
    }

    #[inline(always)]
    fn entry(vip: u32, port: u16, seen: u64) -> ConnectionEntry4 {
        ConnectionEntry4 {
            vip: vip.to_ne_bytes(),
            port: port.to_ne_bytes(),
            zero: [0; 2],
            seen,
        }
    }

    #[inline(always)]
    fn connection(key: &ConnectionKey4) -> Option<*mut ConnectionEntry4> {
        CONNECTIONS4.get_ptr_mut(key)
    }

    #[inline(always)]
    fn remember(key: &ConnectionKey4, entry: &ConnectionEntry4) -> Result<(), Verdict> {
        CONNECTIONS4
            .insert(key, entry, 0)
            .map_err(|_| Verdict::TableFull)
    }

    #[inline(always)]
    fn vip(entry: &ConnectionEntry4) -> (u32, u16) {
        (
            u32::from_ne_bytes(entry.vip),
            u16::from_ne_bytes(entry.port),
        )
    }

    #[inline(always)]
    fn seen(entry: &mut ConnectionEntry4) -> &mut u64 {
        &mut entry.seen
    }
}

impl Family for V6 {
    type Address = [u64; 2];
    type Key = ConnectionKey6;
    type Entry = ConnectionEntry6;

    #[inline(always)]
    fn addresses(frame: &Frame, network: usize) -> Option<([u64; 2], [u64; 2])> {
        Some((
            join(frame.bytes::<16>(network + IPV6_SOURCE)?),
            join(frame.bytes::<16>(network + IPV6_DESTINATION)?),
        ))
    }

    #[inline(always)]
    fn frontend(vip: [u64; 2], transport: &Transport) -> Option<&'static FrontendEntry> {
        let key = FrontendKey6 {
            address: split(vip),
            port: transport.destination.to_ne_bytes(),
            protocol: transport.protocol,
            zero: 0,
        };
        // SAFETY: an entry that is being removed still points to a table of valid ids.
        unsafe { FRONTENDS6.get(key) }
    }

    #[inline(always)]
    fn hash(client: [u64; 2], port: u16) -> u32 {
        flow::hash6(split(client), port.to_ne_bytes())
    }

    #[inline(always)]
    fn pod(backend: &BackendEntry) -> [u64; 2] {
        join(&backend.address)
    }

    #[inline(always)]
    fn replace(change: Change, old: [u64; 2], new: [u64; 2]) -> Change {
        change.address6(split(old), split(new))
    }

    #[inline(always)]
    fn set_destination(frame: &Frame, network: usize, _old: [u64; 2], new: [u64; 2]) -> Option<()> {
        *frame.bytes::<16>(network + IPV6_DESTINATION)? = split(new);
        Some(())
    }

    #[inline(always)]
    fn set_hop_limit(frame: &Frame, network: usize, limit: u8) -> Option<()> {
        *frame.bytes::<1>(network + IPV6_HOP_LIMIT)? = [limit];
        Some(())
    }

    #[inline(always)]
    fn key(
        client: [u64; 2],
        client_port: u16,
        pod: [u64; 2],
        pod_port: u16,
        protocol: u8,
    ) -> ConnectionKey6 {
        ConnectionKey6 {
            client: split(client),
            pod: split(pod),
            client_port: client_port.to_ne_bytes(),
            pod_port: pod_port.to_ne_bytes(),
            protocol,
            zero: [0; 3],
        }
    }

    #[inline(always)]
    fn entry(vip: [u64; 2], port: u16, seen: u64) -> ConnectionEntry6 {
        ConnectionEntry6 {
            vip: split(vip),
            port: port.to_ne_bytes(),
            zero: [0; 6],
            seen,
        }
    }

    #[inline(always)]
    fn connection(key: &ConnectionKey6) -> Option<*mut ConnectionEntry6> {
        CONNECTIONS6.get_ptr_mut(key)
    }

    #[inline(always)]
    fn remember(key: &ConnectionKey6, entry: &ConnectionEntry6) -> Result<(), Verdict> {
        CONNECTIONS6
            .insert(key, entry, 0)
            .map_err(|_| Verdict::TableFull)
    }

    #[inline(always)]
    fn vip(entry: &ConnectionEntry6) -> ([u64; 2], u16) {
        (join(&entry.vip), u16::from_ne_bytes(entry.port))
    }

    #[inline(always)]
    fn seen(entry: &mut ConnectionEntry6) -> &mut u64 {
        &mut entry.seen
    }
}

#[inline(always)]
fn join(bytes: &[u8; 16]) -> [u64; 2] {
    let b = bytes;
    [
        u64::from_ne_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]),
        u64::from_ne_bytes([b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]]),
    ]
}

/// The sixteen bytes of an address.
#[inline(always)]
pub(crate) fn split(address: [u64; 2]) -> [u8; 16] {
    let a = address[0].to_ne_bytes();
    let b = address[1].to_ne_bytes();
    [
        a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], b[0], b[1], b[2], b[3], b[4], b[5], b[6],
        b[7],
    ]
}
