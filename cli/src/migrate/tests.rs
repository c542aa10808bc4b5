use std::fs;
use std::path::Path;

use k8s_openapi::api::core::v1::Service;
use landfall_controller::survey::Objects;
use landfall_crds::LoadBalancerIPPool;
use serde_json::json;

use super::fate::{Becomes, fates};
use super::*;
use crate::settings;
use crate::validate;

const ALL: [(From, &str); 4] = [
    (From::Metallb, "metallb"),
    (From::Cilium, "cilium"),
    (From::KubeVip, "kube-vip"),
    (From::Purelb, "purelb"),
];

fn theirs(name: &str) -> Vec<Value> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/theirs/{name}.yaml"));
    let text = fs::read_to_string(file).unwrap();
    let documents = validate::read(name, &text).unwrap();
    documents
        .into_iter()
        .map(|document| document.value)
        .collect()
}

fn service(name: &str, address: &str, annotations: Value, spec: Value) -> Service {
    let mut object = json!({"metadata": {"namespace": "blue", "name": name, "uid": name, "annotations": annotations,
            "labels": {"color": "blue", "tier": "gold"}, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80}], "ipFamilies": [if address.contains(':') { "IPv6" } else { "IPv4" }]},
        "status": {"loadBalancer": {"ingress": [{"ip": address}]}}});
    for (field, value) in spec.as_object().unwrap() {
        object["spec"][field] = value.clone();
    }
    serde_json::from_value(object).unwrap()
}

/// The plan over these Services, in a namespace `blue`.
fn plan(from: From, name: &str, services: Vec<Service>) -> Plan {
    let draft = draft(from, &theirs(name));
    let (settings, _) = settings::of(None).unwrap();
    let namespace: k8s_openapi::api::core::v1::Namespace = serde_json::from_value(
        json!({"metadata": {"name": "blue", "labels": {"kubernetes.io/metadata.name": "blue"}}}),
    )
    .unwrap();
    let objects = Objects {
        services,
        namespaces: vec![kube::core::PartialObjectMetaExt::into_response_partial(
            namespace.metadata,
        )],
        ..Objects::default()
    };
    let pools: Vec<&LoadBalancerIPPool> = draft.pools.iter().map(|(pool, _)| pool).collect();
    let fates = fates(objects, &pools, &settings);
    Plan::new(draft, fates)
}

/// Addresses in use, in their pools.
fn in_use(from: From) -> Vec<Service> {
    let nothing = || json!({});
    match from {
        From::Metallb => vec![
            service("web", "192.0.2.15", nothing(), nothing()),
            service("six", "2001:db8:a::3", nothing(), nothing()),
            service(
                "gold",
                "198.51.100.9",
                json!({"metallb.universe.tf/address-pool": "for-blue"}),
                nothing(),
            ),
        ],
        From::Cilium => vec![
            service(
                "web",
                "192.0.2.110",
                json!({"lbipam.cilium.io/ips": "192.0.2.110"}),
                nothing(),
            ),
            service(
                "theirs",
                "192.0.2.111",
                nothing(),
                json!({"loadBalancerClass": "io.cilium/bgp-control-plane"}),
            ),
        ],
        From::KubeVip => vec![
            service(
                "web",
                "192.0.2.201",
                json!({"kube-vip.io/loadbalancerIPs": "192.0.2.201"}),
                nothing(),
            ),
            service("other", "192.0.2.33", nothing(), nothing()),
        ],
        From::Purelb => vec![
            service(
                "web",
                "192.0.2.50",
                json!({"purelb.io/service-group": "default"}),
                nothing(),
            ),
            service("six", "2001:db8:d::11", nothing(), nothing()),
        ],
    }
}

#[test]
fn each_balancers_own_syntax_comes_to_a_plan_in_which_no_address_in_use_changes() {
    for (from, name) in ALL {
        let plan = plan(from, name, in_use(from));
        assert!(plan.changes_nothing(), "{}", draw(&plan));
        let kept = plan
            .addresses
            .iter()
            .filter(|fate| fate.becomes == Becomes::Kept);
        let alone = plan
            .addresses
            .iter()
            .filter(|fate| fate.becomes == Becomes::LeftAlone);
        assert_eq!(alone.count(), usize::from(from == From::Cilium));
        assert!(kept.count() >= 1);
        insta::assert_snapshot!(name, draw(&plan));
    }
}

#[test]
fn what_is_written_has_no_mistake() {
    for (from, name) in ALL {
        let draft = draft(from, &theirs(name));
        let pools = draft
            .pools
            .iter()
            .map(|(pool, _)| serde_json::to_value(pool).unwrap());
        let policies = draft
            .policies
            .iter()
            .map(|(policy, _)| serde_json::to_value(policy).unwrap());
        let documents: Vec<validate::Document> = pools
            .chain(policies)
            .map(|value| validate::Document {
                place: name.to_owned(),
                value,
            })
            .collect();
        let found = validate::check(&documents, None).unwrap();
        assert!(found.well(), "{name}: {}", validate::draw(&found));
    }
}

#[test]
fn an_address_that_would_change_is_told_before_anything_is_written() {
    // In no pool of theirs any more, and the pool that is there would give another.
    let stray = service("stray", "203.0.113.9", json!({}), json!({}));
    let plan = plan(From::Metallb, "metallb", vec![stray]);
    assert!(!plan.changes_nothing(), "{}", draw(&plan));
    assert_eq!(plan.addresses[0].becomes, Becomes::Changed);
}

#[test]
fn annotations_that_mean_nothing_here_are_told_of() {
    let annotations = json!({"kube-vip.io/ignore": "true", "kube-vip.io/loadbalancerIPs": "192.0.2.33",
        "kube-vip.io/vipHost": "node-1", "example.org/x": "y"});
    let notes = unheard(
        From::KubeVip,
        &[service("web", "192.0.2.33", annotations, json!({}))],
    );
    assert_eq!(
        notes,
        ["Service blue/web: kube-vip.io/ignore means nothing here"]
    );
}

#[test]
fn a_plan_made_twice_is_the_same() {
    for (from, name) in ALL {
        assert_eq!(
            draw(&plan(from, name, in_use(from))),
            draw(&plan(from, name, in_use(from)))
        );
    }
}

#[test]
fn a_selector_that_cannot_be_read_comes_to_nothing_and_not_to_everybody() {
    let of = |kind: &str, field: &str, value: Value| {
        let mut object = json!({"kind": kind, "metadata": {"name": "p"},
            "spec": {"addresses": ["192.0.2.0/28"], "blocks": [{"cidr": "192.0.2.0/28"}], "loadBalancerIPs": true}});
        match field.split_once('.') {
            Some((field, below)) => object["spec"][field][below] = value,
            None => object["spec"][field] = value,
        }
        object
    };
    let bad = || json!({"matchLabel": {"tier": "gold"}});
    let operator = json!({"matchExpressions": [{"key": "a", "operator": "Is", "values": ["b"]}]});
    let all = [
        (
            From::Metallb,
            of(
                "IPAddressPool",
                "serviceAllocation.serviceSelectors",
                json!([bad()]),
            ),
        ),
        (
            From::Metallb,
            of(
                "IPAddressPool",
                "serviceAllocation.namespaceSelectors",
                json!([operator]),
            ),
        ),
        (
            From::Metallb,
            of("L2Advertisement", "nodeSelectors", json!([bad()])),
        ),
        (
            From::Cilium,
            of("CiliumLoadBalancerIPPool", "serviceSelector", json!("gold")),
        ),
        (
            From::Cilium,
            of("CiliumL2AnnouncementPolicy", "nodeSelector", bad()),
        ),
    ];
    for (from, object) in all {
        let draft = draft(from, &[object]);
        assert!(
            draft.pools.is_empty() && draft.policies.is_empty(),
            "{draft:?}"
        );
        assert!(
            draft.notes[0].contains("cannot be read"),
            "{:?}",
            draft.notes
        );
    }
}

#[test]
fn an_empty_selector_among_those_of_which_one_suffices_selects_everything() {
    let some = json!({"matchLabels": {"tier": "gold"}});
    let object = json!({"kind": "IPAddressPool", "metadata": {"name": "p"}, "spec": {"addresses": ["192.0.2.0/28"],
        "serviceAllocation": {"namespaces": ["blue"], "namespaceSelectors": [some, {}], "serviceSelectors": [{}, some]}}});
    let draft = draft(From::Metallb, &[object]);
    let [(pool, _)] = draft.pools.as_slice() else {
        panic!("{draft:?}");
    };
    assert!(pool.spec.namespace_selector.is_none() && pool.spec.service_selector.is_none());
}

#[test]
fn an_address_that_would_be_nobodys_hinders_until_that_is_accepted() {
    let only = json!({"kind": "IPAddressPool", "metadata": {"name": "named-only"},
        "spec": {"addresses": ["192.0.2.0/28"], "autoAssign": false}});
    let of = |service: Service| {
        let draft = draft(From::Metallb, std::slice::from_ref(&only));
        let (settings, _) = settings::of(None).unwrap();
        let objects = Objects {
            services: vec![service],
            ..Objects::default()
        };
        let pools: Vec<&LoadBalancerIPPool> = draft.pools.iter().map(|(pool, _)| pool).collect();
        let fates = fates(objects, &pools, &settings);
        Plan::new(draft, fates)
    };
    let stray = of(service("stray", "203.0.113.9", json!({}), json!({})));
    assert!(stray.changes_nothing(), "{}", draw(&stray));
    assert!(stray.hindered(false).is_some() && stray.hindered(true).is_none());
    let words = stray.unanswered(From::Metallb).unwrap();
    assert!(words.starts_with("1 address will be answered by nobody once MetalLB is gone"));
    let foreign = json!({"loadBalancerClass": "example.org/lb"});
    let foreign = of(service("foreign", "203.0.113.9", json!({}), foreign));
    assert!(foreign.hindered(false).is_none() && foreign.unanswered(From::Metallb).is_some());
    assert!(
        of(service("web", "192.0.2.5", json!({}), json!({})))
            .unanswered(From::Metallb)
            .is_none()
    );
}

#[test]
fn objects_of_somebody_else_are_no_plan() {
    assert!(draft(From::Cilium, &theirs("metallb")).is_empty());
    assert!(!draft(From::Metallb, &theirs("metallb")).is_empty());
}
