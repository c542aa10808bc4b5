//! What others are to know of this node, and who the others are.

use std::collections::BTreeSet;
use std::net::IpAddr;

use landfall_wire::Mac;

use super::Brain;
use crate::election::Now;
use crate::model::{Interface, Published};

impl Brain {
    pub(super) fn own_interfaces(&self) -> Vec<Interface> {
        let links = self.links.links.values();
        let available = links.filter(|link| !self.unavailable.contains(link.index));
        let published = available.filter_map(|link| Interface::of(link).ok());
        let named = published.map(|interface| Interface {
            container: interface.container && !self.plain.names(&interface.name),
            ..interface
        });
        named.collect()
    }

    pub(super) fn published(&self, now: Now) -> Published {
        Published {
            interfaces: self.plan.publish.clone(),
            xdp: self.director.state,
            leaving: self.leaving,
            keys: self.to_peers.keys.clone(),
            wronged_by: self.wrongs.own(now).cloned(),
            fenced_at: self.fences.seconds(now),
            unsteady: self.fences.are_many(now),
            carries: self.carries(),
        }
    }

    /// Until the director has looked, what the process before has said holds.
    pub(super) fn carries(&self) -> BTreeSet<IpAddr> {
        let said = || Some(self.world.peers.get(&self.me)?.carries.clone());
        let known = self.director.carries.clone();
        known.or_else(said).unwrap_or_default()
    }

    /// What is sent from these is no stranger's. Leases say what their nodes wrote; frames under the cluster's key, where
    /// there are any, know better.
    pub(super) fn peers(&self) -> BTreeSet<Mac> {
        if let Some(heard) = &self.to_peers.heard_from {
            return heard.clone();
        }
        let others = self
            .world
            .peers
            .iter()
            .filter(|(node, _)| **node != self.me);
        others
            .flat_map(|(_, peer)| &peer.interfaces)
            .map(|interface| interface.mac)
            .collect()
    }
}
