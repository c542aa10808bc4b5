//! The responder: answers on the wire for the addresses this node owns, and tells the segment about them.
//!
//! It is the I/O shell around [`landfall_wire`]: sockets on the interfaces that are needed, the owned table, the session's
//! deadline, counters. It is not: who owns what (the election decides), nor which interfaces a policy allows.
//!
//! ```text
//!  set_owned ─► State ──watch──► supervisor: opens and closes ports, joins groups, announces
//!  set_deadline ─┐      └──────► listeners (two threads a port): receive ─► wire::decide ─► send
//!                └─ checked for every frame that leaves on behalf of an owned address
//! ```
//!
//! Invariant: no answer and no announcement leaves after the deadline, nor for an address that has been taken out of
//! the table, from the moment the one who took it out goes on; no bytes received can stop a listener. On the answering
//! path nothing is allocated.

mod claimants;
mod counters;
mod limit;
mod listener;
mod membership;
mod permit;
mod port;
mod probing;
mod snapshot;
mod state;
mod supervisor;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use landfall_wire::Mac;
use landfall_wire::probe::Timing;
use landfall_wire::schedule::Pace;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::election::Now;
use crate::link::{IfIndex, LinkTable};

pub use counters::InterfaceSnapshot;
pub use limit::Rate;
pub use permit::Permit;
pub use probing::ProbeOutcome;
pub use snapshot::Snapshot;

use state::Shared;

/// What has been asked about an address before it is taken away is answered first; nobody waits longer for that. When one
/// node hands an address over to another, both answer for so much longer at the most.
const UNREAD: Duration = Duration::from_millis(5);

/// How fast and how patient.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Announcing.
    pub pace: Pace,
    /// Probing before a first claim.
    pub probe: Timing,
    /// Answers to one source.
    pub answers: Rate,
    /// Frames looked at, on all interfaces together, an equal part of them on each socket: what comes faster is left out by
    /// the kernel, those who behave last. It bounds what a flood costs, whoever it pretends to come from.
    pub frames: Rate,
    /// Which filter the kernel applies before a frame wakes a listener.
    pub filter: Filter,
}

/// The kernel's filter of a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Filter {
    /// eBPF over a map of the addresses where that is permitted, else the classic one.
    #[default]
    Best,
    Classic,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            pace: Pace::default(),
            probe: Timing::default(),
            answers: Rate {
                per_second: 1_000,
                burst: 2_000,
            },
            // Times the 30 µs that a frame may cost: a quarter of one core.
            frames: Rate {
                per_second: 8_000,
                burst: 2_000,
            },
            filter: Filter::default(),
        }
    }
}

/// Something the rest of the announcer should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A host that is no peer claims an address this node owns. At most one a second for an address and interface, and of
    /// several hosts the same one while it is there.
    Conflict {
        address: IpAddr,
        /// Where it was seen.
        ifindex: IfIndex,
        mac: Mac,
    },
    /// A host that is no peer claims an address that is being probed.
    ProbeAnswered {
        address: IpAddr,
        /// Where it was seen.
        ifindex: IfIndex,
        mac: Mac,
    },
    /// The sockets of an interface could not be opened; it is tried again.
    PortFailed {
        ifindex: IfIndex,
        /// What the operating system said.
        error: String,
    },
}

/// A running responder. Clones are handles to the same one.
#[derive(Clone, Debug)]
pub struct Responder {
    shared: Arc<Shared>,
}

impl Responder {
    /// Starts on the current runtime, owning nothing, until the token is cancelled. Nothing is answered before the
    /// first [`Responder::set_deadline`].
    #[must_use]
    pub fn start(
        settings: Settings,
        links: watch::Receiver<Arc<LinkTable>>,
        token: CancellationToken,
    ) -> Self {
        let shared = Arc::new(Shared::new(settings, links));
        tokio::spawn(supervisor::run(Arc::clone(&shared), token));
        Self { shared }
    }

    /// The whole table of what this node owns, and on which interfaces. What is new is announced; what is not in it
    /// any more is not answered from the moment this returns. Before, this blocks up to [`UNREAD`] for what has been
    /// asked already: the next owner may not have heard that.
    pub fn set_owned(&self, owned: BTreeMap<IpAddr, BTreeSet<IfIndex>>) {
        let until = Instant::now() + UNREAD;
        while self.shared.is_behind(&owned) && Instant::now() < until {
            std::thread::sleep(UNREAD / 50);
        }
        self.shared.update(|state| state.set_owned(owned));
    }

    /// Whether the kernel hands over every question about what is owned by now.
    #[must_use]
    pub fn is_in_force(&self) -> bool {
        self.shared.ports.borrow().generation >= self.shared.state.borrow().generation
    }

    /// Waits until the kernel hands over every question about what is owned by now.
    pub async fn in_force(&self) {
        let wanted = self.shared.state.borrow().generation;
        let mut ports = self.shared.ports.subscribe();
        // The sender is in `shared`: it cannot be gone.
        let _ = ports
            .wait_for(|listening| listening.generation >= wanted)
            .await;
    }

    /// Announces those of these addresses that are owned anew: somebody else was heard to answer for them.
    pub fn announce_again(&self, addresses: &BTreeSet<IpAddr>) {
        if !addresses.is_empty() {
            self.shared.update(|state| state.arrive_again(addresses));
        }
    }

    /// Until when this node may answer, by [`clock::now`]. A deadline that comes after the last one has
    /// passed lets everything owned be announced anew.
    pub fn set_deadline(&self, deadline: Now) {
        if self.shared.permit.set(deadline, clock::now()) {
            self.shared.update(|state| state.revive());
        }
    }

    /// Interfaces to listen on although nothing is owned there yet: whoever takes over does not open sockets first.
    pub fn set_ready(&self, ready: BTreeSet<IfIndex>) {
        self.shared.update(|state| state.set_ready(ready));
    }

    /// The Ethernet addresses of the other announcers on the segment: what they claim is no conflict.
    pub fn set_peers(&self, peers: BTreeSet<Mac>) {
        self.shared.update(|state| state.set_peers(peers));
    }

    /// Which addresses are announced again and again, and how often. What is not owned is not announced all the same.
    pub fn set_periods(&self, periods: BTreeMap<IpAddr, Duration>) {
        self.shared.update(|state| state.set_periods(periods));
    }

    /// Asks on all of these interfaces whether anybody else has the address. For the first claim of an address that
    /// nobody owned; it takes as long as [`Settings::probe`] says.
    pub async fn probe(&self, address: IpAddr, interfaces: BTreeSet<IfIndex>) -> ProbeOutcome {
        probing::probe(&self.shared, address, interfaces).await
    }

    /// What happens from now on.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.shared.events.subscribe()
    }

    /// The interfaces on which frames are received now. An owned address whose interface is missing is not answered.
    #[must_use]
    pub fn listening(&self) -> BTreeSet<IfIndex> {
        self.shared.ports.borrow().ports.keys().copied().collect()
    }

    /// Waits until frames are received on the interface. It must be owned or probed on, or it never is.
    pub async fn wait_listening(&self, ifindex: IfIndex) {
        let mut ports = self.shared.ports.subscribe();
        // The sender is in `shared`: it cannot be gone.
        let _ = ports
            .wait_for(|listening| listening.ports.contains_key(&ifindex))
            .await;
    }

    /// When all of the threads that answer were last seen at work; now, where none is needed.
    #[must_use]
    pub fn progress(&self) -> Now {
        let ports = Arc::clone(&self.shared.ports.borrow().ports);
        let each = ports.values().map(|port| port.progress());
        each.min().unwrap_or_else(clock::now)
    }

    /// All counters, for `/metrics`.
    #[must_use]
    pub fn counters(&self) -> Snapshot {
        snapshot::take(&self.shared)
    }
}
