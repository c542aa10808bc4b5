//! What the record half is told, and what it wants done.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{ClaimReason, Owner};
use crate::names::{NodeName, SessionId, Version};
use crate::peers::{self, Flags, Report};
use crate::sessions::SeenLease;
use crate::{Now, Probed};

/// Something this node learned. Records are no events: they are shown to [`super::Owners::decide`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Own session began by a write that was sent at this time.
    SessionStarted(SessionId, Now),
    /// The session this node had before, in another process, was ended by its peers: what it owned is theirs.
    WasFenced,
    /// Own session was renewed by a request sent at this time.
    Renewed(SessionId, Now),
    /// A renewal of the own session failed, for whatever reason.
    NotRenewed,
    /// Own session is over.
    SessionLost,
    /// A session Lease, this node's own included.
    LeaseSeen(NodeName, SeenLease),
    /// The last renewal of a node's session, of those that this node watches ([`super::Owners::watched`]).
    RenewalSeen(NodeName, Version),
    /// A session Lease was deleted.
    LeaseGone(NodeName),
    /// The API server was asked whether the session still holds its node's Lease; the Lease.
    Inquired(NodeName, SessionId, Option<SeenLease>),
    /// An attempt to expire or to read a node's Lease ended, whatever came of it.
    InquiryEnded(NodeName),
    /// What the fast half found out.
    Report(Report),
    /// A write of an address's record ended. The record shown from now on is the one it found or left.
    Settled(IpAddr, Outcome),
    /// A probe ended.
    Probed(IpAddr, Probed),
    /// The node is being drained, or not any more: what others can take goes to them.
    Draining(bool),
    /// The data plane is in order, or not.
    Programmed(bool),
    /// The API server's history went back: what comes now counts, however old its versions look.
    WentBack,
    /// This node is shutting down: every address goes to somebody else.
    Leaving,
}

/// How a write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was carried out.
    Done,
    /// The record had moved on.
    Refused,
    /// Nobody knows.
    Unknown,
}

/// A compare-and-swap to carry out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Become the owner.
    Claim {
        /// Of this address.
        address: IpAddr,
        /// If the record still is at this version.
        version: Version,
        /// The owner to write.
        owner: Owner,
        /// Why.
        reason: ClaimReason,
    },
    /// Name another node to take the address, or another standby; the owner stays.
    Amend {
        /// This address.
        address: IpAddr,
        /// If the record still is at this version.
        version: Version,
        /// The owner to write: this session still.
        owner: Owner,
    },
    /// Leave the address without an owner: nobody else may have it.
    Release {
        /// This address.
        address: IpAddr,
        /// If the record still is at this version.
        version: Version,
    },
    /// End a session that was not renewed for too long.
    Expire {
        /// Whose Lease.
        node: NodeName,
        /// Which session.
        session: SessionId,
        /// If the Lease still is at this version.
        version: Version,
        /// And its last renewal is this one; none where there is none. To be looked at after the Lease was read.
        renewal: Option<Version>,
    },
    /// Read a Lease that this node never saw held by that session; there may be none.
    Inquire {
        /// Whose Lease.
        node: NodeName,
        /// The session in question.
        session: SessionId,
    },
}

/// How an address stands with this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Nobody owns it.
    Vacant,
    /// Another owns it, as far as is known.
    Foreign,
    /// Its owner wants this node to take it.
    Invited,
    /// Its owner's session is over and this node is the standby, or its owner ceded it to this node: it answers, and writes.
    Inherited,
    /// Its owner's session is over, and nobody is known to have taken it.
    Orphaned,
    /// This node owns it.
    Mine,
    /// This node owns it, and answers, if it can, until the other does.
    Yielding {
        /// Who shall take it.
        to: NodeName,
        /// How long it may take.
        until: Now,
        /// This node can answer no more, and has said so.
        ceded: bool,
    },
    /// The record names the node it was given to, which was not heard yet: it answers until then.
    HandedOver {
        /// And no longer than that.
        until: Now,
    },
    /// The record names this node, and another has the higher title.
    Outbid,
}

/// What to do now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// The whole table of addresses to answer for, while the permit lasts; in force before any write is sent.
    pub answering: BTreeSet<IpAddr>,
    /// For the fast half: answers are allowed until then ([`peers::Event::Allowed`]).
    pub allowed: Now,
    /// For the fast half: how this node does ([`peers::Event::Flags`]).
    pub flags: Flags,
    /// For the fast half: what to say ([`peers::Event::Say`]).
    pub say: Vec<(peers::To, peers::Body)>,
    /// Addresses to announce again although they were answered for before.
    pub announce: BTreeSet<IpAddr>,
    /// Writes to send; fences and claims before the rest.
    pub writes: Vec<Write>,
    /// Addresses to probe.
    pub probes: Vec<IpAddr>,
    /// When to decide again if nothing happens before; at least every half second.
    pub wake_at: Now,
}

impl Decision {
    pub(super) fn wake(&mut self, at: Now) {
        self.wake_at = self.wake_at.min(at);
    }
}
