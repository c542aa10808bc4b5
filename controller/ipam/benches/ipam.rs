//! What an allocation costs, in process: figures for `target/figures/bench-ipam.json`.

#![expect(clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use landfall_crds::{Block, Holder, LoadBalancerIPPoolSpec, LoadBalancerIPSpec};
use landfall_ipam::address::Point;
use landfall_ipam::book::Stored;
use landfall_ipam::pools::Pool;
use landfall_ipam::request::Request;
use landfall_ipam::service::{FamilyPolicy, Protocol};
use landfall_ipam::spans::{Span, Spans};
use landfall_ipam::{Family, HolderKey, Index, PoolName, Service};
use serde_json::{Value, json};

fn pool(index: &mut Index, name: &str, cidr: &str) {
    let block = Block {
        cidr: Some(cidr.to_owned()),
        ..Block::default()
    };
    let pool = Pool::compile(name, &LoadBalancerIPPoolSpec::of(vec![block]), false);
    index.pool_seen(&PoolName::from(name), Some(pool));
}

fn service(n: usize) -> Service {
    Service {
        key: HolderKey::service("default", format!("service-{n:05}")),
        uid: format!("00000000-0000-4000-8000-{n:012}"),
        created: i64::try_from(n).unwrap(),
        wanted: true,
        labels: BTreeMap::from([("app".to_owned(), "web".to_owned())]),
        gateway_class: None,
        frontends: Vec::new(),
        request: Ok(Request::default()),
        policy: FamilyPolicy::SingleStack,
        families: vec![Family::V4],
        ports: BTreeSet::from([(Protocol::Tcp, 80)]),
        local: false,
        selector: BTreeMap::from([("app".to_owned(), "web".to_owned())]),
        cluster: Vec::new(),
        external: Vec::new(),
        status: Vec::new(),
        hosts: Vec::new(),
        ours: false,
        touched: false,
        notes: Vec::new(),
    }
}

/// Plans for the next one who waits; what it holds then.
fn allocate(index: &mut Index) -> Option<usize> {
    let queued = index.pop()?;
    let step = index.plan(&queued.key)?;
    Some(step.plan.take.len())
}

fn figure(name: &str, unit: &str, method: &str, mut samples: Vec<f64>) -> Value {
    samples.sort_by(f64::total_cmp);
    let at = |part: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index of a short list"
        )]
        let index = ((samples.len() - 1) as f64 * part).round() as usize;
        samples[index]
    };
    let median = at(0.5);
    println!(
        "{name:<48} {median:>12.3} {unit:<3} (min {:.3}, p99 {:.3}, n {})",
        at(0.0),
        at(0.99),
        samples.len()
    );
    json!({
        "name": name, "value": median, "unit": unit, "n": samples.len(),
        "min": at(0.0), "median": median, "p99": at(0.99), "max": at(1.0), "method": method,
    })
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn fill(pools: usize, services: usize) -> (Index, Duration) {
    let mut index = Index::default();
    if pools == 1 {
        pool(&mut index, "pool", "10.0.0.0/16");
    } else {
        for n in 0..pools {
            pool(
                &mut index,
                &format!("pool-{n:04}"),
                &format!("10.{}.{}.0/24", n / 256, n % 256),
            );
        }
    }
    for n in 0..services {
        index.service_seen(service(n));
    }
    let start = Instant::now();
    while allocate(&mut index).is_some() {}
    let took = start.elapsed();
    let held = index.entries().count();
    assert_eq!(
        held,
        services.min(if pools == 1 { 65_536 } else { pools * 256 })
    );
    (index, took)
}

/// How the first 999 of 1,000 pools are of no use.
#[derive(Clone, Copy)]
enum Useless {
    Full,
    ServiceSelector,
    NamespaceSelector,
}

/// 10,000 allocations from the last of 1,000 pools, after 999 that are of no use.
fn last_of_1_000(useless: Useless) -> Duration {
    let mut index = Index::default();
    for n in 0..999 {
        let mut spec = LoadBalancerIPPoolSpec::of(vec![Block {
            cidr: Some(format!("172.16.{}.{}/32", n / 256, n % 256)),
            ..Block::default()
        }]);
        let selector = json!({"matchLabels": {"team": format!("team-{n}")}});
        let selector = Some(serde_json::from_value(selector).unwrap());
        match useless {
            Useless::Full => {}
            Useless::ServiceSelector => spec.service_selector = selector,
            Useless::NamespaceSelector => spec.namespace_selector = selector,
        }
        let name = format!("pool-{n:03}");
        let pool = Pool::compile(&name, &spec, false);
        index.pool_seen(&PoolName::from(name.as_str()), Some(pool));
    }
    pool(&mut index, "pool-999", "10.0.0.0/16");
    let labels = BTreeMap::from([("team".to_owned(), "other".to_owned())]);
    index.namespace_seen("default", Some(labels));
    let before = if matches!(useless, Useless::Full) {
        999
    } else {
        0
    };
    for n in 0..before {
        index.service_seen(service(20_000 + n));
    }
    while allocate(&mut index).is_some() {}
    for n in 0..10_000 {
        index.service_seen(service(n));
    }
    let start = Instant::now();
    while allocate(&mut index).is_some() {}
    let took = start.elapsed();
    let last = index.pool(&PoolName::from("pool-999"));
    let counts = index.counts_of(last.unwrap().as_ref().unwrap(), Family::V4);
    assert_eq!(counts.assigned, 10_000);
    took
}

/// An address taken and released through the index, of a /64 in which every second one of the
/// first 2,000,000 is held: microseconds for each of many.
fn take_and_release() -> Vec<f64> {
    let mut index = Index::default();
    pool(&mut index, "pool", "2001:db8::/64");
    let holder = |n: u128| Holder {
        kind: "Service".to_owned(),
        namespace: "other".to_owned(),
        name: format!("service-{}", n % 100),
        uid: String::new(),
        ..Holder::default()
    };
    let first = u128::from_str_radix("20010db8000000000000000000000000", 16).unwrap();
    for n in 0..1_000_000_u128 {
        let at = Point(first + n * 2 + 1);
        let spec = LoadBalancerIPSpec {
            address: at.address().to_string(),
            holders: vec![holder(n)],
            ..LoadBalancerIPSpec::default()
        };
        let stored = Stored {
            spec,
            uid: String::new(),
            version: "1".to_owned(),
            out_of_pool: None,
            reserved_by_us: false,
            shown_to: BTreeSet::new(),
        };
        index.record_seen(at, stored);
    }
    assert_eq!(index.taken().fragments(), 1_000_000);
    index.pop_pools();
    let mut asks = service(1);
    asks.families = vec![Family::V6];
    let mut seed = 1_u64;
    let mut samples = Vec::new();
    for n in 0..20_000 {
        // Somewhere between the fragments, by name; every second time the lowest free one.
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let near = Point(first + u128::from(seed >> 44) * 2 % 2_000_000);
        let mut request = Request::default();
        if n % 2 == 0 {
            request.addresses.push(near.address());
        }
        asks.request = Ok(request);
        asks.status.clear();
        index.service_seen(asks.clone());
        let start = Instant::now();
        let queued = index.pop().unwrap();
        let step = index.plan(&queued.key).unwrap();
        let taken = [step.plan.take[0].address];
        black_box(index.depart(&queued.key, &taken));
        samples.push(micros(start.elapsed()));
        index.service_gone(&queued.key);
        while index.pop().is_some() {}
    }
    samples
}

fn main() {
    let mut figures = Vec::new();
    let samples = (0..10).map(|_| micros(fill(1, 10_000).1) / 1e3).collect();
    figures.push(figure(
        "fill 10,000 addresses of a /16",
        "ms",
        "plan and commit, one index",
        samples,
    ));

    let (mut index, _) = fill(1, 65_536);
    let samples = (0..2_000).map(|n| {
        index.service_seen(service(70_000 + n));
        let start = Instant::now();
        assert_eq!(black_box(allocate(&mut index)), Some(0));
        micros(start.elapsed())
    });
    let samples = samples.collect();
    figures.push(figure(
        "a refused request on a full /16",
        "us",
        "plan of one who waits, message included",
        samples,
    ));

    let first = u128::from_str_radix("20010db8000000000000000000000000", 16).unwrap();
    let slash_64 = Span::new(Point(first), Point(first + u128::from(u64::MAX))).unwrap();
    let mut taken: Spans = (0..1_000_000_u128)
        .map(|n| Span::point(Point(first + n * 2 + 1)))
        .collect();
    assert_eq!(taken.fragments(), 1_000_000);
    let mut seed = 1_u64;
    let samples = (0..100_000).map(|_| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let near = Point(first + u128::from(seed >> 44) * 2 % 2_000_000 + 1);
        let within = Span::new(near, slash_64.end).unwrap();
        let start = Instant::now();
        let free = taken.first_gap(within).unwrap();
        taken.insert(Span::point(free));
        taken.remove(Span::point(free));
        micros(start.elapsed())
    });
    let samples = samples.collect();
    figures.push(figure(
        "take + release, /64 of 1,000,000 fragments",
        "us",
        "next free above a random address, taken and released",
        samples,
    ));

    figures.push(figure(
        "take + release through the index, /64 of 1,000,000 fragments",
        "us",
        "a step that takes the lowest free address or one by name, and its departure",
        take_and_release(),
    ));

    let (mut one, mut many) = (Vec::new(), Vec::new());
    let useless = [
        (Useless::Full, "are full"),
        (Useless::ServiceSelector, "select other Services"),
        (Useless::NamespaceSelector, "select other namespaces"),
    ];
    let mut last = useless.map(|_| Vec::new());
    for _ in 0..10 {
        one.push(micros(fill(1, 10_000).1) / 10_000.0);
        many.push(micros(fill(1_000, 10_000).1) / 10_000.0);
        for (samples, (useless, _)) in last.iter_mut().zip(useless) {
            samples.push(micros(last_of_1_000(useless)) / 10_000.0);
        }
    }
    let single = figure(
        "an allocation with 1 pool",
        "us",
        "10,000 in turn, both sides interleaved",
        one,
    );
    let thousand = figure(
        "an allocation with 1,000 pools",
        "us",
        "10,000 in turn, both sides interleaved",
        many,
    );
    let ratio = thousand["median"].as_f64().unwrap() / single["median"].as_f64().unwrap();
    for (samples, (_, words)) in last.into_iter().zip(useless) {
        let of_last = figure(
            &format!("an allocation from the last of 1,000 pools; 999 {words}"),
            "us",
            "10,000 in turn, all sides interleaved",
            samples,
        );
        let to_single = of_last["median"].as_f64().unwrap() / single["median"].as_f64().unwrap();
        figures.extend([
            of_last,
            figure(
                &format!("the last of 1,000 pools to 1 pool; 999 {words}"),
                "x",
                "ratio of the medians",
                vec![to_single],
            ),
        ]);
    }
    figures.extend([
        single,
        thousand,
        figure(
            "1,000 pools to 1 pool",
            "x",
            "ratio of the medians",
            vec![ratio],
        ),
    ]);

    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/figures");
    std::fs::create_dir_all(&dir).unwrap();
    let text = serde_json::to_string_pretty(&figures).unwrap();
    std::fs::write(dir.join("bench-ipam.json"), text).unwrap();
}
