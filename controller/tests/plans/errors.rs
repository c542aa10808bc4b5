//! `docs/reference/errors.md`: every refusal as it is really worded, and what to do about it.
//!
//! The rows are made here and compared with the committed page. With `LANDFALL_ERRORS_OUT=file` the
//! page is written there instead.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;

use kube::CustomResourceExt as _;
use landfall_controller::ipam::request::Request;
use landfall_controller::ipam::service::{FamilyPolicy, Protocol};
use landfall_controller::ipam::{Family, PoolName, Reason, Service, ServiceKey};
use landfall_crds::{L2AnnouncementPolicy, LoadBalancerIP, LoadBalancerIPPool};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::situation::{Situation, dual};

/// One refusal.
struct Row {
    field: String,
    example: String,
    reason: &'static str,
    message: String,
    remedy: &'static str,
}

const IPS: &str = "landfall.dev/ips";
const POOL: &str = "landfall.dev/pool";
const KEY: &str = "landfall.dev/sharing-key";
const NAMESPACES: &str = "landfall.dev/sharing-cross-namespace";
const PODS: &str = "landfall.dev/sharing-permit-different-pods";

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
    let old = Situation::compiled("old", one("198.51.100.64/30")).map(|mut pool| {
        pool.draining = true;
        pool
    });
    world.index.pool_seen(&PoolName::from("old"), Some(old));
    let node: IpAddr = "192.0.2.4".parse().unwrap();
    world
        .index
        .node_seen("node-1", &BTreeSet::from([node.into()]));
    world.service("holder", &[(KEY, "k")], |_| {});
    world.service("inner", &[], |service| {
        service.wanted = false;
        service.external = vec!["198.51.100.72".parse().unwrap()];
    });
    let later = json!({"kind": "Service", "namespace": "blue", "name": "later"});
    world.record(json!({"address": "203.0.113.1", "reservedFor": later}));
    world.record(json!({"address": "203.0.113.2"}));
    let broken: IpAddr = "198.51.100.73".parse().unwrap();
    world.index.record_unreadable(broken.into(), "u");
    world.record(json!({"address": "203.0.113.3", "holders": [
        {"kind": "Gateway", "namespace": "blue", "name": "edge", "uid": "g"}]}));
    world
}

fn asks(annotations: &[(&str, &str)]) -> String {
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
    Row {
        field: field.to_owned(),
        example,
        reason: outcome.reason.as_str(),
        message: outcome.message,
        remedy,
    }
}

fn load_balancer_ip(text: &'static str) -> impl FnOnce(&mut Service) {
    move |service| service.request = Request::read(&BTreeMap::new(), Some(text))
}

fn unreadable() -> Vec<Row> {
    let case = |field: &str, annotations: &[(&str, &str)], remedy| {
        told(field, annotations, "", |_| {}, remedy)
    };
    vec![
        case(
            IPS,
            &[(IPS, "192.0.2.x")],
            "write addresses, separated by commas",
        ),
        case(IPS, &[(IPS, "127.0.0.1")], "ask for an address of a pool"),
        told(
            "spec.loadBalancerIP",
            &[],
            "spec.loadBalancerIP: first",
            load_balancer_ip("first"),
            "write one address, or leave the field out",
        ),
        case(
            POOL,
            &[(POOL, "one"), ("metallb.io/address-pool", "two")],
            "remove one of the annotations, or let them agree",
        ),
        case(
            KEY,
            &[(KEY, "a"), ("lbipam.cilium.io/sharing-key", "b")],
            "remove one of the annotations, or let them agree",
        ),
        Row {
            example: format!("{KEY}: (254 characters)"),
            ..case(KEY, &[(KEY, &"k".repeat(254))], "use a shorter key")
        },
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
            "landfall.dev/renumber",
            &[("landfall.dev/renumber", "yes")],
            "write \"true\" or \"false\"",
        ),
    ]
}

fn unmet() -> Vec<Row> {
    let ask = |address: &'static str, remedy| told(IPS, &[(IPS, address)], "", |_| {}, remedy);
    let six = |service: &mut Service| service.families = vec![Family::V6];
    let no_pool = {
        let mut world = Situation::default();
        let outcome = world.plain("web").outcome("web");
        Row {
            field: "(none)".to_owned(),
            example: "no pool at all".to_owned(),
            reason: outcome.reason.as_str(),
            message: outcome.message,
            remedy: "create a LoadBalancerIPPool",
        }
    };
    vec![
        no_pool,
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
        ask("192.0.2.5", "ask for another address, or share it"),
        ask(
            "198.51.100.73",
            "ask for another address, or correct or delete that record",
        ),
        ask(
            "198.51.100.72",
            "ask for another address, or remove it from that Service's spec.externalIPs",
        ),
        ask(
            "203.0.113.3",
            "ask for another address: a Gateway shares with no Service",
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
            "spec.externalIPs: [192.0.2.5]",
            |service| service.external = vec!["192.0.2.5".parse().unwrap()],
            "remove it from spec.externalIPs, or share the address",
        ),
    ]
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
    let turn = world.index.pop().unwrap();
    let service = &world.index.world.services[&turn.key];
    let outcome = world.index.world.plan(service).outcome.unwrap();
    assert!(!outcome.assigned, "{}", outcome.message);
    Row {
        field: field.to_owned(),
        example: shown.to_owned(),
        reason: outcome.reason.as_str(),
        message: outcome.message,
        remedy,
    }
}

/// What the 129th of a sharing group is told.
fn crowd() -> Row {
    let mut world = Situation::default();
    world.cidrs("one", &["192.0.2.0/30"]);
    for n in 0..=128u16 {
        world.service(
            &format!("s{n:03}"),
            &[(IPS, "192.0.2.0"), (KEY, "k")],
            |service| {
                service.ports = BTreeSet::from([(Protocol::Tcp, n)]);
            },
        );
    }
    let outcome = world.outcome("s128");
    assert!(!outcome.assigned, "{}", outcome.message);
    Row {
        field: KEY.to_owned(),
        example: "128 Services share the address".to_owned(),
        reason: outcome.reason.as_str(),
        message: outcome.message,
        remedy: "ask for another address, or for none",
    }
}

fn clashes() -> Vec<Row> {
    let local = |service: &mut Service| service.local = true;
    vec![
        crowd(),
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
                service.key = ServiceKey::new("green", "web");
            },
            "name each other's namespace on both Services",
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
    ]
}

/// Pools that the definition lets through, or that were there before it.
fn pools() -> Vec<Row> {
    let block = |block: Value| json!({"blocks": [block]});
    let with = |field: &str, value: Value| {
        let mut spec = block(json!({"cidr": "192.0.2.0/24"}));
        spec[field] = value;
        spec
    };
    let expression = |expression: Value| json!({"matchExpressions": [expression]});
    let mapped = "write the IPv4 address itself";
    let split = "split the range around these addresses";
    let cases: Vec<(Value, &'static str)> = vec![
        (json!({"blocks": []}), "add a block"),
        (block(json!({})), "set cidr, or start"),
        (
            block(json!({"cidr": "192.0.2.0/30", "start": "192.0.2.1"})),
            "remove cidr, or start",
        ),
        (block(json!({"stop": "192.0.2.1"})), "set start"),
        (
            block(json!({"cidr": "192.0.2.1"})),
            "add the length of the prefix; for one address use start",
        ),
        (
            block(json!({"cidr": "192.0.2.200/28"})),
            "write the network's own address, or a range",
        ),
        (block(json!({"cidr": "127.0.0.0/30"})), split),
        (block(json!({"cidr": "0.0.0.0/0"})), split),
        (block(json!({"cidr": "ff02::/112"})), split),
        (block(json!({"cidr": "::ffff:192.0.2.0/120"})), mapped),
        (block(json!({"start": "192.0.2.300"})), "write an address"),
        (
            block(json!({"start": "192.0.2.3", "stop": "last"})),
            "write an address",
        ),
        (
            block(json!({"start": "192.0.2.1", "stop": "2001:db8::1"})),
            "make one block for each family",
        ),
        (
            block(json!({"start": "192.0.2.9", "stop": "192.0.2.1"})),
            "swap start and stop",
        ),
        (
            block(json!({"start": "223.255.255.0", "stop": "224.0.0.9"})),
            split,
        ),
        (
            with("excludes", json!([{"cidr": "192.0.2.5/30"}])),
            "write the network's own address, or a range",
        ),
        (
            with(
                "serviceSelector",
                expression(json!({"key": "a", "operator": "Like", "values": ["b"]})),
            ),
            "use an operator of Kubernetes",
        ),
        (
            with(
                "serviceSelector",
                expression(json!({"key": "a", "operator": "In"})),
            ),
            "add values",
        ),
        (
            with(
                "namespaceSelector",
                expression(json!({"key": "a", "operator": "Exists", "values": ["b"]})),
            ),
            "remove the values",
        ),
    ];
    let refused = |(spec, remedy): (Value, &'static str)| {
        let error = Situation::compiled("p", spec.clone()).unwrap_err();
        let top = error.field.split(['.', '[']).nth(1).unwrap();
        Row {
            example: format!("{top}: {}", spec[top]),
            field: error.field.clone(),
            reason: "Invalid",
            message: error.to_string(),
            remedy,
        }
    };
    cases.into_iter().map(refused).collect()
}

#[derive(Deserialize)]
struct Case {
    object: Value,
    refused: Option<String>,
}

/// What helps against each rule of the definitions, by a part of its message.
const RULES: [(&str, &str); 13] = [
    (
        "a block has either cidr or start",
        "remove one of the two, or set one",
    ),
    ("stop is the end of a range", "set start"),
    ("of different families", "make one block for each family"),
    (
        "not a CIDR",
        "write the network with the length of its prefix",
    ),
    (
        "host bits are set",
        "write the network's own address, or a range",
    ),
    (
        "no Service can live here",
        "use addresses that a host can have",
    ),
    (
        "not an IP address in canonical form",
        "write IPv6 in lower case and as short as it goes",
    ),
    (
        "not an IP address",
        "write an address; IPv4-mapped ones as IPv4",
    ),
    (
        "metadata.name must be the address",
        "name the object after its address",
    ),
    (
        "address cannot be changed",
        "create an object for the other address",
    ),
    (
        "several holders need a sharingKey",
        "set spec.sharingKey, or name one holder",
    ),
    ("not a duration", "write a number with a unit"),
    ("too often", "write 1s or more, or 0s"),
];

/// Every rule of a definition with the places it stands at: refused by the API server itself.
fn rules(crd: &Value, kind: &str, cases: &[Case]) -> Vec<Row> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    collect(
        &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"],
        "",
        &mut found,
    );
    let row = |(message, fields): (String, BTreeSet<String>)| {
        let mut remedies = RULES.iter().filter(|(part, _)| message.contains(part));
        let (_, remedy) = remedies
            .next()
            .unwrap_or_else(|| unreachable!("no remedy for {message}"));
        let tried = |case: &&Case| {
            let refused = case.refused.as_deref();
            case.object["kind"] == kind && refused.is_some_and(|part| message.contains(part))
        };
        let case = cases.iter().find(tried).unwrap();
        let name = case.object["metadata"]["name"].as_str().unwrap();
        let named = message
            .contains("metadata.name")
            .then(|| format!("metadata.name: {name}, "));
        let example = format!("{}spec: {}", named.unwrap_or_default(), case.object["spec"]);
        let field = fields.into_iter().collect::<Vec<_>>().join(", ");
        Row {
            field,
            example,
            reason: "",
            message,
            remedy,
        }
    };
    found.into_iter().map(row).collect()
}

fn collect(schema: &Value, path: &str, into: &mut BTreeMap<String, BTreeSet<String>>) {
    for rule in schema["x-kubernetes-validations"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let message = rule["message"].as_str().unwrap().to_owned();
        let place = if path.is_empty() {
            "(the object)"
        } else {
            path
        };
        into.entry(message).or_default().insert(place.to_owned());
    }
    for (name, below) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        collect(below, &path, into);
    }
    if schema["items"].is_object() {
        collect(&schema["items"], &format!("{path}[]"), into);
    }
}

fn table(page: &mut String, title: &str, text: &str, rows: &[Row]) {
    let reasons = rows.iter().any(|row| !row.reason.is_empty());
    let cell = |text: &str| text.replace('|', "\\|").replace('<', "&lt;");
    let _ = write!(page, "\n## {title}\n\n{text}\n\n");
    page.push_str(if reasons {
        "| field | such as | reason | message | remedy |\n|---|---|---|---|---|\n"
    } else {
        "| field | such as | message | remedy |\n|---|---|---|---|\n"
    });
    for row in rows {
        let Row {
            field,
            example,
            reason,
            message,
            remedy,
        } = row;
        let reason = if reasons {
            format!(" `{reason}` |")
        } else {
            String::new()
        };
        let _ = writeln!(
            page,
            "| {} | `{}` |{reason} {} | {} |",
            cell(field),
            cell(example),
            cell(message),
            cell(remedy)
        );
    }
}

fn page() -> String {
    let mut page = "# Refusals\n\n\
        What Landfall refuses, the exact words, and what helps. Nobody loses an address by a refusal: \
        what a Service holds, it keeps. Names and addresses in the messages are those of the example.\n\n\
        Generated by `make generate` from the tests that produce each message; do not edit.\n"
        .to_owned();
    table(
        &mut page,
        "Services: requests that cannot be read",
        "Condition `landfall.dev/AddressAssigned` of the Service is `False`, and a Warning Event says so once.",
        &unreadable(),
    );
    table(
        &mut page,
        "Services: what cannot be had",
        "The same condition and Event. The Service waits, and gets its address as soon as it can be had.",
        &unmet(),
    );
    table(
        &mut page,
        "Services: addresses that cannot be shared",
        "The same condition and Event, for a Service that asks for an address another one holds.",
        &clashes(),
    );
    table(
        &mut page,
        "Pools: refused by the controller",
        "Condition `Accepted` of the LoadBalancerIPPool is `False`. The pool gives nothing; its holders stay. \
         Most of these the API server refuses before: see below.",
        &pools(),
    );
    let cases: Vec<Case> =
        serde_saphyr::from_str(include_str!("../../../crds/tests/rules.yaml")).unwrap();
    let crds = [
        ("LoadBalancerIPPool", LoadBalancerIPPool::crd()),
        ("LoadBalancerIP", LoadBalancerIP::crd()),
        ("L2AnnouncementPolicy", L2AnnouncementPolicy::crd()),
    ];
    for (kind, crd) in crds {
        let rows = rules(&serde_json::to_value(crd).unwrap(), kind, &cases);
        table(
            &mut page,
            &format!("{kind}: refused by the API server"),
            "`kubectl apply` fails, and nothing is changed.",
            &rows,
        );
    }
    page
}

#[test]
fn the_page_of_refusals_is_what_the_controller_says() {
    let page = page();
    if let Some(path) = std::env::var_os("LANDFALL_ERRORS_OUT") {
        std::fs::write(path, page).unwrap();
        return;
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/errors.md");
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == page,
        "docs/reference/errors.md is stale: run `make generate`"
    );
}

#[test]
fn every_reason_to_refuse_a_service_is_on_the_page() {
    let rows = [unreadable(), unmet(), clashes()].into_iter().flatten();
    let rows: BTreeSet<_> = rows.map(|row| row.reason).collect();
    for reason in Reason::ALL
        .into_iter()
        .filter(|reason| *reason != Reason::Assigned)
    {
        assert!(rows.contains(reason.as_str()), "{}", reason.as_str());
    }
}
