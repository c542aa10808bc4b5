//! What single events do to the cache.

use serde_json::json;

use super::*;

fn settings() -> Settings {
    Settings {
        default_class: true,
        gateway_namespaces: [].into(),
        lease: None,
        identity: String::new(),
        parallel: 1,
        contest_pause: std::time::Duration::ZERO,
        orphan_grace: std::time::Duration::ZERO,
    }
}

#[test]
fn a_pool_is_decided_by_as_its_answer_has_it_and_an_older_word_of_the_watch_changes_nothing() {
    let pool = |version: &str, cidr: &str| {
        let pool = json!({
            "apiVersion": "landfall.dev/v1alpha1", "kind": "LoadBalancerIPPool",
            "metadata": {"name": "a", "uid": "u", "resourceVersion": version},
            "spec": {"blocks": [{"cidr": cidr}]},
        });
        serde_json::from_value::<LoadBalancerIPPool>(pool).unwrap()
    };
    let (mut cache, name) = (Cache::default(), PoolName::from("a"));
    let total = |cache: &Cache| {
        let compiled = cache.index.pool(&name).unwrap().as_ref().unwrap();
        compiled.total(landfall_ipam::Family::V4)
    };
    let seen = |cache: &mut Cache, pool| {
        let guarded = DeserializeGuard(Ok(pool));
        cache.seen(guarded, &settings());
    };
    seen(&mut cache, pool("1", "192.0.2.0/31"));
    assert_eq!(total(&cache), 2);
    cache.pool_answered(&name, pool("3", "192.0.2.0/29"));
    assert_eq!(total(&cache), 8);
    seen(&mut cache, pool("2", "192.0.2.0/30"));
    assert_eq!(total(&cache), 8, "the watch is late");
    cache.pool_answered(&PoolName::from("b"), pool("4", "192.0.2.0/29"));
    assert!(cache.index.pool(&PoolName::from("b")).is_none(), "gone");
}

#[test]
fn an_object_that_cannot_be_decoded_is_told_of_once_and_leaves_what_was_known() {
    let settings = settings();
    let pool = |version: &str, priority: serde_json::Value| {
        serde_json::from_value::<DeserializeGuard<LoadBalancerIPPool>>(json!({
            "apiVersion": "landfall.dev/v1alpha1", "kind": "LoadBalancerIPPool",
            "metadata": {"name": "p", "uid": "u", "resourceVersion": version},
            "spec": {"blocks": [{"cidr": "192.0.2.0/24"}], "priority": priority},
        }))
        .unwrap()
    };
    let mut cache = Cache::default();
    cache.seen(pool("1", json!(0)), &settings);
    cache.seen(pool("2", json!("high")), &settings);
    let told = cache.undecodable.tell();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].0.kind.as_deref(), Some("LoadBalancerIPPool"));
    assert!(told[0].1.note.contains("high"), "{}", told[0].1.note);
    let known = cache.index.pool(&PoolName::from("p"));
    assert!(known.is_some_and(Result::is_ok));
    cache.seen(pool("2", json!("high")), &settings);
    assert!(
        !cache.undecodable.news(),
        "a list that starts anew says nothing new"
    );
    cache.seen(pool("3", json!("highest")), &settings);
    cache.seen(pool("4", json!(1)), &settings);
    assert!(!cache.undecodable.news());
}

#[test]
fn a_service_is_read_again_when_its_gateway_appears_changes_or_goes() {
    let settings = settings();
    let service: DeserializeGuard<Service> = serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "s", "namespace": "n", "uid": "u", "resourceVersion": "1",
            "labels": {"gateway.networking.k8s.io/gateway-name": "edge"}},
        "spec": {"type": "LoadBalancer"},
    }))
    .unwrap();
    let gateway = |pool: &str| -> DeserializeGuard<Gateway> {
        serde_json::from_value(json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
            "metadata": {"name": "edge", "namespace": "n",
                "annotations": {"landfall.dev/pool": pool}},
            "spec": {"gatewayClassName": "internet", "listeners": []},
        }))
        .unwrap()
    };
    let mut cache = Cache::default();
    cache.seen(service, &settings);
    let asks = |cache: &Cache| {
        let service = cache.index.service(&HolderKey::service("n", "s")).unwrap();
        let request = service.readable().unwrap().clone();
        let pool = request.pools.first().map(|pool| pool.to_string());
        (service.gateway_class.clone(), pool)
    };
    assert_eq!(asks(&cache), (None, None));
    let class = || Some("internet".to_owned());
    for pool in ["a", "b"] {
        cache.seen(gateway(pool), &settings);
        assert_eq!(asks(&cache), (class(), Some(pool.to_owned())));
    }
    let key = NamespacedName {
        namespace: "n".into(),
        name: "edge".into(),
    };
    Follow::<DeserializeGuard<Gateway>>::gone(&mut cache, &key, &settings);
    assert_eq!(asks(&cache), (None, None));
}

#[test]
fn a_service_of_another_namespace_acts_for_a_gateway_only_where_an_administrator_said_so() {
    let gateway: DeserializeGuard<Gateway> = serde_json::from_value(json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": {"name": "gw", "namespace": "infra", "labels": {"tier": "gold"},
            "annotations": {"landfall.dev/ips": "192.0.2.110"}},
        "spec": {"gatewayClassName": "edge", "listeners": []},
    }))
    .unwrap();
    let service = || -> DeserializeGuard<Service> {
        serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "forged", "namespace": "evil", "uid": "u", "resourceVersion": "1",
                "labels": {"gateway.envoyproxy.io/owning-gateway-name": "gw",
                    "gateway.envoyproxy.io/owning-gateway-namespace": "infra"}},
            "spec": {"type": "LoadBalancer"},
        }))
        .unwrap()
    };
    let mut cache = Cache::default();
    let mut settings = settings();
    cache.seen(gateway, &settings);
    cache.seen(service(), &settings);
    let key = HolderKey::service("evil", "forged");
    let known = cache.index.service(&key).unwrap();
    assert_eq!(known.readable().unwrap().addresses.len(), 0);
    assert_eq!(known.gateway_class, None);
    assert!(!known.labels.contains_key("tier"));
    let note = "is not believed to be made for Gateway infra/gw: only Services of its own namespace \
                and of those in --gateway-namespaces are";
    assert_eq!(known.notes, [note]);

    settings.gateway_namespaces = ["evil".to_owned()].into();
    cache.seen(service(), &settings);
    let known = cache.index.service(&key).unwrap();
    assert_eq!(known.readable().unwrap().addresses.len(), 1);
    assert_eq!(known.gateway_class.as_deref(), Some("edge"));
    assert_eq!(known.notes, ["in the name of Gateway infra/gw"]);
}

#[test]
fn an_annotation_of_ours_that_is_not_known_is_told_of_with_the_one_that_may_be_meant() {
    let service: DeserializeGuard<Service> = serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "s", "namespace": "n", "uid": "u", "resourceVersion": "1",
            "annotations": {"landfall.dev/ip": "192.0.2.77", "landfall.dev/pool": "p", "example.org/x": "y"}},
        "spec": {"type": "LoadBalancer"},
    }))
    .unwrap();
    let mut cache = Cache::default();
    cache.seen(service, &settings());
    let known = cache.index.service(&HolderKey::service("n", "s")).unwrap();
    assert_eq!(
        known.notes,
        ["\"landfall.dev/ip\" is no annotation that Landfall knows; is landfall.dev/ips meant?"]
    );
    let message = cache.index.preview(known).outcome.unwrap().message;
    assert!(message.contains("is landfall.dev/ips meant?"), "{message}");
}

#[test]
fn a_record_that_cannot_be_decoded_keeps_its_address_until_it_goes() {
    let settings = settings();
    let record = |name: &str, spec: serde_json::Value| {
        serde_json::from_value::<DeserializeGuard<LoadBalancerIP>>(json!({
            "apiVersion": "landfall.dev/v1alpha1", "kind": "LoadBalancerIP",
            "metadata": {"name": name, "uid": "u", "resourceVersion": "1"},
            "spec": spec,
        }))
        .unwrap()
    };
    for spec in [
        json!({"address": "192.0.2.1", "holders": "nobody"}),
        json!({"address": "192.0.2.9"}),
    ] {
        let at = Point::from(std::net::IpAddr::from([192, 0, 2, 1]));
        let mut cache = Cache::default();
        cache.seen(record("192-0-2-1", spec.clone()), &settings);
        assert!(cache.index.taken().contains(at));
        let known = Follow::<DeserializeGuard<LoadBalancerIP>>::known(&cache);
        assert_eq!(known.len(), 1, "a list without it says that it is gone");
        for key in &known {
            Follow::<DeserializeGuard<LoadBalancerIP>>::gone(&mut cache, key, &settings);
        }
        assert!(!cache.index.taken().contains(at));
        cache.seen(record("192-0-2-1", spec), &settings);
        cache.seen(
            record("192-0-2-1", json!({"address": "192.0.2.1"})),
            &settings,
        );
        assert!(!cache.index.unreadable(at));
        assert!(cache.index.taken().contains(at));
    }
}

#[test]
fn a_service_that_cannot_be_decoded_stops_nothing() {
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "s", "namespace": "n", "uid": "u"},
        "spec": {"ports": "none"},
    });
    let mut cache = Cache::default();
    let guarded: DeserializeGuard<Service> = serde_json::from_value(service).unwrap();
    assert!(cache.decoded(guarded).is_none());
    let told = cache.undecodable.tell();
    assert_eq!(told[0].0.namespace.as_deref(), Some("n"));
}
