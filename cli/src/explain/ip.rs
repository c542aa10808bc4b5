//! Who has an address, who could have it, and who answers for it.

use std::net::IpAddr;

use landfall_controller::survey;
use landfall_crds::conditions::{ADDRESS_CONFLICT, ANNOUNCED, OUT_OF_POOL};
use landfall_crds::{LoadBalancerIP, ReclaimPolicy, ip_name, parse_ip_name};
use landfall_ipam::Index;
use landfall_ipam::address::{Point, unusable};

use super::announcing::answers;
use super::{Asked, Told, said, unread};
use crate::ips::{Ip, State, of_record};
use crate::words::{Tree, age};

/// The address somebody means: itself, or the name of its record.
pub(crate) fn parse(text: &str) -> Option<IpAddr> {
    text.parse().ok().or_else(|| parse_ip_name(text).ok())
}

/// Explains an address.
pub(crate) fn ip(asked: &Asked<'_>, address: IpAddr) -> Told {
    let cache = survey::cache(asked.picture.objects(), asked.settings);
    let name = ip_name(address);
    let mut records = asked.picture.records.all().iter();
    let record = records.find(|record| record.metadata.name.as_deref() == Some(&*name));
    let ip = record.map(|record| of_record(record, asked.picture.services.all(), asked.now));
    let mut below = Vec::new();
    match (record, &ip) {
        (Some(record), Some(ip)) => {
            below.push(holders(record));
            if !record.spec.holders.is_empty() {
                below.push(announcing(asked, record, ip));
            }
        }
        _ if asked.picture.records.is_seen() => {
            below.push(Tree::leaf(format!(
                "no record: there is no LoadBalancerIP {name}"
            )));
        }
        _ => below.push(unread("records")),
    }
    let others = others(asked, address);
    let elsewhere = !others.is_empty();
    below.extend(others);
    let (pools, covered) = pools(asked, &cache.index, address);
    below.push(pools);
    let asking = asking(&cache.index, address, record);
    if !asking.is_empty() {
        below.push(Tree::new("Services that ask for it by name", asking));
    }
    let headline = match (&ip, unusable(address)) {
        (_, Some(kind)) => format!("is {kind}: no Service can have it"),
        (Some(ip), _) => match (ip.holders.as_slice(), &ip.reserved_for) {
            ([], Some(kept)) => format!("is kept for {kept}"),
            ([], None) => "is being released".to_owned(),
            (holders, _) => format!("is held by {}", holders.join(", ")),
        },
        (None, _) if !asked.picture.records.is_seen() => "cannot be looked up".to_owned(),
        (None, _) if elsewhere => "is in use, and no Service can be given it".to_owned(),
        (None, _) if covered => "is free".to_owned(),
        (None, _) => "is none of Landfall's".to_owned(),
    };
    let well = ip
        .as_ref()
        .is_none_or(|ip| !matches!(ip.state, State::Silent | State::Conflict));
    Told {
        well: well && asked.picture.records.is_seen() && unusable(address).is_none(),
        tree: Tree::new(format!("Address {address}: {headline}"), below),
    }
}

fn holders(record: &LoadBalancerIP) -> Tree {
    let spec = &record.spec;
    let mut below: Vec<Tree> = spec
        .holders
        .iter()
        .map(|holder| {
            Tree::leaf(format!(
                "{} {}/{}",
                holder.kind, holder.namespace, holder.name
            ))
        })
        .collect();
    if let Some(key) = &spec.sharing_key {
        below.push(Tree::leaf(format!("shared by the key {key:?}")));
    }
    if let Some(kept) = &spec.reserved_for {
        below.push(Tree::leaf(format!(
            "kept for {} {}/{}",
            kept.kind, kept.namespace, kept.name
        )));
    }
    if spec.reclaim_policy == ReclaimPolicy::Retain {
        below.push(Tree::leaf(
            "reclaimPolicy Retain: it stays its holder's when that is deleted",
        ));
    }
    if let Some(pool) = &spec.pool_ref {
        below.push(Tree::leaf(format!("from pool {}", pool.name)));
    }
    let name = record.metadata.name.clone().unwrap_or_default();
    Tree::new(format!("LoadBalancerIP {name}"), below)
}

fn announcing(asked: &Asked<'_>, record: &LoadBalancerIP, ip: &Ip) -> Tree {
    let mut below = vec![answers(ip)];
    let status = record.status.clone().unwrap_or_default();
    if let Some(owner) = &status.owner {
        let since = age(owner.since.as_ref(), asked.now);
        below.push(Tree::leaf(format!(
            "for {since}; change of owner number {}; session {}",
            owner.transitions, owner.session
        )));
        if let Some(next) = &owner.handover_to {
            below.push(Tree::leaf(format!("about to be handed over to {next}")));
        }
    }
    let shown = [ANNOUNCED, ADDRESS_CONFLICT, OUT_OF_POOL];
    let conditions = status.conditions.iter().filter(|condition| {
        let wrong = condition.type_ != ANNOUNCED && condition.status == "True";
        shown.contains(&&*condition.type_) && (condition.type_ == ANNOUNCED || wrong)
    });
    below.extend(conditions.map(|condition| {
        if condition.type_ == ANNOUNCED {
            said(condition, asked.now)
        } else {
            Tree::leaf(format!("✗ {}: {}", condition.type_, condition.message))
        }
    }));
    Tree::new("Announcing", below)
}

/// Who has the address without a record.
fn others(asked: &Asked<'_>, address: IpAddr) -> Vec<Tree> {
    let text = address.to_string();
    let is = |other: &String| other.parse() == Ok(address) || *other == text;
    let nodes = asked.picture.nodes.all().iter().filter(|node| {
        let addresses = node
            .status
            .as_ref()
            .and_then(|status| status.addresses.as_ref());
        addresses
            .into_iter()
            .flatten()
            .any(|found| is(&found.address))
    });
    let nodes = nodes.map(|node| {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        Tree::leaf(format!("✗ node {name} has it: it is never handed out"))
    });
    let mut found: Vec<Tree> = nodes.collect();
    for service in asked.picture.services.all() {
        let spec = service.spec.clone().unwrap_or_default();
        let name = format!(
            "{}/{}",
            service.metadata.namespace.as_deref().unwrap_or_default(),
            service.metadata.name.as_deref().unwrap_or_default()
        );
        if spec.cluster_ips.iter().flatten().any(is) {
            found.push(Tree::leaf(format!(
                "✗ it is the cluster IP of Service {name}"
            )));
        }
        if spec.external_ips.iter().flatten().any(is) {
            found.push(Tree::leaf(format!(
                "Service {name} names it in spec.externalIPs"
            )));
        }
    }
    found
}

/// The pools that have it, and whether any has.
fn pools(asked: &Asked<'_>, index: &Index, address: IpAddr) -> (Tree, bool) {
    if !asked.picture.pools.is_seen() {
        return (unread("pools"), false);
    }
    let covering = index
        .pools()
        .iter()
        .filter(|pool| pool.usable.contains(Point::from(address)));
    let mut below: Vec<Tree> = covering
        .map(|pool| {
            let mut words = vec![pool.name.to_string()];
            if pool.draining {
                words.push("it is being deleted: nobody new gets anything of it".to_owned());
            } else if pool.disabled {
                words.push("it is disabled: nobody new gets anything of it".to_owned());
            } else if !pool.auto_assign {
                words.push("it gives only to who names it or its addresses".to_owned());
            }
            if pool.services.is_some() || pool.namespaces.is_some() {
                words.push("only to those its selectors match".to_owned());
            }
            if !pool.gateway_classes.is_empty() {
                words.push(format!(
                    "only to Gateways of class {}",
                    pool.gateway_classes.join(", ")
                ));
            }
            Tree::leaf(words.join("; "))
        })
        .collect();
    let covered = !below.is_empty();
    if !covered {
        below.push(Tree::leaf(
            "none: who asks for it is refused; add a block to a pool",
        ));
    }
    (Tree::new("Pools that have it", below), covered)
}

/// Services that name the address and do not hold it, and what they are told.
fn asking(index: &Index, address: IpAddr, record: Option<&LoadBalancerIP>) -> Vec<Tree> {
    let asking = index.services().filter(|service| {
        let request = service.readable();
        let asks = request.is_some_and(|request| request.addresses.contains(&address));
        let holders = record.into_iter().flat_map(|record| &record.spec.holders);
        let holds = holders
            .filter(|holder| holder.kind == "Service")
            .any(|holder| {
                holder.namespace == service.key.namespace && holder.name == service.key.name
            });
        service.wanted && asks && !holds
    });
    asking
        .map(|service| {
            let plan = index.preview(service);
            let says = plan.outcome.map_or_else(String::new, |outcome| {
                format!(": {}: {}", outcome.reason.as_str(), outcome.message)
            });
            Tree::leaf(format!("{}{says}", service.key))
        })
        .collect()
}
