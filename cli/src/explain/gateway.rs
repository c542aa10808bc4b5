//! Why a Gateway has its addresses, or has none; of another controller's, what its Services have.

use landfall_controller::cache::Cache;
use landfall_controller::gateway::{Gateway, owning};
use landfall_controller::survey;
use landfall_crds::HolderKey;
use landfall_crds::conditions::{NewCondition, find};
use landfall_crds::gateway_api::{CONTROLLER, Listener};
use landfall_crds::text::quoted;
use landfall_gateway::{ListenerDecision, NamespacedName, ParentDecision};

use super::announcing::{Whom, announcing};
use super::service::{events, planned, records, wishes};
use super::{Asked, Told, said, service};
use crate::picture::Hidden;
use crate::words::Tree;

/// Explains a Gateway; `None` where there is none of this name to be read.
pub(crate) fn gateway(asked: &Asked<'_>, key: &HolderKey) -> Option<Told> {
    let at = NamespacedName::new(&key.namespace, &key.name);
    let mut gateways = asked.picture.gateways.all().iter();
    let object = gateways.find(|one| NamespacedName::of(&one.metadata).as_ref() == Some(&at))?;
    let class = object.spec.gateway_class_name.as_str();
    let mut classes = asked.picture.gateway_classes.all().iter();
    let found = classes.find(|one| one.metadata.name.as_deref() == Some(class));
    let controller = found.map(|class| class.spec.controller_name.as_str());
    match controller {
        Some(CONTROLLER) => Some(ours(asked, key, &at, object)),
        Some(other) => Some(anothers(asked, &at, class, other)),
        None => Some(Told {
            well: false,
            tree: Tree::new(
                format!("Gateway {at}: nobody can say whose it is"),
                vec![Tree::leaf(match asked.picture.gateway_classes.hidden() {
                    Some(why) => format!("? GatewayClass {} cannot be read: {why}", quoted(class)),
                    None => format!(
                        "✗ GatewayClass {} does not exist; create it, or name another one",
                        quoted(class)
                    ),
                })],
            ),
        }),
    }
}

/// A Gateway of a class of Landfall.
fn ours(asked: &Asked<'_>, key: &HolderKey, at: &NamespacedName, object: &Gateway) -> Told {
    let cache = survey::cache(asked.picture.objects(), asked.settings);
    let class = object.spec.gateway_class_name.as_str();
    let decisions = &cache.gateway_api.decisions;
    let of_class = decisions.classes.get(class).into_iter();
    let of_class = of_class.flat_map(|decision| &decision.conditions);
    let of_class = of_class.filter(|one| one.type_ == "Accepted").map(decided);
    let mut below = vec![Tree::new(
        format!("✓ its class {class} is Landfall's"),
        of_class.collect(),
    )];
    let unread = hidden(asked);
    if let Some(unread) = &unread {
        below.push(unread.clone());
    } else if let Some(decision) = decisions.gateways.get(at) {
        below.push(decided(&decision.accepted));
        below.push(Tree::new(
            "Listeners",
            listeners(&object.spec.listeners, &decision.listeners),
        ));
        below.extend(listener_sets(&cache, at));
        below.extend(routes(&cache, at));
    }
    let status = object.status.clone().unwrap_or_default();
    let programmed = find(&status.conditions, "Programmed");
    let known = cache.index.service(key).filter(|known| known.wanted);
    if let Some(known) = known.filter(|_| unread.is_none()) {
        below.push(wishes(known));
        below.extend(planned(asked, &cache.index, known, None));
    }
    if let Some(condition) = programmed {
        let title = "The controller says";
        below.push(Tree::new(title, vec![said(condition, asked.now)]));
    }
    let whom = Whom {
        metadata: &object.metadata,
        class: Some(class),
    };
    below.push(announcing(asked, whom, &records(asked, key), None));
    below.extend(events(asked));
    let well = programmed.is_some_and(|condition| condition.status == "True");
    let has: Vec<&str> = status
        .addresses
        .iter()
        .map(|one| one.value.as_str())
        .collect();
    let headline = match (has.is_empty(), well) {
        (true, _) => "has no address".to_owned(),
        (false, true) => format!("is served on {}", has.join(" and ")),
        (false, false) => format!("has {}, not served", has.join(" and ")),
    };
    Told {
        well,
        tree: Tree::new(format!("Gateway {at}: {headline}"), below),
    }
}

/// What was not to be read, without which nobody can tell what is decided of a Gateway but the controller.
fn hidden(asked: &Asked<'_>) -> Option<Tree> {
    let picture = asked.picture;
    let kinds = [
        ("ListenerSets", picture.listener_sets.hidden()),
        ("TCPRoutes", picture.tcp_routes.hidden()),
        ("UDPRoutes", picture.udp_routes.hidden()),
        ("ReferenceGrants", picture.grants.hidden()),
        ("Namespaces", picture.namespaces.hidden()),
    ];
    // A kind that is not served has nothing that could be missed.
    let hidden = kinds.into_iter();
    let hidden = hidden.filter(|(_, why)| matches!(why, Some(Hidden::Forbidden)));
    let mut hidden: Vec<&str> = hidden.map(|(kind, _)| kind).collect();
    if picture.services_of.is_some() || !picture.services.is_seen() {
        hidden.push("Services");
    }
    (!hidden.is_empty()).then(|| {
        Tree::leaf(format!(
            "? listeners and routes: {} of all namespaces cannot be read, and without them only the controller knows",
            hidden.join(", ")
        ))
    })
}

/// A Gateway that another controller serves: what its Services have.
fn anothers(asked: &Asked<'_>, at: &NamespacedName, class: &str, controller: &str) -> Told {
    let services = asked.picture.services.all().iter();
    let made_for = services.filter(|service| owning(&service.metadata).as_ref() == Some(at));
    let told: Vec<Told> = made_for
        .filter_map(|one| {
            let namespace = one.metadata.namespace.clone()?;
            let key = HolderKey::service(namespace, one.metadata.name.clone()?);
            service(asked, &key)
        })
        .collect();
    let well = !told.is_empty() && told.iter().all(|told| told.well);
    let mut below: Vec<Tree> = told.into_iter().map(|told| told.tree).collect();
    if below.is_empty() {
        let of = asked.picture.services_of.as_ref();
        let of = of.map_or_else(String::new, |namespace| {
            format!(" (of those in namespace {namespace}, all that you may list)")
        });
        below.push(Tree::leaf(format!(
            "✗ no Service says that it was made for it{of}; {} makes it, and its own status says why it has not",
            quoted(controller)
        )));
    }
    let headline = format!(
        "its class {} is {}'s; Landfall serves the Services made for it",
        quoted(class),
        quoted(controller)
    );
    Told {
        well,
        tree: Tree::new(format!("Gateway {at}: {headline}"), below),
    }
}

/// A condition as the controller decides it now.
fn decided(condition: &NewCondition) -> Tree {
    let mark = match condition.status {
        Some(true) => "✓",
        Some(false) => "✗",
        None => "?",
    };
    let NewCondition {
        type_,
        reason,
        message,
        ..
    } = condition;
    let words = if *reason == *type_ {
        format!("{mark} {type_}: {message}")
    } else {
        format!("{mark} {type_}, {reason}: {message}")
    };
    Tree::leaf(words)
}

fn listeners(listeners: &[Listener], decided_of: &[ListenerDecision]) -> Vec<Tree> {
    let all = listeners.iter().zip(decided_of);
    all.map(|(listener, decision)| {
        let mark = if decision.is_accepted() { "✓" } else { "✗" };
        let wrong = [
            &decision.accepted,
            &decision.conflicted,
            &decision.resolved_refs,
        ];
        let wrong = wrong.into_iter().filter(|one| match one.type_ {
            "Conflicted" => one.status == Some(true),
            _ => one.status != Some(true),
        });
        let mut below: Vec<Tree> = wrong.map(decided).collect();
        below.dedup_by(|one, other| one.says.split(": ").nth(1) == other.says.split(": ").nth(1));
        let routes = match decision.attached {
            0 if decision.is_accepted() => "no route, so that it refuses everything".to_owned(),
            0 => "no route".to_owned(),
            1 => "1 route".to_owned(),
            more => format!("{more} routes"),
        };
        let says = format!(
            "{mark} {}: {} port {}; {routes}",
            quoted(&decision.name),
            listener.protocol,
            listener.port
        );
        Tree::new(says, below)
    })
    .collect()
}

fn listener_sets(cache: &Cache, at: &NamespacedName) -> Option<Tree> {
    let known = &cache.gateway_api;
    let sets = known.decisions.listener_sets.iter();
    let sets = sets.filter(|(_, set)| set.gateway == *at);
    let below: Vec<Tree> = sets
        .map(|(name, set)| {
            let object = known.world.listener_sets.get(name);
            let spec = object.map_or(&[][..], |object| &object.spec.listeners);
            let mut below = vec![decided(&set.accepted)];
            below.extend(listeners(spec, &set.listeners));
            Tree::new(name.to_string(), below)
        })
        .collect();
    (!below.is_empty()).then(|| Tree::new("ListenerSets that name it", below))
}

/// The routes that name it or one of its ListenerSets.
fn routes(cache: &Cache, at: &NamespacedName) -> Option<Tree> {
    let decisions = &cache.gateway_api.decisions;
    let mut below = Vec::new();
    for (key, parents) in &decisions.routes {
        let is_its = |parent: &&ParentDecision| {
            let namespace = parent.parent_ref.namespace.as_ref();
            let namespace = namespace.unwrap_or(&key.name.namespace);
            let name = NamespacedName::new(namespace, &parent.parent_ref.name);
            match parent.parent_ref.kind.as_deref() {
                Some("ListenerSet") => {
                    let set = decisions.listener_sets.get(&name);
                    set.is_some_and(|set| set.gateway == *at)
                }
                _ => name == *at,
            }
        };
        let conditions = parents.iter().filter(is_its);
        let conditions: Vec<Tree> = conditions
            .flat_map(|parent| &parent.conditions)
            .map(decided)
            .collect();
        if !conditions.is_empty() {
            let says = format!("{} {}", key.kind.as_str(), key.name);
            below.push(Tree::new(says, conditions));
        }
    }
    (!below.is_empty()).then(|| Tree::new("Routes that name it", below))
}
