//! Keys and values of the maps.
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
        /// The VIP.
        address: [u8; 4],
        /// The Service port.
        port: [u8; 2],
        /// IANA protocol number.
        protocol: u8,
        /// Padding.
        zero: u8,
    }
}

record! {
    /// Where IPv6 clients connect.
    FrontendKey6: 20 align 4 {
        /// The VIP.
        address: [u8; 16],
        /// The Service port.
        port: [u8; 2],
        /// IANA protocol number.
        protocol: u8,
        /// Padding.
        zero: u8,
    }
}

record! {
    /// What is known of a frontend.
    FrontendEntry: 8 align 4 {
        /// Number of its Maglev table; [`FrontendEntry::NO_TABLE`] if it has no backend.
        table: u32,
        /// [`FrontendEntry::CLIENT_IP`] or zero.
        flags: u32,
    }
}

impl FrontendEntry {
    /// There is nothing to direct to.
    pub const NO_TABLE: u32 = u32::MAX;
    /// The client's port is left out of the hash.
    pub const CLIENT_IP: u32 = 1;
}

record! {
    /// One slot of a Maglev table: backend ids, zero for none.
    Slot: 4 align 4 {
        /// Where new connections go.
        current: u16,
        /// Where connections went before the backends changed.
        previous: u16,
    }
}

record! {
    /// The element of the map of tables. Array elements are rounded up to eight bytes, so two
    /// slots share one.
    SlotPair: 8 align 8 {
        /// Slot 2n.
        even: Slot,
        /// Slot 2n + 1.
        odd: Slot,
    }
}

/// Elements that one table of `slots` occupies in the map of tables.
#[inline(always)]
#[must_use]
pub const fn table_stride(slots: u32) -> u32 {
    slots.div_ceil(2)
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
    /// A MAC address as a key or value.
    InterfaceEntry: 8 align 8 {
        /// In the order of the wire.
        mac: [u8; 6],
        /// Padding.
        zero: [u8; 2],
    }
}

record! {
    /// A delivered IPv4 connection, as its replies show it.
    ConnectionKey4: 16 align 8 {
        /// Client address.
        client: [u8; 4],
        /// Pod address.
        pod: [u8; 4],
        /// Client port.
        client_port: [u8; 2],
        /// Target port.
        pod_port: [u8; 2],
        /// IANA protocol number.
        protocol: u8,
        /// Padding.
        zero: [u8; 3],
    }
}

record! {
    /// A delivered IPv6 connection, as its replies show it.
    ConnectionKey6: 40 align 8 {
        /// Client address.
        client: [u8; 16],
        /// Pod address.
        pod: [u8; 16],
        /// Client port.
        client_port: [u8; 2],
        /// Target port.
        pod_port: [u8; 2],
        /// IANA protocol number.
        protocol: u8,
        /// Padding.
        zero: [u8; 3],
    }
}

record! {
    /// The frontend of a delivered IPv4 connection.
    ConnectionEntry4: 16 align 8 {
        /// The VIP.
        vip: [u8; 4],
        /// The Service port.
        port: [u8; 2],
        /// Padding.
        zero: [u8; 2],
        /// Jiffies when a packet of it was last seen, to about a second.
        seen: u64,
    }
}

record! {
    /// The frontend of a delivered IPv6 connection.
    ConnectionEntry6: 32 align 8 {
        /// The VIP.
        vip: [u8; 16],
        /// The Service port.
        port: [u8; 2],
        /// Padding.
        zero: [u8; 6],
        /// Jiffies when a packet of it was last seen, to about a second.
        seen: u64,
    }
}

record! {
    /// Connections recorded by one CPU in the current second.
    BudgetEntry: 16 align 8 {
        /// The second, counted in jiffies.
        since: u64,
        /// How many.
        inserts: u64,
    }
}
