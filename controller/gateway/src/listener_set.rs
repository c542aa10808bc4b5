//! ListenerSets: listeners that others add to a Gateway that lets them.

use std::collections::BTreeMap;

use landfall_crds::conditions::NewCondition;
use landfall_crds::gateway_api::{self, Gateway, ListenerSet};

use crate::condition::{ACCEPTED, PROGRAMMED, is, is_not};
use crate::listener::{self, ListenerDecision};
use crate::world::{NamespacedName, World};

/// What becomes of a ListenerSet of a Gateway of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerSetDecision {
    /// The generation of the spec that this is about.
    pub generation: Option<i64>,
    /// The Gateway that it adds to.
    pub gateway: NamespacedName,
    /// `Accepted`.
    pub accepted: NewCondition,
    /// Its listeners, in their order; none where the Gateway does not let it add any.
    pub listeners: Vec<ListenerDecision>,
}

impl ListenerSetDecision {
    /// Whether it counts among those that are attached.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        self.accepted.status == Some(true)
    }

    /// `Programmed`, as it follows from its Gateway's.
    #[must_use]
    pub fn programmed(&self, gateway: &NewCondition) -> NewCondition {
        if !self.is_accepted() {
            let accepted = &self.accepted;
            return is_not(PROGRAMMED, &accepted.reason, accepted.message.clone());
        }
        if gateway.status == Some(true) {
            is(PROGRAMMED, "Programmed", gateway.message.clone())
        } else {
            let message = format!("Gateway {}: {}", self.gateway, gateway.message);
            is_not(PROGRAMMED, "ParentNotProgrammed", message)
        }
    }
}

/// ListenerSets with their names, in the order of their precedence.
pub type Sets<'a> = Vec<(&'a NamespacedName, &'a ListenerSet)>;

/// The ListenerSets of each Gateway, allowed or not, in the order of their precedence: the oldest first, then by name.
#[must_use]
pub fn by_gateway(world: &World) -> BTreeMap<NamespacedName, Sets<'_>> {
    let mut all: BTreeMap<NamespacedName, Sets<'_>> = BTreeMap::new();
    for (key, set) in &world.listener_sets {
        if let Some(at) = gateway(key, set) {
            all.entry(at).or_default().push((key, set));
        }
    }
    let created = |set: &ListenerSet| set.metadata.creation_timestamp.as_ref().map(|time| time.0);
    for sets in all.values_mut() {
        // They came in the order of their names, and sorting leaves equals as they are.
        sets.sort_by_key(|(_, set)| created(set));
    }
    all
}

/// The Gateway that a ListenerSet names, if it names one and is not being deleted.
#[must_use]
pub fn gateway(key: &NamespacedName, set: &ListenerSet) -> Option<NamespacedName> {
    let parent = &set.spec.parent_ref;
    let group = parent.group.as_deref().unwrap_or(gateway_api::GROUP);
    let kind = parent.kind.as_deref().unwrap_or(gateway_api::GATEWAY);
    let is_gateway = group == gateway_api::GROUP && kind == gateway_api::GATEWAY;
    let namespace = parent.namespace.as_ref().unwrap_or(&key.namespace);
    (is_gateway && set.metadata.deletion_timestamp.is_none())
        .then(|| NamespacedName::new(namespace, &parent.name))
}

/// Whether a Gateway lets ListenerSets of that namespace add to it, or why not.
///
/// # Errors
/// Why not, and the remedy.
pub fn allowed(
    world: &World,
    at: &NamespacedName,
    gateway: &Gateway,
    namespace: &str,
) -> Result<(), String> {
    let allowed = gateway.spec.allowed_listeners.as_ref();
    let namespaces = allowed.and_then(|allowed| allowed.namespaces.as_ref());
    let from = namespaces.and_then(|namespaces| namespaces.from.as_deref());
    if listener::selects(
        world,
        from.unwrap_or("None"),
        namespaces,
        &at.namespace,
        namespace,
    ) {
        return Ok(());
    }
    Err(format!(
        "Gateway {at} takes no ListenerSets of namespace {namespace}; widen its spec.allowedListeners.namespaces"
    ))
}

/// A ListenerSet that its Gateway does not let add anything.
pub(crate) fn not_allowed(
    set: &ListenerSet,
    gateway: &NamespacedName,
    why: String,
) -> ListenerSetDecision {
    ListenerSetDecision {
        generation: set.metadata.generation,
        gateway: gateway.clone(),
        accepted: is_not(ACCEPTED, "NotAllowed", why),
        listeners: Vec::new(),
    }
}

/// A ListenerSet whose listeners are decided, of a Gateway about which this is said.
pub(crate) fn attached(
    set: &ListenerSet,
    gateway: &NamespacedName,
    parent: &NewCondition,
    listeners: Vec<ListenerDecision>,
) -> ListenerSetDecision {
    let accepted = if parent.status == Some(true) {
        accepted(&listeners)
    } else {
        let message = format!("Gateway {gateway} is not accepted: {}", parent.message);
        is_not(ACCEPTED, "ParentNotAccepted", message)
    };
    ListenerSetDecision {
        generation: set.metadata.generation,
        gateway: gateway.clone(),
        accepted,
        listeners,
    }
}

fn accepted(listeners: &[ListenerDecision]) -> NewCondition {
    match listener::refused(listeners) {
        None => is(ACCEPTED, "Accepted", "all of it is added to its Gateway"),
        Some(why) if listeners.iter().any(ListenerDecision::is_accepted) => {
            is(ACCEPTED, "ListenersNotValid", why)
        }
        Some(why) => is_not(ACCEPTED, "ListenersNotValid", why),
    }
}
