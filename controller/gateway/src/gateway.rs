//! A Gateway as a whole: whether it is accepted, what it asks for, what is served on its addresses.

use std::collections::BTreeMap;
use std::net::IpAddr;

use landfall_crds::Frontend;
use landfall_crds::conditions::NewCondition;
use landfall_crds::gateway_api::{Gateway, Listener};
use landfall_crds::text::quoted;

use crate::class;
use crate::condition::{ACCEPTED, is, is_not, unknown};
use crate::listener::{self, ListenerDecision, Taken};
use crate::listener_set::{self, ListenerSetDecision, Sets};
use crate::refs;
use crate::route::{self, Attachments};
use crate::world::{NamespacedName, ParentKey, ParentKind, RouteKey, World};

/// The type of address that we give.
const IP_ADDRESS: &str = "IPAddress";

/// What becomes of a Gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayDecision {
    /// The generation of the spec that this is about.
    pub generation: Option<i64>,
    /// `Accepted`.
    pub accepted: NewCondition,
    /// What it asks for in `spec.addresses`.
    pub asked: Result<Asked, String>,
    /// The only pool that its class has addresses of.
    pub pool: Option<String>,
    /// Its own listeners, in their order.
    pub listeners: Vec<ListenerDecision>,
    /// How many ListenerSets add to them; nothing is said where it lets none.
    pub attached_sets: Option<usize>,
    /// What is served on each of its addresses, by port and protocol.
    pub frontends: Vec<Frontend>,
}

/// What a Gateway asks for in `spec.addresses`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The addresses it names, each once.
    pub addresses: Vec<IpAddr>,
    /// How many more it asks for without naming them.
    pub any: usize,
}

impl GatewayDecision {
    /// Whether new addresses are found for it. What it has already it keeps in any case.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        self.accepted.status == Some(true)
    }
}

/// Decides one Gateway of ours, and the ListenerSets that name it, which come in the order of their precedence.
#[must_use]
pub fn decide(
    world: &World,
    key: &NamespacedName,
    gateway: &Gateway,
    sets: &Sets<'_>,
    attachments: &Attachments,
) -> (GatewayDecision, Vec<(NamespacedName, ListenerSetDecision)>) {
    let mut merged = Merged::new(world, attachments);
    let own = &gateway.spec.listeners;
    let listeners = merged.add(ParentKind::Gateway, key, own);
    let pool = world
        .our_class(gateway)
        .map_or(Ok(None), |class| class::pool(world, class));
    let accepted = if world.waits_for_class(gateway) {
        classless(gateway)
    } else {
        accepted(gateway, pool.as_ref().err(), &listeners)
    };
    let sets = sets.iter().map(|(name, set)| {
        let decision = match listener_set::allowed(world, key, gateway, &name.namespace) {
            Ok(()) => {
                let added = merged.add(ParentKind::ListenerSet, name, &set.spec.listeners);
                listener_set::attached(set, key, &accepted, added)
            }
            Err(why) => listener_set::not_allowed(set, key, why),
        };
        ((*name).clone(), decision)
    });
    let sets: Vec<(NamespacedName, ListenerSetDecision)> = sets.collect();
    let attached = sets.iter().filter(|(_, set)| set.is_accepted()).count();
    let decision = GatewayDecision {
        generation: gateway.metadata.generation,
        accepted,
        asked: asked(gateway),
        pool: pool.unwrap_or_default(),
        listeners,
        attached_sets: gateway.spec.allowed_listeners.as_ref().map(|_| attached),
        frontends: merged.frontends(),
    };
    (decision, sets)
}

/// The listeners of a Gateway and of its ListenerSets, one list to whoever serves them.
struct Merged<'a> {
    world: &'a World,
    attachments: &'a Attachments,
    taken: Taken,
    frontends: Vec<Frontend>,
}

impl<'a> Merged<'a> {
    fn new(world: &'a World, attachments: &'a Attachments) -> Self {
        Self {
            world,
            attachments,
            taken: Taken::default(),
            frontends: Vec::new(),
        }
    }

    /// Adds the listeners of an object behind those that are there.
    fn add(
        &mut self,
        kind: ParentKind,
        name: &NamespacedName,
        listeners: &[Listener],
    ) -> Vec<ListenerDecision> {
        let none = BTreeMap::new();
        let name = name.clone();
        let attached = self.attachments.of(&ParentKey { kind, name });
        let attached = attached.unwrap_or(&none);
        let decisions = listener::decide(listeners, attached, &self.taken);
        let served = listeners.iter().zip(&decisions);
        let served = served.filter(|(_, decision)| decision.is_accepted());
        let frontends = served.filter_map(|(listener, _)| self.frontend(listener, attached));
        let frontends: Vec<Frontend> = frontends.collect();
        self.frontends.extend(frontends);
        self.taken.take(kind, listeners, &decisions);
        decisions
    }

    fn frontend(
        &self,
        listener: &Listener,
        attached: &BTreeMap<String, Vec<RouteKey>>,
    ) -> Option<Frontend> {
        let routes = attached.get(&listener.name).map_or(&[][..], Vec::as_slice);
        let serving = route::serving(self.world, routes);
        let backends = serving.map(|(key, route)| refs::backends(self.world, key, route));
        Some(Frontend {
            port: listener.port,
            protocol: listener::kind(listener)?.protocol(),
            backends: backends.unwrap_or_default(),
        })
    }

    fn frontends(mut self) -> Vec<Frontend> {
        self.frontends.sort();
        self.frontends
    }
}

/// What it asks for; an address that cannot be read is told of, never replaced.
fn asked(gateway: &Gateway) -> Result<Asked, String> {
    let mut asked = Asked::default();
    for (at, address) in gateway.spec.addresses.iter().enumerate() {
        let type_ = address.type_.as_deref().unwrap_or(IP_ADDRESS);
        if type_ != IP_ADDRESS {
            return Err(format!(
                "spec.addresses[{at}] {} is of type {}; Landfall gives addresses of type {IP_ADDRESS}: change its type, or \
                 remove it",
                quoted(&address.value),
                quoted(type_)
            ));
        }
        if address.value.is_empty() {
            asked.any += 1;
            continue;
        }
        let Ok(value) = address.value.parse() else {
            return Err(format!(
                "spec.addresses[{at}] {} is no IP address; write one such as 192.0.2.10, or leave its value out for any",
                quoted(&address.value)
            ));
        };
        if !asked.addresses.contains(&value) {
            asked.addresses.push(value);
        }
    }
    Ok(asked)
}

/// What would be said of a Gateway whose class is not there, were it not left as it is.
fn classless(gateway: &Gateway) -> NewCondition {
    let class = quoted(&gateway.spec.gateway_class_name);
    unknown(
        ACCEPTED,
        "Pending",
        format!(
            "GatewayClass {class} does not exist; it keeps what it has until the class is there again"
        ),
    )
}

fn accepted(
    gateway: &Gateway,
    parameters: Option<&String>,
    listeners: &[ListenerDecision],
) -> NewCondition {
    if let Some(why) = parameters {
        return is_not(
            ACCEPTED,
            "InvalidParameters",
            format!("GatewayClass {}: {why}", gateway.spec.gateway_class_name),
        );
    }
    let infrastructure = gateway.spec.infrastructure.as_ref();
    if infrastructure.is_some_and(|all| all.parameters_ref.is_some()) {
        return is_not(
            ACCEPTED,
            "InvalidParameters",
            "spec.infrastructure.parametersRef is not read; remove it, and name a pool by the annotation landfall.dev/pool",
        );
    }
    if let Err(why) = asked(gateway) {
        return is_not(ACCEPTED, "UnsupportedAddress", why);
    }
    let Some(why) = listener::refused(listeners) else {
        return is(ACCEPTED, "Accepted", "all of it can be served");
    };
    if listeners.iter().any(ListenerDecision::is_accepted) {
        is(ACCEPTED, "ListenersNotValid", why)
    } else {
        is_not(ACCEPTED, "ListenersNotValid", why)
    }
}
