//! The task that owns the director: loads it when it is first wanted, attaches, applies.
//!
//! A node where it cannot be loaded, or must not be, says so and goes on: its traffic takes the kernel's path, and
//! nothing an earlier process left attached stands in the way, for nobody would keep its tables right. What is
//! programmed stays when this process ends, so that a restart drops nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use landfall_bpf_lb::{AttachMode, Director, LoadError, Sampler, Settings, Verdict};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::channel::{Disbelieved, Entries, Going, Numbered};
use super::{DataPath, DirectorNews, RunsOn};
use crate::model::XdpState;
use lingering::Lingering;
use watched::Watched;
use work::{Outcome, Work};

mod answers;
mod lingering;
mod watched;
mod work;

/// Between two looks at what is: what failed is tried again, and connections that are over are taken out.
const AGAIN: Duration = Duration::from_secs(10);
/// Between two words to the programs that their tables are those of now: they believe it for a second.
const FEED: Duration = Duration::from_millis(250);

/// Whether and how the director is used on this node.
#[derive(Clone, Debug)]
pub struct DirectorSettings {
    /// Sizes and the pin directory.
    pub load: Settings,
    /// Where to attach; `None`: never. What an earlier process left serves what it has to its end.
    pub mode: Option<AttachMode>,
}

impl DirectorSettings {
    /// What others are told before anything is loaded. What an earlier process left runs.
    #[must_use]
    pub fn at_start(&self) -> DirectorNews {
        let left_on = Director::left_on(&self.load);
        DirectorNews {
            drains_on: left_on.clone(),
            ..DirectorNews::of(match self.mode {
                _ if left_on.is_empty() => self.at_rest(),
                Some(_) => XdpState::Ready,
                None => XdpState::Draining,
            })
        }
    }

    /// Whether there is anything to keep, and be it for what an earlier process left.
    fn may_load(&self) -> bool {
        self.mode.is_some() || !Director::left_on(&self.load).is_empty()
    }

    /// What others are told while nothing is loaded.
    #[must_use]
    pub const fn at_rest(&self) -> XdpState {
        if self.mode.is_some() {
            XdpState::Off
        } else {
            XdpState::Disabled
        }
    }
}

/// A view of the director for metrics and `/debug/state`; clones share it.
///
/// Loading takes as long as the verifier does, so whoever looks never waits for the one who works: the status has a
/// lock of its own, and counters that cannot be read now are those read last.
#[derive(Clone, Default)]
pub struct DirectorView {
    work: Arc<Mutex<Work>>,
    status: Arc<Mutex<DirectorStatus>>,
    counted: Arc<Mutex<Vec<(Verdict, u64)>>>,
    disbelieved: Disbelieved,
}

/// How the director is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct DirectorStatus {
    /// In a word.
    pub state: XdpState,
    /// Interfaces it runs on: name and path (native, native-frags, tc, generic).
    pub interfaces: BTreeMap<String, String>,
    /// Why it is not in the driver of those where that was wanted.
    pub why_generic: BTreeMap<String, String>,
    /// What does not work, in words.
    pub problems: Vec<String>,
    /// Frontends in the maps.
    pub frontends: usize,
    /// Backends in the maps.
    pub backends: usize,
    /// Frontends left to the kernel.
    pub refused: usize,
    /// How many of them for which reason.
    pub why_refused: BTreeMap<String, usize>,
    /// Connections of this node's pods.
    pub connections: usize,
    /// Connections that were opened at them two seconds ago or more, and that no reply has been seen of.
    pub unanswered: usize,
    /// Those of them whose slots are other nodes' now.
    pub owed: usize,
    /// Those of them that it serves to their end, and takes no new ones beside.
    pub draining: usize,
    /// Connections of other nodes' pods whose slots are this node's.
    pub kept: usize,
    /// Entries of half-open connections that came since it was loaded: two for one of a pod, one for one of the kernel.
    pub half_open_inserted: u64,
    /// Those that went since then because others needed their room.
    pub half_open_evicted: u64,
}

/// What the director says of connections whose slots went elsewhere, and what it is told.
pub struct Moved {
    /// Connections of this node's pods in slots of others.
    pub owed: watch::Sender<Arc<Entries>>,
    /// Connections of others in slots of this node.
    pub kept: watch::Receiver<Numbered>,
    /// The last of those that the programs know, or need not, there being none.
    pub known: watch::Sender<u64>,
    /// Frontends that are going, and the other nodes that have pods of them.
    pub going: watch::Sender<Arc<Going>>,
    /// Connections of others that the programs know from an earlier process.
    pub restored: watch::Sender<Arc<Entries>>,
}

impl DirectorStatus {
    /// The same interfaces, as others are told.
    #[must_use]
    pub fn runs_on(&self) -> BTreeMap<String, RunsOn> {
        let on = |(name, path): (&String, &String)| {
            let runs = RunsOn {
                path: path.clone(),
                why_generic: self.why_generic.get(name).cloned(),
            };
            (name.clone(), runs)
        };
        self.interfaces.iter().map(on).collect()
    }

    /// What a person should know although it works, and what does not.
    #[must_use]
    pub fn details(&self) -> Vec<String> {
        let generic = self.why_generic.iter();
        let generic = generic.map(|(name, why)| format!("in the network stack on {name}: {why}"));
        let refused = self.why_refused.iter();
        let refused =
            refused.map(|(why, count)| format!("{count} frontends are left to the kernel: {why}"));
        let problems = self.problems.iter().cloned();
        problems.chain(generic).chain(refused).collect()
    }
}

impl DirectorView {
    /// How it is doing.
    #[must_use]
    pub fn status(&self) -> DirectorStatus {
        self.status.lock().clone()
    }

    /// What other nodes say of connections, and is not believed.
    #[must_use]
    pub const fn disbelieved(&self) -> &Disbelieved {
        &self.disbelieved
    }

    /// Packets by verdict; nothing while it is not loaded.
    pub fn counters(&self) -> Vec<(Verdict, u64)> {
        let mut counted = self.counted.lock();
        if let Some(work) = self.work.try_lock() {
            let counters = work.director.as_ref().map(Director::counters);
            *counted = counters.and_then(Result::ok).unwrap_or_default();
        }
        counted.clone()
    }

    /// Carries out what is wanted, and says how it went. Blocks.
    fn carry_out(&self, settings: &DirectorSettings, path: &DataPath) -> Outcome {
        let before = self.status();
        let outcome = self.work.lock().carry_out(settings, path, &before);
        self.status.lock().clone_from(&outcome.status);
        outcome
    }

    /// Tells the programs that their tables are those of now.
    fn feed(&self) {
        if let Some(mut work) = self.work.try_lock()
            && let Some(director) = &mut work.director
            && let Err(error) = director.feed()
        {
            tracing::debug!(%error, "the programs could not be told that they are kept");
        }
    }

    /// Whether somebody looks at packets, and whether samples are taken; nothing while that cannot be told.
    fn watched(&self) -> Option<(bool, bool)> {
        let work = self.work.try_lock()?;
        let director = work.director.as_ref()?;
        Some((director.is_watched(), director.takes_samples()))
    }

    /// Has the programs take samples. Blocks.
    fn take_samples(&self, sampler: Sampler) -> Result<(), LoadError> {
        let mut work = self.work.lock();
        let director = work.director.as_mut();
        director.map_or(Ok(()), |director| director.take_samples(sampler))
    }

    /// Has them take none. Blocks.
    fn take_no_samples(&self) -> Result<(), LoadError> {
        let mut work = self.work.lock();
        let director = work.director.as_mut();
        director.map_or(Ok(()), Director::take_no_samples)
    }

    /// Has the programs know just these connections of other nodes, and says whether they do. Blocks.
    fn keep(&self, kept: &Entries) -> bool {
        let mut work = self.work.lock();
        let result = work.director.as_mut().map(|director| director.keep(kept));
        let mut status = self.status.lock();
        status.kept = kept.len();
        let Some(Err(error)) = result else {
            return true;
        };
        // The next turn says it again, if it still is so.
        status.problems.push(with_causes(&error));
        false
    }
}

/// Carries out what is wanted, once the cluster's seed is known, and tells its state, until the token is cancelled.
pub async fn run(
    mut settings: DirectorSettings,
    mut seed: watch::Receiver<Option<u64>>,
    mut wanted: watch::Receiver<Option<Arc<DataPath>>>,
    view: DirectorView,
    news: watch::Sender<DirectorNews>,
    mut moved: Moved,
    token: CancellationToken,
) {
    // With another seed this node would choose other pods than the rest. What is never loaded needs none.
    if settings.may_load() {
        let waiting =
            "waiting for the uid of the namespace kube-system, by which all nodes choose alike";
        view.status.lock().problems = vec![waiting.to_owned()];
        let found = tokio::select! {
            () = token.cancelled() => return,
            found = seed.wait_for(Option::is_some) => found.ok().and_then(|found| *found),
        };
        let Some(found) = found else { return };
        settings.load.seed = found;
        view.status.lock().problems.clear();
    }
    let mut lingering = Lingering::default();
    let mut watched = Watched::default();
    let mut feed = tokio::time::interval(FEED);
    feed.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let path = wanted.borrow_and_update().clone();
        let mut again = None;
        if let Some(path) = path {
            let (view, settings) = (view.clone(), settings.clone());
            let kept = moved.kept.borrow_and_update().clone();
            let carried = tokio::task::spawn_blocking(move || {
                let outcome = view.carry_out(&settings, &path);
                // What an earlier process was told is not to be forgotten before its tellers were heard.
                let keeps = outcome.restored.is_empty();
                let knows = keeps && view.keep(&kept.entries);
                (outcome, knows)
            });
            let Ok((outcome, knows)) = carried.await else {
                tracing::error!("the director's task ended in a panic");
                return;
            };
            if knows {
                moved.known.send_replace(kept.number);
            }
            again = outcome.must_look_again().then_some(AGAIN);
            let mut said = outcome.news();
            if again.is_none() {
                // Nobody would look when it is over.
                lingering = Lingering::default();
            }
            said.carries = said
                .carries
                .map(|found| lingering.say(found, Instant::now()));
            tell(&moved.going, Arc::new(outcome.going()));
            tell(&moved.owed, Arc::new(outcome.owed));
            tell(&moved.restored, Arc::new(outcome.restored));
            tell(&news, said);
        }
        let mut again = std::pin::pin!(sleep(again));
        loop {
            tokio::select! {
                () = token.cancelled() => return,
                changed = wanted.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                () = &mut again => break,
                _ = feed.tick() => {
                    view.feed();
                    if watched.turn(&view, &settings.load).await {
                        break;
                    }
                }
                changed = moved.kept.changed() => match changed {
                    Ok(()) => keep(&view, &mut moved).await,
                    Err(_) => return,
                }
            }
        }
    }
}

fn tell<T: PartialEq>(told: &watch::Sender<T>, news: T) {
    told.send_if_modified(|told| {
        let is_news = *told != news;
        *told = news;
        is_news
    });
}

/// Has the programs know what others have told, without looking at anything else.
async fn keep(view: &DirectorView, moved: &mut Moved) {
    let (view, kept) = (view.clone(), moved.kept.borrow_and_update().clone());
    let entries = kept.entries;
    // What found no room is not confirmed, and told again.
    if let Ok(true) = tokio::task::spawn_blocking(move || view.keep(&entries)).await {
        moved.known.send_replace(kept.number);
    }
}

async fn sleep(pause: Option<Duration>) {
    match pause {
        Some(pause) => tokio::time::sleep(pause).await,
        None => std::future::pending().await,
    }
}

/// An error with everything that led to it.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}
