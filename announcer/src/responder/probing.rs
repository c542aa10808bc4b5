//! Carrying out a probe: the pure timetable of [`landfall_wire::probe`] on the ports it needs.
//!
//! Invariant: an address is only clear when every interface was listened on from before the first question to the end,
//! and was asked.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use landfall_wire::Mac;
use landfall_wire::announce::question;
use landfall_wire::probe::{Probe, Step};
use tokio::sync::broadcast;

use super::Event;
use super::port::Port;
use super::state::{Listening, Pair, Shared};
use crate::link::IfIndex;

/// How long the ports may take to open.
const OPENING: Duration = Duration::from_secs(2);

/// What a probe found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// Nobody answered.
    Clear,
    /// Somebody has the address.
    Conflict {
        ifindex: IfIndex,
        /// Who.
        mac: Mac,
    },
    /// It could not be asked, or not be listened, on each of the interfaces: nothing is known.
    NotAsked,
}

/// Keeps the address among the probed ones for as long as it lives.
struct Asking<'a> {
    shared: &'a Shared,
    pairs: Vec<Pair>,
    /// Of the state with the address in it.
    generation: u64,
}

impl<'a> Asking<'a> {
    fn begin(shared: &'a Shared, pairs: Vec<Pair>) -> Self {
        let generation = shared.update(|state| state.begin_probe(&pairs));
        Self {
            shared,
            pairs,
            generation,
        }
    }

    /// Waits until the supervisor has put the address into the filters of every port.
    async fn heard(&self) -> Option<BTreeMap<IfIndex, Asked>> {
        let mut listening = self.shared.ports.subscribe();
        let wait = listening.wait_for(|listening| {
            let is_open = |pair: &Pair| listening.ports.contains_key(&pair.1);
            listening.generation >= self.generation && self.pairs.iter().all(is_open)
        });
        let listening = tokio::time::timeout(OPENING, wait).await.ok()?.ok()?;
        let port = |pair: &Pair| Some((pair.1, Asked::not_yet(listening.ports.get(&pair.1)?)));
        self.pairs.iter().map(port).collect()
    }
}

/// A port, and whether a question has left through it.
struct Asked {
    port: Arc<Port>,
    asked: bool,
}

impl Asked {
    fn not_yet(port: &Arc<Port>) -> Self {
        Self {
            port: Arc::clone(port),
            asked: false,
        }
    }

    /// Whether it is still the one that is listened on.
    fn is_open(&self, listening: &Listening) -> bool {
        let now = listening.ports.get(&self.port.ifindex);
        now.is_some_and(|now| Arc::ptr_eq(now, &self.port))
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let _ = self.shared.update(|state| state.end_probe(&self.pairs));
    }
}

pub(super) async fn probe(
    shared: &Arc<Shared>,
    address: IpAddr,
    interfaces: BTreeSet<IfIndex>,
) -> ProbeOutcome {
    let mut events = shared.events.subscribe();
    let pairs = interfaces.iter().map(|ifindex| (address, *ifindex));
    let asking = Asking::begin(shared, pairs.collect());
    let Some(mut ports) = asking.heard().await else {
        return ProbeOutcome::NotAsked;
    };
    let mut timetable = Probe::new(shared.settings.probe, Instant::now());
    loop {
        let until = match timetable.step(Instant::now()) {
            Step::Ask => {
                for Asked { port, asked } in ports.values_mut() {
                    *asked |= port.send(question(address)).is_ok();
                }
                continue;
            }
            Step::Wait(until) => until,
            Step::Clear => {
                let listening = shared.ports.borrow();
                let heard = |asked: &Asked| asked.asked && asked.is_open(&listening);
                return if !ports.is_empty() && ports.values().all(heard) {
                    ProbeOutcome::Clear
                } else {
                    ProbeOutcome::NotAsked
                };
            }
        };
        if let Ok(outcome) =
            tokio::time::timeout_at(until.into(), answered(&mut events, address, &interfaces)).await
        {
            return outcome;
        }
    }
}

/// Waits for somebody to claim the address.
async fn answered(
    events: &mut broadcast::Receiver<Event>,
    address: IpAddr,
    interfaces: &BTreeSet<IfIndex>,
) -> ProbeOutcome {
    loop {
        match events.recv().await {
            Ok(
                Event::ProbeAnswered {
                    address: claimed,
                    ifindex,
                    mac,
                }
                | Event::Conflict {
                    address: claimed,
                    ifindex,
                    mac,
                },
            ) if claimed == address && interfaces.contains(&ifindex) => {
                return ProbeOutcome::Conflict { ifindex, mac };
            }
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            // The claim may have been among the events that are lost.
            Err(broadcast::error::RecvError::Lagged(_)) => return ProbeOutcome::NotAsked,
            Ok(_) => {}
        }
    }
}
