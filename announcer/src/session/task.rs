//! Keeping the Lease.

use std::future::Future;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, OwnerReference};
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use landfall_runtime::class::Class;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::Clock;
use super::published::{ANNOTATION, FENCED_BY, LABEL, LEASE_PREFIX, Published, write};
use crate::agent::Input;
use crate::election::Event;
use crate::names::{NodeName, SessionId};

/// How a session is kept.
#[derive(Clone, Debug)]
pub struct SessionSettings {
    /// This node.
    pub node: NodeName,
    /// Where its Lease is.
    pub namespace: String,
    /// How long it lives unrenewed.
    pub duration: Duration,
    /// How often it is renewed.
    pub every: Duration,
}

/// One node's session.
pub struct Session {
    leases: Api<Lease>,
    nodes: Api<Node>,
    name: String,
    settings: SessionSettings,
    clock: Clock,
    inputs: mpsc::Sender<Input>,
    published: watch::Receiver<Option<Published>>,
    /// The Lease as last read or written; none when it must be read.
    known: Option<Lease>,
    session: Option<SessionId>,
    lives: u32,
}

/// Why an attempt to renew did not succeed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Api(#[from] kube::Error),
    #[error("no answer in time")]
    TimedOut,
}

impl Session {
    /// A session that has not begun.
    pub fn new(
        client: Client,
        settings: SessionSettings,
        clock: Clock,
        inputs: mpsc::Sender<Input>,
        published: watch::Receiver<Option<Published>>,
    ) -> Self {
        Self {
            leases: Api::namespaced(client.clone(), &settings.namespace),
            nodes: Api::all(client),
            name: format!("{LEASE_PREFIX}{}", settings.node),
            settings,
            clock,
            inputs,
            published,
            known: None,
            session: None,
            lives: 0,
        }
    }

    /// Keeps the session until the token is cancelled, then gives the Lease up.
    pub async fn run(mut self, token: CancellationToken) {
        // Nothing to say before the agent knows its node.
        let known = self.published.wait_for(Option::is_some);
        tokio::select! {
            () = token.cancelled() => return,
            known = known => if known.is_err() { return },
        }
        let mut failures = 0_u32;
        loop {
            self.published.mark_unchanged();
            let pause = match self.renew().await {
                Ok(()) => {
                    failures = 0;
                    self.settings.every.mul_f64(1.0 - 0.1 * jitter())
                }
                Err(error) => {
                    failures += 1;
                    if failures >= 2 {
                        tracing::warn!(%error, failures, "session was not renewed");
                    }
                    self.known = None;
                    (self.settings.every / 5).mul_f64(0.8 + 0.4 * jitter())
                }
            };
            tokio::select! {
                () = token.cancelled() => break,
                () = tokio::time::sleep(pause) => {}
                changed = self.published.changed() => if changed.is_err() { break },
            }
        }
        self.give_up().await;
    }

    /// One round: at most a read and a write, twice if somebody wrote in between.
    async fn renew(&mut self) -> Result<(), Failure> {
        for _ in 0..3 {
            let lease = match self.known.take() {
                Some(lease) => Some(lease),
                None => self.within(self.leases.get_opt(&self.name)).await?,
            };
            if self.lost(lease.as_ref()) {
                self.session = None;
                tracing::warn!("session lost: its Lease was taken from it");
                self.tell(Event::SessionLost).await;
            }
            let begins = self.session.is_none();
            let session = match &self.session {
                Some(session) => session.clone(),
                None => self.fresh(),
            };
            let sent_at = self.clock.now();
            match self.put(lease, &session).await {
                Ok(lease) => {
                    self.known = Some(lease);
                    self.session = Some(session.clone());
                    if begins {
                        tracing::info!(%session, "session began");
                        self.tell(Event::SessionStarted(session, sent_at)).await;
                    } else {
                        self.tell(Event::Renewed(session, sent_at)).await;
                    }
                    return Ok(());
                }
                // Somebody wrote in between, or the Lease is gone: read it.
                Err(Failure::Api(error))
                    if matches!(Class::of(&error), Class::Conflict | Class::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Failure::TimedOut)
    }

    /// Whether what was read ends this session: no Lease, or one that names another.
    fn lost(&self, lease: Option<&Lease>) -> bool {
        let Some(session) = &self.session else {
            return false;
        };
        let holder = lease.and_then(|lease| lease.spec.as_ref()?.holder_identity.as_deref());
        holder != Some(session.as_str())
    }

    /// An id nobody used before: `RandomState` is seeded by the kernel's randomness.
    fn fresh(&mut self) -> SessionId {
        self.lives += 1;
        SessionId::new(format!("{:016x}-{}", random(), self.lives))
    }

    async fn put(&self, before: Option<Lease>, session: &SessionId) -> Result<Lease, Failure> {
        let Some(before) = before else {
            let mut lease = self.lease(Lease::default(), session);
            lease.metadata.owner_references = self.owner().await;
            return self
                .within(self.leases.create(&PostParams::default(), &lease))
                .await;
        };
        let lease = self.lease(before, session);
        self.within(
            self.leases
                .replace(&self.name, &PostParams::default(), &lease),
        )
        .await
    }

    /// `before` with this session as its holder. It keeps the version that was read, so that the
    /// API server refuses it if anybody wrote in between.
    fn lease(&self, before: Lease, session: &SessionId) -> Lease {
        let now = MicroTime(Timestamp::now());
        let spec = before.spec.unwrap_or_default();
        let continues = spec.holder_identity.as_deref() == Some(session.as_str());
        let mut metadata = ObjectMeta {
            name: Some(self.name.clone()),
            ..before.metadata
        };
        let published = self.published.borrow().clone().unwrap_or_default();
        let (label, value) = LABEL;
        metadata
            .labels
            .get_or_insert_default()
            .insert(label.into(), value.into());
        let annotations = metadata.annotations.get_or_insert_default();
        annotations.insert(ANNOTATION.into(), write(&published));
        if !continues {
            annotations.remove(FENCED_BY);
        }
        let spec = LeaseSpec {
            holder_identity: Some(session.to_string()),
            lease_duration_seconds: i32::try_from(self.settings.duration.as_secs()).ok(),
            acquire_time: if continues {
                spec.acquire_time
            } else {
                Some(now.clone())
            },
            renew_time: Some(now),
            lease_transitions: Some(
                spec.lease_transitions
                    .unwrap_or(0)
                    .saturating_add(i32::from(!continues)),
            ),
            ..LeaseSpec::default()
        };
        Lease {
            metadata,
            spec: Some(spec),
        }
    }

    /// The Lease goes with its Node. Without the Node's uid it stays: harmless, but litter.
    async fn owner(&self) -> Option<Vec<OwnerReference>> {
        let node = self
            .within(self.nodes.get_opt(self.settings.node.as_str()))
            .await
            .ok()??;
        Some(vec![OwnerReference {
            api_version: "v1".into(),
            kind: "Node".into(),
            name: self.settings.node.to_string(),
            uid: node.metadata.uid?,
            ..OwnerReference::default()
        }])
    }

    /// Empties the Lease: whoever has addresses to take over need not wait.
    async fn give_up(&mut self) {
        let Some(session) = self.session.take() else {
            return;
        };
        self.tell(Event::SessionLost).await;
        let given = async {
            let Some(mut lease) = self.within(self.leases.get_opt(&self.name)).await? else {
                return Ok(());
            };
            let Some(spec) = lease.spec.as_mut() else {
                return Ok(());
            };
            if spec.holder_identity.as_deref() == Some(session.as_str()) {
                spec.holder_identity = None;
                let parameters = PostParams::default();
                self.within(self.leases.replace(&self.name, &parameters, &lease))
                    .await?;
            }
            Ok::<(), Failure>(())
        };
        if let Err(error) = given.await {
            tracing::warn!(%error, "session was not given up; it will run out");
        }
    }

    /// A request that hangs must not eat the time of the next.
    async fn within<T>(
        &self,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, Failure> {
        let patience = self.settings.every.mul_f64(0.6);
        match tokio::time::timeout(patience, request).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(Failure::TimedOut),
        }
    }

    async fn tell(&self, event: Event) {
        // The agent being gone, nobody needs to know.
        let _ = self.inputs.send(Input::Session(event)).await;
    }
}

fn random() -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _};
    std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish()
}

/// In 0..1.
fn jitter() -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a spread, not a measure")]
    let spread = (random() >> 11) as f64 / (1_u64 << 53) as f64;
    spread
}
