//! One leader among several replicas, by a Lease and observed time.
//!
//! Nobody's wall clock is trusted: a follower measures, by its own monotonic clock, how long the
//! Lease has not changed; the leader measures from the sending of its last renewal that was
//! accepted. A leader therefore stops before anybody can have taken over. The deciding part
//! ([`Observer`]) is pure, and so are the [`record`] and the rule of its [duration](whole_seconds);
//! [`lead`] carries out.

mod duration;
mod history;
pub mod record;

use std::time::{Duration, Instant};

pub use duration::{DurationError, whole_seconds};
pub use history::History;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::call::{Failure, within};
use crate::class::Class;

/// How long a call may take at the end.
const LAST_CALL: Duration = Duration::from_secs(1);

/// Which Lease to hold, and how.
#[derive(Clone, Debug)]
pub struct LeaseSettings {
    pub namespace: String,
    pub name: String,
    /// Who we are; unique among the replicas and over restarts.
    pub identity: String,
    /// How long a Lease may stay unrenewed before others take it.
    pub duration: Duration,
    /// How often to renew, and to look.
    pub every: Duration,
}

/// What to do about the Lease as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is none: create it.
    Create,
    /// It is ours: renew it.
    Renew,
    /// It is free, or its holder has been silent for its whole duration: take it.
    Take,
    /// Somebody else holds it.
    Follow,
}

/// Watches one Lease by a monotonic clock.
#[derive(Debug, Default)]
pub struct Observer {
    seen: Option<(String, Instant)>,
}

impl Observer {
    /// What `identity` should do, having read `lease` at `now`.
    pub fn step(&mut self, lease: Option<&Lease>, identity: &str, now: Instant) -> Step {
        let Some(lease) = lease else {
            return Step::Create;
        };
        match record::holder(lease) {
            None => return Step::Take,
            Some(holder) if holder == identity => return Step::Renew,
            Some(_) => {}
        }
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        let since = match &self.seen {
            Some((seen, since)) if *seen == version => *since,
            _ => {
                self.seen = Some((version, now));
                now
            }
        };
        let seconds = lease.spec.as_ref().and_then(|s| s.lease_duration_seconds);
        let seconds = seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or(15);
        if now.duration_since(since) > Duration::from_secs(seconds) {
            Step::Take
        } else {
            Step::Follow
        }
    }
}

/// Takes part in the election until the token is cancelled; the receiver says whether we lead.
///
/// The Lease is released on the way out, so that the next leader need not wait. `went_back` is
/// cancelled when the API server shows a past that was over: what is known of it is worth nothing.
#[must_use]
pub fn lead(
    client: Client,
    settings: LeaseSettings,
    token: CancellationToken,
    went_back: CancellationToken,
) -> (watch::Receiver<bool>, JoinHandle<()>) {
    let (sender, receiver) = watch::channel(false);
    let task = tokio::spawn(async move {
        let api = Api::<Lease>::namespaced(client, &settings.namespace);
        let mut candidate = Candidate {
            api,
            settings,
            observer: Observer::default(),
            history: History::default(),
            went_back,
            deadline: None,
        };
        loop {
            let leads = candidate.turn().await;
            if sender.send_replace(leads) != leads {
                tracing::info!(lease = %candidate.settings.name, leads, "leadership");
            }
            if token
                .run_until_cancelled(tokio::time::sleep(candidate.settings.every))
                .await
                .is_none()
            {
                break;
            }
        }
        if sender.send_replace(false) {
            candidate.release().await;
        }
    });
    (receiver, task)
}

struct Candidate {
    api: Api<Lease>,
    settings: LeaseSettings,
    observer: Observer,
    history: History,
    went_back: CancellationToken,
    /// Until when we lead if no further renewal is accepted.
    deadline: Option<Instant>,
}

impl Candidate {
    /// One look at the Lease and what follows from it; whether we lead afterwards.
    async fn turn(&mut self) -> bool {
        // A call that outlives the deadline must not keep a dead leader leading.
        let limit = self.deadline.map_or(self.settings.duration, |d| {
            d.saturating_duration_since(Instant::now())
        });
        let sent = Instant::now();
        match tokio::time::timeout(limit.max(Duration::from_millis(100)), self.attempt(sent)).await
        {
            Ok(Ok(true)) => self.deadline = Some(sent + self.margin()),
            Ok(Ok(false)) => self.deadline = None,
            Ok(Err(error)) if Class::of(&error) == Class::Conflict => self.deadline = None,
            Ok(Err(error)) => tracing::warn!(lease = %self.settings.name, %error, "lease"),
            Err(_) => tracing::warn!(lease = %self.settings.name, "lease: no answer in time"),
        }
        self.deadline
            .is_some_and(|deadline| Instant::now() < deadline)
    }

    /// Two thirds of the duration: the rest is for clocks that run at different speeds.
    fn margin(&self) -> Duration {
        self.settings.duration * 2 / 3
    }

    async fn attempt(&mut self, now: Instant) -> Result<bool, kube::Error> {
        let lease = self.api.get_opt(&self.settings.name).await?;
        if let Some(lease) = &lease
            && self.is_past(lease)
        {
            return Ok(false);
        }
        let written = match self
            .observer
            .step(lease.as_ref(), &self.settings.identity, now)
        {
            Step::Follow => return Ok(false),
            Step::Create => {
                self.api
                    .create(&PostParams::default(), &self.record(None))
                    .await?
            }
            Step::Renew | Step::Take => {
                self.api
                    .replace(
                        &self.settings.name,
                        &PostParams::default(),
                        &self.record(lease),
                    )
                    .await?
            }
        };
        Ok(!self.is_past(&written))
    }

    /// Whether the Lease is an older one than was seen before: a read goes to the database, so that
    /// no cache explains it.
    fn is_past(&mut self, lease: &Lease) -> bool {
        let version = lease.metadata.resource_version.as_deref();
        let past = version.is_some_and(|version| self.history.goes_back(version));
        if past {
            self.went_back.cancel();
        }
        past
    }

    /// The Lease with us as its holder.
    fn record(&self, before: Option<Lease>) -> Lease {
        let LeaseSettings {
            name,
            identity,
            duration,
            ..
        } = &self.settings;
        record::held(before, name, identity, *duration, Timestamp::now())
    }

    async fn release(&mut self) {
        let LeaseSettings { name, identity, .. } = &self.settings;
        if let Err(error) = give_up(&self.api, name, identity, LAST_CALL).await {
            tracing::warn!(lease = %name, %error, "lease was not released");
        }
    }
}

/// Empties the Lease if `identity` holds it, so that whoever comes next need not wait. Each of the
/// two calls may take `patience`.
///
/// # Errors
/// When a call fails, or somebody wrote in between; the Lease then runs out by itself.
pub async fn give_up(
    api: &Api<Lease>,
    name: &str,
    identity: &str,
    patience: Duration,
) -> Result<(), Failure> {
    let lease = within(patience, api.get_opt(name)).await?;
    if let Some(lease) = lease.filter(|lease| record::holder(lease) == Some(identity)) {
        let (params, empty) = (PostParams::default(), record::emptied(lease));
        within(patience, api.replace(name, &params, &empty)).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::coordination::v1::LeaseSpec;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
    use kube::api::ObjectMeta;

    use super::*;

    fn lease(holder: &str, version: &str) -> Lease {
        Lease {
            metadata: ObjectMeta {
                resource_version: Some(version.to_owned()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: (!holder.is_empty()).then(|| holder.to_owned()),
                lease_duration_seconds: Some(15),
                // A clock that is wrong by half a century.
                renew_time: Some(MicroTime(Timestamp::from_second(10).unwrap())),
                ..LeaseSpec::default()
            }),
        }
    }

    #[test]
    fn a_free_lease_is_taken_at_once_and_our_own_is_renewed() {
        let now = Instant::now();
        let mut observer = Observer::default();
        assert_eq!(observer.step(None, "me", now), Step::Create);
        assert_eq!(observer.step(Some(&lease("", "1")), "me", now), Step::Take);
        assert_eq!(
            observer.step(Some(&lease("me", "2")), "me", now),
            Step::Renew
        );
    }

    #[test]
    fn a_holder_is_followed_until_its_lease_has_not_changed_for_its_whole_duration() {
        let start = Instant::now();
        let mut observer = Observer::default();
        assert_eq!(
            observer.step(Some(&lease("other", "1")), "me", start),
            Step::Follow
        );
        let later = start + Duration::from_secs(14);
        assert_eq!(
            observer.step(Some(&lease("other", "2")), "me", later),
            Step::Follow
        );
        assert_eq!(
            observer.step(
                Some(&lease("other", "2")),
                "me",
                later + Duration::from_secs(15)
            ),
            Step::Follow
        );
        assert_eq!(
            observer.step(
                Some(&lease("other", "2")),
                "me",
                later + Duration::from_secs(16)
            ),
            Step::Take
        );
    }
}
