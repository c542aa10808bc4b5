//! Cilium: LB IPAM's pools and L2 announcement policies.

use ipnetwork::IpNetwork;
use landfall_crds::{Block, FirstLastIPs, L2AnnouncementPolicySpec, LoadBalancerIPPoolSpec};
use serde_json::Value;

use super::{Draft, Skipped, blocks, texts};

pub(super) fn draft(objects: &[Value]) -> Draft {
    let mut draft = Draft::default();
    for object in objects {
        match object["kind"].as_str().unwrap_or_default() {
            "CiliumLoadBalancerIPPool" => _ = pool(object, &mut draft),
            "CiliumL2AnnouncementPolicy" => _ = policy(object, &mut draft),
            kind if kind.starts_with("CiliumBGP") => {
                draft.note(object, "no equivalent: Landfall announces at layer 2 only");
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
    // `cidrs` is what `blocks` were called before 1.15.
    for list in ["blocks", "cidrs"] {
        for (at, block) in spec[list].as_array().into_iter().flatten().enumerate() {
            match one(block) {
                Ok(block) => found.push(block),
                Err(problem) => draft.note(
                    object,
                    &format!("spec.{list}[{at}]: {problem}; it is left out"),
                ),
            }
        }
    }
    if found.is_empty() {
        draft.note(
            object,
            "has no block that can be read, and comes to no pool",
        );
        return Err(Skipped);
    }
    let first_last = match &spec["allowFirstLastIPs"] {
        Value::String(word) if word == "No" => FirstLastIPs::No,
        Value::Bool(false) => FirstLastIPs::No,
        _ => FirstLastIPs::Yes,
    };
    let spec = LoadBalancerIPPoolSpec {
        allow_first_last_ips: first_last,
        disabled: spec["disabled"] == true,
        service_selector: draft.selector(object, "spec.serviceSelector")?,
        ..LoadBalancerIPPoolSpec::of(found)
    };
    draft.pool(name, spec, object);
    Ok(())
}

fn one(block: &Value) -> Result<Block, String> {
    if let Some(cidr) = block["cidr"].as_str() {
        // A bare address is a network of one there.
        let network: Result<IpNetwork, _> = cidr.parse();
        return match (cidr.contains('/'), network) {
            (true, Ok(_)) | (false, _) => blocks::read(cidr),
            (true, Err(_)) => Err(format!("{cidr:?} is no network")),
        };
    }
    let (Some(start), stop) = (block["start"].as_str(), block["stop"].as_str()) else {
        return Err("has neither cidr nor start".to_owned());
    };
    match stop {
        Some(stop) => blocks::read(&format!("{start}-{stop}")),
        None => blocks::read(start),
    }
}

fn policy(object: &Value, draft: &mut Draft) -> Result<(), Skipped> {
    let spec = &object["spec"];
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let (balanced, external) = (spec["loadBalancerIPs"] == true, spec["externalIPs"] == true);
    if !balanced && !external {
        draft.note(
            object,
            "announces neither loadBalancerIPs nor externalIPs, and comes to no policy",
        );
        return Err(Skipped);
    }
    let spec = L2AnnouncementPolicySpec {
        service_selector: draft.selector(object, "spec.serviceSelector")?,
        node_selector: draft.selector(object, "spec.nodeSelector")?,
        interfaces: texts(&spec["interfaces"])
            .iter()
            .map(|pattern| blocks::whole(pattern))
            .collect(),
        load_balancer_ips: balanced,
        external_ips: external,
        ..L2AnnouncementPolicySpec::default()
    };
    draft.policy(name, spec, object);
    Ok(())
}
