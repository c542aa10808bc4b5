//! Which routes attach to which listeners of our Gateways and their ListenerSets, and what is said of it.

use std::collections::BTreeMap;

use landfall_crds::conditions::NewCondition;
use landfall_crds::gateway_api::{self, Listener, ParentRef};
use landfall_crds::text::quoted;

use crate::condition::{ACCEPTED, is, is_not};
use crate::world::{NamespacedName, ParentKey, ParentKind, Route, RouteKey, World};
use crate::{listener, listener_set, refs};

/// What is said of one parent of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParentDecision {
    /// The generation of the route's spec that this is about.
    pub generation: Option<i64>,
    /// The parent, as the route has it.
    pub parent_ref: ParentRef,
    /// `Accepted`, `ResolvedRefs`.
    pub conditions: Vec<NewCondition>,
}

/// Which routes are attached to which listeners.
#[derive(Clone, Debug, Default)]
pub struct Attachments {
    /// By parent and listener, in the order of their keys, each once.
    listeners: BTreeMap<ParentKey, BTreeMap<String, Vec<RouteKey>>>,
    routes: BTreeMap<RouteKey, Vec<ParentDecision>>,
}

impl Attachments {
    /// The routes of the listeners of a Gateway or a ListenerSet.
    #[must_use]
    pub fn of(&self, parent: &ParentKey) -> Option<&BTreeMap<String, Vec<RouteKey>>> {
        self.listeners.get(parent)
    }

    /// Who serves which listener of which parent.
    fn serving<'a>(&self, world: &'a World) -> BTreeMap<ParentKey, Serving<'a>> {
        let parents = self.listeners.iter().map(|(at, listeners)| {
            let first = listeners
                .iter()
                .filter_map(|(name, routes)| Some((name.clone(), serving(world, routes)?)));
            (at.clone(), first.collect())
        });
        parents.collect()
    }

    pub(crate) fn decisions(self) -> BTreeMap<RouteKey, Vec<ParentDecision>> {
        self.routes
    }
}

/// A listener that takes a route, or why none does.
type Taken<'a> = Result<Vec<&'a Listener>, NewCondition>;

/// Attaches every route of the world.
#[must_use]
pub fn attachments(world: &World) -> Attachments {
    let mut all = Attachments::default();
    let mut parents: Vec<(&RouteKey, &Route, &ParentRef, ParentKey, Taken<'_>)> = Vec::new();
    for (key, route) in &world.routes {
        for parent in &route.spec.parent_refs {
            let Some((at, listeners)) = ours(world, key, parent) else {
                continue;
            };
            let taken = listeners.and_then(|all| attach(world, key, parent, &at, all));
            for listener in taken.iter().flatten() {
                let of = all.listeners.entry(at.clone()).or_default();
                let routes = of.entry(listener.name.clone()).or_default();
                // Routes come in the order of their keys: one that is there already came last.
                if routes.last() != Some(key) {
                    routes.push(key.clone());
                }
            }
            parents.push((key, &**route, parent, at, taken));
        }
    }
    // Who serves a listener is known once all that it takes are: it is looked for once a listener, and what a route
    // refers to once a route, however many parents it has.
    let serving = all.serving(world);
    let mut resolved: BTreeMap<&RouteKey, NewCondition> = BTreeMap::new();
    for (key, route, parent, at, taken) in parents {
        let accepted = match taken {
            Ok(listeners) => attached(key, route, &listeners, serving.get(&at)),
            Err(refusal) => refusal,
        };
        let resolved = resolved
            .entry(key)
            .or_insert_with(|| refs::condition(world, key, route));
        let decision = ParentDecision {
            generation: route.generation,
            parent_ref: parent.clone(),
            conditions: vec![accepted, resolved.clone()],
        };
        all.routes.entry(key.clone()).or_default().push(decision);
    }
    all
}

/// The routes that serve a parent's listeners, by name.
type Serving<'a> = BTreeMap<String, (&'a RouteKey, &'a Route)>;

/// What is said of a route that these listeners take: also which of them another one serves.
fn attached(
    key: &RouteKey,
    route: &Route,
    listeners: &[&Listener],
    serving: Option<&Serving<'_>>,
) -> NewCondition {
    let words = listeners.iter().map(|listener| {
        let name = quoted(&listener.name);
        let served = serving.and_then(|serving| serving.get(&listener.name));
        match served.filter(|(first, _)| *first != key) {
            Some((first, other)) => {
                let older = if other.created < route.created {
                    "older "
                } else {
                    ""
                };
                let kind = first.kind.as_str();
                format!("{name} (served by the {older}{kind} {})", first.name)
            }
            None => name.to_string(),
        }
    });
    let words: Vec<String> = words.collect();
    is(
        ACCEPTED,
        "Accepted",
        format!("attached to {}", words.join(", ")),
    )
}

/// The route that serves a listener: the oldest, then the first by name.
#[must_use]
pub fn serving<'a>(world: &'a World, attached: &[RouteKey]) -> Option<(&'a RouteKey, &'a Route)> {
    let routes = attached
        .iter()
        .filter_map(|key| world.routes.get_key_value(key));
    let routes = routes.map(|(key, route)| (key, &**route));
    routes.min_by_key(|(key, route)| (route.created, &key.name, key.kind))
}

/// The listeners of a parent, or why there are none to attach to.
type Listeners<'a> = Result<&'a [Listener], NewCondition>;

/// The parent, if it is a Gateway of ours or a ListenerSet of one.
fn ours<'a>(
    world: &'a World,
    key: &RouteKey,
    parent: &ParentRef,
) -> Option<(ParentKey, Listeners<'a>)> {
    if parent.group.as_deref().unwrap_or(gateway_api::GROUP) != gateway_api::GROUP {
        return None;
    }
    let namespace = parent.namespace.as_ref().unwrap_or(&key.name.namespace);
    let name = NamespacedName::new(namespace, &parent.name);
    match parent.kind.as_deref().unwrap_or(gateway_api::GATEWAY) {
        gateway_api::GATEWAY => {
            let gateway = world.our_gateway(&name)?;
            let kind = ParentKind::Gateway;
            Some((ParentKey { kind, name }, Ok(&gateway.spec.listeners)))
        }
        gateway_api::LISTENER_SET => {
            let set = world.listener_sets.get(&name)?;
            let at = listener_set::gateway(&name, set)?;
            let gateway = world.our_gateway(&at)?;
            let allowed = listener_set::allowed(world, &at, gateway, &name.namespace);
            let listeners = allowed.map(|()| set.spec.listeners.as_slice());
            let listeners = listeners.map_err(|why| {
                let message = format!("ListenerSet {name} is attached to no Gateway: {why}");
                is_not(ACCEPTED, "NoMatchingParent", message)
            });
            let kind = ParentKind::ListenerSet;
            Some((ParentKey { kind, name }, listeners))
        }
        _ => None,
    }
}

/// The listeners that take the route by this parent, or why there are none.
fn attach<'a>(
    world: &World,
    key: &RouteKey,
    parent: &ParentRef,
    at: &ParentKey,
    listeners: &'a [Listener],
) -> Taken<'a> {
    let meant = |listener: &&Listener| {
        let section = parent
            .section_name
            .as_deref()
            .filter(|name| !name.is_empty());
        section.is_none_or(|name| name == listener.name)
            && parent.port.is_none_or(|port| port == listener.port)
    };
    let meant: Vec<&Listener> = listeners.iter().filter(meant).collect();
    if meant.is_empty() {
        return Err(is_not(
            ACCEPTED,
            "NoMatchingParent",
            format!(
                "{at} has no listener{}{}; correct parentRefs, or add one",
                parent
                    .section_name
                    .as_ref()
                    .map_or_else(String::new, |name| format!(" named {}", quoted(name))),
                parent
                    .port
                    .map_or_else(String::new, |port| format!(" on port {port}")),
            ),
        ));
    }
    let of_kind: Vec<&Listener> = meant
        .into_iter()
        .filter(|one| listener::takes_kind(one, key.kind))
        .collect();
    let refused = |why: String| Err(is_not(ACCEPTED, "NotAllowedByListeners", why));
    if of_kind.is_empty() {
        return refused(format!(
            "no listener of {at} that is meant takes a {}; its protocol must be {}, and its allowedRoutes.kinds \
             must not leave the kind out",
            key.kind.as_str(),
            match key.kind.protocol() {
                landfall_crds::FrontendProtocol::Tcp => "TCP",
                landfall_crds::FrontendProtocol::Udp => "UDP",
            }
        ));
    }
    let namespace = &key.name.namespace;
    let takes: Vec<&Listener> = of_kind
        .into_iter()
        .filter(|one| listener::takes_namespace(world, at, one, namespace))
        .collect();
    if takes.is_empty() {
        return refused(format!(
            "no listener of {at} that is meant takes routes of namespace {namespace}; widen its \
             allowedRoutes.namespaces"
        ));
    }
    Ok(takes)
}
