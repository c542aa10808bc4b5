//! Keeping the Leases.

use std::future::Future;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, OwnerReference};
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use landfall_runtime::call::{Failure, within};
use landfall_runtime::class::Class;
use landfall_runtime::lease::{History, give_up, record};
use landfall_runtime::random;
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::brain::Input;
use crate::clock;
use crate::election::owners::{Event, Settings as Election};
use crate::election::{Elsewhere, Held, Namesake, Now, Wait};
use crate::model::published::{
    ANNOTATION, FENCED_BY, LABEL, LEASE_PREFIX, Published, RENEWAL_PREFIX, fenced_by, write,
};
use crate::names::{NodeName, SessionId, Version};

/// How a session is kept.
#[derive(Clone, Debug)]
pub struct SessionSettings {
    pub node: NodeName,
    /// Where its Lease is.
    pub namespace: String,
    /// How long it lives unrenewed.
    pub duration: Duration,
    /// How often it is renewed, by a write and a read.
    pub every: Duration,
    /// Between two heartbeats.
    pub heartbeat: Duration,
}

/// One node's session.
pub struct Session {
    leases: Api<Lease>,
    nodes: Api<Node>,
    /// The Lease that names the session.
    name: String,
    /// The one it is renewed in.
    renewal: String,
    settings: SessionSettings,
    inputs: mpsc::Sender<Input>,
    published: watch::Receiver<Option<Published>>,
    /// The session that peers have ended last.
    over: watch::Receiver<Option<SessionId>>,
    /// The sessions that other machines go on with by this node's name.
    elsewhere: watch::Receiver<Elsewhere>,
    namesake: Namesake,
    /// The session of the one that is waited for, as it was said last.
    waits_for: Option<SessionId>,
    history: History,
    /// Counts the histories that the API server has shown.
    histories: watch::Sender<u64>,
    session: Option<SessionId>,
    /// How many sessions the Lease had counted when this process last wrote it.
    counted: Option<i32>,
    /// When the write was sent that last said that the Lease is this session's.
    renewed_at: Now,
    lives: u32,
}

impl Session {
    /// A session that has not begun.
    #[must_use]
    pub fn new(
        client: Client,
        settings: SessionSettings,
        inputs: mpsc::Sender<Input>,
        published: watch::Receiver<Option<Published>>,
        (over, elsewhere): (
            watch::Receiver<Option<SessionId>>,
            watch::Receiver<Elsewhere>,
        ),
        histories: watch::Sender<u64>,
    ) -> Self {
        Self {
            history: History::default(),
            histories,
            leases: Api::namespaced(client.clone(), &settings.namespace),
            nodes: Api::all(client),
            name: format!("{LEASE_PREFIX}{}", settings.node),
            renewal: format!("{RENEWAL_PREFIX}{}", settings.node),
            namesake: Namesake::new(settings.heartbeat),
            settings,
            inputs,
            published,
            over,
            elsewhere,
            waits_for: None,
            session: None,
            counted: None,
            renewed_at: Now::ZERO,
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
                Ok(wait) => {
                    failures = 0;
                    self.say_who_is_waited_for(wait.as_ref()).await;
                    match wait {
                        Some(wait) => wait.until.saturating_sub(clock::now()),
                        None => random::before(self.settings.every, 0.1),
                    }
                }
                Err(error) => {
                    failures += 1;
                    if failures >= 2 {
                        tracing::warn!(%error, failures, "session was not renewed");
                    }
                    self.tell(Event::NotRenewed).await;
                    random::around(self.settings.every / 5, 0.2)
                }
            };
            tokio::select! {
                () = token.cancelled() => break,
                () = tokio::time::sleep(pause) => {}
                changed = self.published.changed() => if changed.is_err() { break },
                changed = self.over.changed() => if changed.is_err() { break },
            }
            self.end_if_over();
        }
        self.give_up().await;
    }

    /// One round: a renewal and a look at the session; a swap of that if anything of it is to change, and once more if
    /// somebody else has written it in between. A session that begins, or that is over by this node's clock, is in its
    /// Lease before anything is renewed: who cannot write that prolongs nothing that others wait for the end of.
    ///
    /// Returns for how long no session may begin, if none may.
    async fn renew(&mut self) -> Result<Option<Wait>, Failure> {
        for _ in 0..3 {
            let sent_at = clock::now();
            let Some(session) = self.session.clone() else {
                match self.begin(sent_at).await? {
                    Begun::Now(session) => {
                        self.write_renewal(&session).await?;
                        return Ok(None);
                    }
                    Begun::Not(wait) => return Ok(Some(wait)),
                    Begun::Raced => continue,
                }
            };
            if sent_at >= self.end() {
                let lease = self.within(self.leases.get_opt(&self.name)).await?;
                if self.lost(lease.as_ref()) {
                    self.lose(lease.as_ref()).await;
                    continue;
                }
                let is_said = self.is_said(lease.as_ref(), &session);
                if !is_said && !self.swap(lease, &session).await? {
                    continue;
                }
            }
            self.write_renewal(&session).await?;
            let is_late = clock::now() >= self.end();
            let lease = self.within(self.leases.get_opt(&self.name)).await?;
            if self.lost(lease.as_ref()) {
                self.lose(lease.as_ref()).await;
                continue;
            }
            let is_to_change = is_late || !self.is_said(lease.as_ref(), &session);
            if is_to_change && !self.swap(lease, &session).await? {
                continue;
            }
            self.renewed_at = sent_at;
            self.tell(Event::Renewed(session, sent_at)).await;
            return Ok(None);
        }
        Err(Failure::TimedOut(self.patience()))
    }

    /// Begins a session, unless the Lease is another machine's.
    async fn begin(&mut self, sent_at: Now) -> Result<Begun, Failure> {
        let lease = self.within(self.leases.get_opt(&self.name)).await?;
        if let Err(wait) = self.may_begin(lease.as_ref()).await? {
            return Ok(Begun::Not(wait));
        }
        let session = self.fresh();
        let was_fenced = lease.as_ref().is_some_and(is_fenced);
        if !self.swap(lease, &session).await? {
            return Ok(Begun::Raced);
        }
        self.namesake.has_begun();
        self.renewed_at = sent_at;
        self.session = Some(session.clone());
        tracing::info!(%session, was_fenced, "session began");
        if was_fenced {
            self.tell(Event::WasFenced).await;
        }
        self.tell(Event::SessionStarted(session.clone(), sent_at))
            .await;
        Ok(Begun::Now(session))
    }

    /// Whether a session may begin over the one that the Lease names.
    async fn may_begin(&mut self, lease: Option<&Lease>) -> Result<Result<(), Wait>, Failure> {
        // Whoever takes it counts on: with fewer it is an older copy, and what it names is of the past.
        if lease.is_some_and(|lease| record::transitions(lease) < self.counted) {
            return Ok(Ok(()));
        }
        let holder = lease.and_then(record::holder).map(SessionId::new);
        let renewal = match holder {
            Some(_) => self.within(self.leases.get_opt(&self.renewal)).await?,
            None => None,
        };
        let renewal =
            renewal.and_then(|renewal| renewal.metadata.resource_version.map(Version::new));
        let duration = lease.and_then(record::duration);
        let own = self.published.borrow();
        let wrote = |lease: &Lease| own.iter().any(|own| own.machine_wrote(lease.annotations()));
        let held = holder.as_ref().map(|session| Held {
            session,
            renewal: renewal.as_ref(),
            duration: duration.unwrap_or(self.settings.duration),
            of_this_machine: lease.is_some_and(wrote),
        });
        let elsewhere = self.elsewhere.borrow();
        Ok(self.namesake.may_begin(held, &elsewhere, clock::now()))
    }

    /// Says that another machine has this node's name, once for each of its sessions, and when that is over.
    async fn say_who_is_waited_for(&mut self, wait: Option<&Wait>) {
        if wait.is_some_and(|wait| wait.namesake.is_none()) {
            return;
        }
        let namesake = wait.and_then(|wait| wait.namesake.clone());
        if namesake == self.waits_for {
            return;
        }
        let (node, lease) = (&self.settings.node, &self.name);
        match &namesake {
            Some(session) => tracing::error!(
                %session,
                "another machine runs an announcer by the name of this node, {node}, and holds the Lease {lease}: this one \
                 answers for nothing until that is not renewed any more. Give one of the two machines another node name, or \
                 switch off the one that is not to be {node}"
            ),
            None => {
                tracing::info!("no other machine holds the Lease {lease} of node {node} any more")
            }
        }
        self.waits_for.clone_from(&namesake);
        self.input(Input::Namesake(namesake)).await;
    }

    /// Writes the session into its Lease; `false` if somebody wrote in between, or the Lease is gone: it is to be read anew.
    async fn swap(&mut self, before: Option<Lease>, session: &SessionId) -> Result<bool, Failure> {
        match self.put(before, session).await {
            Ok(lease) => {
                self.counted = record::transitions(&lease);
                Ok(true)
            }
            Err(Failure::Api(error))
                if matches!(Class::of(&error), Class::Conflict | Class::NotFound) =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// When the session ends by this node's clock, if it is not renewed.
    fn end(&self) -> Now {
        let Election {
            duration, margin, ..
        } = Election::for_duration(self.settings.duration);
        self.renewed_at + duration.saturating_sub(margin)
    }

    /// What was read names another session, or none.
    async fn lose(&mut self, lease: Option<&Lease>) {
        self.session = None;
        let by = lease.and_then(ended_by);
        tracing::warn!(
            by = by.as_ref().map_or("somebody", NodeName::as_str),
            "session lost: its Lease was taken from it"
        );
        if let Some(by) = by {
            self.input(Input::Taken(by, self.renewed_at)).await;
        }
        self.tell(Event::SessionLost).await;
    }

    /// Whether the Lease names the session already, and says what is to be published.
    fn is_said(&self, lease: Option<&Lease>, session: &SessionId) -> bool {
        let published = self.published.borrow();
        let wanted = published.as_ref().map(write);
        lease.is_some_and(|lease| {
            record::holder(lease) == Some(session.as_str())
                && lease.annotations().get(ANNOTATION) == wanted.as_ref()
                && record::duration(lease) == Some(self.settings.duration)
        })
    }

    /// Nobody else writes it, so that no version is named.
    async fn write_renewal(&mut self, session: &SessionId) -> Result<(), Failure> {
        let spec = LeaseSpec {
            holder_identity: Some(session.to_string()),
            lease_duration_seconds: i32::try_from(self.settings.duration.as_secs()).ok(),
            renew_time: Some(MicroTime(Timestamp::now())),
            ..LeaseSpec::default()
        };
        let patch = Patch::Merge(json!({ "spec": spec }));
        let params = PatchParams::default();
        let patched = self.leases.patch(&self.renewal, &params, &patch);
        match self.within(patched).await {
            Err(Failure::Api(error)) if Class::of(&error) == Class::NotFound => {}
            answer => {
                self.look_back(&answer?);
                return Ok(());
            }
        }
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(self.renewal.clone()),
                owner_references: self.owner().await,
                ..ObjectMeta::default()
            },
            spec: Some(spec),
        };
        let parameters = PostParams::default();
        let created = self.within(self.leases.create(&parameters, &lease)).await?;
        self.look_back(&created);
        Ok(())
    }

    /// A renewal with an older version than one before comes of another history. It was just written, so that no cache
    /// explains it. Whether the session goes on is for its Lease to say, as ever.
    fn look_back(&mut self, renewal: &Lease) {
        let version = renewal.metadata.resource_version.as_deref();
        let Some(version) = version.filter(|version| self.history.goes_back(version)) else {
            return;
        };
        tracing::warn!(
            version,
            "the API server shows a past that was over, as after a restore from an older copy: \
             all watches begin anew"
        );
        self.history.begin_anew();
        self.history.goes_back(version);
        self.histories.send_modify(|count| *count += 1);
    }

    /// Whether what was read ends this session: no Lease, or one that names another. Who was wrong about it lately does
    /// not end it.
    fn lost(&self, lease: Option<&Lease>) -> bool {
        let Some(session) = &self.session else {
            return false;
        };
        let by = lease.and_then(ended_by);
        let published = self.published.borrow();
        let wronged_by = published.as_ref().and_then(|said| said.wronged_by.as_ref());
        if by.is_some() && by.as_ref() == wronged_by {
            tracing::warn!(
                ?by,
                "the Lease was taken again by a node that was wrong before; taken back"
            );
            return false;
        }
        lease.and_then(record::holder) != Some(session.as_str())
    }

    /// What peers have ended is over, whether its Lease says so yet or not. They know; the agent said so.
    fn end_if_over(&mut self) {
        let over = self.over.borrow_and_update().clone();
        if over.is_some() && self.session == over {
            self.session = None;
        }
    }

    /// An id nobody used before.
    fn fresh(&mut self) -> SessionId {
        self.lives += 1;
        let session = SessionId::new(format!("{:016x}-{}", random::id(), self.lives));
        self.namesake.tries(session.clone());
        session
    }

    async fn put(&self, before: Option<Lease>, session: &SessionId) -> Result<Lease, Failure> {
        let is_new = before.is_none();
        let mut lease = self.lease(before, session);
        let parameters = PostParams::default();
        if is_new {
            lease.metadata.owner_references = self.owner().await;
            return self.within(self.leases.create(&parameters, &lease)).await;
        }
        self.within(self.leases.replace(&self.name, &parameters, &lease))
            .await
    }

    /// `before` with this session as its holder, and what it publishes. It keeps the version that was read, so that the API
    /// server refuses it if anybody wrote in between.
    fn lease(&self, before: Option<Lease>, session: &SessionId) -> Lease {
        let (now, duration) = (Timestamp::now(), self.settings.duration);
        let continues = before.as_ref().and_then(record::holder) == Some(session.as_str());
        let mut lease = record::held(before, &self.name, session.as_str(), duration, now);
        let published = self.published.borrow().clone().unwrap_or_default();
        let (label, value) = LABEL;
        let labels = lease.metadata.labels.get_or_insert_default();
        labels.insert(label.into(), value.into());
        let annotations = lease.metadata.annotations.get_or_insert_default();
        annotations.insert(ANNOTATION.into(), write(&published));
        if !continues {
            annotations.remove(FENCED_BY);
        }
        lease
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
        let given = give_up(&self.leases, &self.name, session.as_str(), self.patience()).await;
        if let Err(error) = given {
            tracing::warn!(%error, "session was not given up; it will run out");
        }
    }

    /// A request that hangs must not eat the time of the next.
    fn patience(&self) -> Duration {
        self.settings.every.mul_f64(0.6)
    }

    async fn within<T>(
        &self,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, Failure> {
        within(self.patience(), request).await
    }

    async fn tell(&self, event: Event) {
        self.input(Input::Session(event)).await;
    }

    async fn input(&self, input: Input) {
        // The agent being gone, nobody needs to know.
        let _ = self.inputs.send(input).await;
    }
}

/// What came of an attempt to begin a session.
enum Begun {
    Now(SessionId),
    /// Somebody has written its Lease in between.
    Raced,
    /// It may not begin yet.
    Not(Wait),
}

/// Whether peers have ended the session before.
fn is_fenced(lease: &Lease) -> bool {
    fenced_by(lease.annotations()).is_some()
}

/// Who emptied a Lease that nobody holds.
fn ended_by(lease: &Lease) -> Option<NodeName> {
    match record::holder(lease) {
        None | Some("") => fenced_by(lease.annotations()),
        Some(_) => None,
    }
}
