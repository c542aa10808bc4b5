//! Objects beside each other: pools that share addresses, and what the controller would say to a Service.
//!
//! Offline the world is what stands in the documents; with a cluster it is the cluster's, with the documents applied.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Namespace, Service};
use kube::ResourceExt as _;
use kube::core::{PartialObjectMeta, PartialObjectMetaExt as _};
use landfall_controller::survey;
use landfall_crds::{HolderKey, LoadBalancerIPPool};
use landfall_ipam::{Network, PoolName, Reason};
use serde_json::Value;

use super::meaning::typed;
use super::{Document, Finding};
use crate::picture::Picture;
use crate::settings;

/// Looks at the good documents together; `all` are those of other kinds, too.
pub(super) fn check(
    all: &[Document],
    documents: &[&Document],
    picture: Option<&Picture>,
    findings: &mut Vec<Finding>,
) -> anyhow::Result<()> {
    let of = |kind: &str| {
        let of = documents
            .iter()
            .filter(move |document| document.text("/kind") == kind);
        of.copied().collect::<Vec<_>>()
    };
    let (pool_documents, service_documents) = (of("LoadBalancerIPPool"), of("Service"));
    let mut objects = picture.map(Picture::objects).unwrap_or_default();
    let (settings, _) = settings::of(picture.and_then(Picture::controller))?;

    let new: BTreeMap<String, LoadBalancerIPPool> = pool_documents
        .iter()
        .filter_map(|document| Some((document.name().to_owned(), typed(document)?)))
        .collect();
    objects
        .pools
        .retain(|pool| !new.contains_key(&pool.name_any()));
    objects.pools.extend(new.into_values());
    let services: Vec<(&Document, Service)> = service_documents
        .iter()
        .filter_map(|document| {
            let mut service: Service = typed(document)?;
            service
                .metadata
                .namespace
                .get_or_insert_with(|| "default".to_owned());
            Some((*document, service))
        })
        .collect();
    for (_, service) in &services {
        let same = |other: &Service| {
            other.metadata.namespace == service.metadata.namespace
                && other.metadata.name == service.metadata.name
        };
        match objects.services.iter_mut().find(|other| same(other)) {
            Some(known) => *known = laid_over(known, service)?,
            None => objects.services.push(new_one(service, picture)),
        }
    }
    for namespace in all.iter().filter_map(namespace) {
        let same =
            |known: &PartialObjectMeta<Namespace>| known.metadata.name == namespace.metadata.name;
        objects.namespaces.retain(|known| !same(known));
        objects.namespaces.push(namespace);
    }
    let knows_pools = !objects.pools.is_empty();
    let mut index = survey::cache(objects, &settings).index;

    for document in &pool_documents {
        let Some(Ok(pool)) = index.pool(&PoolName::from(document.name())) else {
            continue;
        };
        let others: Vec<String> = index
            .overlapping(pool)
            .iter()
            .map(ToString::to_string)
            .collect();
        if !others.is_empty() {
            let says = format!(
                "share addresses with pool {}; each address is given once, by the pool that comes first: take them out of one of the two if that is not meant",
                others.join(", ")
            );
            findings.push(Finding::new(document, "spec.blocks", says).doubt());
        }
        for (range, network) in index.networks_in(pool) {
            let whose = match network {
                Network::Services(name) => format!("ServiceCIDR {name}"),
                Network::Pods(node) => format!("the Pods of node {node}"),
            };
            let says = format!(
                "have addresses of {range}, which the cluster uses itself ({whose}); take them out"
            );
            findings.push(Finding::new(document, "spec.blocks", says));
        }
        for (at, nodes) in index.nodes_in(pool) {
            let says = format!(
                "hold {}, the address of node {}: it is never handed out; exclude it, so that the counts say what there is",
                at.address(),
                nodes.join(", ")
            );
            findings.push(Finding::new(document, "spec.blocks", says).doubt());
        }
    }
    for (document, service) in services.iter().filter(|_| knows_pools) {
        let key = HolderKey::service(service.namespace().unwrap_or_default(), service.name_any());
        let Some(known) = index
            .service(&key)
            .filter(|known| known.wanted && known.request.is_ok())
        else {
            continue;
        };
        let outcome = index.preview(known).outcome;
        let Some(outcome) = outcome.filter(|outcome| !outcome.assigned) else {
            // What the first is given, the second cannot have.
            index.plan(&key);
            continue;
        };
        let finding = Finding::new(
            document,
            "",
            format!("{}: {}", outcome.reason.as_str(), outcome.message),
        );
        // Without the cluster a namespace's labels and other pools are not known.
        let sure = picture.is_some() || outcome.reason == Reason::InvalidRequest;
        findings.push(if sure { finding } else { finding.doubt() });
    }
    Ok(())
}

/// A Service of the cluster as it will be when the manifest's fields are laid over it: what the cluster and others wrote
/// into it stays.
fn laid_over(known: &Service, manifest: &Service) -> anyhow::Result<Service> {
    let mut value = serde_json::to_value(known)?;
    lay_over(&mut value, &serde_json::to_value(manifest)?);
    Ok(serde_json::from_value(value)?)
}

fn lay_over(below: &mut Value, above: &Value) {
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            for (field, value) in above {
                lay_over(below.entry(field.clone()).or_insert(Value::Null), value);
            }
        }
        (below, above) => below.clone_from(above),
    }
}

/// A Service that the cluster has not, with the families that its API server would give it.
fn new_one(service: &Service, picture: Option<&Picture>) -> Service {
    let mut service = service.clone();
    let all = picture
        .map(|picture| picture.services.all())
        .unwrap_or_default();
    let first = all.iter().find(|known| {
        known.name_any() == "kubernetes" && known.namespace().as_deref() == Some("default")
    });
    let first = first.and_then(|known| known.spec.as_ref()?.ip_families.as_ref()?.first().cloned());
    if let (Some(first), Some(spec)) = (first, service.spec.as_mut())
        && spec.ip_families.as_ref().is_none_or(Vec::is_empty)
    {
        let other = if first == "IPv4" { "IPv6" } else { "IPv4" };
        let both = matches!(
            spec.ip_family_policy.as_deref(),
            Some("PreferDualStack" | "RequireDualStack")
        );
        let mut families = vec![first];
        families.extend(both.then(|| other.to_owned()));
        spec.ip_families = Some(families);
    }
    service
}

/// A namespace, with the label that the API server writes onto each.
fn namespace(document: &Document) -> Option<PartialObjectMeta<Namespace>> {
    if document.text("/kind") != "Namespace" || document.text("/apiVersion") != "v1" {
        return None;
    }
    let mut namespace: Namespace = typed(document)?;
    let name = namespace.metadata.name.clone()?;
    let labels = namespace.metadata.labels.get_or_insert_default();
    labels.insert("kubernetes.io/metadata.name".to_owned(), name);
    Some(namespace.metadata.into_response_partial())
}
