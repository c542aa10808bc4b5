//! What the two accounts may do is what their programs do: every right that `config/rbac` grants has a place in the
//! sources that uses it, and nobody is granted a right that this table does not know.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// `resource verb`, and words that stand together in the file that does it.
type Use = (&'static str, &'static [&'static str]);

const WATCH: &str = "watcher";

const ANNOUNCER: &[Use] = &[
    ("loadbalancerips list", &["LoadBalancerIP", WATCH]),
    ("loadbalancerips watch", &["LoadBalancerIP", WATCH]),
    ("loadbalancerips get", &["LoadBalancerIP>", ".get_opt("]),
    (
        "loadbalancerips/status patch",
        &["LoadBalancerIP>", ".patch_status("],
    ),
    (
        "l2announcementpolicies list",
        &["L2AnnouncementPolicy", WATCH],
    ),
    (
        "l2announcementpolicies watch",
        &["L2AnnouncementPolicy", WATCH],
    ),
    (
        "l2announcementpolicies/status patch",
        &["L2AnnouncementPolicy>", "apply::status("],
    ),
    ("l2nodes create", &["Api::<L2Node>", "Patch::Apply("]),
    ("l2nodes patch", &["Api::<L2Node>", "Patch::Apply("]),
    ("l2nodes/status patch", &["L2Node>", "apply::status("]),
    ("services list", &["Service", WATCH]),
    ("services watch", &["Service", WATCH]),
    ("services/status patch", &["<Service>", "apply::status("]),
    ("nodes get", &["Api<Node>", ".get_opt("]),
    ("nodes list", &["<Node>", WATCH]),
    ("nodes watch", &["<Node>", WATCH]),
    ("namespaces get", &["Api::<Namespace>", ".get("]),
    ("namespaces list", &["<Namespace>", WATCH]),
    ("namespaces watch", &["<Namespace>", WATCH]),
    ("endpointslices list", &["<EndpointSlice>", WATCH]),
    ("endpointslices watch", &["<EndpointSlice>", WATCH]),
    ("events create", &["Api::<Event>", ".create("]),
    ("leases get", &["Api<Lease>", ".get_opt("]),
    ("leases list", &["<Lease>", WATCH]),
    ("leases watch", &["<Lease>", WATCH]),
    ("leases create", &["Api<Lease>", ".create("]),
    ("leases update", &["Api<Lease>", ".replace("]),
    ("leases patch", &["Api<Lease>", ".patch("]),
];

const CONTROLLER: &[Use] = &[
    ("loadbalancerippools list", &["LoadBalancerIPPool", WATCH]),
    ("loadbalancerippools watch", &["LoadBalancerIPPool", WATCH]),
    (
        "loadbalancerippools patch",
        &["Api<LoadBalancerIPPool>", ".patch("],
    ),
    (
        "loadbalancerippools/status patch",
        &["Api<LoadBalancerIPPool>", "apply::status("],
    ),
    ("loadbalancerips get", &["Api<LoadBalancerIP>", ".get_opt("]),
    ("loadbalancerips list", &["LoadBalancerIP>", WATCH]),
    ("loadbalancerips watch", &["LoadBalancerIP>", WATCH]),
    (
        "loadbalancerips create",
        &["Api<LoadBalancerIP>", ".create("],
    ),
    ("loadbalancerips patch", &["Api<LoadBalancerIP>", ".patch("]),
    (
        "loadbalancerips delete",
        &["Api<LoadBalancerIP>", ".delete("],
    ),
    (
        "loadbalancerips/status patch",
        &["Api<LoadBalancerIP>", "apply::status("],
    ),
    ("services get", &["Api<Service>", ".get_opt("]),
    ("services list", &["Service>", WATCH]),
    ("services watch", &["Service>", WATCH]),
    ("services/status patch", &["Api<Service>", ".patch_status("]),
    ("namespaces list", &["<Namespace>", WATCH]),
    ("namespaces watch", &["<Namespace>", WATCH]),
    ("nodes list", &["<Node>", WATCH]),
    ("nodes watch", &["<Node>", WATCH]),
    ("servicecidrs list", &["<ServiceCIDR>", WATCH]),
    ("servicecidrs watch", &["<ServiceCIDR>", WATCH]),
    ("gateways list", &["<Gateway>", WATCH]),
    ("gateways watch", &["<Gateway>", WATCH]),
    ("events create", &["Api::<Event>", ".create("]),
    ("leases create", &["Api<Lease>", ".create("]),
    ("leases get", &["Api<Lease>", ".get_opt("]),
    ("leases update", &["Api<Lease>", ".replace("]),
    ("secrets create", &["Api<Secret>", ".create("]),
];

/// What the controller does where Gateways of a class of ours are wanted.
const GATEWAY_API: &[Use] = &[
    ("gatewayclasses list", &["<GatewayClass>", WATCH]),
    ("gatewayclasses watch", &["<GatewayClass>", WATCH]),
    (
        "gatewayclasses patch",
        &["Api::<GatewayClass>", ".patch(", "finalizer"],
    ),
    ("listenersets list", &["<ListenerSet>", WATCH]),
    ("listenersets watch", &["<ListenerSet>", WATCH]),
    ("tcproutes list", &["versions::watched::<TCPRoute,"]),
    ("tcproutes watch", &["versions::watched::<TCPRoute,"]),
    ("udproutes list", &["versions::watched::<UDPRoute,"]),
    ("udproutes watch", &["versions::watched::<UDPRoute,"]),
    (
        "referencegrants list",
        &["versions::watched::<ReferenceGrant,"],
    ),
    (
        "referencegrants watch",
        &["versions::watched::<ReferenceGrant,"],
    ),
    ("gateways get", &["Api<Gateway>", ".get_opt("]),
    (
        "gatewayclasses/status patch",
        &["Api::<GatewayClass>", "apply::status("],
    ),
    ("gateways/status patch", &["Api<Gateway>", ".patch_status("]),
    (
        "listenersets/status patch",
        &["Api::<ListenerSet>", "apply::status("],
    ),
    (
        "tcproutes/status patch",
        &["apply_to::<TCPRoute,", ".patch_status("],
    ),
    (
        "udproutes/status patch",
        &["apply_to::<UDPRoute,", ".patch_status("],
    ),
    (
        "customresourcedefinitions get",
        &["Api::<CustomResourceDefinition>", ".get_metadata_opt("],
    ),
];

/// What both do to guard their metrics.
const BOTH: &[Use] = &[
    ("tokenreviews create", &["Api<TokenReview>", ".create("]),
    (
        "subjectaccessreviews create",
        &["Api<SubjectAccessReview>", ".create("],
    ),
];

fn tree() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every `resource verb` that a file of `config` grants. A resource or verb `*` is none that the table knows.
fn granted(file: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(tree().join("config").join(file)).unwrap();
    let documents = text
        .split("\n---\n")
        .map(|document| serde_saphyr::from_str::<Value>(document).unwrap());
    let words = |list: &Value| -> Vec<String> {
        let list = list.as_array().into_iter().flatten();
        list.map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    let rules =
        documents.flat_map(|document| document["rules"].as_array().cloned().unwrap_or_default());
    let mut all = BTreeSet::new();
    for rule in rules {
        for resource in words(&rule["resources"]) {
            all.extend(
                words(&rule["verbs"])
                    .iter()
                    .map(|verb| format!("{resource} {verb}")),
            );
        }
    }
    all
}

/// The sources below these folders, tests left out.
fn sources(folders: &[&str]) -> Vec<(PathBuf, String)> {
    let mut open: Vec<PathBuf> = folders.iter().map(|folder| tree().join(folder)).collect();
    let mut found = Vec::new();
    while let Some(path) = open.pop() {
        let is_test = path.ends_with("tests") || path.ends_with("tests.rs");
        if path.is_dir() && !is_test {
            open.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else if path.extension().is_some_and(|extension| extension == "rs") && !is_test {
            let text = fs::read_to_string(&path).unwrap();
            let product = text
                .split("#[cfg(test)]")
                .next()
                .unwrap_or_default()
                .to_owned();
            found.push((path, product));
        }
    }
    found
}

fn check(file: &str, table: &[Use], folders: &[&str]) {
    let known: BTreeSet<String> = table.iter().map(|(right, _)| (*right).to_owned()).collect();
    let granted = granted(file);
    let unknown: Vec<_> = granted.difference(&known).collect();
    assert!(
        unknown.is_empty(),
        "{file} grants what nobody is known to use: {unknown:?}"
    );
    let missing: Vec<_> = known.difference(&granted).collect();
    assert!(
        missing.is_empty(),
        "{file} does not grant what is used: {missing:?}"
    );
    let sources = sources(folders);
    for (right, words) in table {
        let used = sources
            .iter()
            .any(|(_, text)| words.iter().all(|word| text.contains(word)));
        assert!(
            used,
            "{file} grants {right:?}, but no file below {folders:?} has {words:?}"
        );
    }
}

#[test]
fn the_announcer_has_no_right_that_it_does_not_use() {
    check(
        "rbac/announcer.yaml",
        ANNOUNCER,
        &["announcer/src", "runtime/src"],
    );
}

#[test]
fn the_controller_has_no_right_that_it_does_not_use() {
    check(
        "rbac/controller.yaml",
        CONTROLLER,
        &["controller/src", "runtime/src"],
    );
}

#[test]
fn the_controller_has_no_right_over_gateways_that_it_does_not_use() {
    check(
        "gateway-api/rbac.yaml",
        GATEWAY_API,
        &["controller/src", "runtime/src"],
    );
}

#[test]
fn the_rights_to_ask_who_reads_metrics_are_used() {
    check("rbac/metrics.yaml", BOTH, &["runtime/src"]);
}
