//! MetalLB: IPAddressPools and L2Advertisements.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use landfall_crds::{FirstLastIPs, L2AnnouncementPolicySpec, LoadBalancerIPPoolSpec};
use serde_json::Value;

use super::{Draft, Skipped, blocks, namespaces, texts};

/// Theirs count from the lowest number up, and those without one come last; ours from the highest down.
const HIGHEST: i64 = 1000;

pub(super) fn draft(objects: &[Value]) -> Draft {
    let mut draft = Draft::default();
    for object in objects {
        match object["kind"].as_str().unwrap_or_default() {
            "IPAddressPool" => _ = pool(object, &mut draft),
            "L2Advertisement" => _ = advertisement(object, objects, &mut draft),
            "BGPPeer" | "BGPAdvertisement" | "BFDProfile" | "Community" => {
                draft.note(object, "no equivalent: Landfall announces at layer 2 only");
            }
            "AddressPool" => draft.note(object, "is of a version that MetalLB itself no longer reads: make it an IPAddressPool first"),
            "ConfigMap" if object["data"]["config"].is_string() => {
                draft.note(object, "is the configuration of MetalLB before 0.13: convert it to IPAddressPools first");
            }
            _ => {}
        }
    }
    draft
}

fn pool(object: &Value, draft: &mut Draft) -> Result<(), Skipped> {
    let spec = &object["spec"];
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let mut found = Vec::new();
    for text in texts(&spec["addresses"]) {
        match blocks::read(text) {
            Ok(block) => found.push(block),
            Err(problem) => draft.note(
                object,
                &format!("spec.addresses: {problem}; it is left out"),
            ),
        }
    }
    if found.is_empty() {
        draft.note(
            object,
            "has no address that can be read, and comes to no pool",
        );
        return Err(Skipped);
    }
    let allocation = &spec["serviceAllocation"];
    let priority = match allocation["priority"].as_i64().unwrap_or_default() {
        priority @ 1.. => (HIGHEST - priority).max(1),
        _ => 0,
    };
    // Any of theirs suffices; of ours both must match. So each pair is a pool of its own over the same addresses.
    let field = "spec.serviceAllocation.namespaceSelectors";
    let by_label = draft.selectors(object, field)?;
    let everywhere = is_given(&allocation["namespaceSelectors"]) && by_label.is_empty();
    let mut of_namespaces = Vec::new();
    if !everywhere {
        of_namespaces.extend(texts_of(&allocation["namespaces"]));
        of_namespaces.extend(by_label);
    }
    let of_services = draft.selectors(object, "spec.serviceAllocation.serviceSelectors")?;
    let any = |all: Vec<_>| {
        if all.is_empty() {
            vec![None]
        } else {
            all.into_iter().map(Some).collect::<Vec<_>>()
        }
    };
    let (of_namespaces, of_services) = (any(of_namespaces), any(of_services));
    if of_namespaces.len() * of_services.len() > 1 {
        draft.note(object, "has several selectors of which one suffices: each comes to a pool of its own over the same addresses; landfall.dev/pool names the first");
    }
    for namespace_selector in &of_namespaces {
        for service_selector in &of_services {
            let spec = LoadBalancerIPPoolSpec {
                allow_first_last_ips: match spec["avoidBuggyIPs"] == true {
                    true => FirstLastIPs::No,
                    false => FirstLastIPs::Yes,
                },
                auto_assign: spec["autoAssign"] != false,
                priority: i32::try_from(priority).unwrap_or_default(),
                namespace_selector: namespace_selector.clone(),
                service_selector: service_selector.clone(),
                ..LoadBalancerIPPoolSpec::of(found.clone())
            };
            draft.pool(name, spec, object);
        }
    }
    if spec["avoidBuggyIPs"] == true {
        draft.note(object, "avoidBuggyIPs keeps every .0 and .255; allowFirstLastIPs: \"No\" keeps the first and last address of each CIDR");
    }
    Ok(())
}

fn is_given(list: &Value) -> bool {
    list.as_array().is_some_and(|all| !all.is_empty())
}

fn texts_of(list: &Value) -> Option<LabelSelector> {
    let names = texts(list);
    (!names.is_empty()).then(|| namespaces(&names))
}

fn advertisement(object: &Value, objects: &[Value], draft: &mut Draft) -> Result<(), Skipped> {
    let spec = &object["spec"];
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let pools = texts(&spec["ipAddressPools"]);
    let by_label = is_given(&spec["ipAddressPoolSelectors"]);
    let all = objects
        .iter()
        .filter(|object| object["kind"] == "IPAddressPool");
    let all: Vec<&str> = all
        .filter_map(|pool| pool["metadata"]["name"].as_str())
        .collect();
    if by_label || (!pools.is_empty() && !all.iter().all(|name| pools.contains(name))) {
        draft.note(
            object,
            "announces the addresses of some pools; a policy here is for Services: give it a serviceSelector if others must stay silent",
        );
    }
    // Any of theirs suffices, as with pools.
    let nodes = draft.selectors(object, "spec.nodeSelectors")?;
    let nodes = if nodes.is_empty() {
        vec![None]
    } else {
        nodes.into_iter().map(Some).collect()
    };
    for node_selector in nodes {
        let spec = L2AnnouncementPolicySpec {
            interfaces: blocks::exactly(&texts(&spec["interfaces"])),
            node_selector,
            ..L2AnnouncementPolicySpec::default()
        };
        draft.policy(name, spec, object);
    }
    Ok(())
}
