//! The API server: a map with versions, and a log that watches read.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::{Event, NodeName, Now, Owner, Record, SeenLease, SessionId, Version, Write};

#[derive(Clone)]
pub(super) enum Request {
    Renew {
        session: SessionId,
        version: Option<Version>,
        sent_at: Now,
    },
    Write(Write),
}

#[derive(Clone)]
pub(super) enum Change {
    Lease(NodeName, SeenLease),
    Record(IpAddr, Record),
}

/// The API server.
#[derive(Default)]
pub(super) struct Server {
    pub(super) revision: u64,
    pub(super) leases: BTreeMap<NodeName, SeenLease>,
    pub(super) records: BTreeMap<IpAddr, Record>,
    pub(super) log: Vec<Change>,
}

impl Server {
    pub(super) fn next(&mut self) -> Version {
        self.revision += 1;
        Version::new(self.revision.to_string())
    }

    pub(super) fn put_lease(&mut self, node: &NodeName, session: Option<SessionId>) {
        let version = self.next();
        let lease = SeenLease {
            session,
            version,
            duration: Duration::from_secs(15),
        };
        self.leases.insert(node.clone(), lease.clone());
        self.log.push(Change::Lease(node.clone(), lease));
    }

    pub(super) fn put_record(&mut self, address: IpAddr, owner: Option<Owner>) -> Record {
        let record = Record {
            version: self.next(),
            uid: address.to_string(),
            owner,
        };
        self.records.insert(address, record.clone());
        self.log.push(Change::Record(address, record.clone()));
        record
    }

    /// Carries a request out; what the caller hears.
    pub(super) fn serve(&mut self, from: &NodeName, request: &Request) -> Vec<Event> {
        match request {
            Request::Renew {
                session,
                version,
                sent_at,
            } => {
                let held = self.leases.get(from).map(|lease| lease.version.clone());
                if held != *version {
                    return vec![Event::SessionLost];
                }
                self.put_lease(from, Some(session.clone()));
                vec![Event::Renewed(session.clone(), *sent_at)]
            }
            Request::Write(Write::Expire { node, version }) => {
                if self
                    .leases
                    .get(node)
                    .is_some_and(|lease| lease.version == *version)
                {
                    self.put_lease(node, None);
                }
                let lease = self.leases[node].clone();
                vec![
                    Event::LeaseSeen(node.clone(), lease),
                    Event::InquiryEnded(node.clone()),
                ]
            }
            Request::Write(Write::Inquire { node, session }) => {
                let lease = self.leases.get(node).cloned();
                let found = Event::Inquired(node.clone(), session.clone(), lease);
                vec![found, Event::InquiryEnded(node.clone())]
            }
            Request::Write(write) => {
                let (address, version, owner) = match write.clone() {
                    Write::Claim {
                        address,
                        version,
                        owner,
                        ..
                    }
                    | Write::HandOver {
                        address,
                        version,
                        owner,
                    } => (address, version, Some(owner)),
                    Write::Release { address, version } => (address, version, None),
                    Write::Expire { .. } | Write::Inquire { .. } => unreachable!("handled above"),
                };
                let Some(record) = self.records.get(&address) else {
                    return vec![Event::Refused(address, None)];
                };
                if record.version != version {
                    return vec![Event::Refused(address, Some(record.clone()))];
                }
                vec![Event::Wrote(address, self.put_record(address, owner))]
            }
        }
    }
}

/// What a caller hears who hears nothing.
pub(super) fn doubt(request: &Request) -> Vec<Event> {
    match request {
        // The next renewal reads the Lease first.
        Request::Renew { .. } => Vec::new(),
        Request::Write(Write::Expire { node, .. } | Write::Inquire { node, .. }) => {
            vec![Event::InquiryEnded(node.clone())]
        }
        Request::Write(
            Write::Claim { address, .. }
            | Write::HandOver { address, .. }
            | Write::Release { address, .. },
        ) => vec![Event::Failed(*address)],
    }
}
