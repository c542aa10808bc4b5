//! What a Service is told whose share or whose pool does not fit it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use landfall_crds::{Frontend, FrontendProtocol};
use landfall_ipam::request::{Namespaces, Request};
use landfall_ipam::service::Protocol;
use landfall_ipam::{HolderKey, Service};
use serde_json::json;

use super::Row;
use super::services::{IPS, KEY, NAMESPACES, PODS};
use crate::situation::Situation;

/// What a Service is told that holds an address with others and changes.
fn parting(
    field: &'static str,
    shown: &str,
    annotations: &[(&str, &str)],
    change: impl FnOnce(&mut Service),
    remedy: &'static str,
) -> Row {
    let mut world = Situation::default();
    world.cidrs("one", &["192.0.2.0/30"]);
    world.service("holder", &[(KEY, "k")], |service| {
        service.ports = BTreeSet::from([(Protocol::Tcp, 443)]);
    });
    world.service("web", &[(KEY, "k")], |_| {});
    assert_eq!(world.has("web"), "192.0.2.0");
    world.silent("web", annotations, change);
    let outcome = world.outcome("web");
    Row::told(field, shown, outcome, remedy)
}

/// Shares that a Service gives up by its own change.
pub(super) fn partings() -> Vec<Row> {
    vec![
        parting(
            KEY,
            "the annotation is changed or removed",
            &[],
            |_| {},
            "put the key back before the address is another's",
        ),
        external_parting(),
        parting(
            "spec.ports",
            "a port of one who was there before is added",
            &[(KEY, "k")],
            |service| service.ports = BTreeSet::from([(Protocol::Tcp, 443)]),
            "use another port",
        ),
        parting(
            "spec.externalTrafficPolicy",
            "the others have Cluster",
            &[(KEY, "k")],
            |service| service.local = true,
            "set all to Cluster or all to Local",
        ),
    ]
}

/// A Service that names an external address and listens on this port.
fn external(port: u16) -> impl Fn(&mut Service) + Clone {
    move |service| {
        service.external = vec!["192.0.2.3".parse().unwrap()];
        service.ports = BTreeSet::from([(Protocol::Tcp, port)]);
    }
}

/// What a Service is told that shares an external address and changes.
fn external_parting() -> Row {
    let mut world = Situation::default();
    world.cidrs("one", &["192.0.2.0/30"]);
    world.service("holder", &[], external(443));
    world.service("web", &[], external(80));
    assert_eq!(world.has("web"), "192.0.2.3");
    world.silent("web", &[], |_| {});
    let outcome = world.outcome("web");
    Row::told(
        "spec.externalIPs",
        "the address is removed",
        outcome,
        "put it back before the port is another's",
    )
}

/// What a Service is told that names the external address of another one.
fn external_clash(field: &str, shown: &str, port: u16, local: bool, remedy: &'static str) -> Row {
    let mut world = Situation::default();
    world.cidrs("one", &["192.0.2.0/30"]);
    for (name, port) in [("holder", 443), ("web", port)] {
        world.service(name, &[], |service| {
            external(port)(service);
            service.local = local;
        });
    }
    let outcome = world.outcome("web");
    assert!(!outcome.assigned, "{}", outcome.message);
    Row::told(field, shown, outcome, remedy)
}

/// What a Service is told whose pool changed under its address.
fn staying(example: &str, change: impl FnOnce(&mut Situation), remedy: &'static str) -> Row {
    let mut world = Situation::default();
    world.cidrs("one", &["192.0.2.0/30"]).plain("web");
    change(&mut world);
    world.work();
    assert_eq!(world.has("web"), "192.0.2.0");
    let outcome = world.outcome("web");
    assert!(outcome.assigned);
    Row::told("(none)", example, outcome, remedy)
}

/// Addresses that stay although their pool would not give them any more.
pub(super) fn stayings() -> Vec<Row> {
    let one = || json!({"blocks": [{"cidr": "192.0.2.0/30"}]});
    vec![
        staying(
            "the pool's blocks no longer have it",
            |world| {
                world.cidrs("one", &["198.51.100.0/30"]);
            },
            "put the block back, or let it move",
        ),
        staying(
            "the pool's selector no longer matches",
            |world| {
                let mut spec = one();
                spec["serviceSelector"] = json!({"matchLabels": {"a": "b"}});
                world.pool("one", spec);
            },
            "change labels or selector, or let it move",
        ),
        staying(
            "the pool is being deleted",
            |world| {
                world.drain("one", one());
            },
            "provide another pool with this address, or let it move",
        ),
        staying(
            "the pool's blocks no longer have it, and the Service asks for it",
            |world| {
                world.service("web", &[(IPS, "192.0.2.0")], |_| {});
                world.cidrs("one", &["198.51.100.0/30"]);
            },
            "put the block back, or ask for another address",
        ),
        staying(
            "the pool is being deleted, and the Service names it",
            |world| {
                world.service("web", &[("landfall.dev/pool", "one")], |_| {});
                world.drain("one", one());
            },
            "name another pool",
        ),
        staying(
            "the Service asks for it, and names a pool that does not have it",
            |world| {
                world.cidrs("two", &["198.51.100.0/30"]);
                let both = [(IPS, "192.0.2.0"), ("landfall.dev/pool", "two")];
                world.service("web", &both, |_| {});
            },
            "remove one of the two annotations",
        ),
        staying(
            "the Service names a pool that is not there",
            |world| {
                world.service("web", &[("landfall.dev/pool", "nope")], |_| {});
            },
            "create it, or name another one",
        ),
        staying(
            "it was assigned by another controller",
            |world| {
                world.delete("web");
                world.silent("web", &[], |service| {
                    service.status = vec!["192.0.2.0".parse().unwrap()];
                });
                world.gone("one");
            },
            "provide a pool with this address, or let it move",
        ),
        staying(
            "a node has it as well",
            |world| {
                let node: IpAddr = "192.0.2.0".parse().unwrap();
                let points = BTreeSet::from([node.into()]);
                world.index.node_seen("node-1", &points);
            },
            "take it from the node, or let it move",
        ),
        staying(
            "another Service has it as its cluster IP",
            |world| {
                world.service("inner", &[], |service| {
                    service.wanted = false;
                    service.cluster = vec!["192.0.2.0".parse().unwrap()];
                });
            },
            "take the block out of the cluster's own range, and let it move",
        ),
        staying(
            "a Service without an address of ours names it too, on the same port",
            |world| {
                let external = |service: &mut Service| {
                    service.external = vec!["192.0.2.0".parse().unwrap()];
                };
                world.service("web", &[], external);
                world.service("inner", &[], |service| {
                    external(service);
                    service.wanted = false;
                });
            },
            "use another port on one of the two",
        ),
        staying(
            "its record cannot be read any more",
            |world| {
                world.delete("web");
                let broken: IpAddr = "192.0.2.0".parse().unwrap();
                world.index.record_unreadable(broken.into(), "u");
                world.silent("web", &[], |service| service.status = vec![broken]);
            },
            "correct the record, or delete it",
        ),
    ]
}

/// What a Service is told that keeps asking for an address it has to leave to those before it.
fn leaving() -> Row {
    let wants = [(IPS, "192.0.2.0"), (KEY, "k")];
    let port =
        |port| move |service: &mut Service| service.ports = BTreeSet::from([(Protocol::Tcp, port)]);
    let mut world = Situation::default();
    world
        .cidrs("one", &["192.0.2.0/30"])
        .service("holder", &wants, port(80))
        .service("web", &wants, port(443))
        .silent("web", &wants, port(80));
    let outcome = world.outcome("web");
    assert!(!outcome.assigned, "{}", outcome.message);
    Row::told(
        "spec.ports",
        "a port of one who was there before is added, and the address asked for",
        outcome,
        "use another port, or another address",
    )
}

/// What a Service is told that asks for the address of another one.
fn sharing(
    field: &'static str,
    shown: &str,
    holder: impl FnOnce(&mut Service),
    asker: impl FnOnce(&mut Service),
    remedy: &'static str,
) -> Row {
    let mut world = Situation::default();
    world.cidrs("one", &["192.0.2.0/30"]);
    world.service("holder", &[(KEY, "k")], |service| {
        service.ports = BTreeSet::from([(Protocol::Tcp, 443)]);
        holder(service);
    });
    let wants = [(IPS, "192.0.2.0"), (KEY, "k")];
    world.silent("web", &wants, asker);
    let queued = world.index.pop().unwrap();
    let service = world.index.service(&queued.key).unwrap();
    let outcome = world.index.preview(service).outcome.unwrap();
    assert!(!outcome.assigned, "{}", outcome.message);
    Row::told(field, shown, outcome, remedy)
}

/// What the 129th of a sharing group is told.
fn crowd() -> Row {
    let mut world = Situation::default();
    world.cidrs("one", &["192.0.2.0/30"]);
    for n in 0..=128u16 {
        let wants = [(IPS, "192.0.2.0"), (KEY, "k")];
        world.service(&format!("s{n:03}"), &wants, |service| {
            service.ports = BTreeSet::from([(Protocol::Tcp, n)]);
        });
    }
    let outcome = world.outcome("s128");
    assert!(!outcome.assigned, "{}", outcome.message);
    Row::told(
        KEY,
        "128 Services share the address",
        outcome,
        "ask for another address, or for none",
    )
}

/// What a Gateway is told whose port is the 257th of those that share an address.
fn ports() -> Row {
    let mut world = Situation::default();
    world.cidrs("one", &["192.0.2.0/30"]);
    for n in 0..=4u16 {
        let wants = [(IPS, "192.0.2.0"), (KEY, "k")];
        world.service(&format!("s{n}"), &wants, |service| {
            let ports = (0..64).map(|port| n * 64 + port);
            service.ports = ports.clone().map(|port| (Protocol::Tcp, port)).collect();
            let frontends = ports.map(|port| Frontend {
                port,
                protocol: FrontendProtocol::Tcp,
                backends: Vec::new(),
            });
            service.frontends = frontends.collect();
        });
    }
    let outcome = world.outcome("s4");
    assert!(!outcome.assigned, "{}", outcome.message);
    Row::told(
        KEY,
        "Gateways with 256 listeners share the address",
        outcome,
        "ask for another address, or for none",
    )
}

fn permits(service: &mut Service, namespace: &str) {
    let request = service.request.as_mut().unwrap();
    let sharing = request.sharing.as_mut().unwrap();
    sharing.namespaces = Namespaces::Named([namespace.to_owned()].into());
}

pub(super) fn clashes() -> Vec<Row> {
    let local = |service: &mut Service| service.local = true;
    vec![
        crowd(),
        ports(),
        leaving(),
        sharing(
            KEY,
            "another key than the holder's",
            |_| {},
            |service| {
                let other = [(IPS, "192.0.2.0"), (KEY, "other")].map(|(k, v)| (k.into(), v.into()));
                service.request = Request::read(&other.into(), None);
            },
            "give both the same key",
        ),
        sharing(
            NAMESPACES,
            "the holder is in another namespace",
            |_| {},
            |service| {
                service.key = HolderKey::service("green", "web");
            },
            "name each other's namespace on both Services",
        ),
        sharing(
            NAMESPACES,
            "the holder is in another namespace, and permits this one",
            |service| permits(service, "green"),
            |service| service.key = HolderKey::service("green", "web"),
            "name the holder's namespace",
        ),
        sharing(
            NAMESPACES,
            "the holder is in another namespace, and only this one permits it",
            |_| {},
            |service| {
                service.key = HolderKey::service("green", "web");
                permits(service, "blue");
            },
            "name this namespace on the holder",
        ),
        sharing(
            "spec.ports",
            "a port of the holder's",
            |_| {},
            |service| {
                service.ports = BTreeSet::from([(Protocol::Tcp, 443)]);
            },
            "use another port, or another address",
        ),
        sharing(
            "spec.externalTrafficPolicy",
            "the holder has Cluster",
            |_| {},
            local,
            "set both to Cluster or both to Local",
        ),
        sharing(
            PODS,
            "both have Local and different selectors",
            local,
            local,
            "give both the same selector, or permit it on both",
        ),
        external_clash(
            "spec.externalIPs",
            "another Service names the address, on the same port",
            443,
            false,
            "use another port, or another address",
        ),
        external_clash(
            "spec.externalIPs",
            "another Service names the address, and both have Local",
            80,
            true,
            "set both to Cluster, or use another address",
        ),
    ]
}
