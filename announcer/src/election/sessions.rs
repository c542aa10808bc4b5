//! The peers' sessions as this node has seen them.
//!
//! Not a failure detector of its own: it only counts how long ago a Lease last changed, by this
//! node's clock. Times written inside a Lease are for people and never read.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Now;
use crate::names::{NodeName, SessionId, Version};

/// Nobody's Lease keeps its addresses longer than this after its last renewal, whatever it says.
const LONGEST_DURATION: Duration = Duration::from_secs(300);

/// A session Lease as the API server shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenLease {
    /// The session that holds it; none once it was expired or left.
    pub session: Option<SessionId>,
    /// Version of the Lease: every renewal is a new one.
    pub version: Version,
    /// The duration its holder promised to keep to.
    pub duration: Duration,
}

/// How a session stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// May be answering.
    Live,
    /// Not renewed in time, but its Lease still names it: expire it before claiming.
    Silent {
        /// Since when.
        since: Now,
        /// The version to expire it at.
        version: Version,
    },
    /// Its node's Lease was never seen: ask the API server, a watch may be behind.
    Unknown,
    /// Can never answer again.
    Dead,
}

#[derive(Clone, Debug)]
struct Seen {
    /// `None`: there is no Lease; whoever held it may answer until its duration is over.
    lease: Option<SeenLease>,
    duration: Duration,
    at: Now,
}

impl Seen {
    fn expires(&self) -> Now {
        self.at + self.duration
    }
}

/// All sessions by node.
#[derive(Clone, Debug, Default)]
pub(super) struct Sessions {
    seen: BTreeMap<NodeName, Seen>,
    default_duration: Duration,
}

impl Sessions {
    pub(super) fn new(default_duration: Duration) -> Self {
        Self {
            seen: BTreeMap::new(),
            default_duration,
        }
    }

    /// Takes in a Lease. The same version again is no renewal; an older one is old news.
    pub(super) fn observe(&mut self, node: NodeName, lease: SeenLease, now: Now) {
        if let Some(Seen {
            lease: Some(known), ..
        }) = self.seen.get(&node)
            && (known.version == lease.version || lease.version.is_older_than(&known.version))
        {
            return;
        }
        let duration = lease
            .duration
            .clamp(Duration::from_secs(1), LONGEST_DURATION);
        self.seen.insert(
            node,
            Seen {
                lease: Some(lease),
                duration,
                at: now,
            },
        );
    }

    /// The Lease was deleted, which tells its holder nothing: it may answer until its time is up.
    pub(super) fn gone(&mut self, node: &NodeName, now: Now) {
        let duration = self
            .seen
            .get(node)
            .map_or(self.default_duration, |seen| seen.duration);
        self.seen.insert(
            node.clone(),
            Seen {
                lease: None,
                duration,
                at: now,
            },
        );
    }

    /// How `session` on `node` stands.
    pub(super) fn standing(&self, node: &NodeName, session: &SessionId, now: Now) -> Standing {
        let Some(seen) = self.seen.get(node) else {
            return Standing::Unknown;
        };
        match &seen.lease {
            None if now < seen.expires() => Standing::Live,
            None => Standing::Dead,
            Some(lease) if lease.session.as_ref() != Some(session) => Standing::Dead,
            Some(_) if now < seen.expires() => Standing::Live,
            Some(lease) => Standing::Silent {
                since: seen.expires(),
                version: lease.version.clone(),
            },
        }
    }

    /// The session that lives on `node`, if one does.
    pub(super) fn live(&self, node: &NodeName, now: Now) -> Option<&SessionId> {
        let seen = self.seen.get(node)?;
        let session = seen.lease.as_ref()?.session.as_ref()?;
        (now < seen.expires()).then_some(session)
    }

    /// Nodes with a live session.
    pub(super) fn live_nodes(&self, now: Now) -> impl Iterator<Item = &NodeName> {
        self.seen
            .keys()
            .filter(move |node| self.live(node, now).is_some())
    }

    /// When the standing of `node` changes by the passing of time alone.
    pub(super) fn expiry(&self, node: &NodeName, now: Now) -> Option<Now> {
        self.seen
            .get(node)
            .map(Seen::expires)
            .filter(|expires| *expires > now)
    }
}
