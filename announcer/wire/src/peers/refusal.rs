//! Why a frame was not believed: one word for each case, which is also the label of its counter.

/// Why a frame of another announcer, or of somebody who poses as one, was not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// It ends before it says it does, or before its header does.
    Truncated,
    /// Of another EtherType: the kernel's filter is not in place yet.
    EtherType,
    /// Unicast to another Ethernet address.
    NotForUs,
    /// Another version of the format.
    Version,
    /// It says that it is longer than any frame of ours.
    TooLong,
    /// Of another cluster on the same segment.
    ForeignCluster,
    /// Made with a key this node does not accept.
    UnknownKey,
    /// Its header contradicts itself: a name of no length, too long, or no text.
    Header,
    /// More came from its sender than a peer has to say; it was not looked at.
    Flood,
    /// Its code is not that of its bytes: forged, or changed on its way.
    WrongCode,
    /// Authentic, and not later than the last one of its session on this segment.
    Replayed,
    /// Authentic, of a kind this version does not know.
    UnknownKind,
    /// Authentic, and its body contradicts itself.
    Malformed,
}

impl Refusal {
    /// Every reason, in the order of [`Refusal::index`].
    pub const ALL: [Self; 13] = [
        Self::Truncated,
        Self::EtherType,
        Self::NotForUs,
        Self::Version,
        Self::TooLong,
        Self::ForeignCluster,
        Self::UnknownKey,
        Self::Header,
        Self::Flood,
        Self::WrongCode,
        Self::Replayed,
        Self::UnknownKind,
        Self::Malformed,
    ];

    /// The value of the metric label `reason`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::EtherType => "ether_type",
            Self::NotForUs => "not_for_us",
            Self::Version => "version",
            Self::TooLong => "too_long",
            Self::ForeignCluster => "foreign_cluster",
            Self::UnknownKey => "unknown_key",
            Self::Header => "header",
            Self::Flood => "flood",
            Self::WrongCode => "wrong_code",
            Self::Replayed => "replayed",
            Self::UnknownKind => "unknown_kind",
            Self::Malformed => "malformed",
        }
    }

    /// Position in [`Refusal::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Whether an announcer that differs from this one in its key or version would be refused like this. Whoever is at
    /// the frame's source lives, then, and is not to be taken from.
    #[must_use]
    pub const fn shows_life(self) -> bool {
        matches!(self, Self::Version | Self::UnknownKey | Self::WrongCode)
    }
}
