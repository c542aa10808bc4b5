//! Puts the director up, lets it drain, takes it down.
//!
//! Invariant: what is not wanted any more is taken down only once nobody has a connection that comes by it, or it could
//! not be kept right.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Instant;

use landfall_bpf_lb::desired::Frontend;
use landfall_bpf_lb::{AttachMode, Director, Leaving, Settings, Verdict};

use super::answers::{Answers, Look};
use super::{DirectorSettings, DirectorStatus, with_causes};
use crate::dataplane::channel::{Entries, Going};
use crate::dataplane::{DataPath, DirectorNews, LeftToKernel};
use crate::link::IfIndex;
use crate::model::XdpState;

/// What is loaded.
#[derive(Default)]
pub(super) struct Work {
    pub(super) director: Option<Director>,
    /// What it left to the kernel when it last could tell.
    refused: LeftToKernel,
    answers: Answers,
}

/// What became of what was wanted.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) status: DirectorStatus,
    /// Connections of this node's pods in slots of others.
    pub(super) owed: Entries,
    /// Frontends that are kept for their connections alone.
    leaving: BTreeMap<Frontend, Leaving>,
    /// Addresses that this node's pods have connections of, as far as others must know; `None` if that could not be found out.
    carries: Option<BTreeSet<IpAddr>>,
    /// The interfaces that the programs are on meanwhile.
    drains_on: BTreeSet<IfIndex>,
    /// What is left to the kernel, and why.
    refused: LeftToKernel,
    /// Connections of other nodes, as they were told to an earlier process.
    pub(super) restored: Entries,
}

impl Outcome {
    pub(super) fn must_look_again(&self) -> bool {
        let runs = !matches!(self.status.state, XdpState::Off | XdpState::Disabled);
        runs || !self.leaving.is_empty() || !self.status.problems.is_empty()
    }

    pub(super) fn news(&self) -> DirectorNews {
        DirectorNews {
            state: self.status.state,
            carries: self.carries.clone(),
            drains_on: self.drains_on.clone(),
            runs_on: self.status.runs_on(),
            refused: self.refused.clone(),
        }
    }

    pub(super) fn going(&self) -> Going {
        let leaving = self.leaving.iter();
        leaving
            .map(|(frontend, leaving)| (*frontend, leaving.nodes.clone()))
            .collect()
    }
}

impl Work {
    /// Carries out what is wanted, and says how it went. Blocks.
    pub(super) fn carry_out(
        &mut self,
        settings: &DirectorSettings,
        path: &DataPath,
        before: &DirectorStatus,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        let is_wanted = !path.desired.interfaces.is_empty();
        match settings.mode.filter(|_| is_wanted) {
            Some(mode) => {
                self.put_up(settings, mode, path, before, &mut outcome);
            }
            None => {
                let is_there =
                    self.director.is_some() || !Director::left_on(&settings.load).is_empty();
                if is_there && self.drain(settings, path, before, &mut outcome) {
                    outcome.status.state = XdpState::Draining;
                } else {
                    self.take_down(settings, &mut outcome.status);
                    outcome.owed.clear();
                    outcome.drains_on.clear();
                    outcome.carries = Some(BTreeSet::new());
                    outcome.status.state = settings.at_rest();
                }
            }
        }
        if is_wanted && settings.mode.is_none() {
            let problem = "--xdp-mode=off: XDP policies take the kernel's path here";
            outcome.status.problems.push(problem.into());
        }
        let status = &outcome.status;
        for problem in status
            .problems
            .iter()
            .filter(|p| !before.problems.contains(p))
        {
            tracing::warn!(problem, "XDP director");
        }
        if status.problems.is_empty() && status.interfaces != before.interfaces {
            tracing::info!(interfaces = ?status.interfaces, "XDP director attached");
        }
        outcome
    }

    /// Lets what is open live to its end; whether anything is, or cannot be told.
    fn drain(
        &mut self,
        settings: &DirectorSettings,
        path: &DataPath,
        before: &DirectorStatus,
        outcome: &mut Outcome,
    ) -> bool {
        let path = without_frontends(path);
        let mode = settings.mode.unwrap_or_default();
        let is_told = self.put_up(settings, mode, &path, before, outcome);
        let Some(director) = &self.director else {
            return false;
        };
        outcome.drains_on = director.interfaces().unwrap_or_default();
        !(is_told && outcome.leaving.is_empty())
    }

    /// Nothing of it stays on the node, also not from an earlier process.
    fn take_down(&mut self, settings: &DirectorSettings, status: &mut DirectorStatus) {
        let pins = &settings.load.pin_dir;
        let attached =
            std::fs::read_dir(pins.join("links")).is_ok_and(|mut links| links.next().is_some());
        if self.director.take().is_none() && !pins.join("maps").exists() {
            return;
        }
        match Director::remove(&settings.load) {
            Ok(()) if attached => tracing::info!("XDP director removed from this node"),
            Ok(()) => {}
            Err(error) => status
                .problems
                .push(format!("removing the director: {error}")),
        }
    }

    /// Whether the programs know what is wanted now.
    fn put_up(
        &mut self,
        settings: &DirectorSettings,
        mode: AttachMode,
        path: &DataPath,
        before: &DirectorStatus,
        outcome: &mut Outcome,
    ) -> bool {
        let status = &mut outcome.status;
        if self.director.is_none() {
            let load = Settings {
                attach: mode,
                ..settings.load.clone()
            };
            match Director::load(&load) {
                Ok(mut director) => {
                    match director.kept() {
                        Ok(kept) => outcome.restored = kept,
                        Err(error) => status.problems.push(with_causes(&error)),
                    }
                    self.director = Some(director);
                }
                Err(error) => {
                    self.take_down(settings, status);
                    status.state = XdpState::Failed;
                    let chain = with_causes(&error);
                    status
                        .problems
                        .push(format!("cannot be loaded on this node: {chain}"));
                    return false;
                }
            }
        }
        let Some(director) = &mut self.director else {
            return false;
        };
        let applied = director.apply(&path.desired);
        let is_told = applied.is_ok();
        match applied {
            Ok(applied) => {
                status.frontends = applied.frontends;
                status.backends = applied.backends;
                status.refused = applied.refused.len();
                for (frontend, refusal) in applied.refused {
                    let why = refusal.describe().to_owned();
                    *status.why_refused.entry(why).or_default() += 1;
                    let of_address = outcome.refused.entry(frontend.address).or_default();
                    of_address.insert((frontend.port, frontend.protocol), refusal);
                }
                self.refused.clone_from(&outcome.refused);
                for (ifindex, attached) in &applied.interfaces {
                    let name = &path.desired.interfaces[ifindex].name;
                    let path = attached.path.to_string();
                    status.interfaces.insert(name.clone(), path);
                    let why = attached.why_generic.iter();
                    let why = why.map(|why| (name.clone(), why.clone()));
                    status.why_generic.extend(why);
                }
                for error in &applied.problems {
                    status.problems.push(with_causes(error));
                }
                if let Some(error) = &applied.unlearned {
                    let problem = "what the kernel carries is not known in full, and such connections to what is served from now on break";
                    status.problems.push(format!("{problem}: {error}"));
                }
                if !applied.draining.is_empty() {
                    status.draining = applied.draining.values().map(|leaving| leaving.here).sum();
                    outcome.drains_on = director.interfaces().unwrap_or_default();
                }
                outcome.leaving = applied.draining;
                outcome.carries = Some(applied.carried);
            }
            Err(error) => {
                status.problems.push(with_causes(&error));
                // What is attached serves on as it did, and what it left to the kernel is the kernel's: it is the news
                // that could not be told.
                status.refused = before.refused;
                status.why_refused.clone_from(&before.why_refused);
                outcome.refused.clone_from(&self.refused);
                let attached = director.interfaces().unwrap_or_default();
                let still = path.desired.interfaces.iter();
                let still = still.filter(|(ifindex, _)| attached.contains(ifindex));
                status.interfaces.extend(still.filter_map(|(_, interface)| {
                    let name = &interface.name;
                    Some((name.clone(), before.interfaces.get(name)?.clone()))
                }));
                let why = before.why_generic.iter();
                let why = why.filter(|(name, _)| status.interfaces.contains_key(*name));
                let why = why.map(|(name, why)| (name.clone(), why.clone()));
                status.why_generic.extend(why);
            }
        }
        // Before the sweep, which takes its time: other nodes have their new tables too.
        match director.owed() {
            Ok(owed) => outcome.owed = owed,
            Err(error) => status.problems.push(with_causes(&error)),
        }
        status.owed = outcome.owed.len();
        match director
            .sweep()
            .and_then(|swept| Ok((swept, director.counters()?)))
        {
            Ok((swept, counters)) => {
                status.connections = swept.connections;
                status.unanswered = swept.unanswered;
                status.half_open_inserted = swept.half_open_inserted;
                status.half_open_evicted = swept.half_open_evicted;
                let replies = counters
                    .into_iter()
                    .find(|(verdict, _)| *verdict == Verdict::ReplyRewritten);
                let look = Look {
                    unanswered: swept.unanswered,
                    lately: swept.unanswered_lately,
                    replies: replies.map_or(0, |(_, count)| count),
                };
                let problem = self.answers.look(look, Instant::now());
                status.problems.extend(problem.map(str::to_owned));
            }
            Err(error) => {
                status.half_open_inserted = before.half_open_inserted;
                status.half_open_evicted = before.half_open_evicted;
                status.problems.push(with_causes(&error));
            }
        }
        status.state = if status.interfaces.is_empty() {
            XdpState::Failed
        } else {
            XdpState::Ready
        };
        is_told
    }
}

/// The same nodes, and nothing that would be served.
fn without_frontends(path: &DataPath) -> DataPath {
    let mut path = path.clone();
    path.desired.interfaces.clear();
    path.desired.frontends.clear();
    path
}
