//! One worker a Pod: plans, carries out, reports, waits for what happens next.
//!
//! Invariant: the worker is the only one that changes its Pod's state, records and status; tasks it starts (waits,
//! probes, hooks) only send it inputs. Every action changes the state so that it is not planned again at once.

mod adopt;
mod containers;
mod probes;
mod report;
mod sandbox;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::{
    api::core::v1::{Container, Pod, PodStatus},
    jiff::Timestamp,
};
use kube::{
    Api,
    api::{DeleteParams, Preconditions},
};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    context::Context,
    objects::Objects,
    plan::{Action, Goal, Wanted, plan},
    pod::{self, Addresses, PodId},
    probe::Purpose,
    records::{NetworkRecord, PodDir},
    state::{Backoff, PodState, Sandbox},
};

/// How often volumes are brought up to date.
const REFRESH: Duration = Duration::from_secs(10);
/// A report that did not get through is made again.
const RETRY_REPORT: Duration = Duration::from_secs(1);
/// Grace for a Pod whose object vanished without one.
const GONE_GRACE: Duration = Duration::from_secs(1);

/// What a worker learns.
#[derive(Debug)]
pub(crate) enum Input {
    /// The Pod object as it is now.
    Pod(Arc<Pod>),
    /// The Pod object is no more.
    Gone,
    /// The agent stops and takes its Pods along.
    Drain,
    /// An attempt of a container ended.
    Ended { container: String, attempt: u32 },
    /// A probe's verdict changed.
    Verdict {
        container: String,
        attempt: u32,
        purpose: Purpose,
        ok: bool,
        message: String,
    },
}

/// Why something could not be made, in the status' words.
#[derive(Debug)]
struct Trouble {
    reason: &'static str,
    message: String,
}

impl Trouble {
    fn new(reason: &'static str, message: impl std::fmt::Display) -> Self {
        Self {
            reason,
            message: message.to_string(),
        }
    }
}

/// A token and when to ask for the next.
struct Token {
    text: String,
    renew_at: Instant,
}

/// One Pod's worker.
pub(crate) struct Worker {
    context: Arc<Context>,
    id: PodId,
    pod: Arc<Pod>,
    /// Overrides what the object says.
    over: Option<Wanted>,
    dir: PodDir,
    state: PodState,
    addresses: Addresses,
    network: Option<NetworkRecord>,
    objects: Objects,
    tokens: BTreeMap<String, Token>,
    sandbox_backoff: Backoff,
    /// Probes of running containers.
    probes: BTreeMap<String, CancellationToken>,
    started: Timestamp,
    reported: Option<PodStatus>,
    /// The last report did not get through.
    unreported: bool,
    /// The object is deleted, or was before we came.
    forgotten: bool,
    inputs: mpsc::UnboundedReceiver<Input>,
    sender: mpsc::UnboundedSender<Input>,
}

impl Worker {
    /// Starts a worker; it ends by itself when its Pod is gone.
    pub(crate) fn spawn(
        context: Arc<Context>,
        pod: Arc<Pod>,
    ) -> (mpsc::UnboundedSender<Input>, tokio::task::JoinHandle<()>) {
        let (sender, inputs) = mpsc::unbounded_channel();
        let id = PodId::of(&pod);
        let started = pod
            .status
            .as_ref()
            .and_then(|status| status.start_time.as_ref());
        let worker = Self {
            dir: context.root.pod(&id.uid),
            started: started.map_or_else(Timestamp::now, |time| time.0),
            addresses: Addresses {
                pod: Vec::new(),
                host: context.settings.node_ips.clone(),
            },
            context,
            id,
            pod,
            over: None,
            state: PodState::default(),
            network: None,
            objects: Objects::new(),
            tokens: BTreeMap::new(),
            sandbox_backoff: Backoff::default(),
            probes: BTreeMap::new(),
            reported: None,
            unreported: false,
            forgotten: false,
            inputs,
            sender: sender.clone(),
        };
        (sender, tokio::spawn(Box::pin(worker.run())))
    }

    async fn run(mut self) {
        self.adopt().await;
        let mut services = self.context.services.clone();
        let mut refresh = interval(REFRESH);
        refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
        refresh.tick().await;
        loop {
            let plan = plan(Instant::now(), &self.goal(), &self.state);
            let acted = !plan.actions.is_empty();
            for action in plan.actions {
                self.act(action).await;
            }
            self.report().await;
            if self.over_and_done() {
                break;
            }
            if acted {
                continue;
            }
            let retry = if self.unreported {
                RETRY_REPORT
            } else {
                REFRESH
            };
            let wake = plan
                .wake
                .unwrap_or(Instant::now() + retry)
                .min(Instant::now() + retry);
            tokio::select! {
                input = self.inputs.recv() => match input {
                    Some(input) => self.take(input).await,
                    None => break,
                },
                () = sleep_until(wake.into()) => {}
                changed = services.changed() => match changed {
                    Ok(()) => self.write_hosts(),
                    Err(_) => break,
                },
                _ = refresh.tick() => self.refresh().await,
            }
        }
        info!(pod = %self.id, "done");
    }

    fn goal(&self) -> Goal {
        let goal = pod::goal(&self.pod);
        match self.over.clone() {
            Some(wanted) => Goal { wanted, ..goal },
            None => goal,
        }
    }

    fn over_and_done(&self) -> bool {
        let stopping = matches!(self.goal().wanted, Wanted::Stop { .. });
        let forget = matches!(self.goal().wanted, Wanted::Stop { forget: true, .. });
        stopping && self.state.sandbox == Sandbox::Gone && (self.forgotten || !forget)
    }

    async fn act(&mut self, action: Action) {
        match action {
            Action::MakeSandbox => self.make_sandbox().await,
            Action::Start(name) => self.start(&name).await,
            Action::Terminate(name, grace) => self.terminate(&name, grace),
            Action::Kill(name) => self.kill(&name).await,
            Action::TearDown => self.tear_down().await,
            Action::Forget => self.forget().await,
        }
    }

    async fn take(&mut self, input: Input) {
        match input {
            Input::Pod(pod) => self.pod = pod,
            Input::Gone => {
                let grace = match self.goal().wanted {
                    Wanted::Stop { grace, .. } => grace.min(GONE_GRACE),
                    Wanted::Run => GONE_GRACE,
                };
                self.over = Some(Wanted::Stop {
                    grace,
                    forget: false,
                });
            }
            Input::Drain => {
                let grace = self.goal().grace;
                self.over = Some(Wanted::Stop {
                    grace,
                    forget: false,
                });
            }
            Input::Ended { container, attempt } => self.ended(&container, attempt).await,
            Input::Verdict {
                container,
                attempt,
                purpose,
                ok,
                message,
            } => {
                self.verdict(&container, attempt, purpose, ok, &message);
            }
        }
    }

    /// The spec of a container by name.
    fn spec_of(&self, name: &str) -> Option<Container> {
        let spec = pod::spec(&self.pod);
        pod::containers(&spec)
            .find(|container| container.name == name)
            .cloned()
    }

    fn tell(&self, warning: bool, reason: &str, note: impl std::fmt::Display) {
        let note = note.to_string();
        if warning {
            warn!(pod = %self.id, reason, "{note}");
        } else {
            info!(pod = %self.id, reason, "{note}");
        }
        self.context.tell(&self.pod, warning, reason, note);
    }

    /// Removes the Pod object: the last thing a kubelet does for a Pod.
    async fn forget(&mut self) {
        self.report().await;
        let api: Api<Pod> = Api::namespaced(self.context.client.clone(), &self.id.namespace);
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions {
                uid: Some(self.id.uid.clone()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match api.delete(&self.id.name, &params).await {
            Ok(_) => self.forgotten = true,
            // Another Pod has the name by now, or nobody.
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => {
                self.forgotten = true;
            }
            Err(error) => {
                warn!(pod = %self.id, "delete the object: {error}");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}
