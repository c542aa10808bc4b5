//! Putting it together: watches, leader, dispatcher, pools, Events, admin port.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use kube::Client;
use landfall_runtime::admin::{self, Admin};
use landfall_runtime::events::Events;
use landfall_runtime::lease;
use landfall_runtime::readiness::Readiness;
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::dispatch::Dispatcher;
use crate::metrics::Metrics;
use crate::settings::Settings;
use crate::state::State;
use crate::{orphans, peer_key, pool, tell, watch as watches};

/// How many Events may wait to be written.
const EVENTS: usize = 1024;

/// How long the last of them are waited for at the end.
const LAST_EVENTS: Duration = Duration::from_secs(5);

/// Why a controller ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was asked to.
    Stopped,
    /// The API server shows a past that was over, as after a restore from an older copy: its watches
    /// wait for versions that are gone, and what it knows is of a world that is no more.
    WentBack,
}

/// Runs the controller until the token is cancelled; it knows nothing any more and begins anew
/// whenever history goes back.
///
/// # Errors
/// When the admin port cannot be served.
pub async fn run(
    client: Client,
    settings: Settings,
    admin: Option<admin::Settings>,
    token: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        let (client, settings, admin) = (client.clone(), settings.clone(), admin.clone());
        let round = run_with(client, settings, admin, token.clone(), Arc::default());
        match round.await? {
            End::Stopped => return Ok(()),
            End::WentBack => {
                tracing::warn!(
                    "the API server shows a past that was over, as after a restore from an older copy: \
                     starting over from what it has"
                );
            }
        }
    }
}

/// One life on a state that others can look at.
///
/// # Errors
/// As for [`run`].
pub async fn run_with(
    client: Client,
    settings: Settings,
    admin: Option<admin::Settings>,
    token: CancellationToken,
    state: Arc<State>,
) -> anyhow::Result<End> {
    let settings = Arc::new(settings);
    // What ends with this life; nothing of it may be left when the next one begins.
    let token = token.child_token();
    let went_back = end_with_history(&token);
    let _end = token.clone().drop_guard();
    let readiness = Readiness::waiting_for(&watches::KINDS);
    let mut registry = Registry::default();
    landfall_runtime::process::register(&mut registry, env!("CARGO_PKG_VERSION"));
    let metrics = Metrics::register(&mut registry, &state);
    let (events, mut notes) = mpsc::channel(EVENTS);
    let context = Context {
        client: client.clone(),
        state: Arc::clone(&state),
        settings: Arc::clone(&settings),
        metrics,
        events,
    };

    let admin = admin.map(|settings| {
        let shown = Arc::clone(&state);
        let admin = Admin {
            readiness: readiness.clone(),
            registry,
            state: Box::new(move || debug(&shown)),
        };
        tokio::spawn(admin::serve(settings, admin, client.clone(), token.clone()))
    });
    let publisher = Events::new(
        client.clone(),
        "landfall-controller",
        settings.identity.clone(),
    );
    let publishing = tokio::spawn(async move {
        while let Some((regarding, note, at)) = notes.recv().await {
            if let Err(error) = publisher.publish(regarding, note, at).await {
                tracing::warn!(%error, "Event not written");
            }
        }
    });

    // Of several replicas the first makes it; it does not wait for a leader.
    if let Some(lease) = &settings.lease {
        let namespace = lease.namespace.clone();
        tokio::spawn(peer_key::keep(client.clone(), namespace, token.clone()));
    }
    let mut synced = watches::start(&client, &state, &settings, &readiness, &token);
    let all = synced.wait_for(|count| *count == watches::KINDS.len());
    if token.run_until_cancelled(all).await.is_some() {
        tracing::info!("everything has been seen once");
        // The Lease is asked for only now: a leader has something to lead.
        let (lease_token, leads, election) = elect(&client, &settings, &went_back);
        let work = async {
            tokio::join!(
                Dispatcher::new(context.clone(), settings.parallel)
                    .run(leads.clone(), token.clone()),
                pool::run(context.clone(), leads.clone(), token.clone()),
                tell::run(context.clone(), leads.clone(), token.clone()),
                orphans::run(context.clone(), leads.clone(), token.clone()),
            );
        };
        work.await;
        lease_token.cancel();
        if let Some(election) = election {
            election.await.context("leader election")?;
        }
    }
    drop(context);
    last_events(publishing).await.context("Events")?;
    if let Some(admin) = admin {
        admin.await.context("admin port")??;
    }
    Ok(if went_back.is_cancelled() {
        End::WentBack
    } else {
        End::Stopped
    })
}

/// Everything ends when history goes back.
fn end_with_history(token: &CancellationToken) -> CancellationToken {
    let went_back = CancellationToken::new();
    let (noticed, token) = (went_back.clone(), token.clone());
    tokio::spawn(async move {
        let noticed = token.run_until_cancelled(noticed.cancelled());
        if noticed.await.is_some() {
            token.cancel();
        }
    });
    went_back
}

/// Waits for the Events that are still to be written, but not for ever: they are never worth a
/// shutdown that is killed.
async fn last_events(mut publishing: JoinHandle<()>) -> Result<(), JoinError> {
    match tokio::time::timeout(LAST_EVENTS, &mut publishing).await {
        Ok(ended) => ended,
        Err(_) => {
            publishing.abort();
            tracing::warn!(after = ?LAST_EVENTS, "the last Events are given up");
            Ok(())
        }
    }
}

type Election = (
    CancellationToken,
    watch::Receiver<bool>,
    Option<JoinHandle<()>>,
);

/// Leadership, by Lease or by decree. It ends after the work, so that nobody takes over too early.
fn elect(client: &Client, settings: &Settings, went_back: &CancellationToken) -> Election {
    let token = CancellationToken::new();
    match &settings.lease {
        Some(lease) => {
            let (leads, task) = lease::lead(
                client.clone(),
                lease.clone(),
                token.clone(),
                went_back.clone(),
            );
            (token, leads, Some(task))
        }
        None => {
            let (sender, leads) = watch::channel(true);
            let held = token.clone();
            let task = tokio::spawn(async move {
                held.cancelled().await;
                drop(sender);
            });
            (token, leads, Some(task))
        }
    }
}

/// What `/debug/state` shows.
fn debug(state: &State) -> serde_json::Value {
    let cache = state.lock();
    let index = &cache.index;
    let records: Vec<_> = index
        .entries()
        .map(|(at, entry)| {
            json!({
                "address": at.address(),
                "holders": entry.services().map(|key| key.to_string()).collect::<Vec<_>>(),
                "written": entry.stored.as_ref().map(|stored| &stored.spec) == entry.want.as_ref(),
            })
        })
        .collect();
    json!({
        "leads": cache.open.leads,
        "atRest": cache.at_rest(),
        "open": {
            "services": cache.open.services.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "failing": cache.open.failing.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "pools": cache.open.pools.iter().map(ToString::to_string).collect::<Vec<_>>(),
        },
        "services": index.services().len(),
        "pools": cache.pools.keys().map(ToString::to_string).collect::<Vec<_>>(),
        "waiting": index.waiting().iter().map(|queued| queued.key.to_string()).collect::<Vec<_>>(),
        "records": records,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn events_that_cannot_be_written_delay_the_end_by_a_few_seconds_only() {
        let began = tokio::time::Instant::now();
        last_events(tokio::spawn(std::future::pending()))
            .await
            .unwrap();
        assert_eq!(began.elapsed(), LAST_EVENTS);
        let quick = tokio::time::Instant::now();
        last_events(tokio::spawn(async {})).await.unwrap();
        assert_eq!(quick.elapsed(), Duration::ZERO);
    }
}
