//! What the data path of one node shall do, as values: no map, no file descriptor, no clock.
//!
//! The announcer builds a [`Desired`] from Services and EndpointSlices; [`crate::Director::apply`]
//! carries it out by diff. Every node that runs the director programs the same frontends, whoever
//! owns the address at layer 2: that is what lets a connection survive its owner.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// A transport protocol the director balances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Protocol {
    /// TCP (IANA protocol number 6).
    Tcp = 6,
    /// UDP (IANA protocol number 17).
    Udp = 17,
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}

/// Where clients connect: VIP, port and protocol. The key of everything the director knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frontend {
    /// The VIP.
    pub address: IpAddr,
    /// The Service port, host byte order.
    pub port: u16,
    /// The Service port's protocol.
    pub protocol: Protocol,
}

/// A pod's address and target port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// Pod address, of the same family as its frontend's VIP.
    pub address: IpAddr,
    /// Target port, host byte order.
    pub port: u16,
}

/// Which node runs a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Placement {
    /// This node: packets are delivered here.
    Local,
    /// The node with this address on the data segment (a key of [`Desired::hops`]).
    Remote(IpAddr),
    /// Such a node, whose director is going: it is sent the connections that it may have, and new ones
    /// pass to the kernel.
    Leaving(IpAddr),
    /// Nothing says where. It has its place in the table all the same, as on every other node, and
    /// what falls to it passes to the kernel.
    Unknown,
    /// Nobody is there: new connections that fall to it are refused, by a reset where there is one.
    Nobody,
}

impl Placement {
    /// The other node.
    #[must_use]
    pub const fn node(self) -> Option<IpAddr> {
        match self {
            Self::Remote(node) | Self::Leaving(node) => Some(node),
            Self::Local | Self::Unknown | Self::Nobody => None,
        }
    }
}

/// Whether a backend takes new connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BackendState {
    /// Ready: part of the Maglev table.
    Active,
    /// Serving but terminating: keeps its connections, takes no new ones unless nothing is ready.
    Draining,
    /// Not ready: keeps its connections, takes no new ones.
    Unready,
}

/// Tells pods of one address apart: 24 bits of a digest of the pod's uid, zero if it has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodId(u32);

impl PodId {
    /// The digest of a uid.
    #[must_use]
    pub fn of(uid: &str) -> Self {
        // FNV-1a: the same on every node and in every version.
        let hash = uid.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
        Self((hash >> 8) ^ (hash & 0xff))
    }

    /// As a number of 24 bits.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }
}

/// One backend of a frontend. With another node or another pod it is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backend {
    /// The pod behind the address.
    pub pod: PodId,
    /// The node that runs it.
    pub placement: Placement,
    /// Share of new connections relative to the others, at least 1.
    pub weight: u16,
    /// Whether it takes new connections.
    pub state: BackendState,
}

/// Everything known of one frontend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vip {
    /// The backends by endpoint; none at all means that what is not of an open connection passes to the kernel.
    pub backends: BTreeMap<Endpoint, Backend>,
    /// Those of the backends whose nodes have fallen silent. A node of [`Desired::away`] need not be named here; one
    /// that nothing places can be named nowhere else.
    pub silent: BTreeSet<Endpoint>,
    /// `sessionAffinity: ClientIP`: the client's port is left out of the hash.
    pub client_ip_affinity: bool,
}

impl Vip {
    /// As it is served while these nodes are away, or silent: nobody can tell them of connections, and they
    /// may be dead, long before Kubernetes finds it out. So their pods keep what they have and get nothing new. Where
    /// more than half of the pods would get nothing, it is more likely that something is wrong with the silence, and
    /// the others could not carry it.
    pub(crate) fn sparing(self: &Arc<Self>, away: &BTreeSet<IpAddr>) -> Arc<Self> {
        if away.is_empty() && self.silent.is_empty() {
            return Arc::clone(self);
        }
        let is_active =
            |(_, backend): &(&Endpoint, &Backend)| backend.state == BackendState::Active;
        let is_away = |at: &Endpoint, backend: &Backend| {
            let node = backend.placement.node();
            node.is_some_and(|node| away.contains(&node)) || self.silent.contains(at)
        };
        let active = self.backends.iter().filter(is_active);
        let (all, gone) = active.fold((0, 0), |(all, gone), (at, backend)| {
            (all + 1, gone + usize::from(is_away(at, backend)))
        });
        if gone == 0 || gone * 2 > all {
            return Arc::clone(self);
        }
        let mut spared = Self::clone(self);
        for (at, backend) in &mut spared.backends {
            if is_away(at, backend) && backend.state == BackendState::Active {
                backend.state = BackendState::Draining;
            }
        }
        Arc::new(spared)
    }
}

/// How frames reach another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The node's MAC address on the segment.
    pub mac: [u8; 6],
    /// Index of the interface of this node that faces the segment.
    pub ifindex: u32,
}

/// An interface that faces the segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Kernel name.
    pub name: String,
    /// Our Ethernet address on it.
    pub mac: [u8; 6],
    /// The members of a bond, by kernel index: in the driver, frames come in by them.
    pub members: BTreeSet<u32>,
    /// VLAN devices stand on it.
    pub is_trunk: bool,
}

/// The whole of what one node's data path shall do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// The interfaces the programs shall be on, by kernel index, and no others.
    pub interfaces: BTreeMap<u32, Interface>,
    /// Frontends with their backends. One that is left out, or has none, keeps its open connections to their end,
    /// and new ones take the kernel's path.
    pub frontends: BTreeMap<Frontend, Arc<Vip>>,
    /// Addresses of frontends that were left out, and of which other nodes still have connections.
    pub carried: BTreeSet<IpAddr>,
    /// The director of another node is going, and must know which addresses this one has connections of.
    pub is_asked: bool,
    /// Addresses of this node's pods, whatever frontend they are behind.
    pub pods: BTreeSet<IpAddr>,
    /// Next hops by node address, each behind one of the interfaces. `None` is not known *yet*: what
    /// the maps have is kept, and a node that they do not have either cannot be directed to.
    pub hops: BTreeMap<IpAddr, Option<Hop>>,
    /// Those of the nodes where no announcer runs just now: nobody can tell them of connections, so that
    /// their pods get no new ones, and they can tell nobody, so that they are asked for what nobody knows.
    pub away: BTreeSet<IpAddr>,
}

impl Desired {
    /// Whether a frontend is wanted, and has anybody to take a connection. One whose backends have all gone out of sight keeps
    /// what it has: of a port that is removed the endpoints may go before the port does.
    #[must_use]
    pub fn serves(&self, frontend: &Frontend) -> bool {
        let vip = self.frontends.get(frontend);
        vip.is_some_and(|vip| !vip.backends.is_empty())
    }

    /// Has frontends that are as they were `before` be the very same values: they are compared at once then, and kept once.
    pub fn share(&mut self, before: &Self) {
        for (frontend, vip) in &mut self.frontends {
            if let Some(known) = before.frontends.get(frontend).filter(|known| *known == vip) {
                *vip = Arc::clone(known);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vip(nodes: &[(u8, BackendState)]) -> Vip {
        let backend = |(index, (node, state)): (usize, &(u8, BackendState))| {
            let endpoint = Endpoint {
                address: [10, 244, *node, u8::try_from(index).unwrap()].into(),
                port: 80,
            };
            let placement = match node {
                0 => Placement::Local,
                node => Placement::Remote([192, 0, 2, *node].into()),
            };
            let backend = Backend {
                pod: PodId::default(),
                placement,
                weight: 1,
                state: *state,
            };
            (endpoint, backend)
        };
        Vip {
            backends: nodes.iter().enumerate().map(backend).collect(),
            ..Vip::default()
        }
    }

    use BackendState::{Active, Draining, Unready};

    #[test]
    fn the_pods_of_a_node_that_is_away_get_nothing_new_unless_they_are_most_of_them() {
        let all = [(0, Active), (1, Active), (1, Unready), (2, Active)];
        let spared = [(0, Active), (1, Draining), (1, Unready), (2, Active)];
        let away = BTreeSet::from([[192, 0, 2, 1].into()]);
        assert_eq!(*Arc::new(vip(&all)).sparing(&away), vip(&spared));
        assert_eq!(*Arc::new(vip(&all)).sparing(&BTreeSet::new()), vip(&all));
        let mut silent = vip(&all);
        silent.silent = silent.backends.keys().skip(3).copied().collect();
        let spared = Arc::new(silent).sparing(&BTreeSet::new());
        let states = spared.backends.values().map(|backend| backend.state);
        assert_eq!(
            states.collect::<Vec<_>>(),
            [Active, Active, Unready, Draining]
        );
        for most in [&[(1, Active)][..], &[(0, Active), (1, Active), (1, Active)]] {
            assert_eq!(*Arc::new(vip(most)).sparing(&away), vip(most));
        }
    }
}
