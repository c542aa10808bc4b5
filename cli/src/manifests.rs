//! What is installed: the manifests of `config/`, carried in this program, with what a cluster chooses of them.
//!
//! One source: `config/install.yaml` is made from `config/default` and is what this program carries. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::Container;
use serde_json::{Value, json};

use crate::picture::{ANNOUNCER, CONTROLLER};
use crate::settings::container;

const MANIFESTS: &str = include_str!("../../config/install.yaml");

/// The label of everything that is installed.
pub(crate) const LABEL: (&str, &str) = ("app.kubernetes.io/part-of", "landfall");

const DEFAULT_CLASS: &str = "--default-class=";
const GATEWAY_NAMESPACES: &str = "--gateway-namespaces=";

/// What a cluster chooses. What it does not choose is as the manifests have it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Where images are, without their names.
    pub(crate) registry: Option<String>,
    pub(crate) tag: Option<String>,
    pub(crate) default_class: Option<bool>,
    pub(crate) gateway_namespaces: Option<Vec<String>>,
}

impl Choice {
    /// What an installation has chosen before. The tag is not among it: that is what an upgrade changes.
    pub(crate) fn of(controller: Option<&Deployment>, announcer: Option<&DaemonSet>) -> Self {
        let controller = controller.and_then(container);
        let announcer = announcer.and_then(|found| {
            let pod = found.spec.as_ref()?.template.spec.as_ref()?;
            pod.containers.first()
        });
        let image = |container: &Container| container.image.clone();
        let image = controller
            .and_then(image)
            .or_else(|| announcer.and_then(image));
        let arg = |name: &str| {
            let args = controller.and_then(|container| container.args.as_ref());
            let mut args = args.into_iter().flatten();
            args.find_map(|arg| arg.strip_prefix(name).map(str::to_owned))
        };
        Self {
            registry: image
                .as_deref()
                .and_then(|image| Some(image.rsplit_once('/')?.0.to_owned())),
            tag: None,
            default_class: arg(DEFAULT_CLASS).and_then(|text| text.parse().ok()),
            gateway_namespaces: arg(GATEWAY_NAMESPACES)
                .map(|text| text.split(',').map(str::to_owned).collect()),
        }
    }

    /// This choice, and where it leaves something open, the other.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            registry: self.registry.or(other.registry),
            tag: self.tag.or(other.tag),
            default_class: self.default_class.or(other.default_class),
            gateway_namespaces: self.gateway_namespaces.or(other.gateway_namespaces),
        }
    }
}

/// When an object is applied: each phase stands on those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Namespace,
    Definitions,
    /// Who may do what, before anybody does it.
    Rights,
    Workloads,
}

/// One object of the installation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Manifest {
    pub(crate) phase: Phase,
    pub(crate) value: Value,
}

impl Manifest {
    fn new(value: Value) -> Self {
        let phase = match value["kind"].as_str().unwrap_or_default() {
            "Namespace" => Phase::Namespace,
            "CustomResourceDefinition" => Phase::Definitions,
            "Deployment" | "DaemonSet" | "PodDisruptionBudget" => Phase::Workloads,
            _ => Phase::Rights,
        };
        Self { phase, value }
    }

    pub(crate) fn kind(&self) -> &str {
        self.value["kind"].as_str().unwrap_or_default()
    }

    pub(crate) fn api_version(&self) -> &str {
        self.value["apiVersion"].as_str().unwrap_or_default()
    }

    pub(crate) fn name(&self) -> &str {
        self.value["metadata"]["name"].as_str().unwrap_or_default()
    }

    pub(crate) fn namespace(&self) -> Option<&str> {
        self.value["metadata"]["namespace"].as_str()
    }
}

/// Everything to install, in the order in which it is applied.
///
/// # Errors
/// Never as long as the manifests that this program carries are those it was tested with.
pub(crate) fn manifests(choice: &Choice) -> anyhow::Result<Vec<Manifest>> {
    let values: Vec<Value> = serde_saphyr::from_multiple(MANIFESTS)?;
    let mut all: Vec<Manifest> = values.into_iter().map(Manifest::new).collect();
    for manifest in &mut all {
        if matches!(manifest.kind(), "Deployment" | "DaemonSet") {
            choose(&mut manifest.value, choice);
        }
    }
    all.sort_by_key(|manifest| manifest.phase);
    Ok(all)
}

fn choose(workload: &mut Value, choice: &Choice) {
    let program = workload["metadata"]["name"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let Some(container) = workload.pointer_mut("/spec/template/spec/containers/0") else {
        return;
    };
    let image = container["image"].as_str().unwrap_or_default();
    let (registry, name) = image.rsplit_once('/').unwrap_or(("", image));
    let tag = name.split_once(':').map_or("latest", |(_, tag)| tag);
    let registry = choice
        .registry
        .as_deref()
        .unwrap_or(registry)
        .trim_end_matches('/');
    let tag = choice.tag.as_deref().unwrap_or(tag);
    container["image"] = format!("{registry}/{program}:{tag}").into();
    if program != CONTROLLER {
        return;
    }
    let mut more = Vec::new();
    if let Some(class) = choice.default_class {
        more.push(format!("{DEFAULT_CLASS}{class}"));
    }
    if let Some(namespaces) = choice
        .gateway_namespaces
        .as_ref()
        .filter(|all| !all.is_empty())
    {
        more.push(format!("{GATEWAY_NAMESPACES}{}", namespaces.join(",")));
    }
    if let Some(args) = container["args"].as_array_mut() {
        args.extend(more.into_iter().map(|arg| json!(arg)));
    }
}

/// The images that will run, by workload.
pub(crate) fn images(manifests: &[Manifest]) -> BTreeMap<String, String> {
    let workloads = manifests
        .iter()
        .filter(|manifest| [CONTROLLER, ANNOUNCER].contains(&manifest.name()));
    let images = workloads.filter_map(|manifest| {
        let image = manifest
            .value
            .pointer("/spec/template/spec/containers/0/image")?;
        Some((manifest.name().to_owned(), image.as_str()?.to_owned()))
    });
    images.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(choice: &Choice) -> Vec<Manifest> {
        manifests(choice).unwrap()
    }

    #[test]
    fn namespaces_come_first_then_definitions_then_rights_and_those_who_use_them_last() {
        let phases: Vec<Phase> = all(&Choice::default())
            .iter()
            .map(|manifest| manifest.phase)
            .collect();
        assert!(phases.is_sorted());
        assert_eq!(phases.first(), Some(&Phase::Namespace));
        assert_eq!(phases.last(), Some(&Phase::Workloads));
        let all = all(&Choice::default());
        let bound = all
            .iter()
            .position(|manifest| manifest.kind() == "ValidatingAdmissionPolicyBinding");
        let runs = all
            .iter()
            .position(|manifest| manifest.kind() == "DaemonSet");
        assert!(bound < runs);
    }

    #[test]
    fn everything_that_is_installed_carries_the_label_it_is_found_by() {
        for manifest in all(&Choice::default()) {
            let label = &manifest.value["metadata"]["labels"][LABEL.0];
            assert_eq!(label, LABEL.1, "{} {}", manifest.kind(), manifest.name());
        }
    }

    #[test]
    fn without_a_choice_the_manifests_are_those_of_the_tree() {
        let values: Vec<Value> = serde_saphyr::from_multiple(MANIFESTS).unwrap();
        let installed = all(&Choice::default());
        assert_eq!(values.len(), installed.len());
        for value in values {
            assert!(
                installed.iter().any(|manifest| manifest.value == value),
                "{value}"
            );
        }
    }

    #[test]
    fn a_choice_shows_in_the_workloads_and_is_read_back_from_them() {
        let choice = Choice {
            registry: Some("registry.example.org:5000/landfall/".to_owned()),
            tag: Some("1.2.3".to_owned()),
            default_class: Some(false),
            gateway_namespaces: Some(vec!["a".to_owned(), "b".to_owned()]),
        };
        let all = all(&choice);
        let images: Vec<String> = images(&all).into_values().collect();
        assert_eq!(
            images,
            [
                "registry.example.org:5000/landfall/landfall-announcer:1.2.3",
                "registry.example.org:5000/landfall/landfall-controller:1.2.3",
            ]
        );
        let deployment = all
            .iter()
            .find(|manifest| manifest.kind() == "Deployment")
            .unwrap();
        let deployment = serde_json::from_value(deployment.value.clone()).unwrap();
        let read = Choice::of(Some(&deployment), None);
        assert_eq!(
            read,
            Choice {
                registry: Some("registry.example.org:5000/landfall".to_owned()),
                tag: None,
                ..choice
            }
        );
        let again = manifests(&Choice::default().or(read)).unwrap();
        assert_eq!(again.len(), all.len());
    }
}
