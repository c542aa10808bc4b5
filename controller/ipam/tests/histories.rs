//! Random histories of a cluster against a naive model: nobody moves without asking, no address has
//! two incompatible holders, counts add up, a restart changes nothing.
//!
//! 300 histories by default; `LANDFALL_HISTORIES=10000` is the nightly form.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod model;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use landfall_crds::{
    Backend, Block, Frontend, FrontendProtocol, LoadBalancerIPPoolSpec, ReclaimPolicy,
};
use landfall_ipam::request::{Namespaces, Request, Sharing};
use landfall_ipam::service::{FamilyPolicy, Protocol};
use landfall_ipam::{Family, HolderKey, HolderKind, PoolName, Reason, Refusal, Service};
use proptest::prelude::*;

use model::{Fault, World};

#[derive(Clone, Debug)]
enum Event {
    PutPool(u8, LoadBalancerIPPoolSpec),
    DeletePool(u8),
    PutService(Service),
    DeleteService(HolderKey),
    /// Deleted and made anew at once.
    Remake(Service),
    LoseStatus(HolderKey),
    LoseEveryStatus,
    /// Another balancer writes a status.
    Foreign(HolderKey, Vec<IpAddr>, Vec<String>),
    /// A person edits the record of an address.
    Reclaim(usize, ReclaimPolicy),
    Deliver(usize, usize),
    Work(usize, Fault),
    Restart(usize),
    Settle,
}

fn histories() -> u32 {
    std::env::var("LANDFALL_HISTORIES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(300)
}

fn block(text: &str) -> Block {
    Block {
        cidr: Some(text.to_owned()),
        ..Block::default()
    }
}

prop_compose! {
    fn pool()(
        v4 in prop::sample::subsequence(vec!["192.0.2.0/30", "192.0.2.2/31", "192.0.2.4/30", "192.0.2.0/29"], 0..3),
        v6 in prop::sample::subsequence(vec!["2001:db8::/127", "2001:db8::2/127"], 0..2),
        priority in 0..2,
        auto_assign in prop::bool::weighted(0.8),
        disabled in prop::bool::weighted(0.2),
        select in prop::option::weighted(0.3, prop::sample::select(vec!["x", "y"])),
        exclude in prop::bool::weighted(0.2),
    ) -> LoadBalancerIPPoolSpec {
        let mut blocks: Vec<Block> = v4.into_iter().chain(v6).map(block).collect();
        if blocks.is_empty() {
            blocks.push(block("198.51.100.0/31"));
        }
        let mut spec = LoadBalancerIPPoolSpec::of(blocks);
        spec.priority = priority;
        spec.auto_assign = auto_assign;
        spec.disabled = disabled;
        spec.service_selector = select.map(|value| {
            serde_json::from_value(serde_json::json!({"matchLabels": {"tier": value}})).unwrap()
        });
        if exclude {
            spec.excludes.push(block("192.0.2.1/32"));
        }
        spec
    }
}

fn key() -> impl Strategy<Value = HolderKey> {
    // A Gateway may stand beside a Service of its name.
    let kind = prop::sample::select(vec![
        HolderKind::Service,
        HolderKind::Service,
        HolderKind::Gateway,
    ]);
    (kind, prop::sample::select(vec!["blue", "green"]), 0..4u8)
        .prop_map(|(kind, namespace, n)| HolderKey::new(kind, namespace, format!("s{n}")))
}

prop_compose! {
    fn request()(
        addresses in prop::sample::subsequence(
            vec!["192.0.2.1", "192.0.2.3", "192.0.2.6", "2001:db8::1", "203.0.113.9"], 0..3),
        asks in prop::bool::weighted(0.3),
        pools in prop::sample::subsequence(vec!["p0", "p1", "p2"], 0..3),
        names in prop::bool::weighted(0.25),
        sharing in prop::option::weighted(0.4, (any::<bool>(), any::<bool>(), any::<bool>())),
        renumber in prop::bool::weighted(0.2),
        readable in prop::bool::weighted(0.95),
    ) -> Result<Request, Refusal> {
        if !readable {
            return Err(Refusal::new(Reason::InvalidRequest, "unreadable"));
        }
        Ok(Request {
            addresses: addresses.iter().filter(|_| asks).map(|text| text.parse().unwrap()).collect(),
            pools: pools.into_iter().filter(|_| names).map(PoolName::from).collect(),
            sharing: sharing.map(|(one, any, different_pods)| Sharing {
                key: if one { "k1" } else { "k2" }.to_owned(),
                namespaces: if any { Namespaces::Any } else { Namespaces::Named(BTreeSet::new()) },
                different_pods,
            }),
            renumber,
            ..Request::default()
        })
    }
}

prop_compose! {
    fn service()(
        key in key(),
        wanted in prop::bool::weighted(0.9),
        tier in prop::sample::select(vec!["x", "y"]),
        request in request(),
        policy in prop::sample::select(vec![
            FamilyPolicy::SingleStack, FamilyPolicy::PreferDualStack, FamilyPolicy::RequireDualStack]),
        six_first in any::<bool>(),
        ports in prop::collection::btree_set(prop::sample::select(vec![80u16, 443, 53]), 1..3),
        local in prop::bool::weighted(0.3),
        app in prop::sample::select(vec!["a", "b"]),
        external in prop::option::weighted(0.15, prop::sample::select(
            vec!["192.0.2.2", "192.0.2.5", "2001:db8::1", "203.0.113.8"])),
        weight in 0..3u32,
    ) -> Service {
        let gateway = key.kind == HolderKind::Gateway;
        let frontends = ports.iter().filter(|_| gateway).map(|port| Frontend {
            port: *port,
            protocol: FrontendProtocol::Tcp,
            backends: vec![Backend {
                namespace: key.namespace.clone(),
                name: "web".to_owned(),
                port: 80,
                weight,
                refused: false,
            }],
        });
        let frontends = frontends.collect();
        let external = external.filter(|_| !gateway);
        let mut families = vec![Family::V4, Family::V6];
        if six_first {
            families.reverse();
        }
        if policy == FamilyPolicy::SingleStack {
            families.truncate(1);
        }
        Service {
            key,
            uid: String::new(),
            created: 0,
            wanted,
            labels: BTreeMap::from([("tier".to_owned(), tier.to_owned())]),
            gateway_class: None,
            frontends,
            request,
            policy,
            families,
            ports: ports.into_iter().map(|port| (Protocol::Tcp, port)).collect(),
            local,
            selector: BTreeMap::from([("app".to_owned(), app.to_owned())]),
            cluster: Vec::new(),
            external: external.iter().map(|text| text.parse().unwrap()).collect(),
            status: Vec::new(),
            hosts: Vec::new(),
            ours: false,
            touched: false,
            notes: Vec::new(),
        }
    }
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        6 => Just(Fault::None),
        1 => (0..4usize).prop_map(Fault::Before),
        1 => (0..4usize).prop_map(Fault::After),
    ]
}

fn foreign() -> impl Strategy<Value = Event> {
    let addresses = vec!["192.0.2.1", "192.0.2.3", "203.0.113.9", "2001:db8::1"];
    let addresses = prop::sample::subsequence(addresses, 0..3);
    (key(), addresses, prop::bool::weighted(0.2)).prop_map(|(key, addresses, host)| {
        let addresses = addresses.iter().map(|text| text.parse().unwrap());
        let hosts = host.then(|| "lb.example".to_owned());
        Event::Foreign(key, addresses.collect(), hosts.into_iter().collect())
    })
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..3u8, pool()).prop_map(|(n, spec)| Event::PutPool(n, spec)),
        1 => (0..3u8).prop_map(Event::DeletePool),
        8 => service().prop_map(Event::PutService),
        2 => key().prop_map(Event::DeleteService),
        2 => service().prop_map(Event::Remake),
        1 => key().prop_map(Event::LoseStatus),
        1 => Just(Event::LoseEveryStatus),
        2 => foreign(),
        1 => (0..6usize, any::<bool>()).prop_map(|(nth, keep)| {
            Event::Reclaim(nth, if keep { ReclaimPolicy::Retain } else { ReclaimPolicy::Delete })
        }),
        12 => (0..2usize, 0..3usize).prop_map(|(c, kind)| Event::Deliver(c, kind)),
        12 => (0..2usize, fault()).prop_map(|(c, fault)| Event::Work(c, fault)),
        1 => (0..2usize).prop_map(Event::Restart),
        2 => Just(Event::Settle),
    ]
}

fn play(world: &mut World, event: Event) {
    let count = world.controllers.len();
    match event {
        Event::PutPool(n, spec) => world.put_pool(&format!("p{n}"), spec),
        Event::DeletePool(n) => world.delete_pool(&format!("p{n}")),
        Event::PutService(service) => world.put_service(service),
        Event::DeleteService(key) => world.delete_service(&key),
        Event::Remake(service) => {
            world.delete_service(&service.key);
            world.put_service(service);
        }
        Event::LoseStatus(key) => world.lose_status(&key),
        Event::LoseEveryStatus => {
            for key in world.services.keys().cloned().collect::<Vec<_>>() {
                world.lose_status(&key);
            }
        }
        Event::Foreign(key, status, hosts) => world.foreign_status(&key, status, hosts),
        Event::Reclaim(nth, policy) => world.reclaim(nth, policy),
        Event::Deliver(which, kind) => world.controllers[which % count].deliver(kind),
        Event::Work(which, fault) => drop(world.work(which % count, fault)),
        Event::Restart(which) => world.restart(which % count),
        Event::Settle => world.settle(),
    }
}

/// Who has which addresses.
fn ends(world: &World) -> BTreeMap<HolderKey, Vec<IpAddr>> {
    world
        .services
        .values()
        .map(|service| (service.key.clone(), service.status.clone()))
        .collect()
}

proptest! {
#![proptest_config(ProptestConfig { cases: histories(), max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

#[test]
fn nobody_moves_without_asking_whatever_happens_to_one_controller(
    events in prop::collection::vec(event(), 1..80)
) {
    let mut world = World::new(1);
    for event in events {
        play(&mut world, event);
    }
    world.settle();
    let before = (ends(&world), world.records.clone());
    world.restart(0);
    world.settle();
    prop_assert_eq!((ends(&world), world.records.clone()), before, "a restart changed something");
}

#[test]
fn two_controllers_that_both_believe_to_lead_never_make_two_holders(
    events in prop::collection::vec(event(), 1..80)
) {
    let mut world = World::new(2);
    for event in events {
        play(&mut world, event);
    }
    world.settle();
}

#[test]
fn a_follower_that_takes_over_finds_everything_as_its_leader_left_it(
    events in prop::collection::vec(event(), 1..80)
) {
    let mut world = World::new(2);
    world.lead(0);
    for event in events {
        play(&mut world, event);
    }
    world.settle();
    let before = (ends(&world), world.records.clone());
    world.lead(1);
    world.settle();
    prop_assert_eq!((ends(&world), world.records.clone()), before, "taking over changed something");
}

#[test]
fn a_start_gives_the_same_answer_in_every_order_of_events(
    pools in prop::collection::vec((0..3u8, pool()), 1..4),
    services in prop::collection::vec(service(), 1..8),
    order in Just((0..16usize).collect::<Vec<_>>()).prop_shuffle(),
) {
    let mut plain = World::new(1);
    for (n, spec) in &pools {
        plain.put_pool(&format!("p{n}"), spec.clone());
    }
    for service in &services {
        plain.put_service(service.clone());
    }
    let mut shuffled = World::new(1);
    shuffled.services.clone_from(&plain.services);
    shuffled.pools.clone_from(&plain.pools);
    plain.restart_in_order(0, &[]);
    plain.settle();
    shuffled.restart_in_order(0, &order);
    shuffled.settle();
    prop_assert_eq!(ends(&shuffled), ends(&plain));
}}

proptest! {
    #![proptest_config(ProptestConfig { cases: (histories() / 10).max(1), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_first_eight_of_sixteen_services_keep_a_slash_29_over_20_restarts_in_every_order_of_events(
        orders in prop::collection::vec(Just((0..25usize).collect::<Vec<_>>()).prop_shuffle(), 20),
        lost in any::<bool>(),
    ) {
        let mut world = World::new(1);
        world.put_pool("small", LoadBalancerIPPoolSpec::of(vec![block("192.0.2.8/29")]));
        for n in 0..16 {
            world.put_service(waiting(&format!("s{n:02}")));
        }
        world.settle();
        let (before, records) = (ends(&world), world.records.clone());
        let eight: BTreeMap<_, Vec<IpAddr>> = (0..16u8).map(|n| {
            let address = (n < 8).then(|| IpAddr::from([192, 0, 2, 8 + n]));
            (HolderKey::service("blue", format!("s{n:02}")), address.into_iter().collect())
        }).collect();
        prop_assert_eq!(&before, &eight);
        for order in orders {
            if lost {
                play(&mut world, Event::LoseEveryStatus);
            }
            world.restart_in_order(0, &order);
            world.settle();
            prop_assert_eq!(&ends(&world), &eight);
            prop_assert_eq!(&world.records, &records, "a restart wrote a record");
        }
    }
}

/// A Service that takes what it gets.
fn waiting(name: &str) -> Service {
    Service {
        key: HolderKey::service("blue", name),
        uid: String::new(),
        created: 0,
        wanted: true,
        labels: BTreeMap::new(),
        gateway_class: None,
        frontends: Vec::new(),
        request: Ok(Request::default()),
        policy: FamilyPolicy::SingleStack,
        families: vec![Family::V4],
        ports: BTreeSet::from([(Protocol::Tcp, 80)]),
        local: false,
        selector: BTreeMap::new(),
        cluster: Vec::new(),
        external: Vec::new(),
        status: Vec::new(),
        hosts: Vec::new(),
        ours: false,
        touched: false,
        notes: Vec::new(),
    }
}
