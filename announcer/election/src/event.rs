//! What the election is told, and what it says: events in, decisions out.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::sessions::SeenLease;
use super::{ClaimReason, Contest, Now, Owner, Probed, Record};
use crate::names::{NodeName, SessionId, Version};

/// Something this node learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Own session began (or began anew): its Lease was written, the request sent at this time.
    SessionStarted(SessionId, Now),
    /// Own session was renewed by a request sent at this time.
    Renewed(SessionId, Now),
    /// Own session is over: its Lease names another, or is gone.
    SessionLost,
    /// A session Lease, this node's own included.
    LeaseSeen(NodeName, SeenLease),
    /// A session Lease was deleted.
    LeaseGone(NodeName),
    /// An address's record, from the watch.
    RecordSeen(IpAddr, Record),
    /// The record of an address was deleted.
    RecordGone(IpAddr),
    /// A write was carried out: the record now reads like this.
    Wrote(IpAddr, Record),
    /// A write was refused because the record had moved on; this is what a read found.
    Refused(IpAddr, Option<Record>),
    /// Nobody knows whether a write was carried out.
    Failed(IpAddr),
    /// The API server was asked whether this session still holds its node's Lease; the Lease.
    Inquired(NodeName, SessionId, Option<SeenLease>),
    /// An attempt to expire or to read a node's Lease ended, whatever came of it.
    InquiryEnded(NodeName),
    /// A probe ended.
    Probed(IpAddr, Probed),
    /// Who may own what; the whole of it.
    Contests(Vec<Contest>),
    /// The API server's history went back: what comes now counts, however old its versions look.
    WentBack,
    /// This node is shutting down: every address goes to somebody else.
    Leaving,
}

/// A compare-and-swap to carry out. Its outcome comes back as an [`Event`].
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
    /// Ask another node to take the address.
    HandOver {
        /// This address.
        address: IpAddr,
        /// If the record still is at this version.
        version: Version,
        /// The owner to write: this session still, with the successor named.
        owner: Owner,
    },
    /// Leave the address without an owner: nobody else may have it.
    Release {
        /// This address.
        address: IpAddr,
        /// If the record still is at this version.
        version: Version,
    },
    /// End a session that was silent too long.
    Expire {
        /// Whose Lease.
        node: NodeName,
        /// If the Lease still is at this version.
        version: Version,
    },
    /// Read a Lease that this node never saw held by that session; there may be none.
    Inquire {
        /// Whose Lease.
        node: NodeName,
        /// The session in question.
        session: SessionId,
    },
}

/// What to do now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// The whole table of addresses to answer for; put in force before any write is sent.
    pub answering: BTreeSet<IpAddr>,
    /// Until when, by this node's clock.
    pub deadline: Option<Now>,
    /// Writes to send.
    pub writes: Vec<Write>,
    /// Addresses to probe.
    pub probes: Vec<IpAddr>,
    /// When to decide again if nothing happens before.
    pub wake_at: Option<Now>,
}

impl Decision {
    pub(super) fn wake(&mut self, at: Option<Now>) {
        self.wake_at = match (self.wake_at, at) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
}
