//! The bare loop: the writes of a controller without the controller.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ObjectReference, Service};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use landfall_crds::{
    Holder, LoadBalancerIP, LoadBalancerIPPool, LoadBalancerIPSpec, PoolRef, ip_name,
};
use landfall_runtime::events::{Events, Note};
use serde_json::json;

use crate::server::{NAMESPACE, POOL, Server, Writes, each, name};

/// Makes as many writes of each kind as were counted, spread evenly over the Services; how long it
/// took.
pub(crate) async fn run(server: &Server, count: usize, writes: &Writes) -> Duration {
    let bare = Bare {
        services: Api::namespaced(server.client.clone(), NAMESPACE),
        records: Api::all(server.client.clone()),
        pools: Api::all(server.client.clone()),
        events: Events::new(server.client.clone(), "landfall-controller", "bench"),
    };
    let start = Instant::now();
    each(count, async |n| {
        let turns = |kind: &str| {
            let all = writes.of(kind);
            (n + 1) * all / count - n * all / count
        };
        for turn in 0..turns("loadbalancerips") {
            bare.record(n, turn).await;
        }
        for _ in 0..turns("services/status") {
            bare.status(n).await;
        }
        for _ in 0..turns("events") {
            bare.event(n).await;
        }
        for _ in 0..turns("loadbalancerippools") {
            bare.finalizer().await;
        }
        for _ in 0..turns("loadbalancerippools/status") {
            bare.pool(n).await;
        }
    })
    .await;
    start.elapsed()
}

struct Bare {
    services: Api<Service>,
    records: Api<LoadBalancerIP>,
    pools: Api<LoadBalancerIPPool>,
    events: Events,
}

fn address(n: usize) -> String {
    format!("10.9.{}.{}", n / 256, n % 256)
}

impl Bare {
    /// The record of a Service: created, and touched again where the controller did.
    async fn record(&self, n: usize, turn: usize) {
        let address = address(n);
        let record_name = ip_name(address.parse().unwrap());
        if turn > 0 {
            let again = Patch::Merge(json!({"spec": {"sharingKey": null}}));
            let params = PatchParams::default();
            self.records
                .patch(&record_name, &params, &again)
                .await
                .unwrap();
            return;
        }
        let holder = Holder {
            kind: "Service".to_owned(),
            namespace: NAMESPACE.to_owned(),
            name: name(n),
            uid: "00000000-0000-4000-8000-000000000000".to_owned(),
            ..Holder::default()
        };
        let spec = LoadBalancerIPSpec {
            address,
            holders: vec![holder],
            pool_ref: Some(PoolRef {
                name: POOL.to_owned(),
            }),
            ..LoadBalancerIPSpec::default()
        };
        let metadata = ObjectMeta {
            name: Some(record_name),
            ..ObjectMeta::default()
        };
        let record = LoadBalancerIP {
            metadata,
            spec,
            status: None,
        };
        let params = PostParams::default();
        self.records.create(&params, &record).await.unwrap();
    }

    async fn status(&self, n: usize) {
        let address = address(n);
        let condition = json!({
            "type": "landfall.dev/AddressAssigned", "status": "True", "reason": "Assigned",
            "message": format!("IPv4 {address} from pool {POOL}"),
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        });
        let status = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name(n)},
            "status": {
                "loadBalancer": {"ingress": [{"ip": address, "ipMode": "VIP"}]},
                "conditions": [condition],
            },
        });
        let params = PatchParams::apply("bare").force();
        let patch = Patch::Apply(status);
        self.services
            .patch_status(&name(n), &params, &patch)
            .await
            .unwrap();
    }

    async fn event(&self, n: usize) {
        let regarding = ObjectReference {
            kind: Some("Service".to_owned()),
            namespace: Some(NAMESPACE.to_owned()),
            name: Some(name(n)),
            ..ObjectReference::default()
        };
        let note = Note {
            warning: false,
            reason: "Assigned".to_owned(),
            action: "AssignAddress",
            note: format!("IPv4 {} from pool {POOL}", address(n)),
        };
        self.events
            .publish(regarding, note, Timestamp::now())
            .await
            .unwrap();
    }

    async fn finalizer(&self) {
        let finalizers = Patch::Merge(json!({"metadata": {"finalizers": ["example.com/bare"]}}));
        let params = PatchParams::default();
        self.pools.patch(POOL, &params, &finalizers).await.unwrap();
    }

    async fn pool(&self, n: usize) {
        let counts = json!({
            "total": "65536", "assigned": n.to_string(),
            "available": (65_536 - n).to_string(), "reserved": "0",
        });
        let status = json!({"ipv4": counts});
        landfall_runtime::apply::status(&self.pools, POOL, "bare", &status)
            .await
            .unwrap();
    }
}
