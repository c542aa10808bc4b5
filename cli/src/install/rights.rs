//! The rights that a removal needs, asked for before anything is taken away: one that ends in its middle leaves a cluster
//! that neither serves nor is clean.

use std::collections::BTreeSet;

use anyhow::Context as _;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::api::PostParams;
use kube::core::ApiResource;
use kube::{Api, Client};
use landfall_crds::GROUP;

use super::apply::Named;
use crate::picture::NAMESPACE;

/// One right.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Right {
    group: String,
    /// With its subresource after a slash.
    resource: String,
    verb: &'static str,
    namespace: Option<&'static str>,
    /// The object, where it is known: a role may name it.
    name: Option<String>,
}

impl Right {
    fn new(verb: &'static str, group: &str, resource: &str) -> Self {
        Self {
            group: group.to_owned(),
            resource: resource.to_owned(),
            verb,
            namespace: None,
            name: None,
        }
    }

    fn here(self) -> Self {
        Self {
            namespace: Some(NAMESPACE),
            ..self
        }
    }

    fn called(self, name: &str) -> Self {
        Self {
            name: Some(name.to_owned()),
            ..self
        }
    }

    /// In words: `delete daemonsets.apps landfall-announcer in landfall-system`.
    fn said(&self) -> String {
        let resource = match self.group.as_str() {
            "" => self.resource.clone(),
            group => format!("{}.{group}", self.resource),
        };
        let name = self.name.as_ref().map(|name| format!(" {name}"));
        let place = self.namespace.map(|place| format!(" in {place}"));
        format!(
            "{} {resource}{}{}",
            self.verb,
            name.unwrap_or_default(),
            place.unwrap_or_default()
        )
    }
}

/// Everything that a removal of these objects does, whether it sweeps nodes or not, frees GatewayClasses or not.
pub(super) fn needed(
    objects: &[(Named, ApiResource)],
    sweeps: bool,
    frees: bool,
) -> BTreeSet<Right> {
    let mut rights = BTreeSet::from([
        Right::new("delete", GROUP, "l2announcementpolicies"),
        Right::new("patch", GROUP, "loadbalancerippools"),
        Right::new("delete", GROUP, "loadbalancerippools"),
        Right::new("patch", "", "services/status"),
        Right::new("list", "", "pods").here(),
    ]);
    if sweeps {
        rights.insert(Right::new("create", "", "pods").here());
        rights.insert(Right::new("deletecollection", "", "pods").here());
    }
    if frees {
        let group = landfall_crds::gateway_api::GROUP;
        rights.insert(Right::new("get", group, "gatewayclasses"));
        rights.insert(Right::new("patch", group, "gatewayclasses"));
    }
    for (named, resource) in objects {
        let right = Right::new("delete", &resource.group, &resource.plural).called(&named.name);
        let is_here = named.namespace.as_deref() == Some(NAMESPACE);
        rights.insert(if is_here { right.here() } else { right });
    }
    rights
}

/// Asks the API server for each.
///
/// # Errors
/// When a right is lacking, with all that are; when it cannot be asked.
pub(super) async fn ensure(client: &Client, rights: &BTreeSet<Right>) -> anyhow::Result<()> {
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let mut lacking = Vec::new();
    for right in rights {
        let (resource, below) = match right.resource.split_once('/') {
            Some((resource, below)) => (resource, Some(below.to_owned())),
            None => (&*right.resource, None),
        };
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    group: Some(right.group.clone()),
                    resource: Some(resource.to_owned()),
                    subresource: below,
                    verb: Some(right.verb.to_owned()),
                    namespace: right.namespace.map(str::to_owned),
                    name: right.name.clone(),
                    ..ResourceAttributes::default()
                }),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let answer = api.create(&PostParams::default(), &review).await;
        let answer = answer.context("asking what you may do")?;
        if !answer.status.is_some_and(|status| status.allowed) {
            lacking.push(right.said());
        }
    }
    anyhow::ensure!(lacking.is_empty(), refusal(&lacking));
    Ok(())
}

fn refusal(lacking: &[String]) -> String {
    format!(
        "nothing was changed: a removal must be able to end, and you may not {}; have them granted first",
        lacking.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removal_asks_for_every_right_that_it_uses_by_name_where_it_has_one() {
        let named = |kind: &str, namespace: Option<&str>, name: &str| Named {
            api_version: "v1".to_owned(),
            kind: kind.to_owned(),
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
        };
        let resource = |group: &str, plural: &str| ApiResource {
            group: group.to_owned(),
            plural: plural.to_owned(),
            version: String::new(),
            api_version: String::new(),
            kind: String::new(),
        };
        let objects = [
            (
                named("DaemonSet", Some(NAMESPACE), "landfall-announcer"),
                resource("apps", "daemonsets"),
            ),
            (
                named("Namespace", None, NAMESPACE),
                resource("", "namespaces"),
            ),
        ];
        let said = |all| {
            let rights = needed(&objects, all, all);
            rights.iter().map(Right::said).collect::<Vec<_>>()
        };
        insta::assert_snapshot!(said(true).join("\n"));
        let quiet = said(false);
        assert!(!quiet.iter().any(|right| right.starts_with("create")));
        assert!(!quiet.iter().any(|right| right.contains("gatewayclasses")));
    }
}
