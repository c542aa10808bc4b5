//! What single events do to the cache.

use serde_json::json;

use super::*;

fn settings() -> Settings {
    Settings {
        default_class: true,
        lease: None,
        identity: String::new(),
        parallel: 1,
        orphan_grace: std::time::Duration::ZERO,
    }
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
        let service = cache.index.service(&ServiceKey::new("n", "s")).unwrap();
        let request = service.readable().unwrap().clone();
        let pool = request.pool.map(|pool| pool.to_string());
        (service.gateway_class.clone(), pool)
    };
    assert_eq!(asks(&cache), (None, None));
    let class = || Some("internet".to_owned());
    for pool in ["a", "b"] {
        cache.seen(gateway(pool), &settings);
        assert_eq!(asks(&cache), (class(), Some(pool.to_owned())));
    }
    let key = GatewayKey {
        namespace: "n".into(),
        name: "edge".into(),
    };
    Follow::<DeserializeGuard<Gateway>>::gone(&mut cache, &key, &settings);
    assert_eq!(asks(&cache), (None, None));
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
