//! What is announced of every address, and by whom it may be.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use landfall_crds::Frontend;

use super::compiled::{CompiledPolicy, Impediment, compile};
use super::outcome::PolicyOutcome;
use super::refusal::Unannounced;
use crate::election::owners::Candidate;
use crate::model::{Gateway, Interface, Lbip, Readiness, Service, World, XdpState};
use crate::names::{NodeName, PolicyName, ServiceKey};

/// What is to be announced, and by whom it may be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Announcements {
    pub addresses: BTreeMap<IpAddr, Announcement>,
    /// By policy: what is wrong with it, what of it is in vain, how many addresses and nodes it has.
    pub policies: BTreeMap<PolicyName, PolicyOutcome>,
    /// Interfaces of this node that need the director.
    pub director: BTreeSet<String>,
    /// Interfaces of this node to publish.
    pub publish: Vec<Interface>,
}

/// What is announced of one address.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Announcement {
    /// Services that hold it and exist.
    pub holders: Vec<ServiceKey>,
    /// Who may own it.
    pub candidates: Vec<Candidate>,
    /// This node's interfaces that would answer for it.
    pub interfaces: BTreeSet<String>,
    /// Whether the director carries its traffic, that of Gateways at least.
    pub xdp: bool,
    /// Whether it carries that of the Services too: a policy with the director selects one of them.
    pub directs_services: bool,
    /// What the director serves on it for Gateways.
    pub frontends: Vec<Frontend>,
    /// How often the announcements are repeated; the shortest of its policies' times.
    pub period: Option<Duration>,
    /// Why there is no candidate.
    pub refusal: Option<Unannounced>,
    /// Why Gateways that share it are not served on it, although it is announced for Services.
    pub unserved: Option<Unannounced>,
}

/// Plans the announcements as node `me` sees them, whose usable interfaces are `own`.
#[must_use]
pub fn plan(world: &World, me: &NodeName, own: &[Interface]) -> Announcements {
    let policies = compile(world);
    let mut plan = Announcements {
        policies: policies
            .iter()
            .map(|policy| (policy.name.clone(), PolicyOutcome::of(policy)))
            .collect(),
        ..Announcements::default()
    };
    for interface in own {
        // Delivery happens where the backends run, which need not be where the policy announces.
        let directs = policies.iter().any(|p| p.is_xdp() && p.admits(interface));
        // What a policy may use in vain is not published: pods' interfaces are many.
        if policies.iter().any(|p| p.admits(interface)) || !interface.container {
            let mut published = interface.clone();
            // Nobody else looks for them, and whoever watches would hear of each that comes or goes.
            if !directs {
                published.addresses.clear();
            }
            plan.publish.push(published);
        }
        if directs {
            plan.director.insert(interface.name.clone());
        }
    }
    for (address, lbip) in &world.lbips {
        let chosen = plan_address(world, lbip, &policies, me, own, &mut plan.policies);
        plan.addresses.insert(*address, chosen);
    }
    plan
}

fn plan_address(
    world: &World,
    lbip: &Lbip,
    policies: &[CompiledPolicy<'_>],
    me: &NodeName,
    own: &[Interface],
    outcomes: &mut BTreeMap<PolicyName, PolicyOutcome>,
) -> Announcement {
    let mut plan = Announcement::default();
    let holders: Vec<_> = lbip
        .holders
        .iter()
        .filter_map(|(key, uid)| {
            let service = world
                .services
                .get(key)
                .filter(|service| service.uid == *uid)?;
            Some((key, service))
        })
        .collect();
    plan.holders = holders.iter().map(|(key, _)| (*key).clone()).collect();
    if holders.is_empty() && lbip.gateways.is_empty() {
        plan.refusal = Some(match lbip.holders.first() {
            Some((key, _)) => Unannounced::HolderGone(key.clone()),
            None => Unannounced::Unheld,
        });
        return plan;
    }
    let mut matching = matching(world, lbip.address, &holders, policies);
    plan.directs_services = matching.iter().any(|policy| policy.is_xdp());
    note_overruled(&matching, outcomes);
    let for_gateways = matching_gateways(world, &lbip.gateways, policies);
    let directed = for_gateways.iter().any(|policy| policy.is_xdp());
    if directed {
        plan.frontends.clone_from(&lbip.frontends);
        // One that forwards by the kernel would announce what nobody there serves.
        let names: BTreeSet<_> = matching.iter().map(|policy| policy.name).collect();
        let more = for_gateways.iter().filter(|policy| policy.is_xdp());
        matching.extend(more.filter(|policy| !names.contains(policy.name)));
    }
    let undirected = lbip.gateways.first().filter(|_| !directed);
    let undirected = undirected.map(|gateway| Unannounced::NoDirector {
        gateway: format!("{}/{}", gateway.namespace, gateway.name),
        kernel: for_gateways
            .iter()
            .map(|policy| policy.name.to_string())
            .collect(),
        policies: policies.len(),
    });
    if matching.is_empty() {
        plan.refusal = Some(match (holders.first(), undirected) {
            (Some((service, first)), _) => Unannounced::NoPolicy {
                service: (*service).clone(),
                external: first.external_ips.contains(&lbip.address),
                policies: policies.len(),
            },
            (None, Some(undirected)) => undirected,
            (None, None) => Unannounced::Unheld,
        });
        return plan;
    }
    for policy in &matching {
        if let Some(outcome) = outcomes.get_mut(policy.name) {
            outcome.addresses += 1;
        }
    }
    plan.period = matching.iter().filter_map(|policy| policy.period).min();
    plan.xdp = matching.iter().any(|policy| policy.is_xdp());
    fill_candidates(&mut plan, world, &holders, &matching);
    plan.unserved = undirected.or_else(|| without_director(&plan, world, &matching));
    let mine = matching
        .iter()
        .filter(|policy| policy.nodes.contains_key(me));
    plan.interfaces = mine
        .flat_map(|policy| own.iter().filter(|interface| policy.admits(interface)))
        .map(|interface| interface.name.clone())
        .collect();
    plan
}

/// Where policies for one address differ in who forwards, the director does.
fn note_overruled(
    matching: &[&CompiledPolicy<'_>],
    outcomes: &mut BTreeMap<PolicyName, PolicyOutcome>,
) {
    for winner in matching.iter().filter(|policy| policy.is_xdp()) {
        for loser in matching.iter().filter(|policy| !policy.is_xdp()) {
            if let Some(outcome) = outcomes.get_mut(winner.name) {
                outcome.overrules.insert(loser.name.clone());
            }
            if let Some(outcome) = outcomes.get_mut(loser.name) {
                outcome.overruled_by.insert(winner.name.clone());
            }
        }
    }
}

/// Policies that select a holder, for the origin the address has with that holder.
fn matching<'p, 'w>(
    world: &World,
    address: IpAddr,
    holders: &[(&ServiceKey, &Service)],
    policies: &'p [CompiledPolicy<'w>],
) -> Vec<&'p CompiledPolicy<'w>> {
    let empty = landfall_crds::selector::Labels::new();
    let selects = |policy: &CompiledPolicy<'_>, (key, service): &(&ServiceKey, &Service)| {
        let namespace = world
            .namespaces
            .get(&key.namespace)
            .map_or(&empty, |ns| &ns.labels);
        policy.announces(service.external_ips.contains(&address))
            && policy.selects(key, &service.labels, namespace)
    };
    policies
        .iter()
        .filter(|policy| holders.iter().any(|holder| selects(policy, holder)))
        .collect()
}

/// Policies that select a Gateway that holds the address.
fn matching_gateways<'p, 'w>(
    world: &World,
    gateways: &[Gateway],
    policies: &'p [CompiledPolicy<'w>],
) -> Vec<&'p CompiledPolicy<'w>> {
    let empty = landfall_crds::selector::Labels::new();
    let selects = |policy: &CompiledPolicy<'_>, gateway: &Gateway| {
        let namespace = world.namespaces.get(&gateway.namespace);
        policy.selects_gateway(gateway, namespace.map_or(&empty, |one| &one.labels))
    };
    policies
        .iter()
        .filter(|policy| gateways.iter().any(|gateway| selects(policy, gateway)))
        .collect()
}

fn fill_candidates(
    plan: &mut Announcement,
    world: &World,
    holders: &[(&ServiceKey, &Service)],
    matching: &[&CompiledPolicy<'_>],
) {
    let mut nodes: BTreeMap<&NodeName, i64> = BTreeMap::new();
    for (node, weight) in matching.iter().flat_map(|policy| &policy.nodes) {
        let best = nodes.entry(node).or_insert(*weight);
        *best = (*best).max(*weight);
    }
    if nodes.is_empty() {
        let mut impeded = BTreeMap::new();
        for (impediment, count) in matching.iter().flat_map(|policy| &policy.impeded) {
            let most = impeded.entry(*impediment).or_insert(*count);
            *most = (*most).max(*count);
        }
        let policies = matching
            .iter()
            .map(|policy| policy.name.to_string())
            .collect();
        plan.refusal = Some(Unannounced::NoNode { policies, impeded });
        return;
    }
    for (key, _) in holders.iter().filter(|(_, service)| service.local) {
        let local = nodes_that_serve(world, key);
        nodes.retain(|node, _| local.contains(*node));
        if nodes.is_empty() {
            plan.refusal = Some(Unannounced::NoLocalEndpoint((*key).clone()));
            return;
        }
    }
    if holders.is_empty() {
        let all = nodes.len();
        nodes.retain(|node, _| !lacks_director(world, node));
        if nodes.is_empty() {
            let policies = matching.iter().map(|policy| policy.name.to_string());
            plan.refusal = Some(Unannounced::NoNode {
                policies: policies.collect(),
                impeded: [(Impediment::NoDirector, all)].into(),
            });
            return;
        }
    } else if plan.xdp {
        prefer_directors(&mut nodes, world);
    }
    plan.candidates = nodes
        .into_iter()
        .map(|(node, weight)| Candidate {
            weight,
            cordoned: world.nodes.get(node).is_some_and(|node| node.cordoned),
            unsteady: world.peers.get(node).is_some_and(|peer| peer.unsteady),
            ..Candidate::plain(node.clone())
        })
        .collect();
}

/// Why Gateways are not served where every node that may announce forwards by the kernel, for a Service beside them.
fn without_director(
    plan: &Announcement,
    world: &World,
    matching: &[&CompiledPolicy<'_>],
) -> Option<Unannounced> {
    let mut nodes = plan.candidates.iter().map(|candidate| &candidate.node);
    let lacks = !plan.frontends.is_empty()
        && !plan.candidates.is_empty()
        && nodes.all(|node| lacks_director(world, node));
    let policies = matching.iter().map(|policy| policy.name.to_string());
    lacks.then(|| Unannounced::NoNode {
        policies: policies.collect(),
        impeded: [(Impediment::NoDirector, plan.candidates.len())].into(),
    })
}

/// A node whose director cannot or must not run forwards by the kernel, which works; one whose director runs is better.
fn prefer_directors(nodes: &mut BTreeMap<&NodeName, i64>, world: &World) {
    if nodes.keys().any(|node| !lacks_director(world, node)) {
        nodes.retain(|node, _| !lacks_director(world, node));
    }
}

/// Whether the director of a node cannot or must not run, or takes nothing new.
fn lacks_director(world: &World, node: &NodeName) -> bool {
    let lacking = [XdpState::Failed, XdpState::Disabled, XdpState::Draining];
    let peer = world.peers.get(node);
    peer.is_some_and(|peer| lacking.contains(&peer.xdp))
}

/// Nodes with a ready endpoint. Where there is none, those with one that terminates and still serves: kube-proxy sends
/// traffic there as long as it does (KEP-1669), and an address that is withdrawn meanwhile cuts it off.
fn nodes_that_serve(world: &World, service: &ServiceKey) -> BTreeSet<NodeName> {
    let slices = world
        .slices
        .get(service)
        .into_iter()
        .flat_map(BTreeMap::values);
    let endpoints: Vec<_> = slices.flat_map(|slice| &slice.endpoints).collect();
    let with = |readiness| -> BTreeSet<NodeName> {
        let fit = endpoints
            .iter()
            .filter(|endpoint| endpoint.readiness == readiness);
        fit.filter_map(|endpoint| endpoint.node.clone()).collect()
    };
    let ready = with(Readiness::Ready);
    if ready.is_empty() {
        with(Readiness::Draining)
    } else {
        ready
    }
}
