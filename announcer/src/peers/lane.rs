//! What the thread wants of the API server, in a lane of its own: never behind reports, and with short patience.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use landfall_election::owners::Event as RecordEvent;
use landfall_election::peers::{Event, Fenced};
use landfall_election::{NodeName, SessionId};
use landfall_runtime::call::within;
use landfall_runtime::lease::record;
use landfall_runtime::random;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Command, Peers, Wanted};
use crate::brain::Input;
use crate::clock;
use crate::model::{
    self,
    published::{FENCED_BY, LEASE_PREFIX, fenced_by},
};

/// How long the first attempt may take; the machine does not wait for it. Every next one may take twice as long: an API
/// server that is merely slow must not be met with ever more connections that are given up half made.
const PATIENCE: Duration = Duration::from_millis(500);
/// And none longer.
const MOST_PATIENCE: Duration = Duration::from_secs(4);
/// How long a fence is tried: the session of a dead node ends by itself then.
const LONGEST: Duration = Duration::from_secs(30);
/// Before a fence that failed is tried again.
const PAUSE: Duration = Duration::from_millis(50);
/// Looks at one's own session are spread over this, so that many who slept do not ask together.
const SPREAD: Duration = Duration::from_millis(20);
/// So often the connection is used at least: one that has to be made first costs a fence its time.
const WARM: Duration = Duration::from_secs(20);

struct Lane {
    me: NodeName,
    leases: Api<Lease>,
    peers: Peers,
    inputs: mpsc::Sender<Input>,
    /// A look at the own session is under way: the machine asks again and again, and one answer is enough.
    looking: AtomicBool,
}

/// Carries out what the thread wants until the token is cancelled. The client's connections should be nobody else's.
pub async fn run(
    client: Client,
    namespace: String,
    me: NodeName,
    peers: Peers,
    mut wanted: mpsc::UnboundedReceiver<Wanted>,
    inputs: mpsc::Sender<Input>,
    token: CancellationToken,
) {
    let lane = Arc::new(Lane {
        me,
        leases: Api::namespaced(client, &namespace),
        peers,
        inputs,
        looking: AtomicBool::new(false),
    });
    let mut warm = tokio::time::interval(WARM);
    loop {
        let wanted = tokio::select! {
            () = token.cancelled() => return,
            _ = warm.tick() => {
                let lane = Arc::clone(&lane);
                drop(tokio::spawn(async move { lane.warm().await }));
                continue;
            }
            wanted = wanted.recv() => match wanted {
                Some(wanted) => wanted,
                None => return,
            },
        };
        let lane = Arc::clone(&lane);
        drop(match wanted {
            Wanted::Fence(node, session) => {
                tokio::spawn(async move { lane.fence(node, session).await })
            }
            Wanted::Confirm(session) => tokio::spawn(async move { lane.look(session).await }),
        });
    }
}

impl Lane {
    fn own(&self) -> String {
        format!("{LEASE_PREFIX}{}", self.me)
    }

    async fn warm(&self) {
        if let Err(error) = within(MOST_PATIENCE, self.leases.get_opt(&self.own())).await {
            tracing::debug!(%error, "the fences' connection is not warm");
        }
    }

    /// Writes that the session is over, unless it is; goes on until the API server has said one of the two.
    async fn fence(&self, node: NodeName, session: SessionId) {
        let (name, began) = (format!("{LEASE_PREFIX}{node}"), clock::now());
        let mut patience = PATIENCE;
        while clock::now() < began + LONGEST {
            match within(patience, self.patch(&name, &session)).await {
                Ok(lease) => {
                    tracing::info!(%node, %session, took = ?(clock::now() - began), "fenced a silent session");
                    return self.ended(node, session, Some(lease)).await;
                }
                Err(error) => tracing::debug!(%node, %error, "a fence was not written"),
            }
            // Refused, perhaps because it is over already; or nobody knows.
            match within(patience, self.leases.get_opt(&name)).await {
                Ok(lease) => {
                    let holder = lease.as_ref().and_then(record::holder);
                    if holder != Some(session.as_str()) {
                        return self.ended(node, session, lease).await;
                    }
                }
                Err(error) => tracing::debug!(%node, %error, "a session was not read"),
            }
            patience = (patience * 2).min(MOST_PATIENCE);
            tokio::time::sleep(random::around(PAUSE, 0.5)).await;
        }
        tracing::warn!(%node, %session, "a silent session could not be fenced; it runs out by itself");
    }

    /// A renewal in between must not save a session: its node is silent where it matters. So no version is named.
    async fn patch(&self, name: &str, session: &SessionId) -> Result<Lease, kube::Error> {
        let pointer = format!("/metadata/annotations/{}", FENCED_BY.replace('/', "~1"));
        let operations = serde_json::from_value(json!([
            {"op": "test", "path": "/spec/holderIdentity", "value": session},
            {"op": "remove", "path": "/spec/holderIdentity"},
            {"op": "add", "path": pointer, "value": self.me},
        ]));
        let patch = Patch::<()>::Json(operations.map_err(kube::Error::SerdeError)?);
        self.leases
            .patch(name, &PatchParams::default(), &patch)
            .await
    }

    async fn ended(&self, node: NodeName, session: SessionId, lease: Option<Lease>) {
        let fenced = Fenced {
            node: node.clone(),
            session,
            by: self.me.clone(),
            written: true,
        };
        self.peers.tell([Command::Learn(Event::Ended(fenced))]);
        let seen = lease.and_then(|lease| model::lease(&lease).ok());
        let event = match seen {
            Some((node, peer)) => RecordEvent::LeaseSeen(node, peer.lease),
            None => RecordEvent::LeaseGone(node),
        };
        // The agent being gone, nobody needs to know.
        let _ = self.inputs.send(Input::Inquired(vec![event])).await;
    }

    async fn look(&self, session: SessionId) {
        if !self.looking.swap(true, Ordering::AcqRel) {
            self.confirm(session).await;
            self.looking.store(false, Ordering::Release);
        }
    }

    /// Reads whether the own session still is.
    async fn confirm(&self, session: SessionId) {
        tokio::time::sleep(SPREAD.mul_f64(random::spread())).await;
        let asked_at = clock::now();
        match within(MOST_PATIENCE, self.leases.get_opt(&self.own())).await {
            Ok(lease) if lease.as_ref().and_then(record::holder) == Some(session.as_str()) => {
                let confirmed = Event::Confirmed(session, asked_at);
                self.peers.tell([Command::Learn(confirmed)]);
            }
            Ok(lease) => {
                let by = lease
                    .as_ref()
                    .and_then(|lease| fenced_by(lease.annotations()));
                let fenced = Fenced {
                    node: self.me.clone(),
                    session,
                    by: by.unwrap_or_else(|| self.me.clone()),
                    written: true,
                };
                self.peers.tell([Command::Learn(Event::Ended(fenced))]);
            }
            Err(error) => tracing::debug!(%error, "own session was not read"),
        }
    }
}
