//! Who answers for addresses, and by which policy.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use landfall_crds::selector::{Labels, matches, service_labels};
use landfall_crds::text::quoted;
use landfall_crds::{L2AnnouncementPolicy, LoadBalancing};

use super::{Asked, said, unread};
use crate::ips::{Ip, State};
use crate::words::Tree;

/// A Service, or a Gateway of a class of ours, whose addresses are to be answered for.
#[derive(Clone, Copy)]
pub(super) struct Whom<'a> {
    pub(super) metadata: &'a ObjectMeta,
    /// The class of a Gateway.
    pub(super) class: Option<&'a str>,
}

/// Who answers for its addresses, and by which policy.
pub(super) fn announcing(
    asked: &Asked<'_>,
    whom: Whom<'_>,
    ips: &[Ip],
    announced: Option<&Condition>,
) -> Tree {
    let mut below: Vec<Tree> = ips.iter().map(answers).collect();
    if !asked.picture.records.is_seen() {
        below.push(unread("records"));
    }
    if asked.picture.policies.is_seen() {
        below.extend(policies(asked, whom));
    } else {
        below.push(unread("policies"));
    }
    match announced {
        Some(condition) => {
            below.push(Tree::new(
                "The announcers say",
                vec![said(condition, asked.now)],
            ));
        }
        // Of a Gateway they speak in its addresses' records.
        None if whom.class.is_some() => {}
        None => below.push(Tree::leaf("The announcers have said nothing of it yet")),
    }
    Tree::new("Announcing", below)
}

/// Who answers for an address.
pub(super) fn answers(ip: &Ip) -> Tree {
    let Some(node) = &ip.node else {
        let why = ip
            .why
            .as_ref()
            .map(|why| format!(": {why}"))
            .unwrap_or_default();
        return Tree::leaf(format!("✗ {}: nobody answers{why}", ip.address));
    };
    let on = match ip.interfaces.is_empty() {
        true => String::new(),
        false => format!(" on {}", ip.interfaces.join(", ")),
    };
    let standby = ip
        .standby
        .as_ref()
        .map(|node| format!("; {node} stands by"));
    let mark = if ip.state == State::Announced {
        "✓"
    } else {
        "✗"
    };
    let why = ip.why.as_ref().map(|why| format!("; {why}"));
    Tree::leaf(format!(
        "{mark} {}: node {node} answers{on}{}{}",
        ip.address,
        standby.unwrap_or_default(),
        why.unwrap_or_default()
    ))
}

fn policies(asked: &Asked<'_>, whom: Whom<'_>) -> Vec<Tree> {
    let namespace = whom.metadata.namespace.clone().unwrap_or_default();
    let name = whom.metadata.name.clone().unwrap_or_default();
    let own = whom.metadata.labels.clone().unwrap_or_default();
    let labels = match whom.class {
        None => service_labels(&namespace, &name, &own),
        Some(_) => own,
    };
    let namespaces = &asked.picture.namespaces;
    let of_namespace = namespaces
        .all()
        .iter()
        .find(|object| object.metadata.name.as_ref() == Some(&namespace));
    let of_namespace =
        of_namespace.map(|object| object.metadata.labels.clone().unwrap_or_default());
    let mut trees = Vec::new();
    let mut forwarding = Vec::new();
    for policy in asked.picture.policies.all() {
        let policy_name = policy.metadata.name.clone().unwrap_or_default();
        let words = match selects(policy, whom.class, &labels, of_namespace.as_ref()) {
            Ok(()) if whom.class.is_some() && policy.spec.load_balancing != LoadBalancing::Xdp => {
                format!(
                    "✗ policy {policy_name} selects it and forwards by the kernel, which knows no routes; set its \
                     spec.loadBalancing to XDP"
                )
            }
            Ok(()) => {
                forwarding.push((policy_name.clone(), policy.spec.load_balancing));
                let nodes = policy.status.as_ref().map_or(0, |status| status.nodes);
                let mark = if nodes > 0 { "✓" } else { "✗" };
                format!(
                    "{mark} policy {policy_name} selects it; {nodes} nodes can announce under it"
                )
            }
            Err(why) => format!("✗ policy {policy_name}: {why}"),
        };
        trees.push(Tree::leaf(words));
    }
    if trees.is_empty() {
        trees.push(Tree::leaf(
            "✗ there is no policy, and without one nothing is announced; apply an L2AnnouncementPolicy",
        ));
    }
    let by = |wanted: LoadBalancing| forwarding.iter().find(|(_, by)| *by == wanted);
    if let (Some((xdp, _)), Some((kernel, _))) = (by(LoadBalancing::Xdp), by(LoadBalancing::Kernel))
    {
        trees.push(Tree::leaf(format!(
            "policy {xdp} forwards by XDP and policy {kernel} by the kernel: XDP it is"
        )));
    }
    trees
}

/// Whether the policy is for the Service, or for the Gateway of that class.
fn selects(
    policy: &L2AnnouncementPolicy,
    class: Option<&str>,
    labels: &Labels,
    namespace: Option<&Labels>,
) -> Result<(), String> {
    let spec = &policy.spec;
    let selects = |selector, labels: &Labels| matches(selector, labels).unwrap_or(false);
    match class {
        None if !spec.is_for_services() => return Err("it is for Gateways alone".to_owned()),
        None if !selects(spec.service_selector.as_ref(), labels) => {
            return Err("its serviceSelector does not match".to_owned());
        }
        Some(_) if !spec.is_for_gateways() => return Err("it is for Services alone".to_owned()),
        Some(class) if !classes(policy, class) => {
            return Err(format!("its gatewayClasses do not name {}", quoted(class)));
        }
        Some(_) if !selects(spec.gateway_selector.as_ref(), labels) => {
            return Err("its gatewaySelector does not match".to_owned());
        }
        Some(_) if !spec.load_balancer_ips => {
            return Err("it does not announce loadBalancerIPs".to_owned());
        }
        _ => {}
    }
    match (spec.namespace_selector.as_ref(), namespace) {
        (None, _) => {}
        (Some(_), None) => {
            return Err("whether its namespaceSelector matches, you may not read".to_owned());
        }
        (selector, Some(labels)) if !selects(selector, labels) => {
            return Err("its namespaceSelector does not match".to_owned());
        }
        _ => {}
    }
    if !spec.load_balancer_ips && !spec.external_ips {
        return Err("it announces neither loadBalancerIPs nor externalIPs".to_owned());
    }
    Ok(())
}

fn classes(policy: &L2AnnouncementPolicy, class: &str) -> bool {
    let named = &policy.spec.gateway_classes;
    named.is_empty() || named.iter().any(|one| one == class)
}
