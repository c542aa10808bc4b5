//! What becomes of Gateways and routes, as values: Landfall's part of the Gateway API.
//!
//! It is not a controller and hands out no address: it knows no client, no runtime, no socket and no clock. The whole
//! world goes in, the whole decision comes out; the controller writes what differs, the allocator finds the addresses.
//!
//! ```text
//! GatewayClasses ─┐
//! Gateways ───────┤            ┌─ conditions of classes, Gateways, ListenerSets, listeners, routes
//! ListenerSets ───┤            │
//! TCP, UDPRoutes ─┤► decide ──►┤
//! ReferenceGrants ┤            ├─ frontends: port, protocol, backends by weight ──► LoadBalancerIP
//! Services ───────┤            └─ what each Gateway asks for ──► the allocator ──┐
//! Namespaces ─────┘                                programmed ◄── its addresses ─┘
//! ```
//!
//! Invariants: the same world gives the same decision; a reference into another namespace reaches nothing that no grant
//! of that namespace allows; of several routes on one listener the oldest serves.

#![warn(missing_docs)]

pub mod class;
mod condition;
pub mod gateway;
pub mod listener;
pub mod listener_set;
pub mod programmed;
pub mod refs;
pub mod route;
pub mod world;

use std::collections::BTreeMap;

pub use class::ClassDecision;
pub use gateway::GatewayDecision;
pub use listener::ListenerDecision;
pub use listener_set::ListenerSetDecision;
pub use programmed::{Standing, crowded, programmed};
pub use route::ParentDecision;
pub use world::{NamespacedName, ParentKey, ParentKind, Route, RouteKey, RouteKind, World};

/// What becomes of everything that is ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decisions {
    /// Our classes.
    pub classes: BTreeMap<String, ClassDecision>,
    /// The Gateways of our classes.
    pub gateways: BTreeMap<NamespacedName, GatewayDecision>,
    /// The ListenerSets of these.
    pub listener_sets: BTreeMap<NamespacedName, ListenerSetDecision>,
    /// What is said of the parents of routes that are Gateways of ours, or ListenerSets of these.
    pub routes: BTreeMap<RouteKey, Vec<ParentDecision>>,
}

/// Decides the whole world.
#[must_use]
pub fn decide(world: &World) -> Decisions {
    let attachments = route::attachments(world);
    let classes = world.our_classes();
    let classes = classes.map(|(name, class)| (name.clone(), class::decide(world, name, class)));
    let mut decisions = Decisions {
        classes: classes.collect(),
        ..Decisions::default()
    };
    let sets = listener_set::by_gateway(world);
    let none = listener_set::Sets::new();
    for (key, gateway) in world.our_gateways() {
        let sets = sets.get(key).unwrap_or(&none);
        let (decision, sets) = gateway::decide(world, key, gateway, sets, &attachments);
        decisions.gateways.insert(key.clone(), decision);
        decisions.listener_sets.extend(sets);
    }
    decisions.routes = attachments.decisions();
    decisions
}
