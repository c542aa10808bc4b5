//! What a route's backends refer to, and whether they may.

use landfall_crds::gateway_api::{self, BackendRef};
use landfall_crds::text::quoted;
use landfall_crds::{Backend, conditions::NewCondition};

use crate::condition::{RESOLVED_REFS, is, is_not};
use crate::world::{NamespacedName, Route, RouteKey, World};

/// The most that one reference may weigh, and so one backend.
const MAX_WEIGHT: u32 = 1_000_000;

/// Why a reference cannot be followed: the API's reason, and what would help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved {
    reason: &'static str,
    message: String,
}

impl Unresolved {
    fn new(reason: &'static str, message: String) -> Self {
        Self { reason, message }
    }
}

/// The backends of a route, each once; those that cannot be had keep their share and refuse it.
#[must_use]
pub fn backends(world: &World, key: &RouteKey, route: &Route) -> Vec<Backend> {
    let mut found: Vec<Backend> = Vec::new();
    for backend in refs(route) {
        let at = target(key, backend);
        let one = Backend {
            namespace: at.namespace.clone(),
            name: at.name.clone(),
            port: backend.port.unwrap_or(0),
            weight: backend.weight.unwrap_or(1),
            refused: resolve(world, key, backend).is_err(),
        };
        let same = |before: &&mut Backend| {
            Backend {
                weight: one.weight,
                ..(*before).clone()
            } == one
        };
        match found.iter_mut().find(same) {
            Some(before) => {
                before.weight = before.weight.saturating_add(one.weight).min(MAX_WEIGHT)
            }
            None => found.push(one),
        }
    }
    found
}

/// `ResolvedRefs` of a route: the first of what is wrong gives the reason, the message has all of it.
#[must_use]
pub fn condition(world: &World, key: &RouteKey, route: &Route) -> NewCondition {
    let wrong: Vec<Unresolved> = refs(route)
        .filter_map(|backend| resolve(world, key, backend).err())
        .collect();
    let Some(first) = wrong.first() else {
        return is(
            RESOLVED_REFS,
            "ResolvedRefs",
            "every backend is there and may be referred to",
        );
    };
    let messages: Vec<&str> = wrong.iter().map(|wrong| wrong.message.as_str()).collect();
    is_not(
        RESOLVED_REFS,
        first.reason,
        format!("{}; until then its share is refused", messages.join("; ")),
    )
}

/// The backends that are referred to. The standard allows one rule; of several the first is taken, because none of
/// them can say which traffic is its own.
fn refs(route: &Route) -> impl Iterator<Item = &BackendRef> {
    let rule = route.spec.rules.first();
    rule.into_iter().flat_map(|rule| &rule.backend_refs)
}

fn target(key: &RouteKey, backend: &BackendRef) -> NamespacedName {
    let namespace = backend.namespace.as_ref().unwrap_or(&key.name.namespace);
    NamespacedName::new(namespace, &backend.name)
}

fn resolve(world: &World, key: &RouteKey, backend: &BackendRef) -> Result<(), Unresolved> {
    let at = target(key, backend);
    let group = backend.group.as_deref().unwrap_or_default();
    let kind = backend.kind.as_deref().unwrap_or("Service");
    if !group.is_empty() || kind != "Service" {
        return Err(Unresolved::new(
            "InvalidKind",
            format!(
                "backend {at} is a {} of group {}; refer to a Service of the core group",
                quoted(kind),
                quoted(group)
            ),
        ));
    }
    // Asked before anything else: a refusal does not tell whether there is such an object.
    if at.namespace != key.name.namespace && !granted(world, key, &at) {
        return Err(Unresolved::new(
            "RefNotPermitted",
            format!(
                "no ReferenceGrant of namespace {} lets a {} of namespace {} refer to Service {}; create one there, or use \
                 a Service of the route's own namespace",
                at.namespace,
                key.kind.as_str(),
                key.name.namespace,
                at.name
            ),
        ));
    }
    let not_found = |message: String| Unresolved::new("BackendNotFound", message);
    let Some(service) = world.services.get(&at) else {
        let message = format!("Service {at} does not exist; create it, or correct backendRefs");
        return Err(not_found(message));
    };
    if service.external_name {
        return Err(not_found(format!(
            "Service {at} is of type ExternalName and has no endpoints in the cluster; refer to one with a selector"
        )));
    }
    let Some(port) = backend.port else {
        let message = format!("backend {at} names no port; name one of the Service");
        return Err(not_found(message));
    };
    let wanted = match key.kind.protocol() {
        landfall_crds::FrontendProtocol::Tcp => "TCP",
        landfall_crds::FrontendProtocol::Udp => "UDP",
    };
    let mut protocols = service.ports.iter().filter(|(number, _)| *number == port);
    if protocols.clone().next().is_none() {
        return Err(not_found(format!(
            "Service {at} has no port {port}; name one that it has"
        )));
    }
    if !protocols.any(|(_, protocol)| protocol == wanted) {
        return Err(Unresolved::new(
            "UnsupportedProtocol",
            format!(
                "port {port} of Service {at} is not of protocol {wanted}, which a {} sends; name one that is",
                key.kind.as_str()
            ),
        ));
    }
    Ok(())
}

/// Whether a grant of the Service's namespace lets routes of this kind and namespace refer to it.
fn granted(world: &World, key: &RouteKey, at: &NamespacedName) -> bool {
    let grants = world.grants.iter();
    let mut grants = grants.filter(|(grant, _)| grant.namespace == at.namespace);
    grants.any(|(_, grant)| {
        let from = grant.from.iter().any(|from| {
            from.group == gateway_api::GROUP
                && from.kind == key.kind.as_str()
                && from.namespace == key.name.namespace
        });
        let to = grant.to.iter().any(|to| {
            let named = to.name.as_deref().filter(|name| !name.is_empty());
            to.group.is_empty() && to.kind == "Service" && named.is_none_or(|name| name == at.name)
        });
        from && to
    })
}
