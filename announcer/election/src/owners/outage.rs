//! Whose API server is away: this node's alone, or that of all, and since when the others have it again.
//!
//! A peer that *had* the API server proves nothing: everybody had it two periods ago, and in an outage of all they notice
//! it one after the other, each by its own clock. What proves it is a renewal that is heard when this node's own was long
//! due. And when an outage of all ends, nodes have the API server again one after the other as well.

use std::time::Duration;

use super::Settings;
use crate::Now;
use crate::names::NodeName;
use crate::order::spread;

/// Renewals of the peers' Leases, as heard.
#[derive(Clone, Debug, Default)]
pub(super) struct Renewals {
    /// The last one of any peer.
    last: Option<Now>,
    /// The same, or when it could first have been noticed that there is none.
    noticed: Option<Now>,
    /// The first one after none was heard for longer than they lie apart.
    resumed: Option<Now>,
}

impl Renewals {
    /// From now on a peer is heard.
    pub(super) fn listen(&mut self, now: Now) {
        self.noticed.get_or_insert(now);
    }

    /// A peer was heard to have renewed its Lease.
    pub(super) fn heard(&mut self, settings: &Settings, now: Now) {
        let silence = self
            .noticed
            .map_or(Duration::ZERO, |at| now.saturating_sub(at));
        // Where renewals are slow every one of them comes late: that is one outage that ended once.
        if silence > settings.apart && self.resumed.is_none() || silence > settings.staggered {
            self.resumed = Some(now);
        }
        (self.last, self.noticed) = (Some(now), Some(now));
    }

    /// This node has the API server again itself.
    pub(super) const fn own(&mut self) {
        self.resumed = None;
    }

    /// Since when this node alone is without the API server, if it is: it was due to renew then, peers had the API server,
    /// and a renewal of one of them was heard long after.
    pub(super) fn alone_since(&self, due: Now, settings: &Settings, me: &NodeName) -> Option<Now> {
        let returned = self.resumed.map_or(Now::ZERO, |at| {
            (at + settings.staggered + spread(b"alone", me.as_str(), settings.duration / 3))
                .saturating_sub(settings.apart)
        });
        let since = due.max(returned);
        (self.last? >= since + settings.apart).then_some(since)
    }
}
