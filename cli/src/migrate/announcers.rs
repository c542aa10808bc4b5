//! By what the announcer of another balancer is known, in whatever registry its image is. Pure.

use k8s_openapi::api::core::v1::{Container, EnvVar, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::args::From;

/// Whether Pods of these labels and this description answer for addresses of Services. Who cannot be told counts: two
/// that answer for one address are worse than one question too many.
pub(super) fn announces(from: From, metadata: &ObjectMeta, pod: &PodSpec) -> bool {
    let images = pod.containers.iter().map(program);
    match from {
        From::Metallb => {
            images
                .into_iter()
                .any(|name| matches!(name, "speaker") || name.contains("metallb-speaker"))
                || is_called(metadata, "metallb", "speaker")
        }
        From::KubeVip => {
            let mut vips = pod.containers.iter().filter(|container| is_vip(container));
            vips.any(serves)
        }
        From::Purelb => {
            images.into_iter().any(|name| name.contains("lbnodeagent"))
                || is_called(metadata, "purelb", "lbnodeagent")
        }
        // Its agent is the network too, and stays: what it announces, its policies say.
        From::Cilium => false,
    }
}

/// Whether a container is kube-vip itself, and not what gives its addresses.
pub(super) fn is_vip(container: &Container) -> bool {
    let name = program(container);
    name.contains("kube-vip") && !name.contains("cloud-provider")
}

/// Whether a kube-vip serves Services, which must be asked of it by `svc_enable` or `--services`: without, it carries the
/// control plane's address alone.
pub(super) fn serves(container: &Container) -> bool {
    let mut variables = container.env.iter().flatten();
    let is_set = |variable: &&EnvVar| {
        let value = variable.value.as_deref().unwrap_or_default();
        variable.name == "svc_enable" && (!value.is_empty() || variable.value_from.is_some())
    };
    if let Some(variable) = variables.find(is_set) {
        let no = ["0", "f", "F", "false", "False", "FALSE"];
        return variable
            .value
            .as_deref()
            .is_none_or(|value| !no.contains(&value));
    }
    let from_elsewhere = container
        .env_from
        .as_ref()
        .is_some_and(|all| !all.is_empty());
    let words = container.command.iter().flatten();
    let mut words = words.chain(container.args.iter().flatten());
    from_elsewhere
        || words.any(|word| {
            word.split_whitespace().any(|word| {
                word == "--services"
                    || word
                        .strip_prefix("--services=")
                        .is_some_and(|value| value != "false")
            })
        })
}

/// The name of an image: its last part, without tag and digest.
fn program(container: &Container) -> &str {
    let image = container.image.as_deref().unwrap_or_default();
    let last = image.rsplit('/').next().unwrap_or_default();
    last.split([':', '@']).next().unwrap_or_default()
}

/// Whether labels say so, by the keys that charts use and by the older ones.
fn is_called(metadata: &ObjectMeta, name: &str, component: &str) -> bool {
    let label = |keys: [&str; 2], value: &str| {
        let labels = metadata.labels.iter().flatten();
        let mut labels = labels.filter(|(key, _)| keys.contains(&key.as_str()));
        labels.any(|(_, found)| found == value)
    };
    label(["app.kubernetes.io/name", "app"], name)
        && label(["app.kubernetes.io/component", "component"], component)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn is(from: From, labels: Value, container: Value) -> bool {
        let metadata = serde_json::from_value(json!({"labels": labels})).unwrap();
        let mut container = container;
        container["name"] = "c".into();
        let pod = serde_json::from_value(json!({"containers": [container]})).unwrap();
        announces(from, &metadata, &pod)
    }

    #[test]
    fn an_announcer_is_known_by_its_image_in_whatever_registry_and_by_its_labels() {
        let none = || json!({});
        for image in [
            "quay.io/metallb/speaker:v0.14.9",
            "docker.io/bitnami/metallb-speaker:0.14",
            "registry.example.org:5000/mirror/speaker@sha256:0123",
        ] {
            assert!(
                is(From::Metallb, none(), json!({"image": image})),
                "{image}"
            );
        }
        for labels in [
            json!({"app.kubernetes.io/name": "metallb", "app.kubernetes.io/component": "speaker"}),
            json!({"app": "metallb", "component": "speaker"}),
        ] {
            assert!(is(
                From::Metallb,
                labels,
                json!({"image": "example.org/own:1"})
            ));
        }
        let controller = json!({"app.kubernetes.io/name": "metallb", "app.kubernetes.io/component": "controller"});
        let image = json!({"image": "docker.io/bitnami/metallb-controller:0.14"});
        assert!(!is(From::Metallb, controller, image));
        let image = json!({"image": "registry.example.org/purelb-lbnodeagent:v1"});
        assert!(is(From::Purelb, none(), image));
    }

    #[test]
    fn a_kube_vip_counts_where_it_serves_services_or_that_cannot_be_told() {
        let vip = |more: Value| {
            let mut container = json!({"image": "ghcr.io/kube-vip/kube-vip-iptables:v0.9.1"});
            for (field, value) in more.as_object().unwrap() {
                container[field] = value.clone();
            }
            is(From::KubeVip, json!({}), container)
        };
        assert!(vip(
            json!({"env": [{"name": "svc_enable", "value": "true"}]})
        ));
        assert!(vip(json!({"args": ["manager", "--services"]})));
        assert!(vip(
            json!({"env": [{"name": "svc_enable", "valueFrom": {}}]})
        ));
        assert!(vip(json!({"envFrom": [{"configMapRef": {"name": "c"}}]})));
        assert!(!vip(
            json!({"env": [{"name": "svc_enable", "value": "false"}], "args": ["--services"]})
        ));
        assert!(!vip(
            json!({"env": [{"name": "cp_enable", "value": "true"}]})
        ));
        let provider = json!({"image": "ghcr.io/kube-vip/kube-vip-cloud-provider:v0.0.12", "args": ["--services"]});
        assert!(!is(From::KubeVip, json!({}), provider));
    }
}
