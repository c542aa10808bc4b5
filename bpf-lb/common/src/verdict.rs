//! Every way a packet can leave the data path: the one table from reason to action.
//!
//! Invariant: whatever is not understood or not ours is passed untouched. Dropped is what the
//! kernel's path would break: a segment in mid-connection that cannot be served now, which TCP
//! repeats, a reply whose rewriting failed half-way, and what is refused without a reset.

/// What the kernel is told to do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Go on to the kernel's own stack.
    Pass,
    /// Send out of the interface it came in by.
    Transmit,
    /// Send out of another interface.
    Redirect,
    /// Discard.
    Drop,
}

macro_rules! verdicts {
    ($($name:ident = $label:literal, $action:ident, $text:literal;)*) => {
        /// Why a packet left the data path as it did. The number is the index of its counter.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u32)]
        pub enum Verdict {
            $(#[doc = $text] $name,)*
        }

        impl Verdict {
            /// All verdicts, in the order of their counters.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// What the kernel is told.
            #[inline(always)]
            #[must_use]
            pub const fn action(self) -> Action {
                match self { $(Self::$name => Action::$action,)* }
            }

            /// The metric label.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }

            /// One sentence for people.
            #[must_use]
            pub const fn describe(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

verdicts! {
    Directed = "directed", Transmit, "Sent to its backend's node on the interface it came in by.";
    DirectedElsewhere = "directed_elsewhere", Redirect, "Sent to its backend's node out of another interface.";
    SecondChance = "second_chance", Transmit, "Unknown here; sent on to the node of a previous backend of its slot.";
    ExtraHop = "extra_hop", Transmit, "Came from another node although its backend is elsewhere; sent on.";
    Moved = "moved", Transmit, "Of a connection that another node has; sent there.";
    Delivered = "delivered", Pass, "Translated to a pod on this node.";
    DeliveredPrevious = "delivered_previous", Pass, "Translated to the pod that has this connection, although its slot names another one now.";
    Adopted = "adopted", Pass, "Of no known connection, and nobody else can have it; translated to its slot's pod.";
    DeliveredError = "delivered_error", Pass, "An ICMP error about a connection of a pod on this node; translated to it, and so is what it quotes.";
    Refused = "refused", Transmit, "Opens a connection that nobody is there for; sent back as a reset.";
    DropRefused = "drop_refused", Drop, "Nobody is there for it, and no reset can tell its sender.";
    Echoed = "echoed", Transmit, "An echo request (ping) to an address that is served here; answered.";
    NotIp = "pass_not_ip", Pass, "Neither IPv4 nor IPv6, or more than two VLAN tags.";
    Malformed = "pass_malformed", Pass, "Headers are cut short or contradict each other.";
    Fragment = "pass_fragment", Pass, "An IP fragment; the kernel path serves it.";
    OtherProtocol = "pass_other_protocol", Pass, "Neither TCP nor UDP nor an ICMP error about them, nor a plain echo request to an address that is served here; or behind unknown extension headers.";
    UnknownError = "pass_unknown_error", Pass, "An ICMP error about a connection that is not known here; the kernel may know it.";
    NotFrontend = "pass_not_frontend", Pass, "Not addressed to a frontend.";
    NotOurMac = "pass_not_our_mac", Pass, "For a frontend, but the frame was not sent to this node's MAC address.";
    NoBackend = "pass_no_backend", Pass, "The frontend has no backend that takes new connections.";
    Tagged = "pass_tagged", Pass, "Has a VLAN tag, and its backend's node is behind another interface than it came in by.";
    HopLimit = "pass_hop_limit", Pass, "TTL or hop limit is nearly used up.";
    NoHop = "pass_no_hop", Pass, "The MAC address of the backend's node is not known; not in mid-connection.";
    Unplaced = "pass_unplaced", Pass, "Nothing says on which node the backend runs.";
    LoopGuard = "pass_loop_guard", Pass, "Would have bounced between nodes; not in mid-connection.";
    Collision = "pass_collision", Pass, "The client's port reaches every pod of this node by another frontend already; not in mid-connection.";
    TableFull = "pass_table_full", Pass, "A new connection, and the table of connections has no room.";
    Overdue = "pass_overdue", Pass, "A new connection, or a datagram that may be of one, and nobody has kept the tables for minutes.";
    Closed = "pass_closed", Pass, "A new connection, and its frontend is going, or has only just come; it begins on the kernel's path.";
    KernelPath = "pass_kernel_path", Pass, "Of a connection that began on the kernel's path and stays there.";
    DropNoHop = "drop_no_hop", Drop, "In mid-connection, and the MAC address of its node is not known; TCP repeats it.";
    DropLoopGuard = "drop_loop_guard", Drop, "In mid-connection, and the nodes' tables differ for a moment; TCP repeats it.";
    DropUnsettled = "drop_unsettled", Drop, "In mid-connection and unknown here, and another node may still say that it has it; TCP repeats it.";
    DropCollision = "drop_collision", Drop, "In mid-connection, and its client's port reaches its pod by another frontend.";
    Broken = "drop_broken", Drop, "Translating it to a pod failed half-way.";
    ReplyRewritten = "reply_rewritten", Pass, "A tracked connection's reply, given its VIP as source.";
    ReplyError = "reply_error", Pass, "An ICMP error about a tracked connection, given its VIP as source and in what it quotes.";
    ReplyUntracked = "reply_untracked", Pass, "Leaving packet of no tracked connection.";
    ReplyFragment = "reply_fragment", Pass, "Leaving fragment; only whole replies are given their VIP.";
    ReplyBroken = "drop_reply_broken", Drop, "Rewriting a reply failed half-way.";
}

impl Verdict {
    /// What this verdict is in the middle of a TCP connection. The kernel would take a segment it
    /// does not know for a new connection, give it to any pod, and have it reset; dropped, it is
    /// repeated.
    #[inline(always)]
    #[must_use]
    pub const fn in_mid_connection(self) -> Self {
        match self {
            Self::NoHop => Self::DropNoHop,
            Self::LoopGuard => Self::DropLoopGuard,
            Self::Collision => Self::DropCollision,
            other => other,
        }
    }

    /// What this verdict is for an ICMP error. What is not known is not served later either, and a kernel that does not know
    /// it does no harm with it.
    #[inline(always)]
    #[must_use]
    pub const fn of_an_error(self) -> Self {
        match self {
            Self::DropUnsettled => Self::UnknownError,
            other => other,
        }
    }

    /// Whether a new connection that meets this verdict begins on the kernel's path, and must stay
    /// there.
    #[inline(always)]
    #[must_use]
    pub const fn begins_on_the_kernels_path(self) -> bool {
        matches!(
            self,
            Self::NoHop
                | Self::Unplaced
                | Self::LoopGuard
                | Self::Collision
                | Self::TableFull
                | Self::Overdue
                | Self::Closed
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdicts_number_is_its_place_in_the_list() {
        for (index, verdict) in Verdict::ALL.iter().enumerate() {
            assert_eq!(*verdict as usize, index);
        }
    }

    #[test]
    fn the_label_says_what_happens_to_the_packet() {
        for verdict in Verdict::ALL {
            let label = verdict.label();
            assert_eq!(label.starts_with("drop_"), verdict.action() == Action::Drop);
            if label.starts_with("pass_") {
                assert_eq!(verdict.action(), Action::Pass);
            }
        }
    }

    #[test]
    fn labels_are_unique() {
        for (index, one) in Verdict::ALL.iter().enumerate() {
            for other in &Verdict::ALL[index + 1..] {
                assert_ne!(one.label(), other.label());
            }
        }
    }
}
