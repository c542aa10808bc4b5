//! What a Service is told that asks for something it cannot have.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;

use landfall_ipam::request::Request;
use landfall_ipam::service::FamilyPolicy;
use landfall_ipam::{Family, HolderKey, Service};
use serde_json::{Value, json};

use super::Row;
use crate::situation::{Situation, dual};

pub(super) const IPS: &str = "landfall.dev/ips";
pub(super) const POOL: &str = "landfall.dev/pool";
pub(super) const KEY: &str = "landfall.dev/sharing-key";
pub(super) const NAMESPACES: &str = "landfall.dev/sharing-cross-namespace";
pub(super) const PODS: &str = "landfall.dev/sharing-permit-different-pods";

/// A cluster in which everything can go wrong.
fn cluster() -> Situation {
    let mut world = Situation::default();
    let one = |cidr: &str| json!({"blocks": [{"cidr": cidr}]});
    let but = |cidr: &str, field: &str, value: Value| {
        let mut spec = one(cidr);
        spec[field] = value;
        spec
    };
    let labels = json!({"matchLabels": {"a": "b"}});
    world.pool("shut", but("198.51.100.0/30", "disabled", json!(true)));
    world.pool("quiet", but("198.51.100.8/30", "autoAssign", json!(false)));
    world.pool(
        "red",
        but("198.51.100.16/30", "serviceSelector", labels.clone()),
    );
    world.pool(
        "space",
        but("198.51.100.24/30", "namespaceSelector", labels),
    );
    world.pool(
        "gates",
        but("198.51.100.32/30", "gatewayClasses", json!(["internet"])),
    );
    world.pool("odd", one("198.51.100.200/28"));
    world.pool("one", one("192.0.2.4/31"));
    world.drain("old", one("198.51.100.64/30"));
    let node: IpAddr = "192.0.2.4".parse().unwrap();
    world
        .index
        .node_seen("node-1", &BTreeSet::from([node.into()]));
    world.service("holder", &[(KEY, "k")], |_| {});
    world.service("inner", &[], |service| {
        service.wanted = false;
        service.external = vec!["198.51.100.72".parse().unwrap()];
        service.cluster = vec!["198.51.100.74".parse().unwrap()];
    });
    let later = json!({"kind": "Service", "namespace": "blue", "name": "later"});
    world.record(json!({"address": "203.0.113.1", "reservedFor": later}));
    world.record(json!({"address": "203.0.113.2"}));
    let broken: IpAddr = "198.51.100.73".parse().unwrap();
    world.index.record_unreadable(broken.into(), "u");
    world.record(json!({"address": "203.0.113.3", "holders": [
        {"kind": "Ingress", "namespace": "blue", "name": "edge", "uid": "g"}]}));
    world.record(json!({"address": "203.0.113.4", "holders": [
        {"kind": "Service", "namespace": "blue", "name": "former", "uid": "f"}]}));
    world
}

pub(super) fn asks(annotations: &[(&str, &str)]) -> String {
    let words = annotations
        .iter()
        .map(|(name, value)| format!("{name}: {value:?}"));
    words.collect::<Vec<_>>().join(", ")
}

/// What a Service of the cluster above is told.
fn told(
    field: &str,
    annotations: &[(&str, &str)],
    shown: &str,
    change: impl FnOnce(&mut Service),
    remedy: &'static str,
) -> Row {
    let mut world = cluster();
    world.service("web", annotations, change);
    let outcome = world.outcome("web");
    assert!(!outcome.assigned, "{}", outcome.message);
    let mut example = asks(annotations);
    if !shown.is_empty() {
        let separator = if example.is_empty() { "" } else { ", " };
        let _ = write!(example, "{separator}{shown}");
    }
    Row::told(field, example, outcome, remedy)
}

fn load_balancer_ip(text: &'static str) -> impl FnOnce(&mut Service) {
    move |service| service.request = Request::read(&BTreeMap::new(), Some(text))
}

fn many(count: u32) -> String {
    let all = (0..count).map(|n| std::net::Ipv4Addr::from_bits(0x0a00_0000 + n).to_string());
    all.collect::<Vec<_>>().join(",")
}

pub(super) fn unreadable() -> Vec<Row> {
    let case = |field: &str, annotations: &[(&str, &str)], remedy| {
        told(field, annotations, "", |_| {}, remedy)
    };
    vec![
        case(
            IPS,
            &[(IPS, "192.0.2.x")],
            "write addresses, separated by commas",
        ),
        case(IPS, &[(IPS, "192.0.2.1,")], "remove the comma"),
        case(
            IPS,
            &[(IPS, "192.0.2.x, 192.0.2.y")],
            "write addresses, separated by commas",
        ),
        Row {
            example: format!("{IPS}: (17 addresses)"),
            ..case(
                IPS,
                &[(IPS, &many(17))],
                "ask for fewer, or make several Services",
            )
        },
        Row {
            example: format!("{IPS}: (2000 addresses)"),
            ..case(
                IPS,
                &[(IPS, &many(2000))],
                "ask for fewer, or make several Services",
            )
        },
        case(IPS, &[(IPS, "127.0.0.1")], "ask for an address of a pool"),
        case(
            IPS,
            &[(IPS, "255.255.255.255")],
            "ask for an address of a pool",
        ),
        case(
            "lbipam.cilium.io/ips",
            &[("lbipam.cilium.io/ips", "192.0.2.0/24")],
            "write addresses, not a network",
        ),
        case(
            "io.cilium/lb-ipam-ips",
            &[("io.cilium/lb-ipam-ips", "192.0.2.1;192.0.2.2")],
            "write addresses, separated by commas",
        ),
        case(
            "metallb.io/loadBalancerIPs",
            &[("metallb.io/loadBalancerIPs", "192.0.2.1-192.0.2.5")],
            "write addresses, not a range",
        ),
        case(
            "metallb.universe.tf/loadBalancerIPs",
            &[("metallb.universe.tf/loadBalancerIPs", "any")],
            "write addresses, or leave the annotation out",
        ),
        told(
            "spec.loadBalancerIP",
            &[],
            "spec.loadBalancerIP: first",
            load_balancer_ip("first"),
            "write one address, or leave the field out",
        ),
        Row {
            example: format!("{KEY}: (254 characters)"),
            ..case(KEY, &[(KEY, &"k".repeat(254))], "use a shorter key")
        },
        case(
            POOL,
            &[(POOL, "one"), ("metallb.io/address-pool", "two")],
            "remove one of the annotations, or let them agree",
        ),
        case(
            POOL,
            &[(POOL, "one,")],
            "remove the comma, or name one more pool",
        ),
        case(POOL, &[(POOL, "one,one")], "name it once"),
        case(
            POOL,
            &[(POOL, "one,two,three")],
            "name one pool for each family",
        ),
        case(
            "metallb.universe.tf/address-pool",
            &[
                ("metallb.io/address-pool", "one"),
                ("metallb.universe.tf/address-pool", "two"),
            ],
            "remove one of the annotations, or let them agree",
        ),
        case(
            "metallb.io/allow-shared-ip",
            &[
                ("io.cilium/lb-ipam-sharing-key", "a"),
                ("metallb.io/allow-shared-ip", "b"),
            ],
            "remove one of the annotations, or let them agree",
        ),
        case(
            "metallb.universe.tf/allow-shared-ip",
            &[(KEY, "a"), ("metallb.universe.tf/allow-shared-ip", "b")],
            "remove one of the annotations, or let them agree",
        ),
        case(
            "io.cilium/lb-ipam-sharing-cross-namespace",
            &[
                (NAMESPACES, "a"),
                ("io.cilium/lb-ipam-sharing-cross-namespace", "b"),
            ],
            "remove one of the annotations, or let them agree",
        ),
        case(
            KEY,
            &[(KEY, "a"), ("lbipam.cilium.io/sharing-key", "b")],
            "remove one of the annotations, or let them agree",
        ),
        case(
            NAMESPACES,
            &[
                (NAMESPACES, "a"),
                ("lbipam.cilium.io/sharing-cross-namespace", "b"),
            ],
            "remove one of the annotations, or let them agree",
        ),
        case(PODS, &[(PODS, "yes")], "write \"true\" or \"false\""),
        case(
            "lbipam.cilium.io/sharing-permit-different-pods",
            &[("lbipam.cilium.io/sharing-permit-different-pods", "yes")],
            "write \"true\" or \"false\"",
        ),
        case(
            "landfall.dev/renumber",
            &[("landfall.dev/renumber", "yes")],
            "write \"true\" or \"false\"",
        ),
    ]
}

pub(super) fn unmet() -> Vec<Row> {
    let ask = |address: &'static str, remedy| told(IPS, &[(IPS, address)], "", |_| {}, remedy);
    let six = |service: &mut Service| service.families = vec![Family::V6];
    let no_pool = {
        let mut world = Situation::default();
        let outcome = world.plain("web").outcome("web");
        Row::told(
            "(none)",
            "no pool at all",
            outcome,
            "create a LoadBalancerIPPool",
        )
    };
    let quiet = {
        let mut world = Situation::default();
        let spec = json!({"blocks": [{"cidr": "198.51.100.8/30"}], "autoAssign": false});
        world.pool("quiet", spec);
        let outcome = world.plain("web").outcome("web");
        Row::told(
            "(none)",
            "every pool that admits it has autoAssign: false",
            outcome,
            "name the pool, ask for one of its addresses, or set its autoAssign to true",
        )
    };
    let nothing_to_ask_for = {
        let mut world = Situation::default();
        let outcome = world
            .service("web", &[(IPS, "203.0.113.77")], |_| {})
            .outcome("web");
        Row::told(
            IPS,
            asks(&[(IPS, "203.0.113.77")]) + ", and no pool at all",
            outcome,
            "create a LoadBalancerIPPool that has this address",
        )
    };
    let half = {
        let mut world = Situation::default();
        world.cidrs("four", &["192.0.2.0/30"]);
        let both = dual(FamilyPolicy::RequireDualStack);
        let outcome = world.service("web", &[], both).outcome("web");
        Row::told(
            "spec.ipFamilyPolicy",
            "spec.ipFamilyPolicy: RequireDualStack, and only one family to be had",
            outcome,
            "provide both families, or set PreferDualStack",
        )
    };
    let keeps = {
        let mut world = Situation::default();
        let pools = world.cidrs("one", &["192.0.2.0/30"]);
        pools.plain("web").plain("holder");
        let wish = [(IPS, "192.0.2.1")];
        let outcome = world.service("web", &wish, |_| {}).outcome("web");
        Row::told(
            IPS,
            asks(&wish) + ", of a Service that has another address",
            outcome,
            "ask for another address, or remove the annotation to stay",
        )
    };
    vec![
        no_pool,
        quiet,
        half,
        keeps,
        nothing_to_ask_for,
        released(),
        told(
            "(none)",
            &[],
            "every pool that admits it is full",
            |_| {},
            "add a block to a pool, add a pool, or delete a Service",
        ),
        told(
            "spec.ipFamilies",
            &[],
            "spec.ipFamilies: [IPv6]",
            six,
            "add a block of that family to a pool",
        ),
        told(
            "spec.ipFamilyPolicy",
            &[],
            "spec.ipFamilyPolicy: RequireDualStack",
            dual(FamilyPolicy::RequireDualStack),
            "provide both families, or set PreferDualStack",
        ),
        ask(
            "2001:db8::1",
            "add the family to spec.ipFamilies, or ask for another address",
        ),
        ask(
            "203.0.113.77",
            "ask for an address of a pool, or add a pool that has this one",
        ),
        ask(
            "198.51.100.1",
            "set the pool's spec.disabled to false, or ask for another address",
        ),
        ask(
            "198.51.100.17",
            "change the Service's labels or the pool's serviceSelector",
        ),
        ask(
            "198.51.100.25",
            "change the namespace's labels or the pool's namespaceSelector",
        ),
        ask(
            "198.51.100.33",
            "ask for an address of a pool without gatewayClasses",
        ),
        ask(
            "198.51.100.65",
            "ask for an address of another pool: this one is going",
        ),
        told(
            POOL,
            &[(IPS, "198.51.100.9"), (POOL, "one")],
            "",
            |_| {},
            "drop one of the two annotations, or ask for an address of that pool",
        ),
        told(
            POOL,
            &[(POOL, "nope")],
            "",
            |_| {},
            "name a pool that exists, or create it",
        ),
        told(
            POOL,
            &[(POOL, "one,red")],
            "",
            |_| {},
            "name one pool for each family",
        ),
        told(
            POOL,
            &[(IPS, "198.51.100.9"), (POOL, "one,red")],
            "",
            |_| {},
            "drop one of the two annotations, or ask for an address of those pools",
        ),
        told(
            POOL,
            &[(POOL, "odd")],
            "",
            |_| {},
            "correct the pool as its condition Accepted says",
        ),
        told(
            POOL,
            &[(POOL, "red")],
            "",
            |_| {},
            "name another pool, or change that pool's selector",
        ),
        ask("192.0.2.4", "ask for an address that is no node's"),
        ask(
            "198.51.100.73",
            "ask for another address, or correct or delete that record",
        ),
        ask(
            "198.51.100.72",
            "ask for another address, or remove it from that Service's spec.externalIPs",
        ),
        ask(
            "198.51.100.74",
            "ask for another address, and take the pool's block out of the cluster's own range",
        ),
        foreign(&["203.0.113.77"], &[], "an address"),
        foreign(&[], &["lb-1.example"], "a host name"),
        ask("192.0.2.5", "ask for another address, or share it"),
        ask(
            "203.0.113.3",
            "ask for another address: other kinds share with nobody",
        ),
        ask(
            "203.0.113.4",
            "wait: the record of a deleted Service goes after its grace time",
        ),
        ask(
            "203.0.113.1",
            "ask for another address, or change the record's spec.reservedFor",
        ),
        ask(
            "203.0.113.2",
            "set the record's spec.reservedFor to this Service, or delete the record",
        ),
        told(
            "spec.externalIPs",
            &[],
            "spec.externalIPs: (17 addresses of a pool)",
            |service| {
                let four = (0..4u8).flat_map(|block| (0..4u8).map(move |n| block * 8 + n));
                let all = four.map(|n| [198, 51, 100, n].into());
                let more = [4u8, 5].map(|n| [192, 0, 2, n].into());
                service.external = all.chain(more).collect();
            },
            "name fewer of them",
        ),
        limited("maxPerNamespace", "release one, or raise the limit"),
        limited("maxPerService", "ask for fewer, or raise the limit"),
        standing(),
        excluded_group(),
        told(
            "spec.externalIPs",
            &[],
            "spec.externalIPs: [192.0.2.5]",
            |service| service.external = vec!["192.0.2.5".parse().unwrap()],
            "remove it from spec.externalIPs, or share the address",
        ),
    ]
}

/// What a Service is told in a full pool in which others stand.
fn standing() -> Row {
    let mut world = Situation::default();
    world.cidrs("one", &["192.0.2.0/29"]);
    for n in 0..3u8 {
        let node: IpAddr = [192, 0, 2, n].into();
        let points = BTreeSet::from([node.into()]);
        world.index.node_seen(&format!("node-{n}"), &points);
    }
    world.service("inner", &[], |service| {
        service.wanted = false;
        service.cluster = vec![[192, 0, 2, 3].into()];
    });
    world.service("hog", &[], |service| {
        service.wanted = false;
        service.external = (4..8u8).map(|n| [192, 0, 2, n].into()).collect();
    });
    let outcome = world.plain("web").outcome("web");
    let shown = "the pool is full of what others use";
    let remedy = "take the addresses from those who stand there, or add a block";
    Row::told("(none)", shown, outcome, remedy)
}

/// What a Service is told that has as much of a pool as it may.
fn limited(field: &str, remedy: &'static str) -> Row {
    let mut world = Situation::default();
    let mut spec = json!({"blocks": [{"cidr": "192.0.2.0/30"}]});
    spec[field] = json!(1);
    world.pool("one", spec);
    if field == "maxPerNamespace" {
        world.plain("other");
    }
    let wants = [(IPS, "192.0.2.1,192.0.2.2")];
    let outcome = world.service("web", &wants, |_| {}).outcome("web");
    let shown = format!("{}, {field}: 1", asks(&wants));
    Row::told(IPS, shown, outcome, remedy)
}

/// What a Service is told that cannot join those of its own key, and finds every pool full.
fn excluded_group() -> Row {
    let mut world = Situation::default();
    world.pool("one", json!({"blocks": [{"start": "192.0.2.5"}]}));
    world.service("holder", &[(KEY, "k")], |_| {});
    let wants = [(KEY, "k"), (NAMESPACES, "blue")];
    world.silent("web", &wants, |service| {
        service.key = HolderKey::service("green", "web");
        service.ports = [(landfall_ipam::service::Protocol::Tcp, 443)].into();
    });
    world.work();
    let service = world.index.service(&HolderKey::service("green", "web"));
    let outcome = world.index.preview(service.unwrap()).outcome.unwrap();
    let shown = "the holder of its key is in another namespace, and every pool full";
    let remedy = "name each other's namespace on both Services, or add a block";
    Row::told(NAMESPACES, shown, outcome, remedy)
}

/// What a Service is told whose status somebody else has written, and that gets nothing from us.
fn foreign(addresses: &[&str], hosts: &[&str], shows: &str) -> Row {
    let mut world = Situation::default();
    world.plain("web").foreign("web", addresses, hosts);
    Row::told(
        "status.loadBalancer",
        format!("{shows} of another balancer, and no pool"),
        world.outcome("web"),
        "provide a pool that has it and admits the Service, or leave it to the other one",
    )
}

/// What a Service is told that asks for an address while its record is being deleted.
fn released() -> Row {
    let mut world = Situation::default();
    world.cidrs("one", &["192.0.2.0/30"]).plain("former");
    let former = HolderKey::service("blue", "former");
    world.index.service_gone(&former);
    let leave = ["192.0.2.0".parse().unwrap()];
    // The deletion is not answered yet.
    assert_eq!(world.index.depart(&former, &leave).len(), 1);
    world.silent("web", &[(IPS, "192.0.2.0")], |_| {});
    let outcome = world.outcome("web");
    Row::told(
        IPS,
        asks(&[(IPS, "192.0.2.0")]) + ", just given up by another Service",
        outcome,
        "wait a moment: it follows by itself",
    )
}
