//! The peers' sessions as this node has seen them.
//!
//! Not a failure detector of its own: it only counts how long ago a Lease last changed, by this
//! node's clock. Times written inside a Lease are for people and never read.
//!
//! A watch may be behind: a Lease that names another session than a record does can be older than
//! that session as well as younger. So a session counts as ended only when this node saw its Lease
//! hold it and then lose it, or asked the API server after it had learned of the session.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Now;
use crate::names::{NodeName, SessionId, Version};

/// Nobody's Lease keeps its addresses longer than this after its last renewal, whatever it says.
pub const LONGEST_DURATION: Duration = Duration::from_secs(300);

/// Ended sessions remembered of one node; forgetting one costs one more read of its Lease.
const REMEMBERED: usize = 64;

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
pub(super) enum Standing {
    /// May be answering.
    Live {
        /// Until then at least, if nothing new is seen.
        until: Now,
    },
    /// Not renewed in time, but its Lease still names it: expire it before claiming.
    Silent {
        /// Since when.
        since: Now,
        /// The version to expire it at.
        version: Version,
    },
    /// This node never saw its Lease hold it: ask the API server.
    Unknown,
    /// Can never answer again.
    Dead,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    lease: Option<SeenLease>,
    /// When the Lease last changed.
    at: Now,
    /// Sessions that do not hold the Lease any more, and from when on they cannot answer.
    ended: BTreeMap<SessionId, Now>,
}

impl Seen {
    fn end(&mut self, session: SessionId, from: Now) {
        if self.ended.len() >= REMEMBERED {
            self.ended.clear();
        }
        let end = self.ended.entry(session).or_insert(from);
        *end = (*end).min(from);
    }

    /// The session that holds the Lease, however long ago it was renewed, unless it was ended otherwise.
    fn holder(&self) -> Option<&SessionId> {
        let session = self.lease.as_ref()?.session.as_ref()?;
        (!self.ended.contains_key(session)).then_some(session)
    }
}

/// All sessions by node.
#[derive(Clone, Debug)]
pub(super) struct Sessions {
    nodes: BTreeMap<NodeName, Seen>,
    default_duration: Duration,
    /// What this node would have seen in between, had it had the API server, it does not know: a Lease that was good when
    /// that began is not too old before it ends.
    blind: Vec<(Now, Now)>,
}

impl Sessions {
    pub(super) fn new(default_duration: Duration) -> Self {
        Self {
            nodes: BTreeMap::new(),
            default_duration,
            blind: Vec::new(),
        }
    }

    /// This node itself has had no API server since then, and perhaps not all of the others have it: they get until then to
    /// be seen renewing.
    pub(super) fn be_blind(&mut self, since: Now, until: Now) {
        // One that was over when the next began has nothing to say any more, and of those that are not each speaks for the
        // Leases of its own time: a renewal that fails now and then does not keep whoever is dead.
        self.blind.retain(|(_, end)| *end > since);
        match self.blind.last_mut() {
            Some((began, end)) if *began == since => *end = until.max(*end),
            _ => self.blind.push((since, until)),
        }
    }

    /// When the Lease is too old.
    fn expires(&self, seen: &Seen) -> Option<Now> {
        let expires = seen.at + seen.lease.as_ref()?.duration;
        let spared = self.blind.iter().filter(|(since, _)| expires >= *since);
        let spared = spared.map(|(_, until)| *until).max();
        Some(spared.map_or(expires, |until| expires.max(until)))
    }

    /// Takes in a Lease. The same version again is no renewal; an older one is old news.
    pub(super) fn observe(&mut self, node: NodeName, mut lease: SeenLease, now: Now) {
        let seen = self.nodes.entry(node).or_default();
        if let Some(known) = &seen.lease
            && (known.version == lease.version || lease.version.is_older_than(&known.version))
        {
            return;
        }
        lease.duration = lease
            .duration
            .clamp(Duration::from_secs(1), LONGEST_DURATION);
        let before = seen.lease.replace(lease).and_then(|before| before.session);
        seen.at = now;
        let holds = seen.lease.as_ref().and_then(|lease| lease.session.as_ref());
        if let Some(before) = before.filter(|before| Some(before) != holds) {
            seen.end(before, now);
        }
    }

    /// The versions known are those of a future that is gone: whatever Lease comes now is newer.
    pub(super) fn went_back(&mut self) {
        let leases = self
            .nodes
            .values_mut()
            .filter_map(|seen| seen.lease.as_mut());
        for lease in leases {
            lease.version = Version::new("");
        }
    }

    /// The Lease was deleted, which tells its holder nothing: it may answer until its time is up.
    /// It cannot come back, though: whoever finds its Lease gone begins another session.
    pub(super) fn gone(&mut self, node: &NodeName, now: Now) {
        let Some(seen) = self.nodes.get_mut(node) else {
            return;
        };
        if let Some(SeenLease {
            session: Some(session),
            duration,
            ..
        }) = seen.lease.take()
        {
            seen.end(session, now + duration);
        }
    }

    /// The API server was asked about `session`, and this is the Lease it has, if any.
    pub(super) fn inquired(
        &mut self,
        node: &NodeName,
        session: &SessionId,
        lease: Option<SeenLease>,
        now: Now,
    ) {
        let from = match &lease {
            Some(lease) if lease.session.as_ref() == Some(session) => None,
            Some(_) => Some(now),
            None => Some(now + self.default_duration),
        };
        match lease {
            Some(lease) => self.observe(node.clone(), lease, now),
            None => self.gone(node, now),
        }
        if let Some(from) = from {
            self.nodes
                .entry(node.clone())
                .or_default()
                .end(session.clone(), from);
        }
    }

    /// Forgets nodes without a Lease but for these.
    pub(super) fn retain(&mut self, is_named: impl Fn(&NodeName) -> bool) {
        self.nodes
            .retain(|node, seen| seen.lease.is_some() || is_named(node));
    }

    /// How `session` on `node` stands.
    pub(super) fn standing(&self, node: &NodeName, session: &SessionId, now: Now) -> Standing {
        let Some(seen) = self.nodes.get(node) else {
            return Standing::Unknown;
        };
        if let Some(from) = seen.ended.get(session) {
            return if now < *from {
                Standing::Live { until: *from }
            } else {
                Standing::Dead
            };
        }
        let lease = seen.lease.as_ref();
        let lease = lease.filter(|lease| lease.session.as_ref() == Some(session));
        let (Some(lease), Some(expires)) = (lease, self.expires(seen)) else {
            return Standing::Unknown;
        };
        if now < expires {
            Standing::Live { until: expires }
        } else {
            Standing::Silent {
                since: expires,
                version: lease.version.clone(),
            }
        }
    }

    /// Live sessions.
    pub(super) fn live_sessions(&self, now: Now) -> impl Iterator<Item = (&NodeName, &SessionId)> {
        self.nodes.iter().filter_map(move |(node, seen)| {
            let session = seen.holder()?;
            let expires = self.expires(seen)?;
            (now < expires).then_some((node, session))
        })
    }

    /// Sessions that hold a Lease, however long ago it was renewed.
    pub(super) fn holders(&self) -> impl Iterator<Item = (&NodeName, &SessionId)> {
        self.nodes
            .iter()
            .filter_map(|(node, seen)| Some((node, seen.holder()?)))
    }
}
