//! The peers' sessions as this node has seen them.
//!
//! A session is named by one Lease, which changes when it begins or ends; it is renewed in another, which only some
//! nodes watch. Who does not watch a session's renewals takes it for alive until its Lease says otherwise.
//!
//! Not a failure detector of its own: it only counts how long ago a renewal was last seen, by this
//! node's clock. Times written inside a Lease are for people and never read.
//!
//! A watch may be behind: a Lease that names another session than a record does can be older than
//! that session as well as younger. So a session counts as ended only when this node saw its Lease
//! hold it and then lose it, or asked the API server after it had learned of the session.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Now;
use crate::names::{NodeName, SessionId, Version};

/// Nobody's Lease keeps its addresses longer than this after its last renewal, whatever it says.
pub const LONGEST_DURATION: Duration = Duration::from_secs(300);

/// Ended sessions remembered of one node; forgetting one costs one more read of its Lease.
const REMEMBERED: usize = 64;

/// A session whose renewals others watch is looked at again after so long at the latest.
const GLANCE: Duration = Duration::from_millis(500);

/// A session Lease as the API server shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenLease {
    /// The session that holds it; none once it was expired or left.
    pub session: Option<SessionId>,
    /// Version of the Lease. Renewals do not change it.
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
        /// That of its last renewal; none where none was ever seen.
        renewal: Option<Version>,
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
    /// Its renewals, if this node watches them.
    renewals: Option<Renewals>,
    /// Sessions that do not hold the Lease any more, and from when on they cannot answer.
    ended: BTreeMap<SessionId, Now>,
}

/// The renewals of one node's session.
#[derive(Clone, Debug)]
struct Renewals {
    /// The last one.
    version: Option<Version>,
    /// When it was seen; before the first, since when it is watched for.
    at: Now,
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

    /// When the last renewal is too old; never, if renewals are the business of others.
    fn expires(&self, seen: &Seen) -> Option<Now> {
        let renewed = seen.at.max(seen.renewals.as_ref()?.at);
        let expires = renewed + seen.lease.as_ref()?.duration;
        let spared = self.blind.iter().filter(|(since, _)| expires >= *since);
        let spared = spared.map(|(_, until)| *until).max();
        Some(spared.map_or(expires, |until| expires.max(until)))
    }

    /// From now on the renewals of these nodes are watched, and no others.
    pub(super) fn watch(&mut self, nodes: &BTreeSet<NodeName>, now: Now) {
        for (node, seen) in &mut self.nodes {
            if !nodes.contains(node) {
                seen.renewals = None;
            } else if seen.renewals.is_none() {
                let (version, at) = (None, now);
                seen.renewals = Some(Renewals { version, at });
            }
        }
    }

    /// A renewal was seen. The same version again is none; an older one is old news.
    pub(super) fn renewed(&mut self, node: &NodeName, version: Version, now: Now) {
        let seen = self.nodes.get_mut(node);
        let Some(renewals) = seen.and_then(|seen| seen.renewals.as_mut()) else {
            return;
        };
        if let Some(known) = &renewals.version
            && (*known == version || version.is_older_than(known))
        {
            return;
        }
        *renewals = Renewals {
            version: Some(version),
            at: now,
        };
    }

    /// Takes in a Lease. An older version is old news.
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
        // Whoever begins is watched until it is drawn by whom.
        if holds.is_some() && before.as_ref() != holds {
            let (version, at) = (None, now);
            seen.renewals.get_or_insert(Renewals { version, at });
        }
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
        let renewals = self.nodes.values_mut();
        for renewals in renewals.filter_map(|seen| seen.renewals.as_mut()) {
            renewals.version = renewals.version.take().map(|_| Version::new(""));
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
        let Some(lease) = lease.filter(|lease| lease.session.as_ref() == Some(session)) else {
            return Standing::Unknown;
        };
        match self.expires(seen) {
            None => Standing::Live {
                until: now + GLANCE,
            },
            Some(expires) if now < expires => Standing::Live { until: expires },
            Some(expires) => Standing::Silent {
                since: expires,
                version: lease.version.clone(),
                renewal: seen
                    .renewals
                    .as_ref()
                    .and_then(|renewals| renewals.version.clone()),
            },
        }
    }

    /// Nodes whose Lease names a session, whatever became of it.
    pub(super) fn named(&self) -> impl Iterator<Item = &NodeName> {
        let holds = |seen: &Seen| {
            seen.lease
                .as_ref()
                .is_some_and(|lease| lease.session.is_some())
        };
        self.nodes
            .iter()
            .filter(move |(_, seen)| holds(seen))
            .map(|(node, _)| node)
    }

    /// The session that a node's Lease names.
    pub(super) fn named_by(&self, node: &NodeName) -> Option<&SessionId> {
        self.nodes.get(node)?.lease.as_ref()?.session.as_ref()
    }

    /// Live sessions.
    pub(super) fn live_sessions(&self, now: Now) -> impl Iterator<Item = (&NodeName, &SessionId)> {
        self.nodes.iter().filter_map(move |(node, seen)| {
            let session = seen.holder()?;
            let lives = self.expires(seen).is_none_or(|expires| now < expires);
            lives.then_some((node, session))
        })
    }

    /// Sessions that hold a Lease, however long ago it was renewed.
    pub(super) fn holders(&self) -> impl Iterator<Item = (&NodeName, &SessionId)> {
        self.nodes
            .iter()
            .filter_map(|(node, seen)| Some((node, seen.holder()?)))
    }
}
