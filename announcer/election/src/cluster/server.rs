//! The API server: Leases and records with versions, and the changes watches read.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::owners::{Outcome, Owner, Record, Write};
use crate::peers::{self, Fenced};
use crate::sessions::SeenLease;
use crate::{NodeName, Now, SessionId, Version, owners};

/// How long a session lives.
pub(super) const SESSION: Duration = Duration::from_secs(15);

/// What a node asks of the server.
#[derive(Clone, Debug)]
pub(super) enum Request {
    Renew {
        session: SessionId,
        begins: bool,
        sent_at: Now,
    },
    Confirm {
        session: SessionId,
        sent_at: Now,
    },
    Fence {
        node: NodeName,
        session: SessionId,
    },
    Write(Write),
}

/// What a watch delivers.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Lease(NodeName, SeenLease, Option<Fenced>),
    /// To who watches that node's renewals alone.
    Renewal(NodeName, Version),
    Record(IpAddr, Record),
}

/// What comes of a request.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    Began(SessionId, Now),
    Renewed(SessionId, Now),
    NotRenewed(SessionId),
    Lost(SessionId),
    Confirmed(SessionId, Now),
    Peers(peers::Event),
    Owners(owners::Event),
    Record(IpAddr, Record, Outcome),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Server {
    revision: u64,
    pub(super) leases: BTreeMap<NodeName, SeenLease>,
    pub(super) renewals: BTreeMap<NodeName, Version>,
    pub(super) records: BTreeMap<IpAddr, Record>,
    pub(super) log: Vec<Change>,
    pub(super) writes: u64,
}

impl Server {
    fn next(&mut self) -> Version {
        self.revision += 1;
        Version::new(self.revision.to_string())
    }

    pub(super) fn put_lease(
        &mut self,
        node: &NodeName,
        session: Option<SessionId>,
        fenced: Option<Fenced>,
    ) {
        let lease = SeenLease {
            session,
            version: self.next(),
            duration: SESSION,
        };
        self.leases.insert(node.clone(), lease.clone());
        self.log.push(Change::Lease(node.clone(), lease, fenced));
    }

    pub(super) fn put_renewal(&mut self, node: &NodeName) {
        let version = self.next();
        self.renewals.insert(node.clone(), version.clone());
        self.log.push(Change::Renewal(node.clone(), version));
    }

    pub(super) fn put_record(&mut self, address: IpAddr, owner: Option<Owner>) -> Record {
        let record = Record {
            version: self.next(),
            uid: "u".into(),
            owner,
        };
        self.records.insert(address, record.clone());
        self.log.push(Change::Record(address, record.clone()));
        record
    }

    /// Goes on from an older copy of all that it has. What it told watchers since then it has told.
    pub(super) fn restore(&mut self, copy: Self) {
        let log = std::mem::take(&mut self.log);
        *self = Self { log, ..copy };
    }

    /// Who owned an address, one after the other.
    pub(super) fn history(&self, address: IpAddr) -> Vec<Option<Owner>> {
        let of = |change: &Change| match change {
            Change::Record(changed, record) if *changed == address => Some(record.owner.clone()),
            _ => None,
        };
        self.log.iter().filter_map(of).collect()
    }

    fn holds(&self, node: &NodeName, session: &SessionId) -> bool {
        self.leases
            .get(node)
            .is_some_and(|lease| lease.session.as_ref() == Some(session))
    }

    pub(super) fn serve(&mut self, from: &NodeName, request: Request) -> Vec<Reply> {
        match request {
            Request::Renew {
                session,
                begins,
                sent_at,
            } => {
                if !begins && !self.holds(from, &session) {
                    return vec![Reply::Lost(session)];
                }
                self.put_renewal(from);
                vec![if begins {
                    self.put_lease(from, Some(session.clone()), None);
                    Reply::Began(session, sent_at)
                } else {
                    Reply::Renewed(session, sent_at)
                }]
            }
            Request::Confirm { session, sent_at } => {
                let own = self.holds(from, &session);
                vec![if own {
                    Reply::Confirmed(session, sent_at)
                } else {
                    Reply::Lost(session)
                }]
            }
            Request::Fence { node, session } => {
                let fenced = Fenced {
                    node: node.clone(),
                    session: session.clone(),
                    by: from.clone(),
                    written: true,
                };
                if self.holds(&node, &session) {
                    self.writes += 1;
                    self.put_lease(&node, None, Some(fenced.clone()));
                }
                vec![Reply::Peers(peers::Event::Ended(fenced))]
            }
            Request::Write(write) => self.write(write),
        }
    }

    fn write(&mut self, write: Write) -> Vec<Reply> {
        let (address, version, owner) = match write {
            Write::Claim {
                address,
                version,
                owner,
                ..
            }
            | Write::Amend {
                address,
                version,
                owner,
            } => (address, version, Some(owner)),
            Write::Release { address, version } => (address, version, None),
            Write::Expire {
                node,
                session,
                version,
                renewal,
            } => {
                let lease = self.leases.get(&node);
                let renewed = self.renewals.get(&node) != renewal.as_ref();
                if lease.is_some_and(|lease| lease.version == version) && !renewed {
                    let by = node.clone();
                    let fenced = Fenced {
                        node: node.clone(),
                        session,
                        by,
                        written: true,
                    };
                    self.put_lease(&node, None, Some(fenced));
                }
                let lease = self.leases[&node].clone();
                let seen = owners::Event::LeaseSeen(node.clone(), lease);
                let renewal = self.renewals.get(&node).cloned();
                let renewal =
                    renewal.map(|renewal| owners::Event::RenewalSeen(node.clone(), renewal));
                let ended = owners::Event::InquiryEnded(node);
                let news = [Some(seen), renewal, Some(ended)];
                return news.into_iter().flatten().map(Reply::Owners).collect();
            }
            Write::Inquire { node, session } => {
                let lease = self.leases.get(&node).cloned();
                let found = owners::Event::Inquired(node.clone(), session, lease);
                return vec![
                    Reply::Owners(found),
                    Reply::Owners(owners::Event::InquiryEnded(node)),
                ];
            }
        };
        let record = self.records[&address].clone();
        if record.version != version {
            return vec![Reply::Record(address, record, Outcome::Refused)];
        }
        self.writes += 1;
        vec![Reply::Record(
            address,
            self.put_record(address, owner),
            Outcome::Done,
        )]
    }
}

/// What a caller makes of it that hears nothing.
pub(super) fn doubt(request: &Request) -> Vec<Reply> {
    match request {
        Request::Renew { session, .. } => vec![Reply::NotRenewed(session.clone())],
        Request::Confirm { .. } | Request::Fence { .. } => Vec::new(),
        Request::Write(Write::Expire { node, .. } | Write::Inquire { node, .. }) => {
            vec![Reply::Owners(owners::Event::InquiryEnded(node.clone()))]
        }
        Request::Write(
            Write::Claim { address, .. }
            | Write::Amend { address, .. }
            | Write::Release { address, .. },
        ) => vec![Reply::Owners(owners::Event::Settled(
            *address,
            Outcome::Unknown,
        ))],
    }
}
