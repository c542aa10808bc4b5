//! Requests to the API server, a few at a time, each with a time limit; outcomes go back to the agent.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ObjectReference, Service};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use landfall_crds::{L2AnnouncementPolicy, LoadBalancerIP, LoadBalancerIPStatus};
use landfall_runtime::apply;
use landfall_runtime::call::{Failure, within};
use landfall_runtime::class::Class;
use landfall_runtime::events::{Events, Note};
use landfall_runtime::lease::record;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::task::TaskTracker;

use super::FIELD_MANAGER;
use super::failures::WriteFailures;
use super::own_node::{describe, say_of_namesake};
use crate::brain::{Expiry, Input, Job, Notice, ReportKey, Subject, Swap, SwapOutcome};
use crate::election::owners::Event;
use crate::model::published::{FENCED_BY, LEASE_PREFIX, RENEWAL_PREFIX};
use crate::model::{self, Lbip, Object};
use crate::names::{NodeName, SessionId, Version};

/// Requests under way at a time, claims apart.
const PARALLEL: usize = 16;
/// Claims, hand-overs and what they wait for: while one of them is under way, nobody may answer. They queue behind
/// nothing else.
const URGENT: usize = 32;

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(4);

/// Sends requests and reports back.
#[derive(Clone)]
pub struct Writer {
    client: Client,
    namespace: String,
    events: Events,
    node: NodeName,
    inputs: mpsc::Sender<Input>,
    permits: Arc<Semaphore>,
    urgent: Arc<Semaphore>,
    tasks: TaskTracker,
    failures: WriteFailures,
    /// Whoever asks for a request may be on a runtime that has no time for it.
    runtime: Handle,
}

impl Writer {
    /// A writer on `node` whose session Leases live in `namespace`, and whose Events come from `pod`; on the current runtime.
    #[must_use]
    pub fn new(
        client: Client,
        namespace: String,
        pod: String,
        node: NodeName,
        inputs: mpsc::Sender<Input>,
        failures: WriteFailures,
    ) -> Self {
        Self {
            events: Events::new(client.clone(), FIELD_MANAGER, pod),
            client,
            namespace,
            node,
            inputs,
            permits: Arc::new(Semaphore::new(PARALLEL)),
            urgent: Arc::new(Semaphore::new(URGENT)),
            tasks: TaskTracker::new(),
            failures,
            runtime: Handle::current(),
        }
    }

    /// Sends a request; its outcome comes as an input.
    pub fn send(&self, job: Job) {
        let writer = self.clone();
        let request = async move {
            let lane = if is_urgent(&job) {
                &writer.urgent
            } else {
                &writer.permits
            };
            let Ok(_permit) = lane.acquire().await else {
                return;
            };
            let input = match job {
                Job::Swap(swap) => writer.swap(*swap).await,
                Job::Expire(expiry) => writer.expire(*expiry).await,
                Job::Inquire(node, session) => writer.inquire(node, session).await,
                Job::Service(key, condition) => {
                    let api = Api::<Service>::namespaced(writer.client.clone(), &key.namespace);
                    let conditions: Vec<_> = condition.into_iter().collect();
                    let status = json!({"conditions": conditions});
                    let applied = apply::status(&api, &key.name, FIELD_MANAGER, &status);
                    let outcome = within(PATIENCE, applied).await.map(|service| {
                        let (key, service) = model::service(&service);
                        Some(Object::Service(key, service))
                    });
                    writer.reported("Service", ReportKey::Service(key), outcome)
                }
                Job::Policy(name, status) => {
                    let api = Api::<L2AnnouncementPolicy>::all(writer.client.clone());
                    let applied = apply::status(&api, name.as_str(), FIELD_MANAGER, &*status);
                    let outcome = within(PATIENCE, applied).await.map(|policy| {
                        let (name, policy) = model::policy(&policy);
                        Some(Object::Policy(name, policy))
                    });
                    writer.reported("L2AnnouncementPolicy", ReportKey::Policy(name), outcome)
                }
                Job::Node(status, uid) => {
                    let client = writer.client.clone();
                    let applied = describe(client, &writer.node, uid.as_deref(), &status);
                    let outcome = within(PATIENCE, applied).await.map_err(|error| {
                        tracing::warn!(%error, "L2Node was not written");
                        writer.failures.count("L2Node", error.class());
                        error.class()
                    });
                    Input::Described(outcome)
                }
                Job::Namesake(condition) => {
                    let client = writer.client.clone();
                    let said = say_of_namesake(client, &writer.node, condition.as_deref());
                    Input::NamesakeSaid(within(PATIENCE, said).await.map_err(|error| {
                        // Where the object is gone there is nothing to take back.
                        if condition.is_some() || error.class() != Class::NotFound {
                            tracing::warn!(%error, "it was not said on the L2Node who has its name");
                            writer.failures.count("L2Node", error.class());
                        }
                        error.class()
                    }))
                }
            };
            // The agent being gone, nobody needs to know.
            let _ = writer.inputs.send(input).await;
        };
        self.tasks.spawn_on(request, &self.runtime);
    }

    /// Writes an Event about each subject. Never worth a retry.
    pub fn notify(&self, notice: Notice) {
        let writer = self.clone();
        let request = async move {
            let Ok(_permit) = writer.permits.acquire().await else {
                return;
            };
            for subject in &notice.subjects {
                let note = Note {
                    warning: notice.warning,
                    reason: notice.reason.to_owned(),
                    action: "Announcing",
                    note: notice.note.clone(),
                };
                let published = writer
                    .events
                    .publish(reference(subject), note, Timestamp::now());
                if let Err(error) = within(PATIENCE, published).await {
                    tracing::debug!(reason = notice.reason, %error, "Event was not written");
                    writer.failures.count("Event", error.class());
                }
            }
        };
        self.tasks.spawn_on(request, &self.runtime);
    }

    /// Waits until everything sent has been carried out.
    pub async fn finish(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn reported(
        &self,
        kind: &'static str,
        key: ReportKey,
        outcome: Result<Option<Object>, Failure>,
    ) -> Input {
        let outcome = outcome.map_err(|error| {
            let class = error.class();
            if class != Class::Conflict && class != Class::NotFound {
                tracing::warn!(kind, ?key, %error, "status was not written");
            }
            self.failures.count(kind, class);
            class
        });
        Input::Reported(key, outcome)
    }

    async fn swap(&self, swap: Swap) -> Input {
        let api = Api::<LoadBalancerIP>::all(self.client.clone());
        let patch = Patch::Merge(patch_of(&swap.version, &swap.status));
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.into()),
            ..PatchParams::default()
        };
        let outcome = within(PATIENCE, api.patch_status(&swap.name, &params, &patch)).await;
        let (address, name) = (swap.address, swap.name);
        if swap.report {
            let outcome = outcome.map(|ip| model::lbip(&ip).ok().map(Object::Address));
            return self.reported("LoadBalancerIP", ReportKey::Address(address), outcome);
        }
        let outcome = match outcome {
            Ok(object) => match model::lbip(&object) {
                Ok(lbip) => SwapOutcome::Done(Box::new(lbip)),
                Err(_) => SwapOutcome::Refused(None),
            },
            Err(Failure::Api(error)) if Class::of(&error) == Class::NotFound => {
                SwapOutcome::Refused(None)
            }
            Err(Failure::Api(error)) if Class::of(&error) == Class::Conflict => {
                self.reread(&api, &name, address).await
            }
            Err(error) => {
                tracing::warn!(%address, %error, "owner record was not written");
                self.failures.count("LoadBalancerIP", error.class());
                match error.class() {
                    Class::Forbidden | Class::Refused => SwapOutcome::Denied,
                    Class::Conflict | Class::NotFound | Class::Transient => SwapOutcome::Failed,
                }
            }
        };
        Input::Swapped(address, outcome)
    }

    async fn reread(&self, api: &Api<LoadBalancerIP>, name: &str, address: IpAddr) -> SwapOutcome {
        match within(PATIENCE, api.get_opt(name)).await {
            Ok(Some(object)) => {
                let lbip: Option<Lbip> = model::lbip(&object).ok();
                SwapOutcome::Refused(lbip.map(Box::new))
            }
            Ok(None) => SwapOutcome::Refused(None),
            Err(error) => {
                tracing::warn!(%address, %error, "owner record was not read again");
                SwapOutcome::Failed
            }
        }
    }

    /// Empties a Lease, if it and the last renewal still are at these versions; tells what they are then.
    async fn expire(&self, expiry: Expiry) -> Input {
        let node = expiry.node.clone();
        let mut events = Vec::new();
        if let Err(error) = within(PATIENCE, self.empty(&expiry, &mut events)).await {
            tracing::warn!(%node, %error, "silent session was not expired");
            self.failures.count("Lease", error.class());
        }
        events.push(Event::InquiryEnded(node));
        Input::Inquired(events)
    }

    /// The Lease is read before the renewal: `session` says why.
    async fn empty(&self, expiry: &Expiry, events: &mut Vec<Event>) -> Result<(), kube::Error> {
        let api = Api::<Lease>::namespaced(self.client.clone(), &self.namespace);
        let node = &expiry.node;
        let name = format!("{LEASE_PREFIX}{node}");
        let Some(lease) = api.get_opt(&name).await? else {
            events.push(Event::LeaseGone(node.clone()));
            return Ok(());
        };
        if lease.metadata.resource_version.as_deref() != Some(expiry.version.as_str()) {
            events.extend(seen(&lease));
            return Ok(());
        }
        let renewal = api.get_opt(&format!("{RENEWAL_PREFIX}{node}")).await?;
        let renewal = renewal.and_then(|renewal| renewal.metadata.resource_version);
        // One that is gone prolongs nothing: who lives makes it anew when it renews next.
        if let Some(renewal) = renewal
            && Some(renewal.as_str()) != expiry.renewal.as_ref().map(Version::as_str)
        {
            events.push(Event::RenewalSeen(node.clone(), Version::new(renewal)));
            return Ok(());
        }
        let mut emptied = record::emptied(lease);
        // Nobody ends another's session without a name; the admission policy asks for it.
        let annotations = emptied.metadata.annotations.get_or_insert_default();
        annotations.insert(FENCED_BY.to_owned(), self.node.to_string());
        match api.replace(&name, &PostParams::default(), &emptied).await {
            Ok(lease) => {
                tracing::info!(lease = name, "expired a silent session");
                events.extend(seen(&lease));
            }
            Err(error) if Class::of(&error) == Class::Conflict => {
                let lease = api.get_opt(&name).await?;
                events.extend(lease.as_ref().and_then(seen));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn inquire(&self, node: NodeName, session: SessionId) -> Input {
        let api = Api::<Lease>::namespaced(self.client.clone(), &self.namespace);
        let mut events = Vec::new();
        match within(PATIENCE, api.get_opt(&format!("{LEASE_PREFIX}{node}"))).await {
            Ok(lease) => {
                let seen = lease.and_then(|lease| model::lease(&lease).ok());
                let seen = seen.map(|(_, peer)| peer.lease);
                events.push(Event::Inquired(node.clone(), session, seen));
            }
            Err(error) => tracing::warn!(%node, %error, "session was not asked about"),
        }
        events.push(Event::InquiryEnded(node));
        Input::Inquired(events)
    }
}

fn seen(lease: &Lease) -> Option<Event> {
    let (node, peer) = model::lease(lease).ok()?;
    Some(Event::LeaseSeen(node, peer.lease))
}

fn is_urgent(job: &Job) -> bool {
    match job {
        Job::Swap(swap) => !swap.report,
        Job::Expire(..) | Job::Inquire(..) => true,
        Job::Service(..) | Job::Policy(..) | Job::Node(..) | Job::Namesake(_) => false,
    }
}

/// A merge patch that says the whole status, absences included, and takes effect only on `version`.
fn patch_of(version: &Version, status: &LoadBalancerIPStatus) -> Value {
    let owner = status.owner.as_ref().map(|owner| {
        json!({
            "node": owner.node,
            "session": owner.session,
            "since": owner.since,
            "transitions": owner.transitions,
            "standby": owner.standby,
            "handoverTo": owner.handover_to,
        })
    });
    json!({
        "metadata": {"resourceVersion": version.as_str()},
        "status": {
            "owner": owner,
            "interfaces": status.interfaces,
            "conditions": status.conditions,
        },
    })
}

fn reference(subject: &Subject) -> ObjectReference {
    match subject {
        Subject::Address(name, uid) => ObjectReference {
            api_version: Some(format!("{}/v1alpha1", landfall_crds::GROUP)),
            kind: Some("LoadBalancerIP".into()),
            name: Some(name.clone()),
            uid: Some(uid.clone()),
            ..ObjectReference::default()
        },
        Subject::Policy(name, uid) => ObjectReference {
            api_version: Some(format!("{}/v1alpha1", landfall_crds::GROUP)),
            kind: Some("L2AnnouncementPolicy".into()),
            name: Some(name.clone()),
            uid: Some(uid.clone()),
            ..ObjectReference::default()
        },
        Subject::Service(key, uid) => ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Service".into()),
            namespace: Some(key.namespace.clone()),
            name: Some(key.name.clone()),
            uid: Some(uid.clone()),
            ..ObjectReference::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_says_what_is_absent_so_that_nothing_of_before_remains() {
        let status = LoadBalancerIPStatus::default();
        let patch = patch_of(&Version::new("7"), &status);
        assert_eq!(patch["metadata"]["resourceVersion"], "7");
        assert_eq!(patch["status"]["owner"], Value::Null);
        let owner = landfall_crds::Owner {
            node: "n".into(),
            ..landfall_crds::Owner::default()
        };
        let status = LoadBalancerIPStatus {
            owner: Some(owner),
            ..status
        };
        let patch = patch_of(&Version::new("7"), &status);
        assert_eq!(patch["status"]["owner"]["handoverTo"], Value::Null);
        assert_eq!(patch["status"]["owner"]["standby"], Value::Null);
    }
}
