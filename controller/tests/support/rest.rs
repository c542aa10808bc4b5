//! Waiting until controllers have nothing left to do.
//!
//! A controller is at rest when it has seen what the API server has, object by object and version
//! by version, and has nothing queued, nothing under way and nothing to be tried again. All of them
//! are compared with one and the same look at the API server: whoever wrote after it has either not
//! ended, or knows a newer version than that look.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Namespace, Node, Service};
use kube::api::ListParams;
use kube::{Api, Client, Resource, ResourceExt as _};
use landfall_controller::cache::Cache;
use landfall_controller::validate;
use landfall_crds::{LoadBalancerIP, LoadBalancerIPPool, ip_name};
use serde::de::DeserializeOwned;

use super::{Cluster, PATIENCE, eventually_within};

/// What there is, by kind and name, with its version.
type Versions = BTreeMap<String, String>;

impl Cluster {
    /// Waits until every controller is at rest.
    pub(crate) async fn rest(&self) {
        // Whoever failed a few times comes back only after seconds.
        eventually_within(PATIENCE * 3, "all is at rest", async || {
            let there = there(&self.client).await;
            for (at, controller) in self.controllers.iter().enumerate() {
                let cache = controller.state.lock();
                let seen = seen(&cache);
                if seen != there {
                    let pairs = there.iter().map(|(name, now)| (name, now, seen.get(name)));
                    let differ: Vec<_> = pairs.filter(|row| Some(row.1) != row.2).collect();
                    let stale = seen.keys().filter(|name| !there.contains_key(*name));
                    let stale: Vec<_> = stale.collect();
                    return Err(format!("controller {at} lacks {differ:?}, keeps {stale:?}"));
                }
                if !cache.at_rest() {
                    let (open, work) = (&cache.open, cache.index.has_work());
                    let orphans = cache.index.orphans();
                    return Err(format!("controller {at}: {open:?} {work} {orphans:?}"));
                }
            }
            Ok(())
        })
        .await;
    }
}

async fn there(client: &Client) -> Versions {
    let mut there = Versions::new();
    for service in all::<Service>(client).await {
        // What is no LoadBalancer is nothing to a controller, once it has let go of it.
        let ours =
            validate::service(&service, true, None).is_some_and(|ours| ours.wanted || ours.touched);
        if ours {
            let key = validate::key(&service.metadata).unwrap();
            there.insert(format!("service {key}"), version(&service));
        }
    }
    for record in all::<LoadBalancerIP>(client).await {
        there.insert(format!("record {}", record.name_any()), version(&record));
    }
    for pool in all::<LoadBalancerIPPool>(client).await {
        there.insert(format!("pool {}", pool.name_any()), version(&pool));
    }
    for namespace in all::<Namespace>(client).await {
        let labels = format!("{:?}", namespace.labels());
        there.insert(format!("namespace {}", namespace.name_any()), labels);
    }
    for node in all::<Node>(client).await {
        if node.status.and_then(|status| status.addresses).is_some() {
            there.insert(
                format!("node {}", node.metadata.name.unwrap()),
                String::new(),
            );
        }
    }
    there
}

async fn all<K>(client: &Client) -> Vec<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let api = Api::<K>::all(client.clone());
    api.list(&ListParams::default()).await.unwrap().items
}

fn version(object: &impl Resource) -> String {
    object.meta().resource_version.clone().unwrap()
}

fn seen(cache: &Cache) -> Versions {
    let mut seen = Versions::new();
    for (key, live) in &cache.services {
        seen.insert(format!("service {key}"), live.version.clone());
    }
    let index = &cache.index;
    for (at, entry) in index.entries() {
        let version = entry.stored.as_ref().map(|stored| stored.version.clone());
        let name = format!("record {}", ip_name(at.address()));
        seen.insert(name, version.unwrap_or_default());
    }
    for (name, pool) in &cache.pools {
        seen.insert(format!("pool {name}"), version(pool));
    }
    for (name, labels) in index.namespaces() {
        seen.insert(format!("namespace {name}"), format!("{labels:?}"));
    }
    for node in index.known_nodes() {
        seen.insert(format!("node {node}"), String::new());
    }
    seen
}
