//! Finding the transport header of a frame.
//!
//! Not a packet library: it reads what the director needs and refuses the rest with the verdict
//! to count. The programs and the host tests run this same code over a [`Window`].
//!
//! Invariant: no offset is used before the window has said that it holds the bytes, and every
//! offset is bounded by constants, as the verifier wants it.

use crate::Verdict;

/// Bytes that can be asked for with a bounds check.
pub trait Window {
    /// The `N` bytes from `offset`, if they are all there.
    fn at<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;
    /// How many bytes the frame has.
    fn length(&self) -> usize;
}

impl Window for [u8] {
    fn at<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.get(offset..offset.checked_add(N)?)?.try_into().ok()
    }

    fn length(&self) -> usize {
        self.len()
    }
}

/// IANA number of TCP.
pub const TCP: u8 = 6;
/// IANA number of UDP.
pub const UDP: u8 = 17;

/// Length of an Ethernet header without tags.
pub const ETHERNET: usize = 14;
/// Offset of the checksum in an IPv4 header.
pub const IPV4_CHECKSUM: usize = 10;
/// Offset of the TTL in an IPv4 header.
pub const IPV4_TTL: usize = 8;
/// Offset of the hop limit in an IPv6 header.
pub const IPV6_HOP_LIMIT: usize = 7;
/// Length of the fixed IPv6 header.
pub const IPV6: usize = 40;
/// Length of a TCP header without options.
pub const TCP_MINIMUM: usize = 20;
/// Offset of the checksum in a TCP header.
pub const TCP_CHECKSUM: usize = 16;
/// Length of a UDP header.
pub const UDP_LENGTH: usize = 8;
/// Offset of the checksum in a UDP header.
pub const UDP_CHECKSUM: usize = 6;

const VLAN: [u8; 2] = [0x81, 0x00];
const VLAN_SERVICE: [u8; 2] = [0x88, 0xa8];
const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
const TAGS: usize = 2;
const TAG: usize = 4;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;
const EXTENSIONS: usize = 4;
/// No real packet carries more; a bound keeps the offsets inside what the verifier tracks.
const EXTENSIONS_LENGTH: usize = 512;

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// The IP version of a frame and where its header begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// IPv4 at this offset.
    V4(usize),
    /// IPv6 at this offset.
    V6(usize),
}

/// What the director needs of a TCP or UDP packet besides its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transport {
    /// Offset of the TCP or UDP header.
    pub offset: usize,
    /// [`TCP`] or [`UDP`].
    pub protocol: u8,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// Source port, as it lies in the packet.
    pub source: u16,
    /// Destination port, as it lies in the packet.
    pub destination: u16,
    /// A TCP segment that does not open a connection, so that one should be known.
    pub established: bool,
}

/// How far the lengths in the headers are trusted to match the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lengths {
    /// Received frames: what the header promises must be there.
    Checked,
    /// Frames our own kernel sends: the length may be left to the device (large sends).
    Trusted,
}

/// Finds the IP header of an Ethernet frame behind at most two VLAN tags.
///
/// # Errors
/// [`Verdict::Malformed`] for a frame that ends too early, [`Verdict::NotIp`] for anything else.
#[inline(always)]
pub fn network<W: Window + ?Sized>(frame: &W) -> Result<Network, Verdict> {
    let mut offset = ETHERNET;
    let mut ethertype: [u8; 2] = frame.at(ETHERNET - 2).ok_or(Verdict::Malformed)?;
    for _ in 0..TAGS {
        if ethertype != VLAN && ethertype != VLAN_SERVICE {
            break;
        }
        let tag: [u8; TAG] = frame.at(offset).ok_or(Verdict::Malformed)?;
        ethertype = [tag[2], tag[3]];
        offset += TAG;
    }
    match ethertype {
        ETHERTYPE_IPV4 => Ok(Network::V4(offset)),
        ETHERTYPE_IPV6 => Ok(Network::V6(offset)),
        _ => Err(Verdict::NotIp),
    }
}

/// Finds the transport header of the IPv4 packet at `offset`.
///
/// # Errors
/// The verdict with which the packet passes.
#[inline(always)]
pub fn ipv4<W: Window + ?Sized>(frame: &W, offset: usize, lengths: Lengths) -> Result<Transport, Verdict> {
    // The whole of it, although only half is looked at: the check holds for the addresses too, and
    // the verifier would not see that a later one implies it.
    let header: [u8; 20] = frame.at(offset).ok_or(Verdict::Malformed)?;
    let header_length = usize::from(header[0] & 0x0f) * 4;
    if header[0] >> 4 != 4 || header_length < 20 {
        return Err(Verdict::Malformed);
    }
    // More-fragments flag or an offset.
    if (header[6] & 0x3f) | header[7] != 0 {
        return Err(Verdict::Fragment);
    }
    let minimum = minimum(header[9])?;
    if lengths == Lengths::Checked {
        let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if total < header_length + minimum || offset + total > frame.length() {
            return Err(Verdict::Malformed);
        }
    }
    transport(frame, offset + header_length, header[9], header[IPV4_TTL])
}

/// Finds the transport header of the IPv6 packet at `offset`, behind at most four extension
/// headers.
///
/// # Errors
/// The verdict with which the packet passes.
#[inline(always)]
pub fn ipv6<W: Window + ?Sized>(frame: &W, offset: usize, lengths: Lengths) -> Result<Transport, Verdict> {
    let header: [u8; IPV6] = frame.at(offset).ok_or(Verdict::Malformed)?;
    if header[0] >> 4 != 6 {
        return Err(Verdict::Malformed);
    }
    let (protocol, extensions) = extensions(frame, offset + IPV6, header[6])?;
    let minimum = minimum(protocol)?;
    if lengths == Lengths::Checked {
        let payload = usize::from(u16::from_be_bytes([header[4], header[5]]));
        if payload < extensions + minimum || offset + IPV6 + payload > frame.length() {
            return Err(Verdict::Malformed);
        }
    }
    transport(frame, offset + IPV6 + extensions, protocol, header[IPV6_HOP_LIMIT])
}

/// The upper-layer protocol and the length of the extension headers before it.
#[inline(always)]
fn extensions<W: Window + ?Sized>(frame: &W, start: usize, first: u8) -> Result<(u8, usize), Verdict> {
    let mut next = first;
    let mut length = 0;
    for _ in 0..EXTENSIONS {
        match next {
            HOP_BY_HOP | DESTINATION_OPTIONS | ROUTING => {
                let header: [u8; 4] = frame.at(start + length).ok_or(Verdict::Malformed)?;
                // Segments left: the destination is not the last one.
                if next == ROUTING && header[3] != 0 {
                    return Err(Verdict::OtherProtocol);
                }
                next = header[0];
                length += (usize::from(header[1]) + 1) * 8;
                if length > EXTENSIONS_LENGTH {
                    return Err(Verdict::OtherProtocol);
                }
            }
            FRAGMENT => return Err(Verdict::Fragment),
            _ => return Ok((next, length)),
        }
    }
    Ok((next, length))
}

#[inline(always)]
fn minimum(protocol: u8) -> Result<usize, Verdict> {
    match protocol {
        TCP => Ok(TCP_MINIMUM),
        UDP => Ok(UDP_LENGTH),
        FRAGMENT => Err(Verdict::Fragment),
        _ => Err(Verdict::OtherProtocol),
    }
}

#[inline(always)]
fn transport<W: Window + ?Sized>(
    frame: &W,
    offset: usize,
    protocol: u8,
    hop_limit: u8,
) -> Result<Transport, Verdict> {
    let ports: [u8; 4] = frame.at(offset).ok_or(Verdict::Malformed)?;
    let established = if protocol == TCP {
        let [flags]: [u8; 1] = frame.at(offset + 13).ok_or(Verdict::Malformed)?;
        flags & (SYN | ACK) != SYN
    } else {
        false
    };
    Ok(Transport {
        offset,
        protocol,
        hop_limit,
        source: u16::from_ne_bytes([ports[0], ports[1]]),
        destination: u16::from_ne_bytes([ports[2], ports[3]]),
        established,
    })
}
