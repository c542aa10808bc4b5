//! A policy read once: its patterns compiled, its selectors tried, its nodes found.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use landfall_crds::selector::{self, Labels};
use landfall_crds::{L2AnnouncementPolicySpec, LoadBalancing};

use super::outcome::IdlePattern;
use crate::model::{Gateway, Interface, InterfacePatterns, Node, Policy, World};
use crate::names::{NodeName, PolicyName, ServiceKey};

/// The label that keeps a node out of load balancing.
const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// A policy ready to be asked.
#[derive(Clone, Debug)]
pub(super) struct CompiledPolicy<'a> {
    pub(super) name: &'a PolicyName,
    spec: &'a L2AnnouncementPolicySpec,
    interfaces: &'a InterfacePatterns,
    /// What is wrong with it; what is right of it works all the same.
    pub(super) defects: Vec<String>,
    /// Nodes that can announce under it, with their preference.
    pub(super) nodes: BTreeMap<NodeName, i64>,
    /// How often its announcements are repeated.
    pub(super) period: Option<Duration>,
    /// Why other nodes it might mean cannot.
    pub(super) impeded: BTreeMap<Impediment, usize>,
    /// There are nodes, and it selects none of them.
    pub(super) selects_no_node: bool,
    /// The interfaces that may announce of all nodes that it selects.
    there: Vec<&'a Interface>,
}

/// Why a node that a policy selects cannot announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Impediment {
    /// It is labelled to be left out.
    Excluded,
    /// It is tainted out of service.
    OutOfService,
    /// It has no announcer session.
    NoAnnouncer,
    /// Its announcer is stopping.
    Leaving,
    /// None of its interfaces is up that could announce.
    NoInterface,
    /// It has some, and the policy's patterns match none.
    NoMatchingInterface,
    /// The address is a Gateway's, and its director does not run.
    NoDirector,
}

impl Impediment {
    /// What a person reads after "n nodes".
    #[must_use]
    pub const fn explain(self) -> &'static str {
        match self {
            Self::Excluded => "labelled node.kubernetes.io/exclude-from-external-load-balancers",
            Self::OutOfService => "tainted node.kubernetes.io/out-of-service",
            Self::NoAnnouncer => "without a running announcer",
            Self::Leaving => "with an announcer that is stopping",
            Self::NoInterface => "without an eligible interface that has carrier",
            Self::NoMatchingInterface => "with no interface that the policy's interfaces match",
            Self::NoDirector => "without an XDP director, which alone serves Gateways",
        }
    }
}

/// Reads every policy of the world.
pub(super) fn compile(world: &World) -> Vec<CompiledPolicy<'_>> {
    world
        .policies
        .iter()
        .map(|(name, policy)| CompiledPolicy::new(name, policy, world))
        .collect()
}

impl<'a> CompiledPolicy<'a> {
    fn new(name: &'a PolicyName, policy: &'a Policy, world: &'a World) -> Self {
        let mut policy = Self {
            name,
            spec: &policy.spec,
            interfaces: &policy.interfaces,
            defects: policy
                .pattern_errors
                .iter()
                .map(ToString::to_string)
                .collect(),
            nodes: BTreeMap::new(),
            period: None,
            impeded: BTreeMap::new(),
            selects_no_node: false,
            there: Vec::new(),
        };
        policy.try_selectors();
        policy.read_period();
        policy.find_nodes(world);
        policy
    }

    fn try_selectors(&mut self) {
        let preferred = self
            .spec
            .preferred_nodes
            .iter()
            .enumerate()
            .map(|(index, preferred)| {
                (
                    format!("preferredNodes[{index}].nodeSelector"),
                    Some(&preferred.node_selector),
                )
            });
        let selectors = [
            (
                "serviceSelector".to_owned(),
                self.spec.service_selector.as_ref(),
            ),
            (
                "gatewaySelector".to_owned(),
                self.spec.gateway_selector.as_ref(),
            ),
            (
                "namespaceSelector".to_owned(),
                self.spec.namespace_selector.as_ref(),
            ),
            ("nodeSelector".to_owned(), self.spec.node_selector.as_ref()),
        ];
        let defects: Vec<_> = selectors
            .into_iter()
            .chain(preferred)
            .filter_map(|(field, selector)| {
                let error = selector::matches(selector, &Labels::new()).err()?;
                Some(format!(
                    "{field} cannot be read and selects nothing: {error}"
                ))
            })
            .collect();
        self.defects.extend(defects);
    }

    fn read_period(&mut self) {
        match self.spec.period() {
            Ok(period) => self.period = period,
            Err(error) => self.defects.push(error.to_string()),
        }
    }

    fn find_nodes(&mut self, world: &'a World) {
        self.selects_no_node = !world.nodes.is_empty();
        for (name, node) in &world.nodes {
            if !selected(self.spec.node_selector.as_ref(), &node.labels) {
                continue;
            }
            self.selects_no_node = false;
            // Also of one that is restarting just now: what is said of the policy is to last. Containers' that it does not
            // want are known of the own node alone.
            let peer = world.peers.get(name).into_iter();
            let there = peer.flat_map(|peer| &peer.interfaces);
            let there: Vec<&Interface> = there
                .filter(|one| !one.container || self.admits(one))
                .collect();
            self.there.extend(there);
            match self.impediment(name, node, world) {
                Some(impediment) => *self.impeded.entry(impediment).or_default() += 1,
                None => {
                    self.nodes.insert(name.clone(), self.weight(node));
                }
            }
        }
    }

    fn impediment(&self, name: &NodeName, node: &Node, world: &World) -> Option<Impediment> {
        if node.labels.contains_key(EXCLUDED) {
            return Some(Impediment::Excluded);
        }
        if node.out_of_service {
            return Some(Impediment::OutOfService);
        }
        let Some(peer) = world
            .peers
            .get(name)
            .filter(|peer| peer.lease.session.is_some())
        else {
            return Some(Impediment::NoAnnouncer);
        };
        if peer.leaving {
            return Some(Impediment::Leaving);
        }
        if peer.interfaces.iter().any(|one| self.admits(one)) {
            return None;
        }
        Some(
            match self.spec.interfaces.is_empty() || peer.interfaces.iter().all(|one| one.container)
            {
                true => Impediment::NoInterface,
                false => Impediment::NoMatchingInterface,
            },
        )
    }

    fn weight(&self, node: &Node) -> i64 {
        let fits =
            |p: &&landfall_crds::PreferredNode| selected(Some(&p.node_selector), &node.labels);
        self.spec
            .preferred_nodes
            .iter()
            .filter(fits)
            .map(|p| i64::from(p.weight))
            .sum()
    }

    /// Whether `interface` may announce under this policy.
    pub(super) fn admits(&self, interface: &Interface) -> bool {
        self.interfaces.admits(interface)
    }

    /// Patterns that match no interface of any node it selects. Where no node has said which it has, none is.
    pub(super) fn idle_patterns(&self) -> Vec<IdlePattern> {
        // Of many nodes most names are alike.
        let names: BTreeSet<&str> = self.there.iter().map(|one| one.name.as_str()).collect();
        let names: Vec<&str> = names.into_iter().collect();
        if names.is_empty() {
            return Vec::new();
        }
        let idle = self.interfaces.idle(&names).into_iter();
        idle.map(|(pattern, meant)| IdlePattern { pattern, meant })
            .collect()
    }

    /// The names of those interfaces, but for what is a container's.
    pub(super) fn own_interfaces(&self) -> impl Iterator<Item = &str> {
        let own = self.there.iter().filter(|one| !one.container);
        own.map(|one| one.name.as_str())
    }

    /// Whether the policy is for this Service.
    pub(super) fn selects(&self, key: &ServiceKey, labels: &Labels, namespace: &Labels) -> bool {
        let seen = selector::service_labels(&key.namespace, &key.name, labels);
        self.spec.is_for_services()
            && selected(self.spec.service_selector.as_ref(), &seen)
            && selected(self.spec.namespace_selector.as_ref(), namespace)
    }

    /// Whether the policy is for this Gateway.
    pub(super) fn selects_gateway(&self, gateway: &Gateway, namespace: &Labels) -> bool {
        let classes = &self.spec.gateway_classes;
        let class = gateway.class.as_ref();
        self.spec.is_for_gateways()
            && self.announces(false)
            && (classes.is_empty() || class.is_some_and(|class| classes.contains(class)))
            && selected(self.spec.gateway_selector.as_ref(), &gateway.labels)
            && selected(self.spec.namespace_selector.as_ref(), namespace)
    }

    /// Whether it announces addresses of this origin.
    pub(super) const fn announces(&self, external: bool) -> bool {
        if external {
            self.spec.external_ips
        } else {
            self.spec.load_balancer_ips
        }
    }

    /// Whether its traffic goes through the director.
    pub(super) fn is_xdp(&self) -> bool {
        self.spec.load_balancing == LoadBalancing::Xdp
    }
}

fn selected(selector: Option<&LabelSelector>, labels: &Labels) -> bool {
    selector::matches(selector, labels).unwrap_or(false)
}
