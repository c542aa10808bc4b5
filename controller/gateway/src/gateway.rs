//! A Gateway as a whole: whether it is accepted, what it asks for, what is served on its addresses.

use std::net::IpAddr;

use landfall_crds::conditions::NewCondition;
use landfall_crds::gateway_api::Gateway;
use landfall_crds::text::quoted;
use landfall_crds::{Frontend, MAX_FRONTENDS};

use crate::class;
use crate::condition::{ACCEPTED, is, is_not, unknown};
use crate::listener::{self, ListenerDecision};
use crate::refs;
use crate::route::{self, Attachments};
use crate::world::{NamespacedName, World};

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
    /// Its listeners, in their order.
    pub listeners: Vec<ListenerDecision>,
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

/// Decides one Gateway of ours.
#[must_use]
pub fn decide(
    world: &World,
    key: &NamespacedName,
    gateway: &Gateway,
    attachments: &Attachments,
) -> GatewayDecision {
    let none = std::collections::BTreeMap::new();
    let attached = attachments.of(key).unwrap_or(&none);
    let listeners = listener::decide(gateway, attached);
    let pool = world
        .our_class(gateway)
        .map_or(Ok(None), |class| class::pool(world, class));
    let accepted = if world.waits_for_class(gateway) {
        classless(gateway)
    } else {
        accepted(gateway, pool.as_ref().err(), &listeners)
    };
    let mut frontends: Vec<Frontend> = gateway
        .spec
        .listeners
        .iter()
        .zip(&listeners)
        .filter(|(_, decision)| decision.is_accepted())
        .filter_map(|(listener, _)| {
            let routes = attached.get(&listener.name).map_or(&[][..], Vec::as_slice);
            let serving = route::serving(world, routes);
            let backends = serving.map(|(key, route)| refs::backends(world, key, route));
            Some(Frontend {
                port: listener.port,
                protocol: listener::kind(listener)?.protocol(),
                backends: backends.unwrap_or_default(),
            })
        })
        .collect();
    frontends.sort();
    frontends.truncate(MAX_FRONTENDS);
    GatewayDecision {
        generation: gateway.metadata.generation,
        accepted,
        asked: asked(gateway),
        pool: pool.unwrap_or_default(),
        listeners,
        frontends,
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
    let refused: Vec<&ListenerDecision> = listeners
        .iter()
        .filter(|listener| !listener.is_accepted())
        .collect();
    if refused.is_empty() {
        return is(ACCEPTED, "Accepted", "all of it can be served");
    }
    let whys: Vec<String> = refused
        .iter()
        .map(|one| format!("listener {}: {}", quoted(&one.name), one.accepted.message))
        .collect();
    let whys = whys.join("; ");
    if refused.len() == listeners.len() {
        return is_not(
            ACCEPTED,
            "ListenersNotValid",
            format!("no listener can be served: {whys}"),
        );
    }
    let served: Vec<String> = listeners
        .iter()
        .filter(|listener| listener.is_accepted())
        .map(|listener| quoted(&listener.name).to_string())
        .collect();
    is(
        ACCEPTED,
        "ListenersNotValid",
        format!("only {} can be served; {whys}", served.join(", ")),
    )
}
