//! Where the fields of headers are, and what is read of them.

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
/// Offset of the total length in an IPv4 header.
pub const IPV4_LENGTH: usize = 2;
/// Offset of the payload length in an IPv6 header.
pub const IPV6_LENGTH: usize = 4;
/// Offset of the checksum in an IPv4 header.
pub const IPV4_CHECKSUM: usize = 10;
/// Offset of the TTL in an IPv4 header.
pub const IPV4_TTL: usize = 8;
/// Offset of the source address in an IPv4 header; the destination follows.
pub const IPV4_SOURCE: usize = 12;
/// Offset of the destination address in an IPv4 header.
pub const IPV4_DESTINATION: usize = 16;
/// Offset of the source address in an IPv6 header.
pub const IPV6_SOURCE: usize = 8;
/// Offset of the destination address in an IPv6 header.
pub const IPV6_DESTINATION: usize = 24;
/// Offset of the hop limit in an IPv6 header.
pub const IPV6_HOP_LIMIT: usize = 7;
/// Length of an IPv4 header without options.
pub const IPV4: usize = 20;
/// Length of the fixed IPv6 header.
pub const IPV6: usize = 40;
/// Length of a TCP header without options.
pub const TCP_MINIMUM: usize = 20;
/// Offset of the sequence number in a TCP header.
pub const TCP_SEQUENCE: usize = 4;
/// Offset of the length of a TCP header, in words, in the upper half of a byte.
pub const TCP_LENGTH: usize = 12;
/// Offset of the acknowledgement number in a TCP header.
pub const TCP_ACKNOWLEDGEMENT: usize = 8;
/// Offset of the flags in a TCP header.
pub(crate) const TCP_FLAGS: usize = 13;
/// Offset of the checksum in a TCP header.
pub const TCP_CHECKSUM: usize = 16;
/// Length of a UDP header.
pub const UDP_LENGTH: usize = 8;
/// Offset of the checksum in a UDP header.
pub const UDP_CHECKSUM: usize = 6;

/// TCP flag.
pub const FIN: u8 = 0x01;
/// TCP flag.
pub const SYN: u8 = 0x02;
/// TCP flag.
pub const RST: u8 = 0x04;
/// TCP flag.
pub const ACK: u8 = 0x10;

/// What the director needs of a TCP or UDP packet besides its addresses; or of an ICMP error, as if it were a packet of
/// the flow that it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transport {
    /// Offset of the TCP or UDP header, or of the ICMP one.
    pub offset: usize,
    /// [`TCP`] or [`UDP`].
    pub protocol: u8,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// Source port, as it lies in the packet.
    pub source: u16,
    /// Destination port, as it lies in the packet.
    pub destination: u16,
    /// Flags of a TCP segment; zero for UDP.
    pub flags: u8,
    /// How many bytes of the transport header an ICMP error quotes, up to the least that TCP has; zero if this is none.
    pub quoted: u8,
}

impl Transport {
    /// Whether this is a TCP segment that opens a connection.
    #[inline(always)]
    #[must_use]
    pub const fn opens(&self) -> bool {
        self.flags & (SYN | ACK) == SYN
    }

    /// Whether this is a TCP segment in the middle of a connection.
    #[inline(always)]
    #[must_use]
    pub const fn is_mid_stream(&self) -> bool {
        self.protocol == TCP && !self.opens()
    }
}
