//! What differs between IPv4 and IPv6: where addresses are, which maps, which checksums.
//!
//! Addresses and ports are held as integers, with their bytes in the order of the packet: the
//! verifier refuses words at odd places of the stack, where byte arrays may end up.

use core::mem::transmute;

use landfall_bpf_lb_common::checksum::Change;
use landfall_bpf_lb_common::echo::{self, HOP_LIMIT, Request4, Request6};
use landfall_bpf_lb_common::flow;
use landfall_bpf_lb_common::headers::{
    IPV4, IPV4_CHECKSUM, IPV4_DESTINATION, IPV4_LENGTH, IPV4_SOURCE, IPV4_TTL, IPV6,
    IPV6_DESTINATION, IPV6_HOP_LIMIT, IPV6_LENGTH, IPV6_SOURCE, TCP_MINIMUM, Transport,
};
use landfall_bpf_lb_common::places::{places4, places6};
use landfall_bpf_lb_common::quote::{self, End, ICMP, Message4, Message6};
use landfall_bpf_lb_common::records::{
    BackendEntry, ConnectionEntry4, ConnectionEntry6, ConnectionKey4, ConnectionKey6,
    ConnectionState, Direction, FrontendEntry,
};

use crate::frame::Frame;
use crate::maps::{
    self, CONNECTIONS4, CONNECTIONS6, FRONTENDS4, FRONTENDS6, HALF_OPEN4, HALF_OPEN6, PLACES4,
    PLACES6,
};
use crate::tables::tables;
use crate::words::{join, join_halves, key4, key6, last_word, service, split};

/// A pod of this node: address and target port.
#[derive(Clone, Copy)]
pub(crate) struct Pod<F: Family> {
    pub(crate) address: F::Address,
    pub(crate) port: u16,
}

impl<F: Family> PartialEq for Pod<F> {
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        self.address == other.address && self.port == other.port
    }
}

/// An address, and the maps of its family.
pub(crate) trait Family: Copy {
    /// Bytes of an address.
    type Address: Copy + PartialEq;
    /// Key of the tables of connections.
    type Key;
    /// Value of the tables of connections; its state comes first.
    type Entry;
    /// What there is of every ICMP error.
    type Message: Copy + 'static;
    /// What there is of every echo request, from the IP header on.
    type Request: 'static;

    /// Length of a header with nothing optional in it.
    const HEADER: usize;
    /// Whether the header has a checksum of its own.
    const HEADER_CHECKSUM: bool;
    /// Offset of TTL or hop limit in the header.
    const HOP_LIMIT: usize;
    /// The address that is all zeros.
    const ZERO: Self::Address;

    /// Source and destination of the packet whose IP header is at `network`.
    fn addresses(frame: &Frame, network: usize) -> Option<(Self::Address, Self::Address)>;
    fn frontend(vip: Self::Address, transport: &Transport) -> Option<FrontendEntry>;
    /// Whether echo requests to this address are answered.
    fn answers_echoes(vip: Self::Address) -> bool;
    /// The hash of a flow; the client's port may be left out as zero.
    fn hash(client: Self::Address, port: u16, vip: Self::Address, transport: &Transport) -> u32;
    fn pod(backend: &BackendEntry) -> Self::Address;
    fn replace(change: Change, old: Self::Address, new: Self::Address) -> Change;
    /// Writes the destination address, and the header's own checksum.
    fn set_destination(
        frame: &Frame,
        network: usize,
        old: Self::Address,
        new: Self::Address,
    ) -> Option<()>;
    /// Makes the header that of a TCP segment from `vip` to `client` with nothing optional in it and nothing behind it,
    /// which is returned to be filled. It is one look at the frame: the verifier would not see that two belong together.
    fn answer(
        frame: &Frame,
        network: usize,
        client: Self::Address,
        vip: Self::Address,
    ) -> Option<&'static mut [u8; TCP_MINIMUM]>;
    /// The headers of an echo request, if the packet is a plain one from one host to another.
    fn echo_request(frame: &Frame, network: usize) -> Option<&'static mut Self::Request>;
    /// Makes an echo request the answer to it.
    fn answer_echo(request: &mut Self::Request);
    /// The ICMP error at `offset`.
    fn message(frame: &Frame, offset: usize) -> Option<&'static mut Self::Message>;
    /// Replaces an end of the flow that an ICMP error quotes. On the error's outside `outer.0` becomes `outer.1`.
    fn translate_quoted(
        message: &mut Self::Message,
        end: End,
        old: Self::Address,
        new: Pod<Self>,
        checksum: Option<&mut [u8; 2]>,
        outer: (Self::Address, Self::Address),
    );
    /// Writes TTL or hop limit, and the header's own checksum.
    fn set_hop_limit(frame: &Frame, network: usize, limit: u8) -> Option<()>;

    fn key(
        client: Self::Address,
        client_port: u16,
        address: Self::Address,
        port: u16,
        protocol: u8,
        direction: Direction,
    ) -> Self::Key;
    fn entry(state: ConnectionState, address: Self::Address) -> Self::Entry;
    fn address(entry: &Self::Entry) -> Self::Address;
    fn connection(key: &Self::Key) -> Option<*mut Self::Entry>;
    fn half_open(key: &Self::Key) -> Option<*mut Self::Entry>;
    /// Whether there was room.
    fn insert(key: &Self::Key, entry: &Self::Entry) -> bool;
    /// Whether there was room; there is, unless two CPUs are in each other's way.
    fn insert_half_open(key: &Self::Key, entry: &Self::Entry) -> bool;
    fn remove(key: &Self::Key);
    fn remove_half_open(key: &Self::Key);
}

#[derive(Clone, Copy)]
pub(crate) struct V4;
#[derive(Clone, Copy)]
pub(crate) struct V6;

impl Family for V4 {
    type Address = u32;
    type Key = ConnectionKey4;
    type Entry = ConnectionEntry4;
    type Message = Message4;
    type Request = Request4;

    const HEADER: usize = IPV4;
    const HEADER_CHECKSUM: bool = true;
    const HOP_LIMIT: usize = IPV4_TTL;
    const ZERO: u32 = 0;

    #[inline(always)]
    fn addresses(frame: &Frame, network: usize) -> Option<(u32, u32)> {
        let [source, destination] = frame.words::<u32, 2, 8>(network + IPV4_SOURCE)?;
        Some((source, destination))
    }

    #[inline(always)]
    fn frontend(vip: u32, transport: &Transport) -> Option<FrontendEntry> {
        let service = service(transport.destination, transport.protocol);
        let word = join_halves(vip, service);
        let [first, second] = places4(word).map(|place| PLACES4.get(place));
        let first = first?;
        for place in [first, second?] {
            if maps::word_of::<_, u64>(place, 0) == word {
                return Some(maps::at_once(&place.entry));
            }
        }
        if first.entry.flags & FrontendEntry::BESIDE == 0 {
            return None;
        }
        // SAFETY: an entry that is being removed still points to a table of valid ids.
        unsafe { FRONTENDS4.get(key4(vip, service)) }.map(maps::at_once)
    }

    #[inline(always)]
    fn answers_echoes(vip: u32) -> bool {
        FRONTENDS4
            .get_ptr(key4(vip, service(echo::PORT, ICMP)))
            .is_some()
    }

    #[inline(always)]
    fn hash(client: u32, port: u16, vip: u32, transport: &Transport) -> u32 {
        flow::hash4(
            &maps::seed::<4>(),
            client.to_ne_bytes(),
            port.to_ne_bytes(),
            vip.to_ne_bytes(),
            transport.destination.to_ne_bytes(),
            transport.protocol,
        )
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
    fn answer(
        frame: &Frame,
        network: usize,
        client: u32,
        vip: u32,
    ) -> Option<&'static mut [u8; TCP_MINIMUM]> {
        const LENGTH: usize = IPV4 + TCP_MINIMUM;
        let all = frame.bytes::<LENGTH>(network)?;
        let new = (LENGTH as u16).to_be_bytes();
        let old = [all[IPV4_LENGTH], all[IPV4_LENGTH + 1]];
        let protocol = all[IPV4_TTL + 1];
        // The addresses change places, and their sum is the same.
        let checksum = Change::none()
            .word(old, new)
            .word([all[IPV4_TTL], protocol], [HOP_LIMIT, protocol])
            .apply([all[IPV4_CHECKSUM], all[IPV4_CHECKSUM + 1]]);
        all[IPV4_LENGTH..IPV4_LENGTH + 2].copy_from_slice(&new);
        all[IPV4_TTL] = HOP_LIMIT;
        all[IPV4_CHECKSUM..IPV4_CHECKSUM + 2].copy_from_slice(&checksum);
        all[IPV4_SOURCE..IPV4_DESTINATION].copy_from_slice(&vip.to_ne_bytes());
        all[IPV4_DESTINATION..IPV4].copy_from_slice(&client.to_ne_bytes());
        all.last_chunk_mut()
    }

    #[inline(always)]
    fn echo_request(frame: &Frame, network: usize) -> Option<&'static mut Request4> {
        frame
            .bytes(network)
            .filter(|packet| echo::is_request4(packet))
    }

    #[inline(always)]
    fn answer_echo(request: &mut Request4) {
        echo::answer4(request);
    }

    #[inline(always)]
    fn message(frame: &Frame, offset: usize) -> Option<&'static mut Message4> {
        frame.bytes(offset)
    }

    #[inline(always)]
    fn translate_quoted(
        message: &mut Message4,
        end: End,
        old: u32,
        new: Pod<Self>,
        checksum: Option<&mut [u8; 2]>,
        _outer: (u32, u32),
    ) {
        let (old, address) = (old.to_ne_bytes(), new.address.to_ne_bytes());
        quote::translate4(message, end, old, address, new.port.to_ne_bytes(), checksum);
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
    fn key(
        client: u32,
        client_port: u16,
        address: u32,
        port: u16,
        protocol: u8,
        direction: Direction,
    ) -> ConnectionKey4 {
        let addresses = join_halves(client, address);
        let rest = last_word(client_port, port, protocol, direction);
        // SAFETY: words of a record without padding, of which any value is one.
        unsafe { transmute([addresses, rest]) }
    }

    #[inline(always)]
    fn entry(state: ConnectionState, address: u32) -> ConnectionEntry4 {
        ConnectionEntry4 {
            state,
            address,
            spare: [0; 4],
        }
    }

    #[inline(always)]
    fn address(entry: &ConnectionEntry4) -> u32 {
        entry.address
    }

    tables!(CONNECTIONS4, HALF_OPEN4);
}

impl Family for V6 {
    type Address = [u64; 2];
    type Key = ConnectionKey6;
    type Entry = ConnectionEntry6;
    type Message = Message6;
    type Request = Request6;

    const HEADER: usize = IPV6;
    const HEADER_CHECKSUM: bool = false;
    const HOP_LIMIT: usize = IPV6_HOP_LIMIT;
    const ZERO: [u64; 2] = [0; 2];

    #[inline(always)]
    fn addresses(frame: &Frame, network: usize) -> Option<([u64; 2], [u64; 2])> {
        let [a, b, c, d] = frame.words::<u64, 4, 32>(network + IPV6_SOURCE)?;
        Some(([a, b], [c, d]))
    }

    #[inline(always)]
    fn frontend(vip: [u64; 2], transport: &Transport) -> Option<FrontendEntry> {
        let service = service(transport.destination, transport.protocol);
        let [first, second] = places6(vip, service).map(|place| PLACES6.get(place));
        let first = first?;
        for place in [first, second?] {
            if maps::word_of::<_, u64>(place, 0) == vip[0]
                && maps::word_of::<_, u64>(place, 8) == vip[1]
                && maps::word_of::<_, u32>(place, 16) == service
            {
                return Some(maps::at_once(&place.entry));
            }
        }
        if first.entry.flags & FrontendEntry::BESIDE == 0 {
            return None;
        }
        // SAFETY: an entry that is being removed still points to a table of valid ids.
        unsafe { FRONTENDS6.get(key6(vip, service)) }.map(maps::at_once)
    }

    #[inline(always)]
    fn answers_echoes(vip: [u64; 2]) -> bool {
        FRONTENDS6
            .get_ptr(key6(vip, service(echo::PORT, ICMP)))
            .is_some()
    }

    #[inline(always)]
    fn hash(client: [u64; 2], port: u16, vip: [u64; 2], transport: &Transport) -> u32 {
        flow::hash6(
            &maps::seed::<10>(),
            split(client),
            port.to_ne_bytes(),
            split(vip),
            transport.destination.to_ne_bytes(),
            transport.protocol,
        )
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
    fn answer(
        frame: &Frame,
        network: usize,
        client: [u64; 2],
        vip: [u64; 2],
    ) -> Option<&'static mut [u8; TCP_MINIMUM]> {
        let all = frame.bytes::<{ IPV6 + TCP_MINIMUM }>(network)?;
        let length = (TCP_MINIMUM as u16).to_be_bytes();
        all[IPV6_LENGTH..IPV6_LENGTH + 2].copy_from_slice(&length);
        all[IPV6_HOP_LIMIT] = HOP_LIMIT;
        all[IPV6_SOURCE..IPV6_DESTINATION].copy_from_slice(&split(vip));
        all[IPV6_DESTINATION..IPV6].copy_from_slice(&split(client));
        all.last_chunk_mut()
    }

    #[inline(always)]
    fn echo_request(frame: &Frame, network: usize) -> Option<&'static mut Request6> {
        frame
            .bytes(network)
            .filter(|packet| echo::is_request6(packet))
    }

    #[inline(always)]
    fn answer_echo(request: &mut Request6) {
        echo::answer6(request);
    }

    #[inline(always)]
    fn message(frame: &Frame, offset: usize) -> Option<&'static mut Message6> {
        frame.bytes(offset)
    }

    #[inline(always)]
    fn translate_quoted(
        message: &mut Message6,
        end: End,
        old: [u64; 2],
        new: Pod<Self>,
        checksum: Option<&mut [u8; 2]>,
        outer: ([u64; 2], [u64; 2]),
    ) {
        let outer = (split(outer.0), split(outer.1));
        let (old, address, port) = (split(old), split(new.address), new.port.to_ne_bytes());
        quote::translate6(message, end, old, address, port, checksum, outer);
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
        address: [u64; 2],
        port: u16,
        protocol: u8,
        direction: Direction,
    ) -> ConnectionKey6 {
        let rest = last_word(client_port, port, protocol, direction);
        // SAFETY: words of a record without padding, of which any value is one.
        unsafe { transmute([client[0], client[1], address[0], address[1], rest]) }
    }

    #[inline(always)]
    fn entry(state: ConnectionState, address: [u64; 2]) -> ConnectionEntry6 {
        ConnectionEntry6 {
            state,
            address,
            spare: [0; 8],
        }
    }

    #[inline(always)]
    fn address(entry: &ConnectionEntry6) -> [u64; 2] {
        entry.address
    }

    tables!(CONNECTIONS6, HALF_OPEN6);
}
