//! The Ethernet addresses of other nodes, kept fresh by the kernel's own neighbour discovery.
//!
//! XDP does not use the kernel's neighbour table, so nothing would keep these entries alive: whoever is tracked is
//! asked for (`NTF_USE`) when it is unknown, when it failed, and when its entry goes stale. The answers come as events.
//!
//! Invariant: an address is published with an Ethernet address only while the kernel has a valid entry for it; no
//! answer of the kernel is awaited for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _};
use landfall_wire::Mac;
use landfall_wire::link::parse::{self, Cache, Key};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour::{NeighbourFlags, NeighbourState};
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::{Handle, MulticastGroup, new_multicast_connection};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::IfIndex;
use super::requests::{Requests, answered};

/// Where the tracked addresses are.
pub type NeighbourTable = BTreeMap<IpAddr, (Mac, IfIndex)>;

/// Between two attempts to resolve what has no answer.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// The tracked neighbours of this network namespace.
#[derive(Clone, Debug)]
pub struct Neighbours {
    wanted: Arc<watch::Sender<BTreeSet<Key>>>,
    table: watch::Receiver<Arc<NeighbourTable>>,
}

impl Neighbours {
    /// Begins to follow the kernel's neighbour table, until the token is cancelled.
    #[must_use]
    pub fn start(token: CancellationToken) -> (Self, JoinHandle<()>) {
        let (wanted, wanted_receiver) = watch::channel(BTreeSet::new());
        let (sender, table) = watch::channel(Arc::new(NeighbourTable::new()));
        let task = tokio::spawn(async move {
            let mut wanted = wanted_receiver;
            while !token.is_cancelled() {
                tokio::select! {
                    () = token.cancelled() => return,
                    result = follow(&mut wanted, &sender) => match result {
                        Ok(()) => return,
                        Err(error) => {
                            tracing::warn!(error = format!("{error:#}"), "lost the view of the neighbours, reading them anew");
                        }
                    }
                }
                tokio::select! {
                    () = token.cancelled() => return,
                    () = tokio::time::sleep(ASK_AGAIN) => {}
                }
            }
        });
        (
            Self {
                wanted: Arc::new(wanted),
                table,
            },
            task,
        )
    }

    /// Tracks exactly these from now on.
    pub fn track(&self, wanted: BTreeSet<(IpAddr, IfIndex)>) {
        self.wanted.send_if_modified(|known| {
            let changed = *known != wanted;
            if changed {
                *known = wanted;
            }
            changed
        });
    }

    /// Where they are, as far as is known.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<NeighbourTable>> {
        self.table.clone()
    }
}

/// Follows one pair of netlink connections; ends well only when nobody tracks any more.
async fn follow(
    wanted: &mut watch::Receiver<BTreeSet<Key>>,
    sender: &watch::Sender<Arc<NeighbourTable>>,
) -> anyhow::Result<()> {
    let (connection, _open, mut events) =
        new_multicast_connection(&[MulticastGroup::Neigh]).context("opening a netlink socket")?;
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let requests = Requests::open()?;
    let mut cache = answered(dump(&requests.handle)).await??;
    let mut again = tokio::time::interval(ASK_AGAIN);
    again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut asked = BTreeSet::new();
    loop {
        let tracked = wanted.borrow_and_update().clone();
        publish(sender, &tracked, &cache);
        let ask = unsettled(&tracked, &cache);
        for key in ask.difference(&asked) {
            answered(resolve(&requests.handle, *key)).await?;
        }
        asked.clone_from(&ask);
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() { return Ok(()) },
            // What is still without an answer is asked for again.
            _ = again.tick(), if !ask.is_empty() => asked.clear(),
            event = events.next() => match event {
                Some((message, _)) if matches!(message.payload, NetlinkPayload::Overrun(_)) => {
                    cache = answered(dump(&requests.handle)).await??;
                }
                Some((message, _)) => {
                    if let NetlinkPayload::InnerMessage(message) = message.payload {
                        parse::of_neighbours(&mut cache, message);
                    }
                }
                None => anyhow::bail!("the netlink socket was closed"),
            },
        }
    }
}

fn publish(sender: &watch::Sender<Arc<NeighbourTable>>, tracked: &BTreeSet<Key>, cache: &Cache) {
    let table: NeighbourTable = tracked
        .iter()
        .filter_map(|key| Some((key.0, (cache.get(key)?.mac?, key.1))))
        .collect();
    sender.send_if_modified(|published| {
        let changed = **published != table;
        if changed {
            *published = Arc::new(table);
        }
        changed
    });
}

fn unsettled(tracked: &BTreeSet<Key>, cache: &Cache) -> BTreeSet<Key> {
    tracked
        .iter()
        .filter(|key| !cache.get(key).is_some_and(|entry| entry.settled))
        .copied()
        .collect()
}

async fn dump(handle: &Handle) -> anyhow::Result<Cache> {
    let mut cache = Cache::new();
    let mut neighbours = handle.neighbours().get().execute();
    while let Some(message) = neighbours
        .try_next()
        .await
        .context("reading the neighbours")?
    {
        parse::of_neighbours(&mut cache, RouteNetlinkMessage::NewNeighbour(message));
    }
    Ok(cache)
}

/// Has the kernel resolve an address, or confirm it.
async fn resolve(handle: &Handle, (address, ifindex): Key) {
    let request = handle
        .neighbours()
        .add(ifindex, address)
        .replace()
        .state(NeighbourState::None)
        .flags(NeighbourFlags::Use);
    if let Err(error) = request.execute().await {
        tracing::debug!(%address, ifindex, %error, "the kernel would not resolve a neighbour");
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage};

    use super::*;

    fn put(cache: &mut Cache, message: NeighbourMessage) {
        parse::of_neighbours(cache, RouteNetlinkMessage::NewNeighbour(message));
    }

    fn message(state: NeighbourState, mac: Option<[u8; 6]>) -> NeighbourMessage {
        let mut message = NeighbourMessage::default();
        message.header.ifindex = 3;
        message.header.state = state;
        message.attributes = vec![NeighbourAttribute::Destination(NeighbourAddress::Inet(
            "192.0.2.9".parse().unwrap(),
        ))];
        message
            .attributes
            .extend(mac.map(|mac| NeighbourAttribute::LinkLayerAddress(mac.to_vec())));
        message
    }

    fn after(state: NeighbourState) -> (bool, bool) {
        let mut cache = Cache::new();
        put(&mut cache, message(state, Some([2, 0, 0, 0, 0, 9])));
        let key = ("192.0.2.9".parse().unwrap(), 3);
        let asked = !unsettled(&BTreeSet::from([key]), &cache).is_empty();
        (cache[&key].mac.is_some(), asked)
    }

    #[test]
    fn a_stale_entry_stays_published_and_is_asked_for() {
        assert_eq!(after(NeighbourState::Stale), (true, true));
    }

    #[test]
    fn a_confirmed_or_permanent_entry_is_left_alone() {
        for state in [
            NeighbourState::Reachable,
            NeighbourState::Delay,
            NeighbourState::Probe,
            NeighbourState::Permanent,
        ] {
            assert_eq!(after(state), (true, false), "{state:?}");
        }
    }

    #[test]
    fn a_failed_entry_is_withdrawn_and_asked_for() {
        for state in [NeighbourState::Failed, NeighbourState::Incomplete] {
            assert_eq!(after(state), (false, true), "{state:?}");
        }
    }

    #[test]
    fn what_the_kernel_has_forgotten_is_asked_for() {
        let mut cache = Cache::new();
        put(
            &mut cache,
            message(NeighbourState::Reachable, Some([2, 0, 0, 0, 0, 9])),
        );
        let forgotten = message(NeighbourState::None, None);
        parse::of_neighbours(&mut cache, RouteNetlinkMessage::DelNeighbour(forgotten));
        let key = ("192.0.2.9".parse().unwrap(), 3);
        assert_eq!(
            unsettled(&BTreeSet::from([key]), &cache),
            BTreeSet::from([key])
        );
    }
}
