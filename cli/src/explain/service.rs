//! Why a Service has its addresses, or has none.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use landfall_controller::survey;
use landfall_crds::conditions::{ADDRESS_ASSIGNED, SERVICE_ANNOUNCED, find};
use landfall_crds::text::quoted;
use landfall_crds::{HolderKey, LOAD_BALANCER_CLASS};
use landfall_ipam::plan::{Explanation, How};
use landfall_ipam::request::Request;
use landfall_ipam::service::FamilyPolicy;
use landfall_ipam::{Index, Service as Known};

use super::announcing::{Whom, announcing};
use super::{Asked, Told, said, unread};
use crate::ips::{Ip, of_record};
use crate::words::{Tree, age};

/// How many Events are shown.
const EVENTS: usize = 5;
/// How many that wait before it are named.
const NAMED: usize = 4;

/// Explains a Service; `None` where there is none of this name to be read.
pub(crate) fn service(asked: &Asked<'_>, key: &HolderKey) -> Option<Told> {
    let object = asked.picture.services.all().iter().find(|service| {
        service.metadata.namespace.as_ref() == Some(&key.namespace)
            && service.metadata.name.as_ref() == Some(&key.name)
    })?;
    let status = object.status.clone().unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    let assigned = find(&conditions, ADDRESS_ASSIGNED);
    let announced = find(&conditions, SERVICE_ANNOUNCED);
    let cache = survey::cache(asked.picture.objects(), asked.settings);
    let known = cache.index.service(key).cloned();
    let wanted = known.as_ref().is_some_and(|known| known.wanted);

    let mut below = vec![whose(asked, object)];
    if let Some(known) = known.as_ref().filter(|known| known.wanted) {
        below.push(wishes(known));
        below.extend(planned(asked, &cache.index, known, assigned));
    }
    if let Some(condition) = assigned {
        let title = "The controller says";
        below.push(Tree::new(title, vec![said(condition, asked.now)]));
    }
    let ips = records(asked, key);
    if wanted {
        let whom = Whom {
            metadata: &object.metadata,
            class: None,
        };
        below.push(announcing(asked, whom, &ips, announced));
    }
    below.extend(events(asked));

    let is_true = |condition: Option<&Condition>| condition.is_some_and(|c| c.status == "True");
    let well = wanted && is_true(assigned) && is_true(announced);
    let has = status.load_balancer.and_then(|balancer| balancer.ingress);
    let has: Vec<String> = has
        .into_iter()
        .flatten()
        .filter_map(|point| point.ip)
        .collect();
    let headline = match (wanted, has.is_empty()) {
        (false, _) => "Landfall does not serve it".to_owned(),
        (true, true) => "has no address".to_owned(),
        (true, false) => {
            let answered = match is_true(announced) {
                true => "answered for",
                false => "not answered for",
            };
            format!("has {}, {answered}", has.join(" and "))
        }
    };
    Some(Told {
        well,
        tree: Tree::new(format!("Service {key}: {headline}"), below),
    })
}

/// Whether it is Landfall's to serve, and why.
fn whose(asked: &Asked<'_>, service: &Service) -> Tree {
    let spec = service.spec.clone().unwrap_or_default();
    let type_ = spec.type_.unwrap_or_default();
    let words = match spec.load_balancer_class.as_deref() {
        _ if type_ != "LoadBalancer" => {
            format!("✗ it is of type {type_}: Services of type LoadBalancer get addresses")
        }
        _ if service.metadata.deletion_timestamp.is_some() => "✗ it is being deleted".to_owned(),
        Some(LOAD_BALANCER_CLASS) => format!("✓ its class is {LOAD_BALANCER_CLASS}"),
        Some(class) => format!(
            "✗ its class {} is another balancer's; a class cannot be changed: make the Service anew with {LOAD_BALANCER_CLASS}, or without",
            quoted(class)
        ),
        None if asked.settings.default_class => {
            "✓ it has no class, and the controller serves those too".to_owned()
        }
        None => format!(
            "✗ it has no class, and the controller serves those of {LOAD_BALANCER_CLASS} alone (--default-class=false)"
        ),
    };
    let guessed = asked.guessed.map(|note| Tree::leaf(format!("? {note}")));
    Tree::new(words, guessed.into_iter().collect())
}

/// What it asks for.
pub(super) fn wishes(service: &Known) -> Tree {
    let policy = match service.policy {
        FamilyPolicy::SingleStack => "one family",
        FamilyPolicy::PreferDualStack => "both families where both can be had",
        FamilyPolicy::RequireDualStack => "both families or none",
    };
    let families: Vec<&str> = service
        .families
        .iter()
        .map(|family| family.as_str())
        .collect();
    let mut below = Vec::new();
    match &service.request {
        Ok(request) => below.extend(by_name(request)),
        Err(refusal) => below.push(Tree::leaf(format!("✗ {}", refusal.message))),
    }
    below.extend(
        service
            .external
            .iter()
            .map(|address| Tree::leaf(format!("{address}, by spec.externalIPs: if a pool has it"))),
    );
    below.extend(service.notes.iter().map(Tree::leaf));
    Tree::new(
        format!("Asks for {} ({policy})", families.join(" and ")),
        below,
    )
}

fn by_name(request: &Request) -> Vec<Tree> {
    let mut words: Vec<Tree> = request
        .addresses
        .iter()
        .map(|address| {
            let field = request.fields.get(address).copied().unwrap_or("a list");
            Tree::leaf(format!("{address}, by {field}"))
        })
        .collect();
    words.extend(request.pools.iter().map(|pool| {
        Tree::leaf(format!(
            "pool {}, by landfall.dev/pool",
            quoted(pool.as_str())
        ))
    }));
    if let Some(sharing) = &request.sharing {
        words.push(Tree::leaf(format!(
            "to share by the key {}",
            quoted(&sharing.key)
        )));
    }
    if request.renumber {
        words.push(Tree::leaf("to move off an address that its pool has lost"));
    }
    words
}

/// What the planner says, pool by pool, where everything it goes by could be read.
pub(super) fn planned(
    asked: &Asked<'_>,
    index: &Index,
    service: &Known,
    assigned: Option<&Condition>,
) -> Vec<Tree> {
    let picture = asked.picture;
    let missing: Vec<&str> = [
        ("pools", picture.pools.is_seen()),
        ("records", picture.records.is_seen()),
    ]
    .into_iter()
    .filter_map(|(kind, seen)| (!seen).then_some(kind))
    .collect();
    if !missing.is_empty() {
        return vec![unread(&missing.join(" and "))];
    }
    let explanation = index.explain(service);
    let mut trees = vec![pools(&explanation, service)];
    if !explanation.ahead.is_empty() && explanation.plan.waits {
        let names: Vec<String> = explanation.ahead.iter().map(ToString::to_string).collect();
        let shown = names.get(..NAMED).unwrap_or(&names).join(", ");
        let more = names.len().saturating_sub(NAMED);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        trees.push(Tree::leaf(format!("Before it wait {shown}{more}")));
    }
    trees.push(plan(&explanation, assigned));
    let partly: Vec<&str> = [
        ("Namespaces", picture.namespaces.is_seen()),
        ("Nodes", picture.nodes.is_seen()),
        (
            "Services of other namespaces",
            picture.services_of.is_none(),
        ),
    ]
    .into_iter()
    .filter_map(|(kind, seen)| (!seen).then_some(kind))
    .collect();
    if !partly.is_empty() {
        trees.push(unread(&format!(
            "{}, which the controller goes by too,",
            partly.join(", ")
        )));
    }
    trees
}

fn pools(explanation: &Explanation, service: &Known) -> Tree {
    let held = explanation.plan.keep.iter();
    let held: Vec<_> = held.filter_map(|kept| kept.pool.clone()).collect();
    let mut below: Vec<Tree> = explanation
        .pools
        .iter()
        .map(|answer| {
            let holds = if held.contains(&answer.pool) {
                format!("; it has given what the {} has", service.key.kind)
            } else {
                String::new()
            };
            let says = match (&answer.rejection, answer.remedy) {
                (Some(why), Some(remedy)) => {
                    format!("✗ {}: {why}; to change that: {remedy}{holds}", answer.pool)
                }
                (Some(why), None) => format!("✗ {}: {why}{holds}", answer.pool),
                (None, _) => {
                    let free = answer.free.iter();
                    let mark = if free.clone().any(|(_, count)| *count > 0) {
                        "✓"
                    } else {
                        "✗"
                    };
                    let free: Vec<String> = free
                        .map(|(family, count)| format!("{count} {family} free"))
                        .collect();
                    format!(
                        "{mark} {}: it would give; {}{holds}",
                        answer.pool,
                        free.join(", ")
                    )
                }
            };
            Tree::leaf(says)
        })
        .collect();
    let refused = explanation.refused.iter();
    below.extend(
        refused.map(|(pool, error)| Tree::leaf(format!("✗ {pool}: not accepted: {error}"))),
    );
    if below.is_empty() {
        below.push(Tree::leaf("✗ there is none; apply a LoadBalancerIPPool"));
    }
    let named = service
        .readable()
        .is_some_and(|request| !request.pools.is_empty());
    let title = if named {
        "Pools"
    } else {
        "Pools, the preferred one first"
    };
    Tree::new(title, below)
}

fn plan(explanation: &Explanation, assigned: Option<&Condition>) -> Tree {
    let plan = &explanation.plan;
    let mut below = Vec::new();
    for kept in &plan.keep {
        let from = kept.pool.as_ref().map(|pool| format!(" of pool {pool}"));
        let out = kept
            .out_of_pool
            .as_ref()
            .map(|why| format!(", which {why}"));
        below.push(Tree::leaf(format!(
            "✓ keeps {}{}{}",
            kept.address,
            from.unwrap_or_default(),
            out.unwrap_or_default()
        )));
    }
    for take in &plan.take {
        let how = match take.how {
            How::Create => "takes",
            How::Adopt => "takes over, because its status has it already,",
            How::Join => "shares",
            How::Claim => "takes, because it is kept for it,",
        };
        let from = take.pool.as_ref().map(|pool| format!(" of pool {pool}"));
        below.push(Tree::leaf(format!(
            "✓ {how} {}{}",
            take.address,
            from.unwrap_or_default()
        )));
    }
    below.extend(
        plan.leave
            .iter()
            .map(|address| Tree::leaf(format!("✗ leaves {address}"))),
    );
    if let Some(outcome) = &plan.outcome
        && (!outcome.assigned
            || assigned.is_none_or(|condition| condition.message != outcome.message))
    {
        let mark = if outcome.assigned { "✓" } else { "✗" };
        below.push(Tree::leaf(format!(
            "{mark} {}: {}",
            outcome.reason.as_str(),
            outcome.message
        )));
    }
    Tree::new("So now it", below)
}

/// The records it holds.
pub(super) fn records(asked: &Asked<'_>, key: &HolderKey) -> Vec<Ip> {
    let records = asked.picture.records.all().iter();
    let held = records.filter(|record| {
        let mut holders = record.spec.holders.iter();
        holders.any(|holder| {
            holder.kind == key.kind.as_str()
                && holder.namespace == key.namespace
                && holder.name == key.name
        })
    });
    held.map(|record| of_record(record, asked.picture.services.all(), asked.now))
        .collect()
}

pub(super) fn events(asked: &Asked<'_>) -> Option<Tree> {
    if let Some(why) = asked.picture.events.hidden() {
        return Some(Tree::leaf(format!("? its Events cannot be read: {why}")));
    }
    let mut events: Vec<_> = asked.picture.events.all().iter().collect();
    let at = |event: &&k8s_openapi::api::events::v1::Event| {
        let micro = event.event_time.as_ref().map(|time| time.0);
        micro.or_else(|| event.deprecated_last_timestamp.as_ref().map(|time| time.0))
    };
    events.sort_by_key(at);
    let late = events.len().saturating_sub(EVENTS);
    let below: Vec<Tree> = events
        .iter()
        .skip(late)
        .map(|event| {
            let since = at(event).map(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time);
            Tree::leaf(format!(
                "{} ago, {}: {}",
                age(since.as_ref(), asked.now),
                event.reason.as_deref().unwrap_or_default(),
                event.note.as_deref().unwrap_or_default()
            ))
        })
        .collect();
    (!below.is_empty()).then(|| Tree::new("Events, the latest last", below))
}
