//! What holds in every world, played on random ones.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "the shared support has more than is used here")]

mod support;

use std::collections::BTreeSet;

use landfall_gateway::{RouteKind, World, decide};
use proptest::prelude::*;
use serde_json::{Value, json};
use support::*;

const NAMESPACES: [&str; 2] = ["blue", "green"];
const KINDS: [RouteKind; 2] = [RouteKind::Tcp, RouteKind::Udp];

fn namespace() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&NAMESPACES[..])
}

fn listener() -> impl Strategy<Value = Value> {
    let protocol = prop::sample::select(&["TCP", "UDP", "HTTP"][..]);
    let from = prop::sample::select(&["Same", "All", "Selector"][..]);
    (1..4_u16, protocol, from, namespace()).prop_map(|(port, protocol, from, team)| {
        json!({
            "port": port, "protocol": protocol,
            "allowedRoutes": {"namespaces": {"from": from, "selector": {"matchLabels": {"team": team}}}},
        })
    })
}

fn named(mut listeners: Vec<Value>) -> Vec<Value> {
    for (at, listener) in listeners.iter_mut().enumerate() {
        listener["name"] = json!(format!("l{at}"));
    }
    listeners
}

/// ListenerSets, each of some Gateway of this namespace.
fn sets() -> impl Strategy<Value = Vec<(String, u8, u8, Vec<Value>)>> {
    let listeners = prop::collection::vec(listener(), 1..4);
    let one = (namespace(), 0..2_u8, 0..2_u8, 0..3_u8, listeners);
    let one = one.prop_map(|(namespace, number, of, created, listeners)| {
        let at = format!("{namespace}/s{number}");
        (at, of, created, named(listeners))
    });
    prop::collection::vec(one, 0..4)
}

fn gateways() -> impl Strategy<Value = Vec<(String, Vec<Value>)>> {
    let one = (
        namespace(),
        0..2_u8,
        prop::collection::vec(listener(), 0..5),
    );
    let one = one.prop_map(|(namespace, number, listeners)| {
        (format!("{namespace}/g{number}"), named(listeners))
    });
    prop::collection::vec(one, 0..4)
}

type DrawnRoute = (usize, String, i64, Vec<Value>, Vec<Value>);

fn routes() -> impl Strategy<Value = Vec<DrawnRoute>> {
    let parent = (namespace(), 0..5_u8, prop::option::of(0..4_u8), prop::option::of(1..4_u16)).prop_map(
        |(namespace, number, section, port)| {
            let section = section.map(|at| format!("l{at}"));
            // Of five numbers two are those of Gateways, two those of ListenerSets, and one is nobody's.
            let (kind, name) = match number {
                0..2 => ("Gateway", format!("g{number}")),
                _ => ("ListenerSet", format!("s{}", number - 2)),
            };
            json!({"kind": kind, "namespace": namespace, "name": name, "sectionName": section, "port": port})
        },
    );
    let backend = (namespace(), 0..3_u8, 79..82_u16, prop::option::of(0..4_u32)).prop_map(
        |(namespace, number, port, weight)| {
            json!({"namespace": namespace, "name": format!("s{number}"), "port": port, "weight": weight})
        },
    );
    let one = (
        0..2_usize,
        namespace(),
        0..3_u8,
        0..3_i64,
        prop::collection::vec(parent, 1..4),
        prop::collection::vec(backend, 1..4),
    );
    let named = one.prop_map(|(kind, namespace, number, created, parents, backends)| {
        (
            kind,
            format!("{namespace}/r{number}"),
            created,
            parents,
            backends,
        )
    });
    prop::collection::vec(named, 0..8)
}

fn worlds() -> impl Strategy<Value = World> {
    let granted = prop::collection::vec(
        (
            namespace(),
            0..2_usize,
            namespace(),
            prop::option::of(0..3_u8),
        ),
        0..4,
    );
    let services = prop::collection::vec((namespace(), 0..3_u8, 79..82_u16, 0..2_usize), 0..8);
    let drawn = (gateways(), sets(), routes(), granted, services);
    drawn.prop_map(|(gateways, sets, routes, grants, services)| {
        let mut world = world();
        for (number, (at, listeners)) in gateways.into_iter().enumerate() {
            let from = ["All", "Same", "None"][number % 3];
            let allowed = json!({"namespaces": {"from": from}});
            let spec = json!({"listeners": listeners, "allowedListeners": allowed});
            gateway(&mut world, &at, spec);
        }
        for (at, of, created, listeners) in sets {
            listener_set(&mut world, &at, created, json!(listeners));
            let set = std::sync::Arc::make_mut(world.listener_sets.get_mut(&name(&at)).unwrap());
            set.spec.parent_ref.name = format!("g{of}");
        }
        for (kind, at, created, parents, backends) in routes {
            let spec = json!({"parentRefs": parents, "rules": [{"backendRefs": backends}]});
            route(&mut world, KINDS[kind], &at, created, spec);
        }
        for (number, (at, kind, from, to)) in grants.into_iter().enumerate() {
            let from = json!({"group": "gateway.networking.k8s.io", "kind": KINDS[kind].as_str(), "namespace": from});
            let to = json!({"group": "", "kind": "Service", "name": to.map(|number| format!("s{number}"))});
            grant(&mut world, &format!("{at}/g{number}"), json!({"from": [from], "to": [to]}));
        }
        for (at, number, port, protocol) in services {
            let protocol = ["TCP", "UDP"][protocol];
            service(&mut world, &format!("{at}/s{number}"), &[(port, protocol)]);
        }
        world
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_two_frontends_of_a_gateway_have_one_port_and_protocol(world in worlds()) {
        let decisions = decide(&world);
        for (at, decision) in &decisions.gateways {
            let places: BTreeSet<_> = decision.frontends.iter().map(|one| (one.port, one.protocol)).collect();
            prop_assert_eq!(places.len(), decision.frontends.len());
            let sets = decisions.listener_sets.values().filter(|set| set.gateway == *at);
            let listeners = decision.listeners.iter().chain(sets.flat_map(|set| &set.listeners));
            let served = listeners.filter(|one| one.is_accepted()).count();
            prop_assert_eq!(served, decision.frontends.len());
        }
    }

    #[test]
    fn without_grants_nothing_of_another_namespace_is_reached(mut world in worlds()) {
        world.grants.clear();
        let mut home: BTreeSet<(String, u16, String)> = BTreeSet::new();
        for (key, route) in &world.routes {
            for backend in &route.spec.rules[0].backend_refs {
                let namespace = backend.namespace.clone().unwrap();
                if namespace == key.name.namespace {
                    home.insert((namespace, backend.port.unwrap(), backend.name.clone()));
                }
            }
        }
        for decision in decide(&world).gateways.values() {
            for backend in decision.frontends.iter().flat_map(|one| &one.backends) {
                let reached = (backend.namespace.clone(), backend.port, backend.name.clone());
                prop_assert!(backend.refused || home.contains(&reached));
            }
        }
    }

    #[test]
    fn a_backend_that_is_not_refused_is_there(world in worlds()) {
        for decision in decide(&world).gateways.values() {
            for frontend in &decision.frontends {
                for backend in frontend.backends.iter().filter(|one| !one.refused) {
                    let at = name(&format!("{}/{}", backend.namespace, backend.name));
                    let protocol = match frontend.protocol {
                        landfall_crds::FrontendProtocol::Tcp => "TCP",
                        landfall_crds::FrontendProtocol::Udp => "UDP",
                    };
                    let port = (backend.port, protocol.to_owned());
                    prop_assert!(world.services[&at].ports.contains(&port));
                }
            }
        }
    }

    #[test]
    fn the_shares_of_a_frontend_are_those_of_the_oldest_route_attached(world in worlds()) {
        let decisions = decide(&world);
        for (at, decision) in &decisions.gateways {
            let listeners = &world.gateways[at].spec.listeners;
            for frontend in &decision.frontends {
                let own = listeners
                    .iter()
                    .enumerate()
                    .find(|(place, one)| {
                        one.port == frontend.port
                            && decision.listeners[*place].is_accepted()
                            && one.protocol == if frontend.protocol == landfall_crds::FrontendProtocol::Tcp { "TCP" } else { "UDP" }
                    });
                // One of a ListenerSet is served in the same way.
                let Some((place, listener)) = own else {
                    continue;
                };
                // Told from the routes' side: who says that it is attached here.
                let quoted = format!("\"{}\"", listener.name);
                let attached: Vec<_> = decisions
                    .routes
                    .iter()
                    .filter(|(_, parents)| {
                        parents.iter().any(|parent| {
                            let accepted = find(&parent.conditions, "Accepted");
                            parent.parent_ref.kind.as_deref() == Some("Gateway")
                                && parent.parent_ref.name == at.name
                                && parent.parent_ref.namespace.as_ref() == Some(&at.namespace)
                                && accepted.status == Some(true)
                                && accepted.message.contains(&quoted)
                        })
                    })
                    .map(|(key, _)| (world.routes[key].created, key.name.clone(), key.clone()))
                    .collect();
                prop_assert_eq!(decision.listeners[place].attached, attached.len());
                let oldest = attached.into_iter().min();
                let expected: u32 = oldest.map_or(0, |(_, _, key)| {
                    let backends = &world.routes[&key].spec.rules[0].backend_refs;
                    backends.iter().map(|backend| backend.weight.unwrap_or(1)).sum()
                });
                let found: u32 = frontend.backends.iter().map(|backend| backend.weight).sum();
                prop_assert_eq!(found, expected);
            }
        }
    }

    #[test]
    fn every_condition_has_a_reason_and_a_sentence(world in worlds()) {
        let decisions = decide(&world);
        let of_routes = decisions.routes.values().flatten().flat_map(|parent| &parent.conditions);
        for condition in of_routes {
            prop_assert!(!condition.reason.is_empty() && !condition.message.is_empty());
        }
        for decision in decisions.gateways.values() {
            for listener in &decision.listeners {
                for condition in listener.conditions(&decision.accepted) {
                    prop_assert!(!condition.reason.is_empty() && !condition.message.is_empty());
                }
            }
        }
        for set in decisions.listener_sets.values() {
            let accepted = &decisions.gateways[&set.gateway].accepted;
            let of_listeners = set.listeners.iter().flat_map(|one| one.conditions(accepted));
            for condition in of_listeners.chain([set.accepted.clone(), set.programmed(accepted)]) {
                prop_assert!(!condition.reason.is_empty() && !condition.message.is_empty());
            }
        }
    }
}
