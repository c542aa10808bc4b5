//! Who answers for addresses, and by which policy.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use landfall_crds::selector::{Labels, matches, service_labels};
use landfall_crds::{L2AnnouncementPolicy, LoadBalancing};

use super::{Asked, said, unread};
use crate::ips::{Ip, State};
use crate::words::Tree;

/// Who answers for its addresses, and by which policy.
pub(super) fn announcing(
    asked: &Asked<'_>,
    service: &Service,
    ips: &[Ip],
    announced: Option<&Condition>,
) -> Tree {
    let mut below: Vec<Tree> = ips.iter().map(answers).collect();
    if !asked.picture.records.is_seen() {
        below.push(unread("records"));
    }
    if asked.picture.policies.is_seen() {
        below.extend(policies(asked, service));
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

fn policies(asked: &Asked<'_>, service: &Service) -> Vec<Tree> {
    let namespace = service.metadata.namespace.clone().unwrap_or_default();
    let name = service.metadata.name.clone().unwrap_or_default();
    let own = service.metadata.labels.clone().unwrap_or_default();
    let labels = service_labels(&namespace, &name, &own);
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
        let words = match selects(policy, &labels, of_namespace.as_ref()) {
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

/// Whether the policy is for the Service.
fn selects(
    policy: &L2AnnouncementPolicy,
    labels: &Labels,
    namespace: Option<&Labels>,
) -> Result<(), String> {
    let spec = &policy.spec;
    let selects = |selector, labels: &Labels| matches(selector, labels).unwrap_or(false);
    if !selects(spec.service_selector.as_ref(), labels) {
        return Err("its serviceSelector does not match".to_owned());
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
