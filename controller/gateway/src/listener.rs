//! A listener, of a Gateway or of a ListenerSet: whether its protocol is served, whether its port is free, which routes it
//! takes.

use std::collections::BTreeMap;

use landfall_crds::MAX_FRONTENDS;
use landfall_crds::conditions::NewCondition;
use landfall_crds::gateway_api::{self, AllowedRoutes, Listener, RouteGroupKind, RouteNamespaces};
use landfall_crds::selector;
use landfall_crds::text::quoted;

use crate::condition::{ACCEPTED, CONFLICTED, PROGRAMMED, RESOLVED_REFS, is, is_not};
use crate::world::{ParentKey, ParentKind, RouteKey, RouteKind, World};

/// What becomes of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerDecision {
    /// Its name.
    pub name: String,
    /// The kinds of routes it takes.
    pub supported_kinds: Vec<RouteKind>,
    /// How many routes are attached.
    pub attached: usize,
    /// `Accepted`.
    pub accepted: NewCondition,
    /// `Conflicted`.
    pub conflicted: NewCondition,
    /// `ResolvedRefs`.
    pub resolved_refs: NewCondition,
}

impl ListenerDecision {
    /// Whether it is served.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        self.accepted.status == Some(true)
    }

    /// Its conditions, with `Programmed` as it follows from its Gateway's.
    #[must_use]
    pub fn conditions(&self, gateway: &NewCondition) -> Vec<NewCondition> {
        let programmed = if !self.is_accepted() {
            let reason = match self.accepted.reason.as_str() {
                // Both conditions of a listener of a ListenerSet name what it is in conflict by.
                PROTOCOL_CONFLICT => PROTOCOL_CONFLICT,
                _ => "Invalid",
            };
            is_not(PROGRAMMED, reason, self.accepted.message.clone())
        } else if self.supported_kinds.is_empty() {
            is_not(PROGRAMMED, "Invalid", self.resolved_refs.message.clone())
        } else if gateway.status == Some(true) {
            is(PROGRAMMED, "Programmed", gateway.message.clone())
        } else {
            is_not(PROGRAMMED, "Pending", gateway.message.clone())
        };
        vec![
            self.accepted.clone(),
            self.conflicted.clone(),
            self.resolved_refs.clone(),
            programmed,
        ]
    }
}

/// The ports of a Gateway that are taken by listeners of higher precedence: its own come before those of its ListenerSets,
/// of these the oldest first.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    ports: BTreeMap<(u16, RouteKind), ParentKind>,
    served: usize,
}

impl Taken {
    /// Takes the ports of an object's listeners, as they were decided.
    pub fn take(&mut self, by: ParentKind, listeners: &[Listener], decided: &[ListenerDecision]) {
        for listener in listeners {
            if let Some(kind) = kind(listener) {
                self.ports.entry((listener.port, kind)).or_insert(by);
            }
        }
        let served = decided.iter().filter(|one| one.is_accepted());
        self.served += served.count();
    }

    fn by(&self, listener: &Listener) -> Option<ParentKind> {
        self.ports.get(&(listener.port, kind(listener)?)).copied()
    }
}

const PROTOCOL_CONFLICT: &str = "ProtocolConflict";

/// The kind of routes that a listener's protocol is for, if it is one that we serve.
#[must_use]
pub fn kind(listener: &Listener) -> Option<RouteKind> {
    match listener.protocol.as_str() {
        "TCP" => Some(RouteKind::Tcp),
        "UDP" => Some(RouteKind::Udp),
        _ => None,
    }
}

/// The kinds of routes that a listener takes, and those it names in vain.
fn kinds(listener: &Listener) -> (Vec<RouteKind>, Vec<&RouteGroupKind>) {
    let own = kind(listener);
    let named = listener
        .allowed_routes
        .as_ref()
        .map(|allowed| &allowed.kinds);
    let Some(named) = named.filter(|named| !named.is_empty()) else {
        return (own.into_iter().collect(), Vec::new());
    };
    let is_own = |named: &&RouteGroupKind| {
        let group = named.group.as_deref().unwrap_or(gateway_api::GROUP);
        group == gateway_api::GROUP && own.is_some_and(|own| own.as_str() == named.kind)
    };
    let vain = named.iter().filter(|named| !is_own(named)).collect();
    let takes = named.iter().any(|named| is_own(&named));
    (own.filter(|_| takes).into_iter().collect(), vain)
}

/// Whether a listener takes routes of the kind.
#[must_use]
pub fn takes_kind(listener: &Listener, kind: RouteKind) -> bool {
    kinds(listener).0.contains(&kind)
}

/// Whether a listener of that parent takes routes of the namespace. A selector that is missing, or that cannot be
/// read, selects nobody.
#[must_use]
pub fn takes_namespace(
    world: &World,
    parent: &ParentKey,
    listener: &Listener,
    namespace: &str,
) -> bool {
    let allowed = listener.allowed_routes.as_ref();
    let namespaces = allowed.and_then(|allowed| allowed.namespaces.as_ref());
    let from = namespaces.and_then(|namespaces| namespaces.from.as_deref());
    selects(
        world,
        from.unwrap_or("Same"),
        namespaces,
        &parent.name.namespace,
        namespace,
    )
}

/// Whether what an object of the namespace `own` allows is a namespace.
pub(crate) fn selects(
    world: &World,
    from: &str,
    namespaces: Option<&RouteNamespaces>,
    own: &str,
    namespace: &str,
) -> bool {
    match from {
        "Same" => own == namespace,
        "All" => true,
        "Selector" => {
            let selector = namespaces.and_then(|namespaces| namespaces.selector.as_ref());
            let labels = world.namespaces.get(namespace);
            selector.zip(labels).is_some_and(|(selector, labels)| {
                selector::matches(Some(selector), labels).unwrap_or(false)
            })
        }
        _ => false,
    }
}

/// Decides the listeners of an object, in their order; `attached` has the routes of each, `taken` the ports that are
/// those of others.
#[must_use]
pub fn decide(
    listeners: &[Listener],
    attached: &BTreeMap<String, Vec<RouteKey>>,
    taken: &Taken,
) -> Vec<ListenerDecision> {
    let mut room = MAX_FRONTENDS.saturating_sub(taken.served);
    let decisions = listeners.iter().map(|listener| {
        let rivals: Vec<&str> = listeners
            .iter()
            .filter(|other| collide(listener, other))
            .map(|other| other.name.as_str())
            .collect();
        let before = taken.by(listener);
        let mut accepted = accepted(listener, &rivals, before);
        if accepted.status == Some(true) {
            match room.checked_sub(1) {
                Some(left) => room = left,
                None => accepted = too_many(),
            }
        }
        ListenerDecision {
            name: listener.name.clone(),
            supported_kinds: kinds(listener).0,
            attached: attached.get(&listener.name).map_or(0, Vec::len),
            accepted,
            conflicted: conflicted(listener, &rivals, before),
            resolved_refs: resolved_refs(listener),
        }
    });
    decisions.collect()
}

fn too_many() -> NewCondition {
    is_not(
        ACCEPTED,
        "TooManyListeners",
        format!(
            "an address serves {MAX_FRONTENDS} listeners at most, those of the Gateway and of older ListenerSets first; \
             use another Gateway"
        ),
    )
}

/// Whether two listeners cannot be told apart by what arrives. Only those that are served can collide.
fn collide(one: &Listener, other: &Listener) -> bool {
    one.name != other.name
        && one.port == other.port
        && kind(one).is_some_and(|own| kind(other) == Some(own))
}

fn rivalry(listener: &Listener, rivals: &[&str]) -> String {
    format!(
        "{} port {} is also that of {}, and none of them is served; give each a port of its own",
        listener.protocol,
        listener.port,
        named(rivals)
    )
}

fn named(listeners: &[&str]) -> String {
    let names: Vec<String> = listeners
        .iter()
        .map(|name| format!("listener {}", quoted(name)))
        .collect();
    names.join(" and ")
}

/// Whose port it is already. Siblings are not named: who may see one ListenerSet may not see every other.
fn precedence(listener: &Listener, before: ParentKind) -> String {
    let whose = match before {
        ParentKind::Gateway => "the Gateway itself",
        ParentKind::ListenerSet => "an older ListenerSet of the Gateway",
    };
    format!(
        "{} port {} is that of a listener of {whose}, which comes first; use another port",
        listener.protocol, listener.port
    )
}

fn conflicted(listener: &Listener, rivals: &[&str], before: Option<ParentKind>) -> NewCondition {
    if let Some(before) = before {
        return is(CONFLICTED, PROTOCOL_CONFLICT, precedence(listener, before));
    }
    if rivals.is_empty() {
        return is_not(
            CONFLICTED,
            "NoConflicts",
            "no other listener has this protocol and port",
        );
    }
    is(CONFLICTED, PROTOCOL_CONFLICT, rivalry(listener, rivals))
}

fn accepted(listener: &Listener, rivals: &[&str], before: Option<ParentKind>) -> NewCondition {
    if kind(listener).is_none() {
        return is_not(ACCEPTED, "UnsupportedProtocol", unsupported(listener));
    }
    if let Some(before) = before {
        return is_not(ACCEPTED, PROTOCOL_CONFLICT, precedence(listener, before));
    }
    if !rivals.is_empty() {
        return is_not(ACCEPTED, "PortUnavailable", rivalry(listener, rivals));
    }
    if let Some(why) = unreadable(listener.allowed_routes.as_ref()) {
        return is_not(ACCEPTED, "UnsupportedValue", why);
    }
    is(
        ACCEPTED,
        "Accepted",
        format!("{} port {} is served", listener.protocol, listener.port),
    )
}

/// What the remedy for a protocol of layer 7 is.
fn unsupported(listener: &Listener) -> String {
    let protocol = quoted(&listener.protocol);
    match listener.protocol.as_str() {
        "HTTP" | "HTTPS" | "TLS" => format!(
            "protocol {protocol} is of layer 7, which Landfall leaves to others; use protocol TCP with a TCPRoute to a \
             proxy, or a GatewayClass of Envoy Gateway, whose Services get their addresses from Landfall"
        ),
        _ => format!("protocol {protocol} is not served; use TCP or UDP"),
    }
}

/// What cannot be read of the namespaces that a listener takes routes from.
fn unreadable(allowed: Option<&AllowedRoutes>) -> Option<String> {
    let namespaces = allowed?.namespaces.as_ref()?;
    let field = "allowedRoutes.namespaces";
    match (namespaces.from.as_deref()?, &namespaces.selector) {
        ("Same" | "All", _) => None,
        ("Selector", None) => Some(format!(
            "{field}.from is Selector and {field}.selector is missing; say which namespaces it selects"
        )),
        ("Selector", Some(selector)) => {
            let error = selector::matches(Some(selector), &selector::Labels::new()).err()?;
            Some(format!(
                "{field}.selector cannot be read: {error}; correct it"
            ))
        }
        (other, _) => Some(format!(
            "{field}.from is {}; use Same, All or Selector",
            quoted(other)
        )),
    }
}

/// Which listeners of an object are refused and why, if any are.
pub(crate) fn refused(listeners: &[ListenerDecision]) -> Option<String> {
    let refused = listeners.iter().filter(|listener| !listener.is_accepted());
    let whys = refused
        .map(|one| format!("listener {}: {}", quoted(&one.name), one.accepted.message))
        .collect::<Vec<String>>();
    if whys.is_empty() {
        return None;
    }
    let served = listeners.iter().filter(|listener| listener.is_accepted());
    let served: Vec<String> = served
        .map(|listener| quoted(&listener.name).to_string())
        .collect();
    let whys = whys.join("; ");
    Some(if served.is_empty() {
        format!("no listener can be served: {whys}")
    } else {
        format!("only {} can be served; {whys}", served.join(", "))
    })
}

fn resolved_refs(listener: &Listener) -> NewCondition {
    let (takes, vain) = kinds(listener);
    if vain.is_empty() {
        let message = "it names no kind of routes that it cannot take";
        return is(RESOLVED_REFS, "ResolvedRefs", message);
    }
    let names: Vec<String> = vain
        .iter()
        .map(|kind| {
            let group = kind.group.as_deref().unwrap_or(gateway_api::GROUP);
            format!("{} of group {}", quoted(&kind.kind), quoted(group))
        })
        .collect();
    let remedy = match (kind(listener), takes.is_empty()) {
        (Some(own), true) => format!("name {}, or leave allowedRoutes.kinds out", own.as_str()),
        (Some(own), false) => format!("only {} is taken; remove the others", own.as_str()),
        (None, _) => "its protocol is not served, so that it takes none".to_owned(),
    };
    is_not(
        RESOLVED_REFS,
        "InvalidRouteKinds",
        format!(
            "allowedRoutes.kinds: a listener of protocol {} cannot take {}; {remedy}",
            quoted(&listener.protocol),
            names.join(", ")
        ),
    )
}
