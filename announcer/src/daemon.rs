//! The process: which tasks there are, in which order they start and end.
//!
//! ```text
//!  start: guard ► links, neighbours, responder ► heartbeats, watches, session, director ► agent, admin port
//!  stop:  not ready ► agent hands over ► answers end ► session given up ► the rest
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use kube::{Client, Config};
use landfall_runtime::admin::{self, Admin};
use landfall_runtime::readiness::Readiness;
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::agent::{self, Parts};
use crate::brain::{Brain, Summary};
use crate::cluster::{WatchErrors, WriteFailures, Writer, connect, watch_history};
use crate::cpu_limit;
use crate::dataplane::channel::{self, Numbered};
use crate::dataplane::director::{self, DirectorView, Moved};
use crate::dataplane::seed;
use crate::election::Elsewhere;
use crate::link::scheduling::Priority;
use crate::link::{Neighbours, monitor};
use crate::metrics::{self, Sources};
use crate::peers::{self, KeyFiles, Peers};
use crate::responder::Responder;
use crate::session::{Guard, Session};
use crate::settings::Settings;
use crate::urgent;

/// Inputs that may wait for the brain; watches wait when it is full.
const QUEUE: usize = 4096;

/// How long the last requests may take at the end.
const LAST_WORDS: Duration = Duration::from_secs(5);

const CACHES: &str = "caches";
const SESSION: &str = "session";
const DIRECTOR: &str = "director";
const HEARTBEATS: &str = "heartbeats";

/// A timer of the heartbeats that rings so late is worth a word: half of what a peer forgives.
const LATE: Duration = Duration::from_millis(75);

/// Takes what the director left pinned off this node. No announcer may run on it: it would put it back.
///
/// # Errors
/// What cannot be taken off, and why.
pub fn remove_programs(settings: &Settings) -> anyhow::Result<()> {
    let load = &settings.director.load;
    landfall_bpf_lb::Director::remove(load)
        .with_context(|| format!("removing what is pinned below {}", load.pin_dir.display()))?;
    tracing::info!(pins = %load.pin_dir.display(), "XDP director removed from this node");
    Ok(())
}

/// Runs until the token is cancelled and everything is handed over.
///
/// # Errors
/// When a part cannot be started.
pub async fn run(settings: Settings, token: CancellationToken) -> anyhow::Result<()> {
    let readiness = Readiness::waiting_for(&[CACHES, SESSION]);
    // Everything that must go on while addresses are handed over ends with this one.
    let end = CancellationToken::new();
    let _end = end.clone().drop_guard();
    let client = client().await?;
    let (inputs, queue) = mpsc::channel(QUEUE);
    let summary = Arc::new(Mutex::new(Summary::default()));
    let watch_errors = WatchErrors::default();
    let write_failures = WriteFailures::default();
    let view = DirectorView::default();
    let heartbeats = peers::View::default();

    let (mut links, _links_task) = monitor(end.clone());
    let (neighbours, _neighbours_task) = Neighbours::start(end.clone());
    let urgent = |name| {
        let thread = urgent::start(name, end.clone());
        thread.with_context(|| format!("starting the thread of the {name}"))
    };
    let responder = {
        let thread = urgent("responder")?;
        let _on_it = thread.enter();
        Responder::start(settings.responder, links.clone(), end.clone())
    };

    let silences = metrics::silences();
    let sources = Sources {
        summary: summary.clone(),
        responder: responder.clone(),
        director: view.clone(),
        heartbeats: heartbeats.clone(),
        silences: silences.clone(),
        watch_errors: watch_errors.clone(),
        write_failures: write_failures.clone(),
    };
    let mut registry = metrics::registry(sources);
    landfall_runtime::process::register(&mut registry, env!("CARGO_PKG_VERSION"));
    let admin = Admin {
        readiness: readiness.clone(),
        registry,
        state: state_of(summary.clone(), view.clone(), heartbeats.clone()),
    };
    let admin = tokio::spawn(admin::serve(
        settings.admin,
        admin,
        client.clone(),
        end.clone(),
    ));
    tokio::spawn(watch_readiness(
        readiness.clone(),
        summary.clone(),
        view.clone(),
        heartbeats.clone(),
        end.clone(),
    ));

    // From here on this process may answer: no other may run on this node.
    let guard = Guard::take(&settings.node, &token)
        .await
        .context("claiming this node")?;
    let Some(_guard) = guard else { return Ok(()) };
    // The first dump of interfaces; it comes at once or never.
    let _ = tokio::time::timeout(Duration::from_secs(5), links.changed()).await;

    let (peers, said) = Peers::start(
        settings.node.clone(),
        settings.heartbeats,
        responder.clone(),
        heartbeats.clone(),
    )
    .context("starting the thread of the heartbeats")?;
    // Connections of its own: never behind anybody else's requests.
    tokio::spawn(peers::run_lane(
        self::client().await?,
        settings.session.namespace.clone(),
        settings.node.clone(),
        peers.clone(),
        said.wanted,
        inputs.clone(),
        end.clone(),
    ));
    let (ring, keys) = watch::channel(None);
    tokio::spawn(peers::follow_keys(
        KeyFiles::new(&settings.peer_keys),
        client.clone(),
        peers.clone(),
        heartbeats,
        inputs.clone(),
        ring,
        end.clone(),
    ));

    let (over, over_receiver) = watch::channel(None);
    let (elsewhere, elsewhere_receiver) = watch::channel(Elsewhere::default());
    let (published, published_receiver) = watch::channel(None);
    let (data_path, data_path_receiver) = watch::channel(None);
    let (director_state, director_receiver) = watch::channel(settings.director.at_start());
    let namespace = settings.session.namespace.clone();
    let (histories, history) = watch::channel(0);
    let (watched, watched_receiver) = watch::channel(BTreeSet::new());
    tokio::spawn(watch_history(
        client.clone(),
        namespace.clone(),
        watched_receiver,
        inputs.clone(),
        watch_errors.clone(),
        history,
        end.clone(),
    ));
    let writer = Writer::new(
        client.clone(),
        namespace,
        settings.pod.clone(),
        settings.node.clone(),
        inputs.clone(),
        write_failures,
    );
    let (owed, owed_receiver) = watch::channel(Arc::default());
    let (kept, kept_receiver) = watch::channel(Numbered::default());
    let (known, known_receiver) = watch::channel(0);
    let (going, going_receiver) = watch::channel(Arc::default());
    let (restored, restored_receiver) = watch::channel(Arc::default());
    tokio::spawn(channel::run(
        channel::Ends {
            keys,
            paths: data_path_receiver.clone(),
            owed: owed_receiver,
            kept,
            known: known_receiver,
            going: going_receiver,
            restored: restored_receiver,
            disbelieved: view.disbelieved().clone(),
        },
        end.clone(),
    ));
    let (found, cluster_seed) = watch::channel(None);
    tokio::spawn(seed::find(client.clone(), found, end.clone()));
    let director = director::run(
        settings.director,
        cluster_seed,
        data_path_receiver,
        view,
        director_state,
        Moved {
            owed,
            kept: kept_receiver,
            known,
            going,
            restored,
        },
        end.clone(),
    );
    tokio::spawn(director);
    let session_end = CancellationToken::new();
    let session = Session::new(
        client,
        settings.session,
        inputs.clone(),
        published_receiver,
        (over_receiver, elsewhere_receiver),
        histories,
    );
    let session = tokio::spawn(session.run(session_end.clone()));

    let parts = Parts {
        responder,
        links,
        neighbours,
        director: director_receiver,
        writer: writer.clone(),
        peers,
        reports: said.reports,
        over,
        elsewhere,
        published,
        watched,
        data_path,
        silences,
        summary,
        inputs,
    };
    let brain = Brain::new(settings.node, settings.election)
        .with_plain_interfaces(settings.plain_interfaces);
    let agent = urgent("agent")?.spawn(agent::run(brain, parts, queue, token.clone()));
    tokio::select! {
        ended = agent => ended.context("the agent ended in a panic")?,
        ended = admin => ended.context("the admin port ended in a panic")??,
    }
    readiness.not_ready(SESSION, "stopping");
    let last_words = async {
        writer.finish().await;
        session_end.cancel();
        session.await
    };
    if tokio::time::timeout(LAST_WORDS, last_words).await.is_err() {
        tracing::warn!("the session could not be given up in time; it will run out");
    }
    tracing::info!("stopped");
    Ok(())
}

async fn client() -> anyhow::Result<Client> {
    connect(Config::infer().await.context("finding the API server")?)
}

/// Says what is not ready; nothing else decides by it.
async fn watch_readiness(
    readiness: Readiness,
    summary: Arc<Mutex<Summary>>,
    view: DirectorView,
    heartbeats: peers::View,
    end: CancellationToken,
) {
    let mut every = tokio::time::interval(Duration::from_millis(500));
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            _ = every.tick() => {}
        }
        let (waiting, session, namesake) = {
            let summary = summary.lock();
            // Before the first decision there is no summary either.
            let fresh = summary.live.is_empty() && summary.session.is_none();
            let waiting = summary.waiting_for.clone();
            (
                if fresh && waiting.is_empty() {
                    vec!["the first lists"]
                } else {
                    waiting
                },
                summary.session_remaining_seconds > 0.0,
                summary.namesake.clone(),
            )
        };
        if waiting.is_empty() || session {
            readiness.ready(CACHES);
        } else {
            readiness.not_ready(CACHES, format!("waiting for {}", waiting.join(", ")));
        }
        if session {
            readiness.ready(SESSION);
        } else if let Some(namesake) = namesake {
            readiness.not_ready(
                SESSION,
                format!("another machine has the name of this node, and holds its session Lease ({namesake})"),
            );
        } else {
            readiness.not_ready(
                SESSION,
                "this node has no live session and answers for nothing",
            );
        }
        let status = view.status();
        match status.details() {
            details if details.is_empty() => readiness.ready(DIRECTOR),
            // It works in the network stack too, or the kernel path serves instead: a detail to read, not a reason to
            // be replaced.
            details => readiness.ready_without(DIRECTOR, details.join("; ")),
        }
        // A node's death is noticed when its session ends, as ever: a detail to read, too.
        match heartbeat_details(&heartbeats.status(), cpu_limit::read()) {
            details if details.is_empty() => readiness.ready(HEARTBEATS),
            details => readiness.ready_without(HEARTBEATS, details.join("; ")),
        }
    }
}

/// What a person should know of them, and of the limit on this process's processor time.
fn heartbeat_details(status: &peers::PeersStatus, limit: Option<f64>) -> Vec<String> {
    let mut details = status.problems.clone();
    if !status.speaks {
        return details;
    }
    if status.priority != Priority::RealTime {
        details.push(format!("their priority is {}", status.priority));
    }
    if let Some(limit) = limit {
        details.push(format!(
            "the kernel lets this process have {limit} processors at most: over that they are late, whatever their priority; \
             take the CPU limit from the container"
        ));
    }
    if status.late > LATE {
        details.push(format!("their timer was {:?} late", status.late));
    }
    if status.interval > status.asked_interval {
        let (interval, asked) = (status.interval, status.asked_interval);
        details.push(format!(
            "they are {interval:?} apart instead of {asked:?}: {}",
            peers::STRETCHED
        ));
    }
    if status.stuck {
        details.push("held back, for the brain or the responder makes no progress".to_owned());
    }
    details
}

fn state_of(
    summary: Arc<Mutex<Summary>>,
    view: DirectorView,
    heartbeats: peers::View,
) -> Box<dyn Fn() -> serde_json::Value + Send + Sync> {
    Box::new(move || {
        let summary = summary.lock().clone();
        json!({"agent": summary, "director": view.status(), "heartbeats": heartbeats.status()})
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_limit_is_said_with_the_heartbeats_that_it_makes_late() {
        let status = peers::PeersStatus {
            speaks: true,
            priority: Priority::RealTime,
            ..peers::PeersStatus::default()
        };
        assert_eq!(heartbeat_details(&status, None), Vec::<String>::new());
        let [said] = &heartbeat_details(&status, Some(0.2))[..] else {
            panic!("not said");
        };
        assert!(said.contains("0.2 processors"), "{said}");
    }
}
