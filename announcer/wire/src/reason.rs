//! Why a frame was not answered: one word for each case, which is also the label of its counter.

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident => $label:literal,)+) => {
        /// Why a frame was not answered.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason { $($(#[$doc])* $name,)+ }

        impl Reason {
            /// Every reason, in the order of [`Reason::index`].
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The value of the metric label `reason`.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)+ }
            }

            /// Position in [`Reason::ALL`].
            #[must_use]
            pub const fn index(self) -> usize {
                self as usize
            }
        }
    };
}

reasons! {
    /// The frame ends before its headers do.
    Truncated => "truncated",
    /// Neither ARP nor IPv6.
    EtherType => "ether_type",
    /// Carries a VLAN tag: a question on another network than the interface's own.
    VlanTagged => "vlan_tagged",
    /// Unicast to another Ethernet address.
    NotForUs => "not_for_us",
    /// Sent by this node itself, from this interface or another one.
    OwnFrame => "own_frame",
    /// ARP for other hardware than Ethernet.
    ArpHardware => "arp_hardware",
    /// ARP for another protocol than IPv4.
    ArpProtocol => "arp_protocol",
    /// ARP with address lengths other than 6 and 4.
    ArpLengths => "arp_lengths",
    /// Neither an ARP request nor a reply.
    ArpOperation => "arp_operation",
    /// A sender no answer can reach: a group or zero Ethernet address, or a group IP address.
    BadSender => "bad_sender",
    /// Not a well-formed IPv6 header.
    Ipv6Header => "ipv6_header",
    /// A jumbogram.
    Jumbogram => "jumbogram",
    /// Too long a chain of extension headers, or a broken one.
    ExtensionHeaders => "extension_headers",
    /// Neighbour Discovery in fragments (RFC 6980 forbids it).
    Fragmented => "fragmented",
    /// Neither a solicitation nor an advertisement of a neighbour.
    NotNeighbour => "not_neighbour",
    /// Hop limit other than 255: it came through a router.
    HopLimit => "hop_limit",
    /// Wrong ICMPv6 checksum.
    Checksum => "checksum",
    /// ICMPv6 code other than 0.
    IcmpCode => "icmp_code",
    /// The address asked for is a multicast one.
    MulticastTarget => "multicast_target",
    /// An option of length zero, or longer than the message.
    BadOption => "bad_option",
    /// Source, destination and flags contradict each other (RFC 4861 §7.1).
    Inconsistent => "inconsistent",
    /// A question about an address this node does not own.
    NotOwned => "not_owned",
    /// An answer or an announcement, about an address this node does not own.
    NotAsked => "not_asked",
    /// A peer announcer claims an address this node answers for, or asks for before it does: a takeover under way.
    Peer => "peer",
    /// The session of this node has run out: it may not answer.
    SessionExpired => "session_expired",
    /// Its source has asked too often.
    RateLimited => "rate_limited",
    /// More was asked than there is room for, and others came first.
    Crowded => "crowded",
    /// The kernel did not take the answer.
    SendFailed => "send_failed",
}

#[cfg(test)]
mod tests {
    use super::Reason;
    use std::collections::BTreeSet;

    #[test]
    fn labels_are_unique_and_the_index_is_the_position() {
        let labels: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.label()).collect();
        assert_eq!(labels.len(), Reason::COUNT);
        for (position, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), position);
        }
    }
}
