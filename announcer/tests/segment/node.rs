//! A responder in the node's namespace.

use std::sync::Arc;
use std::time::Duration;

use landfall_announcer::clock;
use landfall_announcer::link::{self, AddressFilter, IfIndex, LinkTable};
use landfall_announcer::responder::{Filter, Responder, Settings};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{PATIENCE, eventually, owned};

/// A responder in the node's namespace, with what it needs.
pub(crate) struct Node {
    pub(crate) responder: Responder,
    pub(crate) links: watch::Receiver<Arc<LinkTable>>,
    pub(crate) token: CancellationToken,
}

impl Node {
    pub(crate) async fn start() -> Self {
        Self::with(Settings::default()).await
    }

    pub(crate) async fn with(settings: Settings) -> Self {
        let token = CancellationToken::new();
        let (links, _) = link::monitor(token.clone());
        let responder = Responder::start(settings, links.clone(), token.clone());
        let mut node = Self {
            responder,
            links,
            token,
        };
        node.link("eth0").await;
        node.live();
        if settings.filter == Filter::Best && AddressFilter::load().is_ok() {
            let in_place = || node.responder.counters().by_map;
            eventually("the eBPF filter is in place", in_place).await;
        }
        node
    }

    pub(crate) fn live(&self) {
        self.responder
            .set_deadline(clock::now() + Duration::from_secs(600));
    }

    /// The index of an interface, once it has carrier.
    pub(crate) async fn link(&mut self, name: &str) -> IfIndex {
        let find = |table: &Arc<LinkTable>| {
            table
                .links
                .values()
                .find(|link| link.name == name && link.usable().is_ok())
                .map(|link| link.index)
        };
        let table =
            tokio::time::timeout(PATIENCE, self.links.wait_for(|table| find(table).is_some()))
                .await
                .unwrap()
                .unwrap();
        find(&table).unwrap()
    }

    /// Owns exactly these addresses on one interface, and listens there.
    pub(crate) async fn own(&self, ifindex: IfIndex, addresses: &[&str]) {
        self.responder.set_owned(owned(ifindex, addresses));
        tokio::time::timeout(PATIENCE, self.responder.wait_listening(ifindex))
            .await
            .unwrap();
    }

    /// Owns these, and has said all there is to say unasked: whatever is heard from now on is an answer. For a pace that
    /// says it once.
    pub(crate) async fn own_quietly(&self, ifindex: IfIndex, addresses: &[&str]) {
        self.own(ifindex, addresses).await;
        let frames = |address: &&str| if address.contains(':') { 1 } else { 2 };
        let all: u64 = addresses.iter().map(frames).sum();
        eventually("the announcements have left", || {
            let interfaces = self.responder.counters().interfaces;
            interfaces.iter().map(|seen| seen.announced).sum::<u64>() >= all
        })
        .await;
    }
}
