//! The brain on a small cluster: inputs in, effects out.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use landfall_bpf_lb::desired::{PodId, Protocol};
use landfall_crds::conditions::{ANNOUNCED, find};
use landfall_crds::{L2AnnouncementPolicySpec, LoadBalancerIPStatus};
use landfall_election::peers::{self, Body, Flags, Move, Report, Title, To};
use landfall_runtime::class::Class;

use super::*;
use crate::election::owners::{Event, Settings};
use crate::link::Link;
use crate::model::{Endpoint, Interface, Lbip, Node, Readiness, Service, Slice, SlicePort};
use crate::names::{NodeName, PolicyName, SessionId, Version};
use crate::report::Conflict;
use crate::testing::{VIP, interface, key, lbip, links, mac, peer, policy, secs, service};

pub(super) fn wall() -> Time {
    Time(Timestamp::from_second(1_700_000_000).unwrap())
}

pub(super) fn record(version: u64, status: LoadBalancerIPStatus) -> Lbip {
    lbip(VIP, version, status)
}

pub(super) fn session(node: &str, version: u64) -> Object {
    let interface = Interface {
        mac: mac(2),
        ..interface("eth0")
    };
    Object::Session(NodeName::new(node), peer(node, version, vec![interface]))
}

fn seen(carrier: bool) -> Input {
    Input::Links(Arc::new(links(carrier)))
}

/// n1's brain with everything listed; nodes n1 and those given, a policy for all, 192.0.2.10.
pub(super) fn brain(others: &[&str]) -> Brain {
    let mut brain = Brain::new(NodeName::new("n1"), Settings::for_duration(secs(15)));
    let now = secs(100);
    brain.take(seen(true), now);
    let policy = policy(L2AnnouncementPolicySpec::default());
    let names: Vec<&str> = ["n1"].into_iter().chain(others.iter().copied()).collect();
    let node = |name: &&str| Object::Node(NodeName::new(*name), Node::default());
    let lists = [
        (
            Kind::Address,
            vec![Object::Address(record(5, LoadBalancerIPStatus::default()))],
        ),
        (
            Kind::Policy,
            vec![Object::Policy(PolicyName::new("all"), policy)],
        ),
        (Kind::Service, vec![Object::Service(key(), service())]),
        (Kind::Slice, vec![]),
        (Kind::Node, names.iter().map(node).collect()),
        (Kind::Namespace, vec![]),
        (
            Kind::Session,
            names.iter().map(|name| session(name, 1)).collect(),
        ),
    ];
    let started = Event::SessionStarted(SessionId::new("n1-s"), now);
    brain.take(Input::Session(started), now);
    for (kind, objects) in lists {
        assert!(
            brain.step(now, &wall()).jobs.is_empty(),
            "nothing before everything is listed"
        );
        let keys = objects.iter().map(Object::key).collect();
        for object in objects {
            brain.take(Input::Applied(object), now);
        }
        brain.take(Input::Listed(kind, keys), now);
    }
    brain
}

pub(super) fn swaps(effects: &Effects) -> Vec<&Swap> {
    effects
        .jobs
        .iter()
        .filter_map(|job| match job {
            Job::Swap(swap) => Some(swap.as_ref()),
            _ => None,
        })
        .collect()
}

/// n1 has claimed the address and was told so.
pub(super) fn owning(others: &[&str]) -> Brain {
    let mut brain = brain(others);
    if others.is_empty() {
        let effects = brain.step(secs(100), &wall());
        assert_eq!(effects.probes, [(VIP, BTreeSet::from([2]))]);
        brain.take(Input::Probed(VIP, ProbeNews::Clear), secs(101));
        let effects = brain.step(secs(101), &wall());
        let [swap] = swaps(&effects)[..] else {
            panic!("{effects:?}")
        };
        assert_eq!(swap.version, Version::new("5"));
        let done = SwapOutcome::Done(Box::new(record(6, swap.status.clone())));
        brain.take(Input::Swapped(VIP, done), secs(101));
        return brain;
    }
    let owner = landfall_crds::Owner {
        node: "n1".into(),
        session: "n1-s".into(),
        standby: others.first().map(|node| (*node).to_owned()),
        transitions: 1,
        ..landfall_crds::Owner::default()
    };
    let status = LoadBalancerIPStatus {
        owner: Some(owner),
        interfaces: vec!["eth0".into()],
        ..LoadBalancerIPStatus::default()
    };
    brain.take(
        Input::Applied(Object::Address(record(6, status))),
        secs(101),
    );
    brain
}

#[test]
fn an_address_is_probed_claimed_answered_and_told_of() {
    let mut brain = owning(&[]);
    let effects = brain.step(secs(101), &wall());
    assert_eq!(effects.owned, [(VIP, BTreeSet::from([2]))].into());
    assert_eq!(effects.notices.len(), 1);
    assert_eq!(
        effects.notices[0].note,
        "node n1 answers for 192.0.2.10 on eth0"
    );
    assert_eq!(
        effects.notices[0].subjects.len(),
        2,
        "the record and the Service"
    );
    let condition = effects.jobs.iter().find_map(|job| match job {
        Job::Service(_, condition) => condition.as_ref(),
        _ => None,
    });
    assert_eq!(condition.unwrap().status, "True");
    let summary = brain.summary(secs(101));
    let others = ["owner_died", "handed_over", "restarted"].map(|reason| (reason, 0));
    let transitions = [("first", 1)].into_iter().chain(others).collect();
    assert_eq!(summary.transitions, transitions);
    assert_eq!(summary.answering.len(), 1);
}

#[test]
fn a_report_is_sent_once_and_again_only_after_it_failed() {
    let mut brain = owning(&[]);
    let sent = brain.step(secs(101), &wall()).jobs.len();
    assert!(sent > 0);
    brain.take(Input::Links(Arc::default()), secs(101));
    brain.take(seen(true), secs(101));
    assert_eq!(brain.step(secs(101), &wall()).jobs, [], "under way");
    let failed = Input::Reported(ReportKey::Service(key()), Err(Class::Transient));
    brain.take(failed, secs(102));
    let effects = brain.step(secs(102), &wall());
    assert_eq!(effects.jobs, []);
    assert!(
        effects
            .wake_at
            .is_some_and(|at| at > secs(102) && at <= secs(104))
    );
    assert_eq!(brain.step(secs(104), &wall()).jobs.len(), 1);
}

#[test]
fn what_was_written_about_an_object_makes_no_plan_anew() {
    let mut brain = owning(&["n2"]);
    let effects = brain.step(secs(101), &wall());
    let [swap] = swaps(&effects)[..] else {
        panic!("{effects:?}")
    };
    let condition = find(&swap.status.conditions, ANNOUNCED).unwrap().clone();
    let told = Service {
        conditions: vec![condition],
        ..service()
    };
    let mut reported = policy(L2AnnouncementPolicySpec::default());
    reported.status.addresses = 1;
    let status_alone = [
        Object::Address(record(7, swap.status.clone())),
        Object::Service(key(), told),
        Object::Policy(PolicyName::new("all"), reported),
    ];
    for object in status_alone {
        brain.report_due = false;
        let key = object.key();
        brain.take(Input::Applied(object), secs(102));
        assert!(
            brain.report_due && !brain.plan_due && !brain.path_due,
            "{key:?}"
        );
    }
    let local = Service {
        local: true,
        ..service()
    };
    brain.take(Input::Applied(Object::Service(key(), local)), secs(102));
    assert!(brain.plan_due && brain.path_due);
}

#[test]
fn a_read_after_a_refusal_is_what_the_election_goes_by() {
    let mut brain = owning(&["n2"]);
    brain.step(secs(101), &wall());
    let read = SwapOutcome::Refused(Some(Box::new(record(9, LoadBalancerIPStatus::default()))));
    brain.take(Input::Swapped(VIP, read), secs(102));
    let shown = &brain.records[&VIP];
    assert!(shown.version == Version::new("9") && shown.owner.is_none());
    brain.take(Input::Swapped(VIP, SwapOutcome::Refused(None)), secs(102));
    assert!(brain.records.is_empty());
}

#[test]
fn a_conflict_found_by_the_probe_is_reported_and_nothing_is_claimed() {
    let mut brain = brain(&[]);
    brain.step(secs(100), &wall());
    let conflict = Conflict {
        mac: mac(0x99),
        interface: "eth0".into(),
        at_probe: true,
    };
    brain.take(
        Input::Probed(VIP, ProbeNews::Taken(conflict.clone())),
        secs(101),
    );
    let effects = brain.step(secs(101), &wall());
    assert!(effects.owned.is_empty());
    let [swap] = swaps(&effects)[..] else {
        panic!("{effects:?}")
    };
    assert!(swap.report && swap.status.owner.is_none());
    assert_eq!(
        find(&swap.status.conditions, ANNOUNCED).unwrap().reason,
        "AddressConflict"
    );
    assert!(effects.notices.iter().any(|notice| notice.warning));
    brain.take(Input::Probed(VIP, ProbeNews::Taken(conflict)), secs(102));
    let notices = brain.step(secs(102), &wall()).notices;
    assert!(
        notices.is_empty(),
        "an Event on a transition, none in between"
    );
}

/// n1 gives the address to n2, which has claimed it, as n1 reads.
fn having_given_it(reason: impl FnOnce(&mut Brain)) -> Brain {
    let mut brain = owning(&["n2"]);
    brain.step(secs(101), &wall());
    reason(&mut brain);
    let effects = brain.step(secs(102), &wall());
    let [swap] = swaps(&effects)[..] else {
        panic!("{effects:?}")
    };
    let owner = swap.status.owner.as_ref().unwrap();
    assert_eq!(owner.handover_to.as_deref(), Some("n2"));
    assert_eq!(effects.owned.len(), 1, "make before break");
    let done = SwapOutcome::Done(Box::new(record(7, swap.status.clone())));
    brain.take(Input::Swapped(VIP, done), secs(102));
    let taken = landfall_crds::Owner {
        node: "n2".into(),
        session: "n2-s".into(),
        transitions: 2,
        ..landfall_crds::Owner::default()
    };
    let status = LoadBalancerIPStatus {
        owner: Some(taken),
        interfaces: vec!["bond0".into()],
        ..LoadBalancerIPStatus::default()
    };
    let claimed = Object::Address(record(8, status));
    brain.take(Input::Applied(claimed), secs(102));
    brain
}

fn this_node(change: impl FnOnce(&mut Node)) -> Input {
    let mut node = Node::default();
    change(&mut node);
    Input::Applied(Object::Node(NodeName::new("n1"), node))
}

#[test]
fn whatever_moves_an_address_it_is_answered_where_it_was_until_the_other_is_heard() {
    let label = "node.kubernetes.io/exclude-from-external-load-balancers";
    let reasons = [
        Input::Leave,
        this_node(|node| node.out_of_service = true),
        this_node(|node| drop(node.labels.insert(label.into(), String::new()))),
    ];
    for reason in reasons {
        let case = format!("{reason:?}");
        let mut brain = having_given_it(|brain| brain.take(reason, secs(102)));
        let effects = brain.step(secs(102), &wall());
        assert_eq!(effects.owned, [(VIP, [2].into())].into(), "{case}");
        let title = Title {
            address: VIP,
            transitions: 2,
            written: true,
        };
        let (node, session) = (NodeName::new("n2"), SessionId::new("n2-s"));
        let heard = Report::Claims(node, session, vec![title]);
        brain.take(Input::Peers(heard), secs(102));
        assert!(brain.step(secs(102), &wall()).owned.is_empty(), "{case}");
    }
}

#[test]
fn who_gave_an_address_away_and_hears_nothing_stops_soon() {
    let mut brain = having_given_it(|brain| brain.take(Input::Leave, secs(102)));
    let effects = brain.step(secs(102), &wall());
    let by = effects.wake_at.unwrap();
    assert!(effects.owned.len() == 1 && by <= secs(102) + Duration::from_millis(250));
    assert!(brain.step(by, &wall()).owned.is_empty());
}

#[test]
fn a_cordon_moves_nothing_until_an_endpoint_of_the_node_ends() {
    let mut brain = owning(&["n2"]);
    brain.step(secs(101), &wall());
    brain.take(this_node(|node| node.cordoned = true), secs(101));
    assert!(swaps(&brain.step(secs(101), &wall())).is_empty());
    let endpoint = |readiness| {
        let endpoint = Endpoint {
            address: "10.0.0.1".parse().unwrap(),
            node: Some(NodeName::new("n1")),
            readiness,
            pod: PodId::default(),
        };
        let slice = Slice {
            ports: Vec::new(),
            endpoints: vec![endpoint],
        };
        let other = ServiceKey::new("kube-system", "dns");
        Input::Applied(Object::Slice(other, "dns-1".into(), slice))
    };
    brain.take(endpoint(Readiness::Ready), secs(102));
    assert!(swaps(&brain.step(secs(102), &wall())).is_empty());
    brain.take(endpoint(Readiness::Draining), secs(103));
    let effects = brain.step(secs(103), &wall());
    let [swap] = swaps(&effects)[..] else {
        panic!("{effects:?}")
    };
    let owner = swap.status.owner.as_ref().unwrap();
    assert_eq!(owner.handover_to.as_deref(), Some("n2"));
    assert_eq!(effects.owned.len(), 1);
}

#[test]
fn losing_carrier_gives_the_address_to_another_node() {
    let mut brain = owning(&["n2"]);
    assert_eq!(brain.step(secs(101), &wall()).owned.len(), 1);
    brain.take(seen(false), secs(102));
    let effects = brain.step(secs(102), &wall());
    assert!(effects.owned.is_empty(), "on no interface any more");
    let [swap] = swaps(&effects)[..] else {
        panic!("{effects:?}")
    };
    let owner = swap.status.owner.as_ref().unwrap();
    assert_eq!(
        (owner.node.as_str(), owner.handover_to.as_deref()),
        ("n1", Some("n2"))
    );
    assert!(effects.published.unwrap().interfaces.is_empty());
}

#[test]
fn losing_carrier_has_another_node_that_is_heard_answer_at_once() {
    let mut brain = owning(&["n2"]);
    let (n2, session) = (NodeName::new("n2"), SessionId::new("n2-s"));
    let up = Report::Up {
        node: n2.clone(),
        session,
        merged: false,
    };
    let flags = Flags {
        has_api: true,
        programmed: true,
        ..Flags::default()
    };
    for report in [up, Report::Flags(n2.clone(), flags)] {
        brain.take(Input::Peers(report), secs(101));
    }
    brain.step(secs(101), &wall());
    brain.take(seen(false), secs(102));
    let effects = brain.step(secs(102), &wall());
    assert!(effects.owned.is_empty(), "on no interface any more");
    let moves = vec![Move {
        address: VIP,
        transitions: 1,
    }];
    let told = peers::Event::Say(To::Node(n2), Body::Ceded(moves));
    assert!(effects.to_peers.contains(&told), "{:?}", effects.to_peers);
    assert!(
        swaps(&effects).is_empty(),
        "what this node wrote would be in the way of the claim"
    );
}

/// Told to leave, it has released what it owned; its reports are under way.
fn having_released_everything() -> Brain {
    let mut brain = owning(&[]);
    brain.step(secs(101), &wall());
    brain.take(Input::Leave, secs(102));
    let effects = brain.step(secs(102), &wall());
    assert!(effects.published.as_ref().unwrap().leaving && effects.owned.is_empty());
    let [swap] = swaps(&effects)[..] else {
        panic!("{effects:?}")
    };
    assert!(swap.status.owner.is_none() && !effects.has_left);
    let done = SwapOutcome::Done(Box::new(record(7, swap.status.clone())));
    brain.take(Input::Swapped(VIP, done), secs(102));
    brain
}

#[test]
fn leaving_alone_releases_everything_and_says_so_before_the_end() {
    let mut brain = having_released_everything();
    let effects = brain.step(secs(102), &wall());
    assert!(!effects.has_left, "the reports are still to be written");
}

#[test]
fn leaving_waits_for_reports_that_may_yet_succeed_and_not_for_those_refused() {
    for (class, waits) in [
        (Class::Transient, true),
        (Class::Conflict, true),
        (Class::Forbidden, false),
        (Class::Refused, false),
    ] {
        let mut brain = having_released_everything();
        brain.step(secs(102), &wall());
        for key in [
            ReportKey::Address(VIP),
            ReportKey::Service(key()),
            ReportKey::Policy(PolicyName::new("all")),
        ] {
            brain.take(Input::Reported(key, Err(class)), secs(103));
        }
        let effects = brain.step(secs(103), &wall());
        assert_eq!(effects.has_left, !waits, "{class:?}");
    }
}

#[test]
fn what_a_new_list_does_not_name_is_gone() {
    let mut brain = owning(&[]);
    brain.step(secs(101), &wall());
    brain.take(Input::Listed(Kind::Address, BTreeSet::new()), secs(102));
    let effects = brain.step(secs(102), &wall());
    assert!(effects.owned.is_empty());
    assert!(brain.summary(secs(102)).owners.is_empty());
}

#[test]
fn without_a_session_nothing_is_answered() {
    let mut brain = owning(&[]);
    brain.take(Input::Session(Event::SessionLost), secs(102));
    let effects = brain.step(secs(102), &wall());
    assert!(effects.owned.is_empty() && effects.deadline.is_none() && effects.jobs.is_empty());
}

#[test]
fn an_interface_that_cannot_be_listened_on_carries_nothing_for_a_while() {
    let mut brain = owning(&["n2"]);
    brain.step(secs(101), &wall());
    brain.take(Input::Unavailable(2), secs(102));
    let effects = brain.step(secs(102), &wall());
    assert!(effects.owned.is_empty());
    assert!(effects.published.unwrap().interfaces.is_empty());
    brain.take(
        Input::Session(Event::Renewed(SessionId::new("n1-s"), secs(130))),
        secs(130),
    );
    let effects = brain.step(secs(133), &wall());
    assert_eq!(effects.published.unwrap().interfaces.len(), 1);
}

#[test]
fn an_unreadable_object_is_told_of_once_by_the_reporter() {
    let mut brain = owning(&[]);
    brain.step(secs(101), &wall());
    let input = || {
        let subject = Subject::Policy("odd".into(), "u".into());
        Input::Unreadable(subject, "spec.interfaces: not a list".into())
    };
    brain.take(input(), secs(102));
    brain.take(input(), secs(102));
    assert_eq!(brain.step(secs(102), &wall()).notices.len(), 1);
}

#[test]
fn what_only_the_data_path_depends_on_plans_no_policy_anew() {
    let mut brain = owning(&[]);
    brain.step(secs(101), &wall());
    assert!(!brain.plan_due && !brain.path_due);
    brain.take(Input::Neighbours(Arc::default()), secs(102));
    assert!(!brain.plan_due && brain.path_due);
    let slice = |port| Slice {
        ports: vec![SlicePort {
            name: String::new(),
            port,
            protocol: Protocol::Tcp,
        }],
        endpoints: vec![],
    };
    let applied = |port| Input::Applied(Object::Slice(key(), "a".into(), slice(port)));
    brain.take(applied(80), secs(102));
    assert!(!brain.plan_due, "traffic goes to any node");
    let local = Service {
        local: true,
        ..service()
    };
    brain.take(Input::Applied(Object::Service(key(), local)), secs(102));
    brain.step(secs(102), &wall());
    brain.take(applied(81), secs(103));
    assert!(brain.plan_due, "it may have gone from the only node");
}

#[test]
fn a_foreign_host_that_an_administrator_overrules_keeps_no_address_from_being_claimed() {
    let mut brain = brain(&[]);
    brain.step(secs(100), &wall());
    let overruled = Lbip {
        overruled: BTreeSet::from([mac(0x99)]),
        ..record(6, LoadBalancerIPStatus::default())
    };
    brain.take(Input::Applied(Object::Address(overruled)), secs(101));
    let conflict = Conflict {
        mac: mac(0x99),
        interface: "eth0".into(),
        at_probe: true,
    };
    brain.take(Input::Probed(VIP, ProbeNews::Taken(conflict)), secs(101));
    let effects = brain.step(secs(101), &wall());
    let [swap] = swaps(&effects)[..] else {
        panic!("{effects:?}")
    };
    assert_eq!(swap.status.owner.as_ref().unwrap().node, "n1");
}

#[test]
fn an_interface_that_is_said_to_be_no_container_s_is_published_as_none() {
    let veth = Link {
        kind: Some("veth".to_owned()),
        addresses: vec![],
        ..links(true).links[&2].clone()
    };
    let table = Input::Links(Arc::new(LinkTable {
        links: [(2, veth)].into(),
    }));
    let (plain, _) = InterfacePatterns::compile(&["eth[0-9]+".to_owned()]);
    for (mut brain, published) in [
        (brain(&[]), 0),
        (brain(&[]).with_plain_interfaces(plain), 1),
    ] {
        brain.take(table.clone(), secs(101));
        let effects = brain.step(secs(101), &wall());
        assert_eq!(effects.published.unwrap().interfaces.len(), published);
    }
}

#[test]
fn before_any_link_is_known_nothing_is_said_of_them_and_the_data_path_stays_as_it_is() {
    let mut brain = owning(&[]);
    brain.step(secs(101), &wall());
    brain.take(Input::Links(Arc::default()), secs(102));
    let effects = brain.step(secs(102), &wall());
    assert_eq!((effects.published, effects.data_path), (None, None));
    brain.take(seen(true), secs(103));
    assert!(brain.step(secs(103), &wall()).published.is_some());
}
