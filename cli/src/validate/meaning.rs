//! What an object means, beyond what its schema and rules can say.

use landfall_controller::validate;
use landfall_crds::{GROUP, L2AnnouncementPolicy, LoadBalancerIPPool};
use landfall_ipam::pools::Pool;
use landfall_ipam::selection::Selector;
use regex::Regex;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::schema::nearest;
use super::{Document, Finding};

/// Our kinds, and the version they are served in.
const KINDS: [&str; 4] = [
    "LoadBalancerIPPool",
    "LoadBalancerIP",
    "L2AnnouncementPolicy",
    "L2Node",
];
const VERSION: &str = "v1alpha1";

/// What a document is to us; `None` where it is none of ours.
pub(super) fn kind<'a>(document: &'a Document, findings: &mut Vec<Finding>) -> Option<&'a str> {
    let (api, kind) = (document.text("/apiVersion"), document.text("/kind"));
    let (group, version) = api.split_once('/').unwrap_or(("", api));
    if api == "v1" && kind == "Service" {
        return Some(kind);
    }
    if group != GROUP {
        // Two slips of a finger away, it is ours that is meant.
        if strsim::damerau_levenshtein(group, GROUP) <= 2 {
            let says = format!("is {api:?}; is {GROUP}/{VERSION} meant?");
            findings.push(Finding::new(document, "apiVersion", says));
        } else if KINDS.contains(&kind) {
            findings.push(Finding::new(
                document,
                "apiVersion",
                format!("is {api:?}; write {GROUP}/{VERSION}"),
            ));
        } else if kind.is_empty() || api.is_empty() {
            let field = if kind.is_empty() {
                "kind"
            } else {
                "apiVersion"
            };
            findings.push(Finding::new(
                document,
                field,
                "is missing: every object says what it is",
            ));
        }
        return None;
    }
    if !KINDS.contains(&kind) {
        let meant = nearest(kind, KINDS.into_iter()).map(|kind| format!("; is {kind} meant?"));
        findings.push(Finding::new(
            document,
            "kind",
            format!(
                "{GROUP} has no kind {kind:?}{}",
                meant.unwrap_or_else(|| format!("; there are {}", KINDS.join(", ")))
            ),
        ));
        return None;
    }
    if version != VERSION {
        findings.push(Finding::new(
            document,
            "apiVersion",
            format!("version {version:?} is not served; write {GROUP}/{VERSION}"),
        ));
    }
    Some(kind)
}

/// Whether the object has a name, and one that the API server takes.
pub(super) fn name(document: &Document, kind: &str, findings: &mut Vec<Finding>) {
    let mut says = |says: String| findings.push(Finding::new(document, "metadata.name", says));
    let name = match document.value.pointer("/metadata/name") {
        None | Some(Value::Null) => return says("is missing: name the object".to_owned()),
        Some(Value::String(name)) if name.is_empty() => {
            return says("is missing: name the object".to_owned());
        }
        Some(Value::String(name)) => name,
        Some(other @ (Value::Number(_) | Value::Bool(_))) => {
            return says(format!(
                "is {other}, and text is wanted; put it in quotes: \"{other}\""
            ));
        }
        Some(_) => return says("is no text: a name is one".to_owned()),
    };
    let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let label = |label: &str| {
        label.starts_with(letters)
            && label.ends_with(letters)
            && label.chars().all(|c| letters(c) || c == '-')
    };
    if kind == "Service" {
        let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
        if !(begins && label(name) && name.len() <= 63) {
            says(format!(
                "{name:?} is no name of a Service: at most 63 lower-case letters, digits and dashes, a letter first and no dash last"
            ));
        }
    } else if !(name.len() <= 253 && name.split('.').all(label)) {
        says(format!(
            "{name:?} is no name of an object: lower-case letters, digits, dashes and dots, and a letter or digit at both ends"
        ));
    }
}

/// The typed object.
pub(super) fn typed<K: DeserializeOwned>(document: &Document) -> Option<K> {
    serde_json::from_value(document.value.clone()).ok()
}

/// Looks at one object by itself.
pub(super) fn check(document: &Document, kind: &str, findings: &mut Vec<Finding>) {
    match kind {
        "LoadBalancerIPPool" => pool(document, findings),
        "L2AnnouncementPolicy" => policy(document, findings),
        "Service" => service(document, findings),
        _ => {}
    }
}

fn pool(document: &Document, findings: &mut Vec<Finding>) {
    let Some(object) = typed::<LoadBalancerIPPool>(document) else {
        findings.push(Finding::new(document, "spec", "cannot be read as a pool"));
        return;
    };
    match Pool::compile(document.name(), &object.spec, false) {
        Err(error) => findings.push(Finding::new(document, error.field, error.problem)),
        Ok(pool) if pool.usable.iter().next().is_none() => findings.push(Finding::new(
            document,
            "spec.excludes",
            "leave nothing of the blocks: the pool has no address to give; take one out",
        )),
        Ok(_) => {}
    }
}

fn policy(document: &Document, findings: &mut Vec<Finding>) {
    let Some(object) = typed::<L2AnnouncementPolicy>(document) else {
        findings.push(Finding::new(document, "spec", "cannot be read as a policy"));
        return;
    };
    let spec = &object.spec;
    for (at, pattern) in spec.interfaces.iter().enumerate() {
        let field = format!("spec.interfaces[{at}]");
        // The bare pattern first, as the announcer reads it.
        if let Err(error) =
            Regex::new(pattern).and_then(|_| Regex::new(&format!("^(?:{pattern})$")))
        {
            let error = error.to_string();
            let why = error
                .lines()
                .last()
                .unwrap_or_default()
                .trim_start_matches("error: ")
                .to_owned();
            findings.push(Finding::new(
                document,
                field,
                format!("{pattern:?} is no regular expression: {why}"),
            ));
        } else if let Some(meant) = glob(pattern) {
            let says = format!(
                "{pattern:?} is a regular expression, and as a pattern of a shell it would mean something else; is {meant:?} meant?"
            );
            findings.push(Finding::new(document, field, says).doubt());
        }
    }
    let preferred = spec.preferred_nodes.iter().enumerate();
    let preferred = preferred.map(|(at, node)| {
        (
            format!("spec.preferredNodes[{at}].nodeSelector"),
            &node.node_selector,
        )
    });
    let selectors = [
        ("spec.serviceSelector", &spec.service_selector),
        ("spec.namespaceSelector", &spec.namespace_selector),
        ("spec.nodeSelector", &spec.node_selector),
    ];
    let selectors = selectors
        .into_iter()
        .filter_map(|(field, selector)| Some((field.to_owned(), selector.as_ref()?)));
    for (field, selector) in selectors.chain(preferred) {
        if let Err(problem) = Selector::compile(selector) {
            findings.push(Finding::new(document, field, problem));
        }
    }
    if let Err(error) = spec.period() {
        findings.push(Finding::new(
            document,
            "spec.periodicAnnouncement",
            error.to_string(),
        ));
    }
    if !spec.load_balancer_ips && !spec.external_ips {
        let says =
            "and externalIPs are both false: the policy announces nothing; set one of them to true";
        findings.push(Finding::new(document, "spec.loadBalancerIPs", says).doubt());
    }
}

/// A pattern of a shell, as people write it: a star after a name, which repeats its last letter.
fn glob(pattern: &str) -> Option<String> {
    let plain = |text: &str| {
        text.chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
    };
    let stem = pattern.strip_suffix('*')?;
    (plain(stem)).then(|| format!("{stem}.*"))
}

fn service(document: &Document, findings: &mut Vec<Finding>) {
    let mut noted = false;
    for (at, notes) in [("annotations", "annotation"), ("labels", "label")] {
        let all = document.value["metadata"][at].as_object();
        for (key, value) in all.into_iter().flatten() {
            if !value.is_string() && !value.is_null() {
                let says = format!(
                    "the {notes} {key} is {value}, and text is wanted; put it in quotes: \"{value}\""
                );
                findings.push(Finding::new(document, format!("metadata.{at}"), says));
                noted = true;
            }
        }
    }
    if noted {
        return;
    }
    let read: Result<k8s_openapi::api::core::v1::Service, _> =
        serde_json::from_value(document.value.clone());
    let object = match read {
        Ok(object) => object,
        Err(error) => {
            let says = format!("cannot be read as a Service: {error}");
            findings.push(Finding::new(document, "", says));
            return;
        }
    };
    let mut object = object;
    // As `kubectl apply` would place it.
    object
        .metadata
        .namespace
        .get_or_insert_with(|| "default".to_owned());
    let Some(known) = validate::service(&object, true, None) else {
        return;
    };
    if !known.wanted {
        return;
    }
    if let Err(refusal) = &known.request {
        findings.push(Finding::new(
            document,
            "metadata.annotations",
            refusal.message.clone(),
        ));
    }
    let notes = known.notes.iter();
    findings.extend(notes.map(|note| Finding::new(document, "metadata.annotations", note)));
}
