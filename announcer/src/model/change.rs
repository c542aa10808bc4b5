//! What a watch says, and taking it in.

use std::collections::BTreeSet;
use std::net::IpAddr;

use landfall_crds::version::supersedes;

use super::world::{Lbip, Namespace, Node, Peer, Policy, Service, Slice, World};
use crate::names::{NodeName, PolicyName, ServiceKey, Version};

/// The kinds that are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Address,
    Policy,
    Service,
    Slice,
    Node,
    Namespace,
    Session,
    /// The renewals of a few sessions.
    Renewal,
}

impl Kind {
    /// The kinds of which all objects are watched.
    pub const LISTED: [Self; 7] = [
        Self::Address,
        Self::Policy,
        Self::Service,
        Self::Slice,
        Self::Node,
        Self::Namespace,
        Self::Session,
    ];

    /// The API's own word, as in logs and metric labels; but for renewals, which are in Leases as well.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Address => "LoadBalancerIP",
            Self::Policy => "L2AnnouncementPolicy",
            Self::Service => "Service",
            Self::Slice => "EndpointSlice",
            Self::Node => "Node",
            Self::Namespace => "Namespace",
            Self::Session => "Lease",
            Self::Renewal => "Renewal",
        }
    }
}

/// The key of an object of any kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Address(IpAddr),
    Policy(PolicyName),
    Service(ServiceKey),
    /// An EndpointSlice, by the Service it belongs to.
    Slice(ServiceKey, String),
    Node(NodeName),
    Namespace(String),
    Session(NodeName),
}

/// An object as it now is.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    Address(Lbip),
    Policy(PolicyName, Policy),
    Service(ServiceKey, Service),
    Slice(ServiceKey, String, Slice),
    Node(NodeName, Node),
    Namespace(String, Namespace),
    Session(NodeName, Peer),
}

impl Object {
    #[must_use]
    pub fn key(&self) -> Key {
        match self {
            Self::Address(lbip) => Key::Address(lbip.address),
            Self::Policy(name, _) => Key::Policy(name.clone()),
            Self::Service(key, _) => Key::Service(key.clone()),
            Self::Slice(service, name, _) => Key::Slice(service.clone(), name.clone()),
            Self::Node(name, _) => Key::Node(name.clone()),
            Self::Namespace(name, _) => Key::Namespace(name.clone()),
            Self::Session(node, _) => Key::Session(node.clone()),
        }
    }
}

impl World {
    /// Takes an object in. Says whether anything but a session's renewal is new.
    pub fn apply(&mut self, object: Object) -> bool {
        match object {
            Object::Address(lbip) => {
                let known = self.lbips.get(&lbip.address);
                known.is_none_or(|known| supersedes(&lbip, known))
                    && replace(&mut self.lbips, lbip.address, lbip)
            }
            Object::Policy(name, policy) => replace(&mut self.policies, name, policy),
            Object::Service(key, service) => replace(&mut self.services, key, service),
            Object::Slice(service, name, slice) => {
                replace(self.slices.entry(service).or_default(), name, slice)
            }
            Object::Node(name, node) => replace(&mut self.nodes, name, node),
            Object::Namespace(name, namespace) => replace(&mut self.namespaces, name, namespace),
            Object::Session(node, peer) => self.apply_session(node, peer),
        }
    }

    /// Whether the object says what is known of it but for what was made of it, its status: who may announce what, and what
    /// the director serves, follows from the rest.
    #[must_use]
    pub fn differs_in_status_alone(&self, object: &Object) -> bool {
        match object {
            Object::Address(lbip) => {
                let known = self.lbips.get(&lbip.address);
                known.is_some_and(|known| known.differs_in_status_alone(lbip))
            }
            Object::Service(key, service) => {
                let known = self.services.get(key);
                known.is_some_and(|known| known.differs_in_status_alone(service))
            }
            Object::Policy(name, policy) => {
                let known = self.policies.get(name);
                known.is_some_and(|known| known.differs_in_status_alone(policy))
            }
            _ => false,
        }
    }

    fn apply_session(&mut self, node: NodeName, peer: Peer) -> bool {
        let Some(known) = self.peers.get_mut(&node) else {
            self.departed.remove(&node);
            self.peers.insert(node, peer);
            return true;
        };
        if !supersedes(&peer, known) {
            return false;
        }
        if let (Some(begun), Some(ended)) = (&peer.lease.session, self.ended.get(&node))
            && *begun != ended.session
        {
            self.ended.remove(&node);
        }
        // A renewal is a new version of the Lease, and nothing else.
        known.lease.version = peer.lease.version.clone();
        let renewed_only = *known == peer;
        *known = peer;
        !renewed_only
    }

    /// The versions known are those of a future that is gone: whatever is told now is newer.
    pub fn forget_versions(&mut self) {
        let records = self.lbips.values_mut().map(|lbip| &mut lbip.version);
        let sessions = self.peers.values_mut().map(|peer| &mut peer.lease.version);
        for version in records.chain(sessions) {
            *version = Version::new("");
        }
    }

    /// Forgets an object. Says whether it was known.
    pub fn remove(&mut self, key: &Key) -> bool {
        match key {
            Key::Address(address) => self.lbips.remove(address).is_some(),
            Key::Policy(name) => self.policies.remove(name).is_some(),
            Key::Service(key) => self.services.remove(key).is_some(),
            Key::Slice(service, name) => {
                let Some(slices) = self.slices.get_mut(service) else {
                    return false;
                };
                let known = slices.remove(name).is_some();
                if slices.is_empty() {
                    self.slices.remove(service);
                }
                known
            }
            Key::Node(name) => self.nodes.remove(name).is_some(),
            Key::Namespace(name) => self.namespaces.remove(name).is_some(),
            Key::Session(node) => {
                self.ended.remove(node);
                self.peers.remove(node).is_some()
            }
        }
    }

    /// Keys of all objects of a kind that are not among `listed`: what a new list says is gone.
    pub fn missing(&self, kind: Kind, listed: &BTreeSet<Key>) -> Vec<Key> {
        let keys: Vec<Key> = match kind {
            Kind::Address => self.lbips.keys().copied().map(Key::Address).collect(),
            Kind::Policy => self.policies.keys().cloned().map(Key::Policy).collect(),
            Kind::Service => self.services.keys().cloned().map(Key::Service).collect(),
            Kind::Slice => {
                let slices = self.slices.iter();
                slices
                    .flat_map(|(s, n)| n.keys().map(|n| Key::Slice(s.clone(), n.clone())))
                    .collect()
            }
            Kind::Node => self.nodes.keys().cloned().map(Key::Node).collect(),
            Kind::Namespace => self
                .namespaces
                .keys()
                .cloned()
                .map(Key::Namespace)
                .collect(),
            Kind::Session => self.peers.keys().cloned().map(Key::Session).collect(),
            Kind::Renewal => Vec::new(),
        };
        keys.into_iter()
            .filter(|key| !listed.contains(key))
            .collect()
    }
}

fn replace<K: Ord, V: PartialEq>(
    map: &mut std::collections::BTreeMap<K, V>,
    key: K,
    value: V,
) -> bool {
    match map.get_mut(&key) {
        Some(known) if *known == value => false,
        Some(known) => {
            *known = value;
            true
        }
        None => {
            map.insert(key, value);
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::peer;

    fn seen(world: &mut World, version: u64, change: impl FnOnce(&mut Peer)) -> bool {
        let mut peer = peer("n2", version, Vec::new());
        change(&mut peer);
        world.apply(Object::Session(NodeName::new("n2"), peer))
    }

    #[test]
    fn a_renewal_alone_changes_nothing() {
        let mut world = World::default();
        assert!(seen(&mut world, 1, |_| ()));
        assert!(!seen(&mut world, 2, |_| ()));
    }

    #[test]
    fn whatever_a_peer_publishes_anew_is_a_change() {
        let carries: BTreeSet<IpAddr> = ["192.0.2.10".parse().unwrap()].into();
        let mut world = World::default();
        seen(&mut world, 1, |_| ());
        assert!(seen(&mut world, 2, |peer| peer.carries = carries));
        assert!(seen(&mut world, 3, |peer| peer.fenced_by =
            Some(NodeName::new("n3"))));
        assert!(seen(&mut world, 4, |peer| peer.leaving = true));
    }
}
