//! Objects of any kind, applied and deleted.

use std::collections::HashMap;

use anyhow::Context as _;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind, TypeMeta};
use kube::discovery::{Scope, oneshot::pinned_kind};
use kube::error::DiscoveryError;
use kube::{Api, Client, ResourceExt as _};
use serde_json::Value;

use crate::manifests::{LABEL, Manifest};
use crate::picture::NAMESPACE;

/// Who applies: what it applied before and leaves out now goes.
const MANAGER: &str = "landfall-cli";

/// What became of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    Created,
    Configured,
    Unchanged,
    /// In a dry run: its namespace is not there yet.
    Untried,
}

impl Done {
    pub(super) fn in_words(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
            Self::Untried => "not tried",
        }
    }
}

/// An object by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) namespace: Option<String>,
    pub(super) name: String,
}

impl Named {
    /// Whether the manifest is of this object, as the cluster has it. Kustomize writes a namespace into manifests of some
    /// kinds that have none; the cluster does not keep it.
    pub(super) fn is_of(&self, manifest: &Self) -> bool {
        let of = (&self.api_version, &self.kind, &self.name);
        of == (&manifest.api_version, &manifest.kind, &manifest.name)
            && (self.namespace.is_none() || self.namespace == manifest.namespace)
    }
}

impl From<&Manifest> for Named {
    fn from(manifest: &Manifest) -> Self {
        Self {
            api_version: manifest.api_version().to_owned(),
            kind: manifest.kind().to_owned(),
            namespace: manifest.namespace().map(str::to_owned),
            name: manifest.name().to_owned(),
        }
    }
}

/// Applies and deletes; asks for each kind only once how it is served.
pub(super) struct Applier {
    client: Client,
    kinds: HashMap<(String, String), (ApiResource, Scope)>,
    dry_run: bool,
}

impl Applier {
    pub(super) fn new(client: Client, dry_run: bool) -> Self {
        Self {
            client,
            kinds: HashMap::new(),
            dry_run,
        }
    }

    /// How a kind is served; `None` where it is not. That an API server cannot say it now is an error, and not the same.
    async fn served(
        &mut self,
        api_version: &str,
        kind: &str,
    ) -> anyhow::Result<Option<(ApiResource, Scope)>> {
        let key = (api_version.to_owned(), kind.to_owned());
        if let Some(known) = self.kinds.get(&key) {
            return Ok(Some(known.clone()));
        }
        let types = TypeMeta {
            api_version: key.0.clone(),
            kind: key.1.clone(),
        };
        let wanted = GroupVersionKind::try_from(&types)
            .with_context(|| format!("{api_version} {kind} is no kind"))?;
        let (resource, capabilities) = match pinned_kind(&self.client, &wanted).await {
            Ok(found) => found,
            Err(error) if is_unserved(&error) => return Ok(None),
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("asking how {api_version} {kind} is served"));
            }
        };
        let served = (resource, capabilities.scope);
        self.kinds.insert(key, served.clone());
        Ok(Some(served))
    }

    /// Where objects of this kind are; `None` where the kind is not served.
    async fn api(&mut self, named: &Named) -> anyhow::Result<Option<Api<DynamicObject>>> {
        let served = self.served(&named.api_version, &named.kind).await?;
        Ok(
            served.map(|(resource, scope)| match (scope, &named.namespace) {
                (Scope::Namespaced, Some(namespace)) => {
                    Api::namespaced_with(self.client.clone(), namespace, &resource)
                }
                _ => Api::all_with(self.client.clone(), &resource),
            }),
        )
    }

    /// The resource of an object's kind, for who asks about rights; `None` where the kind is not served.
    pub(super) async fn resource(&mut self, named: &Named) -> anyhow::Result<Option<ApiResource>> {
        let served = self.served(&named.api_version, &named.kind).await?;
        Ok(served.map(|(resource, _)| resource))
    }

    /// Applies an object.
    pub(super) async fn apply(&mut self, manifest: &Manifest) -> anyhow::Result<Done> {
        let named = Named::from(manifest);
        let what = || format!("{} {}", named.kind, named.name);
        let api = self.api(&named).await?.with_context(|| {
            format!(
                "the cluster does not serve {} {}",
                named.api_version, named.kind
            )
        })?;
        let before = api
            .get_metadata_opt(&named.name)
            .await
            .with_context(|| format!("reading {}", what()))?;
        let mut params = PatchParams::apply(MANAGER).force();
        params.dry_run = self.dry_run;
        let answer = api
            .patch(&named.name, &params, &Patch::Apply(&manifest.value))
            .await;
        let after = match answer {
            // The namespace itself was only tried.
            Err(kube::Error::Api(status)) if self.dry_run && status.code == 404 => {
                return Ok(Done::Untried);
            }
            answer => answer.with_context(|| format!("applying {}", what()))?,
        };
        Ok(match before {
            None => Done::Created,
            Some(before) if is_same(&manifest.value, &before.metadata, &after.metadata) => {
                Done::Unchanged
            }
            Some(_) => Done::Configured,
        })
    }

    /// Deletes an object, if it is there; its dependents go with it.
    pub(super) async fn delete(&mut self, named: &Named) -> anyhow::Result<bool> {
        // A kind that is not served has no objects.
        let Some(api) = self.api(named).await? else {
            return Ok(false);
        };
        let mut params = DeleteParams::background();
        params.dry_run = self.dry_run;
        match api.delete(&named.name, &params).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
            Err(error) => {
                Err(error).with_context(|| format!("deleting {} {}", named.kind, named.name))
            }
        }
    }

    /// Whether an object is there.
    pub(super) async fn exists(&mut self, named: &Named) -> anyhow::Result<bool> {
        let Some(api) = self.api(named).await? else {
            return Ok(false);
        };
        let found = api.get_metadata_opt(&named.name).await;
        Ok(found
            .with_context(|| format!("reading {} {}", named.kind, named.name))?
            .is_some())
    }

    /// Everything that carries our label, of the kinds of the manifests.
    pub(super) async fn labelled(&mut self, manifests: &[Manifest]) -> anyhow::Result<Labelled> {
        let wanted: Vec<Named> = manifests.iter().map(Named::from).collect();
        let mut kinds: Vec<(&str, &str)> = manifests
            .iter()
            .map(|manifest| (manifest.api_version(), manifest.kind()))
            .collect();
        kinds.sort_unstable();
        kinds.dedup();
        let label = format!("{}={}", LABEL.0, LABEL.1);
        let mut found = Labelled::default();
        for (api_version, kind) in kinds {
            let Some((resource, scope)) = self.served(api_version, kind).await? else {
                continue;
            };
            let api: Api<DynamicObject> = match scope {
                Scope::Namespaced => {
                    Api::namespaced_with(self.client.clone(), NAMESPACE, &resource)
                }
                Scope::Cluster => Api::all_with(self.client.clone(), &resource),
            };
            let list = api
                .list_metadata(&ListParams::default().labels(&label))
                .await;
            for object in list.with_context(|| format!("listing {kind}s"))? {
                let named = Named {
                    api_version: api_version.to_owned(),
                    kind: kind.to_owned(),
                    namespace: object.metadata.namespace.clone(),
                    name: object.name_any(),
                };
                let list = match is_ours(&named, &object.metadata, &wanted) {
                    true => &mut found.ours,
                    false => &mut found.others,
                };
                list.push(named);
            }
        }
        Ok(found)
    }

    /// What an older version installed and this one knows no more. Definitions and namespaces hold what people made, and stay.
    pub(super) async fn strays(&mut self, manifests: &[Manifest]) -> anyhow::Result<Labelled> {
        let wanted: Vec<Named> = manifests.iter().map(Named::from).collect();
        let mut labelled = self.labelled(manifests).await?;
        let is_stray = |found: &Named| {
            let holds = matches!(
                found.kind.as_str(),
                "CustomResourceDefinition" | "Namespace"
            );
            !holds && !wanted.iter().any(|wanted| found.is_of(wanted))
        };
        labelled.ours.retain(is_stray);
        labelled.others.retain(is_stray);
        Ok(labelled)
    }
}

/// What carries our label. Anybody may write it onto anything, so that it alone deletes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Labelled {
    /// What this program applied, or knows by its name.
    pub(super) ours: Vec<Named>,
    pub(super) others: Vec<Named>,
}

/// Why something stays that carries our label.
pub(super) fn left_alone(other: &Named) -> String {
    format!(
        "{} {} carries the label {}={}, and this program neither has it nor made it: it stays",
        other.kind, other.name, LABEL.0, LABEL.1
    )
}

fn is_ours(found: &Named, metadata: &ObjectMeta, wanted: &[Named]) -> bool {
    let mut writers = metadata.managed_fields.iter().flatten();
    wanted.iter().any(|wanted| found.is_of(wanted))
        || writers.any(|writer| writer.manager.as_deref() == Some(MANAGER))
}

/// Whether the API server knows that it has no such kind. Anything else it says, or does not say, tells nothing about the
/// objects.
fn is_unserved(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code == 404,
        kube::Error::Discovery(error) => matches!(
            error,
            DiscoveryError::MissingKind(_)
                | DiscoveryError::MissingApiGroup(_)
                | DiscoveryError::MissingResource(_)
        ),
        _ => false,
    }
}

/// Whether an object says what it said before of what is applied. Where there is one, its generation counts and not its
/// version: that moves with its status and with the notes of controllers too, and does not move at all in a dry run.
fn is_same(applied: &Value, before: &ObjectMeta, after: &ObjectMeta) -> bool {
    let spec = match (before.generation, after.generation) {
        (Some(before), Some(after)) => before == after,
        _ => before.resource_version == after.resource_version,
    };
    let of = |notes: &str, name: &String, metadata: &ObjectMeta| {
        let all = match notes {
            "labels" => &metadata.labels,
            _ => &metadata.annotations,
        };
        all.as_ref().and_then(|all| all.get(name)).cloned()
    };
    let mut notes = ["labels", "annotations"].into_iter().flat_map(|notes| {
        let applied = applied["metadata"][notes].as_object();
        let names = applied.into_iter().flat_map(serde_json::Map::keys);
        names.map(move |name| (notes, name))
    });
    spec && notes.all(|(notes, name)| of(notes, name, before) == of(notes, name, after))
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use serde_json::json;

    use super::*;

    #[test]
    fn only_an_api_server_that_knows_no_such_kind_has_no_objects_of_it() {
        let says = |code| {
            let status = Status::failure("words", "Reason").with_code(code);
            is_unserved(&kube::Error::Api(Box::new(status)))
        };
        assert!(says(404));
        for code in [401, 403, 429, 500, 503] {
            assert!(!says(code), "{code}");
        }
        let missing = DiscoveryError::MissingKind("LoadBalancerIP".to_owned());
        assert!(is_unserved(&kube::Error::Discovery(missing)));
    }

    #[test]
    fn a_label_alone_makes_nothing_ours() {
        let named = |name: &str| Named {
            api_version: "rbac.authorization.k8s.io/v1".to_owned(),
            kind: "ClusterRole".to_owned(),
            namespace: None,
            name: name.to_owned(),
        };
        let by = |manager: &str| {
            serde_json::from_value::<ObjectMeta>(
                json!({"managedFields": [{"manager": manager, "operation": "Apply"}]}),
            )
            .unwrap()
        };
        let wanted = [named("landfall-controller")];
        assert!(is_ours(
            &named("landfall-controller"),
            &by("kubectl"),
            &wanted
        ));
        assert!(is_ours(
            &named("of-an-older-version"),
            &by(MANAGER),
            &wanted
        ));
        assert!(!is_ours(&named("a-dashboard"), &by("helm"), &wanted));
    }
}
