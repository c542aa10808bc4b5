//! The API server of the bench: a fresh set of waiting Services, and how many writes it was asked
//! for.

use std::collections::BTreeMap;
use std::path::Path;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, GetParams, ListParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use landfall_crds::{LoadBalancerIP, LoadBalancerIPPool};
use landfall_testbed::control_plane::{ControlPlane, Options};
use serde_json::json;

/// How many requests are under way at once, on either side.
pub(crate) const PARALLEL: usize = 16;
/// Where the Services are.
pub(crate) const NAMESPACE: &str = "bench";
/// The pool they get their addresses from.
pub(crate) const POOL: &str = "default";

/// A control plane and its administrator.
pub(crate) struct Server {
    pub(crate) plane: ControlPlane,
    pub(crate) client: Client,
}

/// The name of a Service.
pub(crate) fn name(n: usize) -> String {
    format!("s{n:05}")
}

/// Does something for each number, so many at once.
pub(crate) async fn each(count: usize, work: impl AsyncFn(usize)) {
    futures::stream::iter(0..count)
        .for_each_concurrent(PARALLEL, |n| work(n))
        .await;
}

impl Server {
    /// `None`, said loudly, where there is none to be had.
    pub(crate) async fn start() -> Option<Self> {
        let mut options = Options::for_test("bench ipam_api")?;
        let flags = [
            "--max-requests-inflight=4000",
            "--max-mutating-requests-inflight=2000",
        ];
        options.api_server_flags.extend(flags.map(str::to_owned));
        let plane = ControlPlane::start(options).await.unwrap();
        let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/default");
        let applied = plane.kubectl().args(["apply", "-k"]).arg(tree).output();
        assert!(applied.unwrap().status.success());
        let client = plane.client().await.unwrap();
        let namespace: Namespace =
            serde_json::from_value(json!({"metadata": {"name": NAMESPACE}})).unwrap();
        let namespaces = Api::<Namespace>::all(client.clone());
        namespaces
            .create(&PostParams::default(), &namespace)
            .await
            .unwrap();
        Some(Self { plane, client })
    }

    /// So many new Services that wait, a new pool, and nothing left of what was before.
    pub(crate) async fn afresh(&self, count: usize) {
        let (params, all) = (DeleteParams::default(), ListParams::default());
        let services = Api::<Service>::namespaced(self.client.clone(), NAMESPACE);
        let old = services.list_metadata(&all).await.unwrap().items;
        each(old.len(), async |n| {
            drop(services.delete(&old[n].name_any(), &params).await.unwrap());
        })
        .await;
        let records = Api::<LoadBalancerIP>::all(self.client.clone());
        records.delete_collection(&params, &all).await.unwrap();
        let events = Api::<Event>::namespaced(self.client.clone(), NAMESPACE);
        events.delete_collection(&params, &all).await.unwrap();
        let pools = Api::<LoadBalancerIPPool>::all(self.client.clone());
        if pools.get_opt(POOL).await.unwrap().is_some() {
            let free = kube::api::Patch::Merge(json!({"metadata": {"finalizers": null}}));
            pools.patch(POOL, &Default::default(), &free).await.unwrap();
            pools.delete(POOL, &params).await.unwrap();
        }
        let blocks = json!({"blocks": [{"cidr": "10.9.0.0/16"}]});
        let pool = json!({"metadata": {"name": POOL}, "spec": blocks});
        let pool: LoadBalancerIPPool = serde_json::from_value(pool).unwrap();
        pools.create(&PostParams::default(), &pool).await.unwrap();
        each(count, async |n| {
            let service = json!({
                "metadata": {"name": name(n), "namespace": NAMESPACE},
                "spec": {
                    "type": "LoadBalancer", "allocateLoadBalancerNodePorts": false,
                    "selector": {"app": "web"}, "ports": [{"port": 80}],
                },
            });
            let service: Service = serde_json::from_value(service).unwrap();
            services
                .create(&PostParams::default(), &service)
                .await
                .unwrap();
        })
        .await;
    }

    /// How many Services have an address.
    pub(crate) async fn addressed(&self) -> usize {
        let services = Api::<Service>::namespaced(self.client.clone(), NAMESPACE);
        let all = services.list(&ListParams::default()).await.unwrap();
        let has = |service: &&Service| {
            let status = service.status.as_ref();
            status.is_some_and(|status| {
                let balancer = status.load_balancer.as_ref();
                balancer.is_some_and(|balancer| balancer.ingress.is_some())
            })
        };
        all.iter().filter(has).count()
    }

    /// The writes the API server has been asked for until now, by its own count.
    pub(crate) async fn writes(&self) -> Writes {
        let asked = kube::core::Request::new("")
            .get("metrics", &GetParams::default())
            .unwrap();
        Writes::read(&self.client.request_text(asked).await.unwrap())
    }
}

/// The kinds of write that a controller can make; `leases` is not among them, for the Lease of a
/// leader is renewed whether there is something to do or not, and the bench elects none.
pub(crate) const KINDS: [&str; 11] = [
    "services",
    "services/status",
    "loadbalancerips",
    "loadbalancerips/status",
    "loadbalancerippools",
    "loadbalancerippools/status",
    "gatewayclasses/status",
    "gateways/status",
    "tcproutes",
    "tcproutes/status",
    "events",
];

/// Requests by kind, whatever came of them: POST, PUT, PATCH, APPLY and DELETE.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Writes(BTreeMap<&'static str, usize>);

impl Writes {
    fn read(metrics: &str) -> Self {
        let mut writes = BTreeMap::new();
        let counted = metrics
            .lines()
            .filter_map(|line| line.strip_prefix("apiserver_request_total{"));
        for line in counted {
            let label = |name: &str| {
                let (_, rest) = line.split_once(&format!("{name}=\""))?;
                rest.split('"').next()
            };
            let verbs = [
                "POST",
                "PUT",
                "PATCH",
                "APPLY",
                "DELETE",
                "DELETECOLLECTION",
            ];
            if !label("verb").is_some_and(|verb| verbs.contains(&verb)) {
                continue;
            }
            let resource = match (label("resource"), label("subresource")) {
                (Some(resource), None | Some("")) => resource.to_owned(),
                (Some(resource), Some(sub)) => format!("{resource}/{sub}"),
                _ => continue,
            };
            if let Some(kind) = KINDS.iter().find(|kind| **kind == resource) {
                let value = line.rsplit(' ').next().unwrap();
                let value: usize = value.parse().unwrap();
                *writes.entry(*kind).or_default() += value;
            }
        }
        Self(writes)
    }

    /// What came after an earlier look.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let more = KINDS.map(|kind| (kind, self.of(kind) - before.of(kind)));
        Self(more.into_iter().filter(|(_, count)| *count > 0).collect())
    }

    /// How many of a kind.
    pub(crate) fn of(&self, kind: &str) -> usize {
        self.0.get(kind).copied().unwrap_or_default()
    }

    /// How many of all kinds.
    pub(crate) fn total(&self) -> usize {
        self.0.values().sum()
    }

    /// How many of each, in words.
    pub(crate) fn words(&self) -> String {
        let words = self.0.iter().map(|(kind, count)| format!("{count} {kind}"));
        words.collect::<Vec<_>>().join(", ")
    }
}
