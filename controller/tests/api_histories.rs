//! Random histories against a real kube-apiserver: what `histories.rs` plays with a model, a few
//! times with the real thing, real clients and real watches.
//!
//! 5 histories by default; `LANDFALL_API_HISTORIES=n` plays more, `LANDFALL_API_SEED=n` others.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]
#![allow(dead_code, reason = "the shared support serves two binaries")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use support::{Cluster, addresses, eventually};

/// How many things happen in one history.
const STEPS: usize = 12;

/// A small generator: the same seed gives the same history.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }

    fn one_of<'a>(&mut self, choice: &[&'a str]) -> &'a str {
        choice[self.roll(choice.len())]
    }
}

fn number(name: &str, default: u64) -> u64 {
    let set = std::env::var(name).ok();
    set.and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// What was settled when things were last quiet: nobody of these may have moved.
type Settled = BTreeMap<String, Vec<IpAddr>>;

async fn happen(cluster: &mut Cluster, dice: &mut Dice, settled: &mut Settled) -> String {
    let name = format!("s{}", dice.roll(6));
    let pool = dice.one_of(&["a", "b"]);
    match dice.roll(12) {
        0..5 => {
            let (spec, annotations) = wish(dice);
            let pairs: Vec<_> = annotations.iter().map(|(k, v)| (*k, v.as_str())).collect();
            // A new wish may move it, and those it shares with may have to make room for its ports.
            let held = settled.remove(&name).unwrap_or_default();
            settled.retain(|_, others| !others.iter().any(|address| held.contains(address)));
            cluster.service("blue", &name, &pairs, spec.clone()).await;
            format!("put {name} {spec} {annotations:?}")
        }
        5 => {
            settled.remove(&name);
            let params = DeleteParams::default();
            let _ = cluster.services("blue").delete(&name, &params).await;
            format!("delete {name}")
        }
        6..9 => {
            let blocks = dice.one_of(&["192.0.2.0/30", "192.0.2.2/31", "192.0.2.0/29"]);
            let disabled = dice.roll(4) == 0;
            let spec = json!({"blocks": [{"cidr": blocks}, {"cidr": "2001:db8::/126"}],
                "disabled": disabled, "priority": dice.roll(2)});
            let result = cluster.try_pool(pool, spec.clone()).await;
            format!("pool {pool} {spec}: {}", result.is_ok())
        }
        9 => {
            let _ = cluster.pools().delete(pool, &DeleteParams::default()).await;
            format!("delete pool {pool}")
        }
        10 => {
            let empty = json!({"status": {"loadBalancer": null, "conditions": null}});
            let params = PatchParams::default();
            let patch = Patch::Merge(empty);
            let _ = cluster
                .services("blue")
                .patch_status(&name, &params, &patch)
                .await;
            format!("lose the status of {name}")
        }
        _ => {
            cluster.kill().await;
            cluster.controller().await;
            "restart".to_owned()
        }
    }
}

fn wish(dice: &mut Dice) -> (Value, Vec<(&'static str, String)>) {
    let port = [80, 443, 53][dice.roll(3)];
    let policy = dice.one_of(&["SingleStack", "PreferDualStack", "RequireDualStack"]);
    let mut spec = json!({"ports": [{"port": port, "protocol": "TCP"}], "ipFamilyPolicy": policy});
    let mut annotations = Vec::new();
    if dice.roll(3) == 0 {
        annotations.push(("landfall.dev/sharing-key", "k".to_owned()));
    }
    if dice.roll(4) == 0 {
        annotations.push(("landfall.dev/ips", format!("192.0.2.{}", dice.roll(8))));
    }
    if dice.roll(6) == 0 {
        spec["externalIPs"] = json!([format!("192.0.2.{}", dice.roll(8))]);
    }
    (spec, annotations)
}

/// Longer than a write waits that somebody else was quicker with.
const REST: Duration = Duration::from_millis(600);

/// Waits until newcomers are answered, nothing has changed for a while, and status and records say
/// the same.
async fn quiet(cluster: &Cluster) {
    let seen = Mutex::new((BTreeMap::new(), Instant::now()));
    eventually("it comes to rest", async || {
        let asks = [("landfall.dev/ips", "198.51.100.1")];
        cluster.service("green", "probe", &asks, json!({})).await;
        cluster.refused("green", "probe", "NotInAnyPool").await;
        let probe = cluster.services("green");
        let params = DeleteParams::default();
        probe.delete("probe", &params).await.unwrap();
        let now = cluster.versions().await;
        let (shown, booked) = (shown(cluster).await, booked(cluster).await);
        let mut seen = seen.lock().unwrap();
        if seen.0 != now {
            *seen = (now, Instant::now());
        }
        if seen.1.elapsed() < REST {
            return Err("still busy".to_owned());
        }
        if shown == booked {
            Ok(())
        } else {
            Err(format!("status {shown:?}, records {booked:?}"))
        }
    })
    .await;
}

type Holders = BTreeMap<IpAddr, BTreeSet<String>>;

/// Who has which address, by the Services' status.
async fn shown(cluster: &Cluster) -> Holders {
    let mut shown = Holders::new();
    let services = cluster.services("blue").list(&ListParams::default()).await;
    for service in services.unwrap() {
        for address in addresses(&service) {
            let name = format!("blue/{}", service.name_any());
            shown.entry(address).or_default().insert(name);
        }
    }
    shown
}

/// Who has which address, by the records.
async fn booked(cluster: &Cluster) -> Holders {
    let book = cluster.book().await.into_iter();
    book.map(|(address, holders)| (address, holders.into_iter().collect()))
        .collect()
}

/// What holds whenever things are quiet.
async fn check(cluster: &Cluster, settled: &mut Settled, story: &[String]) {
    let told = || story.join("\n");
    let services = cluster
        .services("blue")
        .list(&ListParams::default())
        .await
        .unwrap();
    let mut ports: BTreeMap<(IpAddr, i32), String> = BTreeMap::new();
    let mut now = Settled::new();
    for service in &services {
        let name = service.name_any();
        for address in addresses(service) {
            for port in service
                .spec
                .iter()
                .flat_map(|spec| spec.ports.iter().flatten())
            {
                let other = ports.insert((address, port.port), name.clone());
                assert_eq!(other, None, "{address}:{} twice\n{}", port.port, told());
            }
        }
        if service.annotations().contains_key("landfall.dev/ips") {
            // Whoever asks for an address by name may move whenever it becomes free.
            settled.remove(&name);
            continue;
        }
        now.insert(name, addresses(service));
    }
    for (name, before) in settled.iter() {
        let has: &[IpAddr] = now.get(name).map_or(&[], Vec::as_slice);
        let kept = before.iter().all(|address| has.contains(address));
        assert!(
            kept,
            "{name} was moved from {before:?} to {has:?}\n{}",
            told()
        );
    }
    for pool in cluster.pools().list(&ListParams::default()).await.unwrap() {
        let status = pool.status.clone().unwrap_or_default();
        for counts in [status.ipv4, status.ipv6].into_iter().flatten() {
            let [total, rest @ ..] = [
                &counts.total,
                &counts.assigned,
                &counts.available,
                &counts.reserved,
            ]
            .map(|text| text.parse::<u128>().unwrap());
            assert_eq!(
                rest.iter().sum::<u128>(),
                total,
                "{}\n{}",
                pool.name_any(),
                told()
            );
        }
    }
    *settled = now;
}

#[tokio::test]
async fn nobody_moves_without_asking_on_a_real_api_server() {
    let test = "nobody_moves_without_asking_on_a_real_api_server";
    let seed = number("LANDFALL_API_SEED", 1);
    for history in 0..number("LANDFALL_API_HISTORIES", 5) {
        let Some(mut cluster) = Cluster::start(test).await else {
            return;
        };
        let mut dice = Dice(
            seed.wrapping_add(history)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15),
        );
        let mut settled = Settled::new();
        let mut story = vec![format!("seed {seed}, history {history}")];
        cluster.controller().await;
        for _ in 0..STEPS {
            story.push(happen(&mut cluster, &mut dice, &mut settled).await);
            if dice.roll(4) == 0 {
                quiet(&cluster).await;
                check(&cluster, &mut settled, &story).await;
                story.push("quiet".to_owned());
            }
        }
        quiet(&cluster).await;
        check(&cluster, &mut settled, &story).await;
        let book = cluster.book().await;
        cluster.kill().await;
        cluster.controller().await;
        quiet(&cluster).await;
        check(&cluster, &mut settled, &story).await;
        assert_eq!(
            cluster.book().await,
            book,
            "a restart changed something\n{}",
            story.join("\n")
        );
        cluster.stop().await;
    }
}
