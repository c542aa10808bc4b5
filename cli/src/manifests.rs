//! What is installed: the manifests of `config/`, carried in this program, with what a cluster chooses of them.
//!
//! One source: `config/install.yaml` is made from `config/default` and is what this program carries. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::Container;
use serde_json::{Value, json};

use crate::flags::{Flag, flags, value};
use crate::picture::{ANNOUNCER, CONTROLLER};
use crate::settings::container;

const MANIFESTS: &str = include_str!("../../config/install.yaml");

/// What a cluster may have beside it, applied by whoever wants it: the rights to serve Gateways, and to scrape.
const BESIDE: [&str; 2] = [
    include_str!("../../config/gateway-api/rbac.yaml"),
    include_str!("../../config/monitoring/scraper.yaml"),
];

/// The label of everything that is installed.
pub(crate) const LABEL: (&str, &str) = ("app.kubernetes.io/part-of", "landfall");

/// On definitions and workloads: the version of the program that applied them.
pub(crate) const VERSION: &str = "landfall.dev/version";

const DEFAULT_CLASS: &str = "--default-class";
const GATEWAY_NAMESPACES: &str = "--gateway-namespaces";

/// What a cluster chooses. What it does not choose is as the manifests have it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Where images are, without their names.
    pub(crate) registry: Option<String>,
    pub(crate) tag: Option<String>,
    pub(crate) default_class: Option<bool>,
    pub(crate) gateway_namespaces: Option<Vec<String>>,
    /// The other flags that each workload was found with. What the manifests do not set stays.
    pub(crate) flags: BTreeMap<String, Vec<Flag>>,
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
        let read = |container: Option<&Container>| {
            let args = container.and_then(|container| container.args.as_deref());
            flags(args.unwrap_or_default())
        };
        let (mut of_controller, of_announcer) = (read(controller), read(announcer));
        let default_class = value(&of_controller, DEFAULT_CLASS).and_then(|text| text.parse().ok());
        let gateway_namespaces = value(&of_controller, GATEWAY_NAMESPACES)
            .map(|text| text.split(',').map(str::to_owned).collect());
        of_controller
            .retain(|flag| ![DEFAULT_CLASS, GATEWAY_NAMESPACES].contains(&flag.name.as_str()));
        let found = [(CONTROLLER, of_controller), (ANNOUNCER, of_announcer)];
        Self {
            registry: image
                .as_deref()
                .and_then(|image| Some(image.rsplit_once('/')?.0.to_owned())),
            tag: None,
            default_class,
            gateway_namespaces,
            flags: found
                .into_iter()
                .filter(|(_, flags)| !flags.is_empty())
                .map(|(program, flags)| (program.to_owned(), flags))
                .collect(),
        }
    }

    /// This choice, and where it leaves something open, the other.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            registry: self.registry.or(other.registry),
            tag: self.tag.or(other.tag),
            default_class: self.default_class.or(other.default_class),
            gateway_namespaces: self.gateway_namespaces.or(other.gateway_namespaces),
            flags: if self.flags.is_empty() {
                other.flags
            } else {
                self.flags
            },
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

/// Everything that is ours by its name: what is installed, and what a cluster may have beside it. A token's Secret goes with
/// the namespace: nobody needs a right to Secrets for it.
///
/// # Errors
/// As `manifests`.
pub(crate) fn known() -> anyhow::Result<Vec<Manifest>> {
    let mut all = manifests(&Choice::default())?;
    for text in BESIDE {
        let values: Vec<Value> = serde_saphyr::from_multiple(text)?;
        let beside = values.into_iter().map(Manifest::new);
        all.extend(beside.filter(|manifest| manifest.kind() != "Secret"));
    }
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
    let mut more: Vec<String> = carried(container, &program, choice)
        .map(Flag::to_string)
        .collect();
    let is_controller = program == CONTROLLER;
    if let Some(class) = choice.default_class.filter(|_| is_controller) {
        more.push(format!("{DEFAULT_CLASS}={class}"));
    }
    if let Some(namespaces) = choice
        .gateway_namespaces
        .as_ref()
        .filter(|all| is_controller && !all.is_empty())
    {
        more.push(format!("{GATEWAY_NAMESPACES}={}", namespaces.join(",")));
    }
    if let Some(args) = container["args"].as_array_mut() {
        args.extend(more.into_iter().map(|arg| json!(arg)));
    }
}

/// The flags that a workload was found with and that its manifest does not set.
fn carried<'a>(
    container: &Value,
    program: &str,
    choice: &'a Choice,
) -> impl Iterator<Item = &'a Flag> {
    let set = flags(&texts(&container["args"]));
    let found = choice.flags.get(program).into_iter().flatten();
    found.filter(move |flag| !set.iter().any(|set| set.name == flag.name))
}

fn texts(list: &Value) -> Vec<String> {
    let words = list.as_array().into_iter().flatten();
    words.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// What becomes of the flags that the workloads were found with: those that stay though no manifest has them, and those
/// that the manifests set otherwise.
///
/// # Errors
/// As `manifests`.
pub(crate) fn kept_and_replaced(choice: &Choice) -> anyhow::Result<Vec<String>> {
    let mut words = Vec::new();
    for manifest in manifests(&Choice::default())? {
        let name = manifest.name();
        let Some(container) = manifest.value.pointer("/spec/template/spec/containers/0") else {
            continue;
        };
        let set = flags(&texts(&container["args"]));
        for flag in choice.flags.get(name).into_iter().flatten() {
            match set.iter().find(|set| set.name == flag.name) {
                Some(now) if now == flag => {}
                Some(now) => words.push(format!("{name}: {flag} becomes {now}")),
                None => words.push(format!("{name}: {flag} stays")),
            }
        }
    }
    Ok(words)
}

/// The manifests with the version of this program on what a later or an earlier one must tell apart.
pub(crate) fn stamped(mut manifests: Vec<Manifest>) -> Vec<Manifest> {
    for manifest in &mut manifests {
        if matches!(
            manifest.kind(),
            "CustomResourceDefinition" | "Deployment" | "DaemonSet"
        ) {
            manifest.value["metadata"]["annotations"][VERSION] = env!("CARGO_PKG_VERSION").into();
        }
    }
    manifests
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
    use std::collections::BTreeSet;

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
    fn what_a_cluster_has_beside_it_is_known_by_name_and_installed_by_nobody() {
        let names = |all: &[Manifest]| -> BTreeSet<String> {
            let names = all
                .iter()
                .map(|one| format!("{} {}", one.kind(), one.name()));
            names.collect()
        };
        let (known, installed) = (names(&known().unwrap()), names(&all(&Choice::default())));
        let beside: Vec<&String> = known.difference(&installed).collect();
        assert_eq!(
            beside,
            [
                "ClusterRole landfall-gateway-controller",
                "ClusterRoleBinding landfall-gateway-controller",
                "ClusterRoleBinding landfall-scraper",
                "ServiceAccount landfall-scraper",
            ]
        );
        assert!(installed.is_subset(&known));
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
            ..Choice::default()
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
            Choice {
                flags: BTreeMap::new(),
                ..read.clone()
            },
            Choice {
                registry: Some("registry.example.org:5000/landfall".to_owned()),
                tag: None,
                ..choice
            }
        );
        assert!(kept_and_replaced(&read).unwrap().is_empty());
        let again = manifests(&Choice::default().or(read)).unwrap();
        assert_eq!(again.len(), all.len());
    }

    #[test]
    fn flags_that_people_gave_stay_in_whichever_form_and_what_changes_is_said() {
        let find = |all: &[Manifest], kind: &str| {
            let found = all.iter().find(|manifest| manifest.kind() == kind);
            found.unwrap().value.clone()
        };
        let tree = all(&Choice::default());
        let (mut deployment, mut daemon_set) =
            (find(&tree, "Deployment"), find(&tree, "DaemonSet"));
        let args = "/spec/template/spec/containers/0/args";
        *deployment.pointer_mut(args).unwrap() = json!([
            "--admin-address=[::]:9999",
            "--default-class",
            "false",
            "--metrics-address=[::]:8443"
        ]);
        let of_daemon_set = daemon_set
            .pointer_mut(args)
            .unwrap()
            .as_array_mut()
            .unwrap();
        of_daemon_set.extend([
            json!("--xdp-mode=off"),
            json!("--plain-interfaces"),
            json!("eth9"),
        ]);
        let choice = Choice::of(
            Some(&serde_json::from_value(deployment).unwrap()),
            Some(&serde_json::from_value(daemon_set).unwrap()),
        );
        assert_eq!(choice.default_class, Some(false));
        assert_eq!(
            kept_and_replaced(&choice).unwrap(),
            [
                "landfall-controller: --admin-address=[::]:9999 becomes --admin-address=[::]:8080",
                "landfall-announcer: --xdp-mode=off stays",
                "landfall-announcer: --plain-interfaces=eth9 stays",
            ]
        );
        let upgraded = all(&choice);
        let args = |kind: &str| texts(find(&upgraded, kind).pointer(args).unwrap());
        assert!(args("Deployment").contains(&"--default-class=false".to_owned()));
        assert!(!args("Deployment").contains(&"--admin-address=[::]:9999".to_owned()));
        let announcer = args("DaemonSet");
        assert!(
            announcer.ends_with(&[
                "--xdp-mode=off".to_owned(),
                "--plain-interfaces=eth9".to_owned()
            ]),
            "{announcer:?}"
        );
    }

    #[test]
    fn what_must_be_told_apart_by_version_says_its_own() {
        let stamped = stamped(all(&Choice::default()));
        let with = stamped
            .iter()
            .filter(|manifest| manifest.value["metadata"]["annotations"][VERSION].is_string());
        assert_eq!(with.count(), landfall_crds::all().len() + 2);
    }
}
