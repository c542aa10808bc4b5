//! Carrying out a probe: the pure timetable of [`crate::wire::probe`] on the ports it needs.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::broadcast;

use super::Event;
use super::state::{Pair, Shared};
use crate::link::{IfIndex, Mac};
use crate::wire::announce::question;
use crate::wire::probe::{Probe, Step};

/// How long the ports may take to open.
const OPENING: Duration = Duration::from_secs(2);

/// What a probe found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// Nobody answered.
    Clear,
    /// Somebody has the address.
    Conflict {
        /// Where they answered.
        ifindex: IfIndex,
        /// Who.
        mac: Mac,
    },
    /// It could not be asked on any of the interfaces: none is usable.
    NotAsked,
}

/// Keeps the address among the probed ones for as long as it lives.
struct Asking<'a> {
    shared: &'a Shared,
    pairs: Vec<Pair>,
}

impl<'a> Asking<'a> {
    fn begin(shared: &'a Shared, pairs: Vec<Pair>) -> Self {
        shared.update(|state| state.begin_probe(&pairs));
        Self { shared, pairs }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.shared.update(|state| state.end_probe(&self.pairs));
    }
}

pub(super) async fn probe(
    shared: &Arc<Shared>,
    address: IpAddr,
    interfaces: BTreeSet<IfIndex>,
) -> ProbeOutcome {
    let mut events = shared.events.subscribe();
    let _asking = Asking::begin(
        shared,
        interfaces
            .iter()
            .map(|ifindex| (address, *ifindex))
            .collect(),
    );
    let mut ports = shared.ports.subscribe();
    let open = ports.wait_for(|ports| interfaces.iter().all(|ifindex| ports.contains_key(ifindex)));
    // What is not open by then is left out.
    let _ = tokio::time::timeout(OPENING, open)
        .await
        .map(|result| result.map(|_| ()));
    let mut timetable = Probe::new(shared.settings.probe, Instant::now());
    let mut asked = false;
    loop {
        let until = match timetable.step(Instant::now()) {
            Step::Ask => {
                for port in shared
                    .ports
                    .borrow()
                    .values()
                    .filter(|port| interfaces.contains(&port.ifindex))
                {
                    port.send(question(address));
                    asked = true;
                }
                continue;
            }
            Step::Wait(until) => until,
            Step::Clear if asked => return ProbeOutcome::Clear,
            Step::Clear => return ProbeOutcome::NotAsked,
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
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
        }
    }
}
