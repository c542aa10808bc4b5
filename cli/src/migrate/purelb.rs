//! PureLB: ServiceGroups and LBNodeAgents.

use landfall_crds::{L2AnnouncementPolicySpec, LoadBalancerIPPoolSpec};
use serde_json::Value;

use super::{Draft, blocks};

/// The group of Services that name none.
const DEFAULT: &str = "default";

pub(super) fn draft(objects: &[Value]) -> Draft {
    let mut draft = Draft::default();
    for object in objects {
        match object["kind"].as_str().unwrap_or_default() {
            "ServiceGroup" => group(object, &mut draft),
            "LBNodeAgent" => agent(object, &mut draft),
            _ => {}
        }
    }
    draft
}

fn group(object: &Value, draft: &mut Draft) {
    let spec = &object["spec"];
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    if spec["netbox"].is_object() {
        draft.note(object, "takes its addresses from Netbox: no equivalent");
        return;
    }
    if spec["remote"].is_object() {
        draft.note(object, "has addresses of another segment, which a router must lead to the nodes: no equivalent, Landfall announces at layer 2 only");
        return;
    }
    let local = &spec["local"];
    let single = [&local["v4pool"], &local["v6pool"], local];
    let several = [&local["v4pools"], &local["v6pools"], &local["pools"]];
    let several = several
        .into_iter()
        .flat_map(|list| list.as_array().into_iter().flatten());
    let mut found = Vec::new();
    for pool in single.into_iter().chain(several) {
        let Some(range) = pool["pool"].as_str() else {
            continue;
        };
        match blocks::read(range) {
            Ok(block) => found.push(block),
            Err(problem) => draft.note(object, &format!("spec.local: {problem}; it is left out")),
        }
        let aggregation = pool["aggregation"].as_str().unwrap_or(DEFAULT);
        if aggregation != DEFAULT {
            draft.note(
                object,
                &format!(
                    "aggregation {aggregation}: no equivalent, an address is announced as one"
                ),
            );
        }
    }
    if found.is_empty() {
        draft.note(
            object,
            "has no range that can be read, and comes to no pool",
        );
        return;
    }
    let spec = LoadBalancerIPPoolSpec {
        // Others are used by who names them.
        auto_assign: name == DEFAULT,
        ..LoadBalancerIPPoolSpec::of(found)
    };
    draft.pool(name, spec, object);
}

fn agent(object: &Value, draft: &mut Draft) {
    let local = &object["spec"]["local"];
    let interface = local["localint"]
        .as_str()
        .or_else(|| local["localInterface"].as_str())
        .unwrap_or(DEFAULT);
    if interface == DEFAULT {
        draft.note(object, "announces from the interface of the default route; a policy without interfaces announces from every eligible one: name it if that is too much");
    }
    let interfaces = match interface {
        DEFAULT => Vec::new(),
        interface => vec![blocks::whole(interface)],
    };
    let spec = L2AnnouncementPolicySpec {
        interfaces,
        ..L2AnnouncementPolicySpec::default()
    };
    draft.policy("purelb", spec, object);
}
