//! Who writes what.

use k8s_openapi::jiff::Timestamp;
use landfall_bpf_lb::desired::Protocol;
use landfall_bpf_lb::diff::Refusal;
use landfall_crds::conditions::{ACCEPTED, ADDRESS_CONFLICT, ANNOUNCED, GATEWAYS_SERVED, find};
use landfall_crds::{LoadBalancerIPStatus, Owner};

use super::*;
use crate::election::owners::Candidate;
use crate::model::*;
use crate::policy::{Announcement, IdlePattern, PolicyOutcome, Unannounced};
use crate::testing::{ip, key, lbip, mac, peer, policy, service};

struct Scene {
    world: World,
    plan: Announcements,
    runs_on: BTreeMap<String, RunsOn>,
    conflicts: BTreeMap<IpAddr, Conflict>,
    refused: LeftToKernel,
}

impl Scene {
    /// shop/web holds 192.0.2.10 and 2001:db8::10; nobody owns them yet; n1 and n2 may.
    fn new() -> Self {
        let mut world = World::default();
        let mut plan = Announcements::default();
        for address in [ip("192.0.2.10"), ip("2001:db8::10")] {
            world
                .lbips
                .insert(address, lbip(address, 2, LoadBalancerIPStatus::default()));
            let candidate = |name| Candidate::plain(NodeName::new(name));
            let address_plan = Announcement {
                holders: vec![key()],
                candidates: vec![candidate("n1"), candidate("n2")],
                interfaces: BTreeSet::from(["eth0".to_owned()]),
                ..Announcement::default()
            };
            plan.addresses.insert(address, address_plan);
        }
        world.services.insert(key(), service());
        for name in ["n1", "n2"] {
            world
                .peers
                .insert(NodeName::new(name), peer(name, 1, vec![]));
        }
        Self {
            world,
            plan,
            runs_on: BTreeMap::new(),
            conflicts: BTreeMap::new(),
            refused: LeftToKernel::new(),
        }
    }

    fn own(&mut self, address: &str, node: &str) {
        let owner = Owner {
            node: node.into(),
            session: format!("{node}-s"),
            ..Owner::default()
        };
        let plan = &self.plan.addresses[&ip(address)];
        let lbip = self.world.lbips.get_mut(&ip(address)).unwrap();
        lbip.status = status_of(lbip, Some(owner), plan, &self.runs_on, None, &at(5));
    }

    fn refuse(&mut self, address: &str) {
        let plan = self.plan.addresses.get_mut(&ip(address)).unwrap();
        plan.candidates.clear();
        plan.refusal = Some(Unannounced::NoPolicy {
            service: key(),
            external: false,
            policies: 0,
        });
    }

    fn seen_by(&self, node: &str) -> Vec<Report> {
        let live = [NodeName::new("n1"), NodeName::new("n2")].into();
        reports(View {
            world: &self.world,
            plan: &self.plan,
            runs_on: &self.runs_on,
            me: &NodeName::new(node),
            session: Some(&SessionId::new(format!("{node}-s"))),
            live: &live,
            conflicts: &self.conflicts,
            refused: &self.refused,
            now: &at(10),
        })
    }
}

fn at(second: i64) -> Time {
    Time(Timestamp::from_second(second).unwrap())
}

fn service_condition(reports: &[Report]) -> Option<&Condition> {
    reports.iter().find_map(|report| match report {
        Report::Service(_, condition) => condition.as_deref(),
        _ => None,
    })
}

#[test]
fn an_address_between_owners_is_not_spoken_of() {
    assert_eq!(Scene::new().seen_by("n1"), []);
}

#[test]
fn the_owner_of_the_first_address_speaks_for_the_service() {
    let mut scene = Scene::new();
    scene.own("192.0.2.10", "n2");
    scene.own("2001:db8::10", "n1");
    assert_eq!(scene.seen_by("n1"), []);
    let reports = scene.seen_by("n2");
    let condition = service_condition(&reports).unwrap();
    assert_eq!(condition.status, "True");
    insta::assert_snapshot!(condition.message, @"node n2 answers for 192.0.2.10 on eth0; node n1 answers for 2001:db8::10 on eth0");
}

#[test]
fn a_service_that_the_director_has_no_room_for_is_told_so_and_of_its_own_ports_alone() {
    let mut scene = Scene::new();
    scene.own("192.0.2.10", "n2");
    scene.own("2001:db8::10", "n2");
    let services = &mut scene.world.services;
    services.get_mut(&key()).unwrap().ports = [80, 443]
        .map(|port| ServicePort {
            name: String::new(),
            port,
            protocol: Protocol::Tcp,
        })
        .into();
    let refused = [80, 443, 8443].map(|port| ((port, Protocol::Tcp), Refusal::Tables));
    scene.refused = [(ip("192.0.2.10"), refused.into())].into();
    let reports = scene.seen_by("n2");
    let condition = service_condition(&reports).unwrap();
    assert_eq!(
        (condition.status.as_str(), condition.reason.as_str()),
        ("True", "LeftToKernel")
    );
    insta::assert_snapshot!(condition.message, @"node n2 answers for 192.0.2.10 on eth0; node n2 answers for 2001:db8::10 on eth0; on node n2 the kernel forwards 443/TCP, 80/TCP instead of XDP: the data path has no room for a table of its backends");
    scene.refused.clear();
    let reports = scene.seen_by("n2");
    assert_eq!(service_condition(&reports).unwrap().reason, "Announced");
}

#[test]
fn what_is_written_already_is_not_written_again() {
    let mut scene = Scene::new();
    scene.own("192.0.2.10", "n2");
    scene.own("2001:db8::10", "n2");
    let reports = scene.seen_by("n2");
    let condition = service_condition(&reports).unwrap().clone();
    scene
        .world
        .services
        .get_mut(&key())
        .unwrap()
        .conditions
        .push(condition);
    assert_eq!(scene.seen_by("n2"), []);
}

#[test]
fn without_a_policy_the_reporter_alone_says_so() {
    let mut scene = Scene::new();
    scene.refuse("192.0.2.10");
    scene.refuse("2001:db8::10");
    assert_eq!(scene.seen_by("n2"), []);
    let reports = scene.seen_by("n1");
    assert_eq!(
        reports.len(),
        3,
        "two addresses and the Service: {reports:?}"
    );
    let condition = service_condition(&reports).unwrap();
    assert_eq!(
        (condition.status.as_str(), condition.reason.as_str()),
        ("False", "NoMatchingPolicy")
    );
}

#[test]
fn a_service_that_holds_nothing_any_more_loses_the_condition() {
    let mut scene = Scene::new();
    scene.own("192.0.2.10", "n2");
    scene.own("2001:db8::10", "n2");
    let condition = service_condition(&scene.seen_by("n2")).unwrap().clone();
    scene
        .world
        .services
        .get_mut(&key())
        .unwrap()
        .conditions
        .push(condition);
    scene.world.lbips.clear();
    scene.plan.addresses.clear();
    assert_eq!(scene.seen_by("n2"), []);
    assert_eq!(scene.seen_by("n1"), [Report::Service(key(), None)]);
}

#[test]
fn a_half_announced_service_is_not_announced() {
    let mut scene = Scene::new();
    scene.own("192.0.2.10", "n2");
    scene.refuse("2001:db8::10");
    let reports = scene.seen_by("n2");
    let condition = service_condition(&reports).unwrap();
    assert_eq!(condition.status, "False");
    assert!(condition.message.contains("node n2 answers for 192.0.2.10"));
}

#[test]
fn a_conflict_names_the_foreign_host_and_says_when_it_is_over() {
    let mut scene = Scene::new();
    let conflict = Conflict {
        mac: mac(0x09),
        interface: "eth0".into(),
        at_probe: true,
    };
    scene.conflicts.insert(ip("192.0.2.10"), conflict);
    let reports = scene.seen_by("n2");
    let Some(Report::Address(_, status)) = reports.first() else {
        panic!("{reports:?}")
    };
    let condition = find(&status.conditions, ADDRESS_CONFLICT).unwrap();
    assert_eq!(condition.status, "True");
    insta::assert_snapshot!(condition.message, @"a foreign host (02:00:00:00:00:09, seen on eth0) uses 192.0.2.10: it is not announced; take the address from that host, exclude it from the pool, or overrule the host by the annotation landfall.dev/overrule of the LoadBalancerIP");
    assert_eq!(
        find(&status.conditions, ANNOUNCED).unwrap().reason,
        "AddressConflict"
    );
    scene.world.lbips.get_mut(&ip("192.0.2.10")).unwrap().status = *status.clone();
    scene.conflicts.clear();
    scene.own("192.0.2.10", "n2");
    let status = &scene.world.lbips[&ip("192.0.2.10")].status;
    assert_eq!(
        find(&status.conditions, ADDRESS_CONFLICT).unwrap().status,
        "False"
    );
}

#[test]
fn a_conflict_that_another_node_found_is_said_at_once_on_the_service() {
    let mut scene = Scene::new();
    let conflict = Conflict {
        mac: mac(0x09),
        interface: "eth0".into(),
        at_probe: true,
    };
    scene.conflicts.insert(ip("192.0.2.10"), conflict);
    let reports = scene.seen_by("n2");
    let Some(Report::Address(_, status)) = reports.first() else {
        panic!("{reports:?}")
    };
    // The reporter has not asked and not been answered.
    scene.conflicts.clear();
    scene.world.lbips.get_mut(&ip("192.0.2.10")).unwrap().status = *status.clone();
    scene.own("2001:db8::10", "n1");
    let reports = scene.seen_by("n1");
    let condition = service_condition(&reports).unwrap();
    assert_eq!(
        (condition.status.as_str(), condition.reason.as_str()),
        ("False", "AddressConflict")
    );
    assert!(
        condition.message.contains("02:00:00:00:00:09"),
        "{}",
        condition.message
    );
}

#[test]
fn an_owner_without_an_interface_admits_it() {
    let mut scene = Scene::new();
    scene.own("192.0.2.10", "n1");
    scene.own("2001:db8::10", "n1");
    scene
        .plan
        .addresses
        .get_mut(&ip("192.0.2.10"))
        .unwrap()
        .interfaces
        .clear();
    let reports = scene.seen_by("n1");
    let Some(Report::Address(_, status)) = reports.first() else {
        panic!("{reports:?}")
    };
    assert_eq!(find(&status.conditions, ANNOUNCED).unwrap().status, "False");
    assert!(status.interfaces.is_empty());
}

#[test]
fn an_address_of_the_director_says_where_that_runs() {
    let mut scene = Scene::new();
    let address = "192.0.2.10";
    let plan = scene.plan.addresses.get_mut(&ip(address)).unwrap();
    plan.xdp = true;
    plan.interfaces.insert("eth1".into());
    let native = RunsOn {
        path: "native".into(),
        why_generic: None,
    };
    scene.runs_on.insert("eth0".into(), native);
    scene.own(address, "n1");
    let conditions = &scene.world.lbips[&ip(address)].status.conditions;
    assert_eq!(
        find(conditions, ANNOUNCED).unwrap().message,
        "node n1 answers for 192.0.2.10 on eth0 (XDP: native), eth1 (XDP: not there, the kernel forwards)"
    );
}

#[test]
fn an_address_says_whether_the_gateways_that_share_it_are_served() {
    let mut scene = Scene::new();
    let vip = ip("192.0.2.10");
    let gateway = Gateway {
        namespace: "shop".to_owned(),
        name: "edge".to_owned(),
        class: None,
        labels: BTreeMap::new(),
    };
    let served = |scene: &Scene| {
        let conditions = &scene.world.lbips[&vip].status.conditions;
        find(conditions, GATEWAYS_SERVED).map(|condition| condition.status.clone())
    };
    scene.own("192.0.2.10", "n1");
    assert_eq!(served(&scene), None);
    scene.world.lbips.get_mut(&vip).unwrap().gateways = vec![gateway];
    scene.own("192.0.2.10", "n1");
    assert_eq!(served(&scene).as_deref(), Some("True"));
    scene.plan.addresses.get_mut(&vip).unwrap().unserved = Some(Unannounced::Unheld);
    scene.own("192.0.2.10", "n1");
    assert_eq!(served(&scene).as_deref(), Some("False"));
    scene.plan.addresses.get_mut(&vip).unwrap().unserved = None;
    scene.own("192.0.2.10", "n1");
    assert_eq!(served(&scene).as_deref(), Some("True"));
    scene.world.lbips.get_mut(&vip).unwrap().gateways.clear();
    scene.own("192.0.2.10", "n1");
    assert_eq!(served(&scene), None);
}

#[test]
fn conditions_of_others_on_an_address_stay() {
    let mut scene = Scene::new();
    let foreign = Condition {
        type_: "OutOfPool".into(),
        status: "True".into(),
        reason: "PoolShrunk".into(),
        message: "x".into(),
        observed_generation: None,
        last_transition_time: at(1),
    };
    scene
        .world
        .lbips
        .get_mut(&ip("192.0.2.10"))
        .unwrap()
        .status
        .conditions
        .push(foreign);
    scene.own("192.0.2.10", "n1");
    let conditions = &scene.world.lbips[&ip("192.0.2.10")].status.conditions;
    assert!(find(conditions, "OutOfPool").is_some() && find(conditions, ANNOUNCED).is_some());
}

#[test]
fn a_defect_of_a_policy_is_reported_once_by_the_reporter() {
    let mut scene = Scene::new();
    let name = PolicyName::new("half");
    let policy = Policy {
        generation: Some(3),
        ..policy(landfall_crds::L2AnnouncementPolicySpec::default())
    };
    scene.world.policies.insert(name.clone(), policy);
    let outcome = PolicyOutcome {
        defects: vec!["interfaces[0] is bad".into()],
        addresses: 2,
        nodes: 1,
        ..PolicyOutcome::default()
    };
    scene.plan.policies.insert(name.clone(), outcome);
    assert_eq!(scene.seen_by("n2"), []);
    let reports = scene.seen_by("n1");
    let [Report::Policy(_, status)] = reports.as_slice() else {
        panic!("{reports:?}")
    };
    assert_eq!(
        (status.addresses, status.nodes, status.observed_generation),
        (2, 1, Some(3))
    );
    insta::assert_snapshot!(status.conditions[0].message, @"interfaces[0] is bad; what else it says is in force");
    scene.world.policies.get_mut(&name).unwrap().status = *status.clone();
    assert_eq!(scene.seen_by("n1"), []);
}

/// What is said of a policy that became this; it is said once.
fn told(outcome: PolicyOutcome) -> String {
    let mut scene = Scene::new();
    let name = PolicyName::new("all");
    let policy = policy(landfall_crds::L2AnnouncementPolicySpec::default());
    scene.world.policies.insert(name.clone(), policy);
    scene.plan.policies.insert(name.clone(), outcome);
    let reports = scene.seen_by("n1");
    let [Report::Policy(_, status)] = reports.as_slice() else {
        panic!("{reports:?}")
    };
    let accepted = find(&status.conditions, ACCEPTED).unwrap();
    assert_eq!(
        (accepted.status.as_str(), accepted.reason.as_str()),
        ("True", "Accepted")
    );
    scene.world.policies.get_mut(&name).unwrap().status = *status.clone();
    assert_eq!(scene.seen_by("n1"), []);
    accepted.message.clone()
}

#[test]
fn what_of_a_policy_is_in_vain_is_said_where_it_is_accepted() {
    let idle = |pattern: &str, meant: Option<&str>| IdlePattern {
        pattern: pattern.into(),
        meant: meant.map(str::to_owned),
    };
    let names = |all: &[&str]| all.iter().map(|&name| name.to_owned()).collect();
    insta::assert_snapshot!(told(PolicyOutcome {
        idle: vec![idle("ens3", None), idle("eth*", Some("eth.*"))],
        interfaces: names(&["bond0", "eth0"]),
        ..PolicyOutcome::default()
    }), @r#"the policy is in force; no interface of its nodes that is up is matched by "ens3", "eth*": there are bond0, eth0 ("eth*" is a regular expression and no wildcard: write "eth.*")"#);
    insta::assert_snapshot!(told(PolicyOutcome {
        selects_no_node: true,
        ..PolicyOutcome::default()
    }), @"the policy is in force; its nodeSelector matches no node");
    insta::assert_snapshot!(told(PolicyOutcome {
        overruled_by: [PolicyName::new("fast")].into(),
        ..PolicyOutcome::default()
    }), @"the policy is in force; XDP forwards, and not the kernel, what policy fast selects too; the condition Announced of each LoadBalancerIP says by which path");
    insta::assert_snapshot!(told(PolicyOutcome {
        overrules: [PolicyName::new("slow")].into(),
        ..PolicyOutcome::default()
    }), @"the policy is in force; XDP forwards also what policy slow selects too, which says Kernel; the condition Announced of each LoadBalancerIP says by which path");
}

#[test]
fn a_policy_of_many_patterns_on_nodes_of_many_interfaces_is_still_told_of_in_a_sentence() {
    let long = |index: usize| IdlePattern {
        pattern: format!("{index}-{}", "x".repeat(250)),
        meant: Some("y".repeat(250)),
    };
    let message = told(PolicyOutcome {
        idle: (0..32).map(long).collect(),
        interfaces: (0..500).map(|index| format!("vlan{index:04}")).collect(),
        overruled_by: (0..100)
            .map(|index| PolicyName::new(format!("{index:0>253}")))
            .collect(),
        ..PolicyOutcome::default()
    });
    assert!(message.len() < 3000, "{}", message.len());
    assert!(
        message.contains("26 more") && message.contains("494 more") && message.contains("94 more")
    );
}

#[test]
fn two_candidates_that_see_a_conflict_differently_do_not_correct_each_other_for_ever() {
    let mut scene = Scene::new();
    let vip = ip("192.0.2.10");
    let mut writes = 0;
    for round in 0..10 {
        let before = writes;
        for (node, interface) in [("n2", "ens3"), ("n1", "eth0")] {
            let conflict = Conflict {
                mac: mac(0xc8),
                interface: interface.into(),
                at_probe: true,
            };
            scene.conflicts = BTreeMap::from([(vip, conflict)]);
            for report in scene.seen_by(node) {
                if let Report::Address(address, status) = report {
                    scene.world.lbips.get_mut(&address).unwrap().status = *status;
                    writes += 1;
                }
            }
        }
        assert!(round < 1 || writes == before, "round {round}");
    }
    let status = &scene.world.lbips[&vip].status;
    assert_eq!(
        find(&status.conditions, ADDRESS_CONFLICT).unwrap().status,
        "True"
    );
}
