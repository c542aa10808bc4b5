//! What announcers say to each other on the segment, as values. How it looks in bytes, and that it is
//! authentic, is the shell's; so is the segment a frame came by.

use std::net::IpAddr;
use std::time::Duration;

use crate::names::{NodeName, SessionId};

/// Ended sessions one beat lists at most, the youngest first.
pub const TOMBSTONES: usize = 16;
/// Acknowledgements one beat carries at most.
pub const ACKNOWLEDGEMENTS: usize = 16;
/// Suspects, claims or moves one frame carries at most.
pub const ITEMS: usize = 32;

/// One authentic frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Who sent it.
    pub node: NodeName,
    /// Its session.
    pub session: SessionId,
    /// What it says.
    pub body: Body,
}

/// What a frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// "I live, and this is what I heard."
    Beat(Beat),
    /// "These are silent to me": a question to fellow watchers, and the word of one.
    Suspect(Vec<Suspect>),
    /// "I hear it": the answer that stops a fence.
    Veto(Vec<Suspect>),
    /// "This session is over."
    Fenced(Fenced),
    /// "I answer for these."
    Claims(Vec<Title>),
    /// "Take these from me."
    Moves(Vec<Move>),
    /// "I answer for these no more: answer for them at once."
    Ceded(Vec<Move>),
}

/// The heartbeat. Its sequence rises by one a turn of its sender, on all segments together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beat {
    /// Of this session; never goes back.
    pub sequence: u64,
    /// How long its sender waits between two.
    pub interval: Duration,
    /// How long a silence its sender asks to be forgiven: three intervals, or more from its own lateness.
    pub window: Duration,
    /// What it is for.
    pub kind: Kind,
    /// How its sender does.
    pub flags: Flags,
    /// What its sender heard last, by session. Naming a session is also the request to watch it and the answer to
    /// one; sequence 0 is "not heard yet".
    pub heard: Vec<Heard>,
    /// Sessions that are over.
    pub ended: Vec<SessionId>,
}

/// What a beat is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One of the beats of a watch, to its partner or, where few are, to all.
    Watch,
    /// "I am here", to all, now and then.
    Discovery,
    /// "Do you hear me? Answer at once."
    Poll,
    /// The answer to a poll.
    Final,
    /// The last one of a watch, ended by word.
    End,
}

/// An acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Of this session.
    pub session: SessionId,
    /// Its last sequence heard on this segment; 0 for none.
    pub sequence: u64,
}

/// How a node does, as it says itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// The API server acknowledged a renewal of its Lease within two periods.
    pub has_api: bool,
    /// For how long it has been without the API server while a peer had it; zero if it is not.
    pub alone: Duration,
    /// Counts the renewals that the API server acknowledged, and begins again after 255: who was heard to count still has
    /// it, whatever was true some seconds ago.
    pub renewals: u8,
    /// Its node is being drained: give it nothing new.
    pub draining: bool,
    /// It gives everything away and ends.
    pub leaving: bool,
    /// Its data plane is in order: frames may be directed to it.
    pub programmed: bool,
    /// Fewer than half of its watchers hear it.
    pub few_hear: bool,
}

impl Flags {
    /// Whether they differ by more than the time that passes.
    pub(super) fn differ(&self, other: &Self) -> bool {
        let halves = |flags: &Self| flags.alone.as_millis() / 500;
        let still = |flags: &Self| Self {
            alone: Duration::ZERO,
            ..*flags
        };
        halves(self) != halves(other) || still(self) != still(other)
    }
}

/// A session and the last sequence heard of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspect {
    /// Whose.
    pub node: NodeName,
    /// Which.
    pub session: SessionId,
    /// The last sequence that whoever says this has heard.
    pub sequence: u64,
}

/// The end of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fenced {
    /// Whose.
    pub node: NodeName,
    /// Which.
    pub session: SessionId,
    /// Who ended it.
    pub by: NodeName,
    /// The API server has it in writing; if not, the peers agreed.
    pub written: bool,
}

/// The right a node claims to answer for an address. Of two the higher counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Title {
    /// Of this address.
    pub address: IpAddr,
    /// The record's count of owners, the claimant included.
    pub transitions: u64,
    /// The record says so already.
    pub written: bool,
}

impl Title {
    /// Whether `self`, held by `mine`, comes before `other`, held by `theirs`.
    pub fn beats(&self, mine: &NodeName, other: &Self, theirs: &NodeName) -> bool {
        (self.transitions, self.written, mine) > (other.transitions, other.written, theirs)
    }
}

/// An address its owner wants another node to take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// This address.
    pub address: IpAddr,
    /// The record's count of owners, the present one included.
    pub transitions: u64,
}

impl Body {
    /// The same in frames that carry [`ITEMS`] at most.
    pub(super) fn parts(&self) -> Vec<Self> {
        fn cut<T: Clone>(items: &[T], body: impl Fn(Vec<T>) -> Body) -> Vec<Body> {
            items
                .chunks(ITEMS)
                .map(|part| body(part.to_vec()))
                .collect()
        }
        match self {
            Self::Suspect(items) => cut(items, Body::Suspect),
            Self::Veto(items) => cut(items, Body::Veto),
            Self::Claims(items) => cut(items, Body::Claims),
            Self::Moves(items) => cut(items, Body::Moves),
            Self::Ceded(items) => cut(items, Body::Ceded),
            Self::Beat(_) | Self::Fenced(_) => vec![self.clone()],
        }
    }
}
