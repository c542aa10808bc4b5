//! Manifests tried on the API server, which does everything but keep them.

use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use landfall_crds::GROUP;

use crate::cluster::Cluster;
use crate::validate::{Document, Finding, Findings, Gravity};

/// Tries every object of ours in which no mistake was found yet.
///
/// # Errors
/// When the API server cannot be asked.
pub(crate) async fn all(
    cluster: &Cluster,
    documents: &[Document],
    found: &mut Findings,
) -> anyhow::Result<()> {
    let known = landfall_crds::all();
    for document in documents {
        let kind = document.text("/kind");
        let crd = known.iter().find(|crd| crd.spec.names.kind == kind);
        let Some(crd) = crd.filter(|_| document.text("/apiVersion").starts_with(GROUP)) else {
            continue;
        };
        let named = |finding: &Finding| {
            finding.gravity == Gravity::Mistake
                && finding.place == document.place
                && finding.object == document.object()
        };
        if found.findings.iter().any(named) || document.name().is_empty() {
            continue;
        }
        let kind = GroupVersionKind::gvk(GROUP, "v1alpha1", kind);
        let resource = ApiResource::from_gvk_with_plural(&kind, &crd.spec.names.plural);
        let api: Api<DynamicObject> = Api::all_with(cluster.client.clone(), &resource);
        let params = PatchParams::apply("landfall-validate").force().dry_run();
        let answer = api
            .patch(document.name(), &params, &Patch::Apply(&document.value))
            .await;
        match answer {
            Ok(_) => {}
            Err(kube::Error::Api(status)) => found
                .findings
                .push(Finding::refused(document, &status.message)),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
