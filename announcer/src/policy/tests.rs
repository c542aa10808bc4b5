//! What a policy makes of a small world.

use std::collections::BTreeSet;

use landfall_crds::L2AnnouncementPolicySpec;
use serde_json::json;

use super::*;
use crate::model::*;
use crate::names::{NodeName, PolicyName};
use crate::testing::{VIP, interface, key, lbip, peer, policy, service};

fn policy_named(world: &mut World, name: &str, spec: serde_json::Value) {
    let spec: L2AnnouncementPolicySpec = serde_json::from_value(spec).unwrap();
    world.policies.insert(PolicyName::new(name), policy(spec));
}

/// Nodes n1 and n2 with a session and eth0, a Service shop/web that holds 192.0.2.10.
fn world() -> World {
    let mut world = World::default();
    for name in ["n1", "n2"] {
        let labels = [("zone".to_owned(), format!("z-{name}"))].into();
        world.nodes.insert(
            NodeName::new(name),
            Node {
                labels,
                ..Node::default()
            },
        );
        let peer = Peer {
            xdp: XdpState::Ready,
            ..peer(name, 1, vec![interface("eth0")])
        };
        world.peers.insert(NodeName::new(name), peer);
    }
    let service = Service {
        labels: [("app".to_owned(), "web".to_owned())].into(),
        ..service()
    };
    world.services.insert(key(), service);
    world.lbips.insert(VIP, lbip(VIP, 2, Default::default()));
    world
}

fn planned(world: &World) -> Announcement {
    plan(world, &NodeName::new("n1"), &[interface("eth0")]).addresses[&VIP].clone()
}

fn candidates(plan: &Announcement) -> Vec<&str> {
    plan.candidates.iter().map(|c| c.node.as_str()).collect()
}

#[test]
fn without_a_policy_nothing_is_announced_and_the_reason_names_the_remedy() {
    let plan = planned(&world());
    assert!(plan.candidates.is_empty());
    insta::assert_snapshot!(plan.refusal.unwrap().message(VIP), @"no L2AnnouncementPolicy selects Service shop/web for 192.0.2.10 (0 looked at); create one, or widen its serviceSelector or namespaceSelector");
}

#[test]
fn a_policy_without_selectors_takes_every_node_with_an_interface() {
    let mut world = world();
    policy_named(&mut world, "all", json!({}));
    let plan = planned(&world);
    assert_eq!(candidates(&plan), ["n1", "n2"]);
    assert_eq!(plan.interfaces, BTreeSet::from(["eth0".to_owned()]));
    assert!(!plan.xdp);
}

#[test]
fn addresses_of_interfaces_are_published_where_the_director_runs_alone() {
    let mut own = interface("eth0");
    own.addresses = vec!["192.0.2.1".parse().unwrap()];
    for (path, published) in [("Kernel", 0), ("XDP", 1)] {
        let mut world = world();
        policy_named(&mut world, "all", json!({"loadBalancing": path}));
        let plan = plan(&world, &NodeName::new("n1"), std::slice::from_ref(&own));
        assert_eq!(plan.publish[0].addresses.len(), published, "{path}");
    }
}

#[test]
fn a_node_whose_director_runs_is_preferred_and_others_serve_where_there_is_none() {
    for lacking in [XdpState::Failed, XdpState::Disabled, XdpState::Draining] {
        let mut world = world();
        policy_named(&mut world, "all", json!({"loadBalancing": "XDP"}));
        let lack = |world: &mut World, name: &str| {
            let peer = world.peers.get_mut(&NodeName::new(name)).unwrap();
            peer.xdp = lacking;
        };
        lack(&mut world, "n1");
        assert_eq!(candidates(&planned(&world)), ["n2"], "{lacking:?}");
        lack(&mut world, "n2");
        assert_eq!(candidates(&planned(&world)), ["n1", "n2"], "{lacking:?}");
    }
}

#[test]
fn a_users_label_cannot_stand_for_the_services_name() {
    let mut world = world();
    let forged = ("io.kubernetes.service.name".to_owned(), "db".to_owned());
    world
        .services
        .get_mut(&key())
        .unwrap()
        .labels
        .extend([forged]);
    let selector =
        json!({"serviceSelector": {"matchLabels": {"io.kubernetes.service.name": "db"}}});
    policy_named(&mut world, "db", selector);
    assert!(planned(&world).candidates.is_empty());
}

#[test]
fn a_pattern_that_does_not_compile_is_named_and_the_others_still_work() {
    let mut world = world();
    policy_named(&mut world, "half", json!({"interfaces": ["eth[", "eth0"]}));
    policy_named(&mut world, "none", json!({"interfaces": ["("]}));
    let plan = plan(&world, &NodeName::new("n1"), &[interface("eth0")]);
    insta::assert_snapshot!(plan.policies[&PolicyName::new("half")].defects[0], @r#"interfaces[0] "eth[" is no regular expression: unclosed character class"#);
    assert_eq!(plan.policies[&PolicyName::new("half")].nodes, 2);
    assert_eq!(
        plan.policies[&PolicyName::new("none")].nodes,
        0,
        "broken is not everything"
    );
    assert_eq!(candidates(&plan.addresses[&VIP]), ["n1", "n2"]);
}

#[test]
fn nodes_that_cannot_announce_are_counted_by_reason() {
    let mut world = world();
    policy_named(&mut world, "all", json!({}));
    world
        .peers
        .get_mut(&NodeName::new("n1"))
        .unwrap()
        .interfaces
        .clear();
    world
        .nodes
        .get_mut(&NodeName::new("n2"))
        .unwrap()
        .out_of_service = true;
    let plan = planned(&world);
    insta::assert_snapshot!(plan.refusal.unwrap().message(VIP), @"no node can announce 192.0.2.10 under policy all: 1 node tainted node.kubernetes.io/out-of-service, 1 node without an eligible interface that has carrier");
}

#[test]
fn an_excluded_or_leaving_node_or_one_without_a_node_object_is_no_candidate() {
    for spoil in [
        (|world: &mut World| {
            let label = (
                "node.kubernetes.io/exclude-from-external-load-balancers".to_owned(),
                String::new(),
            );
            world
                .nodes
                .get_mut(&NodeName::new("n2"))
                .unwrap()
                .labels
                .extend([label]);
        }) as fn(&mut World),
        |world| world.peers.get_mut(&NodeName::new("n2")).unwrap().leaving = true,
        |world| {
            world
                .peers
                .get_mut(&NodeName::new("n2"))
                .unwrap()
                .lease
                .session = None
        },
        |world| drop(world.nodes.remove(&NodeName::new("n2"))),
    ] {
        let mut world = world();
        policy_named(&mut world, "all", json!({}));
        spoil(&mut world);
        assert_eq!(candidates(&planned(&world)), ["n1"]);
    }
}

#[test]
fn with_local_traffic_only_nodes_whose_endpoints_serve_are_candidates() {
    let mut world = world();
    policy_named(&mut world, "all", json!({}));
    world.services.get_mut(&key()).unwrap().local = true;
    let refusal = planned(&world).refusal.unwrap();
    assert_eq!(refusal, Unannounced::NoLocalEndpoint(key()));
    let endpoint = |node: &str, readiness| Endpoint {
        address: VIP,
        node: Some(NodeName::new(node)),
        readiness,
        pod: Default::default(),
    };
    let endpoints = vec![
        endpoint("n2", Readiness::Ready),
        endpoint("n1", Readiness::Draining),
    ];
    let slice = Slice {
        ports: vec![],
        endpoints,
    };
    world
        .slices
        .entry(key())
        .or_default()
        .insert("web-1".into(), slice);
    assert_eq!(candidates(&planned(&world)), ["n2"]);
    let slices = world.slices.get_mut(&key()).unwrap();
    let endpoints = &mut slices.get_mut("web-1").unwrap().endpoints;
    endpoints[0].readiness = Readiness::Unready;
    assert_eq!(
        candidates(&planned(&world)),
        ["n1"],
        "one that terminates and still serves, where none is ready"
    );
}

#[test]
fn preferred_nodes_weigh_more() {
    let mut world = world();
    let preferred = json!([{"weight": 10, "nodeSelector": {"matchLabels": {"zone": "z-n2"}}}]);
    policy_named(&mut world, "all", json!({"preferredNodes": preferred}));
    let weights: Vec<_> = planned(&world)
        .candidates
        .iter()
        .map(|c| c.weight)
        .collect();
    assert_eq!(weights, [0, 10]);
}

#[test]
fn external_ips_are_announced_only_by_policies_that_say_so() {
    let mut world = world();
    world
        .services
        .get_mut(&key())
        .unwrap()
        .external_ips
        .insert(VIP);
    policy_named(&mut world, "all", json!({}));
    assert!(
        planned(&world)
            .refusal
            .unwrap()
            .message(VIP)
            .contains("externalIPs: true")
    );
    policy_named(
        &mut world,
        "all",
        json!({"externalIPs": true, "loadBalancerIPs": false}),
    );
    assert_eq!(candidates(&planned(&world)), ["n1", "n2"]);
}

#[test]
fn the_director_is_wanted_where_an_xdp_policy_admits_the_interface_whatever_nodes_announce() {
    let mut world = world();
    let spec = json!({"loadBalancing": "XDP", "interfaces": ["eth.*"],
        "nodeSelector": {"matchLabels": {"zone": "z-n2"}}});
    policy_named(&mut world, "xdp", spec);
    let own = [interface("eth0"), interface("mgmt0")];
    let plan = plan(&world, &NodeName::new("n1"), &own);
    assert_eq!(plan.director, BTreeSet::from(["eth0".to_owned()]));
    assert!(plan.addresses[&VIP].xdp);
    assert!(
        plan.addresses[&VIP].interfaces.is_empty(),
        "n1 may not announce"
    );
}

#[test]
fn a_holder_made_again_is_another_holder() {
    let mut world = world();
    policy_named(&mut world, "all", json!({}));
    world.services.get_mut(&key()).unwrap().uid = "another".into();
    assert_eq!(
        planned(&world).refusal,
        Some(Unannounced::HolderGone(key()))
    );
}

/// The world with the address held by Gateway shop/edge of class `internet` alone, which serves port 80.
fn world_of_a_gateway() -> World {
    let mut world = world();
    let record = world.lbips.get_mut(&VIP).unwrap();
    record.holders.clear();
    record.gateways = vec![Gateway {
        namespace: "shop".to_owned(),
        name: "edge".to_owned(),
        class: Some("internet".to_owned()),
        labels: [("tier".to_owned(), "front".to_owned())].into(),
    }];
    record.frontends = vec![landfall_crds::Frontend {
        port: 80,
        protocol: landfall_crds::FrontendProtocol::Tcp,
        backends: Vec::new(),
    }];
    world
}

#[test]
fn a_gateway_is_announced_by_a_policy_with_the_director_and_by_no_other() {
    let mut world = world_of_a_gateway();
    policy_named(&mut world, "kernel", json!({}));
    let plan = planned(&world);
    assert!(plan.candidates.is_empty() && plan.frontends.is_empty());
    insta::assert_snapshot!(plan.refusal.unwrap().message(VIP), @"192.0.2.10 is Gateway shop/edge's, which the XDP director alone can serve, and policy kernel forwards by the kernel; set loadBalancing: XDP there, or in another policy for it");
    policy_named(&mut world, "fast", json!({"loadBalancing": "XDP"}));
    let plan = planned(&world);
    assert_eq!(candidates(&plan), ["n1", "n2"]);
    assert!(plan.xdp);
    assert_eq!(plan.frontends.len(), 1);
}

#[test]
fn a_gateway_beside_a_service_that_no_director_serves_is_told_of() {
    let mut world = world();
    let gateway = world_of_a_gateway().lbips.remove(&VIP).unwrap();
    let record = world.lbips.get_mut(&VIP).unwrap();
    record.gateways = gateway.gateways;
    record.frontends = gateway.frontends;
    policy_named(&mut world, "kernel", json!({}));
    let plan = planned(&world);
    assert_eq!(candidates(&plan), ["n1", "n2"]);
    assert_eq!(plan.refusal, None);
    insta::assert_snapshot!(plan.unserved.unwrap().message(VIP), @"192.0.2.10 is Gateway shop/edge's, which the XDP director alone can serve, and policy kernel forwards by the kernel; set loadBalancing: XDP there, or in another policy for it");
    policy_named(&mut world, "fast", json!({"loadBalancing": "XDP"}));
    assert_eq!(planned(&world).unserved, None);
    for peer in world.peers.values_mut() {
        peer.xdp = XdpState::Failed;
    }
    let plan = planned(&world);
    assert_eq!(candidates(&plan), ["n1", "n2"]);
    assert!(matches!(plan.unserved, Some(Unannounced::NoNode { .. })));
}

#[test]
fn a_policy_for_services_selects_no_gateway_and_one_for_gateways_no_service() {
    let selects = |world: &mut World, spec: serde_json::Value| {
        let mut spec = spec;
        spec["loadBalancing"] = json!("XDP");
        policy_named(world, "one", spec);
        !planned(world).candidates.is_empty()
    };
    let service = json!({"matchLabels": {"app": "web"}});
    let front = json!({"matchLabels": {"tier": "front"}});
    let back = json!({"matchLabels": {"tier": "back"}});
    for (spec, gateway, of_service) in [
        (json!({}), true, true),
        (json!({"serviceSelector": service}), false, true),
        (json!({"gatewaySelector": front}), true, false),
        (json!({"gatewaySelector": back}), false, false),
        (json!({"gatewayClasses": ["internet"]}), true, false),
        (json!({"gatewayClasses": ["private"]}), false, false),
        (
            json!({"gatewayClasses": ["internet"], "gatewaySelector": back}),
            false,
            false,
        ),
        (
            json!({"gatewayClasses": ["internet"], "serviceSelector": service}),
            true,
            true,
        ),
        (json!({"loadBalancerIPs": false}), false, false),
    ] {
        assert_eq!(
            selects(&mut world_of_a_gateway(), spec.clone()),
            gateway,
            "{spec}"
        );
        assert_eq!(selects(&mut world(), spec.clone()), of_service, "{spec}");
    }
}

#[test]
fn a_gateway_that_no_policy_selects_says_what_would() {
    let world = world_of_a_gateway();
    insta::assert_snapshot!(planned(&world).refusal.unwrap().message(VIP), @"no L2AnnouncementPolicy selects Gateway shop/edge for 192.0.2.10 (0 looked at); create one with loadBalancing: XDP, or widen its gatewaySelector, gatewayClasses or namespaceSelector");
}

#[test]
fn a_node_without_a_director_never_announces_a_gateway() {
    let mut world = world_of_a_gateway();
    policy_named(&mut world, "fast", json!({"loadBalancing": "XDP"}));
    let lack = |world: &mut World, name: &str| {
        world.peers.get_mut(&NodeName::new(name)).unwrap().xdp = XdpState::Failed;
    };
    lack(&mut world, "n1");
    assert_eq!(candidates(&planned(&world)), ["n2"]);
    lack(&mut world, "n2");
    insta::assert_snapshot!(planned(&world).refusal.unwrap().message(VIP), @"no node can announce 192.0.2.10 under policy fast: 2 nodes without an XDP director, which alone serves Gateways");
}

#[test]
fn a_service_beside_a_gateway_is_announced_by_its_own_policy() {
    let mut world = world_of_a_gateway();
    let holders = lbip(VIP, 2, Default::default()).holders;
    world.lbips.get_mut(&VIP).unwrap().holders = holders;
    policy_named(
        &mut world,
        "kernel",
        json!({"serviceSelector": {"matchLabels": {"app": "web"}}}),
    );
    let plan = planned(&world);
    assert_eq!(candidates(&plan), ["n1", "n2"]);
    assert!(!plan.xdp && plan.frontends.is_empty());
    policy_named(
        &mut world,
        "fast",
        json!({"gatewayClasses": ["internet"], "loadBalancing": "XDP"}),
    );
    let plan = planned(&world);
    assert!(plan.xdp && plan.frontends.len() == 1);
}

fn outcome(world: &World, policy: &str) -> PolicyOutcome {
    let plan = plan(world, &NodeName::new("n1"), &[interface("eth0")]);
    plan.policies[&PolicyName::new(policy)].clone()
}

#[test]
fn patterns_that_match_no_interface_are_told_apart_from_a_node_without_carrier() {
    let mut world = world();
    policy_named(&mut world, "typo", json!({"interfaces": ["ens3", "eth*"]}));
    let typo = outcome(&world, "typo");
    let idle = |pattern: &str, meant: Option<&str>| IdlePattern {
        pattern: pattern.to_owned(),
        meant: meant.map(str::to_owned),
    };
    assert_eq!(typo.idle, [idle("ens3", None), idle("eth*", Some("eth.*"))]);
    assert_eq!(typo.interfaces, BTreeSet::from(["eth0".to_owned()]));
    assert!(!typo.selects_no_node);
    let peer = world.peers.get_mut(&NodeName::new("n2")).unwrap();
    peer.interfaces.clear();
    insta::assert_snapshot!(planned(&world).refusal.unwrap().message(VIP), @"no node can announce 192.0.2.10 under policy typo: 1 node without an eligible interface that has carrier, 1 node with no interface that the policy's interfaces match");
}

#[test]
fn a_pattern_is_idle_only_where_no_node_that_the_policy_selects_has_such_an_interface() {
    let mut world = world();
    let peer = world.peers.get_mut(&NodeName::new("n2")).unwrap();
    peer.interfaces = vec![interface("ens3")];
    policy_named(&mut world, "both", json!({"interfaces": ["ens3", "eth0"]}));
    assert_eq!(
        outcome(&world, "both"),
        PolicyOutcome {
            addresses: 1,
            nodes: 2,
            ..PolicyOutcome::default()
        }
    );
    // An announcer that restarts makes no pattern idle.
    let peer = world.peers.get_mut(&NodeName::new("n2")).unwrap();
    peer.lease.session = None;
    assert!(outcome(&world, "both").idle.is_empty());
    let spec =
        json!({"interfaces": ["ens3", "eth0"], "nodeSelector": {"matchLabels": {"zone": "z-n1"}}});
    policy_named(&mut world, "both", spec);
    let idle = outcome(&world, "both").idle;
    assert_eq!(idle.len(), 1);
    assert_eq!(idle[0].pattern, "ens3");
    // Who has said nothing yet gives no reason to call anything idle.
    world.peers.clear();
    assert!(outcome(&world, "both").idle.is_empty());
}

#[test]
fn a_node_selector_that_matches_no_node_is_told_of() {
    let mut world = world();
    policy_named(
        &mut world,
        "far",
        json!({"nodeSelector": {"matchLabels": {"zone": "nowhere"}}}),
    );
    assert!(outcome(&world, "far").selects_no_node);
    world.nodes.clear();
    assert!(!outcome(&world, "far").selects_no_node, "nobody knows yet");
}

#[test]
fn of_two_policies_for_one_address_the_director_s_wins_and_both_know() {
    let mut world = world();
    policy_named(&mut world, "slow", json!({}));
    assert!(outcome(&world, "slow").overruled_by.is_empty());
    policy_named(&mut world, "fast", json!({"loadBalancing": "XDP"}));
    let elsewhere =
        json!({"loadBalancing": "XDP", "serviceSelector": {"matchLabels": {"app": "db"}}});
    policy_named(&mut world, "elsewhere", elsewhere);
    assert!(planned(&world).xdp);
    let named = |name: &str| BTreeSet::from([PolicyName::new(name)]);
    assert_eq!(outcome(&world, "slow").overruled_by, named("fast"));
    assert_eq!(outcome(&world, "fast").overrules, named("slow"));
    assert_eq!(
        outcome(&world, "elsewhere"),
        PolicyOutcome {
            nodes: 2,
            ..PolicyOutcome::default()
        }
    );
}
