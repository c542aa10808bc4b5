//! The supervisor: brings ports, groups and announcements into line with the state and the links.
//!
//! One task. It is woken by a new state, by a change of the links, and by its timetable; it compares what is with what
//! should be and carries out the difference. Nothing is polled.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use landfall_wire::Mac;
use landfall_wire::announce::announcement;
use landfall_wire::ndp::solicited_node;
use landfall_wire::schedule::{Schedule, Turn};
use tokio_util::sync::CancellationToken;

use super::listener::Listeners;
use super::membership::{Failed, Memberships, Wanted};
use super::port::Port;
use super::state::{Listening, Pair, Shared, State};
use super::{Event, Filter, Rate};
use crate::link::{AddressFilter, FilterCounts, GroupKey, IfIndex, LinkTable, Protocol};

/// Before a port that could not be opened is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// A port with its listeners; they end when it is dropped.
struct Open {
    port: Arc<Port>,
    /// New each time, so that whatever is on the port is announced again.
    opening: u64,
    all_multicast: bool,
    filtered: Filtered,
    _listeners: Listeners,
}

/// Which filter the sockets of a port have.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Filtered {
    /// The one they were opened with.
    Not,
    /// The one over the map.
    ByMap,
    /// The classic one, which knows these addresses.
    About(BTreeSet<Ipv4Addr>),
}

/// What a pair was announced under. When more than the period changes, it is announced anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Announced {
    /// `None` while it is only probed.
    arrival: Option<(u64, u64)>,
    opening: u64,
    period: Option<Duration>,
}

struct Supervisor {
    shared: Arc<Shared>,
    open: BTreeMap<IfIndex, Open>,
    openings: u64,
    announced: BTreeMap<Pair, Announced>,
    memberships: Memberships,
    schedule: Schedule<Pair>,
    /// `None` where the kernel does not take it.
    filter: Option<AddressFilter>,
    retry: Option<Instant>,
}

/// Runs until the token is cancelled; then every port is closed.
pub(super) async fn run(shared: Arc<Shared>, token: CancellationToken) {
    let (mut states, mut links) = (shared.state.subscribe(), shared.links.clone());
    let mut monitored = true;
    // A busy kernel takes its time over it; meanwhile the classic filter does.
    let wanted = shared.settings.filter;
    let mut filter = tokio::task::spawn_blocking(move || load_filter(wanted));
    let mut loading = true;
    let mut supervisor = Supervisor {
        open: BTreeMap::new(),
        openings: 0,
        announced: BTreeMap::new(),
        memberships: Memberships::start(),
        schedule: Schedule::new(shared.settings.pace),
        filter: None,
        retry: None,
        shared: Arc::clone(&shared),
    };
    loop {
        let (state, table) = (
            states.borrow_and_update().clone(),
            Arc::clone(&links.borrow_and_update()),
        );
        supervisor.reconcile(&state, &table);
        loop {
            let wake = supervisor.announce(Instant::now());
            let sleep = async {
                match wake {
                    Some(time) => tokio::time::sleep_until(time.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = token.cancelled() => {
                    shared.ports.send_replace(Listening::default());
                    return;
                }
                // The sender is in `shared`: it cannot be gone.
                _ = states.changed() => break,
                changed = links.changed(), if monitored => {
                    monitored = changed.is_ok();
                    break;
                }
                loaded = &mut filter, if loading => {
                    loading = false;
                    if let Some((filter, counts)) = loaded.ok().flatten() {
                        supervisor.filter = Some(filter);
                        *shared.filtered.lock() = Some(counts);
                    }
                    break;
                }
                (generation, failed) = supervisor.memberships.settled() => {
                    supervisor.receive_all(failed);
                    supervisor.publish(generation);
                }
                () = sleep => if supervisor.retry.is_some_and(|time| time <= Instant::now()) { break },
            }
        }
    }
}

impl Supervisor {
    fn reconcile(&mut self, state: &State, links: &LinkTable) {
        let wanted: BTreeSet<IfIndex> = state
            .owned
            .keys()
            .chain(state.probing.keys())
            .map(|(_, ifindex)| *ifindex)
            .chain(state.ready.iter().copied())
            .collect();
        let usable = |ifindex: &IfIndex| {
            links
                .links
                .get(ifindex)
                .filter(|link| link.usable().is_ok())
                .and_then(|link| Some((link.index, link.mac?)))
        };
        let wanted: BTreeMap<IfIndex, Mac> = wanted.iter().filter_map(usable).collect();
        self.open_ports(&wanted);
        self.shared
            .counters
            .lock()
            .retain(|ifindex, _| links.links.contains_key(ifindex));
        self.stand(state);
        self.narrow();
        let groups = self.groups();
        self.shared
            .groups
            .store(groups.len() as u64, Ordering::Relaxed);
        let wanted = Wanted::new(groups, self.open.keys().copied(), links);
        if self.memberships.ask(wanted, state.generation) {
            self.publish(state.generation);
        }
    }

    fn open_ports(&mut self, wanted: &BTreeMap<IfIndex, Mac>) {
        self.open
            .retain(|ifindex, open| wanted.get(ifindex) == Some(&open.port.mac));
        self.retry = None;
        for (&ifindex, &mac) in wanted {
            if self.open.contains_key(&ifindex) {
                continue;
            }
            match self.listen(ifindex, mac) {
                Ok(open) => {
                    self.open.insert(ifindex, open);
                    tracing::info!(ifindex, %mac, "answering on an interface");
                }
                Err(error) => {
                    tracing::warn!(ifindex, %error, "cannot open packet sockets");
                    let _ = self.shared.events.send(Event::PortFailed {
                        ifindex,
                        error: error.to_string(),
                    });
                    self.retry = Some(Instant::now() + RETRY);
                }
            }
        }
    }

    fn listen(&mut self, ifindex: IfIndex, mac: Mac) -> io::Result<Open> {
        let counters = Arc::clone(self.shared.counters.lock().entry(ifindex).or_default());
        let port = Arc::new(Port::open(ifindex, mac, counters)?);
        let listeners = Listeners::start(&self.shared, &port)?;
        self.openings += 1;
        Ok(Open {
            port,
            opening: self.openings,
            all_multicast: false,
            filtered: Filtered::Not,
            _listeners: listeners,
        })
    }

    /// Every pair that is owned or probed on an open port.
    fn announced(&self, state: &State) -> BTreeMap<Pair, Announced> {
        let owned = state
            .owned
            .iter()
            .map(|(pair, arrival)| (*pair, Some((*arrival, state.session))));
        let probed = state
            .probing
            .keys()
            .filter(|pair| !state.owned.contains_key(pair))
            .map(|pair| (*pair, None));
        let stand = |(pair, arrival): (Pair, Option<(u64, u64)>)| {
            let opening = self.open.get(&pair.1)?.opening;
            let period = state.periods.get(&pair.0).copied();
            Some((
                pair,
                Announced {
                    arrival,
                    opening,
                    period,
                },
            ))
        };
        owned.chain(probed).filter_map(stand).collect()
    }

    /// Takes in what has changed for every pair: whether it is to be announced.
    fn stand(&mut self, state: &State) {
        let announced = self.announced(state);
        let before = std::mem::take(&mut self.announced);
        for &pair in before.keys() {
            let is = announced.get(&pair);
            if is.is_none_or(|is| is.arrival.is_none()) {
                self.schedule.disarm(pair);
            }
        }
        let now = Instant::now();
        for (&pair, is) in &announced {
            let was = before.get(&pair);
            let frames = announcement(pair.0).1;
            if is.arrival.is_none() || was == Some(is) {
                continue;
            }
            if was.is_some_and(|was| (was.arrival, was.opening) == (is.arrival, is.opening)) {
                self.schedule.set_period(now, pair, frames, is.period);
            } else {
                self.schedule.arm(now, pair, frames, is.period);
            }
        }
        self.announced = announced;
    }

    /// Tells the kernel which addresses its filters are about: before anything is announced, so that no question the
    /// announcement causes is missed.
    fn narrow(&mut self) {
        let sockets = 2 * u32::try_from(self.open.len()).unwrap_or(u32::MAX / 2);
        self.shared.sockets.store(sockets, Ordering::Relaxed);
        if let Some(filter) = &mut self.filter {
            let share = self.shared.share();
            match narrow_by_map(filter, share, &self.announced, &mut self.open) {
                Ok(()) => {
                    self.shared.by_map.store(true, Ordering::Relaxed);
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, "falling back to the classic filter");
                    self.filter = None;
                    self.shared.by_map.store(false, Ordering::Relaxed);
                }
            }
        }
        self.narrow_classic();
    }

    fn narrow_classic(&mut self) {
        let mut about: BTreeMap<IfIndex, BTreeSet<Ipv4Addr>> = BTreeMap::new();
        for (address, ifindex) in self.announced.keys() {
            if let IpAddr::V4(address) = address {
                about.entry(*ifindex).or_default().insert(*address);
            }
        }
        let mut lost = false;
        self.open.retain(|ifindex, open| {
            let addresses = about.remove(ifindex).unwrap_or_default();
            let wanted = Filtered::About(addresses.clone());
            if open.filtered == wanted {
                return true;
            }
            let mut sockets = open.port.sockets().into_iter();
            match sockets.try_for_each(|socket| socket.narrow(&addresses)) {
                Ok(()) => open.filtered = wanted,
                Err(error) => {
                    tracing::warn!(ifindex, %error, "cannot renew the filter of a socket, opening it anew");
                    lost = true;
                    return false;
                }
            }
            true
        });
        if lost {
            self.retry = Some(Instant::now() + RETRY);
        }
    }

    /// The groups that what stands needs.
    fn groups(&self) -> BTreeMap<GroupKey, u64> {
        let of = |(&(address, ifindex), announced): (&Pair, &Announced)| match address {
            IpAddr::V6(address) => Some(((ifindex, solicited_node(address)), announced.opening)),
            IpAddr::V4(_) => None,
        };
        self.announced.iter().filter_map(of).collect()
    }

    /// Where no group can be joined, on an interface without IPv6 of its own, the kernel reports none, but may still hand
    /// over what is sent to them; it is tried again.
    fn receive_all(&mut self, failed: Failed) {
        for (ifindex, (key, error)) in failed {
            self.retry = Some(Instant::now() + RETRY);
            let Some(open) = self.open.get_mut(&ifindex) else {
                continue;
            };
            if open.all_multicast {
                continue;
            }
            let socket = open.port.socket(Protocol::Ndp);
            open.all_multicast = socket.receive_all_multicast(ifindex).is_ok();
            tracing::warn!(ifindex, group = %key.1, %error, all_multicast = open.all_multicast, "cannot join a solicited-node group");
        }
    }

    /// Sends the announcements that are due; says when to come back. While the session is not alive nothing is due:
    /// its return begins everything anew.
    fn announce(&mut self, now: Instant) -> Option<Instant> {
        while self.shared.permit.allows() {
            match self.schedule.turn(now) {
                Turn::Announce(pair) => {
                    // It may have moved on since the last look at it, and may not before the frames have left.
                    let state = self.shared.state.borrow();
                    if state.owned.contains_key(&pair)
                        && let Some(open) = self.open.get(&pair.1)
                    {
                        open.port.announce(pair.0);
                    }
                }
                Turn::Wait(time) => return Some(self.retry.map_or(time, |retry| retry.min(time))),
                Turn::Idle => break,
            }
        }
        self.retry
    }

    /// Says which ports are open, and that what this state asks for is in place on them.
    fn publish(&self, generation: u64) {
        self.shared.ports.send_if_modified(|published| {
            let same = published.ports.len() == self.open.len()
                && published
                    .ports
                    .values()
                    .zip(self.open.values())
                    .all(|(a, b)| Arc::ptr_eq(a, &b.port));
            if !same {
                let ports = self
                    .open
                    .iter()
                    .map(|(ifindex, open)| (*ifindex, Arc::clone(&open.port)));
                published.ports = Arc::new(ports.collect());
            }
            let new = published.generation != generation;
            published.generation = generation;
            new || !same
        });
    }
}

fn load_filter(wanted: Filter) -> Option<(AddressFilter, FilterCounts)> {
    if wanted == Filter::Classic {
        return None;
    }
    AddressFilter::load()
        .inspect(|_| tracing::info!("frames about other addresses are kept away by eBPF"))
        .inspect_err(|error| tracing::warn!(%error, "no eBPF filter, the classic one has to do"))
        .ok()
}

/// The addresses first, then the filter: a socket never has one that does not know them.
fn narrow_by_map(
    filter: &mut AddressFilter,
    share: Rate,
    announced: &BTreeMap<Pair, Announced>,
    open: &mut BTreeMap<IfIndex, Open>,
) -> Result<(), landfall_bpf_lb::socket_filter::FilterError> {
    filter.hold_to(share.cost(1), share.cost(share.burst))?;
    filter.set(announced.keys().copied().collect())?;
    for open in open.values_mut() {
        if open.filtered != Filtered::ByMap {
            for socket in open.port.sockets() {
                filter.attach(socket)?;
            }
            open.filtered = Filtered::ByMap;
        }
    }
    Ok(())
}
