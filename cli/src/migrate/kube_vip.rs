//! kube-vip: the ConfigMap of its cloud provider, and the interface its DaemonSet was given.

use k8s_openapi::api::core::v1::Container;
use landfall_crds::{L2AnnouncementPolicySpec, LoadBalancerIPPoolSpec};
use serde_json::Value;

use super::announcers::{is_vip, serves};
use super::{Draft, blocks, namespaces, texts};

/// What a namespace has of its own comes before what is for all.
const OF_A_NAMESPACE: i32 = 10;

pub(super) fn draft(objects: &[Value]) -> Draft {
    let mut draft = Draft::default();
    for object in objects {
        match object["kind"].as_str().unwrap_or_default() {
            "ConfigMap" => config(object, &mut draft),
            "DaemonSet" => runs(object, &object["spec"]["template"]["spec"], &mut draft),
            "Pod" => runs(object, &object["spec"], &mut draft),
            _ => {}
        }
    }
    draft
}

fn config(object: &Value, draft: &mut Draft) {
    let mut names: Vec<(String, Vec<landfall_crds::Block>)> = Vec::new();
    for (key, text) in object["data"].as_object().into_iter().flatten() {
        let text = text.as_str().unwrap_or_default();
        let of = key
            .strip_prefix("cidr-")
            .or_else(|| key.strip_prefix("range-"));
        let Some(of) = of else {
            if !key.starts_with("allow-share-") || text == "true" {
                draft.note(object, &format!("{key}: no equivalent in a pool"));
            }
            continue;
        };
        let mut found = Vec::new();
        for part in text.split(',').filter(|part| !part.trim().is_empty()) {
            match blocks::read(part) {
                Ok(block) if is_any(&block) => {
                    draft.note(
                        object,
                        &format!("{key}: 0.0.0.0 asks a DHCP server; no equivalent"),
                    );
                }
                Ok(block) => found.push(block),
                Err(problem) => draft.note(object, &format!("{key}: {problem}; it is left out")),
            }
        }
        match names.iter_mut().find(|(name, _)| name == of) {
            Some((_, blocks)) => blocks.extend(found),
            None => names.push((of.to_owned(), found)),
        }
    }
    for (of, blocks) in names.into_iter().filter(|(_, blocks)| !blocks.is_empty()) {
        let global = of == "global";
        let spec = LoadBalancerIPPoolSpec {
            priority: if global { 0 } else { OF_A_NAMESPACE },
            namespace_selector: (!global).then(|| namespaces(&[&of])),
            ..LoadBalancerIPPoolSpec::of(blocks)
        };
        draft.pool(&format!("kube-vip-{of}"), spec, object);
    }
}

fn is_any(block: &landfall_crds::Block) -> bool {
    let any = |text: &Option<String>| {
        text.as_deref()
            .is_some_and(|text| text.starts_with("0.0.0.0"))
    };
    any(&block.cidr) || any(&block.start)
}

/// What runs kube-vip: a DaemonSet, or a Pod that a node runs by itself.
fn runs(object: &Value, pod: &Value, draft: &mut Draft) {
    let read = |container: &Value| serde_json::from_value::<Container>(container.clone()).ok();
    let containers = pod["containers"].as_array().into_iter().flatten();
    let mut containers = containers.filter_map(|container| Some((container, read(container)?)));
    let Some((container, parsed)) = containers.find(|(_, parsed)| is_vip(parsed)) else {
        return;
    };
    let variable = |name: &str| {
        let mut all = container["env"].as_array().into_iter().flatten();
        all.find(|variable| variable["name"] == name)
            .and_then(|variable| variable["value"].as_str())
            .filter(|value| !value.is_empty())
    };
    if variable("cp_enable") == Some("true") {
        draft.note(object, "cp_enable: it carries the control plane's address, which Landfall does not: keep it for that, with svc_enable false");
    }
    if variable("bgp_enable") == Some("true") {
        draft.note(
            object,
            "bgp_enable: no equivalent; Landfall announces at layer 2 only",
        );
    }
    if !serves(&parsed) {
        return;
    }
    let interface = variable("vip_servicesinterface").or_else(|| variable("vip_interface"));
    let arguments = texts(&container["args"]);
    let given = arguments.iter().position(|arg| *arg == "--interface");
    let given = given.and_then(|at| arguments.get(at + 1).copied());
    let interfaces: Vec<&str> = interface.or(given).into_iter().collect();
    let spec = L2AnnouncementPolicySpec {
        interfaces: blocks::exactly(&interfaces),
        ..L2AnnouncementPolicySpec::default()
    };
    // Each node of a control plane runs a Pod of its own that says the same.
    if !draft.policies.iter().any(|(policy, _)| policy.spec == spec) {
        draft.policy("kube-vip", spec, object);
    }
}
