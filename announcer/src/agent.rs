//! The agent: one loop that takes everything in, lets the brain decide, and has it carried out.
//!
//! ```text
//!  watches ─┐                 ┌─► responder (addresses, deadline, peers)
//!  session ─┤ Input   Effects ├─► session   (what to publish)
//!  peers   ─┤                 ├─► peers     (who is where, whose session is whose, until when answers are allowed)
//!  links   ─┼───────► Brain ──┼─► director  (data path)
//!  director ┤                 ├─► writers   (owner records, expiries, conditions, Events) ─┐
//!  outcomes ┘◄────────────────┴───────────────────────────────────────────────────────────┘
//! ```
//!
//! The invariant: there is one brain, every input passes through its one queue, and the responder's table is put in
//! force before any write that gives an address away is sent, and before peers are told that this node answers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use landfall_election::peers::{Body, Event};
use parking_lot::Mutex;
use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::brain::{Brain, Effects, Heartbeats, Input, Notice, ProbeNews, Summary};
use crate::clock;
use crate::cluster::Writer;
use crate::dataplane::{DataPath, DirectorNews};
use crate::election::{Elsewhere, Now};
use crate::link::{IfIndex, LinkTable, Neighbours};
use crate::model::Published;
use crate::names::{NodeName, SessionId};
use crate::peers::{Command, Peers};
use crate::report::Conflict;
use crate::responder::{self, ProbeOutcome, Responder};

/// Inputs that come within this time of the last decision are decided on together; where deciding is quick, within less.
/// What presses does not wait ([`Brain::is_pressing`]).
const TOGETHER: Duration = Duration::from_millis(100);
/// After a decision the thread rests for so many times what it took, up to [`TOGETHER`], and for as long as it took where
/// that is longer; but never for longer than [`LONGEST_REST`]. While a thousand records change their owner each node is told
/// of every one: what a node spends on them is taken from its Pods.
const REST: u32 = 39;
/// As long as a decision took, up to this, the thread rests before any other.
const SOON: Duration = Duration::from_millis(5);
/// A decision that takes long, on a machine that is busy, must not be followed by so long a rest that the peers' thread
/// takes this half for stuck.
const LONGEST_REST: Duration = Duration::from_millis(200);
/// How long peers may have to wait for the word that this node answers, because its kernel is not ready for the questions,
/// where an owner is gone: others might take over as well.
const UNTOLD: Duration = Duration::from_millis(100);
/// And where the record says that this node has it: the owner before may still be answering, and stops at this word, or at
/// the end of its hand-over (two seconds).
const HANDED: Duration = Duration::from_secs(1);

/// What people and metrics see is copied for them no more often: every copy has all addresses.
const SHOWN: Duration = Duration::from_millis(100);

/// So many inputs are taken in before the next decision, however many more there are: while lists come in, as after an
/// outage, peers must not have to wait for the word that this node is at work.
const MOST_AT_ONCE: usize = 1_024;

/// How long handing everything over may take.
const FAREWELL: Duration = Duration::from_secs(10);

/// What the agent works with.
pub struct Parts {
    /// Answers on the wire.
    pub responder: Responder,
    pub links: watch::Receiver<Arc<LinkTable>>,
    pub neighbours: Neighbours,
    pub director: watch::Receiver<DirectorNews>,
    /// Requests to the API server.
    pub writer: Writer,
    /// Heartbeats. Their thread has the permit.
    pub peers: Peers,
    pub reports: mpsc::UnboundedReceiver<Input>,
    /// Sessions of this node that peers have ended.
    pub over: watch::Sender<Option<SessionId>>,
    /// Sessions that other machines go on with by this node's name.
    pub elsewhere: watch::Sender<Elsewhere>,
    pub published: watch::Sender<Option<Published>>,
    /// Nodes whose renewals are watched.
    pub watched: watch::Sender<BTreeSet<NodeName>>,
    pub data_path: watch::Sender<Option<Arc<DataPath>>>,
    /// From the last heartbeat of silent nodes to the first answer of this one.
    pub silences: Histogram,
    /// For metrics and `/debug/state`.
    pub summary: Arc<Mutex<Summary>>,
    /// The queue's other end, for what the shell itself begins.
    pub inputs: mpsc::Sender<Input>,
}

/// Runs the brain until the token is cancelled and everything was handed over, or nobody took it in time.
pub async fn run(
    mut brain: Brain,
    mut parts: Parts,
    mut inputs: mpsc::Receiver<Input>,
    token: CancellationToken,
) {
    let mut neighbours = parts.neighbours.watch();
    let mut events = parts.responder.events();
    let mut wake_at: Option<Instant> = None;
    let (mut ready, mut rested) = (Instant::now(), Instant::now());
    let mut show_at = Instant::now();
    let mut leave_by: Option<Instant> = None;
    let links = parts.links.borrow_and_update().clone();
    let director = parts.director.borrow_and_update().clone();
    brain.take(Input::Director(director), clock::now());
    brain.take(Input::Links(links), clock::now());
    loop {
        let input = tokio::select! {
            input = inputs.recv() => match input {
                Some(input) => Some(input),
                None => return,
            },
            Some(report) = parts.reports.recv() => Some(report),
            () = news(&mut parts.links) => {
                Some(Input::Links(parts.links.borrow_and_update().clone()))
            }
            () = news(&mut neighbours) => {
                Some(Input::Neighbours(neighbours.borrow_and_update().clone()))
            }
            () = news(&mut parts.director) => {
                Some(Input::Director(parts.director.borrow_and_update().clone()))
            }
            event = events.recv() => conflict(event, &parts.links.borrow()),
            () = token.cancelled(), if leave_by.is_none() => {
                leave_by = Some(Instant::now() + FAREWELL);
                Some(Input::Leave)
            }
            () = until(wake_at) => None,
        };
        // What the brain itself put off can wait for that long: of a thousand addresses some is always due.
        let presses = input.as_ref().is_some_and(|input| brain.is_pressing(input));
        brain.take_all(input, &mut inputs, clock::now());
        // Others on this thread have their turn, whatever presses.
        tokio::time::sleep_until(ready).await;
        if !presses {
            // Together with what comes right behind; but never later than that.
            parts.rest_until(rested, &mut brain).await;
        }
        brain.take_all(None, &mut inputs, clock::now());
        for _ in 0..MOST_AT_ONCE {
            let Ok(report) = parts.reports.try_recv() else {
                break;
            };
            brain.take(report, clock::now());
        }
        let began = Instant::now();
        let now = clock::now();
        let effects = brain.step(now, &Time(Timestamp::now()));
        let (woken, has_left, in_vain) = (effects.wake_at, effects.has_left, effects.in_vain);
        parts.carry_out(effects);
        let mut woken = woken.map(clock::timer);
        if Instant::now() >= show_at {
            show(&parts.summary, brain.summary(now));
            show_at = Instant::now() + SHOWN;
        } else {
            woken = Some(woken.map_or(show_at, |at| at.min(show_at)));
        }
        let took = began.elapsed();
        ready = Instant::now() + took.min(SOON);
        rested = Instant::now() + rest(took);
        wake_at = woken;
        if let Some(by) = leave_by {
            if has_left || in_vain || Instant::now() >= by {
                return parts.farewell(has_left);
            }
            wake_at = Some(wake_at.map_or(by, |at| at.min(by)));
        }
    }
}

impl Brain {
    fn take_all(&mut self, first: Option<Input>, inputs: &mut mpsc::Receiver<Input>, now: Now) {
        if let Some(input) = first {
            self.take(input, now);
        }
        for _ in 0..MOST_AT_ONCE {
            let Ok(input) = inputs.try_recv() else {
                break;
            };
            self.take(input, now);
        }
    }
}

/// How long to wait after a decision that took so long.
fn rest(took: Duration) -> Duration {
    (took * REST).min(TOGETHER.max(took.min(LONGEST_REST)))
}

/// Where somebody is just looking, who may have to wait for a processor meanwhile, the next turn shows it.
fn show(shown: &Mutex<Summary>, summary: Summary) {
    if let Some(mut shown) = shown.try_lock() {
        *shown = summary;
    }
}

impl Parts {
    /// Until then, or until something comes that does not wait.
    async fn rest_until(&mut self, rested: Instant, brain: &mut Brain) {
        loop {
            let input = tokio::select! {
                () = tokio::time::sleep_until(rested) => return,
                Some(report) = self.reports.recv() => report,
                () = news(&mut self.links) => Input::Links(self.links.borrow_and_update().clone()),
            };
            let presses = brain.is_pressing(&input);
            brain.take(input, clock::now());
            if presses {
                return;
            }
        }
    }

    /// The table first: a write that gives an address away must find this node quiet already.
    fn carry_out(&self, effects: Effects) {
        self.responder.set_peers(effects.peers);
        self.responder.set_owned(effects.owned);
        self.responder.set_ready(effects.ready);
        self.responder.announce_again(&effects.announce);
        let deadline = Command::Deadline {
            session: effects.deadline.unwrap_or_default(),
            allowed: effects.allowed,
        };
        self.tell_peers(effects.heartbeats, effects.to_peers, deadline);
        // Before it begins another session.
        for (session, lives) in effects.elsewhere {
            self.elsewhere
                .send_modify(|known| known.note(session, lives));
        }
        if effects.session_over.is_some() {
            self.over.send_replace(effects.session_over);
        }
        self.measure(effects.taken_over);
        self.responder.set_periods(effects.periods);
        if let Some(published) = effects.published {
            self.published.send_if_modified(|known| {
                let changed = known.as_ref() != Some(&published);
                *known = Some(published);
                changed
            });
        }
        self.watched.send_if_modified(|known| {
            let changed = *known != effects.watched;
            *known = effects.watched;
            changed
        });
        if let Some(path) = effects.data_path {
            self.neighbours.track(path.track.clone());
            self.data_path.send_replace(Some(path));
        }
        for job in effects.jobs {
            self.writer.send(job);
        }
        for notice in effects.notices {
            log(&notice);
            self.writer.notify(notice);
        }
        for (address, interfaces) in effects.probes {
            self.probe(address, interfaces);
        }
    }

    /// What this node answers for is told once it does: an owner that gives an address away stops when it hears of it.
    fn tell_peers(&self, heartbeats: Option<Heartbeats>, events: Vec<Event>, deadline: Command) {
        let is_claim = |event: &Event| matches!(event, Event::Say(_, Body::Claims(_)));
        let is_on_record = |event: &Event| matches!(event, Event::Say(_, Body::Claims(titles)) if titles.iter().all(|title| title.written));
        let (claims, events): (Vec<Event>, Vec<Event>) = if self.responder.is_in_force() {
            (Vec::new(), events)
        } else {
            events.into_iter().partition(is_claim)
        };
        if !claims.is_empty() {
            let (responder, peers) = (self.responder.clone(), self.peers.clone());
            let longest = if claims.iter().all(is_on_record) {
                HANDED
            } else {
                UNTOLD
            };
            tokio::spawn(async move {
                // A claim is told in any case: others go by it.
                let _ = tokio::time::timeout(longest, responder.in_force()).await;
                peers.tell(claims.into_iter().map(Command::Learn));
            });
        }
        let mut commands = Vec::new();
        if let Some(heartbeats) = heartbeats {
            let Heartbeats {
                segments,
                nodes,
                keys,
                known,
            } = heartbeats;
            commands.push(Command::Segments(segments));
            commands.push(Command::Nodes(nodes));
            commands.push(Command::Others(keys));
            commands.push(Command::Learn(Event::Known(known)));
        }
        commands.extend(events.into_iter().map(Command::Learn));
        commands.push(deadline);
        self.peers.tell(commands);
    }

    /// What was taken over is answered for once the kernel hands the questions over.
    fn measure(&self, heard_at: Vec<Now>) {
        if heard_at.is_empty() {
            return;
        }
        let (responder, silences) = (self.responder.clone(), self.silences.clone());
        tokio::spawn(async move {
            responder.in_force().await;
            let now = clock::now();
            for at in heard_at {
                silences.observe(now.saturating_sub(at).as_secs_f64());
            }
        });
    }

    fn probe(&self, address: IpAddr, interfaces: BTreeSet<IfIndex>) {
        let (responder, inputs) = (self.responder.clone(), self.inputs.clone());
        let links = self.links.clone();
        tokio::spawn(async move {
            let news = match responder.probe(address, interfaces).await {
                ProbeOutcome::Clear => ProbeNews::Clear,
                ProbeOutcome::NotAsked => ProbeNews::Unable,
                ProbeOutcome::Conflict { ifindex, mac } => {
                    let interface = name_of(&links.borrow(), ifindex);
                    ProbeNews::Taken(Conflict {
                        mac,
                        interface,
                        at_probe: true,
                    })
                }
            };
            // The agent being gone, nobody needs to know.
            let _ = inputs.send(Input::Probed(address, news)).await;
        });
    }

    fn farewell(&self, has_left: bool) {
        self.responder.set_owned(BTreeMap::new());
        if has_left {
            tracing::info!("every address is in other hands");
        } else {
            tracing::warn!("stopping although addresses could not be handed over");
            // It is silent from now on, and not once its session is given up: peers take over from whoever is silent.
            self.peers.tell([Command::Learn(Event::Lost)]);
        }
    }
}

fn conflict(
    event: Result<responder::Event, broadcast::error::RecvError>,
    links: &LinkTable,
) -> Option<Input> {
    match event.ok()? {
        responder::Event::Conflict {
            address,
            ifindex,
            mac,
        } => {
            let interface = name_of(links, ifindex);
            let conflict = Conflict {
                mac,
                interface,
                at_probe: false,
            };
            Some(Input::Conflict(address, conflict))
        }
        responder::Event::PortFailed { ifindex, error } => {
            let interface = name_of(links, ifindex);
            tracing::warn!(interface, error, "interface cannot be listened on");
            Some(Input::Unavailable(ifindex))
        }
        responder::Event::ProbeAnswered { .. } => None,
    }
}

/// As loud in the log as on the objects it is about.
fn log(notice: &Notice) {
    let Notice { reason, note, .. } = notice;
    if notice.warning {
        tracing::warn!(reason, "{note}");
    } else {
        tracing::info!(reason, "{note}");
    }
}

fn name_of(links: &LinkTable, ifindex: IfIndex) -> String {
    links
        .links
        .get(&ifindex)
        .map_or_else(|| format!("#{ifindex}"), |link| link.name.clone())
}

/// Waits for something new; for ever when there will be nothing more.
async fn news<T>(receiver: &mut watch::Receiver<T>) {
    if receiver.changed().await.is_err() {
        std::future::pending().await
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::election::owners::Settings;
    use crate::testing::secs;

    #[test]
    fn what_is_a_warning_on_an_object_is_one_in_the_log() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(std::sync::Mutex::new(writer))
            .with_ansi(false)
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            for (warning, reason) in [(true, "AddressConflict"), (false, "Announced")] {
                let note = "192.0.2.10".to_owned();
                let subjects = Vec::new();
                log(&Notice {
                    subjects,
                    warning,
                    reason,
                    note,
                });
            }
        });
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[0].contains("WARN") && lines[0].contains("AddressConflict"),
            "{text}"
        );
        assert!(
            lines[1].contains("INFO") && lines[1].contains("Announced"),
            "{text}"
        );
    }

    #[test]
    fn who_looks_at_the_state_holds_nobody_up() {
        let shown = Mutex::new(Summary::default());
        let of = |conflicts_seen| Summary {
            conflicts_seen,
            ..Summary::default()
        };
        let looking = shown.lock();
        show(&shown, of(1));
        drop(looking);
        assert_eq!(shown.lock().conflicts_seen, 0);
        show(&shown, of(2));
        assert_eq!(shown.lock().conflicts_seen, 2, "the next turn shows it");
    }

    #[test]
    fn a_decision_is_followed_by_a_rest_that_is_never_long() {
        let millis = Duration::from_millis;
        assert_eq!(
            rest(Duration::from_micros(100)),
            Duration::from_micros(3_900)
        );
        assert_eq!(rest(millis(3)), TOGETHER);
        assert_eq!(rest(millis(150)), millis(150));
        assert_eq!(rest(millis(900)), LONGEST_REST);
    }

    #[test]
    fn however_much_comes_in_there_is_a_decision_in_between() {
        let mut brain = Brain::new(NodeName::new("n1"), Settings::for_duration(secs(15)));
        let (sender, mut inputs) = mpsc::channel(3 * MOST_AT_ONCE);
        for _ in 0..2 * MOST_AT_ONCE {
            sender.try_send(Input::HeardFrom(None)).unwrap();
        }
        brain.take_all(None, &mut inputs, secs(1));
        assert_eq!(inputs.len(), MOST_AT_ONCE);
    }
}
