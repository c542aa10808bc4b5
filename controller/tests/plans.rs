//! What becomes of a Service, situation by situation, and in which words.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use landfall_controller::ipam::address::Point;
use landfall_controller::ipam::book::Stored;
use landfall_controller::ipam::pool::Pool;
use landfall_controller::ipam::request::Request;
use landfall_controller::ipam::service::{FamilyPolicy, Protocol};
use landfall_controller::ipam::step::Write;
use landfall_controller::ipam::{Family, Index, PoolName, Service, ServiceKey};
use landfall_crds::{LoadBalancerIPPoolSpec, LoadBalancerIPSpec};
use serde_json::{Value, json};

/// An index whose writes all succeed at once.
#[derive(Default)]
struct Bench {
    index: Index,
    clock: i64,
}

impl Bench {
    fn pool(&mut self, name: &str, spec: Value) -> &mut Self {
        let spec: LoadBalancerIPPoolSpec = serde_json::from_value(spec).unwrap();
        let pool = Pool::compile(name, &spec, false);
        self.index.pool_seen(&PoolName::from(name), Some(pool));
        self.work()
    }

    fn cidrs(&mut self, name: &str, cidrs: &[&str]) -> &mut Self {
        let blocks: Vec<Value> = cidrs.iter().map(|cidr| json!({"cidr": cidr})).collect();
        self.pool(name, json!({"blocks": blocks}))
    }

    fn service(
        &mut self,
        name: &str,
        annotations: &[(&str, &str)],
        change: impl FnOnce(&mut Service),
    ) -> &mut Self {
        self.clock += 1;
        let annotations = annotations
            .iter()
            .map(|(k, v)| ((*k).into(), (*v).into()))
            .collect();
        let key = ServiceKey::new("blue", name);
        let before = self.index.world.services.get(&key);
        let mut service = Service {
            uid: name.to_owned(),
            created: before.map_or(self.clock, |before| before.created),
            wanted: true,
            labels: BTreeMap::new(),
            request: Request::read(&annotations, None),
            policy: FamilyPolicy::SingleStack,
            families: vec![Family::V4],
            ports: BTreeSet::from([(Protocol::Tcp, 80)]),
            local: false,
            selector: BTreeMap::from([("app".to_owned(), name.to_owned())]),
            status: before
                .map(|before| before.status.clone())
                .unwrap_or_default(),
            touched: before.is_some(),
            key,
        };
        change(&mut service);
        self.index.service_seen(service);
        self.work()
    }

    fn plain(&mut self, name: &str) -> &mut Self {
        self.service(name, &[], |_| {})
    }

    fn delete(&mut self, name: &str) -> &mut Self {
        self.index.service_gone(&ServiceKey::new("blue", name));
        self.work()
    }

    /// A person's own record.
    fn record(&mut self, spec: Value) -> &mut Self {
        let spec: LoadBalancerIPSpec = serde_json::from_value(spec).unwrap();
        self.clock += 1;
        let at = Point::from(spec.address.parse::<std::net::IpAddr>().unwrap());
        let version = self.clock.to_string();
        self.index.record_seen(
            at,
            Stored {
                spec,
                uid: version.clone(),
                version,
                out_of_pool: None,
            },
        );
        self.work()
    }

    fn work(&mut self) -> &mut Self {
        while let Some(turn) = self.index.pop() {
            let Some(step) = self.index.step(&turn.key) else {
                continue;
            };
            self.write(&step.writes);
            if let Some(mut service) = step.service {
                service.status = step.plan.addresses(&service);
                if let Some(known) = self.index.world.services.get_mut(&turn.key) {
                    known.status = service.status;
                }
            }
            let departures = self.index.depart(&turn.key, &step.plan.leave);
            self.write(&departures);
        }
        self
    }

    fn write(&mut self, writes: &[Write]) {
        for write in writes {
            self.clock += 1;
            let version = self.clock.to_string();
            match write {
                Write::Create(at, spec) => {
                    let stored = Stored {
                        spec: spec.clone(),
                        uid: version.clone(),
                        version,
                        out_of_pool: None,
                    };
                    self.index.record_seen(*at, stored);
                }
                Write::Replace(at, spec, stored) => {
                    let stored = Stored {
                        spec: spec.clone(),
                        version,
                        ..stored.clone()
                    };
                    self.index.record_seen(*at, stored);
                }
                Write::Delete(at, stored) => self.index.record_gone(*at, &stored.uid, true),
            }
        }
    }

    fn says(&self, name: &str) -> String {
        let service = &self.index.world.services[&ServiceKey::new("blue", name)];
        let outcome = self.index.world.plan(service).outcome.unwrap();
        format!("{}: {}", outcome.reason.as_str(), outcome.message)
    }

    fn has(&self, name: &str) -> String {
        let service = &self.index.world.services[&ServiceKey::new("blue", name)];
        let addresses: Vec<String> = service.status.iter().map(ToString::to_string).collect();
        addresses.join(" ")
    }
}

fn dual(policy: FamilyPolicy) -> impl FnOnce(&mut Service) {
    move |service| {
        service.policy = policy;
        service.families = vec![Family::V4, Family::V6];
    }
}

#[test]
fn every_refusal_says_what_is_wrong_and_what_would_help() {
    let ips = "landfall.dev/ips";
    let mut bench = Bench::default();
    bench.plain("none");
    let none = bench.says("none");
    bench.delete("none");
    bench.pool(
        "shut",
        json!({"blocks": [{"cidr": "198.51.100.0/30"}], "disabled": true}),
    );
    bench.pool(
        "quiet",
        json!({"blocks": [{"cidr": "198.51.100.8/30"}], "autoAssign": false}),
    );
    bench.pool("red", json!({"blocks": [{"cidr": "198.51.100.16/30"}], "serviceSelector": {"matchLabels": {"a": "b"}}}));
    bench.pool("space", json!({"blocks": [{"cidr": "198.51.100.24/30"}], "namespaceSelector": {"matchLabels": {"a": "b"}}}));
    bench.pool(
        "gates",
        json!({"blocks": [{"cidr": "198.51.100.32/30"}], "gatewayClasses": ["internet"]}),
    );
    bench.pool("odd", json!({"blocks": [{"cidr": "198.51.100.200/28"}]}));
    bench.plain("nobody");
    let nobody = bench.says("nobody");
    bench.delete("nobody");
    bench.cidrs("one", &["192.0.2.4/31"]);
    bench.index.node_seen(
        "node-1",
        &BTreeSet::from([Point::from(
            "192.0.2.4".parse::<std::net::IpAddr>().unwrap(),
        )]),
    );
    bench.service("holder", &[("landfall.dev/sharing-key", "k")], |_| {});
    bench.record(json!({"address": "203.0.113.1", "reservedFor": {"kind": "Service", "namespace": "blue", "name": "later"}}));
    bench.record(json!({"address": "203.0.113.2"}));
    bench
        .plain("full")
        .service("six", &[], |service| service.families = vec![Family::V6])
        .service("wrong-family", &[(ips, "2001:db8::1")], |_| {})
        .service("outside", &[(ips, "203.0.113.77")], |_| {})
        .service("disabled", &[(ips, "198.51.100.1")], |_| {})
        .service("selector", &[(ips, "198.51.100.17")], |_| {})
        .service(
            "other-pool",
            &[(ips, "198.51.100.9"), ("landfall.dev/pool", "one")],
            |_| {},
        )
        .service("no-such-pool", &[("landfall.dev/pool", "nope")], |_| {})
        .service("refused-pool", &[("landfall.dev/pool", "odd")], |_| {})
        .service("node", &[(ips, "192.0.2.4")], |_| {})
        .service("taken", &[(ips, "192.0.2.5")], |_| {})
        .service(
            "port",
            &[(ips, "192.0.2.5"), ("landfall.dev/sharing-key", "k")],
            |_| {},
        )
        .service(
            "key",
            &[(ips, "192.0.2.5"), ("landfall.dev/sharing-key", "other")],
            |_| {},
        )
        .service(
            "policy",
            &[(ips, "192.0.2.5"), ("landfall.dev/sharing-key", "k")],
            |service| {
                service.local = true;
                service.ports = BTreeSet::from([(Protocol::Tcp, 81)]);
            },
        )
        .service("kept", &[(ips, "203.0.113.1")], |_| {})
        .service("nobodys", &[(ips, "203.0.113.2")], |_| {})
        .service("unreadable", &[(ips, "192.0.2.x")], |_| {})
        .service("both", &[], dual(FamilyPolicy::RequireDualStack));
    let mut table = vec![format!("none | {none}"), format!("nobody | {nobody}")];
    for key in bench.index.world.services.keys() {
        table.push(format!("{} | {}", key.name, bench.says(&key.name)));
    }
    insta::assert_snapshot!(table.join("\n"));
}

#[test]
fn prefer_dual_stack_takes_what_there_is_and_gains_the_second_family_when_it_appears() {
    let mut bench = Bench::default();
    bench
        .cidrs("four", &["192.0.2.0/30"])
        .service("web", &[], dual(FamilyPolicy::PreferDualStack));
    assert_eq!(bench.has("web"), "192.0.2.0");
    assert_eq!(
        bench.says("web"),
        "Assigned: IPv4 192.0.2.0 from pool four; no IPv6: no IPv6 addresses in pool four; add an IPv6 block"
    );
    bench.cidrs("six", &["2001:db8::/64"]);
    assert_eq!(bench.has("web"), "192.0.2.0 2001:db8::");
    bench.index.pool_seen(&PoolName::from("six"), None);
    assert_eq!(
        bench.work().has("web"),
        "192.0.2.0 2001:db8::",
        "it never flips back"
    );
}

#[test]
fn require_dual_stack_takes_both_or_none() {
    let mut bench = Bench::default();
    bench.cidrs("four", &["192.0.2.0/30"]).service(
        "web",
        &[],
        dual(FamilyPolicy::RequireDualStack),
    );
    assert_eq!(bench.has("web"), "");
    assert!(bench.index.world.book.entries().next().is_none());
    bench.cidrs("six", &["2001:db8::/64"]);
    assert_eq!(bench.has("web"), "192.0.2.0 2001:db8::");
}

#[test]
fn the_best_pool_is_the_highest_then_the_one_with_a_selector_then_the_first_by_name() {
    let mut bench = Bench::default();
    bench
        .cidrs("b", &["192.0.2.8/30"])
        .cidrs("a", &["192.0.2.4/30"]);
    bench.pool("z", json!({"blocks": [{"cidr": "192.0.2.0/31"}], "serviceSelector": {"matchExpressions": [{"key": "x", "operator": "DoesNotExist"}]}}));
    bench.pool(
        "top",
        json!({"blocks": [{"start": "192.0.2.99"}], "priority": 1}),
    );
    for name in ["s1", "s2", "s3", "s4"] {
        bench.plain(name);
    }
    let all: Vec<String> = ["s1", "s2", "s3", "s4"].map(|name| bench.has(name)).into();
    assert_eq!(all, ["192.0.2.99", "192.0.2.0", "192.0.2.1", "192.0.2.4"]);
}

#[test]
fn a_selector_that_matches_nobody_admits_nobody() {
    let mut bench = Bench::default();
    bench.pool("p", json!({"blocks": [{"cidr": "192.0.2.0/30"}], "namespaceSelector": {"matchLabels": {"colour": "blue"}}}));
    bench.plain("web");
    assert_eq!(bench.has("web"), "");
    bench.index.namespace_seen(
        "blue",
        Some(BTreeMap::from([("colour".into(), "blue".into())])),
    );
    assert_eq!(bench.work().has("web"), "192.0.2.0");
    bench.index.namespace_seen("blue", Some(BTreeMap::new()));
    assert_eq!(bench.work().has("web"), "192.0.2.0", "a holder stays");
    assert!(
        bench
            .says("web")
            .contains("would no longer be given by pool p"),
        "{}",
        bench.says("web")
    );
}

#[test]
fn a_pseudo_label_cannot_be_forged() {
    let mut bench = Bench::default();
    bench.pool("p", json!({"blocks": [{"cidr": "192.0.2.0/30"}], "serviceSelector": {"matchLabels": {"io.kubernetes.service.name": "vip"}}}));
    bench.service("forger", &[], |service| {
        service
            .labels
            .insert("io.kubernetes.service.name".into(), "vip".into());
    });
    assert_eq!(bench.has("forger"), "");
    assert_eq!(bench.plain("vip").has("vip"), "192.0.2.0");
}

#[test]
fn the_addresses_of_nodes_are_never_handed_out() {
    let mut bench = Bench::default();
    bench.index.node_seen(
        "n",
        &BTreeSet::from([Point::from(
            "192.0.2.0".parse::<std::net::IpAddr>().unwrap(),
        )]),
    );
    bench
        .cidrs("p", &["192.0.2.0/31"])
        .plain("web")
        .plain("next");
    assert_eq!(
        (bench.has("web").as_str(), bench.has("next").as_str()),
        ("192.0.2.1", "")
    );
    bench.index.node_seen("n", &BTreeSet::new());
    assert_eq!(bench.work().has("next"), "192.0.2.0");
}

#[test]
fn holders_of_one_key_share_an_address_until_they_clash() {
    let key = [("landfall.dev/sharing-key", "k")];
    let port =
        |port| move |service: &mut Service| service.ports = BTreeSet::from([(Protocol::Tcp, port)]);
    let mut bench = Bench::default();
    bench.cidrs("p", &["192.0.2.0/30"]);
    bench
        .service("a", &key, port(80))
        .service("b", &key, port(443))
        .service("c", &key, port(443));
    assert_eq!(
        [bench.has("a"), bench.has("b"), bench.has("c")],
        ["192.0.2.0", "192.0.2.0", "192.0.2.1"]
    );
    bench.service("b", &key, port(80));
    assert_eq!([bench.has("a"), bench.has("b")], ["192.0.2.0", "192.0.2.1"]);
}

#[test]
fn a_kept_address_waits_for_its_holder_and_a_retained_one_for_its_former() {
    let mut bench = Bench::default();
    bench.cidrs("p", &["192.0.2.0/29"]);
    bench.record(json!({"address": "192.0.2.0", "reclaimPolicy": "Retain",
        "reservedFor": {"kind": "Service", "namespace": "blue", "name": "vip"}}));
    bench.plain("web").plain("vip");
    assert_eq!(
        [bench.has("web"), bench.has("vip")],
        ["192.0.2.1", "192.0.2.0"]
    );
    bench.delete("vip").plain("other").plain("vip");
    assert_eq!(
        [bench.has("other"), bench.has("vip")],
        ["192.0.2.2", "192.0.2.0"]
    );
}

#[test]
fn asking_for_another_address_moves_and_a_refused_wish_keeps_the_old_one() {
    let mut bench = Bench::default();
    bench
        .cidrs("p", &["192.0.2.0/30"])
        .plain("web")
        .plain("other");
    bench.service("web", &[("landfall.dev/ips", "192.0.2.1")], |_| {});
    assert_eq!(bench.has("web"), "192.0.2.0");
    assert_eq!(
        bench.says("web"),
        "AddressInUse: IPv4: 192.0.2.1 is held by Service blue/other; it is not shared: \
         give both the same landfall.dev/sharing-key; keeps IPv4 192.0.2.0 from pool p"
    );
    bench.delete("other");
    assert_eq!(bench.has("web"), "192.0.2.1");
    assert_eq!(bench.index.world.book.entries().count(), 1);
}

#[test]
fn a_shrunken_pool_moves_a_holder_only_with_its_leave() {
    let mut bench = Bench::default();
    bench.cidrs("p", &["192.0.2.0/30"]).plain("web");
    bench.cidrs("p", &["198.51.100.0/30"]);
    assert_eq!(bench.has("web"), "192.0.2.0");
    assert_eq!(
        bench.says("web"),
        "Assigned: IPv4 192.0.2.0, which is no longer covered by pool p (it stays; set landfall.dev/renumber to \"true\" to move)"
    );
    bench.service("web", &[("landfall.dev/renumber", "true")], |_| {});
    assert_eq!(bench.has("web"), "198.51.100.0");
}

#[test]
fn an_explanation_says_what_every_pool_has_free() {
    let mut bench = Bench::default();
    bench.cidrs("p", &["2001:db8::/64"]);
    let explanation = {
        bench.service("web", &[], |service| service.families = vec![Family::V6]);
        let service = &bench.index.world.services[&ServiceKey::new("blue", "web")];
        bench.index.world.explain(service)
    };
    assert_eq!(explanation.pools[0].free, [(Family::V6, (1u128 << 64) - 1)]);
    assert_eq!(explanation.pools[0].rejection, None);
}
