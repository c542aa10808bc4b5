//! The assembly itself.

mod gateways;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use landfall_bpf_lb::desired::{
    Backend, BackendState, Desired, Endpoint, Frontend, Hop, Interface, Placement, Protocol, Vip,
};
use landfall_bpf_lb::diff::Refusal;

use crate::link::{IfIndex, Link, LinkTable, NeighbourTable};
use crate::model::{self, Node, Readiness, Service, ServicePort, World, XdpState};
use crate::names::{NodeName, ServiceKey};
use crate::policy::{Announcement, Announcements};

/// What the director shall do, and whose neighbours must be known for it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DataPath {
    /// Interfaces, frontends, backends, hops.
    pub desired: Desired,
    /// Neighbours to keep resolved.
    pub track: BTreeSet<(IpAddr, IfIndex)>,
    /// This node's own addresses on the segment.
    pub own: BTreeSet<IpAddr>,
    /// Those of the others, each with the one of its family that their backends are placed at.
    pub nodes: BTreeMap<IpAddr, IpAddr>,
}

impl DataPath {
    /// Takes the place of what was `known`, and of that keeps what is the same. Nothing, if all is.
    pub fn replace(mut self, known: &mut Option<Arc<Self>>) -> Option<Arc<Self>> {
        if let Some(known) = known {
            self.desired.share(&known.desired);
            if **known == self {
                return None;
            }
        }
        let path = Arc::new(self);
        *known = Some(Arc::clone(&path));
        Some(path)
    }
}

/// Where the programs of the director run on an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunsOn {
    /// In the driver, or in the network stack.
    pub path: String,
    /// Why not in the driver, unless nobody wanted that.
    pub why_generic: Option<String>,
}

/// What the director says of itself, for this node and others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirectorNews {
    /// Whether it works.
    pub state: XdpState,
    /// Addresses of which this node's pods have open connections: of those that it serves no more, and of all while the
    /// director of another node is going. `None` as long as it has not looked.
    pub carries: Option<BTreeSet<IpAddr>>,
    /// The interfaces it is on, while it keeps any frontend for open connections alone, or may have to.
    pub drains_on: BTreeSet<IfIndex>,
    /// The interfaces that it serves on, by name.
    pub runs_on: BTreeMap<String, RunsOn>,
    /// What it was to serve and cannot.
    pub refused: LeftToKernel,
}

/// Frontends that the director leaves to the kernel, by address, and why.
pub type LeftToKernel = BTreeMap<IpAddr, BTreeMap<(u16, Protocol), Refusal>>;

impl DirectorNews {
    /// Nothing but the state.
    #[must_use]
    pub fn of(state: XdpState) -> Self {
        Self {
            state,
            ..Self::default()
        }
    }
}

/// What was assembled, and what could not be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Assembled {
    /// For the director and for whoever keeps neighbours resolved.
    pub path: DataPath,
    /// Endpoints left to the kernel because nothing says on which node of the segment they run, or because the director
    /// does not run there.
    pub unplaced: usize,
}

/// Assembles the data path of node `me`.
#[must_use]
pub fn assemble(
    world: &World,
    plan: &Announcements,
    me: &NodeName,
    links: &LinkTable,
    neighbours: &NeighbourTable,
    director: &DirectorNews,
) -> Assembled {
    let mut out = Assembled::default();
    let is_draining = !director.drains_on.is_empty();
    if plan.director.is_empty() && !is_draining {
        return out;
    }
    let is_wanted = |link: &&Link| plan.director.contains(&link.name);
    let segment: Vec<&Link> = links
        .links
        .values()
        .filter(|link| is_wanted(link) || director.drains_on.contains(&link.index))
        .collect();
    out.path.desired.interfaces = segment
        .iter()
        .filter(|link| is_wanted(link))
        .filter_map(|link| Some((link.index, interface(link, links)?)))
        .collect();
    // Also before anything goes: what is idle in the moment when its frontend begins to is nobody's orphan.
    out.path.desired.pods = pods(world, me);
    if is_draining {
        add_what_drains(&mut out.path.desired, world, plan, me);
    }
    let mut others = world.all_last_known().filter(|(node, _)| *node != me);
    out.path.desired.is_asked = others.any(|(_, peer)| peer.xdp == XdpState::Draining);
    let nodes = nodes_on(world, &segment);
    // Where no policy wants the director on an interface, what it has goes, whatever other nodes serve.
    let serves = |plan: &Announcement| plan.xdp && !out.path.desired.interfaces.is_empty();
    let served: Vec<_> = plan
        .addresses
        .iter()
        .filter(|(_, plan)| serves(plan))
        .collect();
    for (address, address_plan) in served {
        add_frontends(&mut out, world, *address, address_plan, me, &nodes);
    }
    // Every node, not only those with backends: a frame from any of them is recognised as directed already.
    if is_draining || !out.path.desired.frontends.is_empty() {
        let others = nodes.iter().filter(|(node, _)| **node != me);
        out.path.track = others
            .flat_map(|(_, addresses)| addresses.iter().copied())
            .collect();
        for (node, addresses) in &nodes {
            if *node == me {
                out.path.own = addresses.iter().map(|(address, _)| *address).collect();
            } else {
                out.path.nodes.extend(placed(addresses));
                if is_away(world, node) {
                    let addresses = addresses.iter().map(|(address, _)| *address);
                    out.path.desired.away.extend(addresses);
                }
            }
        }
    }
    let path = &mut out.path;
    for (address, ifindex) in &path.track {
        let resolved = neighbours
            .get(address)
            .filter(|(_, found)| found == ifindex);
        let hop = resolved.map(|(mac, found)| Hop {
            mac: mac.0,
            ifindex: *found,
        });
        // One that does not answer just now is not gone: the data path keeps what it knows of it. An
        // address behind two interfaces is known if one of them knows it.
        let known = path.desired.hops.entry(*address).or_default();
        *known = known.or(hop);
    }
    out
}

/// What decides how long a frontend that is not wanted any more is kept. Where others own an address and serve it, what
/// they have of it does not come by this node.
fn add_what_drains(desired: &mut Desired, world: &World, plan: &Announcements, me: &NodeName) {
    let comes_by_others = |address: &IpAddr| {
        plan.addresses.get(address).is_some_and(|plan| {
            let mut candidates = plan.candidates.iter();
            plan.xdp && candidates.len() > 0 && candidates.all(|one| one.node != *me)
        })
    };
    let others = world.all_last_known().filter(|(node, _)| *node != me);
    desired.carried = others
        .flat_map(|(_, peer)| peer.carries.iter().copied())
        .filter(|address| !comes_by_others(address))
        .collect();
}

/// The addresses of this node's pods.
fn pods(world: &World, me: &NodeName) -> BTreeSet<IpAddr> {
    let slices = world.slices.values().flat_map(BTreeMap::values);
    let endpoints = slices.flat_map(|slice| &slice.endpoints);
    endpoints
        .filter(|endpoint| endpoint.node.as_ref() == Some(me))
        .map(|endpoint| endpoint.address)
        .collect()
}

/// The interface as the director attaches to it; without an Ethernet address it cannot.
fn interface(link: &Link, links: &LinkTable) -> Option<Interface> {
    let is_bond = matches!(link.kind.as_deref(), Some("bond" | "team"));
    let members = links
        .links
        .values()
        .filter(|member| is_bond && member.master == Some(link.index));
    let mut others = links.links.values();
    Some(Interface {
        name: link.name.clone(),
        mac: link.mac?.0,
        members: members.map(|member| member.index).collect(),
        is_trunk: others
            .any(|other| other.lower == Some(link.index) && other.kind.as_deref() == Some("vlan")),
    })
}

/// The addresses of every node that lie on a segment of one of these links, and behind which: those of its Node, or, where
/// none of them does, those that its announcer has seen on its interfaces.
fn nodes_on<'w>(
    world: &'w World,
    segment: &[&Link],
) -> BTreeMap<&'w NodeName, Vec<(IpAddr, IfIndex)>> {
    let behind = |address: &IpAddr| {
        let link = segment.iter().find(|link| {
            link.addresses
                .iter()
                .any(|network| network.contains(*address))
        })?;
        Some((*address, link.index))
    };
    let of = |name: &NodeName, node: &Node| {
        let named: Vec<_> = node.addresses.iter().filter_map(behind).collect();
        if !named.is_empty() {
            return named;
        }
        let interfaces = world.last_known(name).map(|peer| &peer.interfaces);
        let seen = interfaces.into_iter().flatten();
        seen.flat_map(|interface| &interface.addresses)
            .filter(|address| !world.lbips.contains_key(*address))
            .filter_map(behind)
            .collect()
    };
    let nodes = world.nodes.iter();
    nodes.map(|(name, node)| (name, of(name, node))).collect()
}

/// Whether no announcer runs on a node that had one: it has given its session up, or peers have ended it, which its
/// Lease may say later. Where the Lease was deleted, nothing says whether one does.
fn is_away(world: &World, node: &NodeName) -> bool {
    let peer = world.peers.get(node);
    peer.is_some_and(|peer| peer.lease.session.is_none())
        || world.is_silenced(node)
        || world.departed.contains_key(node)
}

/// Every address of a node, and the first of its family.
fn placed(addresses: &[(IpAddr, IfIndex)]) -> impl Iterator<Item = (IpAddr, IpAddr)> + '_ {
    addresses.iter().filter_map(|(address, _)| {
        let mut same = addresses
            .iter()
            .filter(|(other, _)| other.is_ipv4() == address.is_ipv4());
        Some((*address, same.next()?.0))
    })
}

fn add_frontends(
    out: &mut Assembled,
    world: &World,
    address: IpAddr,
    plan: &Announcement,
    me: &NodeName,
    nodes: &BTreeMap<&NodeName, Vec<(IpAddr, IfIndex)>>,
) {
    for (frontend, vip) in gateways::vips(world, address, plan, me, nodes, &mut out.unplaced) {
        out.path.desired.frontends.insert(frontend, vip.into());
    }
    for key in plan.holders.iter().filter(|_| plan.directs_services) {
        // Source ranges are the kernel path's to enforce: a frontend here would pass them by.
        let Some(service) = world
            .services
            .get(key)
            .filter(|service| !service.source_ranges)
        else {
            continue;
        };
        for port in &service.ports {
            let frontend = Frontend {
                address,
                port: port.port,
                protocol: port.protocol,
            };
            // Two holders of one address never have the same port; if they do, the first has it.
            if out.path.desired.frontends.contains_key(&frontend) {
                continue;
            }
            let vip = vip(
                world,
                key,
                service,
                port,
                address,
                me,
                nodes,
                &mut out.unplaced,
            );
            out.path.desired.frontends.insert(frontend, vip.into());
        }
    }
}

#[expect(
    clippy::too_many_arguments,
    reason = "one caller; a struct would only rename them"
)]
fn vip(
    world: &World,
    key: &ServiceKey,
    service: &Service,
    port: &ServicePort,
    address: IpAddr,
    me: &NodeName,
    nodes: &BTreeMap<&NodeName, Vec<(IpAddr, IfIndex)>>,
    unplaced: &mut usize,
) -> Vip {
    Vip {
        client_ip_affinity: service.client_ip_affinity,
        ..endpoints(world, key, port, address, me, nodes, unplaced)
    }
}

/// The endpoints of a port of a Service, each of the same weight.
fn endpoints(
    world: &World,
    key: &ServiceKey,
    port: &ServicePort,
    address: IpAddr,
    me: &NodeName,
    nodes: &BTreeMap<&NodeName, Vec<(IpAddr, IfIndex)>>,
    unplaced: &mut usize,
) -> Vip {
    let mut vip = Vip::default();
    for slice in world.slices.get(key).into_iter().flat_map(BTreeMap::values) {
        let targets = slice.ports.iter();
        let targets = targets.filter(|p| p.name == port.name && p.protocol == port.protocol);
        for target in targets {
            for endpoint in &slice.endpoints {
                let Some(state) = state(endpoint, address) else {
                    continue;
                };
                let placement = placement(world, endpoint, address, me, nodes);
                if placement == Placement::Unknown {
                    *unplaced += 1;
                }
                let backend = Backend {
                    pod: endpoint.pod,
                    placement,
                    weight: 1,
                    state,
                };
                let at = Endpoint {
                    address: endpoint.address,
                    port: target.port,
                };
                if endpoint
                    .node
                    .as_ref()
                    .is_some_and(|node| world.is_silenced(node))
                {
                    vip.silent.insert(at);
                }
                // A pod may appear in two slices while it moves between them: what is better wins.
                let known = vip.backends.entry(at).or_insert(backend);
                if backend.state < known.state {
                    *known = backend;
                }
            }
        }
    }
    vip
}

fn state(endpoint: &model::Endpoint, vip: IpAddr) -> Option<BackendState> {
    if endpoint.address.is_ipv4() != vip.is_ipv4() {
        return None;
    }
    Some(match endpoint.readiness {
        Readiness::Ready => BackendState::Active,
        Readiness::Draining => BackendState::Draining,
        Readiness::Unready => BackendState::Unready,
    })
}

/// Where an endpoint runs. The node's address of the VIP's own family is preferred; any other serves as well, because
/// frames are directed by Ethernet address alone. A node whose director does not say that it runs is sent nothing: its
/// kernel would take the connection, and lose it when the director comes. One whose director is going is sent what it has.
fn placement(
    world: &World,
    endpoint: &model::Endpoint,
    vip: IpAddr,
    me: &NodeName,
    nodes: &BTreeMap<&NodeName, Vec<(IpAddr, IfIndex)>>,
) -> Placement {
    let Some(node) = &endpoint.node else {
        return Placement::Unknown;
    };
    if node == me {
        return Placement::Local;
    }
    let director = world.last_known(node).map(|peer| peer.xdp);
    let placed: fn(IpAddr) -> Placement = match director {
        Some(XdpState::Ready) => Placement::Remote,
        Some(XdpState::Draining) => Placement::Leaving,
        _ => return Placement::Unknown,
    };
    let addresses = nodes.get(node).map_or(&[][..], Vec::as_slice);
    let same = addresses
        .iter()
        .find(|(address, _)| address.is_ipv4() == vip.is_ipv4());
    same.or(addresses.first())
        .map_or(Placement::Unknown, |(address, _)| placed(*address))
}
