//! Keys and values of the maps.
//!
//! Keys and addresses of connections are whole words with their bytes in the order of the wire:
//! put together byte by byte they would be read back before the stores are done.
//!
//! Records are aligned to words, because the verifier wants aligned words on the stack; padding is spelled
//! out as fields that are always zero, because the kernel hashes every byte of a key.

macro_rules! record {
    ($(#[$meta:meta])* $name:ident: $size:literal align $align:literal { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(C, align($align))]
        pub struct $name { $($(#[$field_meta])* pub $field: $type,)* }

        const _: () = {
            assert!(size_of::<$name>() == $size);
            assert!(size_of::<$name>() == 0 $(+ size_of::<$type>())*, "padding");
        };

        #[cfg(feature = "user")]
        // SAFETY: `repr(C)`, made of plain integers and byte arrays, without padding as asserted above.
        unsafe impl aya::Pod for $name {}
    };
}

record! {
    /// Where IPv4 clients connect.
    FrontendKey4: 8 align 4 {
        /// The VIP, in the order of the wire.
        address: u32,
        /// The Service port, in the order of the wire.
        port: u16,
        /// IANA protocol number.
        protocol: u8,
        /// Padding.
        zero: u8,
    }
}

record! {
    /// Where IPv6 clients connect.
    FrontendKey6: 20 align 4 {
        /// The VIP, in the order of the wire.
        address: [u32; 4],
        /// The Service port, in the order of the wire.
        port: u16,
        /// IANA protocol number.
        protocol: u8,
        /// Padding.
        zero: u8,
    }
}

record! {
    /// What is known of a frontend.
    FrontendEntry: 8 align 8 {
        /// The first slot of its Maglev table; [`FrontendEntry::NO_TABLE`] if it has no backend.
        table: u32,
        /// What [`FrontendEntry`] has names for, and above [`FrontendEntry::SIZE_SHIFT`] the size of its table, as the
        /// power of two. Both are in one word, so that a packet never meets a table with another one's size.
        flags: u32,
    }
}

impl FrontendEntry {
    /// There is nothing to direct to.
    pub const NO_TABLE: u32 = u32::MAX;
    /// The client's port is left out of the hash.
    pub const CLIENT_IP: u32 = 1;
    /// It has just come: which connections the kernel carries is still being found out.
    pub const LEARNING: u32 = 2;
    /// It is going: it keeps the connections that it has, and takes no new ones.
    pub const DRAINING: u32 = 4;
    /// Another frontend that is looked for at this place first is in the map alone.
    pub const BESIDE: u32 = 0x80;
    /// New connections begin on the kernel's path.
    pub const CLOSED: u32 = Self::LEARNING | Self::DRAINING;
    /// Above the flags stands the logarithm of the table's size.
    pub const SIZE_SHIFT: u32 = 8;

    /// How many slots the table has, by the entry's flags.
    #[inline(always)]
    #[must_use]
    pub const fn slots(flags: u32) -> u32 {
        1 << ((flags >> Self::SIZE_SHIFT) & (u32::BITS - 1))
    }
}

record! {
    /// A place of an array in which IPv4 frontends are looked for first. Without a protocol there is none.
    Place4: 16 align 8 {
        /// Which one.
        key: FrontendKey4,
        /// What is known of it; [`FrontendEntry::BESIDE`] also where there is none.
        entry: FrontendEntry,
    }
}

record! {
    /// The same for IPv6 frontends.
    Place6: 32 align 8 {
        /// Which one.
        key: FrontendKey6,
        /// Padding.
        zero: u32,
        /// What is known of it; [`FrontendEntry::BESIDE`] also where there is none.
        entry: FrontendEntry,
    }
}

record! {
    /// One slot of a Maglev table: backend ids, zero for none.
    Slot: 8 align 8 {
        /// Where new connections go.
        current: u16,
        /// Where connections went before that: the last one first. Both together, because the second
        /// change may come before the connections of the first have been told.
        previous: [u16; 2],
        /// Not zero while it has just changed: a node that had it before may not yet have said which
        /// connections it has.
        unsettled: u16,
    }
}

record! {
    /// A pod.
    BackendEntry: 24 align 8 {
        /// Pod address; an IPv4 one in the first four bytes, then zeros.
        address: [u8; 16],
        /// Target port.
        port: [u8; 2],
        /// Hop id of its node; zero if it is here.
        hop: u16,
        /// [`BackendEntry::USED`] and the family's flag.
        flags: u32,
    }
}

impl BackendEntry {
    /// The entry means something.
    pub const USED: u32 = 1;
    /// The address is an IPv6 one.
    pub const IPV6: u32 = 2;
    /// The director of its node is going: it has what it has, and new connections take the kernel's path.
    pub const LEAVING: u32 = 4;
    /// Above the flags stands a digest of the pod's identity: an address that another pod was given
    /// is another backend.
    pub const POD_SHIFT: u32 = 8;
    /// The hop of a backend whose node is not known. No hop has this id.
    pub const UNPLACED: u16 = u16::MAX;
    /// The hop of what is nobody's: its share of new connections is refused. No hop has this id either.
    pub const NOBODY: u16 = u16::MAX - 1;
}

record! {
    /// How frames reach another node.
    HopEntry: 32 align 8 {
        /// Its MAC address.
        mac: [u8; 6],
        /// Our MAC address on the interface that faces it. Directly behind `mac`: both are
        /// written into a frame by one copy.
        source: [u8; 6],
        /// That interface; zero while the MAC address is not known.
        ifindex: u32,
        /// The node's own address; an IPv4 one mapped into IPv6.
        address: [u8; 16],
    }
}

record! {
    /// A MAC address as a key.
    MacKey: 8 align 8 {
        /// In the order of the wire.
        mac: [u8; 6],
        /// Padding.
        zero: [u8; 2],
    }
}

/// Words of bits in front of the MAC addresses of other nodes.
pub const NODE_WORDS: u32 = 64;

/// Word and bit that are set if this MAC address may be another node's. Those of one maker differ at the end.
#[inline(always)]
#[must_use]
pub const fn node_bit(mac: [u8; 6]) -> (u32, u64) {
    let end = u16::from_be_bytes([mac[4], mac[5]]) as u32;
    ((end >> 6) % NODE_WORDS, 1 << (end % u64::BITS))
}

record! {
    /// An interface by which frames come in.
    InterfaceEntry: 16 align 8 {
        /// Our MAC address on it.
        mac: [u8; 6],
        /// Padding.
        zero: [u8; 2],
        /// The interface that hops name: itself, or the bond of which it is a member.
        device: u32,
        /// The interface's own index, by which it is known at its place.
        ifindex: u32,
    }
}

/// As many interfaces are looked for at a place of their own first: those whose indexes end alike share one.
pub const INTERFACE_PLACES: u32 = 256;

/// Which end of a connection a [`ConnectionKey4`] or [`ConnectionKey6`] names besides the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Direction {
    /// The frontend: what the client's packets show.
    Forward = 1,
    /// The pod: what its replies show.
    Reverse = 2,
}

record! {
    /// One direction of an IPv4 connection.
    ConnectionKey4: 16 align 8 {
        /// Client address.
        client: u32,
        /// Address of the VIP or of the pod.
        address: u32,
        /// Client port.
        client_port: u16,
        /// Service port or target port.
        port: u16,
        /// IANA protocol number.
        protocol: u8,
        /// A [`Direction`].
        direction: u8,
        /// Padding.
        zero: [u8; 2],
    }
}

record! {
    /// One direction of an IPv6 connection.
    ConnectionKey6: 40 align 8 {
        /// Client address.
        client: [u64; 2],
        /// Address of the VIP or of the pod.
        address: [u64; 2],
        /// Client port.
        client_port: u16,
        /// Service port or target port.
        port: u16,
        /// IANA protocol number.
        protocol: u8,
        /// A [`Direction`].
        direction: u8,
        /// Padding.
        zero: [u8; 2],
    }
}

record! {
    /// What is known of a connection, whatever its family. Every field is written by itself, so
    /// that two CPUs never undo each other's.
    ConnectionState: 16 align 4 {
        /// The other end's port: of the pod in the forward direction, of the frontend in the reverse
        /// one. Of a connection that another node has: its hop id.
        port: u16,
        /// Where it goes: one of the `KIND` constants.
        kind: u8,
        /// What may confirm it: one of the `BY` constants. Zero in the table of connections.
        confirmed_by: u8,
        /// With [`ConnectionState::BY_ACK`]: the acknowledgement that confirms it, and a confirmed one keeps it.
        /// Once the pod has finished, in the client's direction: the one of its last word, by which the client's
        /// last ones are told from its next connection.
        acknowledgement: u32,
        /// Jiffies, of 32 bits, when a packet of it was last seen, to about a second; of a half-open
        /// one, when it was made.
        seen: u32,
        /// The client has said that it is done.
        client_fin: u8,
        /// The pod has.
        pod_fin: u8,
        /// One of them has torn it down, and the pod has said nothing since: one of the `RESET` constants, or zero.
        reset: u8,
        /// A SYN would open it anew: [`ConnectionState::HERE`], [`ConnectionState::ELSEWHERE`] or zero.
        challenged: u8,
    }
}

impl ConnectionState {
    /// It goes to a pod of this node.
    pub const KIND_POD: u8 = 1;
    /// It goes to the node that has it.
    pub const KIND_NODE: u8 = 2;
    /// It began on the kernel's path and stays there.
    pub const KIND_KERNEL: u8 = 3;
    /// Half-open: nobody has been found to know it, since `seen`.
    pub const KIND_STRANGER: u8 = 4;

    /// Half-open: the pod has not answered the SYN.
    pub const BY_NOTHING: u8 = 0;
    /// Half-open: the acknowledgement of the pod's SYN-ACK confirms it.
    pub const BY_ACK: u8 = 1;
    /// Begun without a SYN: the pod's answer confirms it.
    pub const BY_ANSWER: u8 = 2;
    /// Confirmed already, but the table of connections had no room.
    pub const BY_ROOM: u8 = 3;

    /// Torn down by its client, or by whoever says so in the client's name.
    pub const RESET_BY_CLIENT: u8 = 1;
    /// Torn down by its pod.
    pub const RESET_BY_POD: u8 = 2;

    /// Challenged by a half-open one: acknowledgements are looked up there first.
    pub const HERE: u8 = 1;
    /// Challenged by one of another node: segments are asked for there first.
    pub const ELSEWHERE: u8 = 2;

    /// Whether both ends have finished, or one has torn it down.
    #[inline(always)]
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.reset != 0 || self.is_over_for_the_pod()
    }

    /// Whether the pod has said that it is over, which nobody but itself can: by a reset, or by its own end where the
    /// client has said so too.
    #[inline(always)]
    #[must_use]
    pub const fn is_over_for_the_pod(&self) -> bool {
        let client_ends = self.client_fin != 0 || self.reset == Self::RESET_BY_CLIENT;
        self.reset == Self::RESET_BY_POD || (client_ends && self.pod_fin != 0)
    }
}

record! {
    /// One direction of an IPv4 connection: where the other end is.
    ConnectionEntry4: 24 align 8 {
        /// All but the address; first, whatever the family.
        state: ConnectionState,
        /// Address of the pod or of the VIP.
        address: u32,
        /// Padding, for what is still to come.
        spare: [u8; 4],
    }
}

record! {
    /// One direction of an IPv6 connection: where the other end is.
    ConnectionEntry6: 40 align 8 {
        /// All but the address; first, whatever the family.
        state: ConnectionState,
        /// Address of the pod or of the VIP.
        address: [u64; 2],
        /// Padding, for what is still to come.
        spare: [u8; 8],
    }
}

record! {
    /// What the programs did to the tables of half-open connections; each connection has two entries there. What goes when
    /// there is no room for others they do not see.
    TurnoverEntry: 16 align 8 {
        /// Entries that were not there before.
        inserted: u64,
        /// Entries that were taken out, most of them to be confirmed ones.
        removed: u64,
    }
}

record! {
    /// What programs and user space tell each other. Every field is written by itself.
    StateEntry: 48 align 8 {
        /// Jiffies of the last sign of life of user space.
        fed: u64,
        /// Jiffies when the table of connections last had no room.
        full: u64,
        /// Jiffies when a connection of the kernel's path was last recorded, so that even a director
        /// must look; zero if there is none.
        kernels: u64,
        /// Jiffies when the table of half-open connections last got one that is no longer, so that even
        /// a plain reply must be looked up there; zero if there is none.
        strays: u64,
        /// Four hop ids of nodes that cannot tell just now which connections they have, one of them several
        /// times if there are fewer: those are asked for what nobody knows. Zero for none.
        away: u64,
        /// The kernel's number of the map of frontends that was filled last. Maps made after it are empty still, and
        /// whatever runs stays with those it has.
        filled: u64,
    }
}

record! {
    /// What whoever looks at packets and the programs that take samples of them tell each other.
    SamplingEntry: 24 align 8 {
        /// Nanoseconds of the monotonic clock until which samples are wanted; zero if nobody looks.
        until: u64,
        /// A bit for each verdict that is wanted, by its number.
        verdicts: u64,
        /// When all samples that were taken will have been paid for: see [`crate::sample::admit`].
        paid: u64,
    }
}
