//! What differs between IPv4 and IPv6: where addresses are, which maps, which checksums.

use landfall_bpf_lb_common::checksum::Change;
use landfall_bpf_lb_common::headers::{IPV4_CHECKSUM, IPV4_TTL, IPV6_HOP_LIMIT, Transport};
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
    fn hash(client: Self::Address, port: [u8; 2]) -> u32;
    fn pod(backend: &BackendEntry) -> Self::Address;
    fn replace(change: Change, old: Self::Address, new: Self::Address) -> Change;
    /// Writes the destination address, and the header's own checksum.
    fn set_destination(frame: &Frame, network: usize, old: Self::Address, new: Self::Address) -> Option<()>;
    /// Writes TTL or hop limit, and the header's own checksum.
    fn set_hop_limit(frame: &Frame, network: usize, limit: u8) -> Option<()>;

    fn key(
        client: Self::Address,
        client_port: [u8; 2],
        pod: Self::Address,
        pod_port: [u8; 2],
        protocol: u8,
    ) -> Self::Key;
    fn entry(vip: Self::Address, port: [u8; 2], seen: u64) -> Self::Entry;
    fn connection(key: &Self::Key) -> Option<*mut Self::Entry>;
    fn remember(key: &Self::Key, entry: &Self::Entry) -> Result<(), Verdict>;
    fn vip(entry: &Self::Entry) -> (Self::Address, [u8; 2]);
    fn seen(entry: &mut Self::Entry) -> &mut u64;
}

pub(crate) struct V4;
pub(crate) struct V6;

impl Family for V4 {
    type Address = [u8; 4];
    type Key = ConnectionKey4;
    type Entry = ConnectionEntry4;

    #[inline(always)]
    fn addresses(frame: &Frame, network: usize) -> Option<([u8; 4], [u8; 4])> {
        let bytes = frame.bytes::<8>(network + 12)?;
        Some(([bytes[0], bytes[1], bytes[2], bytes[3]], [bytes[4], bytes[5], bytes[6], bytes[7]]))
    }

    #[inline(always)]
    fn frontend(vip: [u8; 4], transport: &Transport) -> Option<&'static FrontendEntry> {
        let key = FrontendKey4 {
            address: vip,
            port: transport.destination,
            protocol: transport.protocol,
            zero: 0,
        };
        // SAFETY: an entry that is being removed still points to a table of valid ids.
        unsafe { FRONTENDS4.get(key) }
    }

    #[inline(always)]
    fn hash(client: [u8; 4], port: [u8; 2]) -> u32 {
        flow::hash4(client, port)
    }

    #[inline(always)]
    fn pod(backend: &BackendEntry) -> [u8; 4] {
        let a = &backend.address;
        [a[0], a[1], a[2], a[3]]
    }

    #[inline(always)]
    fn replace(change: Change, old: [u8; 4], new: [u8; 4]) -> Change {
        change.double(old, new)
    }

    #[inline(always)]
    fn set_destination(frame: &Frame, network: usize, old: [u8; 4], new: [u8; 4]) -> Option<()> {
        let header = frame.bytes::<20>(network)?;
        let checksum = [header[IPV4_CHECKSUM], header[IPV4_CHECKSUM + 1]];
        let checksum = Change::none().double(old, new).apply(checksum);
        header[IPV4_CHECKSUM..IPV4_CHECKSUM + 2].copy_from_slice(&checksum);
        header[16..20].copy_from_slice(&new);
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
    fn key(client: [u8; 4], client_port: [u8; 2], pod: [u8; 4], pod_port: [u8; 2], protocol: u8) -> ConnectionKey4 {
        ConnectionKey4 { client, pod, client_port, pod_port, protocol, zero: [0; 3] }
    }

    #[inline(always)]
    fn entry(vip: [u8; 4], port: [u8; 2], seen: u64) -> ConnectionEntry4 {
        ConnectionEntry4 { vip, port, zero: [0; 2], seen }
    }

    #[inline(always)]
    fn connection(key: &ConnectionKey4) -> Option<*mut ConnectionEntry4> {
        CONNECTIONS4.get_ptr_mut(key)
    }

    #[inline(always)]
    fn remember(key: &ConnectionKey4, entry: &ConnectionEntry4) -> Result<(), Verdict> {
        CONNECTIONS4.insert(key, entry, 0).map_err(|_| Verdict::TableFull)
    }

    #[inline(always)]
    fn vip(entry: &ConnectionEntry4) -> ([u8; 4], [u8; 2]) {
        (entry.vip, entry.port)
    }

    #[inline(always)]
    fn seen(entry: &mut ConnectionEntry4) -> &mut u64 {
        &mut entry.seen
    }
}

impl Family for V6 {
    type Address = [u8; 16];
    type Key = ConnectionKey6;
    type Entry = ConnectionEntry6;

    #[inline(always)]
    fn addresses(frame: &Frame, network: usize) -> Option<([u8; 16], [u8; 16])> {
        Some((*frame.bytes::<16>(network + 8)?, *frame.bytes::<16>(network + 24)?))
    }

    #[inline(always)]
    fn frontend(vip: [u8; 16], transport: &Transport) -> Option<&'static FrontendEntry> {
        let key = FrontendKey6 {
            address: vip,
            port: transport.destination,
            protocol: transport.protocol,
            zero: 0,
        };
        // SAFETY: an entry that is being removed still points to a table of valid ids.
        unsafe { FRONTENDS6.get(key) }
    }

    #[inline(always)]
    fn hash(client: [u8; 16], port: [u8; 2]) -> u32 {
        flow::hash6(client, port)
    }

    #[inline(always)]
    fn pod(backend: &BackendEntry) -> [u8; 16] {
        backend.address
    }

    #[inline(always)]
    fn replace(change: Change, old: [u8; 16], new: [u8; 16]) -> Change {
        change.address6(old, new)
    }

    #[inline(always)]
    fn set_destination(frame: &Frame, network: usize, _old: [u8; 16], new: [u8; 16]) -> Option<()> {
        *frame.bytes::<16>(network + 24)? = new;
        Some(())
    }

    #[inline(always)]
    fn set_hop_limit(frame: &Frame, network: usize, limit: u8) -> Option<()> {
        *frame.bytes::<1>(network + IPV6_HOP_LIMIT)? = [limit];
        Some(())
    }

    #[inline(always)]
    fn key(client: [u8; 16], client_port: [u8; 2], pod: [u8; 16], pod_port: [u8; 2], protocol: u8) -> ConnectionKey6 {
        ConnectionKey6 { client, pod, client_port, pod_port, protocol, zero: [0; 3] }
    }

    #[inline(always)]
    fn entry(vip: [u8; 16], port: [u8; 2], seen: u64) -> ConnectionEntry6 {
        ConnectionEntry6 { vip, port, zero: [0; 6], seen }
    }

    #[inline(always)]
    fn connection(key: &ConnectionKey6) -> Option<*mut ConnectionEntry6> {
        CONNECTIONS6.get_ptr_mut(key)
    }

    #[inline(always)]
    fn remember(key: &ConnectionKey6, entry: &ConnectionEntry6) -> Result<(), Verdict> {
        CONNECTIONS6.insert(key, entry, 0).map_err(|_| Verdict::TableFull)
    }

    #[inline(always)]
    fn vip(entry: &ConnectionEntry6) -> ([u8; 16], [u8; 2]) {
        (entry.vip, entry.port)
    }

    #[inline(always)]
    fn seen(entry: &mut ConnectionEntry6) -> &mut u64 {
        &mut entry.seen
    }
}
