//! What the peers' half is told, and what it wants done.

use super::frame::{Body, Fenced, Flags, Frame, Move, Title};
use crate::Now;
use crate::names::{NodeName, SessionId};

/// An interface frames of ours travel by, named by its index here; other nodes have other numbers for the same wire.
pub type SegmentId = u32;

/// A session as the API server knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its node.
    pub node: NodeName,
    /// The session.
    pub session: SessionId,
}

/// Something this node learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Time has come to [`super::Peers::wake_at`], or past it. Frames that wait in sockets are told before.
    Tick,
    /// Own session began, by a write that was sent at this time.
    Began(SessionId, Now),
    /// Own session is over.
    Lost,
    /// Own session is over: this node emptied its Lease, after `since`, when it was still this node's own.
    Taken {
        /// Who.
        by: NodeName,
        /// When the Lease was last written or read as one's own.
        since: Now,
    },
    /// A node says that another ended its session although it was heard.
    Wronged {
        /// Whose.
        node: NodeName,
        /// Who.
        by: NodeName,
    },
    /// The API server said that the session is this node's own, asked at this time (a renewal counts).
    Confirmed(SessionId, Now),
    /// Answers are allowed until then as far as session and records go; renewed by the record half at least every
    /// second, so that it proves that half's progress too.
    Allowed(Now),
    /// The responder was seen to make progress at this time.
    Progress(Now),
    /// The live sessions the API server knows, this node's own left out; the whole of them.
    Known(Vec<Known>),
    /// How this node does; `few_hear` is found out here.
    Flags(Flags),
    /// The segments there are; the whole of them.
    Segments(Vec<SegmentId>),
    /// A frame came.
    Heard(SegmentId, Frame),
    /// A frame of this node's was refused: a wrong key, a foreign version. It lives all the same.
    Refused(SegmentId, NodeName),
    /// The node answered a question of [`Action::Ask`].
    Answered(SegmentId, NodeName),
    /// A router answered a question of [`Action::AskWitness`]: this node's own link works.
    Witnessed(SegmentId),
    /// The API server has it in writing that the session is over: a fence succeeded, was not needed, or was seen.
    Ended(Fenced),
    /// Something to say to all, or to one, for the record half.
    Say(To, Body),
}

/// Whom a frame is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum To {
    /// The announcers' multicast group.
    All,
    /// One node, by unicast.
    Node(NodeName),
}

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send a frame.
    Send(SegmentId, To, Frame),
    /// Ask for one of this node's VIPs, or for an address of the node if it owns none, by one unicast ARP or NS to the
    /// node's own MAC on this segment.
    Ask(SegmentId, NodeName),
    /// Ask the router for its own address.
    AskWitness(SegmentId),
    /// Write that the session is over, in a lane of its own; [`Event::Ended`] says that it is. The machine waits for
    /// 50 ms, the write goes on until it is done or refused.
    Fence {
        /// Whose.
        node: NodeName,
        /// Which.
        session: SessionId,
    },
    /// Read whether the session still is this node's own, after a pause of up to that many ms drawn at random, and say
    /// [`Event::Confirmed`] or [`Event::Ended`].
    Confirm(SessionId),
    /// Tell the record half.
    Report(Report),
}

/// What the record half learns of the segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// A session is heard both ways.
    Up {
        /// Whose.
        node: NodeName,
        /// Which.
        session: SessionId,
        /// It had been silent and was not ended: what was split has merged.
        merged: bool,
    },
    /// A session is not heard both ways any more, on any segment; nothing more is known yet.
    Down {
        /// Whose.
        node: NodeName,
        /// Which.
        session: SessionId,
    },
    /// A session is not watched any more, by word: nothing is known of it from here on.
    Unwatched {
        /// Whose.
        node: NodeName,
        /// Which.
        session: SessionId,
    },
    /// What a peer says of itself changed.
    Flags(NodeName, Flags),
    /// Others say that a session is over which this node hears, both ways and until now: one of the two is cut off.
    EndedThoughHeard(NodeName),
    /// A session is over. Its standbys answer now. With it, when this node last heard it, if it did.
    Ended(Fenced, Option<Now>),
    /// The node of a session that is over says so itself: it lives, and hears.
    Conceded(NodeName, SessionId),
    /// A suspect lives: somebody heard it, or it answered, or a frame of it was refused.
    Vetoed {
        /// Who lives.
        node: NodeName,
        /// How that is known.
        proof: Proof,
    },
    /// This node's own session is over, or is not to be trusted: begin a new one.
    OwnEnded(OwnEnd),
    /// Another machine may speak by this node's name: a beat of this session was heard.
    SameName {
        /// Whose.
        session: SessionId,
        /// It does: another beat followed one.
        lives: bool,
    },
    /// Whether fewer than half of the watchers hear this node.
    FewHear(bool),
    /// A peer answers for these.
    Claims(NodeName, SessionId, Vec<Title>),
    /// A peer asks this node to take these.
    Moves(NodeName, SessionId, Vec<Move>),
    /// A peer answers for these no more, and has this node answer.
    Ceded(NodeName, SessionId, Vec<Move>),
}

/// How it is known that a suspect lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A fellow watcher heard it.
    Fellow,
    /// It answered a question for an address.
    Answer,
    /// A frame of it came that was refused.
    Refused,
}

/// How one's own session came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnEnd {
    /// A peer ended it.
    Fenced {
        /// Who.
        by: Option<NodeName>,
        /// Most peers heard this node all the while.
        wrongly: bool,
    },
    /// Peers heard later sequences than this process has sent: it is the copy of a memory of old.
    Copy,
}
